"""System call latency: a histogram of each call's times, from its beginning to its return, waiting included.

The frame has a row for each slot of a call's histogram (``low`` to ``high``, ns) with the number of calls and their
sum; ``totals`` a row for each call. ``heatmap()`` shows them over time. Calls that began before the tool did are left
out, and those that never return, like exit. Linux 5.11.
"""

from __future__ import annotations

from typing import Any

from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.syscalls import syscall_names
from bpfnb.tools.distribution import Distribution
from bpfnb.tools.tool import Load, Option

MOST = 16  # as in syslat.bpf.c


def _number(value: Any) -> int:
    """A system call's number, or its name."""
    numbers = {name: number for number, name in syscall_names().items()}
    text = str(value)
    if text.isdigit():
        return int(text)
    if text not in numbers:
        raise UnknownName.among(numbers, text, f"there is no system call '{text}'")
    return numbers[text]


class SysLat(Distribution):
    family = "CPU"
    options = (
        Option("syscall", _number, f"only this call, by name or number; up to {MOST}", "NAME", several=True),
    )
    groups = ("syscall",)

    def prepare(self) -> Load:
        load = super().prepare()
        wanted = load.globals.get("syscall", [])
        if len(wanted) > MOST:
            raise BadValue(f"at most {MOST} calls, not {len(wanted)}")
        load.globals["syscall"] = [*wanted, *[-1] * (MOST - len(wanted))]
        return load
