"""Calls of functions of a program or library, counted by function and process: libc.so.6:str*.

A row for each function and process that called it, what was called most first. ``FUNCTION`` is ``BINARY:PATTERN``, or
with ``pid`` a pattern over that process's program; several by commas. C++ and Rust names are demangled; a call that the
compiler inlined is none. One link serves all functions (Linux 6.6), elsewhere one each, up to 1,000. Linux 5.15.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bpfnb.tools.places import OPTIONS, Places
from bpfnb.tools.probed import LeavesOut
from bpfnb.tools.tool import Load


class FuncCount(LeavesOut):
    family = "user space"
    options = OPTIONS
    stream = "counts"
    columns = ("comm", "pid", "function", "count")

    def __init__(self, *target: Any, **given: Any) -> None:
        super().__init__(*target, **given)
        self.places.attach(self.object, "called")

    def prepare(self) -> Load:
        self.places = Places(self.given, self.filters)
        self.left_out = self.places.left_out
        return self.places.load()

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        found = self.places.named(raw.rename(columns={"value": "count"}))
        return found.sort_values(["count", "pid"], ascending=[False, True], kind="stable")[list(self.columns)]

    def in_cell(self, text: str) -> str:
        return self.places.in_cell(text)

    @property
    def used(self) -> tuple[str, ...]:
        return self.places.used
