"""Addresses to names, beside bcc's symbol cache: what a flame graph waits for, the first time and again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.peers import bcc
from bench.report import line, note
from bpfnb.symbols import Symbolizer

__all__ = ["symbols"]

ADDRESSES = 10_000
LIBRARIES = "import ctypes, sys, numpy, pyarrow, sqlite3, ssl; print(flush=True); sys.stdin.read()"


def symbols() -> None:
    """10,000 addresses in a Python process with large libraries."""
    lib = bcc()
    with _process() as pid:
        addresses = _addresses(pid)
        ours, theirs = Symbolizer(), lib.SymbolCache(pid)

        def named() -> list[str | None]:
            return [frame.function for frame in ours.resolve(addresses, pid)]

        def named_there() -> list[bytes]:
            return [theirs.resolve(int(address), True)[0] or b"" for address in addresses]

        first, first_there = _seconds(named), _seconds(named_there)
        again, again_there = _seconds(named), _seconds(named_there)
        mine, there = named(), named_there()
    known, known_there = sum(map(bool, mine)), sum(map(bool, there))
    line(
        f"names of {ADDRESSES:,} addresses, the first time",
        f"{1e3 * first:.0f} ms",
        f"bcc's SymbolCache {1e3 * first_there:.0f} ms",
        first_there / first,
        1,
    )
    line(
        f"names of {ADDRESSES:,} addresses, again",
        f"{1e3 * again:.1f} ms",
        f"bcc's SymbolCache {1e3 * again_there:.1f} ms",
        again_there / again,
        1,
    )
    note(f"named: {known:,}, by bcc {known_there:,}")


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _process() -> Any:
    child = subprocess.Popen([sys.executable, "-c", LIBRARIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    try:
        yield child.pid
    finally:
        child.communicate()


def _addresses(pid: int) -> npt.NDArray[np.uint64]:
    """Places in the executable mappings of files, a known choice, each library with its share."""
    ranges = []
    with Path(f"/proc/{pid}/maps").open() as maps:
        for text in maps:
            place, mode, *_, path = text.split(maxsplit=5)
            if "x" in mode and path.startswith("/"):
                start, stop = (int(part, 16) for part in place.split("-"))
                ranges.append((start, stop))
    random = np.random.default_rng(1)
    chosen = random.choice(len(ranges), ADDRESSES)
    starts, stops = np.array(ranges, np.uint64).T
    return random.integers(starts[chosen], stops[chosen], dtype=np.uint64)
