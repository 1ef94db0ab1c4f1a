"""Interrupts that wait: while a C library makes what only its return value can free, while objects change places."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["held"]


@contextlib.contextmanager
def held() -> Iterator[None]:
    """SIGINT in the block is handled when the block has ended; only the main thread's Python code is interrupted."""
    came: list[tuple[int, FrameType | None]] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(*came[0])
