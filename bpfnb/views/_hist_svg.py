"""A histogram as a static picture: inline SVG without scripts, and the same numbers as a table beneath."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bpfnb.views._hist_text import edge_labels, marks, range_labels, summary
from bpfnb.views._style import esc, styled
from bpfnb.views.table import Table

if TYPE_CHECKING:
    from bpfnb.views.hist import Histogram

__all__ = ["html"]

WIDTH, PLOT, LEFT, RIGHT, TOP, BOTTOM = 640, 150, 56, 16, 58, 22
LETTER = 6.2  # px a letter of an 11 px face takes, a little generously
MAX_GROUPS = 8


def html(h: Histogram) -> str:
    """One chart a group, largest first, all on the same buckets; further groups are in the table only."""
    charts = "".join(_chart(h, i) for i in range(min(len(h.groups), MAX_GROUPS)))
    more = len(h.groups) - MAX_GROUPS
    if more > 0:
        charts += f'<p class="b-dim">{more} more group{"s" * (more > 1)} in the table</p>'
    if h.missing:
        charts += f'<p class="b-dim">{h.missing:,} missing values (NaN) are in no bucket</p>'
    grouped = h.groups != ("",)
    rows = [
        (*((group,) if grouped else ()), label, count)
        for group, row in zip(h.groups, h.table, strict=True)
        for label, count in zip(range_labels(h), row.tolist(), strict=True)
        if count or not grouped
    ]
    table = Table((*(("group",) if grouped else ()), "range", "count"), rows, empty="no values")
    details = f"<details><summary>Counts as a table</summary>{table.html()}</details>"
    return styled(charts + details, f"Histogram {h.name}".strip())


def _chart(h: Histogram, index: int) -> str:
    group, counts = h.groups[index], h.table[index]
    buckets = len(counts)
    step = (WIDTH - LEFT - RIGHT) / buckets
    most = int(counts.max(initial=0))
    base = TOP + PLOT
    parts = []
    for tick in _ticks(most):
        y = base - PLOT * tick / max(most, 1)
        parts.append(f'<line class="b-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    gap = min(1.0, step / 8)
    for i, (label, count) in enumerate(zip(range_labels(h), counts.tolist(), strict=True)):
        if not count:
            continue
        tall = max(PLOT * count / most, 1.0)
        parts.append(
            f'<rect class="b-column" x="{LEFT + i * step + gap:.1f}" y="{base - tall:.1f}" '
            f'width="{step - 2 * gap:.1f}" height="{tall:.1f}"><title>{esc(label)}: {count:,}</title></rect>'
        )
    parts.append(f'<line class="b-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    parts += _axis(edge_labels(h), step, base)
    if most:
        parts += _marks(marks(h, group), step, base)
    title = " ".join(filter(None, [h.name, f"[{group}]" if group else ""]))
    about = summary(h, group)
    heading = (
        f'<text class="b-marktext" x="{LEFT}" y="12" font-weight="600">{esc(title)}</text>' if title else ""
    )
    count = f'<text x="{WIDTH - RIGHT}" y="12" text-anchor="end">{int(counts.sum()):,} values</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {base + BOTTOM}" role="img" aria-label="{esc(f"{title}: {about}")}">'
        f"{heading}{count}{''.join(parts)}</svg>"
    )


def _axis(labels: list[str], step: float, base: float) -> list[str]:
    """Labels under the edges, as many as fit without touching."""
    widest = max(map(len, labels), default=1) * LETTER + 8
    every = max(1, int(np.ceil(widest / step)))
    parts = []
    for i in range(0, len(labels), every):
        x = LEFT + i * step
        parts.append(f'<line class="b-grid" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{esc(labels[i])}</text>')
    return parts


def _marks(found: list[tuple[str, float]], step: float, base: float) -> list[str]:
    """Dashed lines at the percentiles, each with its label to the right of its top, like a flag.

    From right to left, a label that reaches beyond lines to its right stands a row above theirs, so none is crossed.
    """
    placed: list[tuple[float, int]] = []  # where the lines to the right stand, and how high they reach
    parts = []
    for label, at in sorted(found, key=lambda mark: -mark[1]):
        x = LEFT + at * step
        end = x + 4 + len(label) * LETTER
        row = 1 + max((r for other, r in placed if other < end), default=-1)
        placed.append((x, row))
        y = TOP - 6 - 13 * row
        left = min(x + 4, WIDTH - len(label) * LETTER)
        parts.append(f'<line class="b-mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{base}"/>')
        parts.append(f'<text class="b-marktext" x="{left:.1f}" y="{y}">{esc(label)}</text>')
    return parts


def _ticks(most: int) -> list[int]:
    """Two to four whole numbers up to *most*."""
    if most < 1:
        return []
    power = 10 ** (len(str(most)) - 1)
    step = next(s for s in (power // 2 or 1, power, 2 * power, 5 * power) if most // s <= 4)
    return list(range(step, most + 1, step))


def _short(count: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)
