"""Ring buffers without a system call or a Python object a record (``BPF_MAP_TYPE_RINGBUF``, Linux 5.8).

The kernel maps a ring buffer as three areas (kernel/bpf/ringbuf.c): a page with the consumer's position, which we
write; a page with the producer's position; and the data pages twice in a row, so that a record which wraps around
the end is still contiguous. Positions only grow. A record is ``u32 length`` (bit 31: being written, bit 30:
discarded), ``u32`` page offset, the payload, and padding to 8 bytes.

So n records of one size are one strided array. A batch is: read the producer's position; compare all headers at
once; copy the bytes out with a single memcpy; publish the consumer's position. The rows of a batch are a strided
view of that copy. A record that is busy ends the batch, discarded ones are left out, and where sizes change too often
for runs a loop walks the headers and the payloads are gathered by word.

A header is checked in the ring *before* its payload is copied: a copy made first could hold the header of a finished
record and the payload from before it was finished.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bpfnb.kernel.backend import Bytes2D, Records
from bpfnb.kernel.fence import fence
from bpfnb.kernel.split import FieldCells, Tails, address, library, split, split_tailed

__all__ = ["RingReader", "UserRingWriter", "gather", "take"]

HEADER = 8
BUSY = 1 << 31
DISCARDED = 1 << 30
LENGTH = DISCARDED - 1
STRIDE = LENGTH & ~7

PIECE = 1 << 19
"""Bytes taken at a time: headers that were just compared are still in a 1 MB cache when the payload is copied."""

SPAN = 1 << 24
"""Bytes of records that :meth:`RingReader.columns` takes at most: a batch is evicted whole."""

_SHORT_RUN = 8  # below this the loop is faster than array operations
_WALK = 1 << 16  # bytes that the loop takes before runs are tried again
_SPREAD = 4  # rows of unequal length may cost this many times their bytes in padding
_BYTES_KEPT = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)


class _Run(NamedTuple):
    """``rows`` records of ``length`` bytes, the first ``start`` bytes into the copy; ``keep``: not discarded."""

    start: int
    rows: int
    length: int
    keep: npt.NDArray[np.bool_] | None


def take(data: npt.NDArray[np.uint8], begin: int, end: int, piece: int = PIECE) -> tuple[list[Records], int]:
    """Copy out the finished records between two positions.

    *data* is the ring's bytes twice in a row (its half a power of two), *begin* the consumer's and *end* the
    producer's position. Returns the records in their order and the new consumer position, which is at most about
    *piece* bytes further: call again until it stays. It stops before a record that is busy, or longer than what
    was produced.
    """
    ring = len(data) // 2
    origin = begin & (ring - 1)
    base = origin - begin  # position -> byte offset in data; at most one ring ahead, hence the second mapping
    stop = min(end, begin + min(piece, ring))
    heads = data.view(np.uint32)
    parts: list[_Run | npt.NDArray[np.int64]] = []
    pos = begin
    while pos < stop:
        word = int(heads[(pos + base) >> 2])
        length = word & LENGTH
        stride = (length + HEADER + 7) & ~7
        if word & BUSY or pos + stride > end:
            break
        if (count := (stop - pos) // stride) == 0:
            if pos > begin:
                break
            count = 1  # one record longer than a piece
        column = np.ndarray((count,), np.uint32, data, pos + base, (stride,))
        keep = None
        same = column == word
        if not same.all():
            same = (column & ~np.uint32(DISCARDED)) == length
            if not same.all():
                count = int(same.argmin())
            keep = (column[:count] & DISCARDED) == 0
            if keep.all():
                keep = None
        elif word & DISCARDED:
            keep = np.zeros(count, np.bool_)
        if count < _SHORT_RUN:
            walk, after = _walk(data, pos, base, begin, min(stop, pos + _WALK), end)
            if after == pos:
                break
            parts.append(walk)
            pos = after
        else:
            parts.append(_Run(pos - begin, count, length, keep))
            pos += count * stride
    if pos == begin:
        return [], begin
    fence()  # no payload is read before the headers were
    copy = data[origin : origin + pos - begin].copy()
    return _records(copy, parts), pos


def _walk(
    data: npt.NDArray[np.uint8], pos: int, base: int, begin: int, stop: int, end: int
) -> tuple[npt.NDArray[np.int64], int]:
    """The starts of the records up to *stop* (the last may reach over it), and the position after them.

    A busy record has its length already, so the loop only follows lengths; flags are looked at afterwards, at once.
    """
    heads = memoryview(data.data).cast("I")
    starts: list[int] = []
    append = starts.append
    at, limit = pos + base, stop + base
    while at < limit:
        append(at)
        at += ((heads[at >> 2] & LENGTH) + 15) & ~7
    where = np.array(starts)
    words = data.view(np.uint32)[where >> 2]
    busy = np.flatnonzero(words & BUSY)
    count = int(busy[0]) if len(busy) else len(starts)
    if count == len(starts) and at > limit and (at > end + base or count > 1):
        count -= 1
    after = at - base if count == len(starts) else starts[count] - base
    return where[:count] - (base + begin), after


def _records(copy: npt.NDArray[np.uint8], parts: Sequence[_Run | npt.NDArray[np.int64]]) -> list[Records]:
    out: list[Records] = []
    for kind, group in groupby(parts, type):
        if kind is not _Run:
            starts = np.concatenate([part for part in group if not isinstance(part, _Run)])
            lengths = copy.view(np.uint32)[starts >> 2]
            kept = lengths < DISCARDED
            if kept.any():
                out += gather(copy, starts[kept] + HEADER, lengths[kept])
            continue
        for run in group:
            assert isinstance(run, _Run)
            stride = (run.length + HEADER + 7) & STRIDE
            shape = (run.rows, run.length)
            rows: Bytes2D = np.ndarray(shape, np.uint8, copy, run.start + HEADER, (stride, 1))
            if run.keep is not None:
                rows = rows[run.keep]
            if len(rows):
                out.append(Records(rows, run.length))
    return out


def gather(
    copy: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.uint32]
) -> list[Records]:
    """Payloads of unequal length as rows padded with zeros; several Records where padding would be too much.

    *starts* are multiples of 8, so whole words are moved. *copy* may end right after the last payload.
    """
    longest = int(lengths.max())
    width = (longest + 7) // 8
    if len(starts) > 1 and width * 8 * len(starts) > _SPREAD * int(lengths.sum()) + 4096:
        half = len(starts) // 2
        return [
            *gather(copy, starts[:half], lengths[:half]),
            *gather(copy, starts[half:], lengths[half:]),
        ]
    if longest == 0:
        return [Records(np.empty((len(starts), 0), np.uint8), 0)]
    first, last = int(starts[0]), int(starts[-1])
    window = np.zeros(last - first + 8 * width, np.uint8)
    window[: len(copy) - first] = copy[first : first + len(window)]
    # Overlapping items of `width` words, one at each word: taking from it is one memcpy a record.
    items = np.ndarray((((last - first) >> 3) + 1,), f"V{8 * width}", window, 0, (8,))
    rows = items[(starts - first) >> 3].view(np.uint64).reshape(len(starts), width)
    shortest = int(lengths.min())
    whole = shortest // 8  # words that all have
    if whole < width:
        rest = lengths[:, None].astype(np.int64) - 8 * np.arange(whole, width)
        rows[:, whole:] &= _BYTES_KEPT[np.clip(rest, 0, 8)]
    data = rows.view(np.uint8)[:, :longest]
    return [Records(data, longest if shortest == longest else lengths)]


class RingReader:
    """Consumes one ring buffer: *fd* is its map's descriptor (kept open by a duplicate), *size* its ``max_entries``.

    A :class:`~bpfnb.kernel.backend.Reader`. Works in a process without capabilities that was handed the descriptor.
    """

    wakes = True

    def __init__(self, fd: int, size: int) -> None:
        self._fd = os.dup(fd)
        self._size = size
        library()  # compiled now if ever, not when records wait
        page = mmap.PAGESIZE
        try:
            self._maps = (
                mmap.mmap(self._fd, page, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=0),
                mmap.mmap(self._fd, page + 2 * size, prot=mmap.PROT_READ, offset=page),
            )
        except OSError:
            os.close(self._fd)
            raise
        self._consumer = np.frombuffer(self._maps[0], np.uint64, 1)
        self._producer = np.frombuffer(self._maps[1], np.uint64, 1)
        self._data = np.frombuffer(self._maps[1], np.uint8, 2 * size, page)
        self._at = address(self._data)

    def columns(
        self, length: int, fields: Sequence[tuple[int, int]], least: int = 1
    ) -> tuple[int, FieldCells]:
        """The records at the head, as long as they are finished and of *length* bytes: how many, and their fields.

        *fields* are (offset, size) in a record; see :data:`~bpfnb.kernel.split.FieldCells`. None are taken where
        fewer than *least* can be there, or where no compiler is at hand: then :meth:`drain` takes them all.
        """
        begin = int(self._consumer[0])
        stride = (length + HEADER + 7) & STRIDE
        rows = min(int(self._producer[0]) - begin, SPAN) // stride
        if rows < least or library() is None:
            return 0, []
        fence()  # the producer's position before the headers that it covers
        taken = split(self._at + (begin & (self._size - 1)), rows, length, fields)
        fence()  # the payloads were read before the producer may overwrite them
        self._consumer[0] = begin + taken[0] * stride
        return taken

    def tailed(
        self, length: int, fields: Sequence[tuple[int, int]], least: int = 1
    ) -> tuple[int, FieldCells, Tails | None]:
        """As :meth:`columns`, of records of *length* bytes or more, and what is behind their structs."""
        begin = int(self._consumer[0])
        room = min(int(self._producer[0]) - begin, SPAN)
        if room < least * (length + HEADER) or library() is None:
            return 0, [], None
        fence()  # the producer's position before the headers that it covers
        rows, taken, cells, tails = split_tailed(self._at + (begin & (self._size - 1)), room, length, fields)
        fence()  # the payloads were read before the producer may overwrite them
        self._consumer[0] = begin + taken
        return rows, cells, tails

    def drain(self, limit: int | None = None) -> list[Records]:
        """The records that were finished when called, oldest first, at most about *limit* bytes of them.

        Rows of equal-sized records are a strided view (each row contiguous) of a copy that the batch owns; rows of
        unequal length are zero-padded, with ``lengths`` a row.
        """
        begin = int(self._consumer[0])
        end = int(self._producer[0])
        stop = end if limit is None else min(end, begin + limit)
        fence()  # the producer's position before the headers that it covers
        out: list[Records] = []
        while begin < stop:
            records, after = take(self._data, begin, end, min(PIECE, stop - begin))
            if after == begin:
                break
            fence()  # the payloads were read before the producer may overwrite them
            self._consumer[0] = begin = after
            out += records
        return out

    def lost(self) -> int:
        """0: a ring buffer tells its producer of a loss (the program's reserve fails), never its consumer."""
        return 0

    def fill(self) -> float:
        """The share of the buffer that waits to be read, 0 to 1."""
        return (int(self._producer[0]) - int(self._consumer[0])) / self._size

    def filenos(self) -> Sequence[int]:
        return (self._fd,)

    def close(self) -> None:
        if self._fd < 0:
            return
        del self._consumer, self._producer, self._data
        for area in self._maps:
            area.close()
        os.close(self._fd)
        self._fd = -1


class UserRingWriter:
    """Produces into a user ring buffer (``BPF_MAP_TYPE_USER_RINGBUF``, Linux 6.1).

    *fd* is the map's descriptor, *size* its ``max_entries``. The program takes the records when it next calls
    ``bpf_user_ringbuf_drain``.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        page = mmap.PAGESIZE
        self._maps = (
            mmap.mmap(fd, page, prot=mmap.PROT_READ, offset=0),
            mmap.mmap(fd, page + 2 * size, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=page),
        )
        self._consumer = np.frombuffer(self._maps[0], np.uint64, 1)
        self._producer = np.frombuffer(self._maps[1], np.uint64, 1)

    def write(self, records: Sequence[bytes]) -> int:
        """Write *records* in order while there is room; returns how many were written."""
        position = int(self._producer[0])
        room = int(self._consumer[0]) + self._size - position
        fence()  # the consumer has left what is written over
        written = 0
        data = self._maps[1]
        for record in records:
            total = (len(record) + HEADER + 7) & STRIDE
            if total > room:
                break
            at = mmap.PAGESIZE + (position & (self._size - 1))
            data[at : at + HEADER] = len(record).to_bytes(4, sys.byteorder) + bytes(4)
            data[at + HEADER : at + HEADER + len(record)] = record
            position += total
            room -= total
            written += 1
        fence()  # the records before the position that covers them
        self._producer[0] = position
        return written

    def close(self) -> None:
        if self._maps[0].closed:
            return
        del self._consumer, self._producer
        for area in self._maps:
            area.close()
