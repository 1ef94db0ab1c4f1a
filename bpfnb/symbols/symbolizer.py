"""Addresses of stacks to frames: the kernel's, and those of processes while they live and after."""

from __future__ import annotations

import errno
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from bpfnb.symbols.binary import DEBUG, Binaries
from bpfnb.symbols.frame import Frame
from bpfnb.symbols.kallsyms import KERNEL, Kallsyms, KernelNames, is_kernel
from bpfnb.symbols.lines import Lines
from bpfnb.symbols.maps import Mapping
from bpfnb.symbols.process import NOWHERE, Located, Process

__all__ = ["MACHINE", "Order", "Symbolizer", "in_kernel", "lost"]

Order = Literal["root", "leaf"]
Words = npt.NDArray[np.uint64]

WILD = f"[{NOWHERE}]"  # where nothing is mapped: without frame pointers a stack soon leads there, and on to more of it
_SEEN = 4096  # processes
_HALF = np.uint64(1 << 63)
_FRESH = 1.0  # seconds for which a snapshot is taken for the present
_AGAIN = 0.05  # and for which it is, though an address is new


class Symbolizer:
    """Names of addresses, of the kernel and of any process. Thread-safe; everything found is kept.

    *debug* are folders of separate debug files: ``.build-id/xx/yyy.debug`` in them by build id, others by path. With
    *lines*, frames have source lines and inlined functions where DWARF is found, which another process reads in at most
    *seconds* a file (MissingDependency where the package symbolic is absent). User addresses are of the process, which
    must be on this machine and in this PID namespace; *kernel* names its own.
    """

    here: ClassVar[bool] = True
    """Whether it names this machine's addresses."""

    def __init__(
        self,
        *,
        debug: Sequence[str | Path] = DEBUG,
        lines: bool = False,
        seconds: float = 120.0,
        kernel: KernelNames | Kallsyms = KERNEL,
    ) -> None:
        self._binaries = Binaries(debug)
        self._lines = Lines(seconds) if lines else None
        self.kernel = kernel
        self._processes: OrderedDict[int, Process] = OrderedDict()
        self._lock = threading.RLock()
        self._changes = 0

    @property
    def version(self) -> int:
        """A number that grows when addresses that were resolved before may have better frames now."""
        return self._changes + (self._lines.done if self._lines else 0)

    @property
    def has_lines(self) -> bool:
        """Whether frames have source lines and inlined functions."""
        return self._lines is not None

    @property
    def nbytes(self) -> int:
        """Memory of the symbol tables that were read, in bytes."""
        return self._binaries.nbytes

    def watch(self, pid: int) -> bool:
        """Take a snapshot of what *pid* has mapped, so that its stacks have names after it has ended.

        Costs the opening of files that were not seen yet; symbols are read when they are needed. False where there is
        no such process any more, or it may not be looked at.
        """
        with self._lock:
            process = self._process(pid)
            there = process.look()
            self._changes += process.take_improved()
            return there

    def remember(self, pid: int, mappings: Iterable[Mapping], started: int) -> None:
        """Take *mappings* for what *pid*, the process that began *started* ticks after boot, had mapped.

        For those who were there when it ended: nobody can look afterwards.
        """
        with self._lock:
            process = self._process(pid)
            process.remember(mappings, started)
            self._changes += process.take_improved()

    def resolve(
        self,
        addresses: npt.ArrayLike,
        pid: int,
        *,
        returns: npt.ArrayLike | bool = False,
        wait: float = float("inf"),
    ) -> list[Frame]:
        """A frame for each of *addresses* (u64) in process *pid* (a tgid, or any of its threads), or in the kernel.

        *returns* says, for all or for each, that it is an address that a call returns to, as those of all frames but a
        stack's leaf: it is of the instruction behind the call, and the call itself counts. With lines, files are
        waited for *wait* seconds in all.
        """
        flat = np.asarray(addresses, np.uint64).ravel()
        back = np.broadcast_to(np.asarray(returns, bool), flat.shape)
        located, place = self._different(flat, back, pid, wait)
        return [located[at][0] for at in place.tolist()]

    def names(
        self,
        stacks: Sequence[Any],
        pids: Sequence[int] | int,
        *,
        order: Order = "leaf",
        wait: float = float("inf"),
    ) -> list[list[str]]:
        """*stacks* of addresses as names, root first, marked as :attr:`Frame.names` says.

        A stack may have user and kernel addresses; zeros at its end are none. Instead of a stack an error may stand,
        a negative number as ``bpf_get_stackid()`` returns it. *order* is that of the addresses: BPF writes the leaf
        first. Neighbours that lie where nothing is mapped are one frame.
        """
        return self._stacks(stacks, pids, order, wait, lambda found: found[0].names)

    def located(
        self,
        stacks: Sequence[Any],
        pids: Sequence[int] | int,
        *,
        order: Order = "leaf",
        wait: float = float("inf"),
    ) -> list[list[Located | str]]:
        """As :meth:`names`, with all that is known of each frame instead of its names: the frame, and the binary that
        it is in with the address there, as that was linked; text stands for a stack that was lost.

        A frame that a call returns to has the address before that one. Without a binary the address is the process's.
        """
        return self._stacks(stacks, pids, order, wait, lambda found: [found])

    def _stacks(
        self,
        stacks: Sequence[Any],
        pids: Sequence[int] | int,
        order: Order,
        wait: float,
        told: Callable[[Located], Sequence[Any]],
    ) -> list[list[Any]]:
        """*stacks* as what is *told* of their frames, root first."""
        out: list[list[Any]] = [[] for _ in stacks]
        owners = [pids] * len(stacks) if isinstance(pids, int | np.integer) else list(pids)
        of: dict[int, list[int]] = {}
        for at, (stack, pid) in enumerate(zip(stacks, owners, strict=True)):
            if isinstance(stack, int | np.integer):
                out[at] = lost(int(stack))
            elif stack is not None:
                of.setdefault(int(pid), []).append(at)
        until = time.monotonic() + wait
        for pid, places in of.items():
            words = [_used(np.asarray(stacks[at], np.uint64)) for at in places]
            words = [stack if order == "leaf" else stack[::-1] for stack in words]
            flat = np.concatenate([np.empty(0, np.uint64), *words])
            returns = np.concatenate([np.empty(0, bool), *(np.arange(len(stack)) > 0 for stack in words)])
            kernel = is_kernel(flat)
            returns[1:] &= (
                kernel[1:] | ~kernel[:-1]
            )  # nor is where the kernel was entered from a return address
            located, place = self._different(flat, returns, pid, max(until - time.monotonic(), 0))
            parts = [told(each) for each in located]
            wild = [frame.function is None and frame.names == [WILD] for frame, _, _ in located]
            first = 0
            for at, stack in zip(places, words, strict=True):
                here = place[first : first + len(stack)][::-1].tolist()
                again = [False, *(wild[one] and wild[next_] for one, next_ in pairwise(here))]
                out[at] = [
                    part
                    for number, dropped in zip(here, again, strict=False)
                    if not dropped
                    for part in parts[number]
                ]
                first += len(stack)
        return out

    def _different(
        self, flat: Words, returns: npt.NDArray[np.bool_], pid: int, wait: float
    ) -> tuple[list[Located], npt.NDArray[np.int64]]:
        """What is at different addresses, and which of them each of *flat* is."""
        kernel = is_kernel(flat)
        user = flat < _HALF
        neither = ~(kernel | user)
        # The bit that goes is set in all of the kernel's addresses, and in none of a process's.
        keys = (flat << np.uint64(1)) | returns.astype(np.uint64)
        upper, upper_place = np.unique(keys[kernel], return_inverse=True)
        lower, lower_place = np.unique(keys[user], return_inverse=True)
        wild, wild_place = np.unique(flat[neither], return_inverse=True)
        place = np.empty(len(flat), np.int64)
        place[kernel], place[user] = upper_place, lower_place + len(upper)
        place[neither] = wild_place + len(upper) + len(lower)
        located = self._in_kernel(upper)
        if len(lower):
            located += self._described(self._in_process(lower.tolist(), pid), wait)
        return [*located, *((Frame(at, reason=NOWHERE), None, at) for at in wild.tolist())], place

    def _process(self, pid: int) -> Process:
        process = self._processes.get(pid)
        if process is None:
            process = self._processes[pid] = Process(pid, self._binaries)
            if len(self._processes) > _SEEN:
                self._processes.popitem(last=False)
        self._processes.move_to_end(pid)
        return process

    def _in_process(self, keys: list[int], pid: int) -> list[Located]:
        with self._lock:
            process = self._process(pid)
            age = time.monotonic() - process.looked
            if keys and (age > _FRESH or (age > _AGAIN and not process.knows(keys))):
                process.look()
                self._changes += process.take_improved()
            return process.locate(keys)

    def _described(self, located: list[Located], wait: float) -> list[Located]:
        if self._lines is None:
            return located
        until = time.monotonic() + wait
        return [
            (frame, None, address)
            if binary is None
            else (self._lines.add(frame, binary, address, max(until - time.monotonic(), 0)), binary, address)
            for frame, binary, address in located
        ]

    def _in_kernel(self, keys: Words) -> list[Located]:
        returns = keys & np.uint64(1)
        addresses = (keys >> np.uint64(1)) | _HALF
        frames = in_kernel(self.kernel, addresses, returns)
        return [(frame, None, at) for frame, at in zip(frames, (addresses - returns).tolist(), strict=True)]


