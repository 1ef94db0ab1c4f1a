"""What a process has mapped where it can execute: /proc/PID/maps (proc(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Mapping", "Mappings", "executable"]

_GONE = 1024  # mappings that are gone, and kept
_EXECUTABLE = re.compile(r"\n(\S+ ..x.*)")  # the line's end is searched for: ^ would be tried at each letter
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mapping:
    """One executable range [start, end) of addresses, and what it shows: *offset* bytes into the file *path*.

    *device* is ``major:minor`` in hex; *inode* is 0 for memory that no file is behind.
    """

    start: int
    end: int
    offset: int
    device: str
    inode: int
    path: str
    deleted: bool

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2].strip("[]")

    def continues(self, other: Mapping) -> bool:
        """Whether the same addresses mean the same in *other*."""
        return (self.inode, self.device, self.path) == (other.inode, other.device, other.path) and (
            self.start - self.offset == other.start - other.offset
        )


def executable(text: str) -> list[str]:
    """The lines of executable mappings in *text*, what /proc/PID/maps held: a few of many, and they seldom change."""
    return _EXECUTABLE.findall("\n" + text)


class Mappings:
    """Mappings in order of their addresses, none over another."""

    def __init__(self, rows: Iterable[Mapping]) -> None:
        self.rows = sorted(rows, key=lambda row: row.start)
        self._starts = np.array([row.start for row in self.rows], np.uint64)
        self._ends = np.array([row.end for row in self.rows], np.uint64)

    @classmethod
    def parse(cls, text: str) -> Mappings:
        """The executable ones of *text*, what /proc/PID/maps held."""
        rows = []
        for line in executable(text):
            range_, _, offset, device, inode, *rest = line.split(None, 5)
            start, _, end = range_.partition("-")
            path = _OCTAL.sub(lambda found: chr(int(found[1], 8)), rest[0].rstrip("\n")) if rest else ""
            gone = path.endswith(" (deleted)")
            rows.append(
                Mapping(
                    int(start, 16),
                    int(end, 16),
                    int(offset, 16),
                    device,
                    int(inode),
                    path.removesuffix(" (deleted)"),
                    gone,
                )
            )
        return cls(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, addresses: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The number in :attr:`rows` of the mapping that holds each address, -1 where there is none."""
        at = np.searchsorted(self._starts, addresses, side="right") - 1
        inside = at >= 0
        inside[inside] = addresses[inside] < self._ends[at[inside]]
        return np.where(inside, at, -1)

    def followed_by(self, new: Mappings) -> tuple[Mappings, bool]:
        """These, then *new*: files that were unmapped stay known where nothing else came; and whether something did.

        A library that was unloaded is still in stacks of before. Memory without a file, which some runtimes map and
        unmap all the time, is not kept.
        """
        kept, changed = [], False
        for row in self.rows:
            at = int(np.searchsorted(new._ends, np.uint64(row.start), side="right"))
            over = []
            while at < len(new.rows) and new.rows[at].start < row.end:
                over.append(new.rows[at])
                at += 1
            if not over and row.inode:
                kept.append(row)
            elif not all(row.continues(other) for other in over):
                changed = True
        return Mappings([*new.rows, *kept[:_GONE]]), changed
