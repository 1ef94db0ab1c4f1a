"""Rows with a moment as events on tracks, which trace viewers show: what Chrome's and Perfetto's format have in common.

A row that says how long something took is a slice, another one an instant. A process (``pid`` or ``tgid``) is a group,
each of its threads (``tid``) a track; where slices of one thread overlap without one being within the other, as
requests under way at the same time do, the thread has several tracks. Rows of no process stand under the table's name.
The moment of a row is the slice's beginning, unless its description says that then something ended.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.exports.subject import Part, Subject
from bpfnb.frames.drawn import Drawn
from bpfnb.views import moments
from bpfnb.views.spans.columns import Roles, find, read

__all__ = ["NOBODY", "Counter", "Event", "Timeline", "Track", "timeline"]

_AFTER: Final = re.compile(r"\b(ended|complete|completed|returned|came|removed|finished|was over|the end)\b")
_PROCESS: Final = ("tgid", "pid")
_THREAD: Final = ("tid", "thread", "pid")
_NAMES: Final = ("name", "call", "op", "event", "operation", "function", "type", "probe")
NOBODY: Final = 1 << 30
"""Above the numbers of processes."""
_NOT_SHOWN: Final = 1 << 12  # characters of a text among a slice's details

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Track:
    """A line of the picture: ``lane`` counts those of one thread."""

    process: int
    thread: int
    lane: int = 0


@dataclass(slots=True)
class Event:
    """``start`` in ns since 1970 (or of the data's own clock); ``duration`` in ns, None for an instant. ``track`` is
    its place among the timeline's.
    """

    start: int
    duration: int | None
    process: int
    thread: int
    name: str
    category: str
    _rest: _Rest
    _row: int
    track: int = 0

    @property
    def details(self) -> dict[str, Any]:
        """The other columns of its row: numbers, truth and text; without what is missing."""
        return self._rest.of(self._row)


@dataclass(frozen=True)
class Counter:
    """A number over time."""

    name: str
    times: Ints
    values: npt.NDArray[Any]


@dataclass
class Timeline:
    """What a trace holds. ``wall``: whether its times count from 1970.

    Rows of no process stand under one whose number is :data:`NOBODY` or more, named as their table.
    """

    title: str
    tracks: list[Track] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    processes: dict[int, str] = field(default_factory=dict)
    threads: dict[tuple[int, int], str] = field(default_factory=dict)
    wall: bool = True

    @property
    def start(self) -> int:
        starts = [event.start for event in self.events[:1]]
        return min(starts + [int(c.times[0]) for c in self.counters if len(c.times)], default=0)

    def name(self, track: Track) -> str:
        """``make 4242``, and ``make 4242 (2)`` of its second track."""
        title = self.threads.get((track.process, track.thread)) or self.processes[track.process]
        title = title if track.process >= NOBODY else f"{title} {track.thread}"
        return f"{title} ({track.lane + 1})" if track.lane else title


def timeline(subject: Subject) -> Timeline:
    """All of *subject* that has moments, in their order. Raises BadValue where nothing has."""
    out = Timeline(subject.title)
    for number, part in enumerate(subject.parts):
        out.events += _events(out, part, NOBODY + number)
    if not out.events:
        raise BadValue(
            f"nothing of {subject.title} says when it happened",
            hints=["a trace is made of a column of times: ktime_ns_t, FORMAT(timestamp)"],
        )
    out.events.sort(key=lambda event: (event.start, -(event.duration or 0)))
    known: dict[tuple[int, int, int], int] = {}
    ends: dict[tuple[int, int], list[list[int]]] = {}
    for event in out.events:
        lane, thread = 0, (event.process, event.thread)
        if event.duration is not None:
            lane = _lane(ends.setdefault(thread, []), event.start, event.start + event.duration)
        event.track = known.setdefault((*thread, lane), len(known))
    out.tracks = [Track(*one) for one in known]
    out.wall = out.events[0].start >= moments.EPOCH
    out.counters = list(_health(subject))
    return out


def _events(out: Timeline, part: Part, nobody: int) -> list[Event]:
    frame = part.frame()
    notes: Mapping[str, Mapping[str, Any]] = frame.attrs.get("bpfnb_columns", {})

    def about(column: str) -> Mapping[str, Any]:
        return notes.get(column, {})

    when = moments.column(frame, about)
    if when is None or not len(frame) or frame[when].dtype.kind not in "iufM":
        return []
    found = _spans(part, frame, about)
    if found is None:
        start, there = moments.nanoseconds(frame[when], about(when).get("unit"))
        frame, start, used = frame[there], start[there], {when}
        duration: list[int | None] = [None] * len(frame)
    else:
        frame, start, lengths, used = found
        duration = [*lengths.tolist()]
    processes = _numbers(frame, _PROCESS, np.full(len(frame), nobody))
    threads = _numbers(frame, _THREAD, processes)
    _call(out, frame, processes, threads, part.name)
    rest = _Rest(frame, used)
    columns = zip(
        start.tolist(), duration, processes.tolist(), threads.tolist(), _names(part, frame, used), strict=True
    )
    return [Event(*values, part.name, rest, row) for row, values in enumerate(columns)]


def _spans(
    part: Part, frame: pd.DataFrame, about: Callable[[str], Mapping[str, Any]]
) -> tuple[pd.DataFrame, Ints, Ints, set[str]] | None:
    """The rows that have a moment, when they began, how long they took, the columns that say so; None: instants."""
    asked = part.data.named("waterfall") if isinstance(part.data, Drawn) else {}
    given = {role: asked.get(role) for role in ("start", "end", "duration")}
    columns = [str(name) for name in frame.columns if frame[name].dtype.kind in "iufmM"]
    try:
        roles = find(columns, given, about)
        plain = not any(given.values()) and roles.duration and not roles.end
        if plain and roles.start and _AFTER.search(about(roles.start).get("description", "")):
            roles = Roles(end=roles.start, duration=roles.duration)
        spans = read(frame.reset_index(drop=True), Roles(roles.start, roles.duration, roles.end), about)
    except (BadValue, TypeError):
        return None
    used = {column for column in (roles.start, roles.duration, roles.end) if column}
    return frame.iloc[spans.row], spans.start, spans.duration, used


def _lane(lanes: list[list[int]], start: int, end: int) -> int:
    """The first of a thread's tracks on which nothing is under way, or all that is ends later."""
    for number, open_ in enumerate(lanes):
        while open_ and open_[-1] <= start:
            open_.pop()
        if not open_ or open_[-1] >= end:
            open_.append(end)
            return number
    lanes.append([end])
    return len(lanes) - 1


def _names(part: Part, frame: pd.DataFrame, used: set[str]) -> list[str]:
    """What each event is called."""
    column = next((name for name in _NAMES if name in frame and _is_text(frame[name])), None)
    if column is None:
        texts = [str(name) for name in frame if name not in used and _is_text(frame[name]) and name != "comm"]
        column = next((name for name in texts if frame[name].dtype.name == "category"), None)
    if column is None and "comm" in frame:
        column = "comm"
    if column is None:
        return [part.name] * len(frame)
    return [part.name if pd.isna(one) or one == "" else str(one) for one in frame[column].tolist()]


def _is_text(values: pd.Series[Any]) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype) or values.dtype == object


