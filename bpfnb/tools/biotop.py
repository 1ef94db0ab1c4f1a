"""Processes by what they make disks do: requests, bytes and time.

A row for each process, disk and kind of request, what moved most first. ``avg_ms`` is how long the disk took for one.
What is written back later is of a thread of the kernel. Linux 5.16.
"""

from __future__ import annotations

import pandas as pd

from bpfnb.tools.disks import DiskTool


class BioTop(DiskTool):
    family = "disks"
    stream = "counts"
    columns = ("comm", "pid", "uid", "disk", "type", "io", "kbytes", "avg_ms")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = self.with_names(raw).sort_values(["bytes", "io"], ascending=False, kind="stable")
        frame = frame[frame["io"] > 0]
        frame = frame.assign(kbytes=frame["bytes"] / 1024, avg_ms=frame["time"] / frame["io"] / 1e6)
        return frame[list(self.columns)]
