"""Names of a guest's addresses: its kernel's functions from its own /proc/kallsyms, its processes' from their files.

A process's files are copied here once, and read as this machine's are; separate debug files are looked for here, by
build id.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from bpfnb.kernel.system import meaning
from bpfnb.symbols.binary import Binaries, Binary
from bpfnb.symbols.frame import Frame
from bpfnb.symbols.kallsyms import Kallsyms, KernelNames
from bpfnb.symbols.maps import Mapping
from bpfnb.symbols.process import Located
from bpfnb.symbols.symbolizer import Symbolizer
from bpfnb.vm.system import GuestSystem

__all__ = ["GuestSymbols"]


class GuestSymbols(Symbolizer):
    """A :class:`~bpfnb.symbols.Symbolizer` of a guest's kernel and processes."""

    here = False

    def __init__(self, system: GuestSystem) -> None:
        super().__init__(kernel=KernelNames(self._load))
        self._system = system
        self._binaries = _Copies(system)

    def _load(self) -> Kallsyms:
        try:
            return Kallsyms(self._system.path("/proc/kallsyms").read_bytes())
        except OSError:
            return Kallsyms(b"")

    def watch(self, pid: int) -> bool:
        with meaning(self._system):
            return super().watch(pid)

    def remember(self, pid: int, mappings: Iterable[Mapping], started: int) -> None:
        with meaning(self._system):
            super().remember(pid, mappings, started)

    def _in_process(self, keys: list[int], pid: int) -> list[Located]:
        if pid <= 0:  # it is not known whose they are
            return [(Frame(key >> 1), None, key >> 1) for key in keys]
        with meaning(self._system):
            return super()._in_process(keys, pid)


class _Copies(Binaries):
    """The files that a guest's processes have mapped."""

    def __init__(self, system: GuestSystem) -> None:
        super().__init__()
        self._system = system
        self._copies: dict[Path, Binary | None] = {}

    def of(self, pid: int, mapping: Mapping) -> Binary | None:
        copy = self._copy(pid, mapping)
        if copy not in self._copies:
            self._copies[copy] = self.at(copy)
        return self._copies[copy]

    def _copy(self, pid: int, mapping: Mapping) -> Path:
        """Of the very file that is mapped, also where another has its path now. Raises OSError."""
        mapped = f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"
        with contextlib.suppress(
            OSError, ValueError
        ):  # ValueError: no file has such a name, with a NUL in it
            return self._system.readable(self._system.guest_path(mapped), mapping.name)
        # Where it has ended, or let go of the file
        for name in (f"/proc/{pid}/root{mapping.path}", mapping.path):
            path = self._system.guest_path(name)
            with contextlib.suppress(OSError, ValueError):
                if path.stat().st_ino == mapping.inode:
                    return self._system.readable(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), mapping.path)

    def vdso(self) -> Binary | None:
        return None  # of this machine's kernel
