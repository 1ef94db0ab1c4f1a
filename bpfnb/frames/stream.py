"""Streams: the records of one ring buffer or perf buffer as a live frame.

Which struct a record is, its size tells. With one layout all records have it: a longer record keeps its tail in a
``payload`` column of bytes, a shorter one is filled with zeros and counted (``short`` in the attributes). With
several layouts, a record has the layout of exactly its size; two layouts of one size, or a size that no layout has,
cannot be told apart and give ``data``, the bytes. Each kind is a live frame by itself (``stream["exec_event"]``,
``stream.by_type``); the stream's own frame is the union in the order of arrival, with a ``type`` column as soon as
records of two kinds came.

A ring buffer keeps one order over all CPUs. Perf buffers are one a CPU: what one draining finds is merged by the
struct's first timestamp field where it has one, else it stands CPU after CPU; between two drainings, records of
different CPUs that are microseconds apart may stand the wrong way round.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.errors import BpfnbError, UnknownName, nearest
from bpfnb.frames import pump
from bpfnb.frames.lane import Lane, perf_padded
from bpfnb.frames.layout import Layout
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.store import Batch
from bpfnb.kernel.backend import Bytes2D, ColumnReader, DistantReader, Reader, Records

__all__ = ["Stream", "TypeFrame"]

_MANY = 1 << 10
"""Rows that are worth being decoded at once; fewer wait for each other as bytes."""
_SOME = 1 << 7
"""The same of records of unequal length, which take longer to be copied."""
_FEW = 1 / 8
"""Of what was in the buffer, the share that may be left for the pump's next turn."""

_Piece = tuple[Lane, Bytes2D, "npt.NDArray[np.uint32] | int | None", "npt.NDArray[np.int64] | None"]


