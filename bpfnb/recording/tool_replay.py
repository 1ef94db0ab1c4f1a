"""A tool as a recording has it: an instance of the tool's own class, whose frames were made at another time.

What only a kernel tells is taken from the recording; pictures, reports and properties are the tool's own code. Nothing
of a recording is believed: options are read by the tool itself, columns and counts are compared with the tables.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb import tools
from bpfnb.errors import BadRecording, BpfnbError, UnknownName
from bpfnb.frames.columns import TEXT
from bpfnb.frames.completeness import ATTR
from bpfnb.object import BpfObject
from bpfnb.recording.looks import Looks
from bpfnb.recording.reader import RecordedObject
from bpfnb.recording.tool_frames import Forms
from bpfnb.recording.tool_past import Moment, Past, Rows
from bpfnb.recording.tools import ARRIVED, SNAPSHOT, plain
from bpfnb.tools.filters import FILTERS
from bpfnb.tools.options import COMMON, check_columns, checked
from bpfnb.tools.tool import Tool

__all__ = ["Recorded", "restored"]

_MOST: Final = 4096  # characters of an option's value, or values of one
_LOOKS: Final = 1_000_000
_NOT_AGAIN: Final = frozenset({"to", "duration", "watchdog"})
"""Options that were meant for the program, or would write a file."""


class Recorded(Tool):
    """A recorded tool. Get one from :func:`bpfnb.replay`. ``gone`` are the columns of its frame that were left out."""

    def _take_up(self, recorded: RecordedObject, made: BpfObject, moment: Moment, origin: str) -> None:
        said = recorded.info.tool
        self.object = made
        self.origin = origin
        self._recorded = recorded
        self._read_options(said.get("options"))
        self._used = _texts(said.get("used", []), "hooks")
        forms, attrs = Forms.from_json(said.get("columns")), _attributes(said.get("attrs"))
        self.gone = frozenset(form.name for form in forms.known.values() if form.gone)
        about = attrs.get(ATTR, {})
        name = str(about.get("name", self.name))
        missed = _count(said.get("missed", 0))
        if missed:
            lost = {**about.get("lost_by", {}), "recorder": missed}
            attrs[ATTR] = {**about, "lost_by": lost, "lost": sum(lost.values()), "complete": False}
        if said.get("grows") is True and recorded.recording.gaps:
            attrs[ATTR] = {**attrs.get(ATTR, {}), "complete": False}
        if said.get("grows") is True:
            table = _table(recorded, "frame")
            when, first = _arrivals(table), _count(said.get("first", 0))
            self._frames: Rows | Past = Rows(name, forms, table, when, attrs, moment, origin, first)
        else:
            self._frames = _past(recorded, ("frame",), ("looks",), name, forms, attrs, moment, origin)
        beside = {}
        for one, told in _dict(said.get("beside", {}), "frames").items():
            columns = _dict(told, f"the frame '{one[:80]}'")
            rest = Forms.from_json(columns.get("columns")), _attributes(columns.get("attrs"))
            beside[one] = _past(recorded, ("beside", one), ("beside", f"{one}@"), one, *rest, moment, origin)
        try:
            self.recorded = beside
            self.restore(_dict(said.get("state", {}), "state"))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            if isinstance(error, BpfnbError):
                raise
            raise BadRecording(
                f"what the recording says of the tool {self.name} makes no sense: {error}"
            ) from None

    def _read_options(self, said: Any) -> None:
        options = _dict(said, "options")
        own = {option.name for option in (*self.options, *COMMON)} | FILTERS.keys()
        found: dict[str, Any] = {}
        for name, value in options.items():
            if name not in own:
                raise BadRecording(f"the tool {self.name} has no option '{name[:80]}'")
            values = value if isinstance(value, list) else [value]
            kinds = int | str if name in FILTERS else bool | int | float | str | None
            if len(values) > _MOST or not all(isinstance(one, kinds) and _short(one) for one in values):
                raise BadRecording(f"the option {name} of {self.name} was given {str(value)[:80]!r}")
            if name in _NOT_AGAIN:
                continue
            try:
                found |= checked(self.name, self.options, {name: value})
            except (BpfnbError, OSError):  # a disk, a signal, a reason that this machine does not have
                found[name] = value
        self.asked = options
        self.filters = {name: found.pop(name) for name in FILTERS if name in found}
        self.shared = {o.name: found.pop(o.name) for o in COMMON if o.name in found}
        self.given = found
        self.add = tuple(map(str, self.shared.get("add", ())))

    def otherwise(self, given: Mapping[str, Any]) -> str:
        """How the options *given* differ from those that it was recorded with; "" where they do not."""
        before = {n: v for n, v in self.asked.items() if n not in _NOT_AGAIN}
        now = {n: plain(v) for n, v in given.items() if v is not None and n not in _NOT_AGAIN}
        names = [n for n in {**before, **now} if _alike(before.get(n)) != _alike(now.get(n))]
        pairs = [f"{n}={before[n]!r}" if n in before else f"no {n}=" for n in names]
        return f"it was recorded with {', '.join(pairs)}" if pairs else ""

    # What it saw

    @property
    def frames(self) -> Any:
        return self._frames

    @property
    def df(self) -> pd.DataFrame:
        """What it had seen at the moment that the replay has come to."""
        return self._frames.df

    def frame_with(self, *names: str) -> pd.DataFrame:
        """As :attr:`df`, with columns of the processes beside, as far as those were known when it was recorded."""
        check_columns(names)
        return self._labelled(self.df, [name for name in dict.fromkeys(names) if name not in self.add])

    def new(self, start: int, stop: int | None = None) -> pd.DataFrame:
        if not isinstance(self._frames, Rows):
            return self.df
        self._frames.drain()
        return self._frames.slice(start, stop).reset_index(drop=True)

    def past(self) -> Looks:
        """Of a tool whose frame changes: each look at it so far, when it was (ns since 1970) and what it was."""
        return self._frames.past() if isinstance(self._frames, Past) else Looks()

    def _labelled(self, frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        if not names or self.pid not in frame:
            return frame
        attrs = frame.attrs
        pids = pd.Index(frame[self.pid].to_numpy())
        for name in names:
            texts = self._labels.get(name, pd.Series(dtype=TEXT)).reindex(pids)
            texts = texts.mask(texts == "").astype("category")
            frame = frame.assign(**{name: pd.Categorical(texts.to_numpy(object), _kinds(texts))})
        frame.attrs = attrs
        return frame

    @cached_property
    def _labels(self) -> dict[str, pd.Series[Any]]:
        """By column, what is known of each pid; of several processes that had it, of the last."""
        table = self._recorded.recording.processes
        if "pid" not in table.column_names:
            return {}
        people = table.to_pandas()
        if "start" in people:
            people = people.sort_values("start", kind="stable")
        people = people.drop_duplicates("pid", keep="last").set_index("pid")
        return {str(name): column.astype(TEXT) for name, column in people.items()}

    def _drawable(self) -> Any:
        plainly = type(self).frame is Tool.frame
        return self._frames if isinstance(self._frames, Rows) and (plainly or self.rowwise) else self

    def _columns(self) -> list[str]:
        return [str(name) for name in self._frames.df.columns]

    @property
    def used(self) -> tuple[str, ...]:
        return self._used

    @property
    def source(self) -> str:
        return self._recorded.source

    def wait(self, rows: int = 1, timeout: float | None = None) -> bool:
        if isinstance(self._frames, Rows):
            return self._frames.wait_for(rows, timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while len(self.df) < rows:
            if self.settled or self.closed or (end is not None and time.monotonic() > end):
                return False
            time.sleep(0.02)
        return True

    # Its end

    @property
    def readable(self) -> bool:
        return False

    @property
    def settled(self) -> bool:
        """Whether all that was recorded has come."""
        return bool(self._frames.settled)

    def stop(self) -> None:
        if self.closed:
            return
        self.object.stop()
        for one in (self._frames, *self.recorded.values()):
            one.end()

    def close(self) -> None:
        self.stop()
        if isinstance(self._frames, Rows):
            self._frames.close()
        self.object.close()

    def __repr__(self) -> str:
        frames = self._frames
        if isinstance(frames, Rows):
            lost = f", {frames.lost:,} LOST" if frames.lost else ""
            return f"<{self.object.name} {self.origin}: {frames.total:,} rows{lost}>"
        return f"<{self.object.name} {self.origin}>"


def restored(
    recorded: RecordedObject,
    made: BpfObject,
    *,
    moment: Moment = lambda: math.inf,
    origin: str = "recorded",
) -> Recorded:
    """The tool that *recorded* is of. *made* is its object: name, state, programs. Raises BadRecording."""
    name = recorded.info.tool.get("name")
    try:
        tool = tools.find(str(name))
    except UnknownName:
        raise BadRecording(
            f"'{recorded.name}' is a recording of the tool '{str(name)[:80]}', which this bpfnb does not have",
            hints=["a newer bpfnb may have it"],
        ) from None
    found = _of(tool)
    again = found.__new__(found)
    again._take_up(recorded, made, moment, origin)
    return again


_classes: dict[str, type[Recorded]] = {}


def _of(tool: type[Tool]) -> type[Recorded]:
    """The class of recordings of *tool*, whose instances are the tool's too."""
    if tool.name not in _classes:
        made = type(tool.__name__, (Recorded, tool), {"__module__": tool.__module__})
        assert issubclass(made, Recorded)
        _classes[tool.name] = made
    return _classes[tool.name]