def in_kernel(names: KernelNames | Kallsyms, addresses: Words, returns: Words) -> list[Frame]:
    """A frame for each of the kernel's *addresses*; those whose *returns* is 1 are behind the call that counts."""
    out = []
    located = names.locate(addresses - returns) if len(addresses) else []
    for address, one, found in zip(addresses.tolist(), returns.tolist(), located, strict=True):
        if found is None:
            out.append(Frame(address, kind="kernel", reason="no kernel symbol"))
            continue
        name, _, module = found[0].partition(" [")
        offset = found[1] + one
        out.append(Frame(address, name, module.rstrip("]") or None, offset, kind="kernel"))
    return out


def lost(number: int) -> list[str]:
    """What stands for a stack whose id is the negative *number*: nothing where there was none (-EFAULT), else why."""
    if number == -errno.EFAULT:
        return []
    reasons = {-errno.EEXIST: "stack map collision", -errno.ENOMEM: "stack map full"}
    name = errno.errorcode.get(-number, str(-number))
    return [f"[stack lost: {reasons.get(number, f'error {name}')}]"]


def _used(stack: Words) -> Words:
    zeros = np.flatnonzero(stack == 0)
    return stack[: zeros[0]] if len(zeros) else stack


MACHINE = Symbolizer()
"""This machine's, which views share."""
