"""A histogram as a value: exact counts in log2, linear or given buckets, and its drawings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import UnknownName
from bpfnb.views import _buckets
from bpfnb.views._buckets import Edges, Number

__all__ = ["PERCENTILES", "Histogram"]

PERCENTILES = (50, 90, 99)
MAX_SLOTS, MAX_LOG2_SLOTS = 1 << 16, 128  # keys beyond these are process ids or addresses, not slots

Mask = npt.NDArray[np.bool_]


class Histogram:
    """Counts of values in buckets, for one or several groups.

    - ``edges``: bucket i covers ``edges[i] <= value < edges[i + 1]``;
    - ``groups``: labels, the one with most values first; ``("",)`` where there are none;
    - ``keys``: what those groups hold in the column they were made by, e.g. numbers where the labels are text;
    - ``table``: int64 (groups, buckets); with ``missing`` (NaN) it adds up to the number of values;
    - ``behind``: the same before a filter left values out, or None where there is no filter;
    - ``percentiles``: by group, ``{50: ..., 90: ..., 99: ...}``; ``overall``: those of all groups together;
    - ``exact``: whether the percentiles are values that occurred (nearest rank), or were interpolated within
      buckets because only counts were known;
    - ``low``: the number of the slot that the first bucket is, where counts by slot were given;
    - ``unit``: ``ns``, ``us``, ``ms``, ``s``, ``bytes`` or any other word, for labels.
    """

    def __init__(
        self,
        edges: Edges,
        table: npt.NDArray[np.int64],
        *,
        behind: npt.NDArray[np.int64] | None = None,
        keys: Sequence[Any] = ("",),
        percentiles: Sequence[Mapping[Number, Number]] | None = None,
        overall: Mapping[Number, Number] | None = None,
        low: int = 0,
        unit: str | None = None,
        name: str = "",
        missing: int = 0,
    ) -> None:
        groups = [str(key) for key in keys]
        order = np.argsort(-table.sum(axis=1), kind="stable")
        self.edges = edges
        self.table = table[order]
        self.behind = None if behind is None else behind[order]
        self.keys = tuple(keys[i] for i in order)
        self.groups = tuple(groups[i] for i in order)
        self.unit = unit
        self.name = name
        self.missing = missing
        self.low = low
        self.exact = percentiles is not None
        if percentiles is None:
            percentiles = [interpolated(edges, row) for row in table]
        self.percentiles = {groups[i]: dict(percentiles[i]) for i in order}
        self.overall = interpolated(edges, table.sum(axis=0)) if overall is None else dict(overall)

    @classmethod
    def of(
        cls,
        values: object,
        buckets: str | int | Sequence[Number] = "log2",
        *,
        by: object = None,
        keep: Mask | None = None,
        unit: str | None = None,
        name: str = "",
    ) -> Histogram:
        """From raw values: numbers of any integer or float type, timedeltas (as ns), or booleans.

        *by* has one label for each value, *keep* says of each whether a filter lets it through. NaN and NA count as
        ``missing``.

        :raises TypeError: the values are no numbers.
        """
        numbers, present = numbers_of(values, name)
        if unit is None and getattr(getattr(values, "dtype", None), "kind", "") == "m":
            unit = "ns"
        edges = edges_of(numbers, buckets)
        codes, keys = labels_of(by, present)
        cells = codes * (len(edges) - 1) + _buckets.bucket_of(numbers, edges)
        shape = (len(keys), len(edges) - 1)
        kept = slice(None) if keep is None else keep[present]
        return cls(
            edges,
            _table(cells[kept], shape),
            behind=None if keep is None else _table(cells, shape),
            keys=keys,
            percentiles=_nearest_rank(numbers[kept], codes[kept], len(keys)),
            overall=_nearest_rank(numbers[kept], np.zeros_like(codes[kept]), 1)[0],
            unit=unit,
            name=name,
            missing=int((~present if keep is None else keep & ~present).sum()),
        )

    @classmethod
    def from_slots(
        cls,
        slots: object,
        counts: object,
        buckets: str | int | Sequence[Number] = "log2",
        *,
        by: object = None,
        keep: Mask | None = None,
        first: int = 0,
        unit: str | None = None,
        name: str = "",
    ) -> Histogram:
        """From counts by slot, as a BPF map keeps them; counts of one slot are added up.

        ``"log2"``: slot i counts ``2**i <= value < 2**(i + 1)`` and slot 0 also zeros, as with ``bpfnb_log2``
        and libbpf-tools' ``log2l``. ``first`` is the exponent of slot 0: -1 for bcc's ``bpf_log2l``, whose
        slots start one lower. An integer: slot i counts ``buckets`` values from ``i * buckets`` on.
        A sequence: the edges themselves, one more than there are slots.

        :raises ValueError: slots that are negative, beyond the edges, or too many to be any.
        """
        index = np.asarray(slots).astype(np.int64)
        if buckets == "log2" and first < 0:
            index = np.maximum(index, -first)  # the slots below cover nothing but zero
        amounts = np.asarray(counts).astype(np.int64)
        codes, keys = labels_of(by, np.ones(len(index), bool))
        used = index[amounts > 0]
        if len(used) and used.min() < 0:
            raise ValueError(f"slots count from 0, there is one numbered {used.min()}")
        low, high = (int(used.min()), int(used.max()) + 1) if len(used) else (0, 1)
        if high - low > MAX_SLOTS or (buckets == "log2" and high > MAX_LOG2_SLOTS):
            raise ValueError(
                f"slots from {low} to {high - 1} are no slots of a histogram: name the column to count"
            )
        edges = tuple(slot_edge(i, buckets, first) for i in range(low, high + 1))
        behind = np.zeros((len(keys), high - low), np.int64)
        table = np.zeros_like(behind)
        for target, inside in (
            (behind, amounts > 0),
            (table, amounts > 0 if keep is None else keep & (amounts > 0)),
        ):
            np.add.at(target, (codes[inside], index[inside] - low), amounts[inside])
        return cls(
            edges, table, behind=None if keep is None else behind, keys=keys, low=low, unit=unit, name=name
        )

    @property
    def total(self) -> int:
        """The number of values in all buckets of all groups."""
        return int(self.table.sum())

    @property
    def counts(self) -> pd.DataFrame:
        """One row a bucket and group: lower (inclusive), upper (exclusive), count, and group if there are any.

        ``upper`` is float64 where it is 2**64, which no integer column holds; the number is still exact.
        """
        lower, upper = _column(self.edges[:-1]), _column(self.edges[1:])
        repeat = len(self.groups)
        frame = pd.DataFrame(
            {"lower": np.tile(lower, repeat), "upper": np.tile(upper, repeat), "count": self.table.ravel()}
        )
        if self.groups != ("",):
            frame["group"] = np.repeat(np.array(self.groups, dtype=object), len(lower))
        if self.unit:
            frame.attrs["unit"] = self.unit
        return frame

    def text(self, width: int = 40) -> str:
        """Bars of asterisks under ``range : count``, as bcc and bpftrace print them."""
        from bpfnb.views.histogram.text import text

        return text(self, width)

    def to_plotly(self, *, log: bool = False) -> Any:
        """A plotly bar figure: range and count on hover, percentiles marked. *log*: counts on a logarithmic axis."""
        from bpfnb.views.histogram.figure import figure

        return figure(self, log)

    def _repr_html_(self) -> str:
        from bpfnb.views.histogram.picture import html

        return html(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.text(), "text/html": self._repr_html_()}

    def __repr__(self) -> str:
        return self.text()


def edges_of(values: npt.NDArray[Any], buckets: str | int | Sequence[Number]) -> Edges:
    if isinstance(buckets, str):
        if buckets not in ("log2", "linear"):
            raise UnknownName(f"there are no '{buckets}' buckets", hints=["log2, linear, a number, or edges"])
        return _buckets.log2(values) if buckets == "log2" else _buckets.linear(values)
    if isinstance(buckets, int):
        if buckets < 1:
            raise ValueError(f"the number of buckets must be positive, not {buckets}")
        return _buckets.linear(values, buckets)
    return _buckets.explicit(values, buckets)


def slot_edge(slot: int, buckets: str | int | Sequence[Number], first: int) -> Number:
    if isinstance(buckets, str):
        if buckets != "log2":
            raise UnknownName(
                f"slots cannot be '{buckets}'", hints=["log2, the width of a linear slot, or all edges"]
            )
        return 0 if slot <= max(0, -first) else 1 << (slot + first)  # the lowest slot counts zeros too
    if isinstance(buckets, int):
        return slot * buckets
    if slot >= len(buckets):
        raise ValueError(f"there are {len(buckets) - 1} buckets and a count for slot {slot - 1}")
    return buckets[slot]


def numbers_of(values: object, name: str) -> tuple[npt.NDArray[Any], Mask]:
    """The values that are there as a NumPy array, and which those are."""
    if isinstance(values, pd.Series):
        present = values.notna().to_numpy()
        kept = values[present]
        extension = isinstance(kept.dtype, pd.api.extensions.ExtensionDtype)
        numpy_dtype = getattr(kept.dtype, "numpy_dtype", None)
        array = kept.to_numpy(dtype=numpy_dtype) if extension and numpy_dtype is not None else kept.to_numpy()
    else:
        array = np.asarray(values).reshape(-1)
        present = np.ones(len(array), bool)
    if array.dtype.kind in "fm":
        missing = np.isnan(array)
        present = present.copy()
        present[np.flatnonzero(present)[missing]] = False
        array = array[~missing]
    if array.dtype.kind == "O" and len(array) == 0:
        array = array.astype(np.int64)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind == "m":
        array = array.astype("timedelta64[ns]").view(np.int64)
    elif array.dtype.kind not in "iuf":
        what = f"'{name}' holds" if name else "got"
        raise TypeError(f"a histogram counts numbers; {what} {array.dtype} values")
    return array, present


def labels_of(by: object, present: Mask) -> tuple[npt.NDArray[np.intp], tuple[Any, ...]]:
    """The number of each value's group, in the order in which groups first occur, and what they hold."""
    if by is None:
        return np.zeros(int(present.sum()), np.intp), ("",)
    codes, labels = pd.factorize(pd.Series(by), sort=False, use_na_sentinel=False)
    return codes[present], tuple(labels.tolist()) or ("",)


