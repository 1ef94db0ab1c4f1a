"""A histogram as text, and the labels that every drawing of one shares."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from bpfnb.views._buckets import Edges, Number
from bpfnb.views._style import humanize, humanize_all, printable
from bpfnb.views.histogram.parts import Part, each

if TYPE_CHECKING:
    from bpfnb.views.histogram.value import Histogram

__all__ = ["edge_labels", "marks", "position", "range_labels", "summary", "text"]


def edge_labels(h: Histogram) -> list[str]:
    """One label an edge; edges at infinity have none."""
    return list(_edge_labels(h.edges, h.unit))


def range_labels(h: Histogram) -> list[str]:
    """One label a bucket: ``[1 us, 2 us)``, ``5`` where a bucket holds one whole number, ``< 0``, ``>= 100``."""
    return list(_range_labels(h.edges, h.unit, tuple(map(type, h.edges))))


@lru_cache(128)  # live pictures ask for the same ones again and again
def _edge_labels(edges: Edges, unit: str | None) -> tuple[str, ...]:
    finite = [e for e in edges if math.isfinite(e)]
    labels = dict(zip(finite, humanize_all(finite, unit), strict=True))
    return tuple(labels.get(edge, "") for edge in edges)


@lru_cache(128)
def _range_labels(edges: Edges, unit: str | None, kinds: tuple[type, ...]) -> tuple[str, ...]:  # noqa: ARG001
    # *kinds*: 1 and 1.0 are one key to the cache, but not one edge.
    labels = _edge_labels(edges, unit)
    ranges = []
    for i, (low, high) in enumerate(pairwise(edges)):
        if low == -math.inf:
            ranges.append(f"< {labels[i + 1]}")
        elif high == math.inf:
            ranges.append(f">= {labels[i]}")
        elif isinstance(low, int) and isinstance(high, int) and high - low == 1:
            ranges.append(labels[i])
        else:
            ranges.append(f"[{labels[i]}, {labels[i + 1]})")
    return tuple(ranges)


def position(h: Histogram, value: Number) -> float:
    """Where *value* stands when every bucket is one wide: logarithmic within a bucket of doubling ones."""
    i = min(max(bisect_right(h.edges, value) - 1, 0), len(h.edges) - 2)
    low, high = h.edges[i], h.edges[i + 1]
    if not (math.isfinite(low) and math.isfinite(high)):
        return i + 0.5
    if isinstance(low, int) and isinstance(high, int) and high - low == 1:
        return i + 0.5
    value = min(max(value, low), high)
    if low > 0 and high == 2 * low:
        return i + math.log2(value / low)
    return i + (value - low) / (high - low)


def marks(h: Histogram, percentiles: Mapping[Number, Number], exact: bool) -> list[tuple[str, float]]:
    """Percentiles as (``p50 1.2 us``, position); interpolated ones with a ``~``."""
    return [
        (f"p{percent:g} {'' if exact else '~'}{humanize(value, h.unit)}", position(h, value))
        for percent, value in percentiles.items()
        if not math.isnan(value)
    ]


def summary(h: Histogram, part: Part) -> str:
    """One line under a group: how many values, and the percentiles with how they were found."""
    count = int(part.counts.sum())
    parts = [f"{count:,} value{'' if count == 1 else 's'}"]
    parts += [label for label, _ in marks(h, part.percentiles, part.exact)]
    line = ", ".join(parts)
    if not part.exact and count:
        line += " (percentiles interpolated within buckets)"
    return line


def text(h: Histogram, width: int = 40) -> str:
    """Bars of asterisks under ``range : count``, one block a group; bars of all groups share one scale."""
    ranges = range_labels(h)
    wide = max(map(len, [*ranges, "range"]))
    most = int(h.table.max(initial=0))
    number = max(len(f"{most:,}"), len("count"))
    blocks = []
    for part in each(h):
        title = " ".join(filter(None, [h.name, part.label and f"[{printable(part.label)}]"]))
        lines = [title] * bool(title) + [f"{'range':>{wide}} : {'count':<{number}} distribution"]
        for label, count in zip(ranges, part.counts.tolist(), strict=True):
            bar = "*" * max(round(width * count / most), count > 0) if most else ""
            lines.append(f"{label:>{wide}} : {count:<{number},} |{bar:<{width}}|")
        blocks.append("\n".join([*lines, summary(h, part)]))
    if h.missing:
        blocks.append(f"{h.missing:,} missing values (NaN) are in no bucket")
    return "\n\n".join(blocks)
