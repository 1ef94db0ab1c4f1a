"""The bounded memory behind a live frame: batches in, columns out.

One thread adds batches of raw rows, any thread reads; nobody holds the lock for longer than a list operation. Raw
rows are decoded when first read and then dropped, so each row is decoded once; small batches are put together so that
their number stays small. Rows are numbered in the order of arrival; the oldest go when a bound is passed, which only
moves the ``floor`` below which a number does not count, and drops the batches that are wholly below it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import time

import numpy as np
import numpy.typing as npt

from bpfnb.frames.lane import Columns, Lane, nbytes
from bpfnb.kernel.backend import Bytes2D

__all__ = ["Batch", "Bound", "Store"]

_OVERHEAD = 600  # bytes that a batch costs beside its rows
_SMALL = 256  # raw batches below this many rows are joined as they arrive
_LARGE = 1 << 12  # raw batches of this many rows are decoded by themselves
_GROUP = 1 << 14  # smaller ones are put together up to this many rows before
_SEGMENT = 1 << 14  # decoded batches are joined up to this many rows


@dataclass(frozen=True, slots=True)
class Bound:
    """What a frame keeps at most: whichever is passed first. ``None``: no such bound."""

    rows: int | None = 1_000_000
    nbytes: int | None = 256 << 20
    seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows ``first`` to ``end``, all of them or (``order``: their ascending numbers) some. Raw or decoded."""

    first: int
    end: int
    rows: int
    began: float  # wall clock when the first and the last row were drained
    ended: float
    size: int
    raw: Bytes2D | None = None
    lengths: npt.NDArray[np.uint32] | int | None = None
    columns: Columns | None = None
    order: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        first: int,
        raw: Bytes2D,
        when: float,
        lengths: npt.NDArray[np.uint32] | int | None = None,
        order: npt.NDArray[np.int64] | None = None,
    ) -> Batch:
        """A raw batch; *lengths* only where rows hold more than their struct."""
        end = first + len(raw) if order is None else int(order[-1]) + 1
        size = len(raw) * abs(raw.strides[0]) + _OVERHEAD + (8 * len(raw) if order is not None else 0)
        return cls(first, end, len(raw), when, when, size, raw, lengths, None, order)

    @classmethod
    def of_columns(cls, first: int, rows: int, columns: Columns, when: float) -> Batch:
        """A batch that was decoded as it was drained."""
        size = nbytes(columns) + _OVERHEAD
        return cls(first, first + rows, rows, when, when, size, columns=columns)

    def numbers(self) -> npt.NDArray[np.int64]:
        return np.arange(self.first, self.end) if self.order is None else self.order

    def between(self, start: int, stop: int) -> Batch:
        """The rows numbered *start* to *stop* (exclusive); the batch itself where that is all of them."""
        if start <= self.first and stop >= self.end:
            return self
        if self.order is None:
            low, high = max(start - self.first, 0), min(stop, self.end) - self.first
        else:
            low, high = (int(i) for i in np.searchsorted(self.order, (start, stop)))
        rows = max(0, high - low)
        order = None if self.order is None else self.order[low:high]
        lengths = self.lengths
        return replace(
            self,
            first=self.first + low if order is None else int(order[0]) if rows else start,
            end=self.first + high if order is None else int(order[-1]) + 1 if rows else start,
            rows=rows,
            size=self.size * rows // self.rows,
            raw=None if self.raw is None else self.raw[low:high],
            lengths=lengths[low:high] if isinstance(lengths, np.ndarray) else lengths,
            columns=None if self.columns is None else {k: v[low:high] for k, v in self.columns.items()},
            order=order,
        )