# From the file


def _past(
    recorded: RecordedObject,
    folder: tuple[str, ...],
    looks: tuple[str, ...],
    name: str,
    forms: Forms,
    attrs: Mapping[str, Any],
    moment: Moment,
    origin: str,
) -> Past:
    parts = [(_table(one, *folder), _looks(_table(one, *looks), name)) for one in recorded.parts]
    times = [when for _, taken in parts for when, _ in taken]
    if len(times) > _LOOKS:
        raise BadRecording(f"'{name[:80]}' was looked at {len(times):,} times; {_LOOKS:,} are the most")
    if min(times, default=0) < 0:
        raise BadRecording(f"the recording says that '{name[:80]}' was looked at before 1970")
    return Past(name, forms, parts, attrs, moment, origin)


def _looks(table: pa.Table, name: str) -> list[tuple[int, int]]:
    """When something was looked at, and how many rows there were."""
    if not table.num_rows:
        return []
    if {SNAPSHOT, "rows"} - set(table.column_names):
        raise BadRecording(f"the recording does not say when '{name[:80]}' was looked at")
    return list(zip(_integers(table, SNAPSHOT).tolist(), _integers(table, "rows").tolist(), strict=True))


def _table(recorded: RecordedObject, *names: str) -> pa.Table:
    """All pieces of a table, columns that some lack being missing there."""
    pieces = list(recorded.table(*names))
    try:
        return pa.concat_tables(pieces, promote_options="permissive") if pieces else pa.table({})
    except pa.ArrowException as error:
        raise BadRecording(
            f"the pieces of {'/'.join(names)} in {recorded.recording.path} do not fit each other: {error}"
        ) from None


