"""System calls that change an address space: mmap, munmap, mremap, mprotect, brk, with what they did.

A row for each call when it returns. ``addr`` is what mmap and mremap returned, and of brk the new end of the heap,
``length`` of brk by how much the heap grew. ``ret`` is 0 or the error. ``prot`` is as in /proc/PID/maps, ``flags``
are names without MAP_ and MREMAP_. Linux 5.15.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bpfnb.tools.tool import Option, Tool

# include/uapi/linux/mman.h, include/uapi/asm-generic/mman.h
_MAP = {
    0x10: "FIXED",
    0x20: "ANONYMOUS",
    0x40: "32BIT",
    0x100: "GROWSDOWN",
    0x800: "DENYWRITE",
    0x1000: "EXECUTABLE",
    0x2000: "LOCKED",
    0x4000: "NORESERVE",
    0x8000: "POPULATE",
    0x10000: "NONBLOCK",
    0x20000: "STACK",
    0x40000: "HUGETLB",
    0x80000: "SYNC",
    0x100000: "FIXED_NOREPLACE",
}
_KIND = {1: "SHARED", 2: "PRIVATE", 3: "SHARED_VALIDATE"}
_MREMAP = {1: "MAYMOVE", 2: "FIXED", 4: "DONTUNMAP"}


def _flags(number: int, call: str) -> str:
    names = _MREMAP if call == "mremap" else _MAP
    words = [_KIND[number & 3]] if call == "mmap" and number & 3 else []
    words += [name for bit, name in names.items() if number & bit]
    rest = number & ~sum(names) & (~3 if call == "mmap" else ~0)
    return "|".join([*words, *([hex(rest)] if rest else [])])


def _prot(number: int, call: str) -> str:
    if call not in ("mmap", "mprotect"):
        return ""
    return "".join(letter if number & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))


class MmapSnoop(Tool):
    family = "memory"
    rowwise = True
    options = (Option("failed", bool, "only calls that failed"),)
    columns = (
        *("time", "comm", "pid", "tid", "call", "addr", "length"),
        *("prot", "flags", "fd", "ret"),
    )

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        words = {"prot": _words(raw, "prot", _prot), "flags": _words(raw, "flags", _flags)}
        frame = raw.assign(**words, addr=_words(raw, "addr", lambda number, _: f"{number:#x}"))
        return frame[list(self.columns)]


def _words(raw: pd.DataFrame, column: str, name: object) -> pd.Categorical:
    """A column's numbers as words, which depend on the call; each different pair once."""
    calls = raw["call"].astype("category")
    pairs = pd.MultiIndex.from_arrays([raw[column], calls.astype(str)])
    codes, different = pairs.factorize()
    texts = pd.Series([name(int(number), call) for number, call in different], dtype=object)  # type: ignore[operator]
    kinds, places = np.unique(texts.to_numpy(dtype=str), return_inverse=True)
    return pd.Categorical.from_codes(
        places[codes] if len(codes) else codes, categories=pd.Index(kinds, dtype=object)
    )
