"""What fills a heatmap's grid: rows that say when they happened, rows as they arrive, a map sampled again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views import _buckets, moments
from bpfnb.views import selection as selections
from bpfnb.views.heat.grid import Grid, Slots
from bpfnb.views.heat.tally import Tally
from bpfnb.views.histogram.asked import Asked
from bpfnb.views.histogram.scale import Outgrown, Scale
from bpfnb.views.histogram.value import MAX_LOG2_SLOTS, MAX_SLOTS, Mask, numbers_of
from bpfnb.views.source import Source

__all__ = ["Feed", "Rows", "Samples"]

NEVER = int(np.iinfo(np.int64).min)  # NumPy's NaT
MAX_COLUMNS = 4096  # of data at rest
AT_REST = 240  # columns that data at rest is cut into, at most, where nobody says how long one is


class Feed:
    """Fills ``grid``. ``unplaced`` counts what could be put into no column."""

    def __init__(self, source: Source, asked: Asked, every: int | None, width: int | None) -> None:
        self.source, self.asked, self.every, self.width = source, asked, every, width
        self.grid = Grid(every or 10**9, width or 1, 0, Slots("log2", 0))
        self.unplaced = 0
        self._lost = sum(source.lately().values())

    def update(self, chosen: Mapping[str, Any]) -> None:
        """Take in what is new; *chosen*: the filter. Losses are those of the source's last version."""
        raise NotImplementedError

    def _note_losses(self) -> None:
        lost = sum(self.source.lately().values())
        if lost > self._lost and not self.grid.empty:
            self.grid.lose(self.grid.stop - 1, lost - self._lost)
        self._lost = max(lost, self._lost)

    def _mark(self, start: int, stop: int) -> None:
        """Measured from *start* until *stop* ns, but for the pauses of the programs."""
        grid = self.grid
        for begin, end in outside(start, stop, getattr(self.source.data, "pauses", ())):
            grid.mark(grid.number(begin), grid.number(end) + 1)


