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
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from time import time

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bpfnb.frames.lane import Columns, Lane, nbytes
from bpfnb.kernel.backend import Bytes2D

__all__ = ["Batch", "Bound", "Store"]

_first, _end = attrgetter("first"), attrgetter("end")

_OVERHEAD = 600  # bytes that a batch costs beside its rows
_SMALL = 256  # raw batches below this many rows are joined as they arrive
_LARGE = 1 << 12  # raw batches of this many rows are decoded by themselves
_GROUP = 1 << 14  # smaller ones are put together up to this many rows before
_SEGMENT = 1 << 12  # decoded batches are joined up to this many rows
_PADDED = 256  # bytes up to which records of several lengths are padded to be put together


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

    def pick(self, wanted: npt.NDArray[np.int64]) -> Batch:
        """The rows of a decoded batch with these numbers (ascending, within its ends), as far as it has them."""
        assert self.columns is not None
        if self.order is None:
            at = wanted - self.first
        else:
            at = np.searchsorted(self.order, wanted)
            at = at[self.order[np.minimum(at, self.rows - 1)] == wanted]
            wanted = self.order[at]
        places = pa.array(at)  # numpy's arrays take positions by index, Arrow's by a method
        return replace(
            self,
            rows=len(at),
            size=self.size * len(at) // max(1, self.rows),
            columns={
                name: values[at] if isinstance(values, np.ndarray) else values.take(places)
                for name, values in self.columns.items()
            },
            order=wanted,
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
        self.keepers: list[Callable[[], object]] = []  # who takes rows before :meth:`clear` forgets them
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
        """Forget the rows so far, once the keepers have them. The caller does not hold the lock."""
        upto, now = self.total, time()
        for keep in list(self.keepers):
            keep()
        with self.lock:
            self.floor = max(self.floor, upto)
            self._drop()
            self.opened = now

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

    @property
    def window(self) -> tuple[float, float]:
        """Since when the rows kept are all there were, and when they were last looked for, in s since 1970."""
        return max(self.opened, self.dropped_at), self.looked

    def lanes(self) -> list[Lane]:
        with self.lock:
            return list(self._lanes)

    def rows(self, lane: Lane) -> int:
        """How many rows of *lane* are kept."""
        with self.lock:
            batches = [b.between(self.floor, self.total) for b in self._lanes.get(lane, ())]
        return sum(batch.rows for batch in batches)

    def read(self, lane: Lane, start: int, stop: int) -> list[Batch]:
        """The decoded rows of *lane* numbered *start* to *stop* (exclusive), as far as they are kept.

        The other rows stay as they are: a window on the newest of many costs what it shows.
        """
        with self._reading:
            with self.lock:
                before = list(self._lanes.get(lane, ()))
                floor = self.floor
            low = bisect_right(before, max(start, floor), key=_end)
            high = bisect_left(before, stop, key=_first)
            if any(batch.raw is not None for batch in before[low:high]):
                rows = sum(batch.rows for batch in before[low:high])
                while low and before[low - 1].columns is not None and before[low - 1].rows <= 2 * rows:
                    low -= 1  # decoded earlier, and small enough to be joined
                    rows += before[low].rows
            part = before[low:high]
            after = self._compact(lane, _decode(lane, [b.between(floor, b.end) for b in part]))
            if len(after) != len(part) or any(new is not old for new, old in zip(after, part, strict=True)):
                self._replace(lane, part, after)
        found = (b.between(max(start, floor), stop) for b in after if b.end > start)
        return [batch for batch in found if batch.rows]

    def arrivals(self, lane: Lane, start: int) -> list[tuple[int, float]]:
        """When the rows of *lane* from number *start* on were drained: (number after the last one, s since 1970)."""
        with self.lock:
            return [(batch.end, batch.ended) for batch in self._lanes.get(lane, ()) if batch.end > start]

    def _replace(self, lane: Lane, part: list[Batch], after: list[Batch]) -> None:
        """Keep *after* instead of *part*, beside what came and went meanwhile."""
        with self.lock:
            batches = self._lanes[lane]
            seen = part[-1].end
            low = bisect_right(batches, part[0].first, key=_end)
            high = bisect_right(batches, seen, key=_end)
            rest = batches[high:]
            if rest and rest[0].first < seen:  # more rows were joined to the last one
                rest[0] = rest[0].between(seen, rest[0].end)
            new = [b for b in after if b.end > self.floor] + rest
            self.nbytes += sum(b.size for b in new) - sum(b.size for b in batches[low:])
            batches[low:] = new
            self.evict(time())

    def columns(
        self, lane: Lane, names: Collection[str], start: int, stop: int | None
    ) -> tuple[int, int, Columns] | None:
        """Of the rows numbered *start* to *stop* (exclusive): the first one's number, how many, and columns *names*.

        None unless *lane* is the only one. Raw batches stay raw: a few columns of the newest rows cost less than
        decoding all, and looking for them takes no time that grows with what is kept.
        """
        with self.lock:
            if len(self._lanes) != 1 or lane not in self._lanes:
                return None
            start = max(start, self.floor)
            stop = max(start, self.total if stop is None else min(stop, self.total))
            found: list[Batch] = []
            for batch in reversed(self._lanes[lane]):
                if batch.end <= start:
                    break
                if batch.first < stop:
                    found.append(batch)
        part = lane.only(names)
        out: list[Columns] = []
        raws: list[Bytes2D] = []

        def decode() -> None:
            if raws:
                raw = raws[0] if len(raws) == 1 else np.concatenate(raws)
                out.append(part.peek(raw) if len(raw) <= _LARGE else part.decode(raw, None))
                raws.clear()

        for batch in reversed(found):
            rows = slice(max(start - batch.first, 0), stop - batch.first)
            if batch.raw is None:
                decode()
                out.append({k: v[rows] for k, v in (batch.columns or {}).items() if k in names})
            else:
                if raws and raws[0].shape[1] != batch.raw.shape[1]:
                    decode()
                raws.append(batch.raw[rows])
        decode()
        return start, max(0, stop - start), part.concat(out) if out else part.empty()

    def pick(self, lane: Lane, wanted: npt.NDArray[np.int64]) -> list[Batch]:
        """The decoded rows of *lane* with these numbers (ascending), as far as they are kept."""
        if not len(wanted):
            return []
        found = []
        for batch in self.read(lane, int(wanted[0]), int(wanted[-1]) + 1):
            low, high = np.searchsorted(wanted, (batch.first, batch.end))
            if low < high:
                found.append(batch.pick(wanted[low:high]))
        return [batch for batch in found if batch.rows]

    def _compact(self, lane: Lane, batches: list[Batch]) -> list[Batch]:
        """Join small neighbours so that sizes fall geometrically: each row is moved a logarithmic number of times."""
        groups: list[tuple[int, list[Batch]]] = []  # rows, and what is to be joined: at the end, all at once
        for batch in batches:
            rows, tail = batch.rows, [batch]
            while (
                groups
                and groups[-1][0] <= 2 * rows
                and groups[-1][0] + rows <= _SEGMENT
                and self._near(groups[-1][1][0], batch)
            ):
                more, before = groups.pop()
                rows, tail = rows + more, before + tail
            groups.append((rows, tail))
        out = []
        for _, tail in groups:
            if len(tail) > 1:
                columns = lane.concat([b.columns for b in tail if b.columns is not None])
                out.append(_joined(tail, columns))
            else:
                out.append(tail[0])
        return out


def _join_raw(left: Batch, right: Batch) -> Batch | None:
    """Two raw batches as one, where their rows have the same shape."""
    if left.raw is None or right.raw is None or left.raw.shape[1] != right.raw.shape[1]:
        return None
    if isinstance(left.lengths, int) and isinstance(right.lengths, int) and left.lengths == right.lengths:
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
        if group and (rows + batch.rows > _GROUP or batch.rows >= _LARGE or not _alike(group[0], batch)):
            flush()
        rows = (rows if group else 0) + batch.rows
        group.append(batch)
    flush()
    return out


def _alike(one: Batch, other: Batch) -> bool:
    """Whether two raw batches are decoded together: records of several lengths, each with its own, are padded."""
    if one.raw is None or other.raw is None or (one.lengths is None) != (other.lengths is None):
        return False
    widths = one.raw.shape[1], other.raw.shape[1]
    return widths[0] == widths[1] or (one.lengths is not None and max(widths) <= _PADDED)


def _decoded(lane: Lane, group: Sequence[Batch]) -> Batch:
    raws = [batch.raw for batch in group if batch.raw is not None]
    width = max(raw.shape[1] for raw in raws)
    if all(raw.shape[1] == width for raw in raws):
        raw = raws[0] if len(raws) == 1 else np.concatenate(raws)
    else:
        raw, at = np.zeros((sum(len(raw) for raw in raws), width), np.uint8), 0
        for part in raws:
            raw[at : at + len(part), : part.shape[1]] = part
            at += len(part)
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
