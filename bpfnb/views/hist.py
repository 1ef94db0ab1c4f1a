"""Histograms: exact counts in log2, linear or given buckets, as text, as a static picture and as a plotly figure."""

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

__all__ = ["Histogram", "hist"]

PERCENTILES = (50, 90, 99)


class Histogram:
    """Counts of values in buckets, for one or several groups. Make one with :func:`hist`.

    - ``edges``: bucket i covers ``edges[i] <= value < edges[i + 1]``;
    - ``groups``: labels, the one with most values first; ``("",)`` where there are none;
    - ``table``: int64 (groups, buckets); with ``missing`` (NaN) it adds up to the number of values;
    - ``percentiles``: by group, ``{50: ..., 90: ..., 99: ...}``;
    - ``exact``: whether the percentiles are values that occurred (nearest rank), or were interpolated within
      buckets because only counts were known;
    - ``unit``: ``ns``, ``us``, ``ms``, ``s``, ``bytes`` or any other word, for labels.
    """

    def __init__(
        self,
        edges: Edges,
        table: npt.NDArray[np.int64],
        *,
        groups: Sequence[str] = ("",),
        percentiles: Sequence[Mapping[Number, Number]] | None = None,
        unit: str | None = None,
        name: str = "",
        missing: int = 0,
    ) -> None:
        order = np.argsort(-table.sum(axis=1), kind="stable")
        self.edges = edges
        self.table = table[order]
        self.groups = tuple(groups[i] for i in order)
        self.unit = unit
        self.name = name
        self.missing = missing
        self.exact = percentiles is not None
        if percentiles is None:
            percentiles = [{p: _interpolated(edges, row, p) for p in PERCENTILES} for row in table]
        self.percentiles = {groups[i]: dict(percentiles[i]) for i in order}

    @classmethod
    def of(
        cls,
        values: object,
        buckets: str | int | Sequence[Number] = "log2",
        *,
        by: object = None,
        unit: str | None = None,
        name: str = "",
    ) -> Histogram:
        """From raw values: numbers of any integer or float type, timedeltas (as ns), or booleans.

        *by* has one label for each value. NaN and NA count as ``missing``.

        :raises TypeError: the values are no numbers.
        """
        numbers, present = _numbers(values, name)
        unit = "ns" if unit is None and numbers.dtype.kind == "m" else unit
        numbers = numbers.view(np.int64) if numbers.dtype.kind == "m" else numbers
        edges = _edges(numbers, buckets)
        codes, groups = _groups(by, present)
        index = _buckets.bucket_of(numbers, edges)
        size = len(edges) - 1
        table = np.bincount(codes * size + index, minlength=len(groups) * size).reshape(-1, size)
        return cls(
            edges,
            table.astype(np.int64),
            groups=groups,
            percentiles=_nearest_rank(numbers, codes, len(groups)),
            unit=unit,
            name=name,
            missing=int(len(present) - present.sum()),
        )

    @classmethod
    def from_slots(
        cls,
        slots: object,
        counts: object,
        buckets: str | int | Sequence[Number] = "log2",
        *,
        by: object = None,
        first: int = 0,
        unit: str | None = None,
        name: str = "",
    ) -> Histogram:
        """From counts by slot, as a BPF map keeps them; counts of one slot are added up.

        ``"log2"``: slot i counts ``2**i <= value < 2**(i + 1)`` and slot 0 also zeros, as with ``bpfnb_log2``
        and libbpf-tools' ``log2l``. ``first`` is the exponent of slot 0: -1 for bcc's ``bpf_log2l``, whose
        slots start one lower. An integer: slot i counts ``buckets`` values from ``i * buckets`` on.
        A sequence: the edges themselves, one more than there are slots.

        :raises ValueError: slots that are negative or beyond the edges.
        """
        index = np.asarray(slots).astype(np.int64)
        if buckets == "log2" and first < 0:
            index = np.maximum(index, -first)  # the slots below cover nothing but zero
        amounts = np.asarray(counts).astype(np.int64)
        codes, groups = _groups(by, np.ones(len(index), bool))
        used = index[amounts > 0]
        if len(used) and used.min() < 0:
            raise ValueError(f"slots count from 0, there is one numbered {used.min()}")
        low, high = (int(used.min()), int(used.max()) + 1) if len(used) else (0, 1)
        edges = tuple(_slot_edge(i, buckets, first) for i in range(low, high + 1))
        table = np.zeros((len(groups), high - low), np.int64)
        inside = amounts > 0
        np.add.at(table, (codes[inside], index[inside] - low), amounts[inside])
        return cls(edges, table, groups=groups, unit=unit, name=name)

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
        from bpfnb.views._hist_text import text

        return text(self, width)

    def to_plotly(self, *, log: bool = False) -> Any:
        """A plotly bar figure: range and count on hover, percentiles marked. *log*: counts on a logarithmic axis."""
        from bpfnb.views._hist_plotly import figure

        return figure(self, log)

    def _repr_html_(self) -> str:
        from bpfnb.views._hist_svg import html

        return html(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.text(), "text/html": self._repr_html_()}

    def __repr__(self) -> str:
        return self.text()


