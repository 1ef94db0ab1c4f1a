"""What the kernel writes back from the page cache: for which device, why, how much, and how long it took.

A row for each round of a writeback thread: ``reason`` is who asked for it (``sync``: a process, ``periodic``: data grew
old, ``background``: there was too much of it, ``vmscan``: memory is short ...), ``sync`` whether somebody waits for it.
What fsync writes, the process writes itself: see fileslower. Linux 5.11.
"""

from __future__ import annotations

import pandas as pd

from bpfnb.tools.disks import disks
from bpfnb.tools.tool import Option, Tool


class Writeback(Tool):
    family = "disks"
    rowwise = True
    options = (Option("empty", bool, "also rounds that wrote nothing"),)
    columns = ("time", "comm", "pid", "device", "reason", "sync", "pages", "lat")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        names = {f"{dev >> 20}:{dev & 0xFFFFF}": name for dev, name in disks().items()}
        device = (
            raw["device"].astype("category").cat.rename_categories(lambda number: names.get(number, number))
        )
        reason = raw["reason"].cat.rename_categories(_reason)
        return raw.assign(device=device, reason=reason)[list(self.columns)]


def _reason(enumerator: str) -> str:
    return str(enumerator).removeprefix("WB_REASON_").lower()
