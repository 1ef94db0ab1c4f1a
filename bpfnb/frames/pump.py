"""The one background thread that empties the buffers of all streams of the process.

It wakes when a buffer has records, and every 50 ms in any case: perf buffers wake only when a quarter full, and
programs may submit without waking. Where nothing came for a second, and all buffers are such that wake, it looks around
four times a second, lest tools that wait for something rare keep a processor from sleeping. After records came it
rests, so that they come in batches: for 40 ms, or as long as at their rate a quarter of a buffer lasts, and where one
was more than a quarter full, not at all. Its work under the interpreter's lock is a few array operations a batch. A
stream that fails is put aside with its error and the others go on.

A child made by fork has no such thread. There the streams keep the rows they had and read no more: two processes
must not consume one buffer.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Protocol

__all__ = ["Drainable", "add", "remove"]

IDLE = 0.05
QUIET = 0.25
_SILENCE = 1.0
LONG_REST = 0.04
_FULL = 0.25
_NICE = -5  # of the thread; without CAP_SYS_NICE it stays at the process's


class Drainable(Protocol):
    """What the pump serves."""

    def filenos(self) -> Sequence[int]: ...

    @property
    def wakes(self) -> bool:
        """Whether its descriptors poll readable as soon as there is a record."""

    def service(self) -> float:
        """Take what is ready and keep house; never waits. Returns how full the buffer was (0: nothing came)."""

    def failed(self, error: BaseException) -> None:
        """Draining raised *error*; the pump has put the stream aside."""

    def orphan(self) -> None:
        """This process is a fork: let go of the buffer."""


class _Pump:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[Drainable, Sequence[int]] = {}
        self._epoll: select.epoll | None = None
        self._bell = -1
        self._thread: threading.Thread | None = None

    def add(self, stream: Drainable) -> None:
        with self._lock:
            if stream in self._streams:
                return
            if self._epoll is None:
                self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._epoll = select.epoll()  # after it, for a fork between them
                self._epoll.register(self._bell, select.EPOLLIN)
            self._streams[stream] = filenos = tuple(stream.filenos())
            for fd in filenos:
                self._epoll.register(fd, select.EPOLLIN)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bpfnb-pump", daemon=True)
                self._thread.start()
            os.eventfd_write(self._bell, 1)  # it may not be one that wakes

    def remove(self, stream: Drainable) -> None:
        with self._lock:
            for fd in self._streams.pop(stream, ()):
                assert self._epoll is not None
                with contextlib.suppress(OSError, ValueError):  # closed already
                    self._epoll.unregister(fd)
            if not self._streams and self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def stop(self) -> None:
        """End the thread: without a stream it goes."""
        with self._lock:
            streams, thread = list(self._streams), self._thread
        for stream in streams:
            self.remove(stream)
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def abandon(self) -> None:
        """In a child made by fork: the descriptors go, of which the parent has its own."""
        if self._epoll is not None:
            self._epoll.close()
            os.close(self._bell)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        assert self._epoll is not None
        pace, before = 0.0, time.monotonic()  # buffers a second
        busy, wait = before, IDLE
        while True:
            ready = {fd for fd, _ in self._epoll.poll(wait)}
            if self._bell in ready:
                os.eventfd_read(self._bell)
                ready.remove(self._bell)
            with self._lock:
                streams = list(self._streams)
                if not streams:
                    self._thread = None
                    return
            fullest = max(self._serve(stream) for stream in streams)
            now = time.monotonic()
            # the first few of a burst tell little of it: the pace falls slowly
            pace = max(fullest / max(now - before, 1e-6), pace / 2)
            before = now
            busy = now if ready or fullest else busy
            quiet = now - busy > _SILENCE and all(stream.wakes for stream in streams)
            wait = QUIET if quiet else IDLE
            if ready and fullest < _FULL:
                time.sleep(min(LONG_REST, _FULL / max(pace, 1e-6)))

    def _serve(self, stream: Drainable) -> float:
        try:
            return stream.service()
        except Exception as error:
            self.remove(stream)
            stream.failed(error)
            return 0.0


_pump = _Pump()
_all: weakref.WeakSet[Drainable] = weakref.WeakSet()


def add(stream: Drainable) -> None:
    """Drain *stream* from now on."""
    _all.add(stream)
    _pump.add(stream)


def remove(stream: Drainable) -> None:
    """Leave *stream* alone. What its buffer still holds is for the stream's own ``close``."""
    _pump.remove(stream)


def _after_fork() -> None:
    global _pump
    _pump.abandon()
    _pump = _Pump()
    for stream in list(_all):
        stream.orphan()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pump.stop())
