"""Reading a recording: what it says of itself, and its tables, checked before they are believed.

Nothing of a file is executed or unpickled, and nothing is written. Whatever is wrong with it, BadRecording says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from bpfnb.errors import BadRecording, UnknownName
from bpfnb.frames.lane import Lane
from bpfnb.kernel.backend import Bytes2D
from bpfnb.recording.archive import Archive
from bpfnb.recording.changes import GONE, present, spans
from bpfnb.recording.columns import FIRST, wanted_columns
from bpfnb.recording.container import Entry, folder_of
from bpfnb.recording.manifest import MAX_BYTES, Manifest, MapEntry, ObjectInfo, StreamInfo
from bpfnb.recording.parquet import Sheet
from bpfnb.recording.pieces import (
    Piece,
    Snapshot,
    integers,
    number_of,
    piece_of,
    rows_of_bytes,
)

__all__ = ["Piece", "RecordedObject", "Recording", "Snapshot"]

_SOURCE: Final = 16 << 20
_TYPES: Final = 64 << 20
_PIECE = re.compile(r"(\d+)(?:-(\d+))?\.parquet")
MAX_ROWS: Final = 1 << 31


class Recording:
    """A recording that was made with :func:`bpfnb.record`. As a context manager it closes itself.

    ``manifest`` is what it says of itself, ``objects`` has what was recorded by name.
    ``recovered``: its writer was killed, and what it had written was found without a directory.

    :raises BadRecording: for a file that is none, is damaged, or claims more than a recording may hold.
    """

    gaps: Sequence[str] = ()
    """What is missing of a recording that is several files: see :mod:`bpfnb.recording.parts`."""

    def __init__(self, path: str | Path, archive: Archive | None = None) -> None:
        self.path = Path(path)
        self._archive = archive or Archive(self.path)
        try:
            self.manifest = Manifest.from_json(self._archive.read("manifest.json", MAX_BYTES))
        except BadRecording as error:
            self._archive.close()
            raise BadRecording(f"{self.path}: {error.message}", hints=error.hints) from None
        self.recovered = self._archive.recovered
        self.objects: dict[str, RecordedObject] = {
            name: RecordedObject(name, info, self) for name, info in self.manifest.objects.items()
        }

    @property
    def stopped(self) -> str:
        """Why it ended, ``killed`` where nobody could say."""
        return "killed" if self.manifest.stopped == "recording" else self.manifest.stopped

    @property
    def completeness(self) -> dict[str, Any]:
        """``complete``, ``lost`` by what lost it, ``window`` (s since 1970), and ``stopped``, why it ended."""
        known = self.stopped not in ("killed", "failed")
        return {
            "complete": self.manifest.complete and known and not self.gaps,
            "lost": dict(self.manifest.lost),
            "window": self.manifest.window,
            "stopped": self.stopped,
        }

    def tables(self) -> pd.DataFrame:
        """One row a table: object, kind (stream, map, frame ...), name, type, rows, pieces, bytes in the file."""
        folders: dict[str, list[str]] = {}
        entries = self._archive.entries
        for name in entries:
            if name.endswith(".parquet"):
                folder, _, file = name.rpartition("/")
                if not _PIECE.fullmatch(file):
                    folders[name] = [name]
                elif folder not in folders:
                    folders[folder] = self.pieces(folder)
        rows = []
        for folder, names in folders.items():
            rows.append(
                {
                    "table": folder.removesuffix(".parquet"),
                    "rows": sum(self.sheet(name).rows for name in names),
                    "pieces": len(names),
                    "bytes": sum(entries[name].size for name in names),
                }
            )
        return pd.DataFrame(rows, columns=["table", "rows", "pieces", "bytes"])

    @property
    def symbols(self) -> pa.Table:
        """Addresses that were named while recording: pid (0: the kernel), address, name, module, offset, kind, file,
        line, reason. No rows where nothing was named."""
        return self._table("symbols")

    @property
    def processes(self) -> pa.Table:
        """Labels of processes: pid, start (s since boot), ppid, comm, parent, cmdline, uid, user, cgroup, unit,
        container. No rows where none was seen."""
        return self._table("processes")

    def close(self) -> None:
        """Let go of the file. What was read stays."""
        self._archive.close()

    def replay(self) -> dict[str, Any]:
        """All objects of the file by name: see :func:`bpfnb.replay`."""
        from bpfnb.recording.replay import replay_from

        return {name: replay_from(self.again(), object=name) for name in self.objects}

    def again(self) -> Recording:
        """The same, opened once more."""
        other = Recording(self.path, self._archive.again())
        other.gaps = self.gaps
        return other

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The files in it, by name."""
        return self._archive.entries

    def sheet(self, name: str) -> Sheet:
        """A Parquet file of the recording, checked and not yet read."""
        return Sheet(self._archive.read(name), f"{name} in {self.path}")

    def pieces(self, folder: str) -> list[str]:
        """The Parquet files of a folder in their order, without those that a later one holds too."""
        found = []
        for name in self._archive.entries:
            at, _, file = name.rpartition("/")
            if at == folder and (match := _PIECE.fullmatch(file)):
                first = int(match[1][:12])
                found.append((first, -int((match[2] or match[1])[:12]), name))
        out, end = [], -1
        for first, last, name in sorted(found):
            if -last > end and first > end:
                out.append(name)
                end = -last
        return out

    def text(self, name: str, limit: int) -> bytes:
        return self._archive.read(name, limit) if name in self._archive.entries else b""

    def _table(self, name: str) -> pa.Table:
        file = f"{name}.parquet"
        return self.sheet(file).table() if file in self._archive.entries else pa.table({})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recording {self.path}: {', '.join(self.objects) or 'nothing'}, {self.stopped}>"


