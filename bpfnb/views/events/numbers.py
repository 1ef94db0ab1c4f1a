"""Ascending row numbers that grow at the end and are forgotten at the front: the index of a table's rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Ints", "Numbers"]

Ints = npt.NDArray[np.int64]

_FIRST = 1 << 12


class Numbers:
    """Row numbers by position. Consecutive ones (a stream that nothing filters) take no memory.

    ``gone`` counts what was forgotten: position + ``gone`` names a row for as long as it is there.
    """

    def __init__(self) -> None:
        self.gone = 0
        self._run = range(0)
        self._array: Ints | None = None
        self._low = self._high = 0

    def __len__(self) -> int:
        return len(self._run) if self._array is None else self._high - self._low

    def append(self, numbers: pd.Index | Ints | range) -> None:
        """Add *numbers*, ascending and greater than all before."""
        count = len(numbers)
        if not count:
            return
        first, last = int(numbers[0]), int(numbers[-1])
        if self._array is None:
            follows = not len(self._run) or first == self._run.stop
            if follows and last - first + 1 == count:
                self._run = range(self._run.start if len(self._run) else first, last + 1)
                return
            self._array = np.empty(max(_FIRST, 2 * len(self._run)), np.int64)
            self._low, self._high = 0, len(self._run)
            self._array[: self._high] = np.arange(self._run.start, self._run.stop)
        self._room(count)
        self._array[self._high : self._high + count] = np.asarray(numbers)
        self._high += count

    def _room(self, count: int) -> None:
        """Make place for *count* more. What stands where is moved once for as many rows as it moves."""
        assert self._array is not None
        if self._high + count <= len(self._array):
            return
        kept = self._array[self._low : self._high]
        needed = len(kept) + count
        fits = needed <= len(self._array) // 2
        new = self._array if fits else np.empty(2 * needed, np.int64)
        new[: len(kept)] = kept.copy() if fits else kept
        self._array, self._low, self._high = new, 0, len(kept)

    def trim(self, floor: int) -> None:
        """Forget the numbers below *floor*."""
        if self._array is None:
            gone = min(max(floor - self._run.start, 0), len(self._run))
            self._run = self._run[gone:]
        else:
            gone = int(np.searchsorted(self._array[self._low : self._high], floor))
            self._low += gone
        self.gone += gone

    def __getitem__(self, positions: slice) -> Ints:
        """The numbers at *positions* (a slice), as an array of its own."""
        if self._array is None:
            found = self._run[positions]
            return np.arange(found.start, found.stop, dtype=np.int64) if len(found) else np.empty(0, np.int64)
        return self._array[self._low : self._high][positions].copy()

    def find(self, number: int) -> int:
        """The position of *number*; -1 where it is not among them."""
        values: Any = self._run if self._array is None else self._array[self._low : self._high]
        if isinstance(values, range):
            return values.index(number) if number in values else -1
        at = int(np.searchsorted(values, number))
        return at if at < len(values) and values[at] == number else -1

    def since(self, number: int) -> int:
        """How many are *number* or greater."""
        if self._array is None:
            return len(self._run) - min(max(number - self._run.start, 0), len(self._run))
        values = self._array[self._low : self._high]
        return len(values) - int(np.searchsorted(values, number))
