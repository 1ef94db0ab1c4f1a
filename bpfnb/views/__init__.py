"""Frames and objects as pictures and text: :func:`hist`, :func:`object_html`, :func:`object_text`."""

from __future__ import annotations

from bpfnb.views._style import humanize
from bpfnb.views.hist import Histogram, hist
from bpfnb.views.object_html import object_html
from bpfnb.views.object_text import object_text
from bpfnb.views.table import Preformatted, Table

__all__ = ["Histogram", "Preformatted", "Table", "hist", "humanize", "object_html", "object_text"]
