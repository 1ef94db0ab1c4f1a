"""Mutexes of processes: how long threads wait for them and keep them, by the stack that locks.

Every pthread_mutex_lock(), trylock, timedlock and clocklock that succeeded: ``count``; ``contended`` are those that
found it taken. ``wait`` is the time until it was locked, ``hold`` until it was unlocked, without the time that its
owner waits for a condition. Probes stand in the C library that the process has mapped, or in the program itself
(``object``: another file), and cost some microseconds a call, which are in these times: give a pid, and only that
process meets them. C's and C++'s mutexes, and what is made of them. Linux 5.11.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bpfnb.kernel.binaries import Binary
from bpfnb.kernel.features import features
from bpfnb.kernel.system import meaning, readable
from bpfnb.tools.futex import addresses, averaged
from bpfnb.tools.probed import library, one_pid, without
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load, Option

_NOT_EVERYWHERE = ("pthread_mutex_clocklock", "pthread_cond_clockwait")


class Mutexes(Stacked):
    family = "locks"
    options = (
        Option(
            "object", str, "the file that has the functions (default: the C library)", "FILE", variable=False
        ),
    )
    stream = "counts"
    weight = "wait"
    columns = (
        *("comm", "pid", "mutex", "count", "contended", "wait", "avg_wait", "max_wait"),
        *("hold", "avg_hold", "max_hold", "user_stack"),
    )

    def __init__(self, *target: Any, **given: Any) -> None:
        super().__init__(*target, **given)
        self._attach_versions()

    def prepare(self) -> Load:
        load = super().prepare()
        pid = one_pid(self.filters)
        self._path: Path = library(self.given.get("object"), pid, "pthread_mutex_lock")
        self._where = {"binary": str(self._path)} | ({"pid": pid} if pid else {})
        load.defines = without(self._path, _NOT_EVERYWHERE)
        self._multi = features().attach["uprobe.multi"].ok is True
        if self._multi:
            load.defines += ("MULTI",)
        load.attach = dict(self._where)
        return load

    def _attach_versions(self) -> None:
        """glibc has pthread_cond_timedwait and others twice, for programs of different ages."""
        with meaning(self.system):
            binary = Binary(readable(self._path))
        for program in self.object.programs.values():
            symbol = program.section.rpartition(":")[2]
            first = binary.matching(symbol)[symbol] if self._multi else binary.offset(symbol) or 0
            places = {binary.file_offset(address) for name, address in binary.addresses() if name == symbol}
            for place in places - {first}:
                at = {"offsets": [place]} if self._multi else {"symbol": symbol, "offset": place - first}
                program.attach(**self._where, **at)

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = averaged(self.named(raw), "wait", "hold")
        return frame.assign(mutex=addresses(frame["mutex"]))[list(self.columns)]