class RecordedObject:
    """One object or tool of a recording. ``info`` is its part of the manifest."""

    def __init__(self, name: str, info: ObjectInfo, recording: Recording) -> None:
        self.name = name
        self.info = info
        self.recording = recording
        self._folder = folder_of("objects", name)

    @property
    def parts(self) -> Sequence[RecordedObject]:
        """Of a recording that is several files, what each has of it, the oldest first."""
        return (self,)

    @cached_property
    def source(self) -> str:
        """The C text. BadRecording where it is not the one whose hash the manifest has."""
        data = self.recording.text(f"{self._folder}/source.c", _SOURCE)
        if self.info.text and hashlib.sha256(data).hexdigest() != self.info.text:
            raise BadRecording(
                f"the source of '{self.name}' in {self.recording.path} is not what was recorded"
            )
        return data.decode(errors="replace")

    def folder(self, *names: str) -> str:
        """Where in the file a table of this object is."""
        return f"{self._folder}/{folder_of(*names)}"

    @cached_property
    def types(self) -> bytes:
        """The object's own BTF; empty for a tool."""
        return self.recording.text(f"{self._folder}/types.btf", _TYPES)

    # Streams

    def stream(self, name: str) -> StreamInfo:
        if name not in self.info.streams:
            raise UnknownName.among(
                self.info.streams, name, f"'{self.name}' was recorded without a stream '{name}'"
            )
        return self.info.streams[name]

    def lanes(self, stream: str) -> list[str]:
        """The types of records that came: the names of their lanes, ``data`` for bytes of unknown type."""
        return [lane.name for lane in self.stream(stream).lanes if self._pieces(stream, lane.name)]

    def rows(self, stream: str, lane: str) -> int:
        """How many rows of a type there are, by the tables' own word."""
        return sum(self.recording.sheet(name).rows for name in self._pieces(stream, lane))

    def read(self, stream: str, lane: Lane, clock: int | None = None) -> Iterator[Piece]:
        """The rows of *lane* in pieces, read one after the other as they are asked for.

        *clock* makes times since boot of dates: by default the recording's own ``manifest.clock_offset``, with which
        they are the numbers that the kernel wrote.
        """
        offset = self.recording.manifest.clock_offset if clock is None else clock
        end, total = 0, 0
        for name in self._pieces(stream, lane.name):
            sheet = self.recording.sheet(name)
            columns = wanted_columns(lane, sheet.columns)
            first = end
            if (stated := (sheet.schema.metadata or {}).get(FIRST)) is not None:
                first = number_of(stated, name)
            for table in sheet.batches(columns):
                if not table.num_rows:
                    continue
                total += table.num_rows
                if total > MAX_ROWS:
                    raise BadRecording(f"{name} in {self.recording.path} has more than {MAX_ROWS:,} rows")
                piece = piece_of(lane, table, first, offset, name)
                if piece.first < end:
                    raise BadRecording(f"{name} in {self.recording.path} has rows that came before")
                first = end = (
                    piece.first + piece.rows if piece.numbers is None else int(piece.numbers[-1]) + 1
                )
                yield piece

    def _pieces(self, stream: str, lane: str) -> list[str]:
        return self.recording.pieces(self.folder("streams", stream, lane))

    # Maps

    def map(self, name: str) -> MapEntry:
        for entry in self.info.maps:
            if entry.name == name:
                return entry
        raise UnknownName.among(
            (entry.name for entry in self.info.maps),
            name,
            f"'{self.name}' was recorded without a map '{name}'",
        )

    def snapshots(self, name: str) -> list[Snapshot]:
        """When the map was read, oldest first. At least the last reading's entries are in the file."""
        return self._snapshots.get(name, [])

    def entries(self, name: str) -> Iterator[tuple[int, Bytes2D, Bytes2D]]:
        """Each snapshot that is in the file, oldest first: when it was taken (ns since 1970), keys (n, key_size) and
        values (n, value_size; of a per-CPU map the values of all CPUs, each padded to 8 bytes)."""
        entry = self.map(name)
        width = (
            entry.value_size
            if not entry.kind.startswith(("percpu_", "lru_percpu_"))
            else (entry.cpus * (-(-entry.value_size // 8) * 8))
        )
        held: tuple[int, Bytes2D, Bytes2D] | None = None
        for piece in self.recording.pieces(self.folder("maps", name)):
            sheet = self.recording.sheet(piece)
            table = sheet.table(["snapshot", GONE, "key@raw", "value@raw"])
            times = integers(table, "snapshot", piece)
            keys = rows_of_bytes(table, "key@raw", entry.key_size, piece)
            values = rows_of_bytes(table, "value@raw", width, piece)
            looks = pd.unique(times)  # as they follow each other: the clock may have been set back
            if GONE in table.schema.names:
                looks = np.union1d(looks, integers(table.select([GONE]).drop_null(), GONE, piece))
            try:
                came, gone = spans(table, "snapshot", looks)
            except ValueError as error:
                raise BadRecording(f"{piece} in {self.recording.path} is damaged: {error}") from None
            for taken, rows in zip(looks.tolist(), present(came, gone, len(looks)), strict=True):
                # A piece of changes ends, with nothing left, where the next one begins: that is one look, not two.
                if held is not None and (len(held[1]) or held[0] != taken):
                    yield held
                held = taken, keys[rows], values[rows]
        if held is not None:
            yield held

    @cached_property
    def _snapshots(self) -> dict[str, list[Snapshot]]:
        table = self.health
        needed = {"kind", "name", "time", "until", "entries", "snapshot"}
        if not needed <= set(table.schema.names):
            return {}
        try:
            rows = table.select(sorted(needed)).to_pandas()
            rows = rows[rows["kind"] == "map"]
            out: dict[str, list[Snapshot]] = {}
            for name, time, until, entries, taken in zip(
                rows["name"].astype(str),
                *(rows[c] for c in ("time", "until", "entries", "snapshot")),
                strict=True,
            ):
                out.setdefault(name, []).append(
                    Snapshot(
                        pd.Timestamp(time).timestamp(),
                        pd.Timestamp(until).timestamp(),
                        int(entries),
                        pd.Timestamp(taken).value,
                    )
                )
        except (ValueError, TypeError, OverflowError) as error:
            raise BadRecording(
                f"the health of '{self.name}' in {self.recording.path} is damaged: {error}"
            ) from None
        return out

    # Over time

    @property
    def health(self) -> pa.Table:
        """Each stream and map over time: time, until, kind (stream, map), name, total, lost, lost_program,
        lost_buffer, lost_full, fill, entries, snapshot (of a map: when the entries that were found had been taken).
        """
        return self._joined("health")

    @property
    def programs(self) -> pa.Table:
        """Statistics over time: time, program, run_count, run_time_ns, seconds (over which they were counted),
        cpu_share, recursion_misses."""
        return self._joined("programs")

    def table(self, *names: str) -> Iterator[pa.Table]:
        """Of a tool, the pieces of a table (``frame``; ``beside``, NAME): see :mod:`bpfnb.recording.tools`."""
        for name in self.recording.pieces(self.folder(*names)):
            sheet = self.recording.sheet(name)
            yield from sheet.batches(sheet.columns)

    def _joined(self, folder: str) -> pa.Table:
        tables = [self.recording.sheet(name).table() for name in self.recording.pieces(self.folder(folder))]
        if not tables:
            return pa.table({})
        try:
            return pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise BadRecording(
                f"{folder} in {self.recording.path} has pieces that do not fit: {error}"
            ) from None

    def __repr__(self) -> str:
        return f"<{self.info.kind} {self.name} of {self.recording.path}>"
