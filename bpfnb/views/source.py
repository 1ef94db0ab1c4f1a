"""What a view reads: a live stream, a map, a recording, a DataFrame, all through one small interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.errors import BpfnbError
from bpfnb.frames.arrays import Arrays
from bpfnb.frames.completeness import ATTR
from bpfnb.frames.drawn import Drawn
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.mapframe import MapFrame, PerCpuFrame
from bpfnb.frames.presented import Presented
from bpfnb.recording.looks import Looks

__all__ = ["Source"]


RECOUNT = 0.25  # seconds between looks at how much was lost, each of which costs system calls


class Source:
    """Rows that may change. Make one with :meth:`of`; this class is the one that stands still, a DataFrame.

    ``name``; ``kind``: ``stream`` (rows are appended, each with a number for ever), ``map`` (a table read anew each
    time) or ``frame``; ``live``: whether it may still change; ``attrs``: the completeness of what was read last.
    """

    kind = "frame"

    def __init__(self, data: Any, name: str, key: Hashable, given: object = None) -> None:
        self.data = data
        self.name = name
        self._given = given  # keeps the id in *key* from being another's
        self.key = key
        """Views whose sources have one key are linked."""
        self.attrs: Mapping[str, Any] = {}

    @staticmethod
    def of(data: Any, name: str | None = None) -> Source:
        """The source that reads *data*: a live frame, a map, a DataFrame, Series, pyarrow.Table, or what has ``.df``.

        Raises TypeError for anything else.
        """
        if isinstance(data, Source):
            return data
        named = getattr(data, "name", None)  # of a DataFrame it may be a column
        name = name or (named if isinstance(named, str) else "")
        if isinstance(data, LiveFrame):
            return _Stream(data, name, ("stream", id(data._store)))
        if isinstance(data, Presented):
            return _Presented(data, name or data.stream.name, ("presented", id(data)))
        if isinstance(data, MapFrame | PerCpuFrame):
            return _Map(data, name, ("map", id(data)))
        if isinstance(data, pd.DataFrame):
            return Source(_plain(data), name, ("frame", id(data)), data)
        if isinstance(data, pd.Series):
            return Source(_plain(data.to_frame(name or "value")), name, ("frame", id(data)), data)
        if isinstance(data, pa.Table | pa.RecordBatch):
            return Source(_plain(data.to_pandas()), name, ("frame", id(data)), data)
        if isinstance(getattr(data, "df", None), pd.DataFrame):
            return _Polled(data, name, ("polled", id(data)))
        if hasattr(data, "__arrow_c_stream__"):
            return Source(_plain(pa.table(data).to_pandas()), name, ("frame", id(data)), data)
        raise TypeError(
            f"a view shows a stream, a map, a DataFrame or what has .df, not a {type(data).__name__}"
        )

    @property
    def live(self) -> bool:
        return False

    @property
    def closed(self) -> bool:
        """Whether what was live will not change any more."""
        return False

    @property
    def origin(self) -> str:
        """Where the data come from, where that is not this machine's kernel: ``recorded ... on kernel ...``."""
        found = None if isinstance(self.data, pd.DataFrame) else getattr(self.data, "origin", None)
        return found if isinstance(found, str) else ""

    def now(self) -> int:
        """What time it is where the data come from, in ns since 1970."""
        frame = self.data._map if isinstance(self.data, PerCpuFrame) else self.data
        return frame.present() if isinstance(frame, Drawn) else time.time_ns()

    @property
    def view(self) -> tuple[str, ...]:
        """The words of the VIEW annotation, but for the columns that it names."""
        words = getattr(self.data, "view", None)  # of a tool it is a method
        return tuple(word for word in words if "=" not in word) if isinstance(words, tuple) else ()

    @property
    def columns(self) -> list[str]:
        return [str(name) for name in self.data.columns]

    def about(self, column: str) -> dict[str, Any]:
        """What is known of a column: unit, format, description, view, each only if it was stated."""
        return dict(self._notes().get(column) or {})

    def _notes(self) -> Mapping[str, Any]:
        notes: Mapping[str, Any] = self.data.attrs.get("bpfnb_columns", {})
        return notes

    def version(self) -> object:
        """Equal to the last one: nothing changed. None: only reading tells. Cheap."""
        return 0

    def lost(self) -> dict[str, int]:
        """Where records were lost, and how many."""
        return dict(self.data.attrs.get(ATTR, {}).get("lost_by", {}))

    def lately(self) -> Mapping[str, int]:
        """:meth:`lost` as of a moment ago, where counting costs system calls. :meth:`recount` makes it as of now."""
        return self.lost()

    def recount(self) -> None:
        """Let :meth:`lately` be what is lost now; else :meth:`version` does so, a few times a second."""

    def span(self) -> tuple[int, int]:
        """The number of the first row there is, and the number after the last."""
        return 0, len(self.data)

    def frame(self, columns: Collection[str] | None = None, *, raw: bool = False) -> pd.DataFrame:
        """All rows, with *columns* only; the index numbers them. *raw*: as the kernel wrote them, where it did."""
        return self.rows(*self.span(), columns, raw=raw)

    def rows(
        self,
        start: int,
        stop: int,
        columns: Collection[str] | None = None,
        *,
        raw: bool = False,  # noqa: ARG002
    ) -> pd.DataFrame:
        """The rows numbered *start* to *stop* (exclusive), as far as they are there."""
        self.attrs = self.data.attrs.get(ATTR, {})
        found: pd.DataFrame = self.data
        if columns is not None:
            found = found[[c for c in found.columns if c in columns]]
        return found.iloc[max(0, start) : max(0, stop)]

    def numbers(self, start: int, stop: int) -> pd.Index:
        """The numbers of the rows from *start* to *stop* (exclusive) that are there."""
        return self.rows(start, stop, ()).index

    def take(
        self, numbers: npt.NDArray[np.int64], columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        """The rows with these numbers, in this order, as far as they are there."""
        found = self.frame(columns, raw=raw)
        return found.iloc[numbers[(numbers >= 0) & (numbers < len(found))]]

    def since(self, number: int, columns: Collection[str] | None = None) -> tuple[pd.DataFrame, int]:
        """The rows from *number* on, and the number of the one that comes next."""
        upto = self.span()[1]
        return self.rows(number, upto, columns), upto

    def arrays(self, number: int, columns: Collection[str], *, boot: bool = False) -> Arrays | None:  # noqa: ARG002
        """As :meth:`since`, of numbers and times alone; None where only a DataFrame holds them. Cheap for few rows.

        With *boot*, times that a program took with ``bpf_ktime_get_ns`` stay what they are.
        """
        return None

    def measured(self) -> tuple[int, int] | None:
        """From when until when the rows there are were collected, in ns since 1970, where that is known."""
        window = self.attrs.get("window")
        if not window:
            return None
        start, stop = (int(pd.Timestamp(text).as_unit("ns").value) for text in window)
        return start, stop

    @property
    def evicted(self) -> int:
        """How many older rows were left out by the bound of what is kept."""
        return int(self.attrs.get("evicted") or 0)

    def past(self) -> Looks:
        """What a table was before, where that is recorded: moments in ns since 1970, oldest first."""
        return Looks()

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call *callback*, a bound method, once nothing will change any more."""


class _Stream(Source):
    kind = "stream"
    data: LiveFrame

    def __init__(self, data: LiveFrame, name: str, key: Hashable) -> None:
        super().__init__(data, name, key)
        self._known: tuple[object, list[str], Mapping[str, Any]] = (None, [], {})
        self.recount()

    @property
    def live(self) -> bool:
        return not self.data.closed and not self.data.ended

    @property
    def closed(self) -> bool:
        return self.data.ended or (self.data.closed and not self.data.settled)

    @property
    def columns(self) -> list[str]:
        return list(self._described()[1])

    def _notes(self) -> Mapping[str, Any]:
        return self._described()[2]

    def _described(self) -> tuple[object, list[str], Mapping[str, Any]]:
        kinds = len(self.data._lanes())  # another kind of record may bring other columns
        if self._known[0] != kinds:
            empty = self._empty()
            names = [str(name) for name in empty.columns]
            self._known = (kinds, names, empty.attrs.get("bpfnb_columns", {}))
        return self._known

    def _empty(self) -> pd.DataFrame:
        total = self.data.span()[1]
        return self.data.slice(total, total)

    def version(self) -> object:
        closed = self.closed
        if closed or time.monotonic() - self._recounted >= RECOUNT:
            self.recount()
        return (*self.data.span(), closed, self._lately)

    def lately(self) -> Mapping[str, int]:
        return self._lately

    def recount(self) -> None:
        self._recounted = time.monotonic()
        self._lately = self.lost()

    def lost(self) -> dict[str, int]:
        return {where: count for where, count in self.data.lost_by().items() if count}

    def arrays(self, number: int, columns: Collection[str], *, boot: bool = False) -> Arrays | None:
        return self.data.arrays(number, None, columns, boot=boot)

    def measured(self) -> tuple[int, int]:
        start, stop = self.data._store.window
        return round(start * 1e6) * 1000, round(stop * 1e6) * 1000

    @property
    def evicted(self) -> int:
        return self.data.span()[0]

    def span(self) -> tuple[int, int]:
        return self.data.span()

    def rows(
        self, start: int, stop: int, columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        found = self.data.slice(start, stop, columns, raw=raw)
        self.attrs = found.attrs.get(ATTR, {})
        return found

    def numbers(self, start: int, stop: int) -> pd.Index:
        return self.data.numbers(start, stop)

    def take(
        self, numbers: npt.NDArray[np.int64], columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        found = self.data.take(numbers, columns, raw=raw)
        self.attrs = found.attrs.get(ATTR, {})
        return found

    def when_ended(self, callback: Callable[[], object]) -> None:
        self.data.when_ended(callback)


class _Presented(_Stream):
    """A stream whose rows are shown in another form."""

    def __init__(self, data: Presented, name: str, key: Hashable) -> None:
        self._presented = data
        super().__init__(data.stream, name, key)

    def _empty(self) -> pd.DataFrame:
        total = self.data.span()[1]
        return self._presented.slice(total, total)

    def arrays(self, number: int, columns: Collection[str], *, boot: bool = False) -> Arrays | None:  # noqa: ARG002
        return None

    def rows(
        self, start: int, stop: int, columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        found = self._presented.slice(start, stop, columns, raw=raw)
        self.attrs = found.attrs.get(ATTR, {})
        return found

    def take(
        self, numbers: npt.NDArray[np.int64], columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        found = self._presented.take(numbers, columns, raw=raw)
        self.attrs = found.attrs.get(ATTR, {})
        return found


class _Polled(Source):
    """Whatever has a ``df``: read anew each time. It is live until it says ``closed``, or ``settled``."""

    kind = "map"

    @property
    def live(self) -> bool:
        return not self.closed and not getattr(self.data, "settled", False)

    @property
    def closed(self) -> bool:
        return bool(getattr(self.data, "closed", False))

    @property
    def columns(self) -> list[str]:
        return [str(name) for name in self.frame().columns]

    def _notes(self) -> Mapping[str, Any]:
        notes: Mapping[str, Any] = self.frame().attrs.get("bpfnb_columns", {})
        return notes

    def version(self) -> object:
        return None

    def lost(self) -> dict[str, int]:
        return dict(self.attrs.get("lost_by", {}))

    def span(self) -> tuple[int, int]:
        return 0, len(self.frame())

    def frame(self, columns: Collection[str] | None = None, *, raw: bool = False) -> pd.DataFrame:
        found = _plain(self._read(raw))
        self.attrs = found.attrs.get(ATTR, {})
        return found if columns is None else found[[c for c in found.columns if c in columns]]

    def _read(self, raw: bool) -> pd.DataFrame:  # noqa: ARG002  nobody knows what the kernel wrote
        frame: pd.DataFrame = self.data.df
        return frame

    def rows(
        self, start: int, stop: int, columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        return self.frame(columns, raw=raw).iloc[max(0, start) : max(0, stop)]

    def past(self) -> Looks:
        known = getattr(self.data, "past", Looks)
        return known().each(_plain)

    def when_ended(self, callback: Callable[[], object]) -> None:
        register = getattr(self.data, "when_ended", None)
        if register is not None:
            register(callback)


class _Map(_Polled):
    """A BPF map: its object says when it ends, and it counts what it refused."""

    @property
    def _map(self) -> MapFrame:
        found: MapFrame = self.data._map if isinstance(self.data, PerCpuFrame) else self.data
        return found

    @property
    def live(self) -> bool:
        return not self.closed and not self._map.settled

    @property
    def closed(self) -> bool:
        return self._map.ended

    @property
    def origin(self) -> str:
        return self._map.origin

    def lost(self) -> dict[str, int]:
        try:
            lost = self._map.lost
        except BpfnbError:  # the object was closed: what was read last remains
            return super().lost()
        return {"full": lost} if lost else {}

    def _read(self, raw: bool) -> pd.DataFrame:
        frame: pd.DataFrame = self.data.frame(raw=raw)
        return frame

    def when_ended(self, callback: Callable[[], object]) -> None:
        self._map.when_ended(callback)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """*frame* with its named indexes as columns, flat column names, and rows numbered from 0."""
    named = [name for name in frame.index.names if name is not None]
    taken = [name for name in named if name in frame.columns]
    out = frame.reset_index(drop=not named or bool(taken))
    if isinstance(out.columns, pd.MultiIndex):
        out.columns = pd.Index([".".join(str(part) for part in name if part != "") for name in out.columns])
    elif not all(isinstance(name, str) for name in out.columns):
        out.columns = pd.Index([str(name) for name in out.columns])
    if not out.columns.is_unique:
        out.columns = pd.Index(_distinct(out.columns))
    if any(dtype.kind == "O" for dtype in out.dtypes):
        out = out.infer_objects()  # numbers and times that came as Python's objects
    out.attrs = dict(frame.attrs)
    return out


def _distinct(names: Iterable[str]) -> list[str]:
    """*names* in their order, with a number behind those that were there before: a, a.2, a.3."""
    out: list[str] = []
    for name in names:
        tries = (f"{name}.{number}" for number in count(2))
        out.append(name if name not in out else next(other for other in tries if other not in out))
    return out
