"""Which rows a table shows, in which order: kept up to date as rows arrive and go, without reading all of them.

Of a stream only the numbers of the rows are kept, and of new rows only the columns that a filter tests are read. A
sorted table is a snapshot: how long it took decides when it is made anew, so that sorting never takes more than a
tenth of the time. A map or a DataFrame is read whole, since that is the only way to read it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import BpfnbError
from bpfnb.views import selection as selections
from bpfnb.views.events.numbers import Ints, Numbers
from bpfnb.views.events.order import order
from bpfnb.views.selection import Selection
from bpfnb.views.source import Source

__all__ = ["HELD", "REST", "RowSet", "Sort"]

Sort = list[tuple[str, str]]
"""Columns to sort by, most important first, each with ``asc`` or ``desc``."""

REST = 10
"""After a sort or a reading that took t seconds, the next waits for ``REST * t``."""

HELD = 100_000
"""Newest rows that a frozen table keeps for itself, though the stream forgets them."""


class RowSet:
    """The rows of *source* that pass ``conditions`` (all of them), in the order of ``sort``.

    Positions count from ``base``: rows that the stream forgets leave at the front, and the rest keep their positions.
    They hold for one ``epoch``; another sort or filter begins a new one.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.epoch = 0
        self.frozen = False
        self.sorted_at: float | None = None
        """When the order was made, in seconds since 1970; None while the rows are in order of arrival."""
        self._sort: Sort = []
        self._conditions: list[Selection] = []
        self._table: pd.DataFrame | None = None  # of a map or a DataFrame, as last read
        self._version: object = None
        self._held: pd.DataFrame | None = None  # of a frozen stream
        self._stop = 0  # where a frozen stream ends
        self._numbers = Numbers()
        self._order: Ints | None = None
        self._trimmed_to = 0
        self.restart()

    def show(self, conditions: list[Selection], sort: Sort) -> None:
        """Which rows, in which order, from the next update on."""
        conditions = [condition for condition in conditions if condition]
        if conditions != self._conditions:
            self._conditions = conditions
            self.restart()
        if sort != self._sort:
            self._sort = list(sort)
            self._order, self.sorted_at = None, None
            self.epoch += 1

    def restart(self) -> None:
        """Forget which rows pass; the next update looks at all."""
        self.epoch += 1
        self._numbers = Numbers()
        self._cursor = 0
        self._order = None
        self._sorted_to = 0
        self._rest_until = 0.0
        self._filtered: pd.DataFrame | None = None
        self.sorted_at = None

    # Up to date

    def update(self, *, now: bool = False) -> None:
        """Look at what changed. *now*: read and sort again even if that was done a moment ago."""
        if self.source.kind == "stream":
            self._follow()
        else:
            self._read(now)
        if self._sort:
            self._sort_again(now)

    def _follow(self) -> None:
        low, high = self.source.span()
        floor = low if self._held is None or not len(self._held) else min(low, int(self._held.index[0]))
        stop = self._stop if self.frozen else high
        if self._cursor < stop:
            self._numbers.append(self._passing(max(self._cursor, floor), stop, low))
            self._cursor = stop
        self._numbers.trim(floor)
        if self._order is not None and len(self._order) and self._trimmed_to < floor:
            self._order = self._order[self._order >= floor]
        self._trimmed_to = floor

    def _passing(self, start: int, stop: int, low: int) -> Ints | pd.Index:
        """The numbers of the rows from *start* to *stop* that pass; the stream has those from *low* on."""
        held = self._held if start < low else None
        if not self._conditions:
            return self.source.numbers(start, stop) if held is None else held.index
        wanted = {name for each in self._conditions for name in selections.columns_of(each)}
        frame = self.source.rows(start, stop, wanted) if held is None else held
        passing: Ints = np.asarray(frame.index, np.int64)[self.mask(frame)]
        return passing

    def mask(self, frame: pd.DataFrame, without: str | None = None) -> Any:
        """Which rows of *frame* pass, whatever the conditions on the column *without* are."""
        mask = np.ones(len(frame), bool)
        for condition in self._conditions:
            mask &= selections.apply(frame, {k: v for k, v in condition.items() if k != without})
        return mask

    def _read(self, now: bool) -> None:
        version = self.source.version()
        began = time.monotonic()
        changed = version is None or version != self._version
        if self._table is None or (changed and not self.frozen and (now or began >= self._rest_until)):
            try:
                self._table = self.source.frame()
            except BpfnbError:  # a map that was closed: what was read last remains
                if self._table is None:
                    raise
            self._version = version
        if self._filtered is not self._table:
            self._filtered = self._table
            self._numbers = Numbers()
            everything = range(len(self._table))
            self._numbers.append(np.flatnonzero(self.mask(self._table)) if self._conditions else everything)
            self._order = None
            self._rest_until = time.monotonic() + REST * (time.monotonic() - began)

    def _sort_again(self, now: bool) -> None:
        stream = self.source.kind == "stream"
        if self._order is not None and (not stream or self._sorted_to >= self._cursor):
            return
        began = time.monotonic()
        if self._order is not None and not now and began < self._rest_until:
            return
        names = [name for name, _ in self._sort]
        if stream and self._held is not None:
            frame = self._held  # all that is sure to be there
            numbers = self._numbers[:]
            numbers = numbers[numbers >= int(frame.index[0])] if len(frame) else numbers[:0]
        elif stream:
            frame = self.source.frame(names)
            numbers = self._numbers[:]
            numbers = numbers[numbers >= int(frame.index[0])] if len(frame) else numbers[:0]
        else:
            assert self._table is not None
            frame, numbers = self._table, self._numbers[:]
        frame = frame if len(frame) == len(numbers) else _at(frame, numbers)
        places = order([frame[name] for name in names], [way == "desc" for _, way in self._sort])
        self._order = numbers[places]
        self._sorted_to = self._cursor
        self.sorted_at = time.time()
        self.epoch += 1
        if stream:
            self._rest_until = time.monotonic() + REST * (time.monotonic() - began)

    # Freezing

    def freeze(self) -> None:
        """Rows that arrive from now on are not shown, and the newest of those shown stay though the stream forgets."""
        if self.frozen:
            return
        self.update()
        self.frozen = True
        if self.source.kind == "stream":
            self._stop = self._cursor
            self._held = self.source.rows(max(0, self._cursor - HELD), self._cursor)

    def thaw(self) -> None:
        self.frozen = False
        self._held = None

    # Answers

    @property
    def columns(self) -> list[str]:
        return self.source.columns if self._table is None else [str(name) for name in self._table.columns]

    def about(self, column: str) -> dict[str, Any]:
        if self._table is None:
            return self.source.about(column)
        notes: Mapping[str, Any] = self._table.attrs.get("bpfnb_columns", {})
        return dict(notes.get(column) or {})

    @property
    def total(self) -> int:
        """The rows that there are, whether they pass or not."""
        if self._table is not None:
            return len(self._table)
        low, high = self.source.span()
        return (
            self._stop - min(low, int(self._held.index[0]))
            if self._held is not None and len(self._held)
            else high - low
        )

    @property
    def base(self) -> int:
        """The position of the first row."""
        return self._numbers.gone if self._order is None else 0

    def __len__(self) -> int:
        return len(self._numbers) if self._order is None else len(self._order)

    @property
    def newer(self) -> int:
        """Rows that came since the order was made or the table was frozen; they are not shown yet."""
        if self.source.kind != "stream":
            return 0
        late = max(0, self.source.span()[1] - self._cursor) if self.frozen else 0
        return late + (self._numbers.since(self._sorted_to) if self._order is not None else 0)

    def numbers(self, start: int, count: int) -> Ints:
        """The row numbers at *count* positions from *start* on, as far as there are rows."""
        low = max(0, start - self.base)
        high = max(low, start - self.base + count)
        return self._numbers[low:high] if self._order is None else self._order[low:high].copy()

    def find(self, number: int) -> int:
        """The position of the row *number*; -1 where it is not shown."""
        if self._order is None:
            at = self._numbers.find(number)
        else:
            found = np.flatnonzero(self._order == number)
            at = int(found[0]) if len(found) else -1
        return at if at < 0 else at + self.base

    def take(
        self, numbers: Ints, columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        """These rows in this order, as far as they are still there; the index is their numbers."""
        if self._table is not None:
            frame = self._table
            if raw:
                frame = self.source.frame(columns, raw=True)
                numbers = numbers[numbers < len(frame)]
            return _bare(_only(frame, columns)).iloc[numbers]
        found = _bare(self.source.take(numbers, columns, raw=raw))
        if len(found) < len(numbers) and self._held is not None and not raw:
            held = _only(self._held, columns)
            kept = numbers[np.isin(numbers, held.index)]
            if len(kept) > len(found):
                return _at(held, kept)
        return found

    def newest(self, column: str) -> Any:
        """The last value of *column* that there is, or None."""
        numbers = self._numbers[-1:]
        found = self.take(numbers, [column]) if len(numbers) else None
        return None if found is None or not len(found) or column not in found else found[column].iloc[-1]

    def whole(self, columns: Collection[str], without: str) -> pd.DataFrame:
        """*columns* of all rows that pass the conditions on other columns than *without*."""
        wanted = {*columns, *(name for each in self._conditions for name in selections.columns_of(each))}
        if self._table is not None:
            frame = self._table
        else:
            frame = self._held if self._held is not None else self.source.frame(wanted)
        return frame[self.mask(frame, without)] if self._conditions else frame


def _only(frame: pd.DataFrame, columns: Collection[str] | None) -> pd.DataFrame:
    return frame if columns is None else frame[[name for name in frame.columns if name in columns]]


def _bare(frame: pd.DataFrame) -> pd.DataFrame:
    """*frame* without its attributes: pandas copies them deeply with every column and row that is looked at."""
    out = frame.copy(deep=False)
    out.attrs = {}
    return out


def _at(frame: pd.DataFrame, numbers: Ints) -> pd.DataFrame:
    """The rows of *frame* with these *numbers*, all of which are there. Its index ascends."""
    if isinstance(frame.index, pd.RangeIndex):
        return frame.iloc[numbers - frame.index.start]
    return frame.iloc[np.searchsorted(frame.index, numbers)]
