"""Lab 10: filtering in the kernel and in user space. A process opens 17 files for each that is of interest."""

from __future__ import annotations

import json
from typing import Any

from bpfnb.lab.answers import frame, hooked, mapping, member, number
from bpfnb.lab.facts import Facts
from bpfnb.lab.places import PROGRAMS
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab10", "Filtering in the kernel, and in user space", minutes=45, runs_on_vm=True)

TOTAL, WATCHED = 17_000, 1_000
OPENAT = ("tp/syscalls/sys_enter_openat", "tracepoint/syscalls/sys_enter_openat")


def _opens(make: Making, counts: dict[str, int], written: int) -> None:
    settings = {
        "folder": str(make.folder() / "root"),
        "seed": make.seed,
        "counts": counts,
        "written": written,
    }
    process = make.process([make.place.python, "-I", "-S", PROGRAMS / "opener.py", json.dumps(settings)])
    make.tell(pid=process.pid)
    make.keep(counts=counts, watched=counts["etc/"], total=sum(counts.values()), written=written)


def build(make: Making) -> None:
    """A day on which much is built: of 17 files that are opened, one is in etc/."""
    cached, logged, home = (
        make.random.randint(*bounds) for bounds in ((1_500, 2_500), (3_000, 4_000), (900, 1_900))
    )
    rest = TOTAL - WATCHED - cached - logged - home
    counts = {"etc/": WATCHED, "cache/etc/": cached, "log/": logged, "home/": home, "build/": rest}
    _opens(make, counts, make.random.randint(20, 60))


for _part in ("alone", "user", "kernel", "count"):  # the same day, watched in four ways
    LAB.workload(_part)(build)


@LAB.workload("office")
def office(make: Making) -> None:
    """Another machine: four of five files that are opened are in etc/."""
    _opens(make, {"etc/": 1_600, "cache/etc/": 100, "home/": 300}, 0)


def _rows(answer: Any, facts: Facts, part: str) -> str | None:
    """What is wrong with rows that should be those of etc/, or None."""
    rows = frame(answer, "path")
    paths = rows["path"].astype(str)
    if len(rows) == facts[f"{part}.total"]:
        return "These are all files that were opened. Which of the rows have a path that begins with `etc/`?"
    if paths.str.startswith("cache/etc/").any():
        return (
            "Paths are among them that have `etc/` somewhere else than at their beginning, such as `cache/etc/`: "
            "`contains` is too much."
        )
    others = paths[~paths.str.startswith("etc/")]
    if len(others):
        return f"There are paths from elsewhere, such as `{others.iloc[0]}`."
    if len(rows) < facts[f"{part}.watched"]:
        return (
            f"{len(rows):,} rows of the right kind, and some are missing: were all there when they were read (after "
            "the run), and is nothing else left out, such as those that write?"
        )
    if len(rows) > facts[f"{part}.watched"]:
        return f"{len(rows):,} rows are too many: was the cell's object there for more than one run?"
    return None


@LAB.task(
    "The files in etc/, filtered in user space",
    why="The answer is right, and it was dear: 17 rows were made, copied and read for each one that you kept.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    return _rows(answer, facts, "user")


@LAB.task(
    "The same, filtered in the kernel",
    why="What does not leave the kernel need not be copied, stored, searched or lost: this is what such systems call "
    "an approver, a rule that says what is let through.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    rows = member(hooked(answer, *OPENAT), "events").df
    if len(rows) == facts["kernel.total"]:
        return "All of them still come: the program has to return before it reserves a record."
    if not len(rows):
        return (
            "Nothing comes. Was the workload run after the cell was loaded, with `pid` of this workload? And a "
            "comparison of characters reads `path[0] != 'e'`: one that differs is enough to leave."
        )
    return _rows(rows, facts, "kernel")


@LAB.task(
    "What the factor is made of",
    why="94 % filtered is the same as 17-fold fewer, and neither is a property of eBPF: with the same program it is 17 "
    "on one machine and 1.25 on another. Ask of such a number what traffic and which rule it was measured with.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    given = {str(key): number(value) for key, value in mapping(answer).items()}
    if {*given} != {"build", "office"}:
        return "Two numbers are wanted: `{'build': ..., 'office': ...}`."
    right = {
        "build": facts["user.total"] / facts["user.watched"],
        "office": facts["office.total"] / facts["office.watched"],
    }
    for name, value in given.items():
        if abs(value - right[name]) > 0.005 * right[name]:
            if abs(value - 1 / right[name]) < 0.01:
                return f"{name}: that is the share that is left. How many times fewer rows are that?"
            if abs(value - (1 - 1 / right[name])) < 0.01 or abs(value - 100 * (1 - 1 / right[name])) < 1:
                return f"{name}: that is the share that is filtered. How many times fewer rows are left?"
            return f"{name}: {value:g} is not the number of all opens divided by that of opens in etc/."
    return None


@LAB.task(
    "Counted where it happens",
    why="A few rows say what 17,000 did. Filtering keeps single events; where only how many matters, counting in the "
    "kernel is cheaper still, and cannot lose anything while there is room in the map.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    counts = {str(key).rstrip("/"): number(value) for key, value in mapping(answer).items()}
    right: dict[str, int] = {}
    for folder, count in facts["count.counts"].items():
        top = folder.partition("/")[0]
        right[top] = right.get(top, 0) + count
    if not counts:
        return "Nothing was counted: the program has to look the folder up in the map, and put it there the first time."
    if any("/" in key for key in counts):
        return "The keys are longer than the first folder: copy characters only up to the first `/`."
    if {*counts} != {*right}:
        strange = ", ".join(sorted({*counts} ^ {*right}))
        return (
            f"The folders are not those that were opened ({strange}): is the key set to zeros before it is filled, and "
            "is the `/` left out?"
        )
    if all(count == 1 for count in counts.values()):
        return "Each has a 1: a folder that is in the map already has to be counted up."
    wrong = [key for key in right if counts[key] != right[key]]
    if wrong:
        return f"{wrong[0]}: {counts[wrong[0]]:,} is not how many were opened there in one run."
    return None


@LAB.task(
    "What it costs the process that is watched",
    why="Time of the process that is watched, not of the observer: each open has to wait while a program runs in it. "
    "Filtered in the kernel it waits for a look at the path; else also for a record to be written. The observer's own "
    "work comes on top, and grows with the rows. On a busy machine such small times differ from run to run: repeat.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    given = {str(key): number(value) for key, value in mapping(answer).items()}
    if {*given} != {"user", "kernel"}:
        return (
            "Two numbers are wanted: `{'user': ..., 'kernel': ...}`, nanoseconds that are added to an open."
        )
    alone = facts["alone.ns_per_open"]
    for name, value in given.items():
        there = facts[f"{name}.ns_per_open"]
        if abs(value - there) < 1 and there != there - alone:
            return f"{name}: that is the whole time of an open. What is added to an open that nobody watches?"
        if abs(value - (there - alone)) > 1:
            return (
                f"{name}: {value:,.0f} ns is not the difference of what the workloads told (`ns_per_open`)."
            )
    return None
