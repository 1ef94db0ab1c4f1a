"""Sizes of memory that programs ask the C library for: a histogram for each process.

malloc, calloc, realloc (its new size), posix_memalign, aligned_alloc and memalign. The frame has a row for each slot
(``low`` to ``high``, bytes) of each process with the number of calls and their ``total`` bytes; ``totals`` a row for
each process. Another allocator is named by ``object``: the library or program that has its malloc. memleak tells who
does not give it back. Every call costs about a microsecond: give a pid. Linux 5.11.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bpfnb.kernel.binaries import Binary
from bpfnb.kernel.system import readable
from bpfnb.tools.distribution import Distribution
from bpfnb.tools.probed import library, one_pid, without
from bpfnb.tools.tool import Load, Option

_OTHERS = ("calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign")
_BYTES = {"unit": "bytes", "format": "bytes"}


class Mallocs(Distribution):
    family = "user space"
    options = (
        Option("object", str, "the file that has malloc (default: the C library)", "FILE", variable=False),
    )
    groups = ("comm", "pid")

    def prepare(self) -> Load:
        load = super().prepare()
        pid = one_pid(self.filters)
        path = library(self.given.get("object"), pid, "malloc")
        load.defines = (*without(path, _OTHERS), *_twice(path))
        load.attach = {"binary": str(path)} | ({"pid": pid} if pid else {})
        return load

    def _noted(self, frame: pd.DataFrame, raw: pd.DataFrame) -> pd.DataFrame:
        frame = super()._noted(frame, raw)
        sizes = (name for name in ("low", "high", "total", "mean") if name in frame)
        frame.attrs["bpfnb_columns"] |= dict.fromkeys(sizes, _BYTES)
        return frame

    def picture(self, data: Any, **options: Any) -> Any:
        return super().picture(data, **{"unit": "bytes", **options})


def _twice(path: Path) -> list[str]:
    """Macros for functions that are another one by a second name, and would count twice: glibc's before 2.38."""
    binary = Binary(readable(path))
    places = [binary.offset(name) for name in _OTHERS]
    found = [name for at, name in enumerate(_OTHERS) if places[at] is not None and places[at] in places[:at]]
    return [f"WITHOUT_{name}" for name in found]
