"""A grid that somebody counted already."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.views import moments
from bpfnb.views._buckets import Edges
from bpfnb.views.heat.feeds import Feed
from bpfnb.views.heat.grid import Fixed, Grid
from bpfnb.views.histogram.asked import Asked
from bpfnb.views.source import Source

__all__ = ["Given", "is_grid"]


def is_grid(data: Any) -> bool:
    """Whether *data* is a grid: a 2-D array, or a DataFrame whose columns are numbers."""
    if isinstance(data, np.ndarray):
        return data.ndim == 2
    return isinstance(data, pd.DataFrame) and len(data.columns) > 0 and data.columns.dtype.kind in "iuf"


class Given(Feed):
    """The grid *data*: rows are times (the index), columns buckets (their lower edges); NaN was not measured.

    Rows stand at their time; where the index skips some, there are gaps. The last bucket is as wide as the one before
    it, or has its factor, where the edges grow by one.

    :raises ValueError: edges or times that do not increase.
    """

    def __init__(self, data: Any, every: int | None, unit: str | None) -> None:
        frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data)
        super().__init__(Source.of(frame), Asked("values", "", "given", unit=unit), every, None)
        edges = _edges([label.item() if isinstance(label, np.generic) else label for label in frame.columns])
        edges = tuple(frame.attrs.get("edges", edges))
        at, _ = moments.nanoseconds(frame.index) if frame.index.dtype.kind in "Mm" else _numbered(frame)
        if isinstance(frame.index, pd.DatetimeIndex):
            at, _ = moments.nanoseconds(frame.index)
        if (np.diff(at) <= 0).any():
            raise ValueError("the times of a grid must increase")
        apart = (
            every
            or int(frame.attrs.get("every_ns", 0))
            or (int(np.median(np.diff(at))) if len(at) > 1 else 10**9)
        )
        origin = int(at[0]) if len(at) else 0
        columns = np.rint((at - origin) / apart).astype(np.int64)
        self.grid = Grid(apart, int(columns[-1]) + 1 if len(columns) else 1, origin, Fixed(edges))
        self.grid.widen(len(edges) - 1)
        table = frame.to_numpy(np.float64, na_value=np.nan)
        for column, counts in zip(columns.tolist(), table, strict=True):
            self.grid.put(column, np.nan_to_num(counts))
            if not np.isnan(counts).all():
                self.grid.mark(column, column + 1)

    def update(self, chosen: Mapping[str, Any]) -> None:
        """It stands still."""


def _numbered(frame: pd.DataFrame) -> moments.Moments:
    """Rows without times: one a second."""
    return np.arange(len(frame), dtype=np.int64) * 10**9, np.ones(len(frame), bool)


def _edges(lower: list[Any]) -> Edges:
    if any(not a < b for a, b in itertools.pairwise(lower)):
        raise ValueError(f"the columns of a grid are lower edges and must increase, not {lower[:5]} ...")
    if len(lower) < 2:
        return (lower[0], lower[0] + 1)
    last, before = lower[-1], lower[-2]
    doubling = before > 0 and len(lower) > 2 and math.isclose(last / before, before / max(lower[-3], 1e-300))
    factor = last / before if before > 0 else 1
    return (*lower, last * int(factor) if doubling and float(factor).is_integer() else last + (last - before))
