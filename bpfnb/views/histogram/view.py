"""The live histogram: what it counts, and how it follows a stream, a map or stands on a frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
import traitlets

from bpfnb.errors import BadValue, BpfnbError, UnknownName
from bpfnb.views import selection as selections
from bpfnb.views._buckets import Edges
from bpfnb.views._style import Theme, humanize, palette
from bpfnb.views.histogram.asked import Asked, Buckets, first_of
from bpfnb.views.histogram.counting import Counter
from bpfnb.views.histogram.parts import everything, parts
from bpfnb.views.histogram.picture import counts_table, svg
from bpfnb.views.histogram.pointed import condition, merged, spans
from bpfnb.views.histogram.scale import Outgrown
from bpfnb.views.histogram.text import edge_labels, marks, range_labels, text
from bpfnb.views.histogram.value import Histogram
from bpfnb.views.source import Source
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

__all__ = ["HistogramView", "hist"]

FEW = 50_000
"""Rows of a stream up to which each picture is counted anew, with exact percentiles."""

REMEMBERED = 16  # sets of edges that the browser may still point at

Layout = Literal["multiples", "stacked"]


class HistogramView(View):
    """A histogram that follows its source. Make one with :func:`hist`.

    As a value it is what :class:`Histogram` is, of this moment: ``histogram``, ``counts``, ``table``, ``edges``,
    ``groups``, ``percentiles``, ``total``, ``unit``, ``text()``. ``layout`` (``multiples`` or ``stacked``) and ``log``
    (the axis of counts) may be set.
    """

    family = "histogram"
    arrangement = traitlets.Enum(("multiples", "stacked"), "multiples").tag(sync=True)
    log = traitlets.Bool(False).tag(sync=True)

    def __init__(self, data: Any, asked: Asked, *, arrangement: Layout = "multiples", **options: Any) -> None:
        self.asked = asked
        self._counter: Counter | None = None
        self._chosen: dict[str, Any] = {}  # the filter with which it counts
        self._next = 0
        self._edges: Edges | None = None
        self._binned = ""
        self._binnings: OrderedDict[int, Histogram] = OrderedDict()
        self._places: list[str] = []
        self._past: Histogram | None = None
        if options.get("height") is None and asked.by is not None:
            options["height"] = 440
        super().__init__(data, arrangement=arrangement, **options)
        self.histogram  # noqa: B018  a column that cannot be counted is said now, not in the ticker's thread

    # The value of now

    @property
    def histogram(self) -> Histogram:
        """The histogram of this moment, as a value that nothing changes afterwards."""
        with self.lock:
            try:
                self._past = self._count()
            except BpfnbError:
                if self._past is None or not self.source.closed:
                    raise
            return self._past

    counts = property(lambda self: self.histogram.counts, doc="As :attr:`Histogram.counts`, now.")
    table = property(lambda self: self.histogram.table, doc="As ``Histogram.table``, now.")
    edges = property(lambda self: self.histogram.edges, doc="As ``Histogram.edges``, now.")
    groups = property(lambda self: self.histogram.groups, doc="As ``Histogram.groups``, now.")
    percentiles = property(lambda self: self.histogram.percentiles, doc="As ``Histogram.percentiles``, now.")
    total = property(lambda self: self.histogram.total, doc="As :attr:`Histogram.total`, now.")
    missing = property(lambda self: self.histogram.missing, doc="As ``Histogram.missing``, now.")
    unit = property(lambda self: self.histogram.unit, doc="As ``Histogram.unit``.")
    exact = property(lambda self: self.histogram.exact, doc="As ``Histogram.exact``, now.")

    def text(self, width: int = 40) -> str:
        """Bars of asterisks under ``range : count``, as bcc and bpftrace print them."""
        return text(self.histogram, width)

    # Counting

    @property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys([*self.asked.columns, *selections.columns_of(self.filter)]))

    def _count(self) -> Histogram:
        first, after = self.source.span()
        if self.source.kind == "stream" and not self.source.closed and after - first > FEW:
            return self._follow(first)
        self._counter = None
        return self._all()

    def _all(self) -> Histogram:
        """All rows, counted anew."""
        frame = self.source.frame(self._columns)
        keep = selections.apply(frame, self.filter) if self.filter else None
        linear = (
            self.asked.mode == "values"
            and isinstance(self.asked.buckets, int | str)
            and self.asked.buckets != "log2"
        )
        if linear and self._edges is not None:
            found = self.asked.count(frame, keep, self._edges)
            if found.edges == self._edges:
                return found
        found = self.asked.count(frame, keep)
        if linear and self.source.live and found.total:
            if self._edges is not None:
                self._binned = f", re-binned at {datetime.now().astimezone():%H:%M:%S}"
            self._edges = found.edges
        return found

    def _follow(self, floor: int) -> Histogram:
        """The rows that are new counted in, those that went taken off."""
        if self._counter is None or self._chosen != self.filter:
            return self._begin()
        try:
            self._add(self._counter)
        except Outgrown:
            return self._begin()
        self._counter.forget(floor)
        return self._counter.histogram()

    def _begin(self) -> Histogram:
        edges = self._all().edges
        dtype = np.dtype(np.float64 if any(isinstance(edge, float) for edge in edges) else np.int64)
        self._chosen = dict(self.filter)
        self._counter, self._next = Counter(self.asked, edges, dtype, bool(self.filter)), 0
        self._add(self._counter)
        return self._counter.histogram()

    def _add(self, counter: Counter) -> None:
        plain = None if self.filter or self.asked.by else self.source.arrays(self._next, self._columns)
        if plain is not None:
            after = plain.number + plain.rows
            if plain.rows:
                counter.add(plain.columns, range(plain.number, after), None)
        else:
            frame, after = self.source.since(self._next, self._columns)
            if len(frame):
                keep = selections.apply(frame, self.filter) if self.filter else None
                counter.add(frame, frame.index, keep)  # type: ignore[arg-type]  # a sequence but by name
        self._next = after

    def _reset(self) -> None:
        self._counter = None

    # Pictures

    def _build(self) -> Payload | None:
        h = self.histogram
        shown = parts(h, self._places)
        self._places = [part.label for part in shown if not part.others]
        everybody = everything(h)
        meta = {
            "binning": self._binning(h),
            "name": h.name or self.source.name,
            "unit": h.unit or "",
            "labels": edge_labels(h),
            "ranges": range_labels(h),
            "groups": [
                {"label": part.label, "others": part.others, "marks": marks(h, part.percentiles, part.exact)}
                for part in shown
            ],
            "marks": marks(h, everybody.percentiles, everybody.exact),
            "missing": h.missing,
            "note": self._note(h),
            "filter": selections.describe(self.filter, self.source.about),
            "selectable": self.asked.mode != "arrays",
            "selected": self._selected_spans(h),
            "chosen": self._chosen_groups(h),
        }
        columns = {"counts": np.array([part.counts for part in shown]).astype(np.uint64)}
        if h.behind is not None:
            columns["behind"] = np.array([part.behind for part in shown]).astype(np.uint64)
        return Payload(meta, columns)

    def _note(self, h: Histogram) -> str:
        """What the buckets and the percentiles are."""
        asked, size = self.asked, len(h.edges) - 1
        if not (h.table if h.behind is None else h.behind).any():
            return ""  # the buckets are none that values gave
        if asked.mode != "values":
            where = "in the kernel" if self.source.kind == "map" else "by slot"
            width = humanize(asked.buckets, h.unit) if isinstance(asked.buckets, int) else ""
            kind = (
                "log2 buckets"
                if asked.buckets == "log2"
                else f"buckets of {width}"
                if width
                else "given buckets"
            )
            note = f"{kind}, as counted {where}"
        elif asked.buckets == "log2":
            note = "log2 buckets"
        elif isinstance(asked.buckets, str | int):
            low, high = (humanize(edge, h.unit) for edge in (h.edges[0], h.edges[-1]))
            note = f"{size} linear bucket{'s' * (size > 1)} over {low} to {high}{self._binned}"
        else:
            note = f"{size} buckets, as given"
        if not h.total:
            return note
        return f"{note}; percentiles {'exact (nearest rank)' if h.exact else 'interpolated within buckets'}"

    def _static(self, theme: Theme) -> str:
        h = self.histogram
        return svg(
            h,
            palette(theme),
            layout=self.arrangement,
            log=self.log,
            title=self.title,
            note=self._note(h)
            + (f"; only {selections.describe(self.filter, self.source.about)}" if self.filter else ""),
            places=self._places,
        )

    def _beneath(self) -> str:
        return counts_table(self.histogram)

    def _figure(self) -> Any:
        from bpfnb.views.histogram.figure import figure

        return figure(self.histogram, self.log, self.title)

    def to_plotly(self, *, log: bool | None = None) -> Any:
        """A plotly bar figure: range and count on hover, percentiles marked. *log*: counts on a logarithmic axis."""
        from bpfnb.views.histogram.figure import figure

        return figure(self.histogram, self.log if log is None else log, self.title)

    def _text(self) -> str:
        return self.text()

    # Pointing

    def _binning(self, h: Histogram) -> int:
        """A number for the buckets of *h*, by which the browser names those it points at."""
        number = next(reversed(self._binnings), 0)
        if number and self._binnings[number].edges == h.edges:
            self._binnings[number] = h
            return number
        self._binnings[number + 1] = h
        while len(self._binnings) > REMEMBERED:
            self._binnings.popitem(last=False)
        return number + 1

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        if content.get("kind") != "select":
            raise BadValue(f"a histogram knows no message '{content.get('kind')}'")
        h = self._binnings.get(int(content["binning"]))
        if h is None:
            raise BadValue("these buckets are no longer drawn: select again")
        self.selection = self._select(h, content["buckets"], content["groups"])

    def _select(
        self, h: Histogram, buckets: Sequence[Sequence[int]], groups: Sequence[str]
    ) -> dict[str, Any]:
        """The selection that stands for runs of buckets, and for groups, of *h*."""
        out: dict[str, Any] = {}
        runs = merged(buckets, len(h.edges) - 1)
        if self.asked.mode == "values":
            ranges: list[Any] = condition(runs, h.edges)
        else:
            ranges = [{"ge": h.low + start, "lt": h.low + stop} for start, stop in runs]
        if ranges and self.asked.mode != "arrays":
            out[self.asked.column] = ranges[0] if len(ranges) == 1 else ranges
        keys = [_plain(key) for key, label in zip(h.keys, h.groups, strict=True) if label in groups]
        if self.asked.by is not None and keys:
            out[self.asked.by] = {"in": keys}
        return out

    def _selected_spans(self, h: Histogram) -> list[tuple[float, float]]:
        if self.asked.column not in self.selection:
            return [(0, len(h.edges) - 1)] if self.asked.by in self.selection else []
        return spans(h, self.selection[self.asked.column], self.asked.mode == "slots")

    def _chosen_groups(self, h: Histogram) -> list[str]:
        """The labels of the groups that the selection names; none: all."""
        selected = self.selection.get(self.asked.by) if self.asked.by else None
        wanted = selected.get("in", []) if isinstance(selected, Mapping) else []
        return [label for key, label in zip(h.keys, h.groups, strict=True) if _plain(key) in wanted]


def hist(
    data: Any,
    column: str | None = None,
    buckets: Buckets = "log2",
    *,
    by: Any = None,
    unit: str | None = None,
    first: int | None = None,
    layout: Layout = "multiples",
    height: int | None = None,
    title: str = "",
    hz: float = 10.0,
) -> HistogramView:
    """A histogram of *data*, in buckets ``"log2"``, ``"linear"``, about so many linear ones (an integer), or edges.

    - ``hist(series)``, ``hist(array)``: of the values. ``hist(frame, "latency", by="comm")``: of one column, in
      groups by another.
    - ``hist(io.latency)``: of a map that holds counts by slot: its ``key`` is the slot and its ``value`` the
      count. Also a frame of that shape, one whose ``slot`` or ``bucket`` stands beside other keys (to group *by*),
      and one whose rows hold an array of slots (``slots.0``, ``slots.1`` ...; name it with *column* where there are
      several). Here an integer *buckets* is the width of a linear slot, and *first* the exponent of slot 0 (0, or
      what the map's VIEW says). Other shapes: :meth:`Histogram.from_slots`.

    Where they are not given, the unit is taken from the annotation of the column, and unit and buckets from
    the map's VIEW. It is live where *data* is live, *hz* times a second; groups stand beside each other
    (``multiples``) or on each other (``stacked``).

    :raises UnknownName: no such column. :raises TypeError: values that are no numbers.
    :raises ValueError: buckets that are none, slots that are none.
    """
    if isinstance(data, Sequence | np.ndarray):
        data = pd.Series(np.asarray(data).reshape(-1), name="")
    if isinstance(data, pd.Series):
        column = str(data.name) if data.name else "value"
        attrs, data = data.attrs, data.rename(column).to_frame()
        data.attrs = dict(attrs)
    if by is not None and not isinstance(by, str):
        frame = data if isinstance(data, pd.DataFrame) else Source.of(data).frame()
        by, data = "group", frame.assign(group=np.asarray(by))
    source = Source.of(data)
    if isinstance(buckets, str) and buckets not in ("log2", "linear"):
        raise UnknownName(f"there are no '{buckets}' buckets", hints=["log2, linear, a number, or edges"])
    view = source.view
    first = first_of(getattr(source.data, "view", None)) if first is None else first
    asked = Asked.of(source.columns, column, buckets, by=by, first=first, view=view)
    if unit is None and view[:1] == ("hist",):
        unit = next((word for word in view[1:] if word not in ("log2", "linear")), None)
    unit = unit or source.about(asked.column).get("unit") or source.about(asked.weight or "").get("unit")
    return HistogramView(
        source,
        replace(asked, unit=unit, name=asked.name or source.name),
        arrangement=layout,
        height=height,
        title=title or asked.title(source.name),
        hz=hz,
    )


def _plain(key: Any) -> Any:
    """A group's key as JSON has it; missing ones are None."""
    key = key.item() if isinstance(key, np.generic) else key
    if key is None or key is pd.NA or (isinstance(key, float) and key != key):
        return None
    return key if isinstance(key, str | int | float | bool) else str(key)
