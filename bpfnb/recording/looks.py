"""What a recorded table was at each look at it, as a sequence whose frames are made as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import pandas as pd

__all__ = ["Frames", "Looks"]

Frames = Callable[[range], Iterator[pd.DataFrame]]
"""The frames of looks that follow each other, in their order, by the looks' numbers."""


def _none(_: range) -> Iterator[pd.DataFrame]:
    return iter(())


class Looks(Sequence[tuple[int, pd.DataFrame]]):
    """Of each look when it was, in ns since 1970, and the table then, oldest first.

    A frame is made each time that it is asked for, and a loop has one at a time: thousands of looks at a large table
    take no memory. Parts (``looks[5:]``) are made in the same way. ``times`` has the moments without the frames.
    """

    def __init__(self, times: Sequence[int] = (), frames: Frames = _none, looks: range | None = None) -> None:
        self._times = times
        self._frames = frames
        self._looks = range(len(times)) if looks is None else looks

    @property
    def times(self) -> list[int]:
        return [self._times[at] for at in self._looks]

    def each(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Looks:
        """The same looks, with what *change* makes of their frames."""
        frames = self._frames
        return Looks(self._times, lambda looks: map(change, frames(looks)), self._looks)

    def __len__(self) -> int:
        return len(self._looks)

    @overload
    def __getitem__(self, at: int) -> tuple[int, pd.DataFrame]: ...

    @overload
    def __getitem__(self, at: slice) -> Looks: ...

    def __getitem__(self, at: int | slice) -> tuple[int, pd.DataFrame] | Looks:
        if isinstance(at, slice):
            return Looks(self._times, self._frames, self._looks[at])
        look = self._looks[at]
        (frame,) = self._frames(range(look, look + 1))
        return self._times[look], frame

    def __iter__(self) -> Iterator[tuple[int, pd.DataFrame]]:
        if self._looks.step == 1:
            yield from zip(self.times, self._frames(self._looks), strict=True)
        else:
            yield from (self[at] for at in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self):,} looks>"
