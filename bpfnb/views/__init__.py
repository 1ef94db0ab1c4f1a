"""Frames and objects as pictures. One call makes a view of a live frame, a map, a recording or a DataFrame:

:func:`hist`, :func:`heatmap`, :func:`table`, :func:`timeseries`, :func:`servicemap`, :func:`flamegraph`,
:func:`waterfall`, and :func:`panel` of a whole object.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfnb.views._object_html import object_html
    from bpfnb.views._object_text import object_text
    from bpfnb.views._style import humanize
    from bpfnb.views.events import EventTable, table
    from bpfnb.views.flames import FlameGraph, flamegraph
    from bpfnb.views.heat import HeatmapView, heatmap
    from bpfnb.views.histogram import Histogram, HistogramView, hist
    from bpfnb.views.lines import TimeSeries, timeseries
    from bpfnb.views.objectpanel import ObjectPanel, panel
    from bpfnb.views.plain import Preformatted, Table
    from bpfnb.views.services import ServiceMap, servicemap
    from bpfnb.views.spans import Waterfall, waterfall
    from bpfnb.views.view import View

_HOMES = {
    "EventTable": "events",
    "FlameGraph": "flames",
    "HeatmapView": "heat",
    "Histogram": "histogram",
    "HistogramView": "histogram",
    "ObjectPanel": "objectpanel",
    "Preformatted": "plain",
    "ServiceMap": "services",
    "Table": "plain",
    "TimeSeries": "lines",
    "View": "view",
    "Waterfall": "spans",
    "flamegraph": "flames",
    "heatmap": "heat",
    "hist": "histogram",
    "humanize": "_style",
    "object_html": "_object_html",
    "object_text": "_object_text",
    "panel": "objectpanel",
    "servicemap": "services",
    "table": "events",
    "timeseries": "lines",
    "waterfall": "spans",
}

__all__ = [
    "EventTable",
    "FlameGraph",
    "HeatmapView",
    "Histogram",
    "HistogramView",
    "ObjectPanel",
    "Preformatted",
    "ServiceMap",
    "Table",
    "TimeSeries",
    "View",
    "Waterfall",
    "flamegraph",
    "heatmap",
    "hist",
    "humanize",
    "object_html",
    "object_text",
    "panel",
    "servicemap",
    "table",
    "timeseries",
    "waterfall",
]


def __getattr__(name: str) -> Any:
    """Import on first use: a cell that shows nothing waits for no widgets."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bpfnb.views' has no attribute '{name}'")
    return getattr(import_module(f"bpfnb.views.{_HOMES[name]}"), name)
