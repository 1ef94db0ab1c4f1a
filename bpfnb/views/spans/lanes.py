"""Events with a start and a duration in lanes, one for each thread or whatever names them; overlaps are stacked."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bpfnb.views.spans.columns import Spans

__all__ = ["Lanes", "lanes"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lanes:
    """``order``: index into the spans, by start. ``line``: where each is drawn. ``labels``: the lane of each line,
    empty for its second and further ones.
    """

    order: Ints
    line: Ints
    labels: list[str]


def lanes(spans: Spans, chosen: Ints) -> Lanes:
    """Each span in the first line of its lane that is free when it starts. Lanes are in their order, or by the time of
    their first span where they have none.
    """
    order = chosen[np.lexsort((-spans.duration[chosen], spans.start[chosen]))]
    codes = np.asarray(spans.lane.codes, np.int64)[order]
    start, end = spans.start[order], spans.end[order]
    level = np.zeros(len(order), np.int64)
    free: dict[int, list[int]] = {}  # levels that are free again, the lowest first
    busy: dict[int, list[tuple[int, int]]] = {}  # (until when, level)
    height: dict[int, int] = {}  # in the order of each lane's first span
    for i, code in enumerate(codes.tolist()):
        waiting, running = free.setdefault(code, []), busy.setdefault(code, [])
        while running and running[0][0] <= start[i]:
            heapq.heappush(waiting, heapq.heappop(running)[1])
        if waiting:
            level[i] = heapq.heappop(waiting)
        else:
            level[i] = height.get(code, 0)
            height[code] = int(level[i]) + 1
        heapq.heappush(running, (max(int(end[i]), int(start[i]) + 1), int(level[i])))
    names = [*map(str, spans.lane.categories), "(none)"]
    first: dict[int, int] = {}
    labels: list[str] = []
    for code, lines in sorted(height.items()) if spans.lane.ordered else height.items():
        first[code] = len(labels)
        labels += [names[code], *[""] * (lines - 1)]
    line = np.array([first[code] for code in codes.tolist()], np.int64) + level
    return Lanes(order, line, labels)
