"""What a recording is of: an object with all its streams and maps, or a tool with its frame."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.compile.source import dialect
from bpfnb.errors import BpfnbError
from bpfnb.frames import MapFrame, Stream
from bpfnb.frames.lane import Columns, Lane
from bpfnb.object import BpfObject
from bpfnb.processes import COLUMNS, Processes
from bpfnb.recording.container import folder_of
from bpfnb.recording.host import guest_of
from bpfnb.recording.manifest import MapEntry, ObjectInfo, ProgramEntry
from bpfnb.recording.naming import PIDS, Named, inline_of, pairs_of
from bpfnb.recording.redaction import Redaction
from bpfnb.recording.taps import UNREADABLE, MapTap, Put, StreamTap, health_table, program_table, statistics
from bpfnb.recording.tools import Tap
from bpfnb.tools.tool import Tool

__all__ = ["ObjectSource", "Source", "ToolSource"]

_STATED: Final = 4096  # rows of statistics that are held back until they make a piece


class Source:
    """What objects and tools have in common: programs, statistics, the health of streams and maps."""

    kind = "object"

    def __init__(self, name: str, obj: BpfObject) -> None:
        self.name = name
        self.obj = obj
        self.ended = False
        self.programs: list[dict[str, Any]] = []
        self.health: list[dict[str, Any]] = []
        self.processes = Processes(again=10.0)
        self.pids: set[int] = set()
        self.named = Named(getattr(obj.backend, "symbols", None))

    @property
    def rows(self) -> int:
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """Rows that came and are not written, as far as that is known without reading them."""
        return 0

    @property
    def lost(self) -> dict[str, int]:
        """What was lost, by what lost it."""
        raise NotImplementedError

    @property
    def complete(self) -> bool:
        """Whether surely nothing was lost."""
        return not any(self.lost.values())

    def take(self, put: Put, *, last: bool = False) -> None:
        """Put what is new."""
        raise NotImplementedError

    def restart(self) -> None:
        """Another file begins."""
        raise NotImplementedError

    def info(self) -> ObjectInfo:
        """The manifest's part, as things are now."""
        obj = self.obj
        text = obj.source.text.encode()
        return ObjectInfo(
            self.kind,
            folder_of("objects", self.name),
            obj.source.name,
            obj.elf.key,
            hashlib.sha256(text).hexdigest(),
            obj.elf.compiler,
            _dialect(obj),
            hashlib.sha256(self.types()).hexdigest() if self.types() else "",
            obj.state,
            obj.note,
            self._pauses(),
            tuple(
                ProgramEntry(
                    *(p.name, p.section, p.kind, p.info.attach_type, p.info.id, p.info.auto_attach),
                    options=bool(p.options),
                )
                for p in obj.programs.values()
            ),
        )

    def types(self) -> bytes:
        return b""

    def _pauses(self) -> tuple[tuple[float, ...], ...]:
        frames = [*self.obj.streams.values(), *self.obj.maps.values()]
        pauses = frames[0].pauses if frames else []
        return tuple((start,) if end is None else (start, end) for start, end in pauses[-1000:])

    def _note_health(self, taken: Mapping[str, tuple[float, float, float, int]]) -> None:
        """*taken*: of each map that was read, from when to when, when its entries were put, how many."""
        now = time.time()
        for name, stream in self.obj.streams.items():
            lost = stream.lost_by()
            self.health.append(
                {
                    "time": now,
                    "until": now,
                    "kind": "stream",
                    "name": name,
                    "total": stream.span()[1],
                    "lost_program": lost["program"],
                    "lost_buffer": lost["buffer"],
                    "fill": stream._found,
                }
            )
        for name, (began, until, put, entries) in taken.items():
            frame = self.obj.maps.get(name)
            limit = frame.info.max_entries if frame is not None else 0
            self.health.append(
                {
                    "time": began,
                    "until": until,
                    "kind": "map",
                    "name": name,
                    "entries": entries,
                    "snapshot": put,
                    "lost_full": _full(frame),
                    "fill": entries / limit if limit else None,
                }
            )
        self.programs += statistics(self.obj, now)

    def flush_tables(self, put: Put, *, last: bool = False) -> dict[str, pa.Table]:
        """The tables over time: put where they grew long, else returned, to be written again with the next flush."""
        out = {}
        for folder, rows, made in (
            ("health", self.health, health_table),
            ("programs", self.programs, program_table),
        ):
            if not rows:
                continue
            if last or len(rows) >= _STATED:
                put(folder, made(rows))
                rows.clear()
            else:
                out[folder] = made(rows)
        return out

    def look(self, pids: set[int]) -> None:
        """Learn who these processes are, while they live. Those of a guest are not this machine's of these numbers."""
        if guest_of(self.obj) is not None:
            return
        self.pids |= pids
        self.processes.look(pids)

    def labels(self) -> list[dict[str, Any]]:
        """What is known of the processes that were seen."""
        out = []
        for pid in sorted(self.pids):
            for process in self.processes.known(pid):
                known = {
                    "pid": pid,
                    "start": process.start,
                    "ppid": process.ppid,
                    "comm": process.comm,
                    "uid": process.uid,
                }
                out.append(known | {name: made(process) for name, made in COLUMNS.items()})
        return out


