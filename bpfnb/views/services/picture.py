"""The service map as a static SVG: what the page draws, without its tools. All is in attributes: no scripts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from bpfnb.views._style import Palette, Theme, esc, palette
from bpfnb.views.services.geometry import Box, Curve, at, curves, free, labels, opacity_of, radius, width_of
from bpfnb.views.services.graph import Graph
from bpfnb.views.services.layers import Points
from bpfnb.views.services.layout import LETTER, Frame, crowd
from bpfnb.views.services.metrics import TITLES, Scale, amount, ramp, titles, worded

__all__ = ["GLYPHS", "KIND_COLORS", "SHAPES", "Look", "edge_words", "picture"]

FOOT = 30  # px for the legend
HEAD = 22

SHAPES: Final = {
    "process": "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z",
    "container": "M-.6-.9H.6Q.9-.9.9-.6V.6Q.9.9.6.9H-.6Q-.9.9-.9.6V-.6Q-.9-.9-.6-.9Z",
    "service": "M-.53-.95H.53L1.08 0L.53.95H-.53L-1.08 0Z",
    "host": "M-1.1-.75H1.1V.75H-1.1Z",
    "external": "M0-1.12L1.12 0L0 1.12L-1.12 0Z",
    "port": "M-1-.8H.45L1.1 0L.45.8H-1Z",
    "others": "M.4-1H-.4L-1-.4V.4L-.4 1H.4L1 .4V-.4Z",
}
"""Outlines by kind, around (0, 0), about 1 large."""

GLYPHS: Final = {
    "process": "M-.42-.35L0 0L-.42.35M.08.38H.5",
    "container": "M0-.5L.5-.25V.28L0 .55L-.5.28V-.25ZM-.5-.25L0 .03L.5-.25M0 .03V.55",
    "service": "M-.5-.38H.5M-.5 0H.5M-.5 .38H.5",
    "host": "M-.6-.35H.6V.2H-.6ZM-.3.45H.3M0 .2V.45",
    "external": "M.5 0A.5.5 0 1 1-.5 0A.5.5 0 1 1 .5 0ZM-.5 0H.5M0-.5Q-.4 0 0 .5Q.4 0 0-.5",
    "port": "M-.6 0H0M0-.3V.3M0-.3A.3.3 0 0 1 0 .3M.3 0H.6",
    "others": "M-.45 0H-.44M0 0H.01M.45 0H.46",
}

KIND_COLORS: Final = {
    "process": 0,
    "container": 4,
    "service": 2,
    "host": 6,
    "external": 3,
    "port": 1,
    "others": 7,
}
"""By kind, the number of its colour among the categories."""


@dataclass(frozen=True)
class Look:
    """Which measures the widths, colours and labels of edges show (``""``: none), and words about the data.

    *unit* is the latency's, *counted* what edges count: ``requests``; ``""`` where nobody knows.
    """

    width: str
    color: str
    label: str
    unit: str | None
    said: str
    title: str = ""
    window: float = math.inf
    counted: str = ""


def picture(graph: Graph, points: Points, frame: Frame, look: Look, theme: Theme) -> str:
    """The map as an ``<svg>``; *points* are the nodes' places."""
    colors = palette(theme)
    head = HEAD if look.title else 0
    view = (frame.left, frame.top - head, frame.width, frame.height + FOOT + head)
    if not graph.names:
        return _empty(look, colors)
    much = crowd(len(graph.names))
    radii = [radius(int(d), much) for d in graph.degree]
    bounds = (frame.left, frame.top, frame.left + frame.width, frame.top + frame.height)
    shown, taken = labels(points, radii, graph.names, np.argsort(graph.rank).tolist(), bounds)
    lines = curves(graph.pairs.tolist(), points.tolist(), radii)
    parts = [_edges(graph, lines, look), _edge_labels(graph, lines, look, colors, taken)]
    age = graph.age
    groups = {g: i for i, g in enumerate(sorted({*graph.groups} - {""}))}
    for i, name in enumerate(graph.names):
        (x, y), r = points[i].tolist(), radii[i]
        kind, group = graph.kinds[i], graph.groups[i]
        hue = groups[group] % len(colors.categories) if group else KIND_COLORS[kind]
        color = colors.categories[hue]
        faded = ' opacity=".35"' if age[i] > look.window else ""
        title = f"{name} ({kind}{', ' + group if group else ''})"
        parts.append(
            f'<g transform="translate({x:.1f} {y:.1f}) scale({r:.2f})"{faded}><title>{esc(title)}</title>'
            f'<path d="{SHAPES[kind]}" fill="{colors.bg}" stroke="{color}" stroke-width="{2 / r:.3f}"/>'
            f'<path d="{GLYPHS[kind]}" fill="none" stroke="{color}" stroke-width="{1.4 / r:.3f}" '
            'stroke-linecap="round"/></g>'
        )
    parts += [_text(label.x, label.y, label.text, colors, colors.fg) for label in shown]
    parts.append(_legend(graph, look, colors, view))
    if look.title:
        parts.append(_text(view[0] + 8, view[1] + 16, look.title, colors, colors.fg, "start", weight=600))
    hidden = len(graph.names) - len(shown)
    words = f"Service map {look.title}: {len(graph.names):,} nodes, {len(graph.edges):,} edges".replace(
        " :", ":"
    )
    words += f", {hidden} labels left out" if hidden else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view[0]:.0f} {view[1]:.0f} {view[2]:.0f} {view[3]:.0f}" '
        f'width="{view[2]:.0f}" style="max-width:100%;height:auto" role="img" aria-label="{esc(words)}" '
        'font-family="system-ui,-apple-system,Segoe UI,sans-serif" font-size="11">'
        f"{_ground(colors, view, theme)}{''.join(parts)}</svg>"
    )


