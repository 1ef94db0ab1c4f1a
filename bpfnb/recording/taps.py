"""What is taken from a live object for its recording, piece by piece: rows of streams, entries of maps, statistics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bpfnb.cost import meter
from bpfnb.errors import BpfnbError
from bpfnb.frames import MapFrame, Stream
from bpfnb.frames.lane import Columns, Lane
from bpfnb.frames.store import Batch
from bpfnb.kernel.backend import Bytes2D, MapInfo
from bpfnb.object import BpfObject
from bpfnb.recording.columns import to_table
from bpfnb.recording.container import folder_of
from bpfnb.recording.manifest import LaneInfo, MapEntry, StreamInfo
from bpfnb.recording.redaction import Redaction

__all__ = ["TIME", "UNREADABLE", "MapTap", "Put", "StreamTap", "health_table", "program_table", "statistics"]

Put = Callable[[str, pa.Table], None]
"""Takes a piece: its folder within the object's, and its rows."""

TIME: Final = pa.timestamp("ns", "UTC")
_PATIENCE: Final = 20  # a map is read again after so many times as long as reading it took
UNREADABLE: Final = frozenset({"bloom_filter", "user_ringbuf", "ringbuf", "perf_event_array"})


class StreamTap:
    """The rows of *stream* from those that it holds on, each once."""

    def __init__(self, stream: Stream, redaction: Redaction, table: str, clock: int) -> None:
        self.stream = stream
        self.missed = 0
        self._redaction, self._table, self._clock = redaction, table, clock
        self.first = self._cursor = stream.span()[0]
        self._rows: dict[Lane, int] = {}

    @property
    def rows(self) -> int:
        return sum(self._rows.values())

    @property
    def waiting(self) -> int:
        """Rows that came since the last :meth:`take`."""
        return self.stream.span()[1] - self._cursor

    def restart(self) -> None:
        """Another file begins with the next row."""
        self.first = self._cursor
        self._rows.clear()
        self.missed = 0

    def take(self, put: Put) -> list[tuple[Lane, Columns]]:
        """Put what came since the last time; returns it as it was decoded."""
        floor, upto = self.stream.span()
        if floor > self._cursor:  # evicted before they were written
            self.missed += floor - self._cursor
            self._cursor = floor
        store = self.stream._store
        out = []
        expected = upto - self._cursor
        for lane in store.lanes():
            arrivals = store.arrivals(lane, self._cursor)
            batches = store.read(lane, self._cursor, upto)
            if not batches:
                continue
            columns = lane.concat([batch.columns for batch in batches if batch.columns is not None])
            numbers = _numbers(batches)
            rows = sum(batch.rows for batch in batches)
            expected -= rows
            redacted = self._redaction.stream(self._table, lane, columns)
            table = to_table(lane, redacted, numbers, _arrived(numbers, rows, arrivals), self._clock)
            put(folder_of("streams", self.stream.name, lane.name), table)
            self._rows[lane] = self._rows.get(lane, 0) + rows
            out.append((lane, columns))
        self.missed += max(0, expected)  # the oldest went while the others were read
        self._cursor = upto
        return out

    def info(self) -> StreamInfo:
        stream, store = self.stream, self.stream._store
        lanes = [*stream._known, *([stream._unknown] if stream._unknown in self._rows else [])]
        return StreamInfo(
            stream.kind,
            tuple(
                LaneInfo(
                    lane.name,
                    lane.layout.type.id if lane.layout else 0,
                    lane.size,
                    self._rows.get(lane, 0),
                    lane.layout.tail or () if lane.layout else (),
                )
                for lane in lanes
            ),
            stream.view,
            stream.counted,
            stream.lost_by(),
            self.first,
            self._cursor,
            self.missed,
            stream._short,
            stream._peak,
            store.window[0],
            store.looked,
        )


def _numbers(batches: list[Batch]) -> npt.NDArray[np.int64] | int:
    first, rows = batches[0].numbers()[0], sum(batch.rows for batch in batches)
    if batches[-1].numbers()[-1] + 1 - first == rows:
        return int(first)
    return np.concatenate([batch.numbers() for batch in batches])


def _arrived(
    numbers: npt.NDArray[np.int64] | int, rows: int, arrivals: list[tuple[int, float]]
) -> npt.NDArray[np.float64]:
    if not isinstance(numbers, np.ndarray):
        numbers = np.arange(numbers, numbers + rows)
    ends = np.array([end for end, _ in arrivals])
    moments_ = np.array([when for _, when in arrivals])
    return moments_[np.minimum(np.searchsorted(ends, numbers, side="right"), len(ends) - 1)]


