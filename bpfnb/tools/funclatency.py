"""How long functions of a program or library take: a histogram for each.

``FUNCTION`` is ``BINARY:PATTERN``, or with ``pid`` a pattern over that process's program; several by commas. The frame
has a row for each slot (``low`` to ``high``, ns) of each function, with the number of calls and their sum; ``totals`` a
row for each function. The time is from call to return, waiting and the probes of what it calls included (a probe costs
about a microsecond). Go's functions cannot be probed where they return. Linux 5.15.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.tools.distribution import Distribution
from bpfnb.tools.places import OPTIONS, Places
from bpfnb.tools.probed import LeavesOut
from bpfnb.tools.tool import Load


class FuncLatency(LeavesOut, Distribution):
    family = "user space"
    options = OPTIONS
    groups = ("function",)

    def __init__(self, *target: Any, **given: Any) -> None:
        super().__init__(*target, **given)
        self.places.attach(self.object, "returned", "called")

    def prepare(self) -> Load:
        super().prepare()
        self.places = Places(self.given, self.filters)
        self.left_out = self.places.left_out
        if self.places.target.go:
            raise BadValue(
                "Go moves its stacks, so a probe where its functions return would crash the program"
            )
        return self.places.load()

    def grouped(self, raw: pd.DataFrame) -> pd.DataFrame:
        return self.places.named(raw)

    def in_cell(self, text: str) -> str:
        return self.places.in_cell(text)

    @property
    def used(self) -> tuple[str, ...]:
        return self.places.used
