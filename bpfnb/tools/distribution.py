"""What tools have in common that count times in the kernel: by slot, or as number and sum.

Their map has the columns of its key, among them ``slot`` (a power of two of nanoseconds), and those of
``struct bpfnb_sum`` (bpf/include/bpfnb/distribution.h).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.completeness import ATTR
from bpfnb.recording.looks import Looks
from bpfnb.tools.tool import Load, Option, Tool

if TYPE_CHECKING:
    from bpfnb.views import HeatmapView, View

__all__ = ["NS", "Distribution", "Slots", "TaskTimes", "one_of"]

NS = {"unit": "ns", "format": "duration"}


class Distribution(Tool):
    """A tool whose program counts times.

    Where it is a distribution (``spread``) the frame has a row for each slot that was hit: the columns of the groups,
    ``low`` and ``high`` (ns, exclusive), ``count`` and ``total`` (ns); the picture is a histogram. Otherwise it has a
    row for each group with ``count``, ``total`` and ``mean``, what took longest first; the picture is a table.
    """

    stream = "slots"
    groups: tuple[str, ...] = ()
    """The columns that tell histograms, or rows, apart."""
    spread = True
    _sums = pd.DataFrame()

    def prepare(self) -> Load:
        if self.add and self.pid not in self.groups:
            raise BadValue(f"rows of {self.name} are not of processes here, so add= has nothing to tell of")
        return super().prepare()

    def grouped(self, raw: pd.DataFrame) -> pd.DataFrame:
        """*raw* with the columns of :attr:`groups`."""
        return raw

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        self._sums = self._summed_up(raw)
        return self._by_slot(raw) if self.spread else self._sums

    @property
    def totals(self) -> pd.DataFrame:
        """One row a group, what took longest first: its columns, ``count``, ``total`` and ``mean`` (ns)."""
        if "totals" in self.recorded:
            return self.recorded["totals"].df
        self.df  # noqa: B018  which leaves the sums of the same moment
        return self._sums

    def state(self) -> dict[str, Any]:
        return {**super().state(), "groups": [*self.groups], "spread": bool(self.spread)}

    def beside(self) -> dict[str, pd.DataFrame]:
        return {
            **super().beside(),
            "totals": self._sums,
        }  # of the same moment as the frame that was just taken

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.groups = tuple(map(str, state["groups"]))
        self.spread = bool(state["spread"])
        needed = {*self.groups, "count", "total", *(("low", "high") if self.spread else ())}
        if absent := needed - {str(name) for name in self.df.columns}:
            raise ValueError(f"its frame has no {', '.join(sorted(absent))}")

    def _counted(self, raw: pd.DataFrame, *slot: str) -> pd.DataFrame:
        keys = [*self.groups, *slot]
        hit = self.grouped(raw[raw["count"] > 0])
        if not keys:
            return hit[["count", "total"]].sum().to_frame().T
        return hit.groupby(keys, observed=True, dropna=False)[["count", "total"]].sum().reset_index()

    def _by_slot(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = self._counted(raw, "slot")
        slot = frame.pop("slot").to_numpy(np.uint64)
        low = np.where(slot > 0, np.left_shift(np.uint64(1), slot), np.uint64(0))
        high = np.left_shift(np.uint64(2), np.minimum(slot, np.uint64(62)))
        frame.insert(len(self.groups), "low", low)
        frame.insert(len(self.groups) + 1, "high", high)
        return self._noted(frame, raw)

    def _summed_up(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = self._counted(raw).sort_values("total", ascending=False, kind="stable", ignore_index=True)
        counts, totals = frame["count"].to_numpy(np.uint64), frame["total"].to_numpy(np.uint64)
        return self._noted(frame.assign(mean=totals // np.maximum(counts, np.uint64(1))), raw)

    def _noted(self, frame: pd.DataFrame, raw: pd.DataFrame) -> pd.DataFrame:
        times = (name for name in ("low", "high", "total", "mean") if name in frame)
        frame.attrs["bpfnb_columns"] = {**raw.attrs.get("bpfnb_columns", {}), **dict.fromkeys(times, NS)}
        frame.attrs[ATTR] = self._complete(raw.attrs[ATTR])
        return frame

    def _complete(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """What is known of the map, and what was lost where the others, which hold beginnings, were full."""
        others = {name: found.lost for name, found in self.object.maps.items() if name != self.stream}
        lost_by = {**attrs["lost_by"], **{f"{name} full": lost for name, lost in others.items() if lost}}
        lost = sum(lost_by.values())
        return {**attrs, "lost": lost, "lost_by": lost_by, "complete": attrs["complete"] and not lost}

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import hist, table

        if not self.spread:
            return table(data, **{"title": self.object.name, **options})
        slots = Slots(self, self.groups, _exponents)
        return hist(slots, **{"by": slots.by, "unit": "ns", "title": self.object.name, **options})

    def report(self) -> str | None:
        """The histogram in characters."""
        return str(self.view().histogram) if self.spread else None

    def heatmap(self, **options: Any) -> HeatmapView:
        """The distribution over time, all groups together, from now on; of a recorded one as far as it has come.

        *options* as of :func:`bpfnb.views.heatmap`.
        """
        from bpfnb.views import heatmap

        if not self.spread:
            raise BadValue("without a distribution there is no heatmap", hints=["start it with dist=True"])
        looks = self.past().times
        every = max(0.5, float(np.median(np.diff(looks))) / 1e9) if len(looks) > 1 else 0.5
        known = {"unit": "ns", "every": every, "title": self.object.name}
        return heatmap(Slots(self, (), _exponents), **{**known, **options})


def _exponents(frame: pd.DataFrame) -> Any:
    return np.log2(frame["low"].clip(lower=1)).astype(np.int64)


def _label(column: pd.Series[Any]) -> pd.Series[str]:
    """A CPU's number alone says little on a picture."""
    return ("cpu " if column.name == "cpu" else "") + column.astype(str)


