"""A full memory barrier from Python, for the buffers that are shared with the kernel.

x86-64 never moves a load before an earlier load nor a store before an earlier load, which is all that the consumer
of a ring needs; and between two statements of Python there is always compiled code that the compiler cannot move
them across. So there the barrier is nothing. Elsewhere (arm64, riscv64) the processor may reorder them, and
``membarrier(2)`` (Linux 4.14 for the private command) is a full barrier on the calling thread for about a
microsecond, which once a batch is cheap.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable

__all__ = ["fence"]

_SYS_MEMBARRIER = {"ppc64le": 365}.get(platform.machine(), 283)  # 283 in the generic system call table
_PRIVATE_EXPEDITED = 1 << 3
_REGISTER_PRIVATE_EXPEDITED = 1 << 4


def _nothing() -> None:
    """Loads and stores stay in order by themselves."""


def _membarrier() -> Callable[[], None]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(_SYS_MEMBARRIER, _REGISTER_PRIVATE_EXPEDITED, 0, 0):
        raise OSError(ctypes.get_errno(), f"membarrier: {os.strerror(ctypes.get_errno())}")

    def barrier() -> None:
        call(_SYS_MEMBARRIER, _PRIVATE_EXPEDITED, 0, 0)

    return barrier


fence: Callable[[], None] = (
    _nothing if platform.machine() in ("x86_64", "AMD64", "i686", "s390x") else _membarrier()
)
