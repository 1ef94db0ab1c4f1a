"""A time series as a static picture: one SVG with its legend, readable without styles and scripts."""

from __future__ import annotations

import numpy as np

from bpfnb.views import moments
from bpfnb.views._style import Palette, Theme, esc, palette
from bpfnb.views.lines.bins import Floats
from bpfnb.views.lines.chart import Axis, Chart, Moments, axis, with_unit
from bpfnb.views.lines.text import about
from bpfnb.views.moments import clock

__all__ = ["DASHES", "picture"]

WIDTH, LEFT, RIGHT, TOP = 760, 74, 14, 30
STRIP, GAP, ROW, BOTTOM = 16, 8, 17, 24
LETTER = 6.4
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""Behind four colours comes the next pattern: lines are told apart without colours too."""
POINTS = 2000  # of a line; more are thinned out to the least and the largest of what one point stands for


def dash(slot: int) -> str:
    return "1 3" if slot < 0 else DASHES[slot // 4 % len(DASHES)]


def picture(chart: Chart, slots: list[int], *, title: str, height: int, zero: bool, theme: Theme) -> str:
    """*chart* with line i in the colour ``slots[i]`` (-1: the line of all others)."""
    colors = palette(theme)
    plot = max(80, height - TOP - BOTTOM)
    strip = STRIP + GAP if chart.lost is not None else 0
    legend = ROW * (len(chart.labels) + 1) if chart.labels else 0
    notes = 15 * len(chart.notes)
    total = TOP + plot + strip + BOTTOM + legend + notes + 4
    low, high = chart.largest()
    y_axis = axis(low, high, chart.unit, chart.per_second, zero=zero)
    parts = [_head(chart, title, colors), *_grid(chart, y_axis, plot, strip, colors)]
    if chart.empty:
        middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
        parts.append(_words(middle, TOP + plot / 2, "nothing was measured yet", colors.dim, "middle"))
    for i, slot in enumerate(slots):
        parts.append(_line(chart, i, y_axis, plot, _color(slot, colors), dash(slot)))
    if chart.lost is not None:
        parts += _losses(chart, TOP + plot + GAP, colors)
    parts += _legend(chart, slots, TOP + plot + strip + BOTTOM + 12, colors)
    for i, note in enumerate(chart.notes):
        y = TOP + plot + strip + BOTTOM + legend + 14 + 15 * i
        parts.append(_words(LEFT, y, note, colors.dim))
    label = esc(f"Time series {title}: {about(chart)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" height="{total}" '
        f'role="img" aria-label="{label}" font-family="system-ui,sans-serif" font-size="11" '
        f'style="background:{colors.bg};max-width:100%;height:auto">'
        f'<rect width="{WIDTH}" height="{total}" fill="{colors.bg}"/>{"".join(parts)}</svg>'
    )


def _x(chart: Chart, moment: float) -> float:
    low, high = chart.window
    return LEFT + (moment - low) / max(high - low, 1) * (WIDTH - LEFT - RIGHT)


def _color(slot: int, colors: Palette) -> str:
    return colors.dim if slot < 0 else colors.categories[slot % len(colors.categories)]


def _words(x: float, y: float, text: str, color: str, anchor: str = "start", weight: int = 400) -> str:
    # `style` as well: notebooks style the text of pictures, which would win over the attribute.
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" style="fill:{color}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{esc(text)}</text>'
    )


def _head(chart: Chart, title: str, colors: Palette) -> str:
    what = _words(LEFT, 14, title, colors.fg, weight=600) if title else ""
    at = LEFT + (len(title) * LETTER * 1.1 + 12 if title else 0)
    zone = "UTC" if chart.window[0] >= moments.EPOCH else ""
    return what + _words(at, 14, chart.what, colors.dim) + _words(WIDTH - RIGHT, 14, zone, colors.dim, "end")


def _grid(chart: Chart, y_axis: Axis, plot: int, strip: int, colors: Palette) -> list[str]:
    parts = []
    for tick, label in zip(y_axis.ticks, y_axis.labels, strict=True):
        y = TOP + plot * (1 - (tick - y_axis.low) / (y_axis.high - y_axis.low))
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colors.line}" '
            f'stroke-width="{1 if tick else 1.5}"/>'
        )
        if not chart.empty:
            parts.append(_words(LEFT - 6, y + 4, label, colors.dim, "end"))
    ticks, step = moments.ticks(*chart.window, 8)
    for tick in ticks:
        x, bottom = _x(chart, tick), TOP + plot + strip
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}" stroke="{colors.line}"/>'
        )
        parts.append(
            _words(
                min(max(x, LEFT), WIDTH - RIGHT - 20), bottom + 16, clock(tick, step), colors.dim, "middle"
            )
        )
    return parts


def _line(chart: Chart, line: int, y_axis: Axis, plot: int, color: str, dashes: str) -> str:
    inside = chart.shown()
    at, values = _thinned(chart.at[inside], chart.values[line, inside])
    points = [
        (_x(chart, moment), TOP + plot * (1 - (value - y_axis.low) / (y_axis.high - y_axis.low)))
        for moment, value in zip(at.tolist(), values.tolist(), strict=True)
    ]
    path, dots, run = [], [], 0
    for i, (x, y) in enumerate(points):
        if y != y:
            run = 0
            continue
        path.append(f"{'L' if run else 'M'}{x:.1f} {y:.1f}")
        run += 1
        if run == 1 and (i + 1 == len(points) or points[i + 1][1] != points[i + 1][1]):
            dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>')
    drawn = (
        f'<path d="{"".join(path)}" fill="none" stroke="{color}" stroke-width="1.6" stroke-linejoin="round"'
        + (f' stroke-dasharray="{dashes}"' if dashes else "")
        + "/>"
    )
    return f"<g><title>{esc(chart.labels[line])}</title>{drawn if path else ''}{''.join(dots)}</g>"


def _thinned(at: Moments, values: Floats) -> tuple[Moments, Floats]:
    """At most ``POINTS`` points, with every peak: of equally many neighbours the least and the largest."""
    if len(at) <= POINTS:
        return at, values
    each = -(-2 * len(at) // POINTS)
    kept = []
    for start in range(0, len(at), each):
        part = values[start : start + each]
        if np.isnan(part).all():
            kept.append([start])
        else:
            kept.append(sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))}))
    chosen = [i for part in kept for i in part]
    return at[chosen], values[chosen]


def _losses(chart: Chart, y: float, colors: Palette) -> list[str]:
    assert chart.lost is not None
    inside = (chart.stop > chart.window[0]) & (chart.start < chart.window[1])
    total = int(chart.lost[inside].sum())
    parts = [
        f'<rect x="{LEFT}" y="{y}" width="{WIDTH - LEFT - RIGHT}" height="{STRIP}" fill="{colors.soft}"/>',
        _words(LEFT - 6, y + 12, f"{total:,} lost", colors.bad if total else colors.dim, "end"),
    ]
    most = float(chart.lost.max(initial=1.0))
    for i in np.flatnonzero((chart.lost > 0) & inside):
        left = max(_x(chart, int(chart.start[i])), LEFT)
        right = min(max(_x(chart, int(chart.stop[i])), left + 2), WIDTH - RIGHT)
        tall = max(STRIP * float(chart.lost[i]) / most, 4.0)
        parts.append(
            f'<rect x="{left:.1f}" y="{y + STRIP - tall:.1f}" width="{right - left:.1f}" height="{tall:.1f}" '
            f'fill="{colors.bad}"><title>{int(chart.lost[i]):,} lost</title></rect>'
        )
    return parts


def _legend(chart: Chart, slots: list[int], y: float, colors: Palette) -> list[str]:
    if not chart.labels:
        return []
    columns = {
        "now": WIDTH - RIGHT - 300,
        "min": WIDTH - RIGHT - 200,
        "mean": WIDTH - RIGHT - 100,
        "max": WIDTH - RIGHT,
    }
    parts = [_words(x, y, name, colors.dim, "end") for name, x in columns.items()]
    most = int((WIDTH - RIGHT - 380 - LEFT) / LETTER)
    for i, slot in enumerate(slots):
        row = y + ROW * (i + 1)
        pattern = f' stroke-dasharray="{dash(slot)}"' if dash(slot) else ""
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + 22}" y1="{row - 4}" y2="{row - 4}" stroke="{_color(slot, colors)}" '
            f'stroke-width="3"{pattern}/>'
        )
        label = chart.labels[i]
        parts.append(
            _words(LEFT + 28, row, label if len(label) <= most else label[: most - 1] + "…", colors.fg)
        )
        numbers = chart.summary(i)
        parts += [
            _words(x, row, with_unit(numbers[name], chart.unit, chart.per_second), colors.fg, "end")
            for name, x in columns.items()
        ]
    return parts
