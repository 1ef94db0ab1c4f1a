"""Perf buffers: one ring a CPU behind a ``BPF_MAP_TYPE_PERF_EVENT_ARRAY`` (Linux 4.3; streams since 4.4).

Each online CPU gets a software event ``PERF_COUNT_SW_BPF_OUTPUT`` (perf_event_open(2)), its buffer is mapped, and its
descriptor put into the map under the CPU's number. A buffer is a page of positions and a power of two of data pages
that are mapped once, so what is between tail and head is copied to a contiguous array first (at most two memcpys;
everything before the head is finished), the tail is published, and the copy is taken apart at leisure.

A record is ``struct perf_event_header {u32 type; u16 misc; u16 size}``; a sample continues with ``u32 raw_size`` and
the raw bytes, a loss with ``u64 id, u64 lost``. The kernel pads raw bytes so that ``raw_size`` is 8n + 4: a struct of
64 bytes arrives as 68. The true size is not in the buffer; who knows the struct cuts the rest off.

The kernel wakes the reader when a quarter of a buffer is full, not at each record, so a slow stream has to be looked
at from time to time as well.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpfnb.kernel.backend import Records
from bpfnb.kernel.fence import fence
from bpfnb.kernel.ringbuf import gather
from bpfnb.kernel.syscall import map_delete, map_update, perf_event_open

__all__ = ["PerfReader", "events_of", "online_cpus", "parse"]

PERF_TYPE_SOFTWARE = 1
PERF_COUNT_SW_BPF_OUTPUT = 10
PERF_SAMPLE_RAW = 1 << 10
PERF_FORMAT_LOST = 1 << 4  # Linux 6.0
PERF_EVENT_IOC_DISABLE = 0x2401
PERF_RECORD_LOST = 2
PERF_RECORD_SAMPLE = 9
WATERMARK = 1 << 14  # the attribute's bit field: wakeup_watermark counts bytes, not events

_U32 = struct.Struct("=I")
_HEADER = 8
_RAW = 12  # header and raw_size
_LEAST = {PERF_RECORD_SAMPLE: 16, PERF_RECORD_LOST: 24}


def online_cpus() -> list[int]:
    """The numbers of the CPUs that are online."""
    out: list[int] = []
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return out


class PerfReader:
    """Consumes one perf event array; a :class:`~bpfnb.kernel.backend.Reader`.

    *cpus* are those to listen to (default: all online), *pages* the data pages a CPU (a power of two; default 128,
    512 KiB with pages of 4 KiB). Raises OSError where the kernel refuses (EPERM without CAP_PERFMON).
    """

    wakes = False

    def __init__(self, map_fd: int, cpus: Iterable[int] | None = None, pages: int = 128) -> None:
        if pages < 1 or pages & (pages - 1):
            raise ValueError(f"a perf buffer has a power of two of pages, not {pages}")
        self._map_fd = os.dup(map_fd)
        self._buffers: list[_Buffer] = []
        try:
            for cpu in online_cpus() if cpus is None else cpus:
                buffer = _Buffer(cpu, pages)
                self._buffers.append(buffer)
                try:
                    map_update(self._map_fd, _U32.pack(cpu), _U32.pack(buffer.fd))
                except OSError as error:
                    if (
                        error.errno != errno.E2BIG
                    ):  # the program's map has fewer entries than the machine CPUs
                        raise
                    self._buffers.pop().close()
        except OSError:
            self.close()
            raise

    def drain(self, limit: int | None = None) -> list[Records]:
        """What every CPU had finished when it was looked at, CPU after CPU; at most about *limit* bytes of each.

        ``lengths`` are the padded sizes (8n + 4), ``cpu`` says whose records they are.
        """
        heads = [buffer.head() for buffer in self._buffers]
        fence()  # the heads before the records that they cover
        out: list[Records] = []
        for buffer, head in zip(self._buffers, heads, strict=True):
            out += buffer.drain(head, limit)
        return out

    def lost(self) -> int:
        """Records that did not fit since the reader was opened, over all CPUs."""
        return sum(buffer.lost() for buffer in self._buffers)

    def fill(self) -> float:
        """The share of the fullest CPU's buffer that waits to be read, 0 to 1."""
        return max((buffer.fill() for buffer in self._buffers), default=0.0)

    def filenos(self) -> Sequence[int]:
        return [buffer.fd for buffer in self._buffers]

    def close(self) -> None:
        """Take the events out of the map (it would keep them alive) and unmap them."""
        for buffer in self._buffers:
            map_delete(self._map_fd, _U32.pack(buffer.cpu))
            buffer.close()
        self._buffers = []
        if self._map_fd >= 0:
            os.close(self._map_fd)
            self._map_fd = -1


