"""Idle states: how often each CPU went into which, and how long it stayed.

A row for each CPU and ``state``, named as in /sys/devices/system/cpu/cpu0/cpuidle: ``count``, and ``total`` and
``mean`` time. With ``dist`` a histogram of the times in each state. What lasts is counted when it ends. An idle CPU
runs no process, so there is nothing to filter by. Linux 5.11.
"""

from __future__ import annotations

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.kernel.system import path
from bpfnb.tools.distribution import Distribution
from bpfnb.tools.tool import Load, Option

STATES = "/sys/devices/system/cpu/cpu0/cpuidle"


class CpuIdle(Distribution):
    family = "CPU"
    options = (Option("dist", bool, "a histogram of the times in each state"),)

    def prepare(self) -> Load:
        if self.filters:
            raise BadValue(f"an idle CPU runs no process: {self.name} has nothing to filter by")
        self.spread = self.given.get("dist", False)
        self.groups = ("state",) if self.spread else ("cpu", "state")
        return super().prepare()

    def grouped(self, raw: pd.DataFrame) -> pd.DataFrame:
        names = {
            int(one.parent.name.removeprefix("state")): one.read_text().strip()
            for one in path(STATES).glob("state*/name")
        }
        return raw.assign(state=pd.Categorical([names.get(state, f"state{state}") for state in raw["state"]]))