class Stream(LiveFrame):
    """The records that *reader* delivers. *lost* counts what the program could not put into the buffer.

    Where that is None nobody counts, and no frame says that it is complete. *kind* is the map's, ``ringbuf`` or
    ``perf_event_array``.
    """

    def __init__(
        self,
        name: str,
        reader: Reader,
        layouts: Sequence[Layout] = (),
        *,
        lost: Callable[[], int] | None = lambda: 0,
        provenance: Mapping[str, Any] | None = None,
        kind: str = "stream",
    ) -> None:
        super().__init__(name, provenance=provenance)
        self.kind = kind
        self._reader: Reader | None = reader
        self._columnar = reader if isinstance(reader, ColumnReader) else None
        self._program_lost = lost
        self._lost = {"program": 0, "buffer": 0}
        self._draining = threading.RLock()
        self._silent = False
        self._short = 0
        self._found = 0.0  # how full the buffer was when last looked at
        self._peak = 0.0
        self._turned = self._store.looked  # when it was last drained, of all or of most
        self._unknown = Lane(None)
        self._known = _lanes(layouts)
        self._totals: dict[Lane, int] = {}
        self._types: dict[Lane, TypeFrame] = {}

    # Kinds of records

    @property
    def by_type(self) -> dict[str, TypeFrame]:
        """A live frame for each kind of record: the known structs, and ``data`` once there was another."""
        lanes = [*self._known, *([self._unknown] if self._unknown in self._totals or not self._known else [])]
        return {lane.name: self._types.setdefault(lane, TypeFrame(self, lane)) for lane in lanes}

    def __getitem__(self, name: str) -> TypeFrame:
        types = self.by_type
        name = name.removeprefix("struct ")
        if name not in types:
            close = nearest(name, list(types))
            raise UnknownName(
                f"'{self.name}' has no records of type '{name}'",
                hints=[f"did you mean {', '.join(close)}?" if close else f"it has: {', '.join(types)}"],
            )
        return types[name]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.by_type)

    def _lanes(self) -> list[Lane]:
        seen = [lane for lane in [*self._known, self._unknown] if lane in self._totals]
        return seen or [*self._known, self._unknown][:1]

    # Draining

    def filenos(self) -> Sequence[int]:
        return () if self._reader is None else self._reader.filenos()

    @property
    def wakes(self) -> bool:
        """Whether the kernel tells as soon as there is a record."""
        reader = self._reader  # another thread may close it between two looks
        return reader is not None and reader.wakes

    @property
    def fill(self) -> float:
        """The share of the buffer that waits to be read now, 0 to 1."""
        with self._draining:
            return 0.0 if self._reader is None else self._reader.fill()

    def drain(self) -> int:
        with self._draining:
            return self._drain_all()

    def finish(self) -> None:
        """Take what is left: no program writes any more, so there is nothing to look for from now on."""
        with self._draining:
            self._drain_all()
            self._silent = True

    def service(self) -> float:
        """The pump's turn. Skipped while someone else drains."""
        if not self._draining.acquire(blocking=False):
            return 0.0
        try:
            if self._reader is None:
                return 0.0
            rows = self._drain(rest=False)
            self._measure()
            return self._found if rows else 0.0
        finally:
            self._draining.release()

    def _drain(self, *, rest: bool = True) -> int:
        """Without the *rest*, the few records that came while many were copied wait to be many themselves."""
        if self._reader is None:
            return 0
        now = self._store.looked if self._silent else time.time()
        turned, self._turned = self._turned, now
        self._found = self._reader.fill()
        self._peak = max(self._peak, self._found)
        store = self._store
        ready = self._columns(store.total, now)
        waits = ready and not rest and self._reader.fill() < self._found * _FEW
        records = [] if waits else self._reader.drain()
        if not records and not ready:
            store.looked = now
            if store.bound.seconds is not None:
                with store.lock:
                    store.evict(now)
            return 0
        before = store.total
        pieces, total = self._sort_out(self._merge(records), before + sum(batch.rows for _, batch in ready))
        ready += [
            (lane, Batch.of(first, data, now, lengths, order)) for lane, data, lengths, order, first in pieces
        ]
        with store.lock:
            for lane, batch in ready:
                store.add(lane, batch)
                self._totals[lane] = self._totals.get(lane, 0) + batch.rows
            store.total = total
            store.looked = turned if waits else now  # what waits came after the last turn
            store.evict(now)
            store.announce()
        return total - before

    def _drain_all(self) -> int:
        """With what another kernel's buffer holds; of this one's it is here anyhow."""
        if isinstance(self._reader, DistantReader):
            self._reader.fetch()
        return self._drain()

    def _columns(self, number: int, now: float) -> list[tuple[Lane, Batch]]:
        """Batches without a raw copy in between, from a ring that holds many records of the one struct it has."""
        out: list[tuple[Lane, Batch]] = []
        lane = self._known[0] if len(self._known) == 1 else self._unknown
        layout = lane.layout
        reader = self._columnar
        while layout is not None and reader is not None:
            tails = None
            if lane.tailed:
                rows, cells, tails = reader.tailed(layout.size, layout.fields, _SOME)
            else:
                rows, cells = reader.columns(layout.size, layout.fields, _MANY)
            if not rows:
                break
            out.append((lane, Batch.of_columns(number, rows, lane.assemble(cells, tails), now)))
            number += rows
        return out

    def _sort_out(
        self, records: Sequence[Records], number: int
    ) -> tuple[list[tuple[Lane, Bytes2D, Any, Any, int]], int]:
        """Rows by lane, numbered from *number* on; and the number after the last."""
        out = []
        for batch in records:
            for lane, data, lengths, order in self._split(batch, number):
                out.append((lane, data, lengths, order, number if order is None else int(order[0])))
            number += len(batch)
        return out, number

    def _split(self, batch: Records, number: int) -> list[_Piece]:
        perf = batch.cpu is not None
        if isinstance(batch.lengths, int):
            return [self._piece(self._lane(batch.lengths, perf), batch.data, batch.lengths, perf, None)]
        if len(self._known) == 1:
            return [self._piece(self._known[0], batch.data, batch.lengths, perf, None)]
        rows_of: dict[Lane, list[int]] = {}
        for length in np.unique(batch.lengths):
            rows_of.setdefault(self._lane(int(length), perf), []).append(length)
        if len(rows_of) == 1:
            return [self._piece(next(iter(rows_of)), batch.data, batch.lengths, perf, None)]
        out = []
        for lane, sizes in rows_of.items():
            rows = np.flatnonzero(np.isin(batch.lengths, sizes))
            data = batch.data[rows, : max(sizes)]
            out.append(self._piece(lane, data, batch.lengths[rows], perf, rows + number))
        return out

    def _lane(self, length: int, perf: bool) -> Lane:
        if len(self._known) == 1:
            return self._known[0]
        fitting = [lane for lane in self._known if (perf_padded(lane.size) if perf else lane.size) == length]
        return fitting[0] if len(fitting) == 1 else self._unknown

    def _piece(
        self,
        lane: Lane,
        data: Bytes2D,
        lengths: npt.NDArray[np.uint32] | int,
        perf: bool,
        order: npt.NDArray[np.int64] | None,
    ) -> _Piece:
        """Rows at least as wide as the struct; lengths only where there is more than the struct."""
        if lane.layout is None:
            return lane, data, lengths, order
        width = data.shape[1]
        if isinstance(lengths, int):
            short = len(data) if lengths < lane.size else 0
        else:
            short = int(np.count_nonzero(lengths < lane.size))
        self._short += short
        if width < lane.size:
            data = np.pad(data, ((0, 0), (0, lane.size - width)))
        exact = perf_padded(lane.size) if perf else lane.size
        if width <= exact:
            return lane, data, None, order
        if perf and not isinstance(lengths, int):
            lengths = np.where(lengths == exact, lane.size, lengths).astype(np.uint32)
        return lane, data, lengths, order

    def _merge(self, records: list[Records]) -> list[Records]:
        """Batches of several CPUs as one in the order of time, where all have one size and a timestamp."""
        if len(records) < 2 or len({batch.cpu for batch in records}) < 2:
            return records
        length = records[0].lengths
        if not isinstance(length, int):
            return records
        if any(not isinstance(batch.lengths, int) or batch.lengths != length for batch in records):
            return records
        lane = self._lane(length, True)
        at = _timestamp(lane)
        if at is None or at + 8 > length:
            return records
        clocks = [
            np.ascontiguousarray(batch.data[:, at : at + 8]).view(np.uint64).ravel() for batch in records
        ]
        order = sorted(range(len(records)), key=lambda i: int(clocks[i][0]))
        records = [records[i] for i in order]
        times = np.concatenate([clocks[i] for i in order])
        if (times[1:] >= times[:-1]).all():
            return records
        whole = np.concatenate([batch.data.view(f"V{length}")[:, 0] for batch in records])  # memcpy a row
        data = whole[np.argsort(times, kind="stable")].view(np.uint8).reshape(len(whole), length)
        return [Records(data, length, records[0].cpu)]

    # What is known of the whole

    def lost_by(self) -> dict[str, int]:
        """``program``: records that the program found no room for; ``buffer``: that the kernel reports as lost."""
        with self._draining:
            if self._reader is not None:
                try:
                    in_program = self._program_lost() if self._program_lost else 0
                    self._lost = {"program": in_program, "buffer": self._reader.lost()}
                except (BpfnbError, OSError) as error:  # the object went first; the last counts remain
                    self.errors.append(error)
            return dict(self._lost)

    def _attrs(self, rows: int, total: int, looked: float) -> dict[str, Any]:
        attrs = super()._attrs(rows, total, looked)
        attrs["fill"] = round(self._peak, 4)
        if self._short:
            attrs["short"] = self._short
        return attrs | self._uncounted()

    @property
    def counted(self) -> bool:
        """Whether all losses are counted: those in the program too."""
        return self._program_lost is not None

    def _uncounted(self) -> dict[str, Any]:
        return {} if self.counted else {"complete": False, "uncounted": ["program"]}

    def failed(self, error: BaseException) -> None:
        """The pump could not drain this stream and put it aside."""
        self._report(error, "draining")

    def orphan(self) -> None:
        """This process is a fork: keep the rows, leave the buffer to the parent."""
        self._reader = self._columnar = None
        self._draining = threading.RLock()
        self._store.renew_locks()
        self._store.closed = True
        self._dispatcher = None

    def end(self) -> None:
        super().end()
        for frame in self._types.values():
            frame.end()

    def close(self) -> None:
        """Take what is left and let go of the buffer; the rows stay readable. May be called twice."""
        pump.remove(self)
        with self._draining:
            if self._reader is not None:
                try:
                    self._drain_all()
                    self.lost_by()
                finally:
                    self._reader.close()
                    self._reader = self._columnar = None
        super().close()
        self.end()


