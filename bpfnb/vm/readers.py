"""Ring and perf buffers of a guest: its agent pushes whole chunks, which are taken apart here as the local ones are.

What was pushed and not yet drained is bounded: the agent stops at 8 MB that were not acknowledged, the buffer in the
guest's kernel then fills up, and the program's own counters tell what it lost, as they do locally. Who pushes more than
that, or what are no whole records, is not the agent (:meth:`bpfnb.vm.channel.Channel.distrust`).
"""

from __future__ import annotations

import collections
import contextlib
import os
import struct
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bpfnb.kernel.backend import Records
from bpfnb.kernel.perfbuf import events_of, parse
from bpfnb.kernel.ringbuf import PIECE, take
from bpfnb.kernel.syscall import map_delete, map_update
from bpfnb.vm.channel import ACK, FETCH, HELLO, STOP, STREAM, Channel, GuestGone
from bpfnb.vm.remote import Remote

__all__ = ["GuestPerf", "GuestRing"]

WINDOW = 8 << 20  # as in agent.c

Chunk = npt.NDArray[np.uint8]


class _Pushed:
    """One stream of the agent's: chunks in the order in which they came, and a descriptor that says that some wait."""

    def __init__(self, channel: Channel, fd: int, size: int, *, perf: bool, ready: int) -> None:
        self.channel = channel
        self._more = 2 * (WINDOW + size)  # what FETCH sends, and a last frame, come on top of the window
        self._most = self._more
        self._ready = ready
        self._lock = threading.Lock()
        self._chunks: collections.deque[Chunk] = collections.deque()
        self._waiting = 0
        self._fill = 0.0
        self.gone = False
        data = struct.pack("<iII", fd, size, perf)
        self._number, status, _ = channel.open(STREAM, data, self._on_frame)
        if status:
            channel.forget(self._number)
            raise OSError(-status, os.strerror(-status))

    def _on_frame(self, fill: int, chunk: Chunk) -> bool:
        with self._lock:
            self._fill = fill / 1000
            if fill < 0:
                self.gone = True
            elif not len(chunk) or len(chunk) % 8 or self._waiting + len(chunk) > self._most:
                self.gone = True
                self.channel.distrust(f"pushed {len(chunk)} bytes of a buffer where {self._waiting} wait")
            else:
                self._chunks.append(chunk)
                self._waiting += len(chunk)
        with contextlib.suppress(OSError):
            os.eventfd_write(self._ready, 1)
        return False

    def next(self) -> Chunk | None:
        """The oldest chunk, which is then acknowledged."""
        with self._lock:
            if not self._chunks:
                self._fill, self._most = 0.0, self._more
                return None
            chunk = self._chunks.popleft()
            self._waiting -= len(chunk)
        with contextlib.suppress(GuestGone):
            self.channel.tell(ACK, struct.pack("<II", self._number, len(chunk)))
        return chunk

    def refuse(self) -> None:
        """What came are no records: all that came before counts, and then it is said."""
        self.channel.distrust("pushed what are no records of a buffer")

    def fill(self) -> float:
        return max(min(1.0, self._fill), self._waiting / WINDOW)

    def fetch(self) -> None:
        """What the buffer holds now has come when this returns. Of a guest that is gone, drain says so."""
        with self._lock:
            self._most = self._waiting + self._more
        with contextlib.suppress(GuestGone):
            self.channel.request(FETCH, struct.pack("<I", self._number))

    def stop(self) -> None:
        with contextlib.suppress(GuestGone):
            self.channel.request(STOP, struct.pack("<I", self._number))
        self.channel.forget(self._number)


class _Reader:
    """What both kinds share. A :class:`~bpfnb.kernel.backend.DistantReader`."""

    wakes = True

    def __init__(self) -> None:
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._streams: list[_Pushed] = []
        self._told = False

    def drain(self, limit: int | None = None) -> list[Records]:
        """Everything that came, oldest first, at most about *limit* bytes. Raises GuestGone, once, when the guest has
        ended and nothing of it is left: what is closed afterwards finds nothing more.
        """
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._ready)
        out: list[Records] = []
        taken = 0
        for stream in self._streams:
            while (limit is None or taken < limit) and (chunk := stream.next()) is not None:
                out += self._apart(stream, chunk)
                taken += len(chunk)
            if limit is not None and taken >= limit:
                os.eventfd_write(self._ready, 1)
        if not out and not self._told and any(stream.gone for stream in self._streams):
            self._told = True
            self._streams[0].channel.request(HELLO)  # says why
        return out

    def fetch(self) -> None:
        for stream in self._streams:
            stream.fetch()

    def _apart(self, stream: _Pushed, chunk: Chunk) -> list[Records]:
        raise NotImplementedError

    def fill(self) -> float:
        return max((stream.fill() for stream in self._streams), default=0.0)

    def filenos(self) -> Sequence[int]:
        return (self._ready,)

    def close(self) -> None:
        if self._ready < 0:
            return
        for stream in self._streams:
            stream.stop()
        ready, self._ready = self._ready, -1
        os.close(ready)


class GuestRing(_Reader):
    """A ring buffer of a guest's."""

    def __init__(self, channel: Channel, fd: int, size: int) -> None:
        super().__init__()
        try:
            self._streams.append(_Pushed(channel, fd, size, perf=False, ready=self._ready))
        except BaseException:
            self.close()
            raise

    def _apart(self, stream: _Pushed, chunk: Chunk) -> list[Records]:
        out: list[Records] = []
        at, ring = 0, chunk.base
        assert isinstance(ring, np.ndarray)
        while at < len(chunk):
            records, after = take(ring, at, len(chunk), PIECE)
            if after == at:
                stream.refuse()
                break
            out += records
            at = after
        return out

    def lost(self) -> int:
        return 0


class GuestPerf(_Reader):
    """A perf event array of a guest's: an event and a stream for each of its CPUs."""

    PAGES = 128

    def __init__(self, remote: Remote, map_fd: int, cpus: Sequence[int]) -> None:
        super().__init__()
        self._remote = remote
        self._map = remote.fd(remote.dup(map_fd))
        self._events: dict[_Pushed, tuple[int, int]] = {}
        self._lost = 0
        size = self.PAGES * 4096
        try:
            for cpu in cpus:
                event = self._open(cpu, size // 4)
                stream = _Pushed(remote.channel, event, size, perf=True, ready=self._ready)
                self._streams.append(stream)
                self._events[stream] = cpu, event
                map_update(self._map, struct.pack("=I", cpu), struct.pack("=I", event))
        except BaseException:
            self.close()
            raise

    def _open(self, cpu: int, watermark: int) -> int:
        refusal: OSError | None = None
        for attributes in events_of(watermark):
            try:
                return self._remote.perf_event_open(attributes, -1, cpu)
            except OSError as error:
                refusal = error
        assert refusal is not None
        raise refusal

    def _apart(self, stream: _Pushed, chunk: Chunk) -> list[Records]:
        records, lost, used = parse(chunk, self._events[stream][0])
        if used != len(chunk):
            stream.refuse()
        self._lost += lost
        return records

    def lost(self) -> int:
        return self._lost

    def close(self) -> None:
        if self._ready < 0:
            return
        with contextlib.suppress(GuestGone, OSError):
            for cpu, event in self._events.values():
                map_delete(self._map, struct.pack("=I", cpu))
                self._remote.close(event)
            self._remote.close(self._map)
        super().close()
