"""Where threads wait and who ends it: time off CPU by the stack of the thread and that of its waker.

A row for each pair of stacks: ``blocked`` is the time from leaving the CPU to being woken, in ``count`` waits, the
``longest`` of them beside. In the flame graph the waker stands on the thread that it woke, the wrong way round: where
the two stacks meet (``--``) is the wakeup, above it who called that, up to the waker's name. What an interrupt wakes
(a timer, a device) has ``[interrupt]`` for a waker. Filters are of the thread that waits. Linux 5.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Option
from bpfnb.tools.wakers import by_interrupts

if TYPE_CHECKING:
    from bpfnb.views import FlameGraph

MEET = "--"


class OffWakeTime(Stacked):
    family = "CPU"
    options = (
        Option("min_block", int, "shorter waits are not counted, in microseconds (default: 1)", "US"),
        Option("max_block", int, "nor are longer ones", "US"),
    )
    stream = "waits"
    weight = "blocked"
    stacks: ClassVar = {
        "user_stack": "pid",
        "kernel_stack": None,
        "waker_user_stack": "waker_pid",
        "waker_kernel_stack": None,
    }
    columns = (
        *("comm", "pid", "blocked", "count", "longest", "waker_comm", "waker_pid"),
        *("user_stack", "kernel_stack", "waker_kernel_stack", "waker_user_stack"),
    )

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        waker = "waker_kernel_stack", "waker_user_stack", "waker_comm", "waker_pid"
        return by_interrupts(super().frame(raw), *waker)

    def picture(self, data: Any, **options: Any) -> FlameGraph:  # noqa: ARG002  always of the frame
        return super().picture(Meeting(self), **{"stack": "stack", **options})


class Meeting:
    """The tool's rows with both stacks as one text, for the flame graph."""

    def __init__(self, tool: OffWakeTime) -> None:
        self.tool = tool
        self.name = tool.object.name

    @property
    def df(self) -> pd.DataFrame:
        frame = self.tool.df
        texts = {c: frame[c].astype(object).fillna("") for c in self.tool.stacks}
        pieces = zip(
            *(texts[column].tolist() for column in self.tool.stacks), frame["waker_comm"], strict=True
        )
        stacks = [
            ";".join(
                [*filter(None, (user, kernel)), MEET, *_reversed(above_kernel), *_reversed(above_user), waker]
            )
            for user, kernel, above_user, above_kernel, waker in pieces
        ]
        return frame.assign(stack=pd.Series(stacks, frame.index, dtype=object))

    @property
    def closed(self) -> bool:
        return self.tool.closed

    def when_ended(self, callback: Any) -> None:
        self.tool.when_ended(callback)


def _reversed(stack: str) -> list[str]:
    return [name for name in stack.split(";") if name][::-1]