def _table(cells: npt.NDArray[np.intp], shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.int64)


def _nearest_rank(
    values: npt.NDArray[Any], codes: npt.NDArray[np.intp], groups: int
) -> list[dict[Number, Number]]:
    """Percentile p of n values: the one at rank ceil(p / 100 * n) (nearest rank), so one that occurred."""
    found: list[dict[Number, Number]] = []
    order = np.argsort(codes, kind="stable") if groups > 1 else slice(None)
    ends = np.cumsum(np.bincount(codes, minlength=groups))
    grouped = values[order]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        part = grouped[start:end]
        ranks = {p: max(0, math.ceil(p / 100 * len(part)) - 1) for p in PERCENTILES} if len(part) else {}
        part = np.partition(part, sorted(set(ranks.values()))) if ranks else part
        found.append({p: part[rank].item() for p, rank in ranks.items()})
    return found


def interpolated(edges: Edges, counts: npt.NDArray[np.int64]) -> dict[Number, Number]:
    """Percentiles from counts alone, as if the values of a bucket were spread evenly over it."""
    return {percent: _interpolated(edges, counts, percent) for percent in PERCENTILES}


def _interpolated(edges: Edges, counts: npt.NDArray[np.int64], percent: Number) -> Number:
    total = int(counts.sum())
    if not total:
        return math.nan
    below = np.cumsum(counts)
    wanted = percent / 100 * total
    i = int(np.searchsorted(below, wanted, "left"))
    lower, upper = edges[i], edges[i + 1]
    if not math.isfinite(lower) or not math.isfinite(upper):
        return lower if math.isfinite(lower) else upper
    return lower + (upper - lower) * (wanted - int(below[i] - counts[i])) / int(counts[i])


def _column(edges: Sequence[Number]) -> npt.NDArray[Any]:
    """Edges as int64, uint64 where they need it, and float64 where no integer holds them."""
    whole = all(isinstance(e, int) for e in edges)
    if whole and all(-(2**63) <= e < 2**63 for e in edges):
        return np.array(edges, np.int64)
    if whole and all(0 <= e < 2**64 for e in edges):
        return np.array(edges, np.uint64)
    return np.array(edges, np.float64)
