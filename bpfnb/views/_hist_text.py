"""A histogram as text, and the labels that every drawing of one shares."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

from bpfnb.views._buckets import Number
from bpfnb.views._style import humanize, humanize_all, printable

if TYPE_CHECKING:
    from bpfnb.views.hist import Histogram

__all__ = ["edge_labels", "marks", "position", "range_labels", "summary", "text"]


def edge_labels(h: Histogram) -> list[str]:
    """One label an edge; edges at infinity have none."""
    finite = [e for e in h.edges if math.isfinite(e)]
    labels = dict(zip(finite, humanize_all(finite, h.unit), strict=True))
    return [labels.get(edge, "") for edge in h.edges]


def range_labels(h: Histogram) -> list[str]:
    """One label a bucket: ``[1 us, 2 us)``, ``5`` where a bucket holds one whole number, ``< 0``, ``>= 100``."""
    labels = edge_labels(h)
    ranges = []
    for i, (low, high) in enumerate(zip(h.edges, h.edges[1:], strict=False)):
        if low == -math.inf or (low < 0 and high == 0 and i == 0 and len(h.edges) > 2 and h.edges[2] > 0):
            ranges.append(f"< {labels[i + 1]}")
        elif high == math.inf:
            ranges.append(f">= {labels[i]}")
        elif isinstance(low, int) and isinstance(high, int) and high - low == 1:
            ranges.append(labels[i])
        else:
            ranges.append(f"[{labels[i]}, {labels[i + 1]})")
    return ranges


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


def marks(h: Histogram, group: str) -> list[tuple[str, float]]:
    """The percentiles of a group as (``p50 1.2 us``, position); interpolated ones with a ``~``."""
    about = "" if h.exact else "~"
    return [
        (f"p{percent:g} {about}{humanize(value, h.unit)}", position(h, value))
        for percent, value in h.percentiles[group].items()
        if not math.isnan(value)
    ]


def summary(h: Histogram, group: str) -> str:
    """One line under a group: how many values, and the percentiles with how they were found."""
    count = int(h.table[h.groups.index(group)].sum())
    parts = [f"{count:,} value{'' if count == 1 else 's'}"]
    parts += [label for label, _ in marks(h, group)]
    line = ", ".join(parts)
    if not h.exact and count:
        line += " (percentiles interpolated within buckets)"
    return line


def text(h: Histogram, width: int = 40) -> str:
    """Bars of asterisks under ``range : count``, one block a group; bars of all groups share one scale."""
    ranges = range_labels(h)
    wide = max(map(len, [*ranges, "range"]))
    most = int(h.table.max(initial=0))
    number = max(len(f"{most:,}"), len("count"))
    blocks = []
    for group, row in zip(h.groups, h.table, strict=True):
        title = " ".join(filter(None, [h.name, group and f"[{printable(group)}]"]))
        lines = [title] * bool(title) + [f"{'range':>{wide}} : {'count':<{number}} distribution"]
        for label, count in zip(ranges, row.tolist(), strict=True):
            bar = "*" * max(round(width * count / most), count > 0) if most else ""
            lines.append(f"{label:>{wide}} : {count:<{number},} |{bar:<{width}}|")
        blocks.append("\n".join([*lines, summary(h, group)]))
    if h.missing:
        blocks.append(f"{h.missing:,} missing values (NaN) are in no bucket")
    return "\n\n".join(blocks)
