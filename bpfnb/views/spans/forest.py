"""Spans of one trace as a forest: who is whose child, in what order they are drawn, and what is odd about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bpfnb.views.spans.columns import Spans

__all__ = ["AFTER", "BEFORE", "ERROR", "LOOP", "ORPHAN", "TWICE", "Forest", "Segments", "forest"]

Ints = npt.NDArray[np.int64]

ORPHAN = 1  # names a parent that is not there
BEFORE = 2  # begins before its parent
AFTER = 4  # ends after its parent
ERROR = 8
TWICE = 16  # its id was another's already
LOOP = 32  # is its own ancestor

Segments = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Forest:
    """Spans in the order of drawing, parents before children, siblings by their start.

    ``order``: index into the spans; all others are in that order: ``parent`` (-1: a root), ``depth``, ``size`` (with
    all descendants, which follow it), ``alone`` (ns in which none of its children ran), ``flags``. ``critical``:
    (place, start, end in ns) of what the whole trace waited for, latest first.
    """

    order: Ints
    parent: Ints
    depth: Ints
    size: Ints
    alone: Ints
    flags: Ints
    critical: Segments


def forest(spans: Spans, chosen: Ints) -> Forest:
    """The spans numbered *chosen*. Any parents will do: missing ones, wrong ones, and loops are marked, not refused."""
    flags = np.where(spans.error[chosen], ERROR, 0)
    parent = _parents(spans.id[chosen], spans.parent[chosen], flags)
    start, end = spans.start[chosen], spans.end[chosen]
    _break_loops(parent, flags)
    inside = parent >= 0
    flags[inside & (start < start[parent])] |= BEFORE
    flags[inside & (end > end[parent])] |= AFTER
    children = _children(parent, start, end)
    order, depth = _preorder(children)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    moved = parent[order]
    parent_place = np.where(moved >= 0, place[moved], -1)
    size = np.ones(len(order), np.int64)
    for i in range(len(order) - 1, -1, -1):
        if parent_place[i] >= 0:
            size[parent_place[i]] += size[i]
    alone = np.array([_alone(i, children[i + 1], start, end) for i in order.tolist()], np.int64)
    segments = [(int(place[i]), low, high) for i, low, high in _critical(children, start, end)]
    return Forest(chosen[order], parent_place, depth, size, alone, flags[order], segments)


def _parents(ids: Ints, parents: Ints, flags: Ints) -> Ints:
    """The index of each span's parent, -1 for roots."""
    owner: dict[int, int] = {}
    for i, key in enumerate(ids.tolist()):
        if key >= 0 and owner.setdefault(key, i) != i:
            flags[i] |= TWICE
    out = np.full(len(ids), -1, np.int64)
    for i, key in enumerate(parents.tolist()):
        if key >= 0:
            found = owner.get(key)
            if found is None:
                flags[i] |= ORPHAN
            elif found == i:
                flags[i] |= LOOP
            else:
                out[i] = found
    return out


def _break_loops(parent: Ints, flags: Ints) -> None:
    """Every loop is cut at the span where it is first entered, which becomes a root."""
    state = np.zeros(len(parent), np.int8)  # 1: on the way up now, 2: known to end at a root
    for i in range(len(parent)):
        way = []
        at = i
        while at >= 0 and state[at] == 0:
            state[at] = 1
            way.append(at)
            at = int(parent[at])
        if at >= 0 and state[at] == 1:
            parent[at] = -1
            flags[at] |= LOOP
        state[way] = 2


def _children(parent: Ints, start: Ints, end: Ints) -> list[list[int]]:
    """Of -1 (the roots) and of each span, by start, the longer first."""
    children: list[list[int]] = [[] for _ in range(len(parent) + 1)]
    for i in np.lexsort((-end, start)).tolist():
        children[int(parent[i]) + 1].append(i)
    return children


def _preorder(children: list[list[int]]) -> tuple[Ints, Ints]:
    order, depths = [], []
    stack = [(root, 0) for root in reversed(children[0])]
    while stack:
        span, depth = stack.pop()
        order.append(span)
        depths.append(depth)
        stack += [(child, depth + 1) for child in reversed(children[span + 1])]
    return np.array(order, np.int64), np.array(depths, np.int64)


def _alone(span: int, children: list[int], start: Ints, end: Ints) -> int:
    """How long *span* ran while none of its children did: its self time."""
    low, high = int(start[span]), int(end[span])
    busy, reached = 0, low
    for child in children:
        first, last = max(int(start[child]), reached), min(int(end[child]), high)
        if last > first:
            busy += last - first
            reached = last
    return high - low - busy


def _critical(children: list[list[int]], start: Ints, end: Ints) -> Segments:
    """What the longest root waited for, from its end back to its start: at each moment the child that finished last
    before it, and where there is none, the span itself. Children count as far as they lie within their parent.

    As Jaeger's critical path: https://www.jaegertracing.io/docs/latest/frontend-ui/#critical-path
    """
    roots = children[0]
    if not roots:
        return []
    root = max(roots, key=lambda i: (int(end[i] - start[i]), -i))
    found: Segments = []
    stack = [(root, int(start[root]), int(end[root]))]
    while stack:
        span, low, high = stack.pop()
        at = high
        for child in sorted(children[span + 1], key=lambda i: min(int(end[i]), high), reverse=True):
            first, last = max(int(start[child]), low), min(int(end[child]), high)
            if last > at or last <= first:
                continue
            if last < at:
                found.append((span, last, at))
            stack.append((child, first, last))
            at = first
        if at > low:
            found.append((span, low, at))
    return sorted(found, key=lambda segment: -segment[1])