def hist(
    data: Any,
    column: str | None = None,
    buckets: str | int | Sequence[Number] = "log2",
    *,
    by: Any = None,
    unit: str | None = None,
    first: int = 0,
) -> Histogram:
    """A histogram of *data*, in buckets ``"log2"``, ``"linear"``, about so many linear ones (an integer), or edges.

    - ``hist(series)``, ``hist(array)``: of the values. ``hist(frame, "latency", by="comm")``: of one column, in
      groups by another.
    - ``hist(io.latency)``: of a map that holds counts by slot: its ``key`` is the slot and its ``value`` the
      count. Also a frame of that shape, and one whose rows hold an array of slots (``slots.0``, ``slots.1``
      ...; name it with *column* where there are several). Here an integer *buckets* is the width of a linear
      slot, and *first* the exponent of slot 0. Other shapes: :meth:`Histogram.from_slots`.

    Where they are not given, the unit is taken from the annotation of the column, and unit and buckets from
    the map's VIEW.

    :raises UnknownName: no such column. :raises TypeError: values that are no numbers.
    """
    title = ""
    if hasattr(data, "df"):  # a live frame; a map's also says how to draw it
        title = getattr(data, "name", "")
        view: Sequence[str] = getattr(data, "view", None) or ()
        if view[:1] == ("hist",):
            unit = unit or next((word for word in view[1:] if word not in ("log2", "linear")), None)
            buckets = 1 if "linear" in view and buckets == "log2" else buckets
        data = data.df
    if not isinstance(data, pd.DataFrame):
        series = isinstance(data, pd.Series)
        name = str(data.name) if series and data.name is not None else ""
        return Histogram.of(
            data, buckets, by=by, unit=unit or (_unit(data, name) if series else None), name=name
        )
    if data.index.name is not None and data.index.name not in data.columns:
        data = data.reset_index()  # an array map's index number
    slots = _slot_columns(data, column)
    if slots:
        return _from_arrays(data, slots, buckets, by, first, unit)
    if column is None and {"key", "value"} <= set(data.columns):
        labels, unit = _column_of(data, by), unit or _unit(data, "key") or _unit(data, "value")
        return Histogram.from_slots(
            data["key"], data["value"], buckets, by=labels, first=first, unit=unit, name=title
        )
    if column is None:
        raise UnknownName(
            "which column is the histogram to count?",
            hints=[f"the frame has: {', '.join(map(str, data.columns))}"],
        )
    values = _column_of(data, column)
    return Histogram.of(
        values, buckets, by=_column_of(data, by), unit=unit or _unit(data, column), name=column
    )


def _from_arrays(
    frame: pd.DataFrame,
    slots: Sequence[str],
    buckets: str | int | Sequence[Number],
    by: Any,
    first: int,
    unit: str | None,
) -> Histogram:
    """Rows that each hold an array of counts, one group a row unless *by* says otherwise."""
    stem = slots[0].rsplit(".", 1)[0]
    counts = frame[list(slots)].to_numpy(np.int64)
    if by is not None:
        labels = _column_of(frame, by)
    elif len(frame) > 1:
        keys = [c for c in frame.columns if c not in slots and not str(c).startswith("value")]
        labels = frame[keys].astype(str).agg(" ".join, axis=1)
    else:
        labels = None
    by = None if labels is None else np.repeat(np.asarray(labels, dtype=object), len(slots))
    index = np.tile(np.arange(len(slots)), len(frame))
    return Histogram.from_slots(
        index, counts.ravel(), buckets, by=by, first=first, unit=unit or _unit(frame, stem), name=stem
    )


def _slot_columns(frame: pd.DataFrame, column: str | None) -> list[str]:
    """The columns ``column.0``, ``column.1`` ... in order, or the only such family of the frame."""
    families: dict[str, list[str]] = {}
    for name in map(str, frame.columns):
        stem, _, number = name.rpartition(".")
        if stem and number.isdigit() and int(number) == len(families.get(stem, ())):
            families.setdefault(stem, []).append(name)
    families = {stem: names for stem, names in families.items() if len(names) > 1}
    if column is not None:
        return [] if column in frame.columns else families.get(column, [])
    if {"key", "value"} <= set(frame.columns) or len(families) != 1:
        return []
    return next(iter(families.values()))


def _column_of(frame: pd.DataFrame, column: Any) -> Any:
    if column is None or not isinstance(column, str):
        return column
    if column in frame.columns:
        return frame[column]
    known = [str(c) for c in frame.columns]
    raise UnknownName.among(known, column, f"the frame has no column '{column}'")


def _unit(data: Any, column: str) -> str | None:
    about = data.attrs.get("bpfnb_columns", {}).get(column)
    unit = about.get("unit") if isinstance(about, Mapping) else about
    return str(unit) if unit else None


def _edges(values: npt.NDArray[Any], buckets: str | int | Sequence[Number]) -> Edges:
    if isinstance(buckets, str):
        if buckets not in ("log2", "linear"):
            raise UnknownName(f"there are no '{buckets}' buckets", hints=["log2, linear, a number, or edges"])
        return _buckets.log2(values) if buckets == "log2" else _buckets.linear(values)
    if isinstance(buckets, int):
        if buckets < 1:
            raise ValueError(f"the number of buckets must be positive, not {buckets}")
        return _buckets.linear(values, buckets)
    return _buckets.explicit(values, buckets)


def _slot_edge(slot: int, buckets: str | int | Sequence[Number], first: int) -> Number:
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


def _numbers(values: object, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
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
        array = array.astype("timedelta64[ns]")
    elif array.dtype.kind not in "iuf":
        what = f"'{name}' holds" if name else "got"
        raise TypeError(f"a histogram counts numbers; {what} {array.dtype} values")
    return array, present


def _groups(by: object, present: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    if by is None:
        return np.zeros(int(present.sum()), np.intp), ("",)
    codes, labels = pd.factorize(pd.Series(by).astype(object), sort=False, use_na_sentinel=False)
    return codes[present], tuple(str(label) for label in labels) or ("",)


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


def _interpolated(edges: Edges, counts: npt.NDArray[np.int64], percent: Number) -> Number:
    """Percentile from counts alone, as if the values of a bucket were spread evenly over it."""
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
