"""A time series in words and as text: one row a line, with a curve of block characters."""

from __future__ import annotations

import numpy as np

from bpfnb.views import moments
from bpfnb.views._style import printable
from bpfnb.views.lines.bins import Floats
from bpfnb.views.lines.chart import Chart, with_unit

__all__ = ["about", "text"]

_BLOCKS = " ▁▂▃▄▅▆▇█"


def about(chart: Chart) -> str:
    """One sentence: what is drawn, from when to when, the lines with their last numbers, and losses."""
    if chart.empty:
        return "nothing was measured yet"
    shown = [
        f"{label} {with_unit(chart.summary(i)['now'], chart.unit, chart.per_second)}"
        for i, label in enumerate(chart.labels[:9])
    ]
    seconds = (chart.window[1] - chart.window[0]) / 1e9
    lost = "" if chart.lost is None or not chart.lost.any() else f"; {int(chart.lost.sum()):,} lost"
    return f"{chart.what or 'values'} over {seconds:,.3g} s; last: {', '.join(shown)}{lost}"


def text(chart: Chart, title: str, width: int = 48) -> str:
    """As for a terminal; the curves share one scale from zero (or the least number below) to the largest."""
    if chart.empty:
        return f"{title}: nothing was measured yet" if title else "nothing was measured yet"
    low, high = chart.largest()
    low = min(low, 0.0)
    inside = chart.shown()
    names = [printable(label) for label in chart.labels]
    wide = max(map(len, [*names, "line"]))
    head = " ".join(filter(None, [title, chart.what]))
    rows = [
        f"{head}, {_span(chart)}",
        f"{'line':<{wide}}  {'':<{width}}  {'now':>12} {'mean':>12} {'max':>12}",
    ]
    for i, name in enumerate(names):
        numbers = chart.summary(i)
        cells = " ".join(
            f"{with_unit(numbers[key], chart.unit, chart.per_second):>12}" for key in ("now", "mean", "max")
        )
        rows.append(f"{name:<{wide}}  {_curve(chart.values[i, inside], low, high, width)}  {cells}")
    if chart.lost is not None and chart.lost[: chart.solid].any():
        rows.append(f"{int(chart.lost.sum()):,} lost")
    return "\n".join([*rows, *chart.notes])


def _span(chart: Chart) -> str:
    _, step = moments.ticks(*chart.window, 8)
    zone = " UTC" if chart.window[0] >= moments.EPOCH else ""
    return f"{moments.clock(chart.window[0], step)} to {moments.clock(chart.window[1], step)}{zone}"


def _curve(values: Floats, low: float, high: float, width: int) -> str:
    parts = []
    for part in (
        np.array_split(values, width)
        if len(values) > width
        else [values[i : i + 1] for i in range(len(values))]
    ):
        known = part[np.isfinite(part)]
        level = (float(known.max()) - low) / ((high - low) or 1.0) if len(known) else 0.0
        parts.append(_BLOCKS[min(round(level * 8), 8)] if len(known) else " ")
    return "".join(parts).ljust(width)
