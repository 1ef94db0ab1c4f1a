"""The live view of a time series: what is asked for, what the browser gets, and what it points at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import moments, ticker
from bpfnb.views._style import CATEGORIES, Theme
from bpfnb.views.lines.asking import Wanted, few, of_map, of_rows
from bpfnb.views.lines.bins import MODES
from bpfnb.views.lines.chart import Chart, Slots
from bpfnb.views.lines.feeds import Asked, Columns, Feed, Looks, Rows, known
from bpfnb.views.lines.figure import figure
from bpfnb.views.lines.picture import picture
from bpfnb.views.lines.text import text
from bpfnb.views.lines.watch import Span, Watch
from bpfnb.views.selection import columns_of
from bpfnb.views.source import Source
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

__all__ = ["TimeSeries", "timeseries"]


class TimeSeries(View):
    """Lines over time. Make one with :func:`timeseries`.

    ``drawn`` is what is shown now as a DataFrame. ``selection`` by dragging is a range of the time column.
    """

    family = "timeseries"
    default_height = 300

    def __init__(self, source: Source, asked: Asked, **options: Any) -> None:
        super().__init__(source, **options)
        self._asked = asked
        self._slots = Slots(len(CATEGORIES))
        self._window: Span | None = None  # what the browser looks back at; None: the newest
        self._zero: int | None = None  # ns: where the browser's seconds begin
        self._feed: Feed
        if source.kind == "map":
            looks = Looks(source, asked, self.filtered)
            self._watch = Watch(source, asked.every / 1e9, self.lock, self._fail, looks.look)
            self._feed, looks.watch = looks, self._watch
        else:
            self._watch = Watch(source, min(asked.every / 1e9, 0.5), self.lock, self._fail)
            if source.kind == "frame" and asked.mode == "gauge" and asked.every == 0:
                self._feed = Columns(source, asked, self._watch, self.filtered)
            else:
                self._feed = Rows(source, asked, self._watch, self.filtered, lambda: columns_of(self.filter))
        if source.live:
            ticker.add(self._watch)

    @property
    def drawn(self) -> pd.DataFrame:
        """The bins shown now, a row each: ``start``, ``stop``, ``seconds`` measured, ``lost``, and a column a line."""
        with self.lock:
            chart = self._chart()
            frame = chart.frame()
            inside = (chart.stop >= chart.window[0]) & (chart.start <= chart.window[1])
            return frame[inside].reset_index(drop=True)

    def stop(self) -> None:
        if self.state != "done":
            self._watch.stop()
            ticker.remove(self._watch)
        super().stop()

    def _chart(self) -> Chart:
        return self._feed.chart(self._window)

    def _colors(self, chart: Chart) -> list[int]:
        """The colour of each line; -1 for the line of all others."""
        single = chart.labels[: len(chart.labels) - bool(chart.rest)]
        return [*self._slots.assign(single), *([-1] if chart.rest else [])]

    @property
    def _from_zero(self) -> bool:
        return self._asked.mode not in ("gauge",)

    def _reset(self) -> None:
        self._feed.reset()

    # Pictures

    def _build(self) -> Payload | None:
        return self._payload(self._chart())

    def _payload(self, chart: Chart) -> Payload:
        if self._zero is None:
            every = self._asked.every or 1
            self._zero = (int(chart.start[0]) if len(chart.start) else chart.window[0]) // every * every
        zero = self._zero
        meta = {
            "zero": str(zero),
            "wall": chart.window[0] >= moments.EPOCH,
            "labels": list(chart.labels),
            "slots": self._colors(chart),
            "window": _seconds(chart.window, zero),
            "history": _seconds(chart.history, zero),
            "follow": self._window is None and self.source.live,
            "many": self._asked.by is not None or len(self._asked.columns) > 1 or self.source.kind == "map",
            "running": chart.running,
            "what": chart.what,
            "unit": chart.unit,
            "per_second": chart.per_second,
            "from_zero": self._from_zero,
            "width": self._asked.every / 1e9,
            "losses": chart.lost is not None,
            "resets": list(chart.resets),
            "notes": list(chart.notes),
            "selectable": self._asked.time is not None,
            "selected": self._selected_span(),
        }
        columns = {
            "start": (chart.start - zero) / 1e9,
            "stop": (chart.stop - zero) / 1e9,
            "at": (chart.at - zero) / 1e9,
            "seconds": chart.seconds,
            "values": chart.values,
            "lost": np.zeros(0) if chart.lost is None else chart.lost,
        }
        return Payload(meta, columns)

    def _offline_payloads(self) -> list[Payload]:
        """All that is kept, of which the newest part is shown first."""
        with self.lock:
            shown = self._chart()
            whole = self._feed.chart(shown.history)
            payload = self._payload(whole)
            payload.meta["window"] = _seconds(shown.window, self._zero or 0)
            return [payload]

    def _static(self, theme: Theme) -> str:
        chart = self._chart()
        return picture(
            chart,
            self._colors(chart),
            title=self.title,
            height=self.height,
            zero=self._from_zero,
            theme=theme,
        )

    def _figure(self) -> Any:
        chart = self._chart()
        return figure(chart, self._colors(chart), title=self.title, zero=self._from_zero)

    def _text(self) -> str:
        with self.lock:
            return text(self._chart(), self.title)

    # What the browser asks for

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        kind = content.get("kind")
        if kind == "window":
            self._window = None if content.get("follow") else self._span_of(content)
            self.refresh()
        elif kind == "select":
            self._select(self._span_of(content) if content.get("to") is not None else None)

    def _span_of(self, content: Mapping[str, Any]) -> Span:
        zero = int(str(content["zero"]))
        low, high = (zero + round(float(content[end]) * 1e9) for end in ("from", "to"))
        if high <= low:
            raise BadValue("a span of time ends after it begins")
        return low, high

    def _select(self, span: Span | None) -> None:
        column = self._asked.time
        if column is None:
            raise BadValue("the entries of a map have no time to select by")
        kept = {name: condition for name, condition in self.selection.items() if name != column}
        if span is not None:
            low, high = (self._in_column(moment) for moment in span)
            kept[column] = {"ge": low, "lt": high}
        self.selection = kept

    def _selected_span(self) -> list[float] | None:
        condition = self.selection.get(self._asked.time) if self._asked.time else None
        if not isinstance(condition, Mapping) or not {"ge", "lt"} <= set(condition):
            return None
        factor = self._factor
        return _seconds((int(condition["ge"] * factor), int(condition["lt"] * factor)), self._zero or 0)

    @property
    def _factor(self) -> int:
        """How many ns the time column counts by."""
        if not hasattr(self, "_counts_by"):
            column = self._asked.time or ""
            times = self.source.rows(*few(self.source), [column])[column]
            self._counts_by = moments.factor(times, self.source.about(column).get("unit"))
        return self._counts_by

    def _in_column(self, moment: int) -> int | float:
        whole, rest = divmod(moment, self._factor)
        return moment / self._factor if rest else whole


def timeseries(
    data: Any,
    column: str | Sequence[str] | None = None,
    *,
    by: str | None = None,
    mode: str | None = None,
    every: object = None,
    span: object = "60s",
    time: str | None = None,
    top: int = 8,
    unit: str | None = None,
    height: int | None = None,
    title: str = "",
    hz: float = 10.0,
) -> TimeSeries:
    """Lines over time, of a stream, a map, a recording or a DataFrame.

    - **A stream, or a frame of events**: its rows in bins of time. ``timeseries(io.events)`` is rows per second;
      ``timeseries(io.events, "latency", mode="p99", by="comm")`` one line for each comm. *mode* is ``rate`` (rows per
      second; of a column, its sum per second), ``count``, ``sum``, ``mean``, ``max``, ``p50``, ``p90``, ``p99``
      (nearest rank: values that occurred) or ``gauge`` (the last value). Without a column it is ``rate``, else
      ``mean``. Rows have the time of the column *time* (found by its annotation, type or name), and where there is
      none the time at which they arrived. A rate is divided by the seconds measured in the bin; bins in which nothing
      was measured (before the start, while the object was paused) are gaps.
    - **A map**: its values, looked at every so often, one line a key. Unsigned numbers count upwards: ``rate``, what
      they grew by, divided by the true time between two looks. A counter that went down, or vanished and came back,
      began again at zero: it counts what it has now, the look is marked, and no rate is ever negative. Other numbers
      are drawn as they are (``gauge``).
    - **A frame with a time index**: one line a column, as they are, unless *mode*, *by* or *every* say otherwise.

    *by* makes one line for each value of a column (of the key, for a map), for the *top* ones with the largest total of
    what is added up, or most rows where nothing is; a line that is drawn gives way only to one a quarter larger. The
    rest are together in a line of their own, counted in its label. *every* (``"1s"``, a timedelta, seconds) is the
    width of a bin, *span* the time shown at once while live; by default at most 150 bins are seen. *unit* overrides
    the column's.

    Times in the picture are UTC. Losses stand in a strip of their own at the moment they were noticed.

    :raises UnknownName: no such column or mode. :raises BadValue: options that do not go together.
    :raises TypeError: a column that holds no numbers.
    """
    source = _source(data)
    columns = (column,) if isinstance(column, str) else tuple(column or ())
    if mode is not None and mode not in MODES:
        raise UnknownName.among(list(MODES), mode, f"there is no mode '{mode}'")
    if by is not None and len(columns) > 1:
        raise BadValue("several columns are several lines already", hints=["give one column, or no by="])
    for name in (*columns, *filter(None, (by, time))):
        known(source.columns, name)
    width = moments.duration(every) if every is not None else None
    wanted = Wanted(columns, by, mode, width, moments.duration(span), time, max(int(top), 1), unit)
    asked = of_map(source, wanted) if source.kind == "map" else of_rows(source, wanted, data)
    return TimeSeries(source, asked, height=height, title=title, hz=hz)


def _source(data: Any) -> Source:
    """The source; an index of times without a name becomes a column too."""
    if isinstance(data, pd.DataFrame | pd.Series) and isinstance(data.index, pd.DatetimeIndex):
        named = data if data.index.name is not None else data.rename_axis("time")
        source = Source.of(named)
        source.key = Source.of(data).key
        return source
    return Source.of(data)


def _seconds(span: Span, zero: int) -> list[float]:
    return [(span[0] - zero) / 1e9, (span[1] - zero) / 1e9]
