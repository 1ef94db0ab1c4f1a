"""Functions by address as sorted arrays: which one holds each of many addresses, without Python code per address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Piece", "Table"]

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one symbol table gives: starts, sizes (0: not known), where each one's section ends, ranks among those of
    one address (the lowest is the one that people know), and names as offsets into *strings*, which zeros end.
    """

    starts: Words
    sizes: Words
    limits: Words
    ranks: npt.NDArray[np.uint8]
    names: Places
    strings: bytes


class Table:
    """The functions of *pieces*. Of several at one address one remains, of those inside each other the inner one
    counts.

    A function without a size goes as far as the next one, or its section; without a size and inside another it is a
    label, and left out.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        starts = np.concatenate([np.empty(0, np.uint64), *(piece.starts for piece in pieces)])
        sizes = np.concatenate([np.empty(0, np.uint64), *(piece.sizes for piece in pieces)])
        limits = np.concatenate([np.empty(0, np.uint64), *(piece.limits for piece in pieces)])
        ranks = np.concatenate([np.empty(0, np.uint8), *(piece.ranks for piece in pieces)])
        bases = np.cumsum([0, *(len(piece.strings) for piece in pieces)])
        names = np.concatenate(
            [
                np.empty(0, np.int64),
                *(p.names + base for p, base in zip(pieces, bases.tolist(), strict=False)),
            ]
        )
        sizes = np.minimum(sizes, ~starts)  # no end beyond 64 bits
        order = np.lexsort((ranks, sizes == 0, starts))
        starts, sizes = starts[order], sizes[order]
        first = np.ones(len(starts), bool)
        first[1:] = starts[1:] != starts[:-1]
        order, starts, sizes = order[first], starts[first], sizes[first]
        reach = _reach(starts + sizes)
        label = (sizes == 0) & (reach > starts)
        order, starts, sizes = order[~label], starts[~label], sizes[~label]
        following = np.append(starts[1:], np.uint64(np.iinfo(np.uint64).max))[: len(starts)]
        open_ended = np.maximum(np.minimum(following, limits[order]), starts)
        self.starts: Words = starts
        """Sorted, each once."""
        self.ends: Words = np.where(sizes > 0, starts + sizes, open_ended)
        """Where each function ends: the first address behind it."""
        self._names = names[order]
        self._strings = b"".join(piece.strings for piece in pieces)
        self._outer = self._enclosing()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        arrays = (self.starts, self.ends, self._names, self._outer)
        return sum(array.nbytes for array in arrays) + len(self._strings)

    def find(self, addresses: Words) -> Places:
        """The number of the function that holds each address, -1 where there is none."""
        at = np.searchsorted(self.starts, addresses, side="right") - 1
        while True:
            beyond = at >= 0
            beyond[beyond] = addresses[beyond] >= self.ends[at[beyond]]
            if not beyond.any():
                return at
            at[beyond] = self._outer[at[beyond]]

    def name(self, number: int) -> str:
        """The name of a function as the file has it, mangled."""
        at = int(self._names[number])
        return self._strings[at : self._strings.index(b"\0", at)].decode(errors="replace")

    def _enclosing(self) -> npt.NDArray[np.int32]:
        """For each function the one around its start, -1 where there is none, as nearly always."""
        outer = np.full(len(self.starts), -1, np.int32)
        for number in np.flatnonzero(_reach(self.ends) > self.starts).tolist():
            around = number - 1
            while around >= 0 and self.ends[around] <= self.starts[number]:
                around = int(outer[around])
            outer[number] = around
        return outer


def _reach(ends: Words) -> Words:
    """How far the functions before each one go."""
    out = np.zeros(len(ends), np.uint64)
    if len(ends):
        out[1:] = np.maximum.accumulate(ends)[:-1]
    return out
