"""What processes wait for when memory is short: reclaim of pages, and compaction.

A row for each time that a process had to free pages itself before it got one (``kind`` direct: the machine's memory
is short; memcg: that of its cgroup; node: of a NUMA node), and for each run of compaction, which moves pages together.
``reclaimed`` are pages, ``result`` is what became of a compaction. The kernel's own threads, kswapd and kcompactd,
work in the background: kcompactd's runs are seen, kswapd's reclaim is not direct. Linux 5.11.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bpfnb.tools.tool import Option, Tool

_RESULTS = (
    *("not_suitable_zone", "skipped", "deferred", "no_suitable_page", "continue"),
    *("complete", "partial_skipped", "contended", "success"),
)  # enum compact_result, include/linux/compaction.h


class Reclaim(Tool):
    family = "memory"
    rowwise = True
    options = (Option("min_latency", int, "only what took longer", "NS"),)
    columns = ("time", "comm", "pid", "tid", "kind", "latency", "order", "reclaimed", "result")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        numbers = raw["result"].where(raw["result"].between(0, len(_RESULTS) - 1), -1)
        result = pd.Categorical.from_codes(numbers.to_numpy(np.int64), categories=pd.Index(_RESULTS))
        return raw.assign(result=result)[list(self.columns)]
