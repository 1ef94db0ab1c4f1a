"""Edges of histogram buckets, and exact counting into them.

A bucket i covers ``edges[i] <= value < edges[i + 1]``. Edges are Python numbers: the bucket that holds the largest
u64 ends at 2**64, which no NumPy integer can hold.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Edges", "Number", "bucket_of", "explicit", "linear", "log2"]

Number = int | float
Edges = tuple[Number, ...]
Values = npt.NDArray[Any]

MAX_BUCKETS = 128
"""Powers of two that a histogram of floating-point values spans; smaller values share the first bucket."""


def bucket_of(values: Values, edges: Edges) -> npt.NDArray[np.intp]:
    """The bucket of each value. Every value must lie within the edges.

    Only the inner edges are compared, in the values' own type, so no integer is rounded: with integers,
    ``value >= 2.5`` is ``value >= 3``.
    """
    inner = inner_edges(edges, values.dtype)
    if values.dtype.kind in "iu" and values.dtype.itemsize >= 4 and len(values):
        low, high = values.min(), values.max()
        if int(high) - int(low) < len(values):  # fewer different values than values: each is looked for once
            table = np.searchsorted(
                inner, np.arange(int(high) - int(low) + 1, dtype=values.dtype) + low, "right"
            )
            found: npt.NDArray[np.intp] = table[values - low]
            return found
    return np.searchsorted(inner, values, "right")


@lru_cache(32)  # live pictures ask for the same ones again and again
def inner_edges(edges: Edges, dtype: np.dtype[Any]) -> Values:
    """All edges but the outermost, as values of *dtype* are compared with them."""
    inner: list[Number] = list(edges[1:-1])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        whole = [e if isinstance(e, int) else math.ceil(e) for e in inner if e <= limits.max]
        return np.array([max(e, int(limits.min)) for e in whole], dtype)
    return np.array(inner, np.float64)


def log2(values: Values) -> Edges:
    """Powers of two around the values: 0, 1, 2, 4 ... for integers, also below 1 for floats.

    Negative values share one bucket in front, zeros one of their own.
    """
    if not len(values):
        return (0, 1)
    low, high = values.min().item(), values.max().item()
    front: list[Number] = [-math.inf] if low < 0 else []
    if values.dtype.kind != "f":
        if high <= 0:
            return (*front, 0, 1) if high == 0 else (*front, 0)
        first = 0 if low <= 0 else low.bit_length() - 1
        zero = [0] if low <= 0 else []
        return (*front, *zero, *(1 << e for e in range(first, high.bit_length() + 1)))
    positive = values[(values > 0) & np.isfinite(values)]
    tail: list[Number] = [math.inf] if high == math.inf else []
    if not len(positive):
        return (*front, 0, 1, *tail) if high >= 0 else (*front, 0)
    # frexp gives m * 2**e with 0.5 <= m < 1, so 2**(e-1) <= value < 2**e.
    last = math.frexp(positive.max().item())[1]
    first = max(math.frexp(positive.min().item())[1] - 1, last - MAX_BUCKETS)
    tiny = low <= 0 or positive.min() < 2.0**first
    top = [2.0**e if e < 1024 else math.inf for e in range(first, last + 1)]
    return (*front, *([0.0] if tiny else []), *top, *(tail if top[-1] < math.inf else []))


def linear(values: Values, count: int = 20) -> Edges:
    """About *count* buckets of one round width (1, 2 or 5 times a power of ten) around the values."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not len(finite):
        edges: Edges = (0, 1)
    elif values.dtype.kind != "f":
        low, high = finite.min().item(), finite.max().item()
        width = max(1, round(_nice((high - low + 1) / count)))
        edges = tuple(range(low // width * width, high + width + 1, width))
        edges = edges if edges[-2] <= high else edges[:-1]
    else:
        low, high = finite.min().item(), finite.max().item()
        # Divided first, since the difference of two doubles may overflow. A step below the spacing of the
        # numbers themselves would give equal edges.
        span = high / count - low / count or max(abs(high), 1.0) / count
        step = max(_nice(span), 4 * math.ulp(max(abs(low), abs(high))))
        index = math.floor(low / step)
        edges = ((index - 1) * step,) if index * step > low else ()
        while not edges or edges[-1] <= high:
            edges = (*edges, index * step)
            index += 1
    return explicit(values, edges)


def explicit(values: Values, edges: Sequence[Number]) -> Edges:
    """The given edges, with a bucket below and one above where values fall outside.

    :raises ValueError: fewer than two edges, or edges that do not increase.
    """
    numbers = [e.item() if isinstance(e, np.generic) else e for e in edges]
    if len(numbers) < 2 or any(not a < b for a, b in itertools.pairwise(numbers)):
        raise ValueError(f"bucket edges must be two or more increasing numbers, not {numbers}")
    if len(values):
        if values.min().item() < numbers[0]:
            numbers = [-math.inf, *numbers]
        if values.max().item() >= numbers[-1] and numbers[-1] < math.inf:
            numbers = [*numbers, math.inf]
    return tuple(numbers)


def _nice(width: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is not below *width*."""
    power = 10.0 ** max(math.floor(math.log10(width)), -300)  # below, powers of ten lose their digits
    fitting = (m * power for m in (1, 2, 5, 10) if width * (1 - 1e-9) <= m * power < math.inf)
    return next(fitting, width)