class ObjectSource(Source):
    """All streams and maps of an object, its types and its text."""

    def __init__(self, name: str, obj: BpfObject, redaction: Redaction, prefix: str, clock: int) -> None:
        super().__init__(name, obj)
        self._prefix = prefix
        self._redaction = redaction
        self._pairs: set[tuple[int, int]] = set()  # processes and the ids of their stacks
        self._stacks: dict[int, npt.NDArray[np.uint64]] = {}
        self.streams = {n: StreamTap(s, redaction, prefix + n, clock) for n, s in obj.streams.items()}
        self.maps = {
            n: MapTap(info, obj, redaction, prefix + n, obj.maps.get(n))
            for n, info in obj.loaded.maps.items()
            if info.kind not in UNREADABLE
        }

    @property
    def redacted(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What of it rules may speak of: lanes of streams, layouts of maps, by the names of their tables."""
        streams = {self._prefix + n: tap.stream._lanes() for n, tap in self.streams.items()}
        types = {n: tap.frame._types for n, tap in self.maps.items() if tap.frame is not None}
        return streams, {self._prefix + n: (t.key, t.value) for n, t in types.items()}

    @property
    def rows(self) -> int:
        return sum(tap.rows for tap in self.streams.values())

    @property
    def waiting(self) -> int:
        return sum(tap.waiting for tap in self.streams.values())

    @property
    def lost(self) -> dict[str, int]:
        out: dict[str, int] = {}
        for name, tap in self.streams.items():
            for where, count in tap.stream.lost_by().items():
                out[f"{self.name}.{name} {where}"] = count
            out[f"{self.name}.{name} recorder"] = tap.missed
        for name, frame in self.obj.maps.items():
            out[f"{self.name}.{name} full"] = _full(frame)
        return {where: count for where, count in out.items() if count}

    @property
    def complete(self) -> bool:
        frames: list[Stream | MapFrame] = [*self.obj.streams.values(), *self.obj.maps.values()]
        return super().complete and all(frame.counted for frame in frames)

    def take(self, put: Put, *, last: bool = False) -> None:
        taken: dict[str, tuple[float, float, float, int]] = {}
        for tap in self.streams.values():
            if self.obj.state == "attached" or last:
                tap.stream.drain()
            for lane, columns in tap.take(put):
                self._note_rows(
                    lane, columns, self._redaction.dropped(self._prefix + tap.stream.name, lane.name)
                )
        for name, one in self.maps.items():
            when = one.take(put, last=last)
            if when is not None:
                taken[name] = (*when, one.taken, one.entries)
            self._note_entries(one)
        self.named.stacks(self._pairs, self._stacks)
        self._note_health(taken)

    def _note_rows(self, lane: Lane, columns: Columns, dropped: Collection[str]) -> None:
        """Whose rows they are, where that is told, and which stacks they speak of."""
        for name in PIDS:
            if name in columns and name not in dropped and isinstance(columns[name], np.ndarray):
                self.look(set(pa.array(columns[name]).unique().to_pylist()))
        known = lane.layout.columns if lane.layout else ()
        self._pairs |= pairs_of(known, columns)
        for pid, stacks in inline_of(known, columns):
            self.named.inline(pid, stacks)

    def _note_entries(self, tap: MapTap) -> None:
        if tap.keys is None or tap.values is None or tap.frame is None:
            return
        types = tap.frame._types
        if types.stacks:
            if not types.build_ids:
                numbers = np.ascontiguousarray(tap.keys).view(np.uint32).ravel().tolist()
                self._stacks |= dict(
                    zip(numbers, np.ascontiguousarray(tap.values).view(np.uint64), strict=True)
                )
            return
        columns = (*types.key.columns, *(() if types.percpu else types.value.columns))
        if any(column.annotations.format == "stack" for column in columns):
            decoded = types.key.decode(tap.keys)
            self._pairs |= pairs_of(
                columns, decoded if types.percpu else {**types.value.decode(tap.values), **decoded}
            )

    def restart(self) -> None:
        for stream in self.streams.values():
            stream.restart()
        for entries in self.maps.values():
            entries.restart()

    def types(self) -> bytes:
        try:
            return self.obj.elf.btf.data
        except BpfnbError:
            return b""

    def info(self) -> ObjectInfo:
        events = {
            name: tuple((e.type_id, -1 if e.size is None else e.size, e.name) for e in found)
            for name, found in self.obj.elf.events.items()
        }
        loaded = self.obj.loaded.maps
        maps = tuple(
            self.maps[name].describe() if name in self.maps else MapEntry.of(info)
            for name, info in loaded.items()
        )
        streams = {name: tap.info() for name, tap in self.streams.items()}
        btf = self.obj.elf.btf
        sections = {name: found for name, found in btf._sections.items() if btf.get(name, "datasec")}
        warnings = tuple(
            (one.severity, one.message, *((at.file, at.line, at.column) if (at := one.where) else ("", 0, 0)))
            for one in self.obj.warnings
        )
        return replace(
            super().info(), maps=maps, streams=streams, events=events, sections=sections, warnings=warnings
        )


class ToolSource(Source):
    """A tool's frame, as it grows or changes; its streams and maps only where they tell of losses."""

    kind = "tool"

    def __init__(self, name: str, tool: Tool, redaction: Redaction, prefix: str) -> None:
        super().__init__(name, tool.object)
        self.tool = tool
        self._prefix = prefix
        self.processes = tool.processes  # it has looked at some while they lived
        self._redaction = redaction
        self._tap = Tap(tool, self._written)

    def _written(self, table: str, frame: pd.DataFrame) -> pd.DataFrame:
        """What may be written of a table's rows. Whose they are is looked up once a process, where that is told."""
        written = self._redaction.frame(self._prefix + table, frame)
        if self.tool.pid in written:
            self.look(set(frame[self.tool.pid].dropna().unique().tolist()) - self.pids)
        return written

    @property
    def redacted(self) -> dict[str, pd.DataFrame]:
        """What of it rules may speak of: its tables."""
        return {self._prefix + table: frame for table, frame in self._tap.samples().items()}

    @property
    def rows(self) -> int:
        return self._tap.rows

    @property
    def waiting(self) -> int:
        return self._tap.waiting

    @property
    def lost(self) -> dict[str, int]:
        out: dict[str, int] = {}
        for name, stream in self.obj.streams.items():
            for where, count in stream.lost_by().items():
                out[f"{self.name}.{name} {where}"] = count
        for name, frame in self.obj.maps.items():
            out[f"{self.name}.{name} full"] = _full(frame)
        out[f"{self.name} recorder"] = self._tap.missed
        return {where: count for where, count in out.items() if count}

    def take(self, put: Put, *, last: bool = False) -> None:
        self._tap.take(put, last=last)
        self._note_health({})

    def restart(self) -> None:
        self._tap.restart()

    def info(self) -> ObjectInfo:
        return replace(super().info(), tool=self._tap.state())


def _dialect(obj: BpfObject) -> str:
    return dialect(obj.source.text) if obj.source.text else "object file"


def _full(frame: MapFrame | None) -> int:
    """Updates that found a map full, as far as that can still be read."""
    try:
        return frame.lost if frame is not None else 0
    except BpfnbError:
        return 0
