"""What programs cost, from the kernel's BPF statistics, and the watchdog that detaches an object that costs too much.

Statistics slow every BPF program of the machine a little, so they are on only while somebody looks, and for a tenth
of each second while a watched object is attached. Counts are therefore of the seconds in which they were on; rates
and shares are per such second. ``BPF_ENABLE_STATS`` exists since Linux 5.8, the counters since 5.1.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from bpfnb.kernel.backend import ProgramStats

__all__ = ["Cost", "Meter", "Watched", "meter"]

LOOK_SECONDS = 5.0  # a look keeps statistics on for this long
WINDOW_SECONDS = 0.1  # of every PERIOD_SECONDS, for the watchdog
PERIOD_SECONDS = 1.0
JUDGE_SECONDS = 5.0  # the watchdog's verdict is over this long


@dataclass(slots=True)
class Cost:
    """Cumulative cost of one program over the ``seconds`` in which statistics were on.

    ``cpu_share`` is its share of one CPU (0 to the number of CPUs) over the last five seconds.
    """

    run_count: int = 0
    run_time_ns: int = 0
    seconds: float = 0.0
    cpu_share: float = float("nan")

    @property
    def average_ns(self) -> float:
        return self.run_time_ns / self.run_count if self.run_count else float("nan")

    @property
    def runs_per_second(self) -> float:
        return self.run_count / self.seconds if self.seconds else float("nan")


class Watched(Protocol):
    """What the meter needs of an object."""

    watchdog: float | None

    def read_stats(self) -> Mapping[str, ProgramStats]: ...

    def statistics(self) -> AbstractContextManager[object]: ...

    def too_costly(self, share: float) -> None: ...


@dataclass(slots=True)
class _Account:
    costs: dict[str, Cost] = field(default_factory=dict)
    shares: deque[tuple[float, Mapping[str, float]]] = field(default_factory=deque)  # when, by program


class Meter:
    """One background thread that turns statistics on and off and keeps each object's account."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        """Nothing watched, no thread, new locks: also what a forked child begins with, whose parent goes on."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._accounts: dict[Watched, _Account] = {}
        self._look_until = 0.0
        self._thread: threading.Thread | None = None

    def watch(self, watched: Watched) -> None:
        with self._changed:
            self._accounts.setdefault(watched, _Account())
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="bpfnb-meter", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, watched: Watched) -> None:
        with self._changed:
            self._accounts.pop(watched, None)
            self._changed.notify()

    def look(self) -> None:
        """Keep statistics on for the next seconds, because somebody looks."""
        with self._changed:
            self._look_until = time.monotonic() + LOOK_SECONDS
            self._changed.notify()

    def costs(self, watched: Watched) -> dict[str, Cost]:
        """A copy of the object's account, by program."""
        with self._lock:
            account = self._accounts.get(watched)
            if account is None:
                return {}
            return {
                name: replace(
                    cost, cpu_share=sum(s.get(name, 0.0) for _, s in account.shares) / len(account.shares)
                )
                for name, cost in account.costs.items()
            }

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._accounts:
                    self._changed.wait(PERIOD_SECONDS)
                    if not self._accounts:
                        self._thread = None
                        return
                watched = list(self._accounts)
            looking = time.monotonic() < self._look_until
            if looking or any(w.watchdog is not None for w in watched):
                self._measure(watched)
            if time.monotonic() >= self._look_until:
                with self._changed:
                    self._changed.wait(PERIOD_SECONDS - WINDOW_SECONDS)

    def _measure(self, watched: list[Watched]) -> None:
        """One window with statistics on, its result added to every account."""
        with contextlib.ExitStack() as held:
            measured = []
            for w in watched:  # perhaps of several kernels; one that is gone has nothing to measure
                with contextlib.suppress(Exception):
                    held.enter_context(w.statistics())
                    measured.append(w)
            if not measured:
                time.sleep(WINDOW_SECONDS)
                return
            start = {w: (time.monotonic(), _read(w)) for w in measured}
            with self._changed:
                self._changed.wait(WINDOW_SECONDS)
            for w, (since, before) in start.items():
                now, after = time.monotonic(), _read(w)
                share = self._add(w, before, after, now - since, now)
                if share is not None and w.watchdog is not None and share > w.watchdog:
                    w.too_costly(share)

    def _add(
        self,
        watched: Watched,
        before: Mapping[str, ProgramStats],
        after: Mapping[str, ProgramStats],
        seconds: float,
        now: float,
    ) -> float | None:
        """The average share over JUDGE_SECONDS, once that long was measured."""
        with self._lock:
            account = self._accounts.get(watched)
            if account is None:
                return None
            shares: dict[str, float] = {}
            for name, stats in after.items():
                if name not in before:
                    continue
                cost = account.costs.setdefault(name, Cost())
                spent = stats.run_time_ns - before[name].run_time_ns
                cost.run_count += stats.run_count - before[name].run_count
                cost.run_time_ns += spent
                cost.seconds += seconds
                shares[name] = spent / seconds / 1e9
            account.shares.append((now, shares))
            full = now - account.shares[0][0] >= JUDGE_SECONDS - PERIOD_SECONDS
            while account.shares and now - account.shares[0][0] > JUDGE_SECONDS:
                account.shares.popleft()
            return sum(sum(s.values()) for _, s in account.shares) / len(account.shares) if full else None


def _read(watched: Watched) -> Mapping[str, ProgramStats]:
    try:
        return watched.read_stats()
    except Exception:  # closed meanwhile
        return {}


meter = Meter()
os.register_at_fork(after_in_child=meter._start)
