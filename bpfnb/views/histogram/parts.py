"""Which groups a drawing shows: the eight with most values, and the others as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bpfnb.views._buckets import Number

if TYPE_CHECKING:
    from bpfnb.views.histogram.value import Histogram

__all__ = ["MAX_GROUPS", "Part", "each", "everything", "parts"]

MAX_GROUPS = 8


@dataclass(frozen=True)
class Part:
    """One group as it is drawn, or several together (``others``: how many)."""

    label: str
    counts: npt.NDArray[np.int64]
    behind: npt.NDArray[np.int64] | None
    percentiles: Mapping[Number, Number]
    exact: bool
    others: int = 0


def each(h: Histogram) -> list[Part]:
    """All groups, each by itself."""
    return [_part(h, i) for i in range(len(h.groups))]


def everything(h: Histogram) -> Part:
    """All groups as one."""
    behind = None if h.behind is None else h.behind.sum(axis=0)
    return Part("", h.table.sum(axis=0), behind, h.overall, h.exact)


def parts(h: Histogram, places: Sequence[str] = ()) -> list[Part]:
    """The groups to draw, the largest :data:`MAX_GROUPS` and the others together.

    Groups that stood in *places* stay where they were as long as they are among the largest, so that live pictures do
    not jump; a group that comes in takes the place of one that goes.
    """
    largest = [h.groups.index(label) for label in placed(h.groups[:MAX_GROUPS], places)]
    rest = [i for i in range(len(h.groups)) if i not in set(largest)]
    shown = [_part(h, i) for i in largest]
    if len(rest) == 1:
        shown.append(_part(h, rest[0]))
    elif rest:
        from bpfnb.views.histogram.value import interpolated

        counts = h.table[rest].sum(axis=0)
        behind = None if h.behind is None else h.behind[rest].sum(axis=0)
        label = f"{len(rest):,} others"
        shown.append(Part(label, counts, behind, interpolated(h.edges, counts), False, len(rest)))
    return shown


def placed(largest: Sequence[str], places: Sequence[str]) -> list[str]:
    """*largest*, those in *places* at their place, and newcomers in order where there is room."""
    newcomers = iter([label for label in largest if label not in places])
    kept = [label if label in largest else next(newcomers, None) for label in places[:MAX_GROUPS]]
    return [label for label in [*kept, *newcomers] if label is not None]


def _part(h: Histogram, row: int) -> Part:
    group = h.groups[row]
    behind = None if h.behind is None else h.behind[row]
    return Part(group, h.table[row], behind, h.percentiles[group], h.exact)
