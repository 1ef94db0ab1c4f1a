"""Buckets that stay what they are while values come and go, of which a picture shows those in use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.views import _buckets
from bpfnb.views._buckets import MAX_BUCKETS, Edges, Number

__all__ = ["Outgrown", "Scale"]


class Outgrown(Exception):
    """A value lies outside the linear buckets: they have to be laid anew around all values."""


class Scale:
    """Buckets that stay what they are while values come and go; of these only the used ones are shown.

    Powers of two reach over everything the type can hold; given edges have one bucket below and one above.
    """

    def __init__(self, buckets: Any, edges: Edges, floats: bool) -> None:
        self.log2 = buckets == "log2"
        self.fixed = not self.log2 and not isinstance(buckets, str | int)
        self.edges: Edges = edges
        if self.log2 and floats:
            powers = tuple(math.ldexp(1.0, e) for e in range(-1074, 1024))
            self.edges = (
                -math.inf,
                0.0,
                *powers,
                math.inf,
                math.nan,
            )  # the last bucket is for infinity alone
        elif self.log2:
            self.edges = (-math.inf, 0, *(1 << e for e in range(65)))
        elif self.fixed:
            finite = [e for e in edges if math.isfinite(e)]
            self.edges = (-math.inf, *finite, math.inf)
        self.floats = floats

    def cells(self, values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """The bucket of each value.

        :raises Outgrown: linear buckets, and a value beyond them.
        """
        if not self.holds(values):
            raise Outgrown
        return _buckets.bucket_of(values, self.edges)

    def holds(self, values: npt.NDArray[Any]) -> bool:
        """Whether there is a bucket for each value; only linear ones end somewhere."""
        if self.log2 or self.fixed or not len(values):
            return True
        return bool(self.edges[0] <= values.min().item() and values.max().item() < self.edges[-1])

    def shown(self, used: npt.NDArray[np.intp]) -> tuple[Edges, npt.NDArray[np.intp]]:
        """The edges to show when these buckets are *used* (ascending), and where each shown bucket starts, with an end.

        The same as :func:`_buckets.log2` and :func:`_buckets.explicit` choose for these values.
        """
        count = len(self.edges) - 1
        if not self.log2 and not self.fixed:
            return self.edges, np.arange(count + 1)
        if self.fixed:
            start = 0 if len(used) and used[0] == 0 else 1
            stop = count if len(used) and used[-1] == count - 1 else count - 1
            return self.edges[start : stop + 1], np.arange(start, stop + 1)
        if not len(used):
            return (0, 1), np.array([1, 2])
        if not self.floats:
            return self.edges[used[0] : used[-1] + 2], np.arange(used[0], used[-1] + 2)
        return self._shown_floats(used)

    def _shown_floats(self, used: npt.NDArray[np.intp]) -> tuple[Edges, npt.NDArray[np.intp]]:
        infinite = len(self.edges) - 2
        powers = used[(used >= 2) & (used < infinite)]
        starts: list[int] = [0] if used[0] == 0 else []
        if not len(powers):
            edges: list[Number] = [self.edges[i] for i in starts]
            if used[-1] >= 1:
                starts, edges = [*starts, 1], [*edges, 0, 1]
            else:
                edges = [*edges, 0]
            if used[-1] == infinite:
                return (*edges, math.inf), np.array([*starts, infinite, infinite + 1])
            return tuple(edges), np.array([*starts, 2 if used[-1] >= 1 else 1])
        first, last = max(powers[0], powers[-1] + 1 - MAX_BUCKETS), powers[-1]
        if used[0] <= 1 or powers[0] < first:
            starts.append(1)
        starts += range(first, last + 1)
        edges = [self.edges[i] for i in starts] + [self.edges[last + 1]]
        if used[-1] == infinite and edges[-1] < math.inf:
            return (*edges, math.inf), np.array([*starts, infinite, infinite + 1])
        return tuple(edges), np.array([*starts, infinite + 1])
