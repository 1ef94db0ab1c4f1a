"""Who wakes others: the time that threads waited, by the stack of the thread that woke them.

A row for each waker, its stack and the command ``target`` that it woke: ``blocked`` is how long those had been off CPU
until then, in ``count`` waits, the ``longest`` of them beside. What an interrupt wakes (a timer, a device) has
``[interrupt]`` for a waker. Filters are of the thread that waits. Linux 5.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Option
from bpfnb.tools.wakers import by_interrupts

if TYPE_CHECKING:
    from bpfnb.views import FlameGraph


class WakeupTime(Stacked):
    family = "CPU"
    options = (
        Option("min_block", int, "shorter waits are not counted, in microseconds (default: 1)", "US"),
        Option("max_block", int, "nor are longer ones", "US"),
    )
    stream = "wakeups"
    weight = "blocked"
    columns = ("comm", "pid", "target", "blocked", "count", "longest", "user_stack", "kernel_stack")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        return by_interrupts(super().frame(raw), "kernel_stack", "user_stack", "comm", "pid")

    def picture(self, data: Any, **options: Any) -> FlameGraph:
        return super().picture(data, **{"by": ["target", "comm"], **options})
