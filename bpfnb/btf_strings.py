"""The string section of BTF: names by their offsets, one at a time or many at once."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from bpfnb.errors import BpfnbError

__all__ = ["Strings"]


class Strings:
    """``strings[offset]`` is a name. Offsets of split BTF continue those of its *base*."""

    def __init__(self, data: bytes, base: Strings | None) -> None:
        self._data = data
        self._base = base
        self._first = base.end if base else 0
        self.end: int = self._first + len(data)

    def __getitem__(self, offset: int) -> str:
        if self._base and offset < self._first:
            return self._base[offset]
        start = offset - self._first
        end = self._data.find(b"\0", start)
        if end < 0:
            raise BpfnbError("This BTF is damaged: a name lies outside its strings.")
        return self._data[start:end].decode(errors="replace")

    def many(self, offsets: npt.NDArray[np.uint32]) -> list[str]:
        """Names at many offsets; the whole section is divided once, so few are cheaper one by one."""
        if self._base and len(offsets) and int(offsets.min()) < self._first:
            return [self[offset] for offset in offsets.tolist()]
        starts, names = self._divided
        at = np.searchsorted(starts, offsets - np.uint32(self._first))
        if (
            not len(offsets)
            or at.max() >= len(starts)
            or (starts[at] != offsets - np.uint32(self._first)).any()
        ):
            return [self[offset] for offset in offsets.tolist()]  # some name is the tail of another
        return list(map(names.__getitem__, at.tolist()))

    @cached_property
    def _divided(self) -> tuple[npt.NDArray[np.intp], list[str]]:
        """Where each string starts, and the strings."""
        ends = np.flatnonzero(np.frombuffer(self._data, "u1") == 0)
        starts = np.concatenate([np.zeros(1, np.intp), ends + 1])
        if self._data.isascii():
            return starts, self._data.decode("ascii").split("\0")
        return starts, [part.decode(errors="replace") for part in self._data.split(b"\0")]

    def offsets_of(self, name: str) -> list[int]:
        """Everywhere that *name* stands (compilers need not merge equal ones)."""
        offsets = self._base.offsets_of(name) if self._base else []
        needle = b"\0%b\0" % name.encode()
        at = self._data.find(needle)
        while at >= 0:
            offsets.append(at + 1 + self._first)
            at = self._data.find(needle, at + 1)
        if self._base and self._data.startswith(needle[1:]):  # split BTF need not begin with an empty string
            offsets.append(self._first)
        return offsets
