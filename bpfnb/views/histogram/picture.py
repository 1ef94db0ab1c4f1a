"""A histogram as a static picture: an SVG without scripts, and the same numbers as a table beneath."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bpfnb.views._style import Palette, esc, palette, pictured, styled
from bpfnb.views.histogram.flags import placed
from bpfnb.views.histogram.parts import Part, everything, parts
from bpfnb.views.histogram.text import edge_labels, marks, range_labels, summary
from bpfnb.views.plain import Table

if TYPE_CHECKING:
    from bpfnb.views.histogram.value import Histogram

__all__ = ["counts_table", "html", "svg"]

WIDTH, PLOT, LEFT, RIGHT, TOP, BOTTOM = 720, 150, 56, 16, 58, 24
SMALL_PLOT, GUTTER, LEGEND, NOTE = 104, 12, 18, 18
LETTER = 6.2  # px a letter of an 11 px face takes, a little generously
OTHERS = "#8b949e"


def html(h: Histogram) -> str:
    """The picture and the counts as a table."""
    picture = pictured(svg(h, palette("light")), "light")
    return styled(picture + counts_table(h), f"Histogram {h.name}".strip())


def counts_table(h: Histogram) -> str:
    """The counts of all groups, folded away."""
    grouped = h.groups != ("",)
    rows = [
        (*((group,) if grouped else ()), label, count)
        for group, row in zip(h.groups, h.table, strict=True)
        for label, count in zip(range_labels(h), row.tolist(), strict=True)
        if count or not grouped
    ]
    table = Table((*(("group",) if grouped else ()), "range", "count"), rows, empty="no values")
    return f"<details><summary>Counts as a table</summary>{table.html()}</details>"


def svg(
    h: Histogram,
    colors: Palette,
    *,
    layout: str = "multiples",
    log: bool = False,
    title: str = "",
    note: str = "",
    places: Sequence[str] = (),
) -> str:
    """One chart a group, all on the same buckets, or one with the groups ``stacked``; *log*: the axis of counts.

    *note* stands below. Charts of several groups have one scale of counts each, as its axis says.
    """
    shown = parts(h, places)
    notes = [note] * bool(note)
    if h.missing:
        notes.append(f"{h.missing:,} missing values (NaN) are in no bucket")
    if not (h.table if h.behind is None else h.behind).any():
        pen = _Pen(h, colors, log, 0, 0, WIDTH, PLOT)
        body, bottom = pen.nothing(title or h.name), pen.height
    elif layout == "stacked" and len(shown) > 1:
        pen = _Pen(h, colors, log, 0, 0, WIDTH, PLOT)
        body, bottom = pen.stack(shown, title or h.name), pen.height + LEGEND
    else:
        across = 1 if len(shown) == 1 else 2
        width = (WIDTH - GUTTER * (across - 1)) / across
        body, bottom, top = "", 0.0, 0.0
        if across > 1 and (title or h.name):
            body, top = _strong(LEFT, 13, title or h.name, colors, 13), 24.0
        for i, part in enumerate(shown):
            row, column = divmod(i, across)
            pen = _Pen(
                h, colors, log, column * (width + GUTTER), 0, width, PLOT if across == 1 else SMALL_PLOT
            )
            pen.y = top + row * (pen.height + GUTTER)
            body += pen.chart(part, part.label or title or h.name)
            bottom = pen.y + pen.height
    for line in notes:
        bottom += NOTE
        body += f'<text x="{LEFT}" y="{bottom - 3:.1f}" fill="{colors.dim}">{esc(line)}</text>'
    about = "; ".join(
        f"{part.label}: {summary(h, part)}" if part.label else summary(h, part) for part in shown
    )
    label = f"Histogram {title or h.name}".strip() + f": {about}"
    back = f'<rect width="100%" height="100%" fill="{colors.bg}"/>' if colors.bg.startswith("#") else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom:.0f}" width="{WIDTH}" '
        f'role="img" aria-label="{esc(label)}" font-family="system-ui,sans-serif" font-size="11" '
        f'fill="{colors.dim}">{back}{body}</svg>'
    )


class _Pen:
    """Draws one chart with its upper left corner at x, y."""

    def __init__(
        self, h: Histogram, colors: Palette, log: bool, x: float, y: float, width: float, plot: float
    ) -> None:
        self.h, self.colors, self.log = h, colors, log
        self.x, self.y, self.width, self.plot = x, y, width, plot
        self.step = (width - LEFT - RIGHT) / (len(h.edges) - 1)
        self.height = TOP + plot + BOTTOM

    def nothing(self, title: str) -> str:
        """No axes, which would be those of a bucket that nobody asked for."""
        x, y = self.x + self.width / 2, self.y + TOP + self.plot / 2
        said = f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="14" fill="{self.colors.dim}">'
        return _strong(self.x + LEFT, self.y + 12, title, self.colors) + said + "no values</text>"

    def chart(self, part: Part, title: str) -> str:
        """One group."""
        behind = part.counts if part.behind is None else part.behind
        most = int(behind.max(initial=0))
        out = [self._head(title, f"{int(part.counts.sum()):,} values"), self._grid(most)]
        if part.behind is not None:
            out.append(self._bars(behind, most, self.colors.line, "before the filter"))
        out.append(self._bars(part.counts, most, self.colors.accent))
        out.append(self._axis())
        if part.counts.any():
            out.append(self._marks(marks(self.h, part.percentiles, part.exact)))
        return "".join(out)

    def stack(self, shown: list[Part], title: str) -> str:
        """All groups on top of each other, the first lowest, with a legend below."""
        whole = everything(self.h)
        most = int((whole.counts if whole.behind is None else whole.behind).max(initial=0))
        out = [self._head(title, f"{int(whole.counts.sum()):,} values"), self._grid(most)]
        if whole.behind is not None:
            out.append(self._bars(whole.behind, most, self.colors.line, "before the filter"))
        below = np.zeros_like(whole.counts)
        legend, x = "", float(LEFT)
        for i, part in enumerate(shown):
            color = OTHERS if part.others else self.colors.categories[i % len(self.colors.categories)]
            out.append(self._bars(part.counts, most, color, part.label, below))
            below = below + part.counts
            y = self.height + 4
            legend += f'<rect x="{x:.1f}" y="{y}" width="9" height="9" rx="2" fill="{color}"/>'
            text = part.label if len(part.label) <= 16 else part.label[:15] + "…"
            legend += f'<text x="{x + 13:.1f}" y="{y + 9}" fill="{self.colors.dim}">{esc(text)}</text>'
            x += 13 + len(text) * LETTER + 14
        out += [self._axis(), legend]
        if whole.counts.any():
            out.append(self._marks(marks(self.h, whole.percentiles, whole.exact)))
        return "".join(out)

    def _tall(self, count: float, most: int) -> float:
        if count <= 0 or most <= 0:
            return 0.0
        if self.log:  # a count of one is to be seen: the axis begins below it
            return self.plot * math.log2(count * 2) / math.log2(most * 2)
        return self.plot * count / most

    def _head(self, title: str, count: str) -> str:
        right = self.x + self.width - RIGHT
        room = max(4, int((self.width - LEFT - RIGHT) / LETTER) - len(count) - 2)
        title = title if len(title) <= room else title[: room - 1] + "…"
        return (
            _strong(self.x + LEFT, self.y + 12, title, self.colors)
            + f'<text x="{right:.1f}" y="{self.y + 12:.1f}" text-anchor="end" fill="{self.colors.dim}">{count}</text>'
        )

    def _grid(self, most: int) -> str:
        base, right = self.y + TOP + self.plot, self.x + self.width - RIGHT
        out = ""
        for tick in [0, *_ticks(most, self.log)]:
            y = base - self._tall(tick, most)
            out += (
                f'<line class="b-grid" x1="{self.x + LEFT:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="{self.colors.line}"/>'
            )
            if tick:
                out += (
                    f'<text x="{self.x + LEFT - 6:.1f}" y="{y + 4:.1f}" text-anchor="end" '
                    f'fill="{self.colors.dim}">{_short(tick)}</text>'
                )
        return out

    def _bars(
        self,
        counts: npt.NDArray[np.int64],
        most: int,
        color: str,
        about: str = "",
        below: npt.NDArray[np.int64] | None = None,
    ) -> str:
        base, gap = self.y + TOP + self.plot, min(1.0, self.step / 8)
        floors = np.zeros_like(counts) if below is None else below
        out = []
        rows = zip(range_labels(self.h), counts.tolist(), floors.tolist(), strict=True)
        for i, (label, count, floor) in enumerate(rows):
            if not count:
                continue
            top, bottom = self._tall(floor + count, most), self._tall(floor, most)
            tall = max(top - bottom, 1.0)
            said = f"{about}, {label}: {count:,}" if about else f"{label}: {count:,}"
            out.append(
                f'<rect x="{self.x + LEFT + i * self.step + gap:.1f}" y="{base - bottom - tall:.1f}" '
                f'width="{self.step - 2 * gap:.1f}" height="{tall:.1f}" fill="{color}">'
                f"<title>{esc(said)}</title></rect>"
            )
        return "".join(out)

    def _axis(self) -> str:
        """Labels under the edges, as many as fit without touching."""
        labels, base = edge_labels(self.h), self.y + TOP + self.plot
        widest = max(map(len, labels), default=1) * LETTER + 8
        every = max(1, math.ceil(widest / self.step))
        out = ""
        for i in range(0, len(labels), every):
            x = self.x + LEFT + i * self.step
            at, anchor = (x, "middle") if i < len(labels) - 1 else (x + RIGHT, "end")
            out += (
                f'<line class="b-grid" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}" '
                f'stroke="{self.colors.line}"/><text x="{at:.1f}" y="{base + 16}" text-anchor="{anchor}" '
                f'fill="{self.colors.dim}">{esc(labels[i])}</text>'
            )
        return out

    def _marks(self, found: list[tuple[str, float]]) -> str:
        """Dashed lines at the percentiles, each with its label beside its top, like a flag."""
        base, end = self.y + TOP + self.plot, self.x + self.width
        lines = [self.x + LEFT + at * self.step for _, at in found]
        wide = [len(label) * LETTER for label, _ in found]
        places = placed(list(zip(lines, wide, strict=True)), self.x, end)
        out = ""
        for (label, _), x, (left, row) in zip(found, lines, places, strict=True):
            y = self.y + TOP - 6 - 13 * row
            out += (
                f'<line class="b-mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8:.1f}" y2="{base}" '
                f'stroke="{self.colors.fg}" stroke-dasharray="3 3"/><text class="b-marktext" x="{left:.1f}" '
                f'y="{y:.1f}" fill="{self.colors.fg}" paint-order="stroke" stroke="{self.colors.bg}" '
                f'stroke-width="3">{esc(label)}</text>'
            )
        return out


def _strong(x: float, y: float, text: str, colors: Palette, size: int = 11) -> str:
    return (
        f'<text class="b-marktext" x="{x:.1f}" y="{y:.1f}" font-weight="600" font-size="{size}" '
        f'fill="{colors.fg}">{esc(text)}</text>'
    )


def _ticks(most: int, log: bool) -> list[int]:
    """Two to four whole numbers up to *most*; on a logarithmic axis powers of ten."""
    if most < 1:
        return []
    power = 10 ** (len(str(most)) - 1)
    if log:
        powers = list(accumulate([10] * (len(str(most)) - 1), int.__mul__, initial=1))
        return powers[:: math.ceil(len(powers) / 5)]
    step = next(s for s in (power // 2 or 1, power, 2 * power, 5 * power) if most // s <= 4)
    return list(range(step, most + 1, step))


def _short(count: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)
