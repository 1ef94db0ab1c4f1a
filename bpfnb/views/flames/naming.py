"""How the addresses of stacks get their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from bpfnb.errors import BadValue
from bpfnb.symbols.frame import AddressNames
from bpfnb.symbols.kallsyms import KERNEL as SYMBOLS
from bpfnb.symbols.kallsyms import is_kernel
from bpfnb.symbols.process import Located
from bpfnb.symbols.symbolizer import MACHINE, Symbolizer
from bpfnb.views.flames.names import KERNEL

__all__ = ["Naming", "Order", "Owner", "Symbolize", "kernel_names"]

Order = Literal["root", "leaf"]
Addresses = npt.NDArray[np.uint64]
Symbolize = Callable[[Addresses], Sequence[str | None]]
"""Names of addresses; None where there is none."""
Owner = str | int | None
"""Whose user addresses a column's are: the column with the process, or the process."""


class Naming:
    """Names by *symbolize*: a function, a :class:`bpfnb.symbols.Symbolizer`, a recording's; by default this machine's.

    While data are *live* nobody waits for DWARF: what it says is taken up when it has been read.
    """

    def __init__(self, symbolize: Symbolize | AddressNames | None = None, *, live: bool = False) -> None:
        self._function: Symbolize | None = None
        self._symbolizer: AddressNames = MACHINE
        if callable(symbolize):
            self._function = symbolize
        elif symbolize is not None:
            self._symbolizer = symbolize
        self._wait = 0.0 if live else math.inf
        self._settled = 0

    def settle(self) -> None:
        """No more data come: from now on DWARF is waited for."""
        if not self._settled:
            self._wait, self._settled = math.inf, 1

    @property
    def hidden(self) -> bool:
        """Whether this process is not shown the addresses of the kernel whose stacks these are."""
        return isinstance(self._symbolizer, Symbolizer) and self._symbolizer.kernel.hidden

    @property
    def version(self) -> int:
        """Grows when stacks that :meth:`may_improve` may have better names."""
        return 0 if self._function else self._symbolizer.version + self._settled

    def may_improve(self, names: Sequence[str]) -> bool:
        """Whether a stack with these names may have better ones once :attr:`version` has grown."""
        return self._symbolizer.has_lines or "[no perf map]" in names

    def names(
        self, stacks: Sequence[Addresses], owners: Sequence[int | None], order: Order
    ) -> list[list[str]]:
        """*stacks* of the processes *owners* as names, root first; an address without a name as hex, or as the reason.

        Where it is not known whose a stack is, user addresses stay hex.
        """
        if self._asks(owners):
            pids = [-1 if owner is None else owner for owner in owners]
            return self._symbolizer.names(stacks, pids, order=order, wait=self._wait)
        return _spelled(stacks, self._function, order)

    def located(
        self, stacks: Sequence[Addresses], owners: Sequence[int | None], order: Order
    ) -> Sequence[list[Located | str]]:
        """As :meth:`names`, with all that is known of a frame where more than its name is: as
        :meth:`bpfnb.symbols.Symbolizer.located`. DWARF that is being read is waited for.
        """
        if isinstance(self._symbolizer, Symbolizer) and self._asks(owners):
            pids = [-1 if owner is None else owner for owner in owners]
            return self._symbolizer.located(stacks, pids, order=order)
        return [[*names] for names in self.names(stacks, owners, order)]

    def _asks(self, owners: Sequence[int | None]) -> bool:
        """Whether the symbolizer is to say of *owners*' addresses what they are."""
        elsewhere = not isinstance(self._symbolizer, Symbolizer) or not self._symbolizer.here
        return self._function is None and (elsewhere or any(owner is not None for owner in owners))


def kernel_names(addresses: Addresses, returns: npt.NDArray[np.bool_]) -> list[str | None]:
    """This kernel's functions, marked ``_[k]``; None for user addresses, whose process is not known here.

    Where *returns*, an address is the one that a call returns to: the call stands before it.
    """
    kernel = is_kernel(addresses)
    found: list[str | None] = [None] * len(addresses)
    inside = addresses[kernel] - returns[kernel].astype(np.uint64)
    plain = [f"0x{address:x}" for address in addresses[kernel].tolist()]
    for at, name, hexadecimal in zip(
        np.flatnonzero(kernel).tolist(), SYMBOLS.names(inside), plain, strict=True
    ):
        found[at] = (name or hexadecimal) + KERNEL
    return found


def _spelled(stacks: Sequence[Addresses], symbolize: Symbolize | None, order: Order) -> list[list[str]]:
    """*stacks* of addresses as names, root first; an address without a name as hex. Each is looked up once."""
    lengths = np.array([len(stack) for stack in stacks], np.int64)
    flat = np.concatenate([np.empty(0, np.uint64), *stacks])
    ends = np.cumsum(lengths)
    returns = np.ones(len(flat), bool)
    leaves = ends - lengths if order == "leaf" else ends - 1
    returns[leaves[lengths > 0]] = False
    found: Sequence[str | None]
    if symbolize is None:  # an address may be a leaf's here and a caller's there: two look-ups
        pairs, place = np.unique(np.stack([flat, returns.astype(np.uint64)]), axis=1, return_inverse=True)
        addresses = np.ascontiguousarray(pairs[0])
        found = kernel_names(addresses, pairs[1] == 1)
    else:
        addresses, place = np.unique(flat, return_inverse=True)
        found = list(symbolize(addresses))
        if len(found) != len(addresses):
            raise BadValue(f"symbolize gave {len(found)} names for {len(addresses)} addresses")
    names = [name or f"0x{address:x}" for name, address in zip(found, addresses.tolist(), strict=True)]
    texts = [names[at] for at in place.tolist()]
    step = 1 if order == "root" else -1
    return [
        texts[end - length : end][::step] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]
