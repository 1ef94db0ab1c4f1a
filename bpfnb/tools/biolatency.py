"""How long disks take for requests, as a histogram; one for each disk, kind or set of flags.

From the moment that the driver has a request until it is complete, with ``queued`` from its making. The frame has a row
for each slot (``low`` to ``high``, ns) with the number of requests and their sum; ``totals`` a row for each group.
``heatmap()`` shows them over time. Filters are of who made the request. Linux 5.16.
"""

from __future__ import annotations

import pandas as pd

from bpfnb.tools.disks import DiskTool
from bpfnb.tools.distribution import Distribution
from bpfnb.tools.flagnames import named, of_bits
from bpfnb.tools.tool import Load, Option

FLAGS = {
    name: 1 << bit
    for bit, name in enumerate(
        ("sync", "meta", "prio", "fua", "preflush", "readahead", "background", "nowait")
    )
}
"""As flags_of() in the program numbers them."""


class BioLatency(DiskTool, Distribution):
    family = "disks"
    options = (
        Option("queued", bool, "with the time that requests waited before the disk had them"),
        Option("disks", bool, "a histogram for each disk", variable=False),
        Option("types", bool, "a histogram for reads, writes, ...", variable=False),
        Option("flags", bool, "a histogram for each set of flags", variable=False),
        DiskTool.disk,
    )

    def prepare(self) -> Load:
        columns = {"disks": "disk", "types": "type", "flags": "flags"}
        self.groups = tuple(column for option, column in columns.items() if self.given.get(option))
        return super().prepare()

    def grouped(self, raw: pd.DataFrame) -> pd.DataFrame:
        return self.with_names(raw).assign(
            flags=named(raw["flags"], lambda flags: of_bits(flags, FLAGS, "none"))
        )
