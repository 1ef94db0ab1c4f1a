"""A recording as a kernel: the programs that ran, the maps as they were at each moment, nothing that can be changed.

Attaching and detaching let the replay run and stand. What only a running kernel could answer (an iterator's output, a
test run, an entry of a map whose entries were not recorded) raises an error that says so.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from bpfnb.cost import Cost
from bpfnb.errors import BadRecording, BpfnbError, MapError, ObjectClosed, UnknownName
from bpfnb.kernel.backend import Bytes2D, LoadSettings, MapInfo, ProgramInfo, ProgramStats, Reader, Records
from bpfnb.kernel.maps import stored_size
from bpfnb.recording.player import Player
from bpfnb.recording.reader import RecordedObject, Recording, Snapshot

__all__ = ["Nothing", "Past", "RecordedBackend", "RecordedMaps"]


class RecordedBackend:
    """The kernel that *recorded* is of."""

    def __init__(self, recorded: RecordedObject) -> None:
        manifest = recorded.recording.manifest
        self.release = manifest.host.kernel or "unknown"
        self.clock_offset: int | None = manifest.clock_offset
        self.origin = origin_of(recorded.recording)

    def load(self, elf: bytes, settings: LoadSettings) -> NoReturn:  # noqa: ARG002
        raise BpfnbError(
            "a recording takes no programs", hints=["load them into this kernel: bpfnb.load(...)"]
        )

    def features(self) -> Mapping[str, Any]:
        return {}

    def statistics(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()


def origin_of(recording: Recording) -> str:
    """``recorded 2026-03-01 12:00:00 UTC on kernel 6.18.1``."""
    manifest = recording.manifest
    try:
        when = datetime.fromisoformat(manifest.created).astimezone(UTC)
    except ValueError:
        raise BadRecording(f"{recording.path} says that it was made {manifest.created[:40]!r}") from None
    kernel = manifest.host.kernel[:80] or "unknown"
    return f"recorded {when:%Y-%m-%d %H:%M:%S} UTC on kernel {kernel}"


class Nothing:
    """The reader of a buffer that no kernel writes to."""

    wakes = False

    def drain(self, limit: int | None = None) -> list[Records]:  # noqa: ARG002
        return []

    def lost(self) -> int:
        return 0

    def fill(self) -> float:
        return 0.0

    def filenos(self) -> Sequence[int]:
        return ()

    def close(self) -> None:
        pass


class RecordedMaps:
    """What an object had in its kernel: :class:`bpfnb.kernel.backend.LoadedObject` for *recorded*.

    Where it is *lenient*, writing to maps does nothing but to be noted in ``ignored``: so a notebook runs that fills a
    map before it looks at what the programs made of it. Else it raises MapError.
    """

    def __init__(self, recorded: RecordedObject, player: Player, *, lenient: bool) -> None:
        info = recorded.info
        self.name = recorded.name
        self.recorded = recorded
        self.player = player
        self.lenient = lenient
        self.warnings: Sequence[str] = ()
        self.ignored: set[str] = set()
        """Maps that were written to."""
        self.programs: Mapping[str, ProgramInfo] = {
            one.name: ProgramInfo(one.name, one.section, one.kind, one.attach_type, one.id, one.auto_attach)
            for one in info.programs
        }
        self.maps: Mapping[str, MapInfo] = {one.name: one.info() for one in info.maps}
        self._past: dict[str, Past] = {}
        self._written: dict[str, list[tuple[int, bytes]]] = {}
        self._links: set[int] = set()
        self._numbers = itertools.count(1)
        self._closed = False
        self._lock = threading.RLock()

    @cached_property
    def kept(self) -> RecordedObject:
        """The object in a recording of its own, which all its maps read looks from, also when it was closed."""
        again = self.recorded.recording.again()
        weakref.finalize(self, again.close)
        return again.objects[self.recorded.name]

    # Attachment

    def attach(self, program: str, **options: Any) -> int:  # noqa: ARG002
        self._check()
        with self._lock:
            number = next(self._numbers)
            self._links.add(number)
            self.player.start()
            return number

    def detach(self, *links: int) -> None:
        with self._lock:
            before = bool(self._links)
            self._links.difference_update(links)
            if before and not self._links:
                self.player.pause()

    def replace(self, link: int, other: Any, program: str) -> NoReturn:  # noqa: ARG002
        self._only_live(f"'{program}' cannot take the place of a recorded program")

    # Statistics

    def stats(self) -> dict[str, ProgramStats]:
        return {
            name: ProgramStats(cost.run_count, cost.run_time_ns, misses)
            for name, (cost, misses) in self._costs().items()
        }

    def costs(self) -> dict[str, Cost]:
        """What each program had cost at the moment that has come."""
        return {name: cost for name, (cost, _) in self._costs().items()}

    def _costs(self) -> dict[str, tuple[Cost, int]]:
        return {
            name: row
            for name, (times, rows) in self._statistics.items()
            if (row := rows[max(0, int(np.searchsorted(times, self.player.position, "right")) - 1)])
        }

    @cached_property
    def _statistics(self) -> dict[str, tuple[list[float], list[tuple[Cost, int]]]]:
        out: dict[str, tuple[list[float], list[tuple[Cost, int]]]] = {}
        try:
            rows = self.recorded.programs.to_pylist()
            for row in rows:
                cost = Cost(
                    int(row["run_count"]),
                    int(row["run_time_ns"]),
                    float(row["seconds"]),
                    float(row["cpu_share"]),
                )
                times, costs = out.setdefault(str(row["program"]), ([], []))
                times.append(_seconds(row["time"]))
                costs.append((cost, int(row.get("recursion_misses") or 0)))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadRecording(f"the statistics of '{self.name}' are damaged: {error}") from None
        return out

    # Maps

    def _check(self) -> None:
        if self._closed:
            raise ObjectClosed(f"'{self.name}' is closed", hints=["replay it again"])

    def past(self, name: str) -> Past:
        """A map over time. Raises MapError where its entries were not recorded."""
        self._check()
        with self._lock:
            if name not in self.maps:
                raise UnknownName.among(self.maps, name, f"'{self.name}' has no map '{name}'")
            found = self._past.get(name)
            if found is None:
                found = self._past[name] = Past(self.recorded, self.maps[name])
            found.come(self.player.position)
            return found

    def read_all(self, map_name: str) -> tuple[Bytes2D, Bytes2D]:
        past = self.past(map_name)
        return past.keys, past.values

    def lookup(self, map_name: str, key: bytes) -> bytes | None:
        past = self.past(map_name)
        at = past.places.get(key)
        return None if at is None else past.values[at].tobytes()

    def update(self, map_name: str, key: bytes, value: bytes, flags: int = 0) -> None:  # noqa: ARG002
        self._write(map_name)

    def delete(self, map_name: str, key: bytes) -> bool:
        self._write(map_name)
        return self.lookup(map_name, key) is not None

    def pop(self, map_name: str) -> NoReturn:
        self._only_live(f"nothing can be taken out of '{map_name}'")

    def _write(self, map_name: str) -> None:
        self._check()
        if not self.lenient:
            raise MapError(
                f"'{map_name}' is recorded: it cannot be written", map=map_name, hints=[_WRITE_HINT]
            )
        self.ignored.add(map_name)

    def open_map(self, number: int) -> NoReturn:
        self._only_live(f"the entries of the inner map {number} are not known")

    def write_user_ring(self, map_name: str, records: Sequence[bytes]) -> int:
        self._write(map_name)
        return len(records)

    # The memory of global variables

    def read_bytes(self, map_name: str, offset: int, size: int) -> bytes:
        past = self.past(map_name)
        if not len(past.values):
            raise MapError(f"the variables of '{map_name}' were not recorded", map=map_name)
        data = bytearray(past.values[0].tobytes())
        if not 0 <= offset <= offset + size <= len(data):
            raise MapError(f"'{map_name}' has {len(data)} bytes, none at {offset + size}", map=map_name)
        for at, written in self._written.get(map_name, ()):
            data[at : at + len(written)] = written
        return bytes(data[offset : offset + size])

    def write_bytes(self, map_name: str, offset: int, data: bytes) -> None:
        """The value is kept here: no program will see it."""
        self.read_bytes(map_name, offset, len(data))
        self._written.setdefault(map_name, []).append((offset, data))

    # What only a kernel can do

    def reader(self, map_name: str) -> Reader:  # noqa: ARG002
        return Nothing()

    def run_iter(self, program: str, **options: Any) -> NoReturn:  # noqa: ARG002
        self._only_live(f"what the iterator '{program}' wrote is not known")

    def test_run(self, program: str, data: bytes = b"", repeat: int = 1, **options: Any) -> NoReturn:  # noqa: ARG002
        self._only_live(f"'{program}' cannot be run")

    def _only_live(self, what: str) -> NoReturn:
        raise BpfnbError(
            f"'{self.name}' is recorded, and {what}",
            hints=["a recording has what streams, maps and variables held; load the program for the rest"],
        )

    def close(self) -> None:
        with self._lock:
            self.player.stop()
            self._closed = True
            self._past.clear()


_WRITE_HINT = "write to a copy: frame = m.df"


class Past:
    """The entries of one map at the moment that has come."""

    def __init__(self, recorded: RecordedObject, info: MapInfo) -> None:
        self.info = info
        self.snapshots = recorded.snapshots(info.name)
        self._written: Iterator[tuple[int, Bytes2D, Bytes2D]] = recorded.entries(info.name)
        self._next = next(self._written, None)
        if not self.snapshots and self._next is None:
            raise MapError(f"'{info.name}' is a {info.kind}, whose entries were not recorded", map=info.name)
        self._at = -1
        self._held: tuple[Bytes2D, Bytes2D] | None = None
        self._places: dict[bytes, int] | None = None
        self._clear()

    def come(self, position: float) -> None:
        """Go on to what was there at *position* (s since 1970); the first that is known before that."""
        moved = False
        while self._next is not None and (self._held is None or self._next[0] / 1e9 <= position):
            self._held, moved = self._next[1:], True
            self._next = next(self._written, None)
        while self._at + 1 < len(self.snapshots) and (
            self._at < 0 or self.snapshots[self._at + 1].time <= position
        ):
            self._at, moved = self._at + 1, True
        if not moved:
            return
        self._clear()
        if self._held is not None and not (self._at >= 0 and not self.snapshots[self._at].entries):
            self.keys, self.values = self._held
            self._places = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The reading that these entries are of."""
        return self.snapshots[self._at] if self._at >= 0 else None

    @property
    def places(self) -> Mapping[bytes, int]:
        """Where each key stands."""
        if self._places is None:
            self._places = {row.tobytes(): at for at, row in enumerate(self.keys)}
        return self._places

    def _clear(self) -> None:
        self.keys = np.empty((0, self.info.key_size), np.uint8)
        self.values = np.empty((0, stored_size(self.info)), np.uint8)
        self._places = None


def _seconds(moment: Any) -> float:
    return float(moment.timestamp())