def _numbers(frame: pd.DataFrame, names: Sequence[str], default: Ints) -> Ints:
    """The first column of whole numbers that has one of the *names*."""
    column = next((name for name in names if name in frame and frame[name].dtype.kind in "iu"), None)
    return default if column is None else frame[column].fillna(0).to_numpy(np.int64)


def _call(out: Timeline, frame: pd.DataFrame, processes: Ints, threads: Ints, table: str) -> None:
    """Note what processes and threads are called: the last name that they had."""
    for number in np.unique(processes).tolist():
        out.processes.setdefault(number, table if number >= NOBODY else f"process {number}")
    if "comm" not in frame:
        return
    for process, thread, name in zip(
        processes.tolist(), threads.tolist(), frame["comm"].tolist(), strict=True
    ):
        if process < NOBODY and not pd.isna(name) and name:
            out.threads[process, thread] = str(name)
            if process == thread or out.processes[process].startswith("process "):
                out.processes[process] = str(name)


class _Rest:
    """The columns of a frame that are neither moment nor duration, of which an event takes its row when written."""

    def __init__(self, frame: pd.DataFrame, used: set[str]) -> None:
        self._columns: list[tuple[str, list[Any]]] = []
        for name in map(str, frame.columns):
            if name not in used:
                values = frame[name]
                values = values.astype(str) if values.dtype.kind == "M" else values
                self._columns.append((name, values.astype(object).where(values.notna(), None).tolist()))

    def of(self, row: int) -> dict[str, Any]:
        return {name: _value(value) for name, values in self._columns if (value := values[row]) is not None}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_NOT_SHOWN]
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        return value.item()
    return str(value)[:_NOT_SHOWN]


def _health(subject: Subject) -> Iterator[Counter]:
    """Rows a second, losses and fill over time, as far as somebody noted them; else what was lost, once."""
    noted = {owner: table for owner, table in subject.health.items() if len(table)}
    for owner, table in noted.items():
        names = [n for n in table.columns if n in ("fill", "entries", "total") or n.startswith("lost_")]
        for name, rows in table.groupby("name", observed=True):
            times, there = moments.nanoseconds(rows["time"])
            for column in names:
                values = rows[column].to_numpy(np.float64, na_value=np.nan)
                kept = there & np.isfinite(values)
                if kept.any():
                    yield Counter(f"{owner} {name}: {column}", times[kept], values[kept])
    if noted:
        return
    for part in subject.parts:
        stated = part.frame().attrs.get("bpfnb", {})
        if "window" in stated and "lost" in stated:
            at = np.array([pd.Timestamp(stated["window"][1]).value], np.int64)
            yield Counter(f"{part.name}: lost", at, np.array([float(stated["lost"])]))
