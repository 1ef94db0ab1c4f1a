"""The kernel's BPF run statistics, on while any handle of this process is open."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Self

from bpfnb.errors import NotPermitted
from bpfnb.kernel import syscall

__all__ = ["Statistics", "enable_stats"]

_lock = threading.Lock()
_handles = 0
_fd = -1


class Statistics:
    """Keeps statistics on until closed; a context manager. Closing twice is harmless."""

    __slots__ = ("_owner",)

    def __init__(self) -> None:
        self._owner = os.getpid()  # 0 when closed; a forked child's copy of a handle counts for nothing there

    def close(self) -> None:
        global _handles, _fd
        with _lock:
            if self._owner != os.getpid():
                return
            self._owner = 0
            _handles -= 1
            if _handles == 0:
                fd, _fd = _fd, -1  # first: a child forked meanwhile must not close what has the number next
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def enable_stats() -> Statistics:
    """Turn run statistics on (Linux 5.8). They cost every BPF program of the machine some 20 ns a run.

    Raises NotPermitted without CAP_SYS_ADMIN.
    """
    global _handles, _fd
    with _lock:
        if _handles == 0:
            try:
                _fd = syscall.enable_stats()
            except PermissionError:
                raise NotPermitted(
                    "BPF statistics need CAP_SYS_ADMIN, which this process lacks", missing=["CAP_SYS_ADMIN"]
                ) from None
        _handles += 1
    return Statistics()


def _in_child() -> None:
    """A forked child must not keep the parent's statistics on, nor wait for a lock that another thread held."""
    global _handles, _fd, _lock
    _lock = threading.Lock()
    if _fd >= 0:
        with contextlib.suppress(OSError):
            os.close(_fd)
    _fd, _handles = -1, 0


os.register_at_fork(after_in_child=_in_child)
