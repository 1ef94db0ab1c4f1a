"""Lab 14: finding an incident. A service is slow, and nobody knows why: from the symptom to the cause."""

from __future__ import annotations

import json
import sys
from typing import Any

from bpfnb.lab.answers import loaded, member, number, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.places import PROGRAMS
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab14", "Finding an incident: from the symptom to the cause", minutes=60)

WAITS_FOR_WORK = (
    "recvfrom",
    "recvmsg",
    "accept",
    "accept4",
    "read",
    "poll",
    "epoll_wait",
    "select",
    "pselect6",
)


def _service(make: Making, inside: float, outside: float) -> None:
    """All its processes are children of one, in a network namespace of their own."""
    folder = make.folder()
    requests, orders = 80, make.random.randint(36, 44)
    settings = {"folder": str(folder), "seed": make.seed, "requests": requests, "orders": orders}
    settings |= {"inside": inside, "outside": outside}
    program = [sys.executable, "-I", "-S", str(PROGRAMS / "incident.py")]
    service = make.process(["unshare", "--net", *program, "service", json.dumps(settings)], background=True)
    network = f"/proc/{service.pid}/ns/net"
    make.process(["nsenter", f"--net={network}", *program, "client", json.dumps(settings)])
    make.tell(network=network, requests=requests)
    make.keep(orders=orders)


@LAB.workload()
def slow(make: Making) -> None:
    _service(make, inside=20, outside=0.1)


@LAB.workload("fixed")
def fixed(make: Making) -> None:
    """The audit does its work before it takes the lock."""
    _service(make, inside=0, outside=20.1)


@LAB.task(
    "Which process is slow itself?",
    why="Everyone in front of a slow process is slow, too. The last one on the way whose own partners are fast, or who "
    "has none, is where to look.",
)
def task1(answer: Any, _: Facts) -> str | None:
    name = text(answer).lower()
    if name == "stock":
        return None
    if name == "shop":
        return "The shop is slow for its client. But whom does it ask, and how long does it wait for the answers?"
    if name == "prices":
        return "It is asked with each request, and answers in less than a millisecond. `latency` is in nanoseconds."
    if name in ("client", "curl"):
        return "The client suffers. Whom does it wait for, and whom do they wait for?"
    if name in ("backup", "audit"):
        return (
            f"Nobody asks `{name}` anything over the network: it is not in the map. First: who answers late?"
        )
    return f"`{name}` is none of the service's processes that answer: the column `target` has their names."


@LAB.task(
    "What does it wait in?",
    why="A process that is slow and takes no CPU waits, and it waits in a system call. Waiting for work is none of its "
    "faults; whatever else is at the top is the lead.",
)
def task2(answer: Any, _: Facts) -> str | None:
    call = text(answer).lower().removeprefix("sys_").removeprefix("__x64_sys_")
    if call == "flock":
        return None
    if call in WAITS_FOR_WORK:
        return f"In `{call}` it waits for the next request: that is not its answer's time. What comes next in `total`?"
    return (
        f"It does not spend its time in `{call}`: sort `totals` by `total`, the column of all time in a call."
    )


@LAB.task(
    "Who keeps the lock, and how long?",
    why="A few lines that no tool had ready, about exactly this lock. Who waits and who keeps stand side by side, "
    "and the numbers leave no room for opinions.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    """The number of locks of stock is exact; audit kept it at least three times as long as stock."""
    rows = member(loaded(answer), "locks").df
    if not {"comm", "count", "waited", "held"} <= {*rows.columns}:
        return f"The map's columns are {', '.join(rows.columns)}; the task asks for comm, count, waited and held."
    rows = rows.set_index(rows["comm"].astype(str))
    if rows.empty or "stock" not in rows.index:
        return "`stock` is not in the map: was the workload run after the cell was loaded?"
    count, held = rows["count"].to_dict(), rows["held"].to_dict()
    if count["stock"] == 2 * facts["orders"]:
        return "Unlocking (`LOCK_UN`, 8) is counted as well: count when an exclusive lock (`LOCK_EX`, 2) was given."
    if count["stock"] != facts["orders"]:
        return f"stock took the lock {count['stock']} times in the map, but not in one run: start the workload anew."
    if not held["stock"] or not held.get("audit"):
        return "`held` is still 0: at `LOCK_UN` add the time since the lock was given to this thread."
    if held["audit"] < 3 * held["stock"]:
        return (
            "`held` does not fit: from the *return* of the call that locks (until then it waits) to the *beginning* of "
            "the one that unlocks."
        )
    if rows["waited"]["stock"] < held["stock"]:
        return "`waited` of stock is too short: keep what the cell had, from the beginning of the call to its return."
    return None


@LAB.task(
    "Who is to blame?",
    why="Who wakes a thread is who had what it waited for. Two independent measurements, the lock's holder and the "
    "waker, say the same: now you can go and talk to the owner of that process.",
)
def task4(answer: Any, _: Facts) -> str | None:
    name = text(answer).lower()
    if name == "audit":
        return None
    if name == "backup":
        return (
            "It is the busiest process, and does nothing to anybody: its CPU is not what the others wait for."
        )
    if name in ("shop", "client"):
        return f"`{name}` wakes stock with the next request. Which waker has most of the time (`blocked`) in its rows?"
    if name == "stock":
        return "That is who waits. Who lets it go on?"
    return f"`{name}` does not wake stock out of its wait for the lock."


@LAB.task(
    "How much faster is a request after the repair?",
    why="An incident ends with the measurement that it began with. The same question, the same tool, before and after: "
    "that is what belongs into the report.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    """At least 2 and a tenth of what the client measured itself, at most 1,000.

    On a busy machine the client's own figure has its waits for a CPU in it, which the tool's does not.
    """
    ratio, right = number(answer), facts["mean"] / facts["fixed.mean"]
    if max(2, right / 10) <= ratio <= 1_000:
        return None
    if 0 < ratio <= 0.5:
        return "That is the other way round: the time before, divided by the time after."
    if ratio > 1_000:
        return (
            "That is a time and no ratio: divide the mean latency of `client` to `shop` before by that after."
        )
    return (
        f"{ratio:,.1f} does not fit what the client saw: take the row from `client` to `shop` of both maps."
    )