class TypeFrame(LiveFrame):
    """The records of one kind of a stream that has several. Bounds, losses and the end are the stream's."""

    def __init__(self, stream: Stream, lane: Lane) -> None:
        super().__init__(f"{stream.name}[{lane.name!r}]", provenance=stream.provenance)
        self.kind = stream.kind
        self.origin, self.symbols, self.settled = stream.origin, stream.symbols, stream.settled
        self.gone = stream.gone
        self._stream = stream
        self._lane = lane
        self._store = stream._store

    def present(self) -> int:
        return self._stream.present()

    def _now_total(self) -> int:
        return self._stream._totals.get(self._lane, 0)

    def _now_rows(self) -> int:
        return self._store.rows(self._lane)

    def _now_rate(self) -> float:
        share = self._now_total() / max(1, self._store.total)
        return self._stream._now_rate() * share

    def _lanes(self) -> list[Lane]:
        return [self._lane]

    def drain(self) -> int:
        return self._stream.drain()

    def lost_by(self) -> dict[str, int]:
        return self._stream.lost_by()

    def _attrs(self, rows: int, total: int, looked: float) -> dict[str, Any]:
        return super()._attrs(rows, total, looked) | self._stream._uncounted()


def _lanes(layouts: Sequence[Layout]) -> list[Lane]:
    """A lane for each layout that differs in its columns; anonymous structs get their sizes as a name."""
    seen: dict[Any, Lane] = {}
    for layout in layouts:
        seen.setdefault((layout.size, layout.columns), Lane(layout))
    lanes = list(seen.values())
    names = [lane.name for lane in lanes]
    for number, lane in enumerate(lanes):
        if names.count(lane.name) > 1:
            lane.name = f"{lane.name} ({lane.size} bytes)"
            if lane.name in (other.name for other in lanes[:number]):
                lane.name += f" #{number}"
    return lanes


def _timestamp(lane: Lane) -> int | None:
    """Where the first timestamp stands in a record."""
    for column in lane.layout.columns if lane.layout else ():
        if column.annotations.format == "timestamp" and column.size == 8 and not column.bits:
            return column.offset
    return None
