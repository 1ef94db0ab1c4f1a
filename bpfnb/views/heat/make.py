"""Which heatmap is meant: what feeds it, how long a column is, and how much is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import moments
from bpfnb.views.heat.feeds import Rows, Samples
from bpfnb.views.heat.given import Given, is_grid
from bpfnb.views.heat.view import HeatmapView
from bpfnb.views.histogram.asked import Asked, Buckets, first_of
from bpfnb.views.source import Source

__all__ = ["heatmap"]

COLUMNS = 300


def heatmap(
    data: Any,
    column: str | None = None,
    buckets: Buckets = "log2",
    *,
    time: str | None = None,
    every: str | float | None = None,
    unit: str | None = None,
    weight: str | None = None,
    span: str | int | None = None,
    first: int | None = None,
    height: int | None = None,
    title: str = "",
    hz: float = 10.0,
) -> HeatmapView:
    """How the values of *column* are spread, and how that changes: time from left to right, values upwards.

    - ``heatmap(io.events, "latency")``: of a stream, or a frame whose rows say when they happened, in the column
      *time* (default: the first timestamp; for streams without one, when rows arrive).
    - ``heatmap(io.latency)``: of a map that holds counts by slot (see :func:`hist`, also for *first*): it is read at
      the end of each column, which shows what was added.
    - ``heatmap(grid)``: a DataFrame whose index is time and whose columns are the buckets' lower edges, or a 2-D
      array (time, bucket). NaN: not measured.

    A column covers *every* (``"1s"``, ``"250ms"``, seconds; default: a second, and for data at rest what makes some
    240 columns). *span* is how much is kept, as a time or a number of columns (300). Colours are counts, or the sum
    of the column *weight*. *buckets* and *unit* as for :func:`hist`.

    :raises UnknownName: no such column, or none that says when. :raises TypeError: values that are no numbers.
    :raises ValueError: buckets or lengths of time that are none.
    """
    length = None if every is None else moments.duration(every)
    options: dict[str, Any] = {"height": height, "title": title, "hz": hz}
    if column is None and is_grid(data):
        given = Given(data, length, unit)
        return HeatmapView(given.source, given, what="values", **options)
    source = Source.of(data)
    view = source.view
    first = first_of(getattr(source.data, "view", None)) if first is None else first
    asked = Asked.of(source.columns, column, buckets, first=first, view=view)
    if unit is None and view[:1] == ("hist",):
        unit = next((word for word in view[1:] if word not in ("log2", "linear")), None)
    unit = unit or source.about(asked.column).get("unit")
    asked = replace(asked, unit=unit)
    options["title"] = title or asked.title(source.name)
    if asked.mode != "values":
        if source.kind != "map":
            raise BadValue(
                "one reading of counts by slot has no moments",
                hints=["give the map itself, which is then sampled, or a frame with a column of times"],
            )
        length = length or 10**9
        return HeatmapView(
            source, Samples(source, asked, length, _width(span, length) or COLUMNS), what="counts", **options
        )
    for name in (time, weight):
        if name is not None and name not in source.columns:
            raise UnknownName.among(source.columns, name, f"the frame has no column '{name}'")
    if time is None:
        end = source.span()[1]
        time = moments.column(source.rows(end, end), source.about)
    if time is None and source.kind != "stream":
        raise UnknownName(
            "which column says when the rows happened?", hints=[f"the frame has: {', '.join(source.columns)}"]
        )
    live = source.kind == "stream" and source.live
    length = length or (10**9 if live or time is None else None)
    width = _width(span, length or 10**9) or (COLUMNS if live or time is None else None)
    what = weight or "values"
    what_unit = source.about(weight).get("unit") if weight else None
    return HeatmapView(
        source, Rows(source, asked, length, width, time, weight), what=what, what_unit=what_unit, **options
    )


def _width(span: str | int | None, every: int) -> int | None:
    """A span as a number of columns."""
    if span is None or isinstance(span, int):
        if span is not None and span < 1:
            raise ValueError(f"a heatmap keeps at least one column, not {span}")
        return span
    return max(1, moments.duration(span) // every)
