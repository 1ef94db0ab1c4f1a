"""Spans of requests and of threads on a shared time axis."""

from __future__ import annotations

from bpfnb.views.spans.widget import Waterfall, waterfall

__all__ = ["Waterfall", "waterfall"]
