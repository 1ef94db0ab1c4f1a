"""Functions of binaries as people name them: ``libc.so.6:malloc``, ``/usr/bin/app:ns::f``, ``app:handle_*``."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os.path import samestat
from pathlib import Path

from bpfnb.errors import BadValue, UnknownName
from bpfnb.kernel import system
from bpfnb.kernel.binaries import Binary, find_binary
from bpfnb.kernel.system import readable
from bpfnb.symbols.binary import Binaries
from bpfnb.symbols.demangle import demangle
from bpfnb.symbols.signatures import Signature, Signatures

__all__ = ["Function", "Target", "split", "words"]

_TARGET = re.compile(r"^([^:]*):(?!:)(.*)$")
_CLONE = re.compile(r"\.(?:constprop|isra|lto_priv)\.\d+.*$")
_NO_FUNCTION = re.compile(r"\.(?:cold|part)(?:\.\d+)?$")
_TAG = re.compile(r"\[abi:\w+\]")
_LONGEST = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Function:
    """One function: as a person reads it, its symbol, its address as linked, where in the file it is, and whether the
    compiler made it from another one with other parameters.
    """

    name: str
    symbol: str
    address: int
    offset: int
    clone: bool = False


def split(text: str) -> tuple[str, str]:
    """(binary, function) of ``BINARY:FUNCTION``; C++'s double colons are the function's."""
    found = _TARGET.match(text)
    return (found[1], found[2]) if found else ("", text)


def words(text: str) -> list[str]:
    """Parts between commas that are in no brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += {"(": 1, "[": 1, "<": 1, ")": -1, "]": -1}.get(letter, 0)
        if letter == ">" and not found[-1].endswith("-"):
            depth -= 1
        if letter == "," and depth <= 0:
            found.append("")
        else:
            found[-1] += letter
    return [word.strip() for word in found if word.strip()]


class Target:
    """The binary that *name* means: a path, a library, a program; none: the program of the process *pid*.

    :raises BadValue: it means nothing; UnknownName: there is no such binary, or it cannot be read.
    """

    def __init__(self, name: str, pid: int | None = None) -> None:
        if not name and not pid:
            raise BadValue(
                "whose function is it?", hints=["BINARY:FUNCTION, binary=PATH, or pid= for that of a process"]
            )
        path = find_binary(name, pid) if name else _program(pid or 0)
        if path is None:
            raise UnknownName(
                f"there is no program or library '{name}'",
                hints=["give its path, or pid= of a process that has it mapped"],
            )
        self.path = _plain(path, pid)
        try:
            file = readable(path)
            self.binary = Binary(file)
            self._debug = Binaries().at(file)
        except (OSError, ValueError) as error:
            raise BadValue(f"cannot read '{path}': {error}") from None

    @cached_property
    def functions(self) -> list[tuple[str, int]]:
        """Symbols and addresses, also those of the separate debug file."""
        found = self.binary.addresses()
        if self._debug is not None and not self._debug.elf.has_symbols and self._debug.lines is not None:
            found += Binary(Path(f"/proc/self/fd/{self._debug.lines.number}")).addresses()
        return found

    def matching(self, patterns: Sequence[str]) -> list[Function]:
        """The functions of these names or shell patterns, each once, in order of the patterns.

        Names are symbols, or what they are demangled, with or without parameters; without its outer namespaces and
        classes a name stands for all that end so.
        """
        found: dict[int, Function] = {}
        for pattern in patterns:
            these = self._matching(pattern)
            if not these:
                raise self._unknown(pattern)
            for function in these:
                found.setdefault(function.address, function)
        return list(found.values())

    def _matching(self, pattern: str) -> list[Function]:
        words = sorted(_LONGEST.findall(pattern.partition("(")[0].rpartition("::")[2]), key=len)
        likely = words[-1] if words else ""
        exact, tails = [], []
        for symbol, address in self.functions:
            if likely not in symbol or _NO_FUNCTION.search(symbol):
                continue
            plain = _CLONE.sub("", symbol)
            whole = demangle(plain)
            name = without_parameters(whole)
            clone = plain != symbol
            made = Function(name, symbol, address, self.binary.file_offset(address), clone)
            if any(fnmatch.fnmatchcase(text, pattern) for text in (symbol, plain, whole, name)):
                exact.append(made)
            elif fnmatch.fnmatchcase(name, f"*::{pattern}"):
                tails.append(made)
        return exact or tails

    def _unknown(self, pattern: str) -> BadValue | UnknownName:
        where = f"{self.path.name} has no function '{pattern}'"
        if self.binary.indirect(pattern):
            return BadValue(
                f"'{pattern}' of {self.path.name} is an IFUNC: it only chooses one of several, when programs start",
                hints=[f"trace those that it chooses from: '*{pattern}*avx2*', where names are not stripped"],
            )
        names = {without_parameters(demangle(symbol)) for symbol, _ in self.functions[:200_000]}
        known = sorted(names)
        error = UnknownName.among(known, pattern, where)
        if error.hints[0].startswith("there are"):
            error.hints = ("the compiler may have inlined it everywhere, or its name was stripped",)
        return error

    @cached_property
    def _signatures(self) -> Signatures | None:
        file = self._debug.lines if self._debug is not None else None
        return Signatures(file.number) if file is not None else None

    @property
    def has_dwarf(self) -> bool:
        return self._signatures is not None

    def signature(self, function: Function) -> Signature | None:
        """What DWARF says of the function; None where it says nothing."""
        return self._signatures.at(function.address) if self._signatures is not None else None

    @property
    def machine(self) -> int | None:
        return self._debug.elf.machine if self._debug is not None else None

    @property
    def go(self) -> bool:
        """Whether Go made it, whose stacks move: a return probe would crash it."""
        elf = self._debug.elf if self._debug is not None else None
        return elf is not None and any(s.name in (".gopclntab", ".go.buildinfo") for s in elf.sections)


def _plain(path: Path, pid: int | None) -> Path:
    """A file of a process as everybody sees it, unless the process is in another mount namespace."""
    outside = system.path("/" + str(path).removeprefix(f"/proc/{pid}/root").lstrip("/"))
    try:
        return outside if samestat(outside.stat(), path.stat()) else path
    except OSError:
        return path


def _program(pid: int) -> Path:
    """A process's program by its own path, where that still leads to it."""
    link = system.path(f"/proc/{pid}/exe")
    try:
        path = link.resolve()
        return path if samestat(path.stat(), link.stat()) else link
    except OSError:
        return link


def without_parameters(name: str) -> str:
    """``ns::f`` of ``int ns::f<int>(int) const``: the name that is called."""
    name = _TAG.sub("", name)
    depth, end = 0, len(name)
    if name.rstrip().endswith((")", " const", "&", "]")) and "(" in name:
        for at in range(name.rindex(")"), -1, -1):
            depth += {")": 1, "(": -1}.get(name[at], 0)
            if not depth:
                end = at
                break
    name = name[:end]
    depth = 0
    for at in range(len(name) - 1, -1, -1):
        depth += {">": 1, "<": -1, ")": 1, "(": -1}.get(name[at], 0)
        if name[at] == " " and not depth and "operator" not in name[:at]:
            return name[at + 1 :]
    return name
