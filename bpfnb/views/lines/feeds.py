"""Where lines come from: rows in bins of time, a map that is looked at, or columns that are lines already."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import moments
from bpfnb.views.lines.bins import MODES, Bins, Floats
from bpfnb.views.lines.chart import Chart, Moments
from bpfnb.views.lines.samples import Samples
from bpfnb.views.lines.watch import Span, Watch, overlap
from bpfnb.views.source import Source

__all__ = ["Asked", "Columns", "Feed", "Looks", "Rows"]

Filter = Callable[[pd.DataFrame], pd.DataFrame]
MOST_BINS = 100_000
SHORTEST = 0.1  # of a bin's width: for less than that, a rate would be a guess


@dataclass(frozen=True)
class Asked:
    """What is to be drawn: *columns* (none: the rows themselves), *by*, *mode*, *every* and *span* in ns, *time*."""

    columns: tuple[str, ...]
    by: str | None
    mode: str
    every: int
    span: int
    time: str | None
    top: int
    unit: str | None

    def words(self) -> str:
        """What the axis shows."""
        named = ", ".join(self.columns)
        if self.mode == "rate":
            return f"{named} per second" if named else "rows per second"
        if self.mode == "gauge":
            return named
        return f"{named}, {MODES[self.mode]}" if named else MODES[self.mode]

    def unit_of(self, source: Source) -> str | None:
        if self.unit is not None or self.mode == "count" or len(self.columns) < 1:
            return self.unit
        units = {source.about(column).get("unit") for column in self.columns}
        return units.pop() if len(units) == 1 else None


class Feed(Protocol):
    """:meth:`chart` is the picture of the time *window* (None: the newest), with as much again on both sides."""

    def chart(self, window: Span | None = None) -> Chart: ...

    def reset(self) -> None: ...


class Rows:
    """Rows of a stream or a frame, counted or measured in bins."""

    def __init__(
        self,
        source: Source,
        asked: Asked,
        watch: Watch,
        filtered: Filter,
        filters: Callable[[], Sequence[str]],
    ) -> None:
        self._source, self._asked, self._watch = source, asked, watch
        self._filtered, self._filters = filtered, filters
        self._unit = source.about(asked.time).get("unit") if asked.time else None
        self._next = 0
        self._began = source.now()
        self.reset()

    def reset(self) -> None:
        asked, live = self._asked, self._source.kind == "stream"
        self._bins = Bins(
            asked.every, asked.mode, valued=bool(asked.columns), keep=7200 if live else MOST_BINS
        )
        # Rows without a time of their own have that of their arrival, which is known only from now on.
        self._next = 0 if asked.time else self._source.span()[1]
        self._since: int | None = None
        self._looked = 0
        self._untimed = self._ahead = 0

    def _read(self) -> None:
        asked = self._asked
        wanted = {*asked.columns, *filter(None, (asked.by, asked.time)), *self._filters()}
        rows, self._next = self._source.since(self._next, wanted)
        self._measured()
        rows = self._filtered(rows)
        if not len(rows):
            return
        if asked.time is None:
            when = np.full(len(rows), min(self._looked, self._source.now()), np.int64)
        else:
            when, there = moments.nanoseconds(rows[asked.time], self._unit)
            future = np.zeros(len(when), bool)
            if self._source.kind == "stream":
                future = there & (when > self._source.now() + max(asked.every, 10**9))
                self._ahead += int(future.sum())
                there &= ~future
            self._untimed += int((~there & ~future).sum())
            if not there.all():
                rows, when = rows[there], when[there]
        if not len(rows):
            return
        _bounded(int(when.max()) - int(when.min()), asked.every, self._source.kind)
        if not asked.columns:
            self._bins.add(when, rows[asked.by] if asked.by else None)
        for column in asked.columns:
            labels = (
                rows[asked.by]
                if asked.by
                else _constant(column, len(rows))
                if len(asked.columns) > 1
                else None
            )
            self._bins.add(when, labels, numbers(rows[column]))

    def _measured(self) -> None:
        """From when to when rows were collected, as the source says."""
        window = self._source.attrs.get("window")
        if window:
            opened, looked = (int(pd.Timestamp(datetime.fromisoformat(text)).value) for text in window)
            if self._asked.time is None:
                opened = max(opened, self._began)
            self._since = opened if self._since is None else min(self._since, opened)
            self._looked = looked

    def chart(self, window: Span | None = None) -> Chart:
        self._read()
        asked, bins, width = self._asked, self._bins, self._asked.every
        live = self._source.kind == "stream"
        first, stop = bins.first, bins.first + bins.size
        wall = not bins.size or first * width >= moments.EPOCH
        if self._since is not None and wall:
            first = min(first, self._since // width) if bins.size else self._since // width
            stop = max(stop, -(-self._looked // width))
            first = max(first, stop - bins.keep)
        history = (first * width, stop * width)
        if live:
            until = max(self._looked, bins.size and history[1] - width)
            # The bin that was begun last goes on while rows may come; afterwards it is a bin like the others.
            history = (max(history[0], self._since or 0), until if self._source.live else history[1])
        window = window or ((history[1] - asked.span, history[1]) if live else history)
        if live:  # of what lies far from the window, the browser asks when it comes there
            margin = window[1] - window[0]
            first, stop = (
                max(first, (window[0] - margin) // width),
                min(stop, -(-(window[1] + margin) // width)),
            )
            first = min(first, stop)
        lines = bins.lines(asked.top, first, stop)
        start = np.arange(first, stop, dtype=np.int64) * width
        seconds = self._seconds(start, start + width, wall)
        values = lines.values
        if asked.mode in ("rate", "sum", "count"):
            values = np.where(seconds > 0, np.nan_to_num(values), np.nan)
        if asked.mode == "rate":
            with np.errstate(divide="ignore", invalid="ignore"):
                values = values / seconds
        ends = start + width
        running = bool(live and self._source.live and len(start) and ends[-1] > self._looked)
        return Chart(
            labels=tuple(label or asked.words() for label in lines.labels),
            start=start,
            stop=ends,
            at=start + width // 2,
            seconds=seconds,
            values=values,
            window=window,
            history=history,
            rest=lines.rest,
            lost=self._watch.lost_in(start, ends),
            running=running,
            what=asked.words(),
            unit=asked.unit_of(self._source),
            per_second=asked.mode == "rate",
            notes=self._notes(),
        )

    def _seconds(self, start: Moments, stop: Moments, wall: bool) -> Floats:
        """How long each bin was measured; a tenth of its width at least, where it was at all."""
        width = self._asked.every
        if self._since is None or not wall:
            return np.full(len(start), width / 1e9)
        inside = overlap(start, stop, [(self._since, max(self._looked, self._since + 1))])
        inside -= overlap(start, stop, [p for p in self._watch.gaps(self._looked) if p[1] > self._since])
        counted = np.zeros(len(start), bool)
        for line in (
            self._bins.lines(0, int(start[0]) // width, int(stop[-1]) // width).values if len(start) else ()
        ):
            counted |= np.nan_to_num(line) > 0
        inside = np.where((inside > 0) | counted, np.maximum(inside, SHORTEST * width), 0.0)
        return inside / 1e9

    def _notes(self) -> list[str]:
        bins = self._bins
        told = [
            (bins.early, "{:,} rows are older than the chart reaches"),
            (self._untimed, "{:,} rows have no time"),
            (self._ahead, "{:,} rows are of the future"),
            (bins.merged, f"the smallest {{:,}} values of {self._asked.by} are counted together"),
        ]
        return [text.format(count) for count, text in told if count]


class Looks:
    """The entries of a map, as :meth:`look` finds them every *asked.every* ns."""

    def __init__(self, source: Source, asked: Asked, filtered: Filter) -> None:
        self._source, self._asked, self._filtered = source, asked, filtered
        self._unit = asked.unit_of(source)
        self.watch: Watch | None = None
        self.reset()

    def reset(self) -> None:
        seconds = self._asked.every / 1e9
        self._samples = Samples(rate=self._asked.mode == "rate", patience=math.inf)
        for when, frame in self._source.past():
            self._take(self._filtered(frame), when, when / 1e9)
        self._samples.patience = 4 * seconds + 1.0

    def look(self, when: int, clock: float) -> None:
        self._take(self._filtered(self._source.frame()), when, clock)

    def _take(self, frame: pd.DataFrame, when: int, clock: float) -> None:
        columns, by = self._asked.columns, self._asked.by
        keys = [by] if by else [c for c in frame.columns if c not in self._ignored(frame)]
        labels, values = [], []
        parts = [frame[key].astype(str) for key in keys]
        named = [" ".join(each) for each in zip(*parts, strict=True)] if parts else [""] * len(frame)
        for column in columns:
            alone = len(columns) == 1
            prefix = "" if alone else column
            labels += [" ".join(filter(None, (label, prefix))) or column for label in named]
            values.append(frame[column].to_numpy())
        self._samples.add(when, clock, labels, np.concatenate(values) if values else np.zeros(0))

    def _ignored(self, frame: pd.DataFrame) -> set[str]:
        """The columns that are values: they name no line."""
        return set(value_columns(frame)) | set(self._asked.columns)

    def chart(self, window: Span | None = None) -> Chart:
        asked, samples = self._asked, self._samples.samples
        now = samples[-1].stop if samples else self._source.now()
        history = (samples[0].start, now) if samples else (now - asked.span, now)
        window = window or (now - asked.span, now)
        margin = window[1] - window[0]
        lines, looks = self._samples.lines(asked.top, window[0] - margin, window[1] + margin)
        start = np.array([s.start for s in looks], np.int64)
        stop = np.array([s.stop for s in looks], np.int64)
        seconds = np.array([s.seconds for s in looks])
        values = lines.values
        resets = [i for i, s in enumerate(looks) if s.resets]
        gaps = (
            np.flatnonzero(start[1:] != stop[:-1]) + 1
        )  # lines are broken where looks do not follow each other
        if len(gaps):
            resets = [i + int((gaps <= i).sum()) for i in resets]
            start, stop = np.insert(start, gaps, stop[gaps - 1]), np.insert(stop, gaps, start[gaps])
            seconds, values = np.insert(seconds, gaps, 0.0), np.insert(values, gaps, np.nan, axis=1)
        rate = asked.mode == "rate"
        notes = [f"counters began again {self._samples.resets:,} times"] if self._samples.resets else []
        return Chart(
            labels=lines.labels,
            start=start,
            stop=stop,
            at=(start + stop) // 2 if rate else stop,
            seconds=seconds,
            values=values,
            window=window,
            history=history,
            rest=lines.rest,
            lost=self.watch.lost_in(start, stop) if self.watch else None,
            resets=resets,
            what=asked.words(),
            unit=self._unit,
            per_second=rate,
            notes=notes,
        )


class Columns:
    """A frame whose columns are lines already: each row is a moment."""

    def __init__(self, source: Source, asked: Asked, watch: Watch, filtered: Filter) -> None:
        self._source, self._asked, self._watch, self._filtered = source, asked, watch, filtered

    def reset(self) -> None:
        pass

    def chart(self, window: Span | None = None) -> Chart:
        asked = self._asked
        frame = self._filtered(self._source.frame())
        assert asked.time is not None
        when, there = moments.nanoseconds(frame[asked.time], self._source.about(asked.time).get("unit"))
        order = np.flatnonzero(there)[np.argsort(when[there], kind="stable")]
        at = when[order]
        table = {column: numbers(frame[column])[order] for column in asked.columns}
        totals = {column: float(np.nansum(np.abs(values))) for column, values in table.items()}
        chosen = sorted(table, key=lambda column: -totals[column])[: asked.top]
        history = (int(at[0]), int(at[-1])) if len(at) else (0, 1)
        left = len(table) - len(chosen)
        missing = int(len(there) - there.sum())
        notes = [f"{left:,} more columns, the smallest, are not drawn"] * bool(left)
        return Chart(
            labels=tuple(chosen),
            start=at,
            stop=at,
            at=at,
            seconds=np.zeros(len(at)),
            values=np.array([table[c] for c in chosen]).reshape(len(chosen), len(at)),
            window=window or history,
            history=history,
            lost=self._watch.lost_in(at, at),
            what=asked.words() if len(chosen) < 4 else "",
            unit=asked.unit_of(self._source),
            notes=[*notes, *([f"{missing:,} rows have no time"] if missing else [])],
        )


def value_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a map's frame that are numbers of its value rather than of its key."""
    named = [c for c in frame.columns if c == "value" or c.startswith(("value_", "value."))]
    if named:
        return named
    keys = {c for c in frame.columns if c in ("key", "cpu") or c.startswith(("key_", "key."))}
    return [c for c in frame.columns if c not in keys and frame[c].dtype.kind in "iuf"]


def numbers(values: pd.Series) -> Floats:
    """As float64, NaN where there is none. :raises TypeError: neither numbers nor durations."""
    if values.dtype.kind == "m":
        out = values.to_numpy().astype("m8[ns]").view(np.int64).astype(np.float64)
        return np.where(values.isna(), np.nan, out)
    if values.dtype.kind not in "iufb" or isinstance(values.dtype, pd.CategoricalDtype):
        raise TypeError(f"'{values.name}' holds {values.dtype} values: nothing to draw a line of")
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def known(columns: Sequence[str], name: str) -> str:
    """*name*, which is one of *columns*; UnknownName otherwise."""
    if name not in columns:
        raise UnknownName.among(columns, name, f"there is no column '{name}'")
    return name


def _constant(label: str, rows: int) -> pd.Series:
    return pd.Series(label, index=range(rows), dtype="category")


def _bounded(span: int, every: int, kind: str) -> None:
    if kind != "stream" and span // every > MOST_BINS:
        raise BadValue(
            f"{span / 1e9:,.0f} s in bins of {every / 1e9:g} s are {span // every:,} bins",
            hints=["give every= a longer time"],
        )
