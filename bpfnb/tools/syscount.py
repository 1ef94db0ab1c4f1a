"""System calls: how many, how many failed, and how long they took; by call, by process, or by both.

A row for each call (``by="process"``: for each process; ``"both"``: for each call of each process) with ``count`` and
``errors``, how many of them failed; with ``latency`` also ``total`` and ``mean`` time, waiting included, of calls that
began since the tool did. Calls are counted when they return, which exit never does. Linux 5.11.
"""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.bpf import TOOLS
from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.completeness import ATTR
from bpfnb.frames.syscalls import syscall_names
from bpfnb.tools.distribution import NS, one_of
from bpfnb.tools.tool import Load, Option, Tool

GROUPINGS = {"syscall": ("syscall",), "process": ("comm", "pid"), "both": ("comm", "pid", "syscall")}


def _number(value: Any) -> int:
    """2 or ``ENOENT``."""
    text = str(value).upper()
    if text.isdigit() and int(text) in errno.errorcode:
        return int(text)
    numbers = {name: number for number, name in errno.errorcode.items()}
    if text not in numbers:
        raise UnknownName.among(numbers, text, f"there is no error '{value}'")
    return numbers[text]


class SysCount(Tool):
    family = "CPU"
    options = (
        Option("by", one_of(*GROUPINGS), "a row for each syscall (so by default), process, or both", "WHAT"),
        Option("latency", bool, "also how long they took", variable=False),
        Option("failed", bool, "only calls that failed"),
        Option("errno", _number, "only calls that failed with this error, by name or number", "ERROR"),
    )

    def prepare(self) -> Load:
        self.by, self.groups = list(GROUPINGS.items())[self.given.get("by", 0)]
        self.latency = self.given.get("latency", False)
        if self.add and "pid" not in self.groups:
            raise BadValue(
                "rows are not of processes, so add= has nothing to tell of", hints=['by="process"']
            )
        self.stream = "calls" if self.by == "syscall" else "callers"  # type: ignore[misc]
        return super().prepare()

    def text(self) -> str:
        """The program, which looks at the beginning of calls only where it must."""
        text: str = (TOOLS / "syscount.bpf.c").read_text()
        return f"#define LATENCY\n{text}" if self.latency else text

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        hit = raw[raw["count"] > 0]
        if self.by == "syscall":
            known = syscall_names()
            names = [known.get(number, str(number)) for number in hit.index]
            hit = hit.assign(syscall=pd.Categorical(names))
        weights = ["total", "count"] if self.latency else ["count"]
        frame = hit.sort_values(weights, ascending=False, kind="stable")[
            [*self.groups, "count", "errors", "total"]
        ]
        counts, totals = frame["count"].to_numpy(np.uint64), frame.pop("total").to_numpy(np.uint64)
        if self.latency:
            frame = frame.assign(total=totals, mean=totals // counts)
        if self.by == "syscall":  # of the array's places those that are in use
            frame.attrs[ATTR] = {**raw.attrs[ATTR], "entries": len(frame)}
        frame.attrs["bpfnb_columns"] = {**raw.attrs.get("bpfnb_columns", {}), "total": NS, "mean": NS}
        return frame
