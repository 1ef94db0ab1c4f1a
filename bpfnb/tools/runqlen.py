"""Run queue length: how many tasks wait for each CPU, beside the one that runs there.

Looked at ``frequency`` times a second on every CPU that is at work; a row for each CPU and length that was seen.
``occupancy`` is the share of looks that found somebody waiting. Filters are of the task that runs at that moment,
behind which the others wait. Linux 5.11, with CONFIG_FAIR_GROUP_SCHED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.tools.distribution import Slots
from bpfnb.tools.tool import Load, Option, Tool

if TYPE_CHECKING:
    from bpfnb.views import HeatmapView, View


class RunqLen(Tool):
    family = "CPU"
    options = (Option("frequency", int, "looks a second at each CPU (99)", "HZ", variable=False),)
    stream = "lengths"
    columns = ("cpu", "length", "count")

    def prepare(self) -> Load:
        if self.add:
            raise BadValue("rows of runqlen are not of processes, so add= has nothing to tell of")
        return Load(attach={"frequency": self.given.get("frequency", 99)})

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        return raw.rename(columns={"value": "count"}).sort_values(["cpu", "length"])

    @property
    def occupancy(self) -> pd.Series[float]:
        """By CPU, the share of looks (at it being at work) that found a task waiting, 0 to 1."""
        frame = self.df
        waiting = frame["count"].where(frame["length"] > 0, 0)
        return (waiting.groupby(frame["cpu"]).sum() / frame.groupby("cpu")["count"].sum()).rename("occupancy")

    def picture(self, data: Any, **options: Any) -> View:  # noqa: ARG002
        from bpfnb.views import hist

        return hist(
            Slots(self, ("cpu",), _length),
            **{"buckets": 1, "by": "cpu", "title": self.object.name, **options},
        )

    def report(self) -> str:
        """The histogram in characters."""
        return str(self.view().histogram)

    def heatmap(self, **options: Any) -> HeatmapView:
        """The lengths over time, all CPUs together, from now on. *options* as of :func:`bpfnb.views.heatmap`."""
        from bpfnb.views import heatmap

        return heatmap(
            Slots(self, (), _length), **{"buckets": 1, "every": 0.5, "title": self.object.name, **options}
        )


def _length(frame: pd.DataFrame) -> pd.Series[int]:
    return frame["length"]
