"""Between buckets that were pointed at and conditions on a column, both ways and exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bpfnb.views._buckets import Edges, Number
from bpfnb.views.histogram.text import position

if TYPE_CHECKING:
    from bpfnb.views.histogram.value import Histogram

__all__ = ["condition", "merged", "spans"]

Span = tuple[int, int]


def merged(buckets: Sequence[Sequence[int]], count: int) -> list[Span]:
    """Runs of buckets ``[start, stop)`` in order, those that touch as one, cut to the *count* there are."""
    out: list[Span] = []
    for start, stop in sorted((max(0, int(a)), min(count, int(b))) for a, b in buckets):
        if start >= stop:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return out


def condition(buckets: Sequence[Span], edges: Edges) -> list[dict[str, Number]]:
    """The ranges of values in these runs of buckets. Edges that bound nothing (infinity, 2**64) are left out."""
    out = []
    for start, stop in buckets:
        low, high = edges[start], edges[stop]
        tests: dict[str, Number] = {"ge": low} if low > -math.inf else {}
        if high < math.inf and not (isinstance(high, int) and high >= 1 << 64):
            tests["lt"] = high
        if tests:
            out.append(tests)
    return out


def spans(h: Histogram, selected: Any, slots: bool) -> list[tuple[float, float]]:
    """Where a condition lies on the axis, in buckets from the left; whatever it tests but ranges is left out.

    *slots*: the condition is on the number of the bucket.
    """
    size = len(h.edges) - 1
    out = []
    for tests in selected if isinstance(selected, list) else [selected]:
        if not isinstance(tests, Mapping):
            continue
        low = tests.get("ge", tests.get("gt"))
        high = tests.get("lt", tests.get("le"))
        if "in" in tests and slots:
            out += [_cut(slot - h.low, slot - h.low + 1, size) for slot in tests["in"]]
        elif low is not None or high is not None:
            if slots:
                start = 0 if low is None else low - h.low + ("gt" in tests)
                stop = size if high is None else high - h.low + ("le" in tests)
            else:
                start, stop = _at(h, low, 0), _at(h, high, size)
            out.append(_cut(start, stop, size))
    return [(a, b) for a, b in out if a < b]


def _at(h: Histogram, value: Number | None, default: float) -> float:
    if value is None:
        return default
    if value in h.edges:
        return h.edges.index(value)
    return position(h, value)


def _cut(start: float, stop: float, size: int) -> tuple[float, float]:
    return min(max(start, 0), size), min(max(stop, 0), size)
