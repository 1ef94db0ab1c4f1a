"""Counts that follow a stream: rows are added as they arrive and taken off as they are evicted.

For streams too long to be counted anew ten times a second. Each row's cell (its bucket and group) is remembered for
as long as the row is kept, in four bytes, so what is counted is at any moment what the frame holds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.views._buckets import Edges
from bpfnb.views.histogram.asked import Asked
from bpfnb.views.histogram.scale import Outgrown, Scale
from bpfnb.views.histogram.value import Histogram, Mask, labels_of, numbers_of

__all__ = ["Counter"]

MISSING = -1

Numbers = Sequence[int]


class Counter:
    """The counts of *asked* over the rows of a stream: :meth:`add` new ones, :meth:`forget` evicted ones, read
    :meth:`histogram`."""

    def __init__(self, asked: Asked, edges: Edges, dtype: np.dtype[Any], filtered: bool) -> None:
        self.asked = asked
        self.scale = Scale(asked.buckets, edges, dtype.kind == "f")
        self.filtered = filtered
        self.rows = 0
        self._width = len(self.scale.edges) - 1
        self._groups: dict[Any, int] = {} if asked.by else {"": 0}
        self._kept = np.zeros(self._width * len(self._groups), np.int64)
        self._out = np.zeros_like(self._kept)  # counted, but a filter leaves them out
        self._missing = 0
        self._chunks: deque[tuple[Numbers, npt.NDArray[np.int32], Mask | None]] = deque()

    def add(self, frame: Any, index: Numbers, keep: Mask | None) -> None:
        """Count the rows of *frame*, a DataFrame or arrays by name, whose numbers are *index*. *keep*: those that the
        filter lets through.

        :raises Outgrown: linear buckets that do not hold a value; nothing was counted.
        """
        values, present = numbers_of(frame[self.asked.column], self.asked.name)
        if values.dtype.kind == "f" and not self.scale.floats:
            raise Outgrown  # what was whole so far is not any more
        buckets = self.scale.cells(values)
        cells = np.full(len(index), MISSING, np.int32)
        codes, labels = labels_of(None if self.asked.by is None else frame[self.asked.by], present)
        known = np.array([self._groups.setdefault(label, len(self._groups)) for label in labels], np.int32)
        cells[present] = known[codes] * self._width + buckets
        self._chunks.append((index, cells, keep))
        self._count(cells, keep, 1)

    def forget(self, floor: int) -> None:
        """Take off the rows numbered below *floor*."""
        while self._chunks and len(self._chunks[0][0]):
            index, cells, keep = self._chunks[0]
            gone = len(index) if index[-1] < floor else bisect_left(index, floor)
            if not gone:
                return
            self._count(cells[:gone], None if keep is None else keep[:gone], -1)
            self._chunks.popleft()
            if gone < len(index):
                rest = None if keep is None else keep[gone:]
                self._chunks.appendleft((index[gone:], cells[gone:], rest))
                return

    def _count(self, cells: npt.NDArray[np.int32], keep: Mask | None, sign: int) -> None:
        size = self._width * len(self._groups)
        if size > len(self._kept):
            grown = max(size, 2 * len(self._kept)) - len(self._kept)
            self._kept, self._out = (np.pad(table, (0, grown)) for table in (self._kept, self._out))
        self.rows += sign * len(cells)
        there = cells != MISSING
        kept = there if keep is None else there & keep
        self._kept += sign * np.bincount(cells[kept], minlength=len(self._kept))
        self._missing += sign * int((~there if keep is None else ~there & keep).sum())
        if keep is not None:
            self._out += sign * np.bincount(cells[there & ~keep], minlength=len(self._out))

    def histogram(self) -> Histogram:
        """What is counted now, with percentiles interpolated from the counts."""
        size = self._width * len(self._groups)
        kept, out = (table[:size].reshape(-1, self._width) for table in (self._kept, self._out))
        total = kept + out
        used = np.flatnonzero(total.any(axis=0))
        edges, starts = self.scale.shown(used)
        padded = np.pad(kept, ((0, 0), (0, 1))), np.pad(total, ((0, 0), (0, 1)))
        table, behind = (np.add.reduceat(t, starts, axis=1)[:, : len(edges) - 1] for t in padded)
        return Histogram(
            edges,
            table,
            behind=behind if self.filtered else None,
            keys=tuple(self._groups) or ("",),
            unit=self.asked.unit,
            name=self.asked.name,
            missing=self._missing,
        )
