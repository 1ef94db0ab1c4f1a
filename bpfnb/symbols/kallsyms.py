"""Names of kernel functions, from /proc/kallsyms: its own, those of modules, and loaded BPF programs.

A line reads ``ffffffff81000000 T _stext`` or ``ffffffffc0a01000 t name\\t[module]`` (proc(5)). The kernel shows zeros
instead of addresses to those without CAP_SYSLOG, or to all, as ``kernel.kptr_restrict`` says: then there are no names,
and :attr:`Kallsyms.hidden` is true.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Kallsyms", "is_kernel"]

_TEXT = np.frombuffer(b"tTwW", np.uint8)
_GLOBAL = np.frombuffer(b"TW", np.uint8)
_DATA = 4  # the rank from which on a symbol is no code
_AGAIN = 5.0  # seconds; parsing takes about a tenth of one
_FARTHEST = 1 << 20  # no function is longer: what lies behind the last symbol is not a part of it
# Labels of the linker's and of the compiler's, at the address of a function that people know by another name.
_MARKS = (b"_text", b"_stext", b"_etext", b"_sinittext", b"_einittext", b"__noinstr_text_start")
_PADDING = (b"__pfx_", b"__cfi_", b"__pi_")  # all with two underscores

_LOWEST = np.uint64(0xFF << 56)

Addresses = npt.NDArray[np.uint64]


def is_kernel(addresses: Addresses) -> npt.NDArray[np.bool_]:
    """Which *addresses* are the kernel's: with the highest byte set, as on x86-64, arm64 and riscv64 all of them have.

    What has the highest bit alone is no address: a register that holds no frame pointer leads there.
    """
    return addresses >= _LOWEST


class Kallsyms:
    """The symbols of one moment. *text* is what /proc/kallsyms held; ValueError where it does not read like that."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        addresses, ranks, names, ends = _parse(text)
        self.hidden = not addresses.any()
        if self.hidden:
            addresses, ranks = addresses[:0], ranks[:0]
        order = np.lexsort((ranks, addresses))
        addresses = addresses[order]
        first = np.ones(len(addresses), bool)
        first[1:] = addresses[1:] != addresses[:-1]
        chosen = order[first]  # of several names of one address, the one of the lowest rank
        self._starts = addresses[first]
        self._code = ranks[chosen] < _DATA
        self._places, self._ends = names[chosen], ends[chosen]

    def _name(self, number: int) -> str:
        """Of the symbol with that number; names are few that anybody asks for."""
        line = self._text[self._places[number] : self._ends[number]].decode(errors="replace")
        name, _, module = line.partition("\t")
        return f"{name} {module}" if module and module != "[bpf]" else name

    @classmethod
    def load(cls, path: str | Path = "/proc/kallsyms") -> Kallsyms:
        """The symbols of now; without any where the file cannot be read."""
        try:
            return cls(Path(path).read_bytes())
        except OSError:
            return cls(b"")

    def __len__(self) -> int:
        return len(self._starts)

    def names(self, addresses: npt.ArrayLike) -> list[str | None]:
        """The function that holds each address; None where there is none.

        A return address is that of the instruction behind the call, which may be the next function's first: look up
        one less.
        """
        return [None if found is None else found[0] for found in self.locate(addresses)]

    def locate(self, addresses: npt.ArrayLike) -> list[tuple[str, int] | None]:
        """As :meth:`names`, each name with the bytes from the function's start."""
        wanted = np.asarray(addresses, np.uint64).ravel()
        if not len(self._starts):
            return [None] * len(wanted)
        at = np.searchsorted(self._starts, wanted, side="right") - 1
        offsets = wanted - self._starts[np.maximum(at, 0)]
        inside = (at >= 0) & (offsets < np.uint64(_FARTHEST))
        return [
            (self._name(i), offset) if ok and self._code[i] else None
            for i, offset, ok in zip(at.tolist(), offsets.tolist(), inside.tolist(), strict=True)
        ]


class KernelNames:
    """The running kernel's symbols, read when first needed and again when an address is new (modules, programs)."""

    def __init__(self, load: Callable[[], Kallsyms] = Kallsyms.load) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._symbols: Kallsyms | None = None
        self._read = 0.0

    @property
    def hidden(self) -> bool:
        """Whether this process is not shown kernel addresses."""
        return self._fresh(float("inf")).hidden

    def names(self, addresses: npt.ArrayLike) -> list[str | None]:
        """As :meth:`Kallsyms.names`."""
        return [None if found is None else found[0] for found in self.locate(addresses)]

    def locate(self, addresses: npt.ArrayLike) -> list[tuple[str, int] | None]:
        """As :meth:`Kallsyms.locate`."""
        found = self._fresh(float("inf")).locate(addresses)
        if None in found and not self.hidden:
            found = self._fresh(_AGAIN).locate(addresses)
        return found

    def prepare(self) -> None:
        """Read the symbols beside what this thread does: who asks meanwhile waits for them."""
        if self._symbols is None:
            threading.Thread(
                target=self._fresh, args=(float("inf"),), name="bpfnb-kallsyms", daemon=True
            ).start()

    def _fresh(self, age: float) -> Kallsyms:
        with self._lock:
            if self._symbols is None or time.monotonic() - self._read > age:
                self._symbols, self._read = self._load(), time.monotonic()
            return self._symbols


KERNEL = KernelNames()
"""This machine's kernel."""


def _parse(
    text: bytes,
) -> tuple[Addresses, npt.NDArray[np.uint8], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Of each line the address, the rank among the names of one address (low is better), and where the name stands."""
    data = np.frombuffer(text + b"\n" * (text[-1:] != b"\n") + bytes(16), np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.append(0, ends[:-1] + 1)
    starts, ends = starts[ends > starts], ends[ends > starts]
    names = starts + 19
    if not (ends > names).all() or (data[starts + 16] != 32).any() or (data[starts + 18] != 32).any():
        raise ValueError("a line of kallsyms reads: 16 hexadecimal digits, a letter, a name")
    # Items of 16 bytes, one at each byte: taking from them copies the digits of a line at once.
    digits = np.ndarray((len(data) - 15,), "V16", data, 0, (1,))[starts].tobytes()
    addresses = np.frombuffer(bytes.fromhex(digits.decode("ascii")), ">u8").astype(np.uint64)
    kinds = data[starts + 17]
    padding = np.zeros(len(names), bool)
    underscored = _beginning(b"__", data, names, np.arange(len(names)))
    for prefix in _PADDING:
        padding[_beginning(prefix, data, names, underscored)] = True
    for mark in _MARKS:
        padding[_beginning(mark, data, names, np.flatnonzero(ends - names == len(mark)))] = True
    ranks = _DATA * ~np.isin(kinds, _TEXT) + 2 * padding + ~np.isin(kinds, _GLOBAL)
    return addresses, ranks.astype(np.uint8), names, ends


def _beginning(
    word: bytes, data: npt.NDArray[np.uint8], names: npt.NDArray[np.intp], which: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Those of *which* names that begin with *word*."""
    for index, letter in enumerate(word):
        which = which[data[names[which] + index] == letter]
    return which
