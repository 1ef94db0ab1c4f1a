"""The pictures that a live frame offers as methods, and the moment from which they stand still."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfnb.frames.mapframe import MapFrame
    from bpfnb.symbols import AddressNames
    from bpfnb.views import (
        EventTable,
        FlameGraph,
        HeatmapView,
        HistogramView,
        ServiceMap,
        TimeSeries,
        Waterfall,
    )

__all__ = ["Drawn"]


class Drawn:
    """Mixed into streams and maps. The views are imported when one is asked for: frames stand below them."""

    siblings: Mapping[str, MapFrame] = {}
    """The maps of the same object, by name."""

    origin = ""
    """Where its rows come from, where that is not this machine's kernel: ``recorded 2026-03-01 ... on kernel 6.18``."""

    symbols: AddressNames | None = None
    """What names the addresses in its stacks, where that is not this machine."""

    gone: frozenset[str] = frozenset()
    """Columns that a recording lacks: their values are missing, whatever their type."""

    settled = False
    """Whether nothing more will come though nobody ended it: all of a recording is here."""

    _ended = False

    def hist(self, column: str | None = None, **options: Any) -> HistogramView:
        """A histogram of a stream's column, or of a map's counts by slot: see :func:`bpfnb.views.hist`."""
        from bpfnb.views import hist

        return hist(self, **self.named("hist", options, column=column))

    def heatmap(self, column: str | None = None, **options: Any) -> HeatmapView:
        """A column's values, or a map's counts by slot, over time: see :func:`bpfnb.views.heatmap`."""
        from bpfnb.views import heatmap

        return heatmap(self, **self.named("heatmap", options, column=column))

    def table(self, columns: list[str] | None = None, **options: Any) -> EventTable:
        """The rows, millions if need be: see :func:`bpfnb.views.table`."""
        from bpfnb.views import table

        return table(self, **self.named("table", options, columns=columns))

    def timeseries(self, column: str | list[str] | None = None, **options: Any) -> TimeSeries:
        """Rates and values over time: see :func:`bpfnb.views.timeseries`."""
        from bpfnb.views import timeseries

        return timeseries(self, **self.named("timeseries", options, column=column))

    def servicemap(self, *args: Any, **options: Any) -> ServiceMap:
        """Who talks to whom: see :func:`bpfnb.views.servicemap`."""
        from bpfnb.views import servicemap

        return servicemap(self, *args, **(options if args else self.named("servicemap", options)))

    def flamegraph(self, stack: str | None = None, **options: Any) -> FlameGraph:
        """Stacks with their weights: see :func:`bpfnb.views.flamegraph`."""
        from bpfnb.views import flamegraph

        options = self.named("flamegraph", options, stack=stack)
        where = [frame for frame in self.siblings.values() if frame.kind == "stack_trace"]
        if len(where) == 1:
            options.setdefault("stacks", where[0])
        return flamegraph(self, **options)

    def waterfall(self, **options: Any) -> Waterfall:
        """Spans on a shared time axis: see :func:`bpfnb.views.waterfall`."""
        from bpfnb.views import waterfall

        return waterfall(self, **self.named("waterfall", options))

    def present(self) -> int:
        """What time it is where its rows come from, in ns since 1970: of a recording, the moment that has come."""
        return time.time_ns()

    def named(self, kind: str, options: Mapping[str, Any] | None = None, **given: Any) -> dict[str, Any]:
        """*options*, and what is *given*; where no column is, those that an annotation VIEW(*kind*, ...) names."""
        options = {**{name: value for name, value in given.items() if value is not None}, **(options or {})}
        annotation: tuple[str, ...] = getattr(self, "view", None) or ()
        if not annotation or annotation[0] != kind or (given.keys() & options.keys()):
            return options
        pairs = dict(word.split("=", 1) for word in annotation if "=" in word)
        pairs.pop("first", None)  # the views of slots read it themselves
        asked = {name: self.siblings.get(at) if name == "stacks" else at for name, at in pairs.items()}
        return {**asked, **options}

    def _display_(self) -> object:
        """What marimo shows."""
        from bpfnb.views.objectpanel import frame_view

        return frame_view(self)  # type: ignore[arg-type]  # mixed into just these

    @property
    def pauses(self) -> list[tuple[float, float | None]]:
        """When nothing was measured because no program was attached: begin and end (None: still) in s since 1970."""
        found: list[tuple[float, float | None]] = self.__dict__.setdefault("_pauses", [])
        return found

    def measuring(self, on: bool) -> None:
        """The programs that fill it were attached, or detached."""
        now = time.time()
        if on and self.pauses and self.pauses[-1][1] is None:
            self.pauses[-1] = (self.pauses[-1][0], now)
        elif not on and not (self.pauses and self.pauses[-1][1] is None):
            self.pauses.append((now, None))

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more: the object was stopped or closed."""
        return self._ended

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call the bound method *callback* once nothing will change any more. Its object is held weakly."""
        self._endings.append(weakref.WeakMethod(callback))

    @property
    def _endings(self) -> list[weakref.WeakMethod[Any]]:
        found: list[weakref.WeakMethod[Any]] = self.__dict__.setdefault("_ending_calls", [])
        return found

    def end(self) -> None:
        """Nothing more will come, though what there is stays readable: pictures are drawn a last time, for good."""
        endings, self._endings[:] = list(self._endings), []
        for ending in endings:
            callback = ending()
            if callback is not None:
                callback()
        self._ended = True  # only now: a last picture must not take what was read before for the end
