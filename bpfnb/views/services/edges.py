"""Rows into edges: one row for each pair of nodes that talk, with how much, how wrong and how slow.

The table of edges has these columns, NaN where something is not known:

====================  ==============================================================================
``source, target``    names of nodes
``count``             events (or what the weight column says) so far
``rate``              events a second, over the window
``bytes``             sum so far
``bytes_rate``        bytes a second, over the window
``errors``            share of events that failed, over the window, between 0 and 1
``latency``           median (nearest rank) over the window, in the unit of its column
``latency_p99``       99th percentile, likewise
``age``               seconds since the edge was last seen
====================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views._style import DURATIONS
from bpfnb.views.services.columns import Roles
from bpfnb.views.services.names import coded, label_of

__all__ = [
    "COLUMNS",
    "Ends",
    "as_given",
    "counted",
    "failed",
    "is_counted",
    "numbers",
    "seconds_of",
    "summed",
]

Numbers = npt.NDArray[np.float64]
About = Mapping[str, Any]

COLUMNS: Final = ("count", "rate", "bytes", "bytes_rate", "errors", "latency", "latency_p99", "age")

_STATUS: Final = ("status", "code")
_RETURNED: Final = ("ret", "retval", "rc", "res", "result")
_BAD_WORDS: Final = ("error", "err", "fail", "failed", "failure", "dropped", "timeout", "true")


@dataclass
class Ends:
    """Nodes and edges by number, in order of appearance, and the values of the columns behind each node's name."""

    roles: Roles
    labels: list[str] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    values: tuple[dict[int, list[tuple[Any, ...]]], dict[int, list[tuple[Any, ...]]]] = field(
        default_factory=lambda: ({}, {})
    )
    """As source and as target: of each node, the combinations of values that have its name."""
    tagged: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Columns that say more of a source and of a target: its kind, its group."""
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    _nodes: dict[str, int] = field(default_factory=dict)
    _edge_of: dict[tuple[int, int], int] = field(default_factory=dict)
    _known: tuple[dict[tuple[Any, ...], int], dict[tuple[Any, ...], int]] = field(
        default_factory=lambda: ({}, {})
    )

    def number(self, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
        """The edge of each row of *frame*."""
        if not len(frame):
            return np.zeros(0, np.int64)
        codes, first = coded(frame, (*self.roles.source, *self.roles.target))
        rows = frame.iloc[first]
        near, far = self._named(rows, 0), self._named(rows, 1)
        return np.fromiter(map(self._edge, near, far), np.int64, len(first))[codes]

    def number_of(self, label: str) -> int:
        """The number of the node of that name."""
        return self._nodes[label]

    def columns_of(self, label: str) -> tuple[str, ...]:
        """The columns that its name came from; the source's where it is both."""
        return self.roles.source if self._nodes.get(label) in self.values[0] else self.roles.target

    def _named(self, rows: pd.DataFrame, side: int) -> list[int]:
        columns = self.roles.target if side else self.roles.source
        more = {tag: rows[pair[side]].astype(str).tolist() for tag, pair in self.tagged.items()}
        known, numbers = self._known[side], []
        for row, values in enumerate(zip(*(rows[column].tolist() for column in columns), strict=True)):
            key = tuple(tuple(v) if isinstance(v, list) else str(v) if v != v else v for v in values)
            node = known.get(key)
            if node is None:
                label = label_of(columns, values)
                node = known[key] = self._nodes.setdefault(label, len(self.labels))
                if node == len(self.labels):
                    self.labels.append(label)
                self.values[side].setdefault(node, []).append(values)
                for tag, texts in more.items():
                    self.tags.setdefault(tag, {}).setdefault(label, texts[row])
            numbers.append(node)
        return numbers

    def _edge(self, near: int, far: int) -> int:
        edge = self._edge_of.setdefault((near, far), len(self.edges))
        if edge == len(self.edges):
            self.edges.append((near, far))
        return edge

    def table(
        self, columns: Mapping[str, Numbers], keep: npt.NDArray[np.bool_] | None = None
    ) -> pd.DataFrame:
        """The edges by name beside *columns*, sorted by name: the order of rows never shows."""
        near = [self.labels[a] for a, _ in self.edges]
        far = [self.labels[b] for _, b in self.edges]
        missing = np.full(len(near), np.nan)
        frame = pd.DataFrame({"source": near, "target": far, **{c: columns.get(c, missing) for c in COLUMNS}})
        frame = frame if keep is None else frame[keep]
        return frame.sort_values(["source", "target"], ignore_index=True)


def is_counted(frame: pd.DataFrame, roles: Roles) -> bool:
    """Whether each row is an event to be counted, and not an edge that somebody aggregated before.

    Rows with a rate or weight column are edges. So are rows in which no pair occurs twice, unless they have a time.
    """
    if roles.rate is not None or roles.weight is not None:
        return False
    if roles.time is not None:
        return True
    return bool(frame.duplicated(subset=[*roles.source, *roles.target]).any())


def counted(frame: pd.DataFrame, roles: Roles, ends: Ends, about: About | None = None) -> pd.DataFrame:
    """Edges of a frame whose rows are events: counts, sums, share of errors, percentiles; rates over its whole span."""
    edge = ends.number(frame)
    size = len(ends.edges)
    weight = _weights(frame, roles)
    count = summed(edge, weight, size)
    found: dict[str, Numbers] = {"count": count, "age": np.zeros(size)}
    span = 0.0
    if roles.time is not None and len(frame):
        when = seconds_of(frame[roles.time], roles.time, about)
        timed = np.isfinite(when)
        if timed.any():
            newest = float(when[timed].max())
            span = newest - float(when[timed].min())
            last = np.full(size, -np.inf)
            np.maximum.at(last, edge[timed], when[timed])
            found["age"] = newest - last
    if roles.nbytes is not None:
        found["bytes"] = summed(edge, numbers(frame[roles.nbytes]), size)
    if span > 0:
        found["rate"] = count / span
        if "bytes" in found:
            found["bytes_rate"] = found["bytes"] / span
    if roles.errors is not None:
        bad = summed(edge, failed(frame[roles.errors], roles.errors) * weight, size)
        found["errors"] = np.divide(bad, count, out=np.full(size, np.nan), where=count > 0)
    if roles.latency is not None:
        found["latency"], found["latency_p99"] = _percentiles(edge, numbers(frame[roles.latency]), size)
    return ends.table(found)


