"""Result lines: one a measurement, each a ratio against a peer measured in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

__all__ = ["line", "median_seconds", "note"]

_short: list[str] = []


def line(name: str, ours: str, peers: str, ratio: float, goal: float, *, at_most: bool = False) -> None:
    """Print ``name: ours vs peers ratio=R goal=G ok|short``; *at_most* where smaller is better."""
    ok = ratio <= goal if at_most else ratio >= goal
    if not ok:
        _short.append(name)
    sign = "<=" if at_most else ">="
    print(
        f"{name}: {ours} | {peers} ratio={ratio:.2f} goal{sign}{goal:g} {'ok' if ok else 'short'}", flush=True
    )


def note(text: str) -> None:
    print(f"    {text}", flush=True)


def shortfalls() -> Sequence[str]:
    return _short


def median_seconds(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
