"""Columns of the processes that a tool's rows are of: parent, cmdline, user, cgroup, unit, container."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

import pandas as pd

from bpfnb.frames import MapFrame, Stream
from bpfnb.processes import Processes
from bpfnb.tools.traced import Traced

__all__ = ["Enriched"]


class Enriched(Traced):
    """A tool whose rows can be told of whom they are (``add=``)."""

    pid: ClassVar[str] = "pid"
    """The column whose processes ``add`` tells of."""
    processes: Processes
    """Those that were seen, as they were then."""

    @property
    def frames(self) -> Stream | MapFrame:
        """The stream or map that the tool's frame is made of."""
        raise NotImplementedError

    def _seen(self, rows: pd.DataFrame) -> None:
        self.processes.look(rows[self.pid].unique().tolist())
        if self._own("ppid", rows):
            self.processes.look(rows["ppid"].unique().tolist())

    def _own(self, name: str, frame: pd.DataFrame) -> bool:
        """Whether a column of the frame speaks of the process that ``add`` tells of."""
        return self.pid == "pid" and name in frame

    def _added(self, frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        """*frame*, whose index are the stream's numbers of its rows, with columns of processes."""
        self._seen(frame)
        frames = self.frames
        cgroups = None
        if isinstance(frames, Stream) and len(frame):
            hidden = frames.slice(frame.index[0], frame.index[-1] + 1, raw=True)
            if "cgroup_id" in hidden:
                cgroups = hidden["cgroup_id"].reindex(
                    frame.index, fill_value=0
                )  # its row may just have been evicted
        times = None
        if "time" in frame:
            since_1970 = self.clock_offset  # of the rows' times, also where the clock was set since
            if self.system is None:
                since_1970 += time.monotonic_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            times = (frame["time"].astype("int64") - since_1970) / 1e9
        columns = self.processes.columns(
            frame[self.pid],
            names,
            uids=frame["uid"] if self._own("uid", frame) else None,
            ppids=frame["ppid"] if self._own("ppid", frame) else None,
            cgroup_ids=cgroups,
            times=times,
        )
        return frame.assign(**columns)
