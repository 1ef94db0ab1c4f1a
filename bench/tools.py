"""What the ready-made tools cost those whom they watch, beside the tool of that name of bcc or bpftrace.

The same work is done unwatched, watched by bpfnb and watched by the peer, in turns; its rate in each case, and the
processor time of the observer, which keeps its frame here and prints its lines (to a file in memory) there. bcc's tools
run where they need no kprobes, with bpfnb's kernel headers; else bpftrace's, or the same few lines in bpftrace.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from bench.observers import Observer, Ours, Theirs
from bench.report import line, note

__all__ = ["filtering", "overhead"]

ROUNDS, REPEATS = 3, 3
NOISE = (
    0.98  # what the rate of the same work differs by on a virtual machine, where the watching itself is less
)

OFFCPU = """
tracepoint:sched:sched_switch {
    @stack[args->prev_pid] = kstack; @user[args->prev_pid] = ustack; @from[args->prev_pid] = nsecs;
    $start = @from[args->next_pid];
    if ($start) {
        @us[args->next_comm, @user[args->next_pid], @stack[args->next_pid]] = sum((nsecs - $start) / 1000);
        delete(@from[args->next_pid]);
    }
}
BEGIN { printf("ready\\n"); }
END { clear(@stack); clear(@user); clear(@from); }
"""


@dataclass(frozen=True)
class Case:
    """*heavy*: so many rows that what the observer does is to take them; else its fixed costs are most of it."""

    tool: str
    work: str
    count: int
    ours: Callable[[], Ours]
    theirs: Callable[[], Observer]
    peer: str
    heavy: bool = False


def _packaged(name: str, *arguments: str) -> Theirs:
    return Theirs(sys.executable, "-u", "-m", "bpfnb", "script", name, "--", *arguments)


CASES = (
    Case(
        *("execsnoop", "execs", 400),
        lambda: Ours("execsnoop"),
        lambda: Theirs("/usr/sbin/execsnoop.bt"),
        "execsnoop.bt",
    ),
    Case(
        *("opensnoop", "opens", 100_000),
        lambda: Ours("opensnoop"),
        lambda: Theirs("/usr/sbin/opensnoop.bt"),
        "opensnoop.bt",
        heavy=True,
    ),
    Case(
        *("syscount", "calls", 1_000_000),
        lambda: Ours("syscount", latency=True),
        lambda: _packaged("syscount-bpfcc", "-L"),
        "bcc's syscount -L",
    ),
    Case(
        *("offcputime", "switches", 50_000),
        lambda: Ours("offcputime"),
        lambda: Theirs("bpftrace", "-e", OFFCPU),
        "bpftrace",
    ),
    Case(
        *("profile", "spins", 500_000),
        lambda: Ours("profile", frequency=99),
        lambda: _packaged("profile-bpfcc", "-F", "99", "600"),
        "bcc's profile -F 99",
    ),
)


class Work:
    """A process that does known work when told to."""

    def __init__(self, kind: str, count: int) -> None:
        self._count = count
        self._child = subprocess.Popen(
            [_program(), kind, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._child.pid

    def once(self) -> float:
        """Nanoseconds each."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write("go\n")
        self._child.stdin.flush()
        return int(self._child.stdout.readline()) / self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._child.communicate()


@cache
def _program() -> str:
    built = Path(tempfile.mkdtemp(prefix="bench-work-")) / "workload"
    source = Path(__file__).with_name("workload.c")
    subprocess.run(["gcc", "-O2", str(source), "-o", str(built)], check=True)
    return str(built)


def overhead() -> None:
    """execsnoop, opensnoop, syscount, offcputime and profile."""
    for case in CASES:
        _compare(case)


def _compare(case: Case) -> None:
    times: dict[str, list[float]] = {"alone": [], "ours": [], "theirs": []}
    spent: dict[str, list[float]] = {"ours": [], "theirs": []}
    told = ""
    with Work(case.work, case.count) as work:
        work.once()
        for _ in range(ROUNDS):
            times["alone"] += [work.once() for _ in range(REPEATS)]
            for side, observer in (("ours", case.ours()), ("theirs", case.theirs())):
                with observer:
                    times[side] += [work.once() for _ in range(REPEATS)]
                    spent[side].append(observer.spent())
                if isinstance(observer, Ours):
                    told = f"{observer.rows:,} rows, {observer.lost:,} lost"
    alone, ours, theirs = (statistics.median(times[side]) for side in times)
    cpu, cpu_there = (statistics.median(spent[side]) for side in spent)
    line(
        f"{case.tool}: rate of the watched work",
        f"{1e9 / ours:,.0f}/s ({_more(ours, alone)})",
        f"{case.peer} {1e9 / theirs:,.0f}/s ({_more(theirs, alone)})",
        theirs / ours,
        1 if case.heavy else NOISE,
    )
    line(
        f"{case.tool}: processor time of the observer",
        f"{1e3 * cpu:.0f} ms",
        f"{case.peer} {1e3 * cpu_there:.0f} ms",
        cpu_there / max(cpu, 0.01),
        10 if case.heavy else 1,
    )
    note(f"unwatched {1e9 / alone:,.0f}/s; {REPEATS} times {case.count:,}; {told}")


def _more(watched: float, alone: float) -> str:
    return f"{watched - alone:+,.0f} ns each"


def filtering() -> None:
    """One process of two is of interest: filtered in the kernel, or afterwards in the frame.

    The other process opens 100,000 files, the one of interest 100 between; both ways of watching see the same work.
    """
    ours: dict[str, tuple[float, float, int, int]] = {}
    with ExitStack() as stack:
        noise = stack.enter_context(Work("opens", 100_000))
        wanted = stack.enter_context(Work("opens", 100))
        alone = statistics.median(noise.once() for _ in range(REPEATS))
        for way, options in (("in the kernel", {"pid": wanted.pid}), ("in the frame", {})):
            taken, spent, rows, lost = [], [], 0, 0
            for _ in range(ROUNDS):
                with Ours("opensnoop", **options) as observer:
                    for _ in range(REPEATS):
                        taken.append(noise.once())
                        wanted.once()
                    spent.append(observer.spent())
                rows, lost = observer.rows, observer.lost
            ours[way] = statistics.median(taken), statistics.median(spent), rows, lost
    kernel, frame = ours["in the kernel"], ours["in the frame"]
    line(
        "filtering opens of one process: what it adds to an open of others",
        f"in the kernel {kernel[0] - alone:,.0f} ns",
        f"in user space {frame[0] - alone:,.0f} ns",
        (frame[0] - alone) / max(kernel[0] - alone, 1),
        1,
    )
    line(
        "filtering opens of one process: processor time of the observer",
        f"in the kernel {1e3 * kernel[1]:.0f} ms",
        f"in user space {1e3 * frame[1]:.0f} ms",
        frame[1] / max(kernel[1], 0.01),
        1,
    )
    note(
        f"rows that left the kernel: {kernel[2]:,} ({kernel[3]:,} lost) and {frame[2]:,} ({frame[3]:,} lost)"
    )
