"""One process: what it has mapped, as long as it could be seen, and the functions at its addresses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bpfnb.kernel.system import path
from bpfnb.symbols.binary import Binaries, Binary
from bpfnb.symbols.frame import Frame
from bpfnb.symbols.maps import Mapping, Mappings, executable
from bpfnb.symbols.perfmap import PerfMap

__all__ = ["Located", "Process"]

Words = npt.NDArray[np.uint64]
Located = tuple[Frame, "Binary | None", int]
"""A frame, the binary that it is in, and the address as that was linked: without a binary, the process's.

Of a frame that a call returns to it is the address before that one.
"""

EXITED = "process has exited"
NOWHERE = "unknown"
"""Why an address where nothing is mapped has no name."""
_MOST = 1 << 17  # addresses remembered for one process


class Process:
    """The user addresses of process *pid*, by its snapshot of the last :meth:`look`. Not thread-safe by itself."""

    def __init__(self, pid: int, binaries: Binaries) -> None:
        self.pid = pid
        self.looked = -np.inf
        """When :meth:`look` was last called, on the clock time.monotonic()."""
        self.reason: str | None = None
        """Why it cannot be looked at any more; None while it can."""
        self.started: int | None = None
        """When it started, in ticks since boot: another process of the same number has another moment."""
        self._binaries = binaries
        self._forget()

    def _forget(self) -> None:
        self._maps = Mappings(())
        self._seen = 0
        self._files: dict[Mapping, Binary | str] = {}
        self._jit = PerfMap()
        self._inner = self.pid
        self._owner = -1
        self._known: dict[int, Located] = {}
        self._vague: set[int] = set()
        self._improved = False

    def take_improved(self) -> bool:
        """Whether, since the last call, something was learned of addresses that had no name."""
        improved, self._improved = self._improved, False
        return improved

    def look(self) -> bool:
        """Read what is mapped now; what it has unmapped stays known. Whether the process is there.

        Files are opened at once, lest the process ends before one of its addresses is asked for.
        """
        self.looked = time.monotonic()
        try:
            started = start_of(self.pid)
            if self.started not in (None, started):
                self._forget()  # the number is another process's now
            self.started = started
            text = path(f"/proc/{self.pid}/maps").read_text(errors="replace")
        except PermissionError:
            self.reason = "no permission to look at the process"
            return False
        except (OSError, ValueError):
            text = ""
        if not text:  # a process that has exited and waits for its parent has empty maps
            self.reason = EXITED
            self._look_at_jit()
            return False
        self.reason = None
        if (seen := hash(tuple(executable(text)))) != self._seen:
            if self._follow(Mappings.parse(text)):  # by execve(), or another library in the old one's place
                self._known.clear()
            self._seen = seen  # last: what was interrupted is done again
        self._look_at_jit()
        self._forget_vague()
        return True

    def remember(self, rows: Iterable[Mapping], started: int) -> None:
        """What is known of its mappings from elsewhere, of the process that began at *started* (as :attr:`started`).

        Files are opened by their paths, where the very file is there.
        """
        if self.started not in (None, started):
            self._forget()
        self.started = started
        self._seen = 0
        self._follow(Mappings(rows))
        self._known.clear()
        self._improved = True

    def _follow(self, new: Mappings) -> bool:
        """Take *new* for what is mapped now, and open files that were not seen. Whether others came in their place."""
        self._maps, changed = self._maps.followed_by(new)
        self._files = {row: file for row in self._maps.rows if (file := self._files.get(row)) is not None}
        for row in self._maps.rows:
            if row not in self._files and row.inode:
                self._files[row] = self._opened(row)
        return changed

    def _opened(self, row: Mapping) -> Binary | str:
        try:
            return self._binaries.of(self.pid, row) or f"no ELF file: {row.name}"
        except PermissionError:
            return f"no permission to read: {row.name}"
        except OSError:
            return f"deleted: {row.name}" if row.deleted else f"cannot read: {row.name}"

    def _look_at_jit(self) -> None:
        name = "tmp/perf-{}.map"
        if self.reason is None:
            made = any(map(self._may_be_made, self._maps.rows))
            if made or self._owner < 0:  # it may end before it is looked at once more
                self._identify()
            if made:
                there = path(f"/proc/{self.pid}/root/{name.format(self._inner)}")
                self._improved |= self._jit.update(there, self._owner)
        elif self._owner >= 0 and self._jit.update(path(f"/{name.format(self._inner)}"), self._owner):
            self._improved = True  # written as it ended
            self._forget_vague()

    def _identify(self) -> None:
        """Whose it is, and which number it has for itself: its perf map is named by it."""
        with contextlib.suppress(OSError):  # it has just ended
            for line in path(f"/proc/{self.pid}/status").read_text(errors="replace").splitlines():
                key, _, value = line.partition(":")
                if key == "NStgid":
                    self._inner = int(value.split()[-1])
                elif key == "Uid":
                    self._owner = int(value.split()[0])

    def _may_be_made(self, row: Mapping) -> bool:
        """Whether a runtime may have written what is executed there: memory, also such as has an inode."""
        return not isinstance(self._files.get(row), Binary) and row.path not in ("[vdso]", "[vsyscall]")

    def _forget_vague(self) -> None:
        for key in self._vague:
            self._known.pop(key, None)
        self._vague.clear()

    def knows(self, keys: list[int]) -> bool:
        """Whether nothing new would be learned of *keys* (see :meth:`locate`)."""
        return all(key in self._known for key in keys)

    def locate(self, keys: list[int]) -> list[Located]:
        """What lies at each address. A key is twice the address, and one more for an address that a call returns to:
        that is of the instruction behind the call, which may be the next function's first, so the one before counts.
        """
        fresh = [key for key in dict.fromkeys(keys) if key not in self._known]
        if fresh:
            if len(self._known) + len(fresh) > _MOST:
                self._known.clear()
                self._vague.clear()
                fresh = list(dict.fromkeys(keys))
            self._learn(fresh)
        return [self._known[key] for key in keys]

    def _learn(self, keys: list[int]) -> None:
        words = np.array(keys, np.uint64)
        returns = words & np.uint64(1)
        addresses = words >> np.uint64(1)
        at = self._maps.find(addresses - returns)
        for number in np.unique(at).tolist():
            chosen = np.flatnonzero(at == number)
            here, back = addresses[chosen], returns[chosen]
            if number < 0:
                reason = (None if self._maps.rows else self.reason) or NOWHERE
                found: list[Located] = [
                    (Frame(each, reason=reason), None, each - before)
                    for each, before in zip(here.tolist(), back.tolist(), strict=True)
                ]
            else:
                found = self._inside(self._maps.rows[number], here, back)
            for place, located in zip(chosen.tolist(), found, strict=True):
                self._known[keys[place]] = located
                if located[0].function is None:
                    self._vague.add(keys[place])

    def _inside(self, row: Mapping, addresses: Words, returns: Words) -> list[Located]:
        file: Binary | str | None = self._binaries.vdso() if row.path == "[vdso]" else self._files.get(row)
        if not isinstance(file, Binary):
            return self._made(row, addresses, returns, file)
        linked = file.elf.addresses_of(addresses - returns - np.uint64(row.start) + np.uint64(row.offset))
        reason = f"no symbols: {row.name}"
        return [
            (
                Frame(address, None, row.path, place, reason=reason)
                if found is None
                else Frame(address, found[0], row.path, found[1] + back, kind="user"),
                file,
                place,
            )
            for address, back, place, found in zip(
                addresses.tolist(), returns.tolist(), linked.tolist(), file.names(linked), strict=True
            )
        ]

    def _made(self, row: Mapping, addresses: Words, returns: Words, why: str | None) -> list[Located]:
        """Frames in memory that no ELF file is behind: a runtime wrote what is executed there."""
        reason = why if row.inode and why and not row.path.startswith("/memfd:") else None
        reason = reason or (row.name if row.path.startswith("[") else "no perf map")
        return [
            (frame or Frame(address, None, row.path or None, reason=reason), None, address - back)
            for address, back, frame in zip(
                addresses.tolist(), returns.tolist(), self._jit.find(addresses, returns), strict=True
            )
        ]


def start_of(pid: int) -> int:
    """When a process started, in ticks since boot: field 22 of /proc/PID/stat. Raises OSError where there is none."""
    text = path(f"/proc/{pid}/stat").read_text(errors="replace")
    return int(text[text.rindex(")") + 2 :].split()[19])
