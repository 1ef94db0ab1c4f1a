"""Lab 6: the scheduler. Processes that want the same CPU wait for it, and for each other."""

from __future__ import annotations

import os
from typing import Any

from bpfnb.lab.answers import Unfit, frame, mapping, number, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.sources import code
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab06", "The scheduler: run-queue latency under load", minutes=60)


def _started(make: Making, name: str, call: str, nice: int = 0) -> int:
    """A process on the lab's CPU. What it measured of itself becomes the fact ``of_NAME``."""
    pid = make.python(code("scheduler", f"report(of_{name}={call})"), name=name).pid
    os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    return pid


@LAB.workload("alone")
def alone(make: Making) -> None:
    make.tell(pid=_started(make, "alone", "hog(0.3)"))


@LAB.workload("crowd")
def crowd(make: Making) -> None:
    seconds = [make.random.randint(20, 30) / 100 for _ in range(3)]
    pids = [_started(make, f"hog{n}", f"hog({s})") for n, s in enumerate(seconds)]
    make.tell(pids=pids)


@LAB.workload("nice")
def nice(make: Making) -> None:
    steps = make.random.randint(4, 6)
    polite = _started(make, "polite", "race(1)", nice=steps)
    make.tell(plain=_started(make, "plain", "race(1)"), polite=polite)


@LAB.workload("clock2")
@LAB.workload("clock")
def clock(make: Making) -> None:
    count = make.random.randint(120, 160)
    # A difference of 15 is a factor of 28: one of them has the CPU nearly always.
    names = ["zip", "index"]
    make.random.shuffle(names)
    _started(make, names[0], "race(1.5)", nice=0)
    _started(make, names[1], "race(1.5)", nice=15)
    make.tell(pid=_started(make, "clock", f"ticks({count})"))
    make.keep(count=count, busy=names[0], idle=names[1])


@LAB.task(
    "How many seconds did the three wait for the CPU, together?",
    why="Waiting for a CPU is time that no profile shows: the process was able to run, and did not.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    """Within 10 % of what the kernel's own accounts say of the three (/proc/PID/schedstat)."""
    waited = number(answer)
    true = sum(facts[f"crowd.of_hog{n}"]["waited_s"] for n in range(3))
    if abs(waited - true) <= 0.1 * true:
        return None
    if abs(waited / 1e9 - true) <= 0.1 * true:
        return "That is in nanoseconds. The task asks for seconds."
    if abs(waited - sum(facts[f"crowd.of_hog{n}"]["cpu_s"] for n in range(3))) <= 0.1 * true:
        return "That is how long they computed. How long did they wait?"
    times = sum(facts[f"crowd.of_hog{n}"]["times"] for n in range(3))
    if abs(waited - times) <= 0.2 * times:
        return "That is the number of waits. How long were they, added up? The column `total` knows."
    return f"{waited:.2f} s is too {'much' if waited > true else 'little'}: add up `total` of all slots, in seconds."


@LAB.task(
    "How many times as much CPU did the plain one get?",
    why="Nice is no priority queue: the nicer one goes on, with a smaller share, that of its weight.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    """Within 15 %: what one gets while the other begins or ends is no part of the race."""
    ratio = number(answer)
    true = facts["nice.of_plain"]["cpu_s"] / facts["nice.of_polite"]["cpu_s"]
    if abs(ratio - true) <= 0.15 * true:
        return None
    if abs(1 / ratio - true) <= 0.15 * true if ratio else False:
        return "That is the other way round: divide the plain one's time by the polite one's."
    if abs(ratio - facts["nice.of_plain"]["times"] / facts["nice.of_polite"]["times"]) <= 0.2 * ratio:
        return "That is how many times as often it ran. How long did each run: which column has the time?"
    return f"{ratio:.2f} is too {'much' if ratio > true else 'little'}: add up `duration` for each pid, and divide."


@LAB.task(
    "Your own run-queue latency: how often was the clock woken, and how long did it wait then?",
    why="Latency is the distance of two events, kept in a map between them: this program is the heart of runqlat.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    """As many rows as it slept, less 15 % (the kernel does not tell of each switch) or 10 more; of the time that the
    kernel says it waited 50 to 120 %."""
    table = frame(answer)
    if "wait" not in table.columns:
        raise Unfit(
            "The answer is the frame of your events: it has a row for each wakeup and a column `wait`."
        )
    count, waited = facts["clock.count"], facts["clock.of_clock"]["waited_s"] * 1e9
    if len(table) == 0:
        return (
            "There are no rows. Did the clock run after the cell, and is its wakeup noted in "
            "`woken` when sched_wakeup comes?"
        )
    if len(table) > 3 * count:
        return f"{len(table):,} rows are too many: is only the clock noted, and is each wakeup taken out of the map?"
    if not 0.85 * count <= len(table) <= count + 10:
        return (
            f"The clock slept {'more' if len(table) < count else 'less'} often than {len(table):,} times. A row "
            "belongs to each wakeup of it, not to each time that it got the CPU."
        )
    total = float(table["wait"].sum())
    if total > 1e3 * waited:
        return "These waits are far too long: subtract the moment of the wakeup from now."
    if 0.5 * waited <= total <= 1.2 * waited:
        return None
    return (
        f"The number of rows is right, the waiting is not: {total / 1e6:.1f} ms in all. It is from the wakeup until "
        "the switch whose `next` is the clock, in nanoseconds."
    )


@LAB.task(
    "Who had the CPU when the clock got it at last?",
    why="A wait has a cause. At the switch both are known, who waited and who was in the way.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    """A count for each command: of the two, the busy one must have more. Others may have most of all."""
    if isinstance(answer, str):
        name = text(answer)
        raise Unfit(f"The answer is the counts of all commands, not only '{name}': the map or its frame.")
    counts = {str(name).rstrip("\0"): float(n) for name, n in mapping(answer).items()}
    busy, count = facts["clock2.busy"], facts["clock2.count"]
    if not counts:
        return "The map is empty. Is the clock's wakeup noted, and does the program count where `next` is the clock?"
    if set(counts) <= {"clock"}:
        return "That is the clock itself: the one who had the CPU before it is `prev`."
    if sum(counts.values()) > 3 * count + 200:
        return "That is more than the clock was switched to: count only where `next` is the clock and it was woken."
    if counts.get(busy, 0) <= counts.get(facts["clock2.idle"], 0):
        return (
            "Of zip and index the other one should have more. Count `prev->comm` of the switch to the clock (next), "
            "not of the one that wakes it."
        )
    if sum(counts.values()) < 0.9 * count:
        return f"{sum(counts.values()):.0f} is fewer than the times that the clock was woken: is each of them counted?"
    return None