def edge_words(graph: Graph, number: int, look: Look) -> str:
    """``redis-server to 10.0.0.2:5432, 120 requests/s, 2 % errors``: an edge in a sentence."""
    edge = graph.edges.iloc[number]
    known = ((metric, float(edge[metric])) for metric in TITLES)
    words = [amount(m, value, look.unit, look.counted) for m, value in known if not math.isnan(value)]
    return ", ".join([f"{edge['source']} to {edge['target']}", *words])


def _edges(graph: Graph, lines: list[Curve], look: Look) -> str:
    """Thin and quiet edges first, so that what matters lies on top."""
    zero = np.zeros(len(lines))
    widths = graph.edges[look.width].to_numpy(np.float64) if look.width else zero
    shades = graph.edges[look.color].to_numpy(np.float64) if look.color else zero
    width, shade = Scale.of(look.width, widths), Scale.of(look.color, shades)
    ages = graph.edges["age"].to_numpy()
    much = crowd(len(graph.names))
    parts = []
    t = [
        (shade(shades[i]) if look.color else 0.0, width(widths[i]) if look.width else 0.0)
        for i in range(len(lines))
    ]
    for i in sorted(range(len(lines)), key=lambda i: (t[i], i)):
        c, wide, color = lines[i], width_of(t[i][1], much), ramp(t[i][0])
        opacity = 0.2 if ages[i] > look.window else opacity_of(t[i][1], t[i][0], much)
        tip, base = _arrow(c, wide)
        parts.append(
            f'<g opacity="{opacity:.2f}"><title>{esc(edge_words(graph, i, look))}</title>'
            f'<path d="M{c[0]:.1f} {c[1]:.1f}C{c[2]:.1f} {c[3]:.1f} {c[4]:.1f} {c[5]:.1f} {base[0]:.1f} {base[1]:.1f}" '
            f'fill="none" stroke="{color}" stroke-width="{wide:.1f}"/><path d="{tip}" fill="{color}"/></g>'
        )
    return "".join(parts)


def _arrow(c: Curve, wide: float) -> tuple[str, tuple[float, float]]:
    """The head at the end of a curve as a path, and where its base is."""
    dx, dy = c[6] - c[4], c[7] - c[5]
    size = math.hypot(dx, dy) or 1.0
    dx, dy = dx / size, dy / size
    long, half = 4.5 + 1.2 * wide, 2 + 0.9 * wide
    bx, by = c[6] - long * dx, c[7] - long * dy
    return (
        f"M{c[6]:.1f} {c[7]:.1f}L{bx - half * dy:.1f} {by + half * dx:.1f}L{bx + half * dy:.1f} {by - half * dx:.1f}Z",
        (bx + dx, by + dy),
    )