class Slots:
    """A tool's frame as histograms take it: ``slot``, ``value``, and one column :attr:`by` for all of its groups."""

    def __init__(self, tool: Tool, groups: Sequence[str], number: Callable[[pd.DataFrame], Any]) -> None:
        self.tool = tool
        self.name = tool.object.name
        self.groups = groups
        self.number = number
        self.by = None if not groups else groups[0] if len(groups) == 1 else " ".join(groups)

    @property
    def df(self) -> pd.DataFrame:
        return self._of(self.tool.df)

    def _of(self, frame: pd.DataFrame) -> pd.DataFrame:
        found = pd.DataFrame({"slot": self.number(frame), "value": frame["count"]})
        if self.by is not None:
            texts = [_label(frame[name]) for name in self.groups]
            found[self.by] = (
                texts[0].str.cat(pd.concat(texts[1:], axis=1), sep=" ") if texts[1:] else texts[0]
            )
        found.attrs = frame.attrs
        return found

    def past(self) -> Looks:
        """As :meth:`bpfnb.recording.tool_past.Past.past`."""
        return self.tool.past().each(self._of)

    @property
    def origin(self) -> str:
        return self.tool.origin

    @property
    def settled(self) -> bool:
        return self.tool.settled

    @property
    def closed(self) -> bool:
        return self.tool.closed

    def when_ended(self, callback: Callable[[], object]) -> None:
        self.tool.when_ended(callback)


def one_of(*names: str) -> Callable[[Any], int]:
    """What reads one of these names: its number, that of the program's enumerator. A number is read already."""

    def name(value: Any) -> int:
        if value in range(len(names)):
            return int(value)
        if value not in names:
            raise UnknownName.among(names, str(value), f"'{value}' is none of {', '.join(names)}")
        return names.index(value)

    return name


GROUPINGS: dict[str, tuple[str, ...]] = {
    "together": (),
    "comm": ("comm",),
    "pid": ("comm", "pid"),
    "tid": ("comm", "pid", "tid"),
    "cpu": ("cpu",),
}


class TaskTimes(Distribution):
    """A tool that counts times of tasks with ``bpfnb/tasktimes.h``."""

    by: ClassVar[Option] = Option(
        "by", one_of(*GROUPINGS), f"a histogram for each {', '.join([*GROUPINGS][1:])}", "WHAT"
    )
    options: ClassVar[tuple[Option, ...]] = (by,)

    def prepare(self) -> Load:
        self.groups = [*GROUPINGS.values()][self.given.get("by", 0)]
        return super().prepare()
