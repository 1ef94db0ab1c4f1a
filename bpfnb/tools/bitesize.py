"""How large requests to disks are, as a histogram for each command.

The frame has a row for each slot (``low`` to ``high``, bytes) with the number of requests and their bytes. ``by="pid"``
tells processes of one name apart, ``by="type"`` reads from writes. Flushes have no size and are not counted. Filters
are of who made the request. Linux 5.16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.tools.disks import DiskTool
from bpfnb.tools.distribution import Distribution, one_of
from bpfnb.tools.tool import Load, Option

if TYPE_CHECKING:
    from bpfnb.views import View

BYTES = {"unit": "bytes", "format": "bytes"}
GROUPS: dict[str, tuple[str, ...]] = {
    "comm": ("comm",),
    "pid": ("comm", "pid"),
    "type": ("comm", "type"),
    "together": (),
}


class BiteSize(DiskTool, Distribution):
    family = "disks"
    options = (
        Option("by", one_of(*GROUPS), f"a histogram for each {', '.join(GROUPS)}", "WHAT", variable=False),
        DiskTool.disk,
    )

    def prepare(self) -> Load:
        self.groups = [*GROUPS.values()][self.given.get("by", 0)]
        return super().prepare()

    def grouped(self, raw: pd.DataFrame) -> pd.DataFrame:
        return self.with_names(raw)

    def _noted(self, frame: pd.DataFrame, raw: pd.DataFrame) -> pd.DataFrame:
        frame = super()._noted(frame, raw)
        notes = frame.attrs["bpfnb_columns"]
        sizes = (name for name in ("low", "high", "total", "mean") if name in frame)
        frame.attrs["bpfnb_columns"] = {**notes, **dict.fromkeys(sizes, BYTES)}
        return frame

    def picture(self, data: Any, **options: Any) -> View:
        return super().picture(data, **{"unit": "bytes", **options})
