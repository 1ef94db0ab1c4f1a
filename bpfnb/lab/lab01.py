"""Lab 1: the first ``%%bpf`` cell. Processes that make system calls: counted, listened to, and failing."""

from __future__ import annotations

from typing import Any

from bpfnb.lab.answers import loaded, mapping, number, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab01", "Hello, kernel: the first %%bpf cell", minutes=30, runs_on_vm=True)

WORDS = (
    "HELLO FROM USER SPACE",
    "GREETINGS TO THE KERNEL",
    "CAN YOU HEAR ME IN THERE",
    "NOTHING IS HIDDEN HERE",
)


@LAB.workload()
def parents(make: Making) -> None:
    count = make.random.randint(1_100, 1_900)
    process = make.python("for _ in range(count):\n    os.getppid()", name="child", count=count)
    make.tell(pid=process.pid)
    make.keep(calls=count)


@LAB.workload("users")
def users(make: Making) -> None:
    users, parents = make.random.randint(2_000, 2_900), make.random.randint(300, 900)
    code = "for _ in range(users):\n    os.getuid()\nfor _ in range(parents):\n    os.getppid()"
    process = make.python(code, name="who", users=users, parents=parents)
    make.tell(pid=process.pid)
    make.keep(users=users, parents=parents)


@LAB.workload("message")
def message(make: Making) -> None:
    said = make.random.choice(WORDS)
    code = """
for letter in said:
    try:
        os.close(1000 + ord(letter))
    except OSError:
        pass
"""
    process = make.python(code, name="talker", said=said)
    make.tell(pid=process.pid)
    make.keep(said=said)


@LAB.workload("errors")
def errors(make: Making) -> None:
    counts = {name: make.random.randint(20, 90) for name in ("ENOENT", "EBADF", "EEXIST", "ENOTDIR")}
    code = """
def failing(count, call, *args):
    for _ in range(count):
        try:
            call(*args)
        except OSError:
            pass
failing(counts["ENOENT"], os.rmdir, "/nonexistent")
failing(counts["EBADF"], os.close, 4321)
failing(counts["EEXIST"], os.mkdir, "/")
failing(counts["ENOTDIR"], os.rmdir, "/dev/null/below")
"""
    process = make.python(code, name="clumsy", counts=counts)
    make.tell(pid=process.pid)
    make.keep(counts=counts)


@LAB.task(
    "How often did the process call getppid?",
    why="One number in a map stands for more than a thousand events, and none of them was copied out "
    "of the kernel.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    count, calls = number(answer), facts["calls"]
    if count == calls:
        return None
    if count == facts["pid"]:
        return "This is the process id, the key. What is asked for is the value of the row with this key."
    if count > calls:
        return (
            "This is too much. Other processes call `getppid` too: take the one row whose key is `work.pid`."
        )
    return (
        "This is too little. Was the program attached before `work.run()`? And is the key of the row "
        "`work.pid`?"
    )


@LAB.task(
    "Count getuid by process",
    why="The hook decides what a program sees: it was never called for the other calls of this process.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    obj = loaded(answer)
    if "calls" not in obj.maps:
        there = ", ".join(obj.maps) or "none"
        return f"The map is to be called `calls`; the maps of `{obj.name}` are: {there}."
    counts, pid = mapping(obj.maps["calls"]), facts["users.pid"]
    users, parents = facts["users.users"], facts["users.parents"]
    if not counts:
        return (
            "The map is empty: does the program, at its hook, write to it? And was it attached before "
            "`work.run()`?"
        )
    if pid not in counts:
        return (
            f"The map has no entry for the process {pid}. The key is to be the pid: the upper 32 bits "
            "of what the helper gives."
        )
    if counts[pid] == users:
        return None
    if counts[pid] == parents:
        return "This is how often the process called `getppid`. Which hook belongs to `getuid`?"
    if counts[pid] == 2 * users:
        return "This counts each call twice, at its entry and at its return."
    if counts[pid] > users:
        return (
            "This is too much: the process also makes other calls, which are not to be counted. Which "
            "hook has only `getuid`?"
        )
    return (
        "This is too little. Is the counter also raised when the key is there already, and made when "
        "it is not?"
    )


@LAB.task(
    "What does the process say?",
    why="A ring buffer keeps the order and carries the arguments: every call became a row, and none "
    "was lost.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    said, wanted = text(answer), facts["message.said"]
    if said == wanted:
        return None
    if not said:
        return (
            "There is no letter yet. Are there rows in `spy.letters.df`? A row's `number` less 1000 "
            "is a letter's code: `chr(...)`."
        )
    if sorted(said) == sorted(wanted):
        return "The letters are right, their order is not: rows come in the order of the calls."
    if wanted in said:
        return (
            "There is more than the process said: only numbers of 1000 and more are letters, and only "
            "those of `work.pid`."
        )
    if len(said) == len(wanted):
        return "As many letters as were said, but others: a letter's code is the number less 1000."
    return "This is not what was said. Is there a record for each `close`, also for letters that come twice?"


@LAB.task(
    "Count failed calls by error",
    why="One hook for all system calls: what a program does not check, its user never hears of, but "
    "the kernel knows.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    counts = {str(name): int(number(count)) for name, count in mapping(answer).items()}
    wanted: dict[str, int] = facts["errors.counts"]
    if counts == wanted:
        return None
    if not counts:
        return "Nothing was counted: an error is a `ret` below zero, and it is counted under `-ret`."
    if any(name.lstrip("-").isdigit() for name in counts):
        return (
            "Errors are to have their names, such as ENOENT: give the key the type `errno_t`, and "
            "count under `-ret`."
        )
    missing = [name for name in wanted if name not in counts]
    if missing:
        return (
            f"There are {len(wanted)} kinds of errors, and you have {len(counts)} of them or others: "
            "count whatever is below zero."
        )
    if any(counts[name] > wanted[name] for name in wanted) or len(counts) > len(wanted):
        return "This is too much: other processes' calls fail as well. Count those of `work.pid` only."
    return "Some are missing: is the counter raised when the key is there already?"