class _Buffer:
    """One CPU's event and its mapped ring."""

    def __init__(self, cpu: int, pages: int) -> None:
        self.cpu = cpu
        size = pages * mmap.PAGESIZE
        self.fd, self._counts_lost = _open_event(cpu, size // 4)
        try:
            self._map = mmap.mmap(self.fd, mmap.PAGESIZE + size)
        except OSError:
            os.close(self.fd)
            raise
        # struct perf_event_mmap_page: data_head, data_tail, data_offset, data_size at 1024
        self._page = np.frombuffer(self._map, np.uint64, 4, 1024)
        self._data = np.frombuffer(self._map, np.uint8, size, mmap.PAGESIZE)
        self._lost = 0

    def head(self) -> int:
        return int(self._page[0])

    def drain(self, head: int, limit: int | None) -> list[Records]:
        tail = int(self._page[1])
        if head == tail:
            return []
        size = len(self._data)
        at = tail & (size - 1)
        first = min(head - tail, size - at)
        copy = np.empty(head - tail, np.uint8)
        copy[:first] = self._data[at : at + first]
        copy[first:] = self._data[: head - tail - first]
        records, lost, used = parse(copy, self.cpu, limit)
        self._lost += lost
        fence()  # everything was read before the kernel may overwrite it
        self._page[1] = tail + used
        return records

    def lost(self) -> int:
        if not self._counts_lost:
            return self._lost
        _value, lost = struct.unpack("QQ", os.read(self.fd, 16))
        return int(lost)

    def fill(self) -> float:
        return (int(self._page[0]) - int(self._page[1])) / len(self._data)

    def close(self) -> None:
        if self._map.closed:
            return
        fcntl.ioctl(self.fd, PERF_EVENT_IOC_DISABLE, 0)
        del self._page, self._data
        self._map.close()
        os.close(self.fd)


def parse(copy: npt.NDArray[np.uint8], cpu: int, limit: int | None = None) -> tuple[list[Records], int, int]:
    """Take apart whole records that were copied from one CPU's buffer, at most about *limit* bytes of them.

    Returns the samples (rows are views of *copy* where sizes repeat), the number of records that ``PERF_RECORD_LOST``
    reports, and the bytes used: all, but where something stands that is no record.
    """
    end = len(copy) if limit is None else min(limit, len(copy))
    words = copy.view(np.uint32)
    view = memoryview(copy.data).cast("I")
    out: list[Records] = []
    odd: list[int] = []
    lost = pos = 0

    def flush() -> None:
        if odd:
            starts = np.array(odd)
            room = (words[(starts >> 2) + 1] >> 16) - np.uint32(_RAW)
            raw = np.minimum(words[(starts + _HEADER) >> 2], room)  # whatever a guest says
            # raw_size and the raw bytes are 8-aligned together, so they are moved together
            for rows in gather(copy, starts + _HEADER, raw + np.uint32(4)):
                out.append(Records(rows.data[:, 4:], rows.lengths - 4, cpu))
            odd.clear()

    while pos < end:
        kind, size = view[pos >> 2], view[(pos >> 2) + 1] >> 16
        if size < _LEAST.get(kind, _HEADER) or size & 7 or pos + size > len(copy):
            break  # no kernel's: what a guest pushes is not trusted to lead on
        if kind == PERF_RECORD_SAMPLE:
            count = (len(copy) - pos) // size
            heads = np.ndarray((count, 2), np.uint32, copy, pos, (size, 4))
            same = (heads[:, 0] == kind) & (heads[:, 1] >> 16 == size)
            if not same.all():
                count = int(same.argmin())
            if count < 8:
                odd += range(pos, pos + count * size, size)
            else:
                flush()
                rows = np.ndarray((count, size - _RAW), np.uint8, copy, pos + _RAW, (size, 1))
                out.append(Records(rows, size - _RAW, cpu))
            pos += count * size
            continue
        if kind == PERF_RECORD_LOST:
            lost += view[(pos + 16) >> 2] | view[(pos + 20) >> 2] << 32
        pos += size
    flush()
    return out, lost, pos


def events_of(watermark: int) -> list[bytes]:
    """Attributes of a BPF output event that wakes its reader after *watermark* bytes: that counts what it loses
    (Linux 6.0), and as older kernels take them.
    """
    return [
        struct.pack(
            "IIQQQQQII",
            PERF_TYPE_SOFTWARE,
            64,  # PERF_ATTR_SIZE_VER0
            PERF_COUNT_SW_BPF_OUTPUT,
            1,  # sample_period
            PERF_SAMPLE_RAW,
            read_format,
            WATERMARK,
            watermark,
            0,
        ).ljust(64, b"\0")
        for read_format in (PERF_FORMAT_LOST, 0)
    ]


def _open_event(cpu: int, watermark: int) -> tuple[int, bool]:
    """A BPF output event on *cpu* for all processes; whether it counts what it loses (Linux 6.0)."""
    for attributes, counts_lost in zip(events_of(watermark), (True, False), strict=True):
        try:
            return perf_event_open(attributes, -1, cpu), counts_lost
        except OSError as error:
            refusal = error
            if error.errno != errno.EINVAL:
                break
    raise OSError(refusal.errno, f"perf_event_open on CPU {cpu}: {refusal.strerror}")
