"""A rolling grid of counts: time in columns of equal length, values in buckets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bpfnb.views._buckets import Edges
from bpfnb.views.histogram.value import slot_edge

__all__ = ["Block", "Fixed", "Grid", "Slots"]

Counts = npt.NDArray[np.float64]


class Buckets(Protocol):
    """Buckets by number, of which those in use are shown: :class:`bpfnb.views.histogram.scale.Scale` is one."""

    def shown(self, used: npt.NDArray[np.intp]) -> tuple[Edges, npt.NDArray[np.intp]]: ...


class Slots:
    """Buckets that the kernel counted by slot."""

    def __init__(self, buckets: Any, first: int) -> None:
        self.buckets, self.first = buckets, first

    def shown(self, used: npt.NDArray[np.intp]) -> tuple[Edges, npt.NDArray[np.intp]]:
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        edges = tuple(slot_edge(i, self.buckets, self.first) for i in range(low, high + 1))
        return edges, np.arange(low, high + 1)


class Fixed:
    """Buckets that are all shown, used or not."""

    def __init__(self, edges: Edges) -> None:
        self.edges = edges

    def shown(self, used: npt.NDArray[np.intp]) -> tuple[Edges, npt.NDArray[np.intp]]:  # noqa: ARG002
        return self.edges, np.arange(len(self.edges))


@dataclass(frozen=True)
class Block:
    """Columns from ``first`` on: ``counts`` (columns, buckets), ``measured`` (False in gaps), ``lost`` (events)."""

    first: int
    counts: Counts
    measured: npt.NDArray[np.bool_]
    lost: npt.NDArray[np.int64]


class Grid:
    """The newest *width* columns of *every* ns. Column n begins at ``origin + n * every``.

    ``first`` and ``stop`` bound the columns there are; ``dirty`` is the first that changed since :meth:`taken`.
    """

    def __init__(self, every: int, width: int, origin: int, buckets: Buckets) -> None:
        self.every, self.width, self.origin, self.buckets = every, width, origin, buckets
        self.first = self.stop = self.dirty = 0
        self.empty = True
        self.rows: int | None = 0
        """The rows counted one by one, so that counts are whole and none is higher; None where others were put."""
        self._memory: tuple[int, ...] | None = None
        self._base = 0  # the number of the column in row 0
        self._counts = np.zeros((0, 1), np.float64)
        self._measured = np.zeros(0, np.bool_)
        self._lost = np.zeros(0, np.int64)
        self._used = np.zeros(1, np.bool_)
        self._shown: tuple[Edges, npt.NDArray[np.intp]] | None = None
        self._run: slice | None = None  # the buckets shown, where each is one and they follow one by one

    def number(self, moment: int) -> int:
        """The column that holds a moment in ns."""
        return (moment - self.origin) // self.every

    def moment(self, column: int) -> int:
        """When a column begins, in ns."""
        return self.origin + column * self.every

    # Filling

    def reach(self, column: int) -> None:
        """Let there be columns up to *column*, gaps until they are measured; those too old go."""
        if self.empty:
            self.first = self.stop = self.dirty = self._base = column
            self.empty = False
        if column < self.stop:
            return
        self.stop = column + 1
        self.first = max(self.first, self.stop - self.width)
        self.dirty = max(self.dirty, self.first)
        if self.stop - self._base > len(self._counts):
            self._move(max(0, self.first - self._base), 2 * max(8, self.stop - self.first))

    def before(self, column: int) -> None:
        """Let there be columns back to *column*, as far as there is room."""
        column = max(column, self.stop - self.width)
        if not self.empty and column < self.first:
            if column < self._base:
                self._move(column - self._base, 2 * max(8, self.stop - column))
            else:  # rows that were given up earlier, and may hold old numbers
                self._counts[column - self._base : self.first - self._base] = 0
                self._measured[column - self._base : self.first - self._base] = False
                self._lost[column - self._base : self.first - self._base] = 0
            self.first = column
            self.dirty = min(self.dirty, column)

    def _move(self, rows: int, size: int) -> None:
        """Storage of *size* rows that begins *rows* later."""
        self._base += rows
        for name in ("_counts", "_measured", "_lost"):
            old = getattr(self, name)
            new = np.zeros((size, *old.shape[1:]), old.dtype)
            kept = old[max(0, rows) : max(0, rows) + size - max(0, -rows)]
            new[max(0, -rows) : max(0, -rows) + len(kept)] = kept
            setattr(self, name, new)
        self._memory = None

    def widen(self, buckets: int) -> None:
        """Let there be at least so many buckets."""
        if buckets > self._counts.shape[1]:
            more = buckets - self._counts.shape[1]
            self._counts = np.pad(self._counts, ((0, 0), (0, more)))
            self._used = np.pad(self._used, (0, more))
            self._memory = None

    def add(self, columns: npt.NDArray[np.int64], cells: npt.NDArray[np.intp], weights: Counts | None) -> int:
        """Count rows by their column and bucket; returns how many were too old to be shown."""
        if not len(columns):
            return 0
        self.rows = None if weights is not None or self.rows is None else self.rows + len(columns)
        low, high = int(columns.min()), int(columns.max())
        self.widen(int(cells.max()) + 1)
        self.reach(high)
        self.before(low)
        if low < self.first:
            fresh = columns >= self.first
            late = len(columns) - int(fresh.sum())
            columns, cells = columns[fresh], cells[fresh]
            weights = None if weights is None else weights[fresh]
            low = self.first
        else:
            late = 0
        if len(columns):
            size = self._counts.shape[1]
            flat = (columns - low) * size + cells
            added = np.bincount(flat, weights, (high - low + 1) * size).reshape(-1, size)
            self._counts[low - self._base : high + 1 - self._base] += added
            self._use(np.asarray(added.any(axis=0)))
            self.dirty = min(self.dirty, low)
        return late

    def put(self, column: int, counts: Counts) -> None:
        """Replace the counts of one column."""
        self.rows = None
        self.widen(len(counts))
        self.reach(column)
        row = self._counts[column - self._base]
        row[:] = 0
        row[: len(counts)] = counts
        self._use(row != 0)
        self.dirty = min(self.dirty, column)

    def _use(self, used: npt.NDArray[np.bool_]) -> None:
        if np.count_nonzero(used > self._used):
            self._used |= used
            self._shown = None
            self.dirty = self.first

    def cells(self) -> tuple[int, ...]:
        """The grid as C takes it to count into it (:mod:`bpfnb.views.heat.tally`), and :meth:`counted` hears of it."""
        if self._memory is None:
            self._memory = (*self._counts.shape, self._counts.ctypes.data, self._used.ctypes.data)
        return self.origin, self.every, self.width, self._base, self.first, self.stop, *self._memory

    def counted(self, rows: int, low: int, high: int, fresh: bool) -> None:
        """*rows* were counted in the columns *low* to *high*; *fresh*: also in buckets that were not in use."""
        self.rows = None if self.rows is None else self.rows + rows
        self.reach(high)
        self.before(low)
        self.dirty = min(self.dirty, max(low, self.first))
        if fresh:
            self._shown = None
            self.dirty = self.first

    def mark(self, start: int, stop: int) -> None:
        """The columns from *start* until before *stop* were measured, at least in part."""
        start, stop = max(start, self.first), min(stop, self.stop)
        part = self._measured[start - self._base : stop - self._base] if start < stop else np.zeros(0, bool)
        if np.count_nonzero(part) < len(part):
            self.dirty = min(self.dirty, start + int(part.argmin()))
            part[:] = True

    def lose(self, column: int, count: int) -> None:
        """So many events were lost in a column."""
        self.reach(column)
        if column >= self.first:
            self._lost[column - self._base] += count
            self.dirty = min(self.dirty, column)

    # Reading

    @property
    def shown(self) -> tuple[Edges, npt.NDArray[np.intp]]:
        """The edges of the buckets in use, and the bucket with which each begins."""
        if self._shown is None:
            edges, starts = self._shown = self.buckets.shown(np.flatnonzero(self._used))
            consecutive = len(starts) > 0 and starts[-1] - starts[0] == len(edges) - 1
            self._run = slice(int(starts[0]), int(starts[-1])) if consecutive else None
        return self._shown

    @property
    def edges(self) -> Edges:
        return self.shown[0]

    def block(self, start: int | None = None) -> Block:
        """The columns from *start* (default: all) on, in the buckets that are shown."""
        start = self.first if start is None else max(start, self.first)
        part = slice(start - self._base, self.stop - self._base)
        edges, starts = self.shown
        counts, size = self._counts[part], len(edges) - 1
        if self._run is not None:
            found = counts[:, self._run]
            if found.shape[1] < size:  # nothing was counted in the last ones yet
                found = np.pad(found, ((0, 0), (0, size - found.shape[1])))
        else:
            padded = np.pad(counts, ((0, 0), (0, max(1, int(starts[-1]) + 1 - counts.shape[1]))))
            found = np.add.reduceat(padded, starts, axis=1)[:, :size]
        return Block(start, found, self._measured[part], self._lost[part])

    def taken(self) -> None:
        """What changed so far was taken."""
        self.dirty = self.stop
