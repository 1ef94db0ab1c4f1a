"""The rate of this machine's time stamp counter, which is the clock of emulated guests, too.

A guest's kernel finds it out by an emulated timer, wrongly where this machine is busy meanwhile (by a factor of six was
seen), and a snapshot keeps it. So it is told: ``tsc_early_khz=`` (Documentation/admin-guide/kernel-parameters.txt,
Linux 5.10); and what it was told stands beside a snapshot, which is of no use on a machine of another rate.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import time
from collections.abc import Callable

__all__ = ["same_rate", "tsc_khz"]

_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_SECONDS = 0.005  # two clocks read within 100 ns of each other: 40 of a million at most
_SAME = 0.005


@functools.cache
def tsc_khz() -> int:
    """kHz, as now measured; 0 where it cannot be: another processor, no memory to run code in."""
    if platform.machine() != "x86_64":
        return 0
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return 0
    code.write(_RDTSC)
    place = ctypes.c_char.from_buffer(code)
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))
    first = _reading(rdtsc)
    time.sleep(_SECONDS)
    second = _reading(rdtsc)
    del rdtsc, place  # views on the memory
    code.close()
    return (second[1] - first[1]) * 1_000_000 // (second[0] - first[0])


def same_rate(khz: int) -> bool:
    """Whether *khz* was measured of this machine, too: what is measured of one varies by less than 1 in 10000."""
    return abs(khz - tsc_khz()) <= _SAME * tsc_khz()


def _reading(rdtsc: Callable[[], int]) -> tuple[int, int]:
    """Nanoseconds and ticks: those of the closest of many, so that nothing came between the two clocks."""
    found = []
    for _ in range(100):
        before, ticks, after = time.monotonic_ns(), rdtsc(), time.monotonic_ns()
        found.append((after - before, (before + after) // 2, ticks))
    return min(found)[1:]