def _edge_labels(graph: Graph, lines: list[Curve], look: Look, colors: Palette, taken: list[Box]) -> str:
    if not look.label or crowd(len(graph.names)):
        return ""
    values = graph.edges[look.label].to_numpy(np.float64)
    parts = []
    for i in sorted(range(len(lines)), key=lambda i: (-np.nan_to_num(values[i]), i)):
        if math.isnan(values[i]):
            continue
        text = worded(look.label, values[i], look.unit, look.counted)
        wide = 0.5 * (LETTER - 0.6) * len(text) + 2
        for t in (0.5, 0.36, 0.64, 0.25):
            x, y = at(lines[i], t)
            box = (x - wide, y - 7, x + wide, y + 6)
            if free(box, taken):
                taken.append(box)
                ground = (
                    f'<rect x="{x - wide:.1f}" y="{y - 6:.1f}" width="{2 * wide:.1f}" height="12" rx="3" '
                )
                parts.append(f'{ground}fill="{colors.bg}" opacity=".85"/>')
                parts.append(_text(x, y + 3.5, text, colors, colors.dim, size=10))
                break
    return "".join(parts)


def _text(
    x: float,
    y: float,
    text: str,
    colors: Palette,
    color: str,
    anchor: str = "middle",
    *,
    size: int = 11,
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{color}" '
        f'stroke="{colors.bg}" stroke-width="4" stroke-linejoin="round" paint-order="stroke">{esc(text)}</text>'
    )


def _legend(graph: Graph, look: Look, colors: Palette, view: Box) -> str:
    """Below the map: kinds, what width and colour mean, and words about the data."""
    x, y = view[0] + 10, view[1] + view[3] - 11
    parts = [f'<path d="M{view[0]:.0f} {y - 17:.1f}H{view[0] + view[2]:.0f}" stroke="{colors.line}"/>']
    for kind in [k for k in SHAPES if k in graph.kinds]:
        color = colors.categories[KIND_COLORS[kind]]
        parts.append(
            f'<path transform="translate({x + 5:.1f} {y - 4:.1f}) scale(5)" d="{SHAPES[kind]}" fill="none" '
            f'stroke="{color}" stroke-width=".3"/>' + _text(x + 14, y, kind, colors, colors.dim, "start")
        )
        x += 24 + LETTER * len(kind)
    for metric, is_color in ((look.width, False), (look.color, True)):
        if not metric:
            continue
        scale = Scale.of(metric, graph.edges[metric].to_numpy(np.float64))
        words = f"{'colour' if is_color else 'width'}: {titles(look.counted)[metric]}"
        low, high = (worded(metric, end, look.unit, look.counted) for end in (scale.low, scale.high))
        high += "+" if metric == "errors" else ""
        x += 8
        parts.append(_text(x, y, f"{words} {low}", colors, colors.dim, "start"))
        x += LETTER * len(f"{words} {low}") + 4
        for k in range(24):
            t = k / 23
            tall = 4.0 if is_color else width_of(t, 0)
            fill = ramp(t) if is_color else RAMP_QUIET
            parts.append(
                f'<rect x="{x + 2 * k:.1f}" y="{y - 4 - tall / 2:.1f}" width="2.2" height="{tall:.1f}" fill="{fill}"/>'
            )
        x += 54
        parts.append(_text(x, y, high, colors, colors.dim, "start"))
        x += LETTER * len(high) + 8
    if x + LETTER * len(look.said) < view[0] + view[2]:
        parts.append(_text(view[0] + view[2] - 10, y, look.said, colors, colors.dim, "end"))
    return "".join(parts)


RAMP_QUIET = ramp(0.0)


def _ground(colors: Palette, view: Box, theme: Theme) -> str:
    """A standalone picture brings its own background; one in a page has the page's."""
    if theme == "auto":
        return ""
    x, y, wide, tall = view
    return f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{tall:.0f}" fill="{colors.bg}"/>'


def _empty(look: Look, colors: Palette) -> str:
    title = f"{look.title}: " if look.title else ""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 80" width="640" role="img" '
        f'aria-label="{esc(title)}no connections yet" font-family="system-ui,sans-serif" font-size="13">'
        f'<text x="320" y="45" text-anchor="middle" fill="{colors.dim}">{esc(title)}no connections yet</text></svg>'
    )
