"""Threads that wait for a futex, by user stack and lock: what mutexes, semaphores and conditions sleep on.

Without contention no futex is called, so what is here is contention, and waiting for conditions. ``count`` are the
waits that ended because somebody woke the futex, ``wait`` their time; ``failed`` those that ended otherwise: out of
time, by a signal, or because there was nothing to wait for any more. ``lock`` is the futex's address. Linux 5.11.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bpfnb.kernel.hooks import tracepoints
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load


class Futex(Stacked):
    family = "locks"
    stream = "counts"
    weight = "wait"
    columns = ("comm", "pid", "lock", "count", "wait", "avg_wait", "max_wait", "failed", "user_stack")

    def prepare(self) -> Load:
        load = super().prepare()
        load.defines = ("FUTEX2",) if "syscalls:sys_enter_futex_wait" in tracepoints() else ()
        return load

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = averaged(self.named(raw), "wait")
        return frame.assign(lock=addresses(frame["lock"]))[list(self.columns)]


def averaged(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """With ``avg_x`` for each sum x: by ``count``, 0 where there is none."""
    notes = dict(frame.attrs.get("bpfnb_columns", {}))
    for name in columns:
        average = frame[name] // frame["count"].clip(lower=1)
        frame = frame.assign(**{f"avg_{name}": average})
        notes[f"avg_{name}"] = notes.get(name, {})
    frame.attrs["bpfnb_columns"] = notes
    return frame


def addresses(column: pd.Series[int]) -> pd.Categorical[Any]:
    """Addresses as people write them."""
    texts = np.array([f"{number:#x}" for number in column.tolist()], object)
    return pd.Categorical(texts)
