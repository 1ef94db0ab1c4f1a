"""Requests to disks, one row each: who wanted it, what, how long it waited and how long the disk took.

``queue`` is the time from its making until the driver had it, ``lat`` from there until it was complete. ``pid`` and
``comm`` made it: for what is written back later that is a thread of the kernel. Filters are of the maker too.
``sector`` counts 512 bytes from the disk's beginning. Linux 5.16; the maker is exact from 6.5 on (block_io_start,
see ``used``), before that it is who put the request into its queue.
"""

from __future__ import annotations

import pandas as pd

from bpfnb.tools.disks import DiskTool


class BioSnoop(DiskTool):
    family = "disks"
    rowwise = True
    columns = ("time", "comm", "pid", "uid", "disk", "type", "sector", "bytes", "queue", "lat", "err")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        return self.with_names(raw)[list(self.columns)]
