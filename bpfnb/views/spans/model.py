"""Which traces there are, and what is drawn of the one that was chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import UnknownName
from bpfnb.views.spans.columns import Spans
from bpfnb.views.spans.forest import Forest, forest
from bpfnb.views.spans.lanes import Lanes, lanes

__all__ = ["SORTS", "Scene", "Trace", "check_sort", "scene", "traces"]

Ints = npt.NDArray[np.int64]

SORTS = ("slowest", "latest", "errors", "largest")


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace: its number among ``Spans.traces``, from the first start to the last end, and its root's name."""

    code: int
    id: str
    name: str
    service: str
    start: int
    duration: int
    spans: int
    errors: int


@dataclass(frozen=True)
class Scene:
    """What is drawn: ``spans`` in the order ``order``, as a ``tree`` or in ``lanes``; ``start`` to ``stop`` in ns."""

    spans: Spans
    order: Ints
    start: int
    stop: int
    tree: Forest | None = None
    lanes: Lanes | None = None
    trace: Trace | None = None

    @property
    def empty(self) -> bool:
        return not len(self.order)

    @property
    def duration(self) -> int:
        return max(self.stop - self.start, 1)


def check_sort(sort: str) -> str:
    """*sort*, if traces can be sorted so; UnknownName otherwise."""
    if sort not in SORTS:
        raise UnknownName.among(SORTS, sort, f"traces cannot be sorted by '{sort}'")
    return sort


def traces(spans: Spans, sort: str = "slowest", kept: npt.NDArray[np.bool_] | None = None) -> list[Trace]:
    """All traces, or those with a span among *kept*, in the order *sort*."""
    if not len(spans):
        return []
    count = len(spans.traces)
    start = np.full(count, np.iinfo(np.int64).max)
    end = np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(start, spans.trace, spans.start)
    np.maximum.at(end, spans.trace, spans.end)
    sizes = np.bincount(spans.trace, minlength=count)
    errors = np.bincount(spans.trace, spans.error, minlength=count).astype(np.int64)
    wanted = sizes > 0 if kept is None else np.bincount(spans.trace[kept], minlength=count) > 0
    # The root: without a parent before with one, the earlier, the longer.
    order = np.lexsort((-spans.duration, spans.start, spans.parent >= 0, spans.trace))
    codes, first = np.unique(spans.trace[order], return_index=True)
    roots = np.zeros(count, np.int64)
    roots[codes] = order[first]
    keys = {"slowest": start - end, "latest": -start, "errors": -errors, "largest": -sizes}
    chosen = np.flatnonzero(wanted)
    chosen = chosen[np.lexsort((start[chosen] - end[chosen], keys[sort][chosen]))]
    return [
        Trace(
            code=code,
            id=spans.traces[code],
            name=_label(spans.name, int(roots[code])),
            service=_label(spans.service, int(roots[code])),
            start=int(start[code]),
            duration=int(end[code] - start[code]),
            spans=int(sizes[code]),
            errors=int(errors[code]),
        )
        for code in chosen.tolist()
    ]


def scene(spans: Spans, trace: Trace | None, *, tree: bool, most: int) -> Scene:
    """The spans of *trace* (None: all): as a tree the first *most*, in lanes the newest."""
    chosen = np.arange(len(spans)) if trace is None else np.flatnonzero(spans.trace == trace.code)
    if len(chosen) > most:
        by_start = chosen[np.argsort(spans.start[chosen], kind="stable")]
        chosen = np.sort(by_start[:most] if tree else by_start[-most:])
    if not len(chosen):
        return Scene(spans, chosen, 0, 1, trace=trace)
    start, stop = int(spans.start[chosen].min()), int(spans.end[chosen].max())
    if tree:
        made = forest(spans, chosen)
        return Scene(spans, made.order, start, stop, tree=made, trace=trace)
    placed = lanes(spans, chosen)
    return Scene(spans, placed.order, start, stop, lanes=placed, trace=trace)


def _label(labels: pd.Categorical, i: int) -> str:
    value = labels[i]
    return value if isinstance(value, str) else ""