class Store:
    """Batches of one or several lanes, numbered together."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.closed = False
        self.opened = self.looked = (
            time()
        )  # wall clock: since when rows count, and when they were last looked for
        self.waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.total = 0  # rows ever; the next number
        self.floor = 0  # the first number that still counts
        self.nbytes = 0
        self.dropped_at = 0.0  # drain time of the newest row that was dropped
        self._lanes: dict[Lane, list[Batch]] = {}
        self.renew_locks()

    def renew_locks(self) -> None:
        """Make the locks; again in a forked child, where a thread that is not there may hold them."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self._reading = threading.Lock()

    def announce(self) -> None:
        """Wake who waits for rows; the caller holds the lock."""
        self.changed.notify_all()
        for loop, event in self.waiters:
            with contextlib.suppress(RuntimeError):  # that loop was closed
                loop.call_soon_threadsafe(event.set)

    def add(self, lane: Lane, batch: Batch) -> None:
        """Append; the caller holds the lock and numbers rows from ``total`` on, then sets ``total``."""
        batches = self._lanes.setdefault(lane, [])
        if batches and batches[-1].rows + batch.rows <= _SMALL:
            joined = self._near(batches[-1], batch) and _join_raw(batches[-1], batch)
            if joined:
                self.nbytes += joined.size - batches[-1].size
                batches[-1] = joined
                return
        batches.append(batch)
        self.nbytes += batch.size

    def _near(self, left: Batch, right: Batch) -> bool:
        """Whether two batches may be joined without blurring a bound in seconds."""
        seconds = self.bound.seconds
        return seconds is None or right.ended - left.began <= seconds / 20

    def evict(self, now: float) -> None:
        """Drop what is past the bounds; the caller holds the lock."""
        bound = self.bound
        if bound.rows is not None:
            self.floor = max(self.floor, self.total - bound.rows)
        self._drop()
        while (oldest := self._oldest()) is not None and (
            (bound.nbytes is not None and self.nbytes > bound.nbytes and self.total > oldest.end)
            or (bound.seconds is not None and oldest.ended < now - bound.seconds)
        ):
            self.floor = max(self.floor, oldest.end)
            self._drop()

    def clear(self) -> None:
        with self.lock:
            self.floor = self.total
            self._drop()
            self.opened = time()

    def _oldest(self) -> Batch | None:
        heads = [batches[0] for batches in self._lanes.values() if batches]
        return min(heads, key=lambda batch: batch.first) if heads else None

    def _drop(self) -> None:
        """Remove the batches below the floor."""
        for batches in self._lanes.values():
            gone = 0
            while gone < len(batches) and batches[gone].end <= self.floor:
                self.nbytes -= batches[gone].size
                self.dropped_at = max(self.dropped_at, batches[gone].ended)
                gone += 1
            del batches[:gone]

    def lanes(self) -> list[Lane]:
        with self.lock:
            return list(self._lanes)

    def rows(self, lane: Lane) -> int:
        """How many rows of *lane* are kept."""
        with self.lock:
            batches = [b.between(self.floor, self.total) for b in self._lanes.get(lane, ())]
        return sum(batch.rows for batch in batches)

    def read(self, lane: Lane, start: int, stop: int) -> list[Batch]:
        """The decoded rows of *lane* numbered *start* to *stop* (exclusive), as far as they are kept."""
        with self._reading:
            with self.lock:
                before = list(self._lanes.get(lane, ()))
                floor = self.floor
            after = self._compact(lane, _decode(lane, [b.between(floor, b.end) for b in before]))
            if before:
                with self.lock:
                    seen = before[-1].end
                    newer = [b.between(seen, b.end) for b in self._lanes[lane] if b.end > seen]
                    self.nbytes -= sum(b.size for b in self._lanes[lane])
                    self._lanes[lane] = [b for b in after if b.end > self.floor] + newer
                    self.nbytes += sum(b.size for b in self._lanes[lane])
                    self.evict(time())
        found = (b.between(max(start, floor), stop) for b in after if b.end > start and b.first < stop)
        return [batch for batch in found if batch.rows]

    def _compact(self, lane: Lane, batches: list[Batch]) -> list[Batch]:
        """Join small neighbours so that sizes fall geometrically: each row is moved a logarithmic number of times."""
        out: list[Batch] = []
        for batch in batches:
            tail = [batch]
            rows = batch.rows
            while (
                out
                and out[-1].rows <= 2 * rows
                and out[-1].rows + rows <= _SEGMENT
                and self._near(out[-1], batch)
            ):
                tail.insert(0, out.pop())
                rows += tail[0].rows
            if len(tail) > 1:
                columns = lane.concat([b.columns for b in tail if b.columns is not None])
                out.append(_joined(tail, columns))
            else:
                out.append(batch)
        return out


def _join_raw(left: Batch, right: Batch) -> Batch | None:
    """Two raw batches as one, where their rows have the same shape."""
    if left.raw is None or right.raw is None or left.raw.shape[1] != right.raw.shape[1]:
        return None
    if isinstance(left.lengths, int) and left.lengths == right.lengths:
        lengths: npt.NDArray[np.uint32] | int | None = left.lengths
    elif left.lengths is None and right.lengths is None:
        lengths = None
    else:
        return None
    consecutive = left.order is None and right.order is None and left.end == right.first
    order = None if consecutive else np.concatenate([left.numbers(), right.numbers()])
    raw = np.concatenate([left.raw, right.raw])
    return replace(Batch.of(left.first, raw, right.ended, lengths, order), end=right.end, began=left.began)


def _decode(lane: Lane, batches: Sequence[Batch]) -> list[Batch]:
    """Raw batches decoded, some thousand rows at a time."""
    out: list[Batch] = []
    group: list[Batch] = []

    def flush() -> None:
        if group:
            out.append(_decoded(lane, group))
            group.clear()

    rows = 0
    for batch in batches:
        if batch.raw is None:
            flush()
            out.append(batch)
            continue
        if group and (
            rows + batch.rows > _GROUP
            or batch.rows >= _LARGE
            or group[0].raw is None
            or group[0].raw.shape[1] != batch.raw.shape[1]
            or (group[0].lengths is None) != (batch.lengths is None)
        ):
            flush()
        rows = (rows if group else 0) + batch.rows
        group.append(batch)
    flush()
    return out


def _decoded(lane: Lane, group: Sequence[Batch]) -> Batch:
    raws = [batch.raw for batch in group if batch.raw is not None]
    raw = raws[0] if len(raws) == 1 else np.concatenate(raws)
    lengths: npt.NDArray[np.uint32] | int | None = group[0].lengths
    if lengths is not None and len(group) > 1:
        lengths = np.concatenate([np.broadcast_to(np.asarray(b.lengths, np.uint32), b.rows) for b in group])
    return _joined(group, lane.decode(raw, lengths))


def _joined(group: Sequence[Batch], columns: Columns) -> Batch:
    first, last = group[0], group[-1]
    rows = sum(batch.rows for batch in group)
    consecutive = last.end - first.first == rows
    order = None if consecutive else np.concatenate([batch.numbers() for batch in group])
    size = nbytes(columns) + _OVERHEAD + (8 * rows if order is not None else 0)
    return Batch(first.first, last.end, rows, first.began, last.ended, size, None, None, columns, order)