@dataclass
class MapTap:
    """The entries of a map over time, where they changed. ``internal`` ones, of global variables, too."""

    info: MapInfo
    obj: BpfObject
    redaction: Redaction
    table: str
    frame: MapFrame | None = None
    rows: int = 0
    taken: float = 0.0
    """When the entries that were put last were read."""
    entries: int = 0
    readable: bool = True
    keys: Bytes2D | None = None
    values: Bytes2D | None = None
    """What was read last, where it changed then."""
    _seen: tuple[bytes, bytes] | None = None
    _due: float = 0.0

    def restart(self) -> None:
        """Another file begins: it has the entries from its beginning on."""
        self.rows, self._seen, self._due = 0, None, 0.0

    def take(self, put: Put, *, last: bool = False) -> tuple[float, float] | None:
        """Read the map, unless that was too costly to do it again already; put the entries where they changed.

        Returns when reading began and ended.
        """
        now = time.monotonic()
        self.keys = self.values = None
        if not self.readable or (now < self._due and not last):
            return None
        began = time.time()
        try:
            keys, values = self.obj.loaded.read_all(self.info.name)
        except BpfnbError:
            self.readable = False
            return None
        cost = time.monotonic() - now
        self._due = now + cost * _PATIENCE
        self.entries = len(keys)
        seen = keys.tobytes(), values.tobytes()
        if seen != self._seen:
            self._seen, self.taken = seen, round(began, 6)
            self.keys, self.values = keys, values
            if len(keys):
                put(folder_of("maps", self.info.name), self._made(keys, values))
                self.rows += len(keys)
        return began, began + cost

    def _made(self, keys: Bytes2D, values: Bytes2D) -> pa.Table:
        when = pa.scalar(round(self.taken * 1e6) * 1000, TIME)
        columns: dict[str, Any] = {"snapshot": pa.repeat(when, len(keys))}
        if self.frame is not None:
            types = self.frame._types
            keys, values = self.redaction.map(self.table, types.key, types.value, keys, values)
            gone = self.redaction.dropped(self.table)
            columns |= {n: _dense(c) for n, c in self.frame.columns(keys, values).items() if n not in gone}
        for name, data in (("key@raw", keys), ("value@raw", values)):
            if data.shape[1]:
                flat = pa.py_buffer(np.ascontiguousarray(data))
                columns[name] = pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(data.shape[1]), len(data), [None, flat]
                )
        return pa.table(columns)

    def describe(self) -> MapEntry:
        frame = self.frame
        if frame is None:
            return MapEntry.of(self.info)
        return MapEntry.of(self.info, view=frame.view, counted=frame.counted, lost=frame.lost)


def _dense(column: Any) -> Any:
    """Text as a dictionary; structs of lists as one list a row."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_string(column.type):
        return column.dictionary_encode()
    length, inner = 1, column
    while pa.types.is_fixed_size_list(inner.type):
        length *= inner.type.list_size
        inner = inner.flatten()
    return pa.FixedSizeListArray.from_arrays(inner, length) if inner is not column else column


def statistics(obj: BpfObject, now: float) -> list[dict[str, Any]]:
    """The cost of each program so far."""
    costs = meter.costs(obj) or obj._final_costs
    try:
        misses = {name: stats.recursion_misses for name, stats in obj.loaded.stats().items()}
    except BpfnbError:
        misses = {}
    return [
        {
            "time": now,
            "program": name,
            "run_count": cost.run_count,
            "run_time_ns": cost.run_time_ns,
            "seconds": cost.seconds,
            "cpu_share": cost.cpu_share,
            "recursion_misses": misses.get(name, 0),
        }
        for name, cost in costs.items()
    ]


def health_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Streams and maps over time: see :attr:`bpfnb.recording.reader.RecordedObject.health`."""

    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([row.get(name) for row in rows], kind)

    times = {
        name: pa.array(
            [None if row.get(name) is None else round(row[name] * 1e6) * 1000 for row in rows], TIME
        )
        for name in ("time", "until", "snapshot")
    }
    words = {name: column(name, pa.string()).dictionary_encode() for name in ("kind", "name")}
    counts = {
        name: column(name, pa.int64())
        for name in ("total", "lost_program", "lost_buffer", "lost_full", "entries")
    }
    return pa.table(
        {
            **{name: times[name] for name in ("time", "until")},
            **words,
            **counts,
            "fill": column("fill", pa.float64()),
            "snapshot": times["snapshot"],
        }
    )


def program_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """What :func:`statistics` said over time."""
    table = pa.table(
        {name: [row[name] for row in rows] for name in rows[0] if name not in ("time", "program")}
    )
    when = pa.array([round(row["time"] * 1e6) * 1000 for row in rows], TIME)
    names = pa.array([row["program"] for row in rows]).dictionary_encode()
    return table.add_column(0, "program", names).add_column(0, "time", when)
