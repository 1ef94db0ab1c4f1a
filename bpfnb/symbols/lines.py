"""Source lines and inlined functions, from DWARF.

symbolic (by Sentry) makes a table of a file's DWARF that is searched by address, in a child process, which is bounded
in time and memory; the table is kept in the cache directory. It is an optional package: ``pip install 'bpfnb[lines]'``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from bpfnb.errors import MissingDependency
from bpfnb.symbols.binary import Binary
from bpfnb.symbols.demangle import demangle
from bpfnb.symbols.frame import Frame, Inlined

__all__ = ["Lines"]

_MAX_BYTES = 1 << 30
"""Tables beyond this many bytes are dropped, the least recently used first."""
_KEPT = 1 << 17  # addresses of one binary


class Lines:
    """Looks into the DWARF of binaries; *seconds* is what reading one may take. Thread-safe.

    Raises MissingDependency where the package is absent.
    """

    def __init__(self, seconds: float = 120.0) -> None:
        if importlib.util.find_spec("symbolic") is None:
            raise MissingDependency(
                "source lines and inlined functions need the package symbolic",
                hints=["pip install 'bpfnb[lines]'"],
            )
        self._seconds = seconds
        self._jobs: WeakKeyDictionary[Binary, _Job] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # one child at a time
        self.done = 0
        """How many binaries have been read: where it grew, more is known than before."""

    def add(self, frame: Frame, binary: Binary, address: int, wait: float) -> Frame:
        """*frame* with what DWARF says of *address*, as *binary* was linked; after *wait* seconds as it is.

        The binary is read in the background, so a later call may know more.
        """
        with self._lock:
            job = self._jobs.get(binary)
            if job is None:
                job = self._jobs[binary] = _Job()
                threading.Thread(
                    target=self._read, args=(binary, job), daemon=True, name="bpfnb-lines"
                ).start()
        if not job.ready.wait(min(wait, threading.TIMEOUT_MAX)) or job.table is None:
            return frame
        found = job.known.get(address)
        if found is None:
            if len(job.known) >= _KEPT:
                job.known.clear()
            found = job.known[address] = _described(job.table.lookup(address - binary.elf.base))
        return (
            replace(frame, **{**found, "function": frame.function or found["function"]}) if found else frame
        )

    def _read(self, binary: Binary, job: _Job) -> None:
        with self._turn, contextlib.suppress(Exception):  # broken DWARF is none
            job.table = _table(binary, self._seconds)
        with self._lock:
            self.done += 1
        job.ready.set()


class _Job:
    def __init__(self) -> None:
        self.ready = threading.Event()
        self.table: Any = None
        self.known: dict[int, dict[str, Any]] = {}


def _table(binary: Binary, seconds: float) -> Any:
    """The table of *binary*, None where it has no DWARF. Raises where that cannot be read, in many ways."""
    from bpfnb.compile.cache import cache_dir, trim
    from bpfnb.compile.cache import replace as replaced

    file = binary.lines
    if file is None:
        return None
    symbolic = _symbolic()
    key = f"{binary.elf.build_id}:{file.key}:{symbolic.SYMCACHE_LATEST_VERSION}"
    path = cache_dir() / "lines" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not path.exists():
        with replaced(path) as temporary:
            worker = Path(__file__).with_name("_symcache.py")
            subprocess.run(
                [sys.executable, "-P", worker, f"/proc/self/fd/{file.number}", temporary],
                check=True,
                timeout=seconds,
                pass_fds=[file.number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        trim(path.parent, _MAX_BYTES)
    os.utime(path)
    return symbolic.SymCache.open(str(path))


@functools.cache
def _symbolic() -> Any:
    before = os.environ.get("RUST_BACKTRACE")
    from symbolic import symcache

    if before is None:  # its import sets it, for all that this process will start
        os.environ.pop("RUST_BACKTRACE", None)
    return symcache


def _described(found: list[Any]) -> dict[str, Any]:
    """A frame's fields; *found* are the functions at its address, the innermost first: the last one is its own."""
    if not found:
        return {}
    *inner, own = found
    inlined = tuple(
        Inlined(demangle(each.symbol), each.full_path, each.line or None) for each in reversed(inner)
    )
    return {
        "function": demangle(own.symbol),
        "file": own.full_path,
        "line": own.line or None,
        "inlined": inlined,
        "kind": "user",
        "reason": None,
    }
