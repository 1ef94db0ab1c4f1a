"""What is known of one address of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["AddressNames", "Frame", "Inlined", "Kind"]

Kind = Literal["kernel", "user", "python", "jit", "unknown"]

_MARKS = {"kernel": "_[k]", "jit": "_[j]"}  # as in Brendan Gregg's tools


class AddressNames(Protocol):
    """What flame graphs need of whoever names addresses: a :class:`~bpfnb.symbols.Symbolizer`, or a recording."""

    @property
    def version(self) -> int:
        """A number that grows when stacks that were named before may have better names now."""

    @property
    def has_lines(self) -> bool:
        """Whether it looks for lines, which come late."""

    def names(
        self,
        stacks: Sequence[Any],
        pids: Sequence[int] | int,
        *,
        order: Literal["root", "leaf"] = "leaf",
        wait: float = ...,
    ) -> list[list[str]]:
        """See :meth:`bpfnb.symbols.Symbolizer.names`. A pid of -1: it is not known whose a stack is."""


@dataclass(frozen=True, slots=True)
class Inlined:
    """A function that the compiler put into another, and where in it execution was (*line* from 1, 0: not known)."""

    function: str
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One address of a stack.

    *function* is demangled, None where it has no name: then *reason* says why, as people are to read it.
    *module* is the file that it lies in, as the process sees it, or the kernel's module. *offset* counts bytes from the
    function's start; without a function it is the address as the module was linked, which ``addr2line`` takes.
    *file* and *line* are where in *function* execution was; *start_line*, where that begins, is what runtimes tell of
    the code they make. *inlined* are the functions put into it there, the outer ones first, so that the last one was
    executed.
    """

    address: int
    function: str | None = None
    module: str | None = None
    offset: int | None = None
    file: str | None = None
    line: int | None = None
    start_line: int | None = None
    inlined: tuple[Inlined, ...] = ()
    kind: Kind = "unknown"
    reason: str | None = None

    @property
    def names(self) -> list[str]:
        """The frame as a flame graph shows it, root first: marked ``_[k]`` (kernel), ``_[j]`` (compiled at run time)
        and ``_[i]`` (inlined); a reason instead of a name stands in brackets.
        """
        if self.function is None:
            hexadecimal = f"0x{self.address:x}"
            if self.kind == "kernel":
                return [hexadecimal + _MARKS["kernel"]]
            return [f"[{self.reason}]" if self.reason else hexadecimal]
        name = f"{self.function} [{self.module}]" if self.kind == "kernel" and self.module else self.function
        if self.kind == "python":
            name = f"py::{self.function}:{self.file}"
        return [name + _MARKS.get(self.kind, ""), *(f"{each.function}_[i]" for each in self.inlined)]
