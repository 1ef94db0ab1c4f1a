"""Locks of the kernel that somebody had to wait for, by the stack that waited.

``lock`` is its kind: mutex, spinlock, rwlock:R and rwlock:W, rwsem:R and rwsem:W, rtmutex, percpu-rwsem, semaphore, as
perf has them. ``wait`` is the time of all waits together. With ``addresses`` each lock has rows of its own. Linux 5.19.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pandas as pd

from bpfnb.tools.futex import addresses, averaged
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Option

_SPIN, _READ, _WRITE, _RT, _PERCPU, _MUTEX = (1 << bit for bit in range(6))  # LCB_F_*


def _kind(flags: int) -> str:
    """What perf calls the lock (tools/perf/builtin-lock.c)."""
    if flags & _MUTEX:
        return "mutex"
    side = ":R" if flags & _READ else ":W" if flags & _WRITE else ""
    if flags & _PERCPU:
        return f"percpu-rwsem{side}"
    if flags & _RT:
        return f"rwlock-rt{side}" if side else "rtmutex"
    if flags & _SPIN:
        return f"rwlock{side}" if side else "spinlock"
    return f"rwsem{side}" if side else "semaphore"


class KLocks(Stacked):
    family = "locks"
    options = (Option("addresses", bool, "each lock by itself"),)
    stream = "counts"
    stacks: ClassVar[Mapping[str, str | None]] = {"kernel_stack": None}
    weight = "wait"

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = averaged(self.named(raw), "wait")
        kinds = {flags: _kind(flags) for flags in frame["flags"].unique().tolist()}
        frame = frame.assign(lock=frame["flags"].map(kinds).astype("category"))
        names = ["comm", "pid", "lock"]
        if self.given.get("addresses"):
            names.append("address")
            frame = frame.assign(address=addresses(frame["address"]))
        return frame[[*names, "count", "wait", "avg_wait", "max_wait", "kernel_stack"]]
