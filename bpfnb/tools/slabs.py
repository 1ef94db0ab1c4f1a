"""What the kernel allocates and frees from its slab caches, in objects and bytes.

By cache; with ``by_site`` also by the kernel's function that asks, with ``by_process`` by process. ``net`` is what was
allocated less what was freed; a site frees what another one allocated. The filters choose the task that allocates or
frees: of what is freed later, by others or in interrupts, they see nothing. ``kmalloc`` is what comes from no cache,
because it is large, and before Linux 6.13 all of kmalloc; how many bytes are freed of it is not known. Linux 6.1.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bpfnb.tools.tool import Option, Tool


class Slabs(Tool):
    family = "memory"
    options = (
        Option("by_site", bool, "by the kernel's function that asks, too"),
        Option("by_process", bool, "by process, too"),
    )
    stream = "counts"

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        names = ["cache"]
        if self.given.get("by_site"):
            names.append("site")
            found = self.symbols.kernel.names(raw["site"].to_numpy(np.uint64))
            raw = raw.assign(site=pd.Categorical([name or "[unknown]" for name in found]))
        if self.given.get("by_process"):
            names += ["comm", "pid"]
        freed = raw["freed"].astype("Int64").mask(raw["cache"] == "kmalloc")
        frame = raw.assign(freed=freed, net=raw["bytes"].astype("Int64") - freed).sort_values(
            "bytes", ascending=False, kind="stable"
        )
        frame = frame[[*names, "allocs", "bytes", "frees", "freed", "net"]]
        notes = raw.attrs.get("bpfnb_columns", {})
        frame.attrs["bpfnb_columns"] = {**notes, "net": {"unit": "bytes", "format": "bytes"}}
        return frame
