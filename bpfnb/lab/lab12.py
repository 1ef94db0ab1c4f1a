"""Lab 12: memory leaks and lock contention, in a server of which only the behaviour is known."""

from __future__ import annotations

import os
from typing import Any

from bpfnb.lab.answers import loaded, mapping, member, number, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.sources import compiled
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab12", "Memory leaks and lock contention", minutes=60)

BASKET, SESSION, PICTURE, PICTURES, HOLD_NS = 300, 1_000, 2_000, 16, 5_000_000
SERVER = ("make_basket", "remember_session", "keep_picture", "write_report", "check_out", "wait_for_guests")

_ORDER = """
with open(orders, "w") as pipe, open(answers) as back:
    print(order, file=pipe, flush=True)
    report(**json.loads(back.readline()))
"""


def _server(make: Making, order: str) -> None:
    """The server, which stays until the workload is closed, and a process that gives it one order."""
    folder = make.folder()
    pipes = [str(folder / name) for name in ("orders", "answers")]
    for pipe in pipes:
        os.mkfifo(pipe)
    server = make.process([compiled(make, "till"), str(make.random.getrandbits(30)), *pipes], background=True)
    make.python(_ORDER, name="customer", order=order, orders=pipes[0], answers=pipes[1])
    make.tell(pid=server.pid)


@LAB.workload()
def short(make: Making) -> None:
    make.tell(requests=400)
    _server(make, "serve 400")


@LAB.workload("long")
def long(make: Making) -> None:
    make.tell(requests=1_600)
    _server(make, "serve 1600")


@LAB.workload("till")
def till(make: Making) -> None:
    turns = make.random.randint(35, 45)
    make.keep(expected=turns)
    _server(make, f"contend {turns}")


@LAB.task(
    "How much does each function hold?",
    why="A profile of what is outstanding, not of what was allocated: who allocates and frees the most is not in it.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    """Exact: bytes that were asked for and not given back."""
    held = {str(key): number(value) for key, value in mapping(answer).items()}
    right = {"remember_session": SESSION * facts["sessions"], "keep_picture": PICTURE * PICTURES}
    if any(";" in key for key in held):
        return 'The names are whole stacks: the function that called malloc is in them, `.str.extract("(make_|...)")`.'
    missing = [name for name in right if name not in held]
    if missing:
        return (
            f"Nothing of `{missing[0]}` is there, but it holds memory. Group the rows by the function of the program "
            "that is in their stack, and add up."
        )
    if held["remember_session"] == facts["sessions"]:
        return "These are numbers of allocations. How many bytes are outstanding?"
    for name, value in right.items():
        if held[name] != value:
            return (
                f"{name}: {held[name]:,} bytes is not what it holds after one run. Was the tool started before the "
                "run, with the pid of this workload?"
            )
    return None


@LAB.task(
    "Which of them is the leak?",
    why="Much is not a leak: a cache is full one day, and stays so. A leak grows with the work, and the slope, bytes a "
    "request, says when the memory will be gone.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    """The name of the function, and within 2 % the bytes that it leaks for each request of the longer run."""
    given = mapping(answer)
    if len(given) != 1:
        return "One function is wanted with its bytes a request: `{'name': bytes}`."
    ((name, value),) = given.items()
    if name == "keep_picture":
        return "It holds as much after 1,600 requests as after 400: that is a cache which is full. Which one grows?"
    if name == "make_basket":
        return "It allocates for each request, and frees all of it: nothing of it is outstanding."
    if name != "remember_session":
        return f"`{name}` is not a function of the server that holds memory after both runs."
    slope, total = number(value), SESSION * facts["long.sessions"]
    grown = (total - SESSION * facts["sessions"]) / (facts["long.requests"] - facts["requests"])
    each = total / facts["long.requests"]
    if min(abs(slope - each) / each, abs(slope - grown) / grown) <= 0.02:
        return None
    if abs(slope - total) <= 0.02 * total:
        return "That is all that it holds. How much is it for each request?"
    return f"{slope:,.1f} bytes a request is not it: what it holds after the longer run, divided by its requests."


@LAB.task(
    "Which sizes are asked for, and how often?",
    why="Four lines of C see every allocation of a program that nobody prepared for it. What comes out is a few rows, "
    "however many calls there were.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    """Exact for the three sizes of the server; others, of the C library itself, are not looked at."""
    counts = {int(number(key)): int(number(value)) for key, value in mapping(answer).items()}
    right = {BASKET: facts["requests"], PICTURE: facts["requests"], SESSION: facts["sessions"]}
    if not counts:
        return "Nothing was counted: is the object loaded before the run, with `--pid` of this workload?"
    if not {*counts} & {*right}:
        return (
            f"The keys are {sorted(counts)[:4]} ...: the size is the first argument of malloc, which "
            "`BPF_KPROBE(name, size_t size)` reads from its register."
        )
    if any(counts.get(size) == 1 for size in right):
        return "Each size was counted once: one that is in the map already has to be counted up."
    wrong = [size for size, count in right.items() if counts.get(size) != count]
    if wrong:
        return f"{counts.get(wrong[0], 0):,} is not how often {wrong[0]} bytes were asked for in one run."
    return None


@LAB.task(
    "Who keeps the lock that others wait for?",
    why="The one who waits is seen everywhere: in the flame graph, in the latencies, in the complaints. The one to be "
    "changed is the one who keeps the lock, and only `hold` shows it.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    name = text(answer).rpartition(";")[2]
    if facts["till.turns"] and name == "write_report":
        return None
    if name == "check_out":
        return "That is who waits. Who keeps the mutex meanwhile? `hold` says it."
    if name == "wait_for_guests":
        return "It waits for a condition, and gives the mutex back while it does: nobody waits because of it."
    return f"`{name}` does not keep the lock. Which function has nearly all of `hold`?"


@LAB.task(
    "How often did each thread sleep on a futex?",
    why="All that sleeps in user space sleeps here, whatever the language calls it. And it shows the trap: the doorman "
    "slept once, as long as all waits of the clerk together, and nothing is wrong with that: he waits for work.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    """Within 10 %: a thread may find the lock free just before it sleeps. The doorman once, or twice."""
    rows = member(loaded(answer), "sleeps").df
    if not {"comm", "count", "total"} <= {*rows.columns}:
        return f"The map's columns are {', '.join(rows.columns)}; the task asks for comm, count and total."
    if rows.empty:
        return "Nothing was counted: was the workload run after the cell was loaded, with `pid` of this workload?"
    by = rows.set_index(rows["comm"].astype(str))
    if "clerk" not in by.index:
        return f"The clerk is missing; there are {', '.join(by.index)}. The thread's name is `bpf_get_current_comm`."
    turns, count, total = facts["till.turns"], int(by.loc["clerk", "count"]), int(by.loc["clerk", "total"])
    if count >= 1.9 * turns:
        return "Calls that wake are counted too: only the operations FUTEX_WAIT (0) and FUTEX_WAIT_BITSET (9) sleep."
    if abs(count - turns) > 0.1 * turns:
        return f"The clerk waited for the till about {turns} times, not {count:,} times."
    if total < 0.9 * count * HOLD_NS:
        return f"The count is right, but {total:,} ns is too short: `total` is the sum of the times, in nanoseconds."
    if "doorman" not in by.index or int(by.loc["doorman", "count"]) > 2:
        return "The doorman slept once, on a condition: that is FUTEX_WAIT_BITSET (9)."
    return None
