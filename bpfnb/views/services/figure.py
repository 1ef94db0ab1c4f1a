"""The service map as a plotly figure, with the same places. plotly is imported here and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpfnb.errors import MissingDependency
from bpfnb.views._style import CATEGORIES
from bpfnb.views.services.geometry import Curve, at, curves, radius, width_of
from bpfnb.views.services.graph import Graph
from bpfnb.views.services.layers import Points
from bpfnb.views.services.layout import Frame, crowd
from bpfnb.views.services.metrics import Scale, ramp
from bpfnb.views.services.picture import KIND_COLORS, Look, edge_words

__all__ = ["figure"]

STEPS = 16  # points of a curve
BINS = 4  # lines of one trace share their width and colour
SYMBOLS = {
    "process": "circle",
    "container": "square",
    "service": "hexagon2",
    "host": "square-open",
    "external": "diamond",
    "port": "triangle-right",
    "others": "octagon",
}


def figure(graph: Graph, points: Points, frame: Frame, look: Look) -> Any:
    """Curves with arrow heads, names, and the numbers of an edge on hover at its middle.

    :raises MissingDependency: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingDependency("figures need plotly", hints=["pip install plotly"]) from None

    chart = go.Figure()
    much = crowd(len(graph.names))
    radii = [radius(int(d), much) for d in graph.degree]
    lines = curves(graph.pairs.tolist(), points.tolist(), radii)
    widths, shades = _places(graph, look.width), _places(graph, look.color)
    bins: dict[tuple[int, int], list[int]] = {}
    for i in range(len(lines)):
        bins.setdefault((round(shades[i] * BINS), round(widths[i] * BINS)), []).append(i)
    for (shade, wide), members in sorted(bins.items()):
        line = [
            at(lines[i], k / STEPS) if k <= STEPS else (None, None) for i in members for k in range(STEPS + 2)
        ]
        chart.add_scatter(
            x=[x for x, _ in line],
            y=[y for _, y in line],
            mode="lines",
            line={"width": width_of(wide / BINS, much), "color": ramp(shade / BINS)},
            hoverinfo="skip",
        )
    middle = [at(c, 0.5) for c in lines]
    chart.add_scatter(
        x=[x for x, _ in middle],
        y=[y for _, y in middle],
        mode="markers",
        marker={"size": 8, "opacity": 0},
        text=[_plain(edge_words(graph, i, look)) for i in range(len(lines))],
        hovertemplate="%{text}<extra></extra>",
    )
    chart.add_scatter(
        x=[c[6] for c in lines],
        y=[c[7] for c in lines],
        mode="markers",
        marker={
            "symbol": "arrow",
            "size": 9,
            "angle": [_angle(c) for c in lines],
            "color": [ramp(t) for t in shades],
        },
        hoverinfo="skip",
    )
    chart.add_scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="markers+text",
        marker={
            "size": [2 * r for r in radii],
            "symbol": [SYMBOLS[kind] for kind in graph.kinds],
            "color": "white",
            "line": {"width": 2, "color": [CATEGORIES[KIND_COLORS[kind]] for kind in graph.kinds]},
        },
        text=[_plain(name) for name in graph.names],
        textposition="bottom center",
        hovertext=[_plain(f"{n} ({k})") for n, k in zip(graph.names, graph.kinds, strict=True)],
        hoverinfo="text",
    )
    chart.update_xaxes(visible=False, range=[frame.left, frame.left + frame.width])
    chart.update_yaxes(visible=False, range=[frame.top + frame.height, frame.top], scaleanchor="x")
    chart.update_layout(
        template="plotly_white",
        showlegend=False,
        title=_plain(look.title) or None,
        height=round(frame.height) + 60,
        margin={"l": 10, "r": 10, "t": 40 if look.title else 10, "b": 10},
    )
    return chart


def _places(graph: Graph, metric: str) -> list[float]:
    if not metric:
        return [0.0] * len(graph.edges)
    values = graph.edges[metric].to_numpy(np.float64)
    scale = Scale.of(metric, values)
    return [scale(value) for value in values]


def _angle(c: Curve) -> float:
    """Clockwise from straight up, as plotly turns its markers; y points down."""
    return math.degrees(math.atan2(c[6] - c[4], -(c[7] - c[5])))


def _plain(text: str) -> str:
    """plotly reads some HTML in labels; names of processes are not to be read so."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
