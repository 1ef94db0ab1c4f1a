"""The page cache: pages of files that processes found there, and those that had to be brought in.

By process: ``hits`` and ``misses`` of reads and page faults, ``ratio`` the share of hits, ``written`` the pages that
write() added. Misses count what was read ahead, too. What was asked for is told by the tracepoints of Linux 6.15
(filemap:mm_filemap_get_pages, mm_filemap_fault), before that by folio_mark_accessed() where functions can be traced
(Linux 5.16); where neither is there, hits are missing values. ``t.used`` says which. Faults that are served together
with their neighbours are not told. Linux 6.1.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.kernel.features import features
from bpfnb.kernel.hooks import tracepoints
from bpfnb.tools.tool import Load, Tool

if TYPE_CHECKING:
    from bpfnb.views import View


class CacheStat(Tool):
    family = "memory"
    stream = "counts"
    columns = ("comm", "pid", "hits", "misses", "ratio", "written")

    def prepare(self) -> Load:
        load = super().prepare()
        load.globals["page_shift"] = os.sysconf("SC_PAGE_SIZE").bit_length() - 1
        told, traced = _offered()
        load.defines = () if told else ("BY_FUNCTION",) if traced else ("MISSES_ONLY",)
        self._counted = "MISSES_ONLY" not in load.defines
        return load

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        known = pd.Series(self._counted, index=raw.index)
        asked = raw["accesses"].astype("Int64").where(known)
        hits = (asked - raw["misses"].astype("int64")).clip(lower=0)
        ratio = (hits / asked.where(asked > 0)).astype("Float64")
        frame = raw.assign(hits=hits, ratio=ratio)
        frame = frame.sort_values("misses", ascending=False, kind="stable")[list(self.columns)]
        notes = raw.attrs.get("bpfnb_columns", {})
        frame.attrs["bpfnb_columns"] = {**notes, "hits": {"unit": "pages"}}
        return frame

    def beside(self) -> dict[str, pd.DataFrame]:
        return {**super().beside(), "totals": self.object.maps["totals"].df}

    def picture(self, data: Any, **options: Any) -> View:
        """Pages a second that all of them asked for, brought in and wrote."""
        from bpfnb.views import timeseries

        totals = self.recorded.get("totals") or (self.object.maps["totals"] if self.readable else None)
        if totals is None:
            return super().picture(data, **options)
        asked = ("accesses", "misses", "written")
        known = {"column": asked, "mode": "rate", "title": self.object.name}
        return timeseries(totals, **{**known, **options})


def _offered() -> tuple[bool, bool]:
    """Whether the kernel has the tracepoints that tell what was asked for, and whether functions can be traced."""
    tried = features().attach.get("fentry")
    return "filemap:mm_filemap_get_pages" in tracepoints(), tried is not None and bool(tried.ok)
