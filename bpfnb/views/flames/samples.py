"""Rows as stacks, weights and moments, as far as they are kept: what the trees of any range of time are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.symbols.process import Located
from bpfnb.views import moments
from bpfnb.views.flames.names import Names
from bpfnb.views.flames.parts import Part
from bpfnb.views.flames.tree import Stacks, Weights, weights_of

__all__ = ["BINS", "Book", "Samples", "Strip", "Window", "window"]

BINS = 240
"""At most so many steps of time are drawn and offered for selection."""

NOTHING = "[no stack]"
UNKNOWN = np.iinfo(np.int64).min  # the moment of a row that has none

Window = tuple[int, int]


class Book:
    """The different stacks of a frame's rows. *parts* are the columns that make a stack, the root's side first."""

    def __init__(self, parts: Sequence[Part], names: Names) -> None:
        self.parts = parts
        self.names = names
        self.pages: list[tuple[int, ...]] = []
        """For each different stack the numbers of its pieces in :attr:`parts`."""
        self._known: dict[tuple[int, ...], int] = {}
        self._stacks = Stacks.of([])
        self._of = -1, -1

    @property
    def edition(self) -> tuple[int, int]:
        """What tells whether :attr:`stacks` are others than before: how many, and how often old ones got new names."""
        return len(self.pages), sum(part.renewed for part in self.parts)

    def renew(self) -> None:
        """Take up what was learned of symbols since."""
        for part in self.parts:
            part.renew()

    def __len__(self) -> int:
        return len(self.pages)

    def encode(self, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
        """The number of each row's stack."""
        codes = [part.encode(frame) for part in self.parts]
        together = codes[0]
        for code in codes[1:]:
            together = together << 32 | code  # of more than two, the pairs so far are numbered anew below
            together = pd.factorize(together)[0] if len(codes) > 2 else together
        place, different = pd.factorize(together)
        first = np.zeros(len(different), np.int64)
        first[place[::-1]] = np.arange(len(place))[::-1]
        pages = zip(*(code[first].tolist() for code in codes), strict=True)
        numbers = np.array([self._number(page) for page in pages], np.int64)
        return numbers[place] if len(numbers) else np.empty(0, np.int64)

    def _number(self, page: tuple[int, ...]) -> int:
        number = self._known.get(page)
        if number is None:
            number = self._known[page] = len(self.pages)
            self.pages.append(page)
        return number

    @property
    def stacks(self) -> Stacks:
        """All different stacks. A row that has none is one frame that says so."""
        if self._of != self.edition:
            nothing = self.names.codes([NOTHING])
            self._of = self.edition
            self._stacks = Stacks.of([self._stack(page, nothing) for page in self.pages])
        return self._stacks

    def located(self, numbers: Sequence[int]) -> list[list[Located | str]]:
        """All that is known of the frames of the stacks with these numbers."""
        pages = [self.pages[number] for number in numbers]
        known = []
        for place, part in enumerate(self.parts):
            codes = sorted({page[place] for page in pages})
            known.append(dict(zip(codes, part.located(codes), strict=True)))
        stacks = [[each for of, code in zip(known, page, strict=True) for each in of[code]] for page in pages]
        return [stack or [NOTHING] for stack in stacks]

    def _stack(self, page: tuple[int, ...], nothing: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        pieces = [part.stacks[code] for part, code in zip(self.parts, page, strict=True)]
        stack = np.concatenate(pieces)
        return stack if len(stack) else nothing


class Strip:
    """Weight by steps of time: step *i* begins at ``start + i * step`` ns."""

    def __init__(
        self, times: npt.NDArray[np.int64], weights: Weights, stacks: npt.NDArray[np.int64], bins: int = BINS
    ) -> None:
        first, last = int(times.min()), int(times.max())
        self.step = next(s for s in moments.steps() if last // s - first // s < bins)
        self.start = first // self.step * self.step
        self._place = (times - self.start) // self.step
        self._weights = weights
        self._stacks = stacks
        self.counts = np.bincount(self._place, weights.astype(np.float64))

    def window(self, first: int, last: int) -> Window:
        """The range of time of the steps *first* to *last*, as [start, end) in ns."""
        return self.start + first * self.step, self.start + (last + 1) * self.step

    def cells(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Weights]:
        """Stack, step and weight wherever there is weight: what the tree of any steps can be counted from."""
        cell = self._stacks * len(self.counts) + self._place
        place, different = pd.factorize(cell)
        weights: Weights = np.zeros(len(different), self._weights.dtype)
        np.add.at(weights, place, self._weights)
        return different // len(self.counts), different % len(self.counts), weights


class Samples:
    """The rows taken up so far: for each its number, stack, weight and moment."""

    def __init__(self, book: Book, weight: str | None, time: str | None) -> None:
        self.book = book
        self._weight = weight
        self.time_column = time
        self.clear()

    @property
    def columns(self) -> list[str]:
        """The frame's columns that are read."""
        of_stacks = [column for part in self.book.parts for column in part.columns]
        others = (column for column in (self._weight, self.time_column) if column)
        return list(dict.fromkeys([*of_stacks, *others]))

    def clear(self) -> None:
        self.rows: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.stack: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.weight: Weights = np.empty(0, np.uint64)
        self.time: npt.NDArray[np.int64] | None = None if self.time_column is None else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, frame: pd.DataFrame) -> None:
        """Take up the rows of *frame*, whose index numbers them."""
        if not len(frame):
            return
        weight: Weights = np.ones(len(frame), np.uint64)
        if self._weight is not None:
            weight = weights_of(_numbers(frame[self._weight]))
        self.rows = np.concatenate([self.rows, np.asarray(frame.index, np.int64)])
        self.stack = np.concatenate([self.stack, self.book.encode(frame)])
        floats = weight.dtype.kind == "f" or self.weight.dtype.kind == "f"
        self.weight = np.concatenate([self.weight, weight]).astype(
            np.float64 if floats else np.uint64, copy=False
        )
        if self.time is not None and self.time_column is not None:
            times, there = moments.nanoseconds(frame[self.time_column])
            self.time = np.concatenate([self.time, np.where(there, times, UNKNOWN)])

    def forget(self, before: int) -> None:
        """Drop the rows numbered below *before*."""
        gone = int(np.searchsorted(self.rows, before))
        if gone:
            self.rows, self.stack, self.weight = self.rows[gone:], self.stack[gone:], self.weight[gone:]
            self.time = None if self.time is None else self.time[gone:]

    def inside(self, window: Window | None) -> Any:
        """What picks the rows in *window*."""
        if window is None or self.time is None:
            return slice(None)
        return (self.time >= window[0]) & (self.time < window[1])

    def counts(self, window: Window | None = None) -> Weights:
        """The weight of each different stack, of the rows in *window*."""
        chosen = self.inside(window)
        out: Weights = np.zeros(len(self.book), self.weight.dtype)
        np.add.at(out, self.stack[chosen], self.weight[chosen])
        return out

    def strip(self, bins: int = BINS) -> Strip | None:
        """The rows over time in at most *bins* steps, where they have moments."""
        if self.time is None or not (known := self.time != UNKNOWN).any():
            return None
        return Strip(self.time[known], self.weight[known], self.stack[known], bins)


def window(value: Any) -> Window:
    """*value*, a pair of moments or of whole ns, as [start, end) in ns. Raises BadValue where it is none."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise BadValue(f"a range of time is a pair (start, end), not {value!r}")
    start, end = (_moment(moment) for moment in value)
    if start >= end:
        raise BadValue("a range of time ends after its start")
    return start, end


def _moment(value: Any) -> int:
    if isinstance(value, int | np.integer):
        return int(value)
    return int(moments.nanoseconds(pd.Series([pd.Timestamp(value)]))[0][0])


def _numbers(values: pd.Series[Any]) -> npt.NDArray[Any]:
    if values.dtype.kind == "m":
        return values.to_numpy().astype("m8[ns]").view(np.int64)
    return np.asarray(values.fillna(0) if values.hasnans else values)
