"""What the processes of lab 6 do with a CPU: they compute, or sleep and wake."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def _compute(clock: Callable[[], float], seconds: float) -> None:
    end = clock() + seconds
    while clock() < end:
        pass


def _told() -> list[int]:
    """What the kernel itself says: nanoseconds on the CPU, nanoseconds waiting for one, times that it got one."""
    return [int(word) for word in Path("/proc/self/schedstat").read_text().split()]


def _measured(work: Callable[[], object]) -> dict[str, float]:
    """Do it, and say what it took of the CPU, how long it waited for it, and how often it got one."""
    before = _told()
    work()
    on, waited, times = (after - was for after, was in zip(_told(), before, strict=True))
    return {"cpu_s": on / 1e9, "waited_s": waited / 1e9, "times": times}


def hog(seconds: float) -> dict[str, float]:
    """Compute until it has had so much processor time."""
    return _measured(lambda: _compute(time.thread_time, seconds))


def race(seconds: float) -> dict[str, float]:
    """Compute until so much time has passed."""
    return _measured(lambda: _compute(time.monotonic, seconds))


def ticks(count: int) -> dict[str, float]:
    """Sleep for 4 ms and compute for 0.2 ms, so often."""

    def work() -> None:
        for _ in range(count):
            time.sleep(0.004)
            _compute(time.thread_time, 0.0002)

    return _measured(work)