def as_given(frame: pd.DataFrame, roles: Roles, ends: Ends) -> pd.DataFrame:
    """Edges of a frame that has one row for each: values as they are.

    Rows of one pair are added up; their latency is the mean, weighted by how much each row stands for. Errors that
    are whole numbers are counts and divided by the count or the rate; others are shares, averaged likewise.
    """
    edge = ends.number(frame)
    size = len(ends.edges)
    found: dict[str, Numbers] = {"age": np.zeros(size)}
    for name, column in (("count", roles.weight), ("rate", roles.rate), ("bytes", roles.nbytes)):
        if column is not None:
            values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
            found[name] = summed(edge, np.nan_to_num(values), size)
            found[name][summed(edge, ~np.isnan(values), size) == 0] = np.nan
    by = roles.weight or roles.rate
    weight = numbers(frame[by]) if by is not None else np.ones(len(frame))
    total = summed(edge, weight, size)
    if roles.errors is not None:
        flaws = frame[roles.errors]
        whole = pd.api.types.is_integer_dtype(flaws) and not _is_status(roles.errors)
        share = flaws if pd.api.types.is_float_dtype(flaws) else failed(flaws, roles.errors)
        bad = numbers(flaws) if whole else numbers(share) * weight
        found["errors"] = np.divide(
            summed(edge, bad, size), total, out=np.full(size, np.nan), where=total > 0
        ).clip(0, 1)
    if roles.latency is not None:
        values = pd.to_numeric(frame[roles.latency], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        present = np.where(np.isnan(values), 0.0, np.maximum(weight, 1e-300))
        base = summed(edge, present, size)
        amount = summed(edge, np.nan_to_num(values) * present, size)
        found["latency"] = np.divide(amount, base, out=np.full(size, np.nan), where=base > 0)
    return ends.table(found)


def failed(column: pd.Series, name: str) -> Numbers:
    """1.0 where a row failed: a status from 500 on, a negative return value, an error that is not 0, an error word."""
    lower = name.lower()
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if _is_status(name):
        bad = values >= 500
    elif lower.rsplit(".", 1)[-1] in _RETURNED:
        bad = values < 0
    else:
        bad = (values != 0) & ~np.isnan(values)
    if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
        text = column.astype(str).str.lower()
        bad |= np.isnan(values) & text.isin(_BAD_WORDS).to_numpy(bool)
    return bad.astype(np.float64)


def seconds_of(column: pd.Series, name: str, about: About | None = None) -> Numbers:
    """Times as seconds on the column's own clock, from datetimes, timedeltas, or numbers of the unit it states.

    Numbers without a unit are nanoseconds, as BPF's clocks are, and floats seconds, as ``time.time`` gives.
    """
    if column.dtype.kind in "mM":
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        base = column.to_numpy()
        start = np.fmin.reduce(base) if len(base) else base
        elapsed: Numbers = ((base - start) / np.timedelta64(1, "ns")).astype(np.float64) / 1e9
        return elapsed
    unit = (about or {}).get("unit") or next(
        (u for u in ("ns", "us", "ms") if name.lower().endswith("_" + u)), None
    )
    if unit not in DURATIONS:
        unit = "s" if column.dtype.kind == "f" else "ns"
    values = column.to_numpy()
    # The start is taken off in the column's own type: nanoseconds since 1970 have no place in a double.
    start = np.fmin.reduce(values) if len(values) else 0
    seconds: Numbers = (values - start).astype(np.float64) * DURATIONS[unit] / 1e9
    return seconds


def numbers(column: pd.Series | Numbers | Sequence[float]) -> Numbers:
    """As floats; what is no number counts nothing."""
    values = pd.to_numeric(pd.Series(column), errors="coerce")
    if values.dtype.kind == "m":
        values = values.dt.total_seconds() * 1e9
    found: Numbers = np.nan_to_num(values.to_numpy(np.float64, na_value=np.nan))
    return found


def summed(index: npt.NDArray[np.int64], values: npt.ArrayLike, size: int) -> Numbers:
    """The sum of *values* for each index below *size*."""
    return np.bincount(index, values, minlength=size).astype(np.float64)


def _weights(frame: pd.DataFrame, roles: Roles) -> Numbers:
    return np.ones(len(frame)) if roles.weight is None else numbers(frame[roles.weight])


def _is_status(name: str) -> bool:
    last = name.lower().rsplit(".", 1)[-1]
    return any(word in last for word in _STATUS)


def _percentiles(edge: npt.NDArray[np.int64], values: Numbers, size: int) -> tuple[Numbers, Numbers]:
    """The values at ranks ceil(n / 2) and ceil(99 n / 100) of each edge."""
    order = np.lexsort((values, edge))
    values = values[order]
    amount = np.bincount(edge, minlength=size)
    start = np.cumsum(amount) - amount
    present = amount > 0
    found = []
    for percent in (50, 99):
        result = np.full(size, np.nan)
        rank = -(-amount * percent // 100)
        result[present] = values[(start + rank - 1)[present]]
        found.append(result)
    return found[0], found[1]
