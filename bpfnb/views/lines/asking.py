"""What a time series is to draw where the caller left it open: columns, mode, the width of bins, the time column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.views import moments
from bpfnb.views.lines.feeds import Asked, value_columns
from bpfnb.views.lines.watch import Span
from bpfnb.views.source import Source

__all__ = ["BINS", "Wanted", "few", "of_map", "of_rows"]

BINS = 150
"""Bins in the time that is shown at once, at most, unless their width is given."""


@dataclass(frozen=True)
class Wanted:
    """What the caller said: as :class:`Asked`, but *mode*, *every* and *time* may be open, and no *columns* as well."""

    columns: tuple[str, ...]
    by: str | None
    mode: str | None
    every: int | None
    span: int
    time: str | None
    top: int
    unit: str | None

    def asked(self, columns: tuple[str, ...], mode: str, every: int, time: str | None) -> Asked:
        return Asked(columns, self.by, mode, every, self.span, time, self.top, self.unit)


def of_map(source: Source, wanted: Wanted) -> Asked:
    """The numbers of a map's entries, as rates where all of them can only count upwards."""
    frame = source.frame()
    columns = wanted.columns or tuple(c for c in value_columns(frame) if frame[c].dtype.kind in "iuf")
    if not columns:
        raise BadValue("the map holds no numbers to draw over time", hints=["name a column"])
    if wanted.mode not in (None, "rate", "gauge"):
        raise BadValue(f"a map has no '{wanted.mode}' over time", hints=["rate, or gauge"])
    if wanted.time is not None:
        raise BadValue("the entries of a map have no time: they are looked at every so often")
    counts = all(frame[c].dtype.kind == "u" for c in columns)
    mode = wanted.mode or ("rate" if counts else "gauge")
    return wanted.asked(columns, mode, max(wanted.every or _width(wanted.span), 10**8), None)


def of_rows(source: Source, wanted: Wanted, data: Any) -> Asked:
    """The rows of a stream or of the frame *data*, whose index may be the time."""
    frame = source.rows(*few(source))
    columns, mode, every = wanted.columns, wanted.mode, wanted.every
    at_rest = source.kind == "frame"
    indexed = isinstance(getattr(data, "index", None), pd.DatetimeIndex)
    time = wanted.time or (str(data.index.name or "time") if indexed else moments.column(frame, source.about))
    if at_rest and time is None:
        raise BadValue("no column says when the rows happened", hints=["name it: time="])
    if at_rest and indexed and not columns and wanted.by is None and mode in (None, "gauge"):
        columns = tuple(c for c in source.columns if c != time and frame[c].dtype.kind in "iufm")
        mode = "gauge"
    if mode in ("rate", "count") or columns:
        mode = mode or "mean"
    elif mode is None:
        mode = "rate"
    else:
        raise BadValue(f"'{mode}' of which column?", hints=[f"the frame has: {', '.join(source.columns)}"])
    if mode == "gauge" and at_rest and every is None and wanted.by is None:
        return wanted.asked(columns, mode, 0, time)
    if at_rest and every is None and time is not None:
        when, there = moments.nanoseconds(source.frame([time])[time], source.about(time).get("unit"))
        when = when[there]
        every = _width(int(when.max() - when.min()) if len(when) else 10**9)
    return wanted.asked(columns, mode, every or _width(wanted.span), time)


def few(source: Source) -> Span:
    """The numbers of the newest rows: enough to see of what type columns are."""
    low, high = source.span()
    return max(low, high - 100), high


def _width(span: int) -> int:
    """The shortest round time of which at most ``BINS`` make *span*."""
    return next(step for step in moments.steps() if step * BINS >= span)
