"""The live heatmap: what it is fed with, what travels, and what was pointed at."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets

from bpfnb.errors import BadValue, BpfnbError
from bpfnb.views import moments
from bpfnb.views import selection as selections
from bpfnb.views._style import Theme, humanize, palette
from bpfnb.views.heat.colors import MAPPINGS
from bpfnb.views.heat.feeds import Feed, Rows, Samples
from bpfnb.views.heat.given import Given
from bpfnb.views.heat.grid import Block, Grid
from bpfnb.views.heat.picture import Picture, svg, text
from bpfnb.views.histogram.pointed import condition, merged, spans
from bpfnb.views.histogram.text import edge_labels, range_labels
from bpfnb.views.histogram.value import Histogram
from bpfnb.views.source import Source
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

__all__ = ["HeatmapView"]

_NOTHING: Mapping[str, Any] = {"filter": "", "selected": None}
REMEMBERED = 16  # sets of edges that the browser may still point at


class HeatmapView(View):
    """A heatmap that follows its source. Make one with :func:`bpfnb.views.heatmap`.

    ``counts`` is the grid of now as a DataFrame. ``mapping``, from counts to colours, is ``sqrt``, ``log`` or
    ``linear`` and may be set.
    """

    family = "heatmap"
    incremental = True
    mapping = traitlets.Enum(MAPPINGS, "sqrt").tag(sync=True)

    def __init__(
        self,
        source: Source,
        feed: Feed,
        *,
        what: str = "values",
        what_unit: str | None = None,
        **options: Any,
    ):
        self._feed = feed
        self._what, self._what_unit = what, what_unit
        self._binnings: OrderedDict[int, tuple[Histogram, Grid]] = OrderedDict()
        self._grid: Grid | None = None
        self._buckets: Histogram | None = None
        self._noted: tuple[Grid | None, int, str] = (None, 0, "")
        self._told: tuple[int, str, Mapping[str, Any]] | None = None
        super().__init__(source, **options)
        with self.lock:
            self._update()  # what cannot be counted is said now, not in the ticker's thread
        if isinstance(feed, Samples):
            threading.Thread(
                target=_sample, args=(weakref.ref(self), feed), name="bpfnb-heatmap", daemon=True
            ).start()

    # The value of now

    @property
    def counts(self) -> pd.DataFrame:
        """The grid of now: a row a column of time (its beginning, UTC), a column a bucket (its lower edge).

        float64; NaN in gaps. ``attrs["edges"]`` are all edges, ``attrs["every_ns"]`` the length of a column.
        """
        with self.lock:
            self._update()
            block, grid = self._block(), self._feed.grid
        begins = grid.origin + (block.first + np.arange(len(block.counts))) * grid.every
        table = np.where(block.measured[:, None] | (block.counts > 0), block.counts, np.nan)
        index = (
            pd.DatetimeIndex(begins, tz="UTC", name="time") if self._clock else pd.Index(begins, name="time")
        )
        frame = pd.DataFrame(table, index=index, columns=list(grid.edges[:-1]))
        frame.attrs["edges"], frame.attrs["every_ns"] = list(grid.edges), grid.every
        return frame

    @property
    def _clock(self) -> bool:
        """Whether moments count from 1970."""
        return self._feed.grid.origin >= moments.EPOCH

    def _update(self) -> None:
        """Count what is new, when nobody has looked at the source for a new frame just now."""
        self.source.recount()
        self._feed_on()

    def _feed_on(self) -> None:
        try:
            self._feed.update(self.filter)
        except BpfnbError:
            if not self.source.closed:
                raise

    # Pictures

    def _build(self) -> Payload | None:
        self._feed_on()
        live = self.source.live
        if live and self.state == "live":
            self._dirty = True  # time goes on, though no row may come
        grid = self._feed.grid
        h = self._shape(grid)
        restarted = grid is not self._grid
        binning = self._binning(h, restarted)
        self._grid = grid
        drawn = self._drawn()
        about = (binning, self._note(), drawn)
        news = self.full or about != self._told
        if not (news or grid.dirty < grid.stop):
            return None
        block = self._block(None if self.full or restarted else grid.dirty)
        grid.taken()
        width = grid.width if live else max(1, grid.stop - grid.first)
        meta: dict[str, Any] = {"first": grid.first, "stop": grid.stop, "from": block.first, "width": width}
        if news:  # the browser keeps what it was told: most frames are a few columns
            self._told = about
            meta |= {
                "binning": binning,
                "origin": str(grid.origin),
                "every": str(grid.every),
                "clock": self._clock,
                "name": self._feed.asked.column,
                "labels": edge_labels(h),
                "ranges": range_labels(h),
                "what": self._what,
                "whatUnit": self._what_unit or "",
                "note": about[1],
                **drawn,
            }
        columns = {"counts": _narrow(block.counts, grid.rows)}
        if np.count_nonzero(block.measured) < len(block.measured):
            columns["measured"] = block.measured
        if np.count_nonzero(block.lost):
            columns["lost"] = block.lost.astype(np.uint32)
        return Payload(meta, columns)

    def _drawn(self) -> Mapping[str, Any]:
        """What is drawn besides the cells."""
        if not (self.filter or self.selection):
            return _NOTHING
        return {"filter": selections.describe(self.filter, self.source.about), "selected": self._selected()}

    def _block(self, start: int | None = None) -> Block:
        """Columns to draw; a filter on the slots of a map leaves buckets out."""
        block = self._feed.grid.block(start)
        asked = self._feed.asked
        if isinstance(self._feed, Samples) and asked.column in self.filter:
            _, starts = self._feed.grid.shown
            only = {asked.column: self.filter[asked.column]}
            kept = selections.apply(pd.DataFrame({asked.column: starts[:-1]}), only)
            return replace(block, counts=np.where(kept, block.counts, 0.0))
        return block

    def _shape(self, grid: Grid) -> Histogram:
        """The buckets as an empty histogram, which knows their labels."""
        edges, starts = grid.shown
        if self._buckets is None or self._buckets.edges is not edges:
            empty = np.zeros((1, len(edges) - 1), np.int64)
            self._buckets = Histogram(edges, empty, unit=self._feed.asked.unit, low=int(starts[0]))
        return self._buckets

    def _picture(self) -> Picture:
        self._update()
        grid = self._feed.grid
        labels = edge_labels(self._shape(grid))
        return Picture(grid, self._block(), labels, self._what, self._what_unit, self.mapping, self._clock)

    def _static(self, theme: Theme) -> str:
        picture = self._picture()
        notes = [self._note()]
        if self.filter:
            notes.append(f"only {selections.describe(self.filter, self.source.about)}")
        return svg(picture, palette(theme), title=self.title or self._feed.asked.column, notes=notes)

    def _figure(self) -> Any:
        from bpfnb.views.heat.figure import figure

        picture = self._picture()
        return figure(picture, range_labels(self._shape(picture.grid)), self.title)

    def _text(self) -> str:
        return text(self._picture())

    def text(self) -> str:
        """A line a bucket and a letter a column, darker for more; ``?`` where nothing was measured."""
        with self.lock:
            return self._text()

    def _note(self) -> str:
        """What columns and buckets are, and what could not be put into any."""
        feed, grid = self._feed, self._feed.grid
        if self._noted[:2] == (grid, feed.unplaced):
            return self._noted[2]
        buckets = feed.asked.buckets
        kind = buckets if isinstance(buckets, str) else "linear" if isinstance(buckets, int) else "given"
        parts = [f"columns of {humanize(grid.every, 'ns')}", f"{kind} buckets"]
        if isinstance(feed, Samples):
            parts[1] += ", as counted in the kernel"
            parts[0] += ", differences of samples"
        if isinstance(feed, Rows) and feed.at is None:
            parts[0] += " by arrival"
        if isinstance(feed, Given):
            parts = [f"columns of {humanize(grid.every, 'ns')}" if self._clock else "columns as given"]
        if feed.unplaced:
            parts.append(f"{feed.unplaced:,} {self._what} of unknown time are in no column")
        self._noted = grid, feed.unplaced, "; ".join(parts)
        return self._noted[2]

    # Pointing

    def _binning(self, h: Histogram, restarted: bool) -> int:
        """A number for these buckets and this grid, by which the browser names what it points at."""
        number = next(reversed(self._binnings), 0)
        if number and not restarted:
            last = self._binnings[number][0]
            if last is h or last.edges == h.edges:
                return number
        self._binnings[number + 1] = h, self._feed.grid
        while len(self._binnings) > REMEMBERED:
            self._binnings.popitem(last=False)
        return number + 1

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        if content.get("kind") != "select":
            raise BadValue(f"a heatmap knows no message '{content.get('kind')}'")
        drawn = self._binnings.get(int(content["binning"]))
        if drawn is None:
            raise BadValue("these buckets are no longer drawn: select again")
        h, grid = drawn
        columns, buckets = content.get("columns"), content.get("buckets")
        self.selection = (
            {**self._times(grid, columns), **self._values(h, buckets)} if columns and buckets else {}
        )

    def _times(self, grid: Grid, columns: Sequence[int]) -> dict[str, Any]:
        """The condition on the moment of rows for columns from, to (exclusive); none where rows have no moment."""
        feed = self._feed
        start, stop = (int(column) for column in columns)
        if isinstance(feed, Rows) and feed.at is not None:
            begin, end = grid.moment(start), grid.moment(stop)
            if feed.factor != 1:
                return {feed.at: {"ge": begin / feed.factor, "lt": end / feed.factor}}
            return {feed.at: {"ge": begin, "lt": end}}
        if isinstance(feed, Rows):
            later = [number for column, number in sorted(feed.starts.items()) if column >= stop]
            within = [number for column, number in sorted(feed.starts.items()) if column >= start]
            if not within:
                return {selections.ROW: {"in": []}}
            return {selections.ROW: {"ge": within[0], **({"lt": later[0]} if later else {})}}
        return {}

    def _values(self, h: Histogram, buckets: Sequence[int]) -> dict[str, Any]:
        runs = merged([buckets], len(h.edges) - 1)
        asked = self._feed.asked
        if isinstance(self._feed, Given) or asked.mode == "arrays":
            return {}
        if asked.mode == "slots":
            return {asked.column: {"ge": h.low + runs[0][0], "lt": h.low + runs[0][1]}} if runs else {}
        found = condition(runs, h.edges)
        return {asked.column: found[0]} if found else {}

    def _selected(self) -> dict[str, Any] | None:
        """Where the selection lies, in columns and buckets: the range of each, None for all."""
        if not self.selection:
            return None
        feed = self._feed
        asked, at = feed.asked, feed.at if isinstance(feed, Rows) else None
        h = self._shape(feed.grid)
        values = self.selection.get(asked.column)
        found = spans(h, values, asked.mode == "slots") if values is not None else []
        buckets = [found[0][0], found[-1][1]] if found else None
        columns = None
        tests = self.selection.get(at) if at else None
        if isinstance(tests, Mapping) and isinstance(feed, Rows):
            bounds = [tests.get("ge", tests.get("gt")), tests.get("lt", tests.get("le"))]
            columns = [
                None if bound is None else (bound * feed.factor - feed.grid.origin) / feed.grid.every
                for bound in bounds
            ]
        return {"columns": columns, "buckets": buckets}


def _sample(view: weakref.ref[HeatmapView], feed: Samples) -> None:
    """Look at the map at the end of each column, whether anybody looks at the picture or not."""
    while True:
        grid = feed.grid
        ends = grid.moment(grid.number(time.time_ns()) + 1)
        time.sleep(max(0.001, (ends - time.time_ns()) / 1e9 + 0.001))
        found = view()
        if found is None or found.state == "done" or found.source.closed:
            return
        if found.state == "live":
            with found.lock:
                found._guard(found._update)
        del found


def _narrow(counts: npt.NDArray[np.float64], rows: int | None) -> npt.NDArray[Any]:
    """Counts as they travel: uint32 where they are whole and fit, else float32 (seven digits). *rows*: see Grid."""
    if rows is not None and rows < 2**32:
        return counts.astype(np.uint32)
    if np.count_nonzero((counts >= 0) & (counts < 2**32)) == counts.size:
        whole = counts.astype(np.uint32)
        if not np.count_nonzero(whole != counts):
            return whole
    return counts.astype(np.float32)
