"""Where threads wait: time off CPU by stack and state, as a flame graph.

A row for each process, command, state and stack: ``blocked`` is the time that its threads were off CPU there, in
``count`` waits, the ``longest`` of them beside. ``state`` says why: ``interruptible`` (for what may never come: input,
a timer, a futex), ``uninterruptible`` (a device, a lock of the kernel), ``stopped``, ``idle`` (kernel threads), and,
where asked for, ``preempted`` (it could have gone on). A wait counts when it ends; with ``ongoing`` those that
still go on count with what they have lasted, if they began under the tool's eyes. A wait whose end the kernel's
tracepoint did not tell of is counted as ``missed`` in ``attrs``. Linux 5.11.
"""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from bpfnb.errors import UnknownName
from bpfnb.frames.columns import clock_offset
from bpfnb.frames.completeness import ATTR
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load, Option

STATES = ("preempted", "interruptible", "uninterruptible", "stopped", "idle")
"""As in bpfnb/blocked.h."""


def state(value: str) -> str:
    if value not in STATES:
        raise UnknownName.among(STATES, value, f"threads are not off CPU in a state '{value}'")
    return value


class OffCpuTime(Stacked):
    family = "CPU"
    options = (
        Option("state", state, f"only these: {', '.join(STATES)}", "STATE", variable=False, several=True),
        Option("min_block", int, "shorter waits are not counted, in microseconds (default: 1)", "US"),
        Option("max_block", int, "nor are longer ones", "US"),
        Option("user_threads", bool, "no kernel threads"),
        Option("kernel_threads", bool, "only kernel threads"),
        Option("ongoing", bool, "also waits that have not ended yet", variable=False),
    )
    stream = "waits"
    weight = "blocked"
    columns = ("comm", "pid", "state", "blocked", "count", "longest", "user_stack", "kernel_stack")

    def prepare(self) -> Load:
        load = super().prepare()
        if "state" in self.given:
            load.globals["states"] = sum({1 << STATES.index(name) for name in self.given["state"]})
        return load

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        missed: Any = self.object.vars.missed if self.object.state != "closed" else 0
        if missed:
            told = raw.attrs[ATTR]
            lost = {"lost": told["lost"] + missed, "lost_by": {**told["lost_by"], "missed": missed}}
            raw.attrs = {**raw.attrs, ATTR: {**told, **lost, "complete": False}}
        if self.given.get("ongoing") and self.object.state != "closed":
            both = pd.concat([raw, self._ongoing()], ignore_index=True)
            both.attrs = raw.attrs
            raw = both
        return super().frame(raw)

    def _ongoing(self) -> pd.DataFrame:
        """Waits that go on, or did so when the tool stopped, as rows of their own."""
        away = self.object.maps["away"].df
        away.columns = away.columns.str.removeprefix("waiting.")
        now = (self.stopped or time.monotonic_ns()) + clock_offset()
        lasted = (now - away["since"].astype("int64")).clip(lower=0).astype("uint64")
        least, most = self.given.get("min_block", 1) * 1000, self.given.get("max_block", 0) * 1000
        away = away.assign(blocked=lasted, count=1, longest=lasted).astype({"count": "uint64"})
        chosen = away["blocked"].ge(least) & (away["blocked"].le(most) | (most == 0))
        rows: pd.DataFrame = away.loc[chosen].drop(columns=["key", "since"])
        return rows