class Rows(Feed):
    """Rows of a stream or a frame, by the moment in their column *at*, or as they arrive where that is None."""

    def __init__(
        self,
        source: Source,
        asked: Asked,
        every: int | None,
        width: int | None,
        at: str | None,
        weight: str | None,
    ) -> None:
        super().__init__(source, asked, every, width)
        self.at, self.weight = at, weight
        self._unit = source.about(at).get("unit") if at else None
        self._quick = at is not None and weight is None
        """Whether C may count them."""
        self.clock = at is None
        """Whether moments count from 1970, so that time goes on without rows."""
        self.factor: float = 1
        """Nanoseconds in one of the column's own numbers."""
        self.starts: dict[int, int] = {}
        """Of rows that are put by their arrival: the first number in each column."""
        self._chosen: Mapping[str, Any] = {}
        self._restart()

    def _restart(self) -> None:
        self._next = 0
        self._seen: int | None = None
        self._scale: Scale | None = None
        self._tally: Tally | None = None
        self.unplaced = 0
        self.grid = Grid(self.every or 10**9, self.width or 1, 0, Slots("log2", 0))

    def update(self, chosen: Mapping[str, Any]) -> None:
        if chosen != self._chosen:
            self._chosen = dict(chosen)
            self._restart()
        looked = self.source.now()
        if chosen or not self._count():
            self._read(chosen, looked)
        if self._scale is not None:
            self._measure(looked)
            self._note_losses()

    def _count(self) -> bool:
        """Count what is new in C; False where that cannot be."""
        if self._scale is None or self.at is None or not self._quick:
            return False
        new = self.source.arrays(self._next, (self.asked.column, self.at), boot=True)
        if new is None:
            return False
        at, values = new.columns[self.at], new.columns[self.asked.column]
        if self._tally is None:
            self._quick = self.at in new.boot or at.dtype.kind == "M"
            self._tally = Tally.of(self._scale.edges, values.dtype) if self._quick else None
            self._quick = self._tally is not None
        if self._tally is None or not self._scale.holds(values):
            return False
        known = (new.clock, 0) if self.at in new.boot else (0, NEVER)
        self.unplaced += self._tally.count(self.grid, at, values, *known)
        self._next = new.number + new.rows
        return True

    def _read(self, chosen: Mapping[str, Any], looked: int) -> None:
        """Count what is new with NumPy."""
        names = {self.asked.column, *selections.columns_of(chosen)} | {n for n in (self.at, self.weight) if n}
        columns: Any
        plain = None if chosen else self.source.arrays(self._next, names)
        if plain is not None:
            number, rows = plain.number, plain.rows
            columns, keep, self._next = plain.columns, None, number + rows
        else:
            frame, self._next = self.source.since(self._next, names)
            columns, rows = frame, len(frame)
            number = int(frame.index[0]) if rows else 0
            keep = selections.apply(frame, chosen) if chosen else None
        if rows:
            try:
                self._take(columns, keep, number, looked)
            except Outgrown:
                whole = self.source.frame(names)
                values, _ = numbers_of(whole[self.asked.column], self.asked.column)
                self._lay(values, self.grid.origin)
                keep = selections.apply(whole, chosen) if chosen else None
                self._take(whole, keep, int(whole.index[0]), looked)

    def _lay(self, values: npt.NDArray[Any], origin: int) -> None:
        """A new grid for *values*."""
        asked = self.asked.buckets
        edges: _buckets.Edges = (0, 1)
        if isinstance(asked, int) or asked == "linear":
            edges = _buckets.linear(values, asked if isinstance(asked, int) else 20)
        elif not isinstance(asked, str):
            edges = _buckets.explicit(values, asked)
        self._scale, self._tally = Scale(asked, edges, values.dtype.kind == "f"), None
        self.grid = Grid(self.every or 10**9, self.width or 1, origin, self._scale)

    def _take(self, rows: Any, keep: Mask | None, number: int, looked: int) -> None:
        """Count *rows*, a DataFrame or arrays by name, the first of them numbered *number*; *keep*: those to count."""
        values, present = numbers_of(rows[self.asked.column], self.asked.column)
        at, there = self._moments(rows, len(present), looked)
        if self._scale is None:
            self._begin(values, at[there])
        assert self._scale is not None
        if values.dtype.kind == "f" and not self._scale.floats and len(values):
            self._scale.floats = True
            raise Outgrown
        cells = self._scale.cells(values)
        taken = there[present]
        wanted = present & there
        if keep is not None:
            taken, wanted = taken & keep[present], wanted & keep
        self.unplaced += int((present & ~there).sum())
        columns = (at[wanted] - self.grid.origin) // self.grid.every
        weights = None
        if self.weight is not None:
            given = pd.Series(rows[self.weight], copy=False).to_numpy(np.float64, na_value=np.nan)
            weights = np.nan_to_num(given[wanted])
        self.grid.add(columns, cells[taken], weights)
        if self.at is None and len(columns):
            self.starts.setdefault(int(columns[0]), number)

    def _moments(self, rows: Any, count: int, looked: int) -> moments.Moments:
        if self.at is not None:
            values = rows[self.at]
            if isinstance(values, np.ndarray) and values.dtype.kind != "M":
                values = pd.Series(values, name=self.at, copy=False)
            at, there = moments.nanoseconds(values, self._unit)
            if values.dtype.kind in "iuf" and at[there].any():
                row = int(np.flatnonzero(there & (at != 0))[0])
                self.factor = round(int(at[row]) / float(values.iloc[row]))
            return at, there
        # Rows that arrived while nobody looked came at a moment that nobody knows.
        known = self._seen is not None and looked - self._seen <= (self.every or 10**9)
        return np.full(count, looked), np.full(count, known)

    def _begin(self, values: npt.NDArray[Any], at: npt.NDArray[np.int64]) -> None:
        if len(at):
            low, high = int(at.min()), int(at.max())
            self.clock = low >= moments.EPOCH
            if self.every is None:
                wanted = max(1, -(-(high - low) // AT_REST))
                self.every = next(step for step in moments.steps() if step >= wanted)
            if self.width is None:
                self.width = min(MAX_COLUMNS, (high // self.every) - (low // self.every) + 1)
            self._lay(values, low // self.every * self.every)
        else:
            self._lay(values, self.source.now() // (self.every or 10**9) * (self.every or 10**9))

    def _measure(self, looked: int) -> None:
        grid = self.grid
        if not self.source.live and self._seen is None and self.source.kind == "frame":
            grid.mark(grid.first, grid.stop)
            return
        if not self.clock:
            if self._seen != grid.stop:
                grid.mark(grid.first, grid.stop)
            self._seen = grid.stop
            return
        live, since = self.source.live, self._seen
        opened, until = (looked, looked) if live and since is not None else self._window(looked)
        if live:
            until = looked
            grid.reach(grid.number(looked))
        if since is None:
            since = opened
            grid.before(grid.number(opened))
        self._mark(since, until)
        self._seen = until

    def _window(self, looked: int) -> tuple[int, int]:
        """From when until when the rows that there are were measured."""
        opened, until = self.source.measured() or (looked, looked)
        if self.source.evicted and not self.grid.empty:
            opened = max(opened, self.grid.moment(self.grid.first))
        return opened, until


class Samples(Feed):
    """A map of counts by slot: what was added to it within each column, of a recorded one from look to look."""

    def __init__(self, source: Source, asked: Asked, every: int, width: int) -> None:
        super().__init__(source, asked, every, width)
        self._others: Mapping[str, Any] = {}
        self._restart()

    def _restart(self) -> None:
        over = not self.source.live
        past = self.source.past()
        self._complete = over and bool(past)
        began = past[0][0] if past else self.source.now()
        assert self.every is not None
        assert self.width is not None
        self.grid = Grid(self.every, self.width, began, Slots(self.asked.buckets, self.asked.first))
        self.grid.reach(0)
        self.unplaced = 0
        self._column, self._counted = 0, 0.0
        self._base = self._last = self._counts(past[0][1] if past else self.source.frame())
        self._until, self._seen = began, 0
        self._replay(past)

    def update(self, chosen: Mapping[str, Any]) -> None:
        # Conditions on the slot hide buckets when they are drawn; others leave out entries, and history with them.
        others = {name: condition for name, condition in chosen.items() if name != self.asked.column}
        if others != self._others:
            self._others = others
            self._restart()
            return
        if self._complete:
            return
        over = not self.source.live  # before it is asked for the last of its looks
        if past := self.source.past():
            if self._seen:
                self._replay(past)
                self._complete = over
            else:
                self._restart()
            return
        if self.source.closed:
            return
        counts = self._counts(self.source.frame())
        looked, grid = self.source.now(), self.grid
        column, difference = grid.number(looked), _difference(counts, self._base)
        current = self._column
        if column == current:
            self._put(difference, looked)
        else:
            if (
                looked - grid.moment(current + 1) < grid.every // 2
            ):  # just after the column's end: taken for that end
                self._put(difference, grid.moment(current + 1) - 1)
            else:  # nobody looked for long, and what was counted in between belongs to no column
                self.unplaced += int(difference.sum() - self._counted)
            self._column, self._base, self._counted = column, counts, 0.0
            grid.reach(column)
            self._mark(looked, looked)
        self._note_losses()

    def _replay(self, past: Sequence[tuple[int, pd.DataFrame]]) -> None:
        """Take the looks that are new. What was added since the one before stands where the later one was."""
        for when, frame in past[self._seen :]:
            column = self.grid.number(when)
            if column != self._column:
                self._column, self._base = column, self._last
                self.grid.reach(column)
            self._last = self._counts(frame)
            self.grid.put(column, _difference(self._last, self._base))
            self._mark(self._until, when)
            self._until = when
        self._seen = len(past)

    def _put(self, difference: npt.NDArray[np.float64], until: int) -> None:
        self.grid.put(self._column, difference)
        self._mark(self.grid.moment(self._column), until)
        self._counted = float(difference.sum())

    def _counts(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        if self._others:
            frame = frame[selections.apply(frame, self._others)]
        if self.asked.mode == "arrays":
            counts: npt.NDArray[np.float64] = frame[list(self.asked.arrays)].to_numpy(np.float64).sum(axis=0)
            return counts
        slots = frame[self.asked.column].to_numpy().astype(np.int64)
        if len(slots) and not 0 <= slots.min() <= slots.max() < (
            MAX_LOG2_SLOTS if self.asked.buckets == "log2" else MAX_SLOTS
        ):
            raise ValueError(f"keys from {slots.min()} to {slots.max()} are no slots of a histogram")
        return np.bincount(slots, frame[self.asked.weight].to_numpy(np.float64)).astype(np.float64)


def _difference(new: npt.NDArray[np.float64], old: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What was added; all of *new* where the map was emptied in between."""
    size = max(len(new), len(old))
    found = np.pad(new, (0, size - len(new))) - np.pad(old, (0, size - len(old)))
    return np.pad(new, (0, size - len(new))) if (found < 0).any() else found


def outside(start: int, stop: int, pauses: Sequence[Sequence[float | None]]) -> list[tuple[int, int]]:
    """The parts of ``[start, stop]`` ns that lie in none of *pauses* (begin and end in seconds, None: not ended)."""
    parts, at = [], start
    for begin, end in pauses:
        quiet = int((begin or 0) * 1e9)
        if quiet > at:
            parts.append((at, min(quiet, stop)))
        at = stop + 1 if end is None else max(at, int(end * 1e9))
    if at <= stop:
        parts.append((at, stop))
    return [(a, b) for a, b in parts if a <= b <= stop]
