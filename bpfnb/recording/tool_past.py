"""What a tool had, as a recording replays it: rows that come again as a stream, tables as they were at each moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bpfnb.annotations import NONE
from bpfnb.errors import BadRecording
from bpfnb.frames import pump
from bpfnb.frames.columns import Column
from bpfnb.frames.completeness import ATTR
from bpfnb.frames.drawn import Drawn
from bpfnb.frames.lane import Columns, Lane
from bpfnb.frames.store import Batch
from bpfnb.frames.stream import Stream
from bpfnb.recording.backend import Nothing
from bpfnb.recording.changes import counts, present, spans
from bpfnb.recording.looks import Looks
from bpfnb.recording.tool_frames import Forms
from bpfnb.recording.tools import SNAPSHOT

__all__ = ["Moment", "Past", "Rows"]

_BATCH = 1 << 18  # rows that are handed on at once

Moment = Callable[[], float]
"""How far a replay has come: s since 1970 by the recording's clock, infinity once all is there."""


class Past(Drawn):
    """A table over time: ``df`` is what it was at the moment that the replay has come to.

    *parts* are of each file of the recording, the oldest first, its rows, as snapshots or as changes
    (:mod:`bpfnb.recording.changes`) with the looks in ``snapshot@``; and its looks: when they were (ns since 1970) and
    how many rows each had. *forms* is how they are shown. Raises BadRecording where they do not fit.

    Where the clock was set back, looks of before it have come when the last one before it has: as rows do.
    """

    kind = "map"

    def __init__(
        self,
        name: str,
        forms: Forms,
        parts: Sequence[tuple[pa.Table, Sequence[tuple[int, int]]]],
        attrs: Mapping[str, Any],
        moment: Moment = lambda: math.inf,
        origin: str = "",
    ) -> None:
        self.name = name
        self.origin = origin
        self._forms = forms
        self._times = [when for _, looks in parts for when, _ in looks]
        self._order = np.maximum.accumulate(np.array(self._times, np.int64))
        came, gone, begin = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        for rows, looks in parts:
            for all_of, there in zip((came, gone), _spans(name, rows, looks), strict=True):
                all_of.append(there + begin)
            begin += len(looks)
        self._came, self._gone = np.concatenate(came), np.concatenate(gone)
        filled = [rows for rows, _ in parts if rows.num_rows]
        try:
            self._rows = pa.concat_tables(filled, promote_options="permissive") if filled else pa.table({})
        except pa.ArrowException as error:
            raise BadRecording(f"the rows of '{name}' in several files do not fit: {error}") from None
        self._attrs = attrs
        self._moment = moment
        self._stopped: int | None = None
        self._made: tuple[int, pd.DataFrame] | None = None
        self._frame(len(self._times) - 1)  # so that what is wrong with it is said now

    @property
    def df(self) -> pd.DataFrame:
        return self._frame(self._reached() - 1)

    @property
    def looked(self) -> int:
        """When :attr:`df` was taken, in ns since 1970; 0 where it was not yet."""
        reached = self._reached()
        return self._times[reached - 1] if reached else 0

    def past(self) -> Looks:
        """Each look so far: when it was, in ns since 1970, and the table then."""
        return Looks(self._times, self._frames, range(self._reached()))

    def _frames(self, looks: range) -> Iterator[pd.DataFrame]:
        rows = np.flatnonzero((self._came < looks.stop) & (self._gone > looks.start))
        came, gone = (
            np.maximum(all_of[rows], looks.start) - looks.start for all_of in (self._came, self._gone)
        )
        for at, there in zip(looks, present(came, gone, len(looks)), strict=True):
            yield self._shown(at, rows[there])

    def _reached(self) -> int:
        """How many of the looks there are by now."""
        if self._stopped is not None:
            return self._stopped
        seconds = self._moment()
        if math.isinf(seconds):
            return len(self._times)
        return int(np.searchsorted(self._order, int(seconds * 1e9), "right"))

    def _frame(self, at: int) -> pd.DataFrame:
        made = self._made
        if made is None or made[0] != at:
            made = self._made = at, self._shown(at, np.flatnonzero((self._came <= at) & (self._gone > at)))
        frame = made[1].copy(deep=False)
        frame.attrs = dict(made[1].attrs)
        return frame

    def _shown(self, at: int, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
        frame = self._forms.frame(self._rows.take(pa.array(rows)))
        frame.attrs.update(self._attrs)
        if ATTR in self._attrs and at < len(self._times) - 1:
            frame.attrs[ATTR] = {**self._attrs[ATTR], "rows": len(frame)}
        return frame

    @property
    def settled(self) -> bool:  # type: ignore[override]
        return self._reached() == len(self._times)

    @property
    def closed(self) -> bool:
        return self.ended

    def end(self) -> None:
        """Stay at this moment."""
        if not self.ended:
            self._stopped = self._reached()
        super().end()


def _spans(
    name: str, rows: pa.Table, looks: Sequence[tuple[int, int]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """In which of the *looks* each row came and was gone. Raises BadRecording where they have other rows."""
    came = gone = np.empty(0, np.int64)
    if rows.num_rows:
        try:
            came, gone = spans(rows, SNAPSHOT, np.array([when for when, _ in looks], np.int64))
        except (KeyError, ValueError, pa.ArrowException) as error:
            raise BadRecording(f"the rows of '{name}' do not fit its looks: {error}") from None
    found = counts(came, gone, len(looks))
    if (found != [count for _, count in looks]).any():
        total = sum(count for _, count in looks)
        raise BadRecording(f"of '{name}' there are {found.sum():,} rows, and {total:,} were taken")
    return came, gone


class Rows(Stream):
    """A tool's rows, whose columns are the tool's own, as a stream. They come again as the replay goes on.

    *when* says of each row when it came, in s since 1970; *first* is the number of the first.
    """

    def __init__(
        self,
        name: str,
        forms: Forms,
        table: pa.Table,
        when: npt.NDArray[np.float64],
        attrs: Mapping[str, Any],
        moment: Moment = lambda: math.inf,
        origin: str = "",
        first: int = 0,
    ) -> None:
        super().__init__(name, Nothing())
        self.origin = origin
        self._said = {key: value for key, value in attrs.items() if key != ATTR}
        about = attrs.get(ATTR, {})
        self._about: Mapping[str, Any] = about if isinstance(about, Mapping) else {}
        self.kind = str(self._about.get("kind", "ringbuf"))
        self._shown = _Shown(name, forms, self._said)
        self._known = [self._shown]
        self._values = self._shown.values_of(table)
        self._table = table
        self._when = np.maximum.accumulate(when) if len(when) else when
        self._first, self._end = first, first + table.num_rows
        self._moment = moment
        self.limit(rows=max(1, table.num_rows), nbytes=1 << 62)
        store = self._store
        store.opened = store.looked = _seconds(self._about, 0)
        store.floor = store.total = first
        self._totals[self._shown] = first
        self.drain()
        if not self.closed:
            pump.add(self)

    def _drain(self, *, rest: bool = True) -> int:  # noqa: ARG002  all is there
        store, moment = self._store, self._moment()
        before = store.total
        if self._reader is None or before == self._end:
            store.closed = True
            return 0
        upto = self._end
        if not math.isinf(moment):
            upto = self._first + int(np.searchsorted(self._when, moment, "right"))
        with store.lock:
            for number in range(before, upto, _BATCH):
                part = slice(number - self._first, min(number + _BATCH, upto) - self._first)
                columns = {name: values[part] for name, values in self._values.items()}
                rows = part.stop - part.start
                store.add(self._shown, Batch.of_columns(number, rows, columns, time.time()))
            store.total = self._totals[self._shown] = max(before, upto)
            store.looked = _seconds(self._about, 1) if upto == self._end else moment
            store.closed = upto == self._end
            if upto > before or store.closed:
                store.announce()
        return int(max(0, upto - before))

    @property
    def settled(self) -> bool:  # type: ignore[override]
        return bool(self._store.total == self._end)

    def only(self, column: str, value: str) -> Rows:
        """The rows that have this text in a column, as a stream of their own."""
        here = self._table[column].cast(pa.string()) if column in self._table.column_names else None
        mask = pc.equal(here, value).fill_null(False) if here is not None else None
        table = self._table.slice(0, 0) if mask is None else self._table.filter(mask)
        when = self._when[:0] if mask is None else self._when[mask.to_numpy()]
        about = {**self._about, "name": value, "total": table.num_rows}
        attrs = {**self._said, ATTR: about}
        return Rows(value, self._shown.forms, table, when, attrs, self._moment, self.origin)

    def lost_by(self) -> dict[str, int]:
        return dict(self._about.get("lost_by", {}))

    def _attrs(self, rows: int, total: int, looked: float) -> dict[str, Any]:
        about = dict(self._about)
        if total < self._end:
            about |= {"total": total, "window": super()._attrs(rows, total, looked)["window"]}
        return {**about, "rows": rows}


class _Shown(Lane):
    """Rows of columns that are as people read them already."""

    def __init__(self, name: str, forms: Forms, said: Mapping[str, Any]) -> None:
        super().__init__(None)
        self.name = name
        self.forms = forms
        self.said = said
        self.kinds: dict[str, pa.Array] = {}

    def values_of(self, table: pa.Table) -> Columns:
        """The columns of all rows. Raises BadRecording."""
        found: Columns = {}
        for name, form in self.forms.known.items():
            values = form.values_of(table[name] if name in table.column_names else None, table.num_rows)
            if form.dtype == "category":
                values, self.kinds[name] = form.coded(values)
            found[name] = values
        return found

    @cached_property
    def plain(self) -> dict[str, Column]:
        numbers = (f.name for f in self.forms.known.values() if f.dtype != "category" and f.is_plain)
        return {name: Column(name, "int", "<u8", 0, 0, "", NONE) for name in numbers}

    def concat(self, parts: Sequence[Columns]) -> Columns:
        return {name: _joined([part[name] for part in parts]) for name in self.forms.known}

    def frame(self, columns: Columns, *, raw: bool = False, copy: bool = True) -> pd.DataFrame:  # noqa: ARG002
        found = {
            name: form.series(columns[name], self.kinds.get(name), copy=copy)
            for name, form in self.forms.known.items()
        }
        rows = len(next(iter(columns.values()), ()))
        frame = pd.DataFrame(found, index=pd.RangeIndex(rows))
        frame.attrs.update(self.said)
        return frame

    def arrow(self, columns: Columns) -> pa.RecordBatch:
        frame = self.frame(columns)
        return pa.RecordBatch.from_pandas(frame, preserve_index=False)

    def only(self, names: Collection[str]) -> Lane:
        out = _Shown(self.name, Forms({n: f for n, f in self.forms.known.items() if n in names}), self.said)
        out.kinds = self.kinds
        return out

    def empty(self) -> Columns:
        return _Shown(self.name, self.forms, {}).values_of(pa.table({}))


def _joined(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)


def _seconds(about: Mapping[str, Any], which: int) -> float:
    """The beginning (0) or the end (1) of what was measured."""
    try:
        return datetime.fromisoformat(about["window"][which]).timestamp()
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return 0.0
