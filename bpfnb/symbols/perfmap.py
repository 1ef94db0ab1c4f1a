"""Code that a runtime made while it ran, as it lists it in /tmp/perf-PID.map.

The format is perf's (tools/perf/Documentation/jit-interface.txt): a line ``START SIZE name`` for each function, the
numbers in hex, names to the line's end. CPython writes it with ``-X perf``, Node with ``--perf-basic-prof``. Runtimes
append, and may use memory again: of two entries in one place the later one counts.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpfnb.kernel.system import meant
from bpfnb.symbols.frame import Frame

__all__ = ["PerfMap"]

_LINE = re.compile(rb"^(?:0x)?([0-9a-fA-F]{1,16}) (?:0x)?([0-9a-fA-F]{1,16}) (.*)$")
_PYTHON = re.compile(r"^py::(.*):([^:]*)$")
_SCRIPT = re.compile(r"^\w+:[*~^+]?(\S*) (\S+):(\d+):\d+$")  # Node: "JS:*handle /srv/app.js:10:5"
_MOST = 1 << 28  # bytes
_AT_ONCE = 1 << 23  # bytes: about a quarter of a second

Words = npt.NDArray[np.uint64]


class PerfMap:
    """The entries of one process's map, as far as they are written."""

    def __init__(self) -> None:
        self._file: tuple[int, int] | None = None
        self._clear()

    def _clear(self) -> None:
        self._read = 0
        self._rest = b""
        self._starts: Words = np.empty(0, np.uint64)
        self._ends: Words = np.empty(0, np.uint64)
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def update(self, path: Path, owner: int) -> bool:
        """Take up what was written to *path* since, of much text a part; whether that was anything.

        *owner* is the process's user id: as perf does, what belongs neither to that user nor to root is not believed.
        """
        try:
            data = self._more(path, owner) if meant() is None else self._more_elsewhere(path, owner)
        except OSError:
            return False
        self._read += len(data)
        return bool(data) and self.add(data)

    def _more(self, path: Path, owner: int) -> bytes:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            wanted = self._wanted(os.fstat(file), owner)
            return os.pread(file, wanted, self._read) if wanted > 0 else b""
        finally:
            os.close(file)

    def _more_elsewhere(self, path: Path, owner: int) -> bytes:
        """Of another system, whose files are read as a whole."""
        wanted = self._wanted(path.stat(), owner)
        return path.read_bytes()[self._read : self._read + wanted] if wanted > 0 else b""

    def _wanted(self, about: os.stat_result, owner: int) -> int:
        """How many bytes are to be read now."""
        if not stat.S_ISREG(about.st_mode) or about.st_uid not in (owner, 0):
            return 0
        if self._file != (about.st_dev, about.st_ino) or about.st_size < self._read:
            self._clear()  # another file: nothing of the old one counts
            self._file = about.st_dev, about.st_ino
        return min(min(about.st_size, _MOST) - self._read, _AT_ONCE)

    def add(self, data: bytes) -> bool:
        """Take up more of the text; a line that is not yet whole waits for its end."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        found = [match.groups() for line in lines if (match := _LINE.match(line))]
        if not found:
            return False
        starts = np.array([int(start, 16) for start, _, _ in found], np.uint64)
        sizes = np.array([int(size, 16) for _, size, _ in found], np.uint64)
        known = len(self._names)
        starts = np.concatenate([self._starts, starts])
        ends = np.concatenate([self._ends, starts[known:] + np.minimum(sizes, ~starts[known:])])
        names = [*self._names, *(name.decode(errors="replace") for _, _, name in found)]
        order = np.lexsort((np.arange(len(starts)), starts))
        order = order[np.append(starts[order][1:] != starts[order][:-1], True)]
        order = order[ends[order] > starts[order]]
        while True:  # of neighbours over each other the earlier entry goes, until there are none
            over = np.flatnonzero(ends[order[:-1]] > starts[order[1:]])
            if not len(over):
                break
            # One a cluster at a time: what goes may free its other neighbour.
            over = over[np.append(True, np.diff(over) > 1)]
            older = np.where(order[over] < order[over + 1], over, over + 1)
            order = np.delete(order, older)
        self._starts, self._ends = starts[order], ends[order]
        self._names = [names[at] for at in order.tolist()]
        return True

    def find(self, addresses: Words, returns: Words) -> list[Frame | None]:
        """The function of each address, None where the map has none.

        *returns* is 1 where the byte before the address counts, because a call returns to it, else 0.
        """
        at = np.searchsorted(self._starts, addresses - returns, side="right") - 1
        inside = at >= 0
        inside[inside] = (addresses - returns)[inside] < self._ends[at[inside]]
        return [
            _frame(address, self._names[i], address - int(self._starts[i])) if ok else None
            for address, i, ok in zip(addresses.tolist(), at.tolist(), inside.tolist(), strict=True)
        ]


def _frame(address: int, name: str, offset: int) -> Frame:
    python = _PYTHON.match(name)
    if python:
        return Frame(address, python[1], offset=offset, file=python[2], kind="python")
    script = _SCRIPT.match(name)
    if script:
        return Frame(address, name, offset=offset, file=script[2], start_line=int(script[3]), kind="jit")
    return Frame(address, name, offset=offset, kind="jit")
