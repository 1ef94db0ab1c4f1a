"""Page faults by the user stack that touched the page: what makes memory real, or reads it from a disk.

``count`` are all, ``major`` those for which a page was read, ``writes`` and ``fetches`` those by writing and by
executing, ``kernel`` those that the kernel took for the process, such as read() into fresh memory. Linux 5.11 on x86
and RISC-V, whose exceptions have tracepoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load

if TYPE_CHECKING:
    from bpfnb.views import FlameGraph


class Faults(Stacked):
    family = "memory"
    stream = "counts"
    weight = "count"
    columns = ("comm", "pid", "count", "major", "writes", "fetches", "kernel", "user_stack")

    def prepare(self) -> Load:
        load = super().prepare()
        load.attach["options"] = {"major": {"event": "major-faults", "period": 1}}
        return load

    def picture(self, data: Any, **options: Any) -> FlameGraph:
        return super().picture(data, **{"unit": "faults", **options})