def _arrivals(table: pa.Table) -> npt.NDArray[np.float64]:
    """When each row came, in s since 1970: by its own time, or when it was taken."""
    name = "time" if "time" in table.column_names and pa.types.is_timestamp(table["time"].type) else ARRIVED
    if name not in table.column_names:
        return np.zeros(table.num_rows)
    kind = table[name].type
    unit = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit] if pa.types.is_timestamp(kind) else 1e6
    return np.asarray(_integers(table, name) / unit, np.float64)


def _integers(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    column = table[name]
    if not (pa.types.is_timestamp(column.type) or pa.types.is_int64(column.type)):
        raise BadRecording(f"the column '{name}' holds {column.type}")
    found: npt.NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy()
    return found


def _dict(said: Any, what: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise BadRecording(f"the recording does not say the {what} of its tool: {str(said)[:80]!r}")
    return said


def _texts(said: Any, what: str) -> tuple[str, ...]:
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise BadRecording(f"the {what} of the recorded tool are {str(said)[:80]!r}")
    return tuple(said)


def _count(said: Any) -> int:
    if type(said) is not int or not 0 <= said < 1 << 62:
        raise BadRecording(f"{str(said)[:80]!r} is no number of rows")
    return said


def _short(value: Any) -> bool:
    return len(str(value)) <= _MOST if isinstance(value, str) else abs(value or 0) < 1 << 64


def _alike(value: Any) -> list[str]:
    """A value as a list of words, since ``pid=5`` and ``pid=["5"]`` are the same."""
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _kinds(texts: pd.Series[Any]) -> pd.Index[Any]:
    found: pd.Index[Any] = pd.Index(sorted(texts.cat.categories), dtype=TEXT)
    return found


def _attributes(said: Any) -> dict[str, Any]:
    """What a frame says of itself, as far as it can be true."""
    attrs = dict(_dict(said, "attributes"))
    about, notes = attrs.get(ATTR, {}), attrs.get("bpfnb_columns", {})
    lost = about.get("lost_by", {}) if isinstance(about, dict) else None
    if not isinstance(lost, dict) or not all(type(count) is int for count in lost.values()):
        raise BadRecording("the recording does not say what its frame lost")
    if not isinstance(notes, dict) or not all(isinstance(one, dict) for one in notes.values()):
        raise BadRecording("the recording does not say what the columns of its frame are")
    for one in notes.values():
        if not all(isinstance(value, str | bool | int | float | list) for value in one.values()):
            raise BadRecording("the recording does not say what the columns of its frame are")
    for key in ("rows", "total", "lost", "evicted"):
        if type(about.get(key, 0)) is not int:
            raise BadRecording(f"the recording's {key} is {str(about[key])[:80]!r}")
    window = about.get("window", ["", ""])
    try:
        if window != ["", ""]:
            first, last = (pd.Timestamp(one) for one in window)
            assert first.tz is not None
            assert last.tz is not None
    except (AssertionError, TypeError, ValueError):
        raise BadRecording(f"the recording's window is {str(window)[:80]!r}") from None
    return attrs
