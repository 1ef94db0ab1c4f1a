"""Processes from their fork to their end, as a tree: who started whom, and what lived how long.

A row for each process that was forked since the tool began. The filters choose whose children are seen; all that
descends from those is seen too. ``duration`` is its lifetime, of one that ``lives`` so far. The picture is a waterfall:
a bar from fork to end, below the process that forked it. Linux 5.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.frames.completeness import ATTR
from bpfnb.tools.tool import Tool

if TYPE_CHECKING:
    from bpfnb.views import View


class Forks(Tool):
    family = "processes"
    stream = "lives"
    columns = ("time", "comm", "pid", "ppid", "parent", "uid", "duration", "lives", "exit_code", "signal")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = raw.sort_values(["time", "pid"])
        lives = frame["end"].isna()
        until = frame["end"].fillna(pd.Timestamp(raw.attrs[ATTR]["window"][1]))
        frame = frame.assign(lives=lives, duration=(until - frame["time"]).astype("int64").clip(lower=0))
        frame = frame[list(self.columns)]
        notes = raw.attrs.get("bpfnb_columns", {})
        frame.attrs["bpfnb_columns"] = {**notes, "duration": {"unit": "ns", "format": "duration"}}
        return frame

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import waterfall

        roles = {"start": "time", "duration": "duration", "id": "pid", "parent": "ppid", "name": "comm"}
        return waterfall(data, **{**roles, "title": self.object.name, **options})
