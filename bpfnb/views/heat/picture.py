"""A heatmap as a static picture: an SVG whose cells are one small image, with axes, legend, gaps and losses."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bpfnb.views import moments
from bpfnb.views._style import Palette, esc, humanize
from bpfnb.views.heat.colors import ZERO, scale, shade
from bpfnb.views.heat.grid import Block, Grid

__all__ = ["Picture", "png", "svg", "text"]

WIDTH, PLOT, LEFT, RIGHT, TOP, AXIS, LEGEND, NOTE = 720, 240, 64, 16, 26, 24, 34, 18
LETTER = 6.2
_SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Picture:
    """What is drawn."""

    grid: Grid
    block: Block
    labels: Sequence[str]  # of the edges
    what: str  # what is counted
    unit: str | None  # of what is counted
    mapping: str
    clock: bool


def png(counts: npt.NDArray[np.float64], measured: npt.NDArray[np.bool_], mapping: str) -> bytes:
    """Cells (columns, buckets) as a PNG of one pixel each, the highest bucket on top, gaps transparent.

    8-bit palette: https://www.w3.org/TR/png-3/
    """
    most = float(counts.max(initial=0))
    index = 2 + np.rint(shade(counts, most, mapping) * 253).astype(np.uint8)
    index[counts <= 0] = 1
    index[~measured & ~(counts > 0).any(axis=1)] = 0
    rows = np.ascontiguousarray(index.T[::-1])
    raw = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # each row begins with its filter: none
    colors = np.vstack([[0, 0, 0], ZERO, scale(254)]).astype(np.uint8)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 8, 3, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"PLTE", colors.tobytes()),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(raw, 9)),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in [*parts, (b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def svg(picture: Picture, colors: Palette, *, title: str = "", notes: Sequence[str] = ()) -> str:
    """The whole picture. Times are UTC, since nobody knows where it will be read."""
    grid, block = picture.grid, picture.block
    columns, buckets = block.counts.shape
    plot = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{PLOT}"'
    total = float(block.counts.sum())
    amount = f"{humanize(int(total) if total.is_integer() else total, picture.unit)} {picture.what}"
    body = (
        f'<text class="b-marktext" x="{LEFT}" y="15" font-weight="600" font-size="13" fill="{colors.fg}">{esc(title)}'
        f'</text><text x="{WIDTH - RIGHT}" y="15" text-anchor="end" fill="{colors.dim}">{esc(amount)}</text>'
    )
    image = png(block.counts, block.measured, picture.mapping) if columns and buckets else b""
    key = f"{zlib.crc32(image):08x}"  # ids are the whole page's
    body += (
        f'<defs><pattern id="gap{key}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="{colors.soft}"/>'
        f'<line x1="0" y1="0" x2="0" y2="6" stroke="{colors.dim}" '
        f'stroke-opacity="0.35" stroke-width="2"/></pattern></defs><rect {plot} fill="url(#gap{key})"/>'
    )
    if image:
        data = base64.b64encode(image).decode()
        body += (
            f'<image {plot} preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{data}"/>'
        )
    else:
        middle = f'x="{WIDTH / 2}" y="{TOP + PLOT / 2}" text-anchor="middle" font-size="14"'
        body += f'<text {middle} fill="{colors.dim}">no rows yet</text>'
    body += (
        _values(picture.labels, colors)
        + _times(picture, colors)
        + _losses(block, colors)
        + _legend(picture, colors, key)
    )
    bottom = TOP + PLOT + AXIS + LEGEND
    for note in notes:
        bottom += NOTE
        body += f'<text x="{LEFT}" y="{bottom - 4}" fill="{colors.dim}">{esc(note)}</text>'
    back = f'<rect width="100%" height="100%" fill="{colors.bg}"/>' if colors.bg.startswith("#") else ""
    label = (
        f"Heatmap {title}: {amount} in {columns} columns of {humanize(grid.every, 'ns')}, {buckets} buckets"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" width="{WIDTH}" role="img" '
        f'aria-label="{esc(label)}" font-family="system-ui,sans-serif" font-size="11" fill="{colors.dim}">'
        f"{back}{body}</svg>"
    )


def _values(labels: Sequence[str], colors: Palette) -> str:
    """Labels beside the edges, as many as fit above each other."""
    step = PLOT / max(1, len(labels) - 1)
    every = max(1, -(-16 // max(1, int(step))))
    out = ""
    for i in range(0, len(labels), every):
        y = TOP + PLOT - i * step
        out += f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{colors.dim}">{esc(labels[i])}</text>'
    return out


def _times(picture: Picture, colors: Palette) -> str:
    grid, block = picture.grid, picture.block
    columns = len(block.counts)
    if not columns:
        return ""
    start, stop = grid.moment(block.first), grid.moment(block.first + columns)
    found, step = moments.ticks(start, stop, 7)
    out = ""
    for moment in found:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (moment - start) / (stop - start)
        label = moments.clock(moment, step)
        half = len(label) * LETTER / 2  # the first and the last label stay clear of what is beside them
        middle = max(LEFT + half - 2, min(x, WIDTH - 2 - half))
        out += (
            f'<line class="b-grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP + PLOT}" y2="{TOP + PLOT + 4}" '
            f'stroke="{colors.line}"/><text x="{middle:.1f}" y="{TOP + PLOT + 17}" text-anchor="middle" '
            f'fill="{colors.dim}">{esc(label)}</text>'
        )
    zone = "UTC" if picture.clock else ""
    return (
        out
        + f'<text x="{LEFT - 6}" y="{TOP + PLOT + 17}" text-anchor="end" fill="{colors.dim}">{zone}</text>'
    )


def _losses(block: Block, colors: Palette) -> str:
    """A red mark over each column in which events were lost."""
    wide = (WIDTH - LEFT - RIGHT) / max(1, len(block.counts))
    out = ""
    for i in np.flatnonzero(block.lost).tolist():
        said = f"{int(block.lost[i]):,} events lost"
        out += (
            f'<rect x="{LEFT + i * wide:.1f}" y="{TOP - 5}" width="{max(2.0, wide):.1f}" height="4" '
            f'fill="{colors.bad}"><title>{said}</title></rect>'
        )
    return out


def _legend(picture: Picture, colors: Palette, key: str) -> str:
    """The scale with its numbers, what a gap looks like, and what a loss looks like."""
    y = TOP + PLOT + AXIS + 10
    most = float(picture.block.counts.max(initial=0))
    stops = "".join(
        f'<stop offset="{i / 8:.3f}" stop-color="rgb({r},{g},{b})"/>'
        for i, (r, g, b) in enumerate(scale(9).tolist())
    )
    zero = f"rgb({ZERO[0]},{ZERO[1]},{ZERO[2]})"
    top = humanize(int(most) if most.is_integer() else most, picture.unit)
    out = (
        f'<defs><linearGradient id="scale{key}">{stops}</linearGradient></defs>'
        f'<rect x="{LEFT}" y="{y}" width="12" height="10" fill="{zero}" stroke="{colors.line}"/>'
        f'<text x="{LEFT + 16}" y="{y + 9}" fill="{colors.dim}">0</text>'
        f'<rect x="{LEFT + 34}" y="{y}" width="120" height="10" fill="url(#scale{key})"/>'
        f'<text x="{LEFT + 160}" y="{y + 9}" fill="{colors.dim}">{esc(top)} {esc(picture.what)} ({picture.mapping})'
        "</text>"
    )
    x = LEFT + 160 + (len(top) + len(picture.what) + len(picture.mapping) + 4) * LETTER + 16
    kinds = []
    if not picture.block.measured.all():
        kinds.append((f"url(#gap{key})", "not measured"))
    if picture.block.lost.any():
        kinds.append((colors.bad, "events lost"))
    for color, words in kinds:
        out += (
            f'<rect x="{x:.1f}" y="{y}" width="12" height="10" fill="{color}"/>'
            f'<text x="{x + 16:.1f}" y="{y + 9}" fill="{colors.dim}">{words}</text>'
        )
        x += 16 + len(words) * LETTER + 16
    return out


def text(picture: Picture, width: int = 60) -> str:
    """A line a bucket, the highest on top, and a letter a column; ``?`` where nothing was measured."""
    counts, measured = picture.block.counts, picture.block.measured
    if not len(counts):
        return "no rows yet"
    most = float(counts.max(initial=0))
    level = np.ceil(shade(counts, most, picture.mapping) * (len(_SHADES) - 1)).astype(int)
    step = -(-len(counts) // width)
    lines = []
    wide = max(map(len, picture.labels))
    for bucket in range(counts.shape[1] - 1, -1, -1):
        cells = "".join(
            _SHADES[level[i : i + step, bucket].max()] if measured[i : i + step].any() else "?"
            for i in range(0, len(counts), step)
        )
        lines.append(f"{picture.labels[bucket]:>{wide}} |{cells}|")
    grid = picture.grid
    start, stop = (grid.moment(picture.block.first + i) for i in (0, len(counts)))
    zone = " UTC" if picture.clock else ""
    span = f"{moments.clock(start, 10**9)} to {moments.clock(stop, 10**9)}{zone}"
    lines.append(
        f"{'':>{wide}}  {span}, {humanize(step * grid.every, 'ns')} a letter; @ is {most:,.0f} {picture.what}"
    )
    return "\n".join(lines)
