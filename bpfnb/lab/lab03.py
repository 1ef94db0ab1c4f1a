"""Lab 3: following the kernel's structures, from a process to its ancestors and to its open files, with CO-RE."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bpfnb.btf import Composite
from bpfnb.lab.answers import mapping, names, number
from bpfnb.lab.facts import Facts
from bpfnb.lab.places import place
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab03", "CO-RE: following kernel structures", minutes=50, runs_on_vm=True)

NAMES = ("ada", "grace", "linus", "dennis", "ken", "barbara", "edsger", "frances", "donald", "margaret")

# Each forks the next and waits for its end; the youngest is the one that says that it is ready.
_FAMILY = """
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
for name in sys.argv[1:]:
    prctl(1, 9)
    prctl(15, name.encode())
    if name != sys.argv[-1]:
        child = os.fork()
        if child:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("ready", flush=True)
if sys.stdin.readline():
    os.getppid()
"""
_WRITES = """
files = {name: os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY) for name in sizes}
again = {name: os.dup(fd) for name, fd in files.items()}
for name, written in sizes.items():
    for number, size in enumerate(written):
        os.write((again if number % 3 else files)[name], bytes(size))
"""


def _family(make: Making, ancestors: int) -> None:
    names = ["founder", *make.random.sample(NAMES, ancestors)]
    process = make.process([make.place.python, "-I", "-S", "-c", _FAMILY, *names, "youngest"])
    pids = [process.pid]
    for _ in names:
        pids.append(int(make.place.path(f"/proc/{pids[-1]}/task/{pids[-1]}/children").read_text()))
    make.tell(pid=pids[-1], oldest=pids[0])
    make.keep(names=names[::-1], pids=pids[-2::-1])


@LAB.workload()
def family(make: Making) -> None:
    _family(make, 2)


@LAB.workload("grand")
def grand(make: Making) -> None:
    _family(make, 3)


@LAB.workload("layout")
def layout(make: Making) -> None:
    _family(make, 1)


@LAB.workload("line")
def line(make: Making) -> None:
    _family(make, make.random.randint(5, 7))


@LAB.workload("files")
def files(make: Making) -> None:
    sizes = {
        name: [make.random.randint(10, 3_000) for _ in range(make.random.randint(40, 120))]
        for name in ("ledger", "diary", "inventory")
    }
    process = make.python(_WRITES, name="scribe", folder=str(make.folder()), sizes=sizes)
    make.tell(pid=process.pid)
    make.keep(
        bytes={name: sum(each) for name, each in sizes.items()},
        writes={name: len(each) for name, each in sizes.items()},
    )


@LAB.task(
    "The pid of the parent's parent",
    why="Each word of BPF_CORE_READ is one pointer followed, each read checked, none of them able to "
    "crash the kernel.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    pid, pids = number(answer), facts["grand.pids"]
    if pid == pids[1]:
        return None
    if pid == pids[0]:
        return "This is the parent. Its `real_parent` is the one that is asked for."
    if pid == facts["grand.pid"]:
        return "This is the process itself: go up by `real_parent`, twice."
    if pid in pids:
        return "This is an ancestor, but a more distant one: one step too many."
    if pid == 0:
        return (
            "0 is what a read gives that fails: is `task` the current task, and each name a field of "
            "what the one before points to?"
        )
    return "This is nobody of that family. In `task_struct` the number that users call pid is `tgid`."


@LAB.task(
    "Sizes, offsets and fields of this kernel",
    why="These numbers were not in the compiled program: they were put in when it was loaded, for "
    "this kernel.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    facts["layout.pid"]
    found = {int(number(at)): int(number(value)) for at, value in mapping(answer).items()}
    wanted: dict[str, int] = facts.measured("task_struct", _task_struct)
    if set(found) != {0, 1, 2, 3}:
        return (
            "The array has four entries, 0 to 3: the size, the offset of `comm`, whether there is "
            "`state`, and `__state`."
        )
    if not any(found.values()):
        return "All four are 0: was the program attached before `work.run()`, and does it `put` them?"
    if found[0] != wanted["size"]:
        return (
            "The size at 0 is not that of `struct task_struct`: not of a pointer to it, and not of "
            "one of its variants."
        )
    if found[1] == 8 * wanted["comm"]:
        return "The offset at 1 is in bits; bytes are asked for."
    if found[1] != wanted["comm"]:
        return "The offset at 1 is not that of `comm`. `%bpf struct task_struct` shows it, too."
    if (found[2], found[3]) == (wanted["__state"], wanted["state"]):
        return (
            "The last two have changed places: at 2 whether there is `state`, at 3 whether there is "
            "`__state`."
        )
    if found[2] != wanted["state"]:
        return "At 2: does this kernel have a field `state`? It is asked of `struct task_struct___old`."
    if found[3] != wanted["__state"]:
        return "At 3: does this kernel have a field `__state`? It is asked of `struct task_struct___new`."
    return None


@LAB.task(
    "The names of all ancestors, up to the founder",
    why="A loop with an end that the verifier can see, and one pointer: that is how process trees, "
    "lists and paths are walked.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    found, wanted = names(answer), facts["line.names"]
    if found == wanted:
        return None
    if not found:
        return "There are no names yet. Are there rows in `line.people.df`?"
    if found == wanted[::-1]:
        return "The order is from the youngest to the oldest: the parent comes first."
    if found[0] == "youngest":
        return "The process itself is not its own ancestor: go one step up before the first record."
    if found == wanted[: len(found)]:
        return "So far it is right, but it goes on up to `founder`. Does the loop go far enough?"
    if found[: len(wanted)] == wanted:
        return "There are more than asked for: the list ends with `founder`."
    if len(set(found)) == 1:
        return "Always the same name: in the loop, `task` itself has to go up."
    return (
        "Not this family, or not in its order. In the loop: one step up by `real_parent`, then the "
        "record with *that* task's `comm`."
    )


@LAB.task(
    "Bytes written by file",
    why="A descriptor is only a number in one process; the kernel's structures say which file it is, "
    "at the time of the call.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    found = {_name(key): int(number(value)) for key, value in _by_name(answer).items()}
    wanted, writes = facts["files.bytes"], facts["files.writes"]
    if found == wanted:
        return None
    if not found:
        return "Nothing was added: does the program run for `work.pid`, and does it write to the map?"
    if found == writes:
        return "These are the numbers of writes: add `ctx->args[2]` instead of one."
    if "" in found:
        return (
            "One name is empty: a read on the way gave 0. Is it `files`, `fdt`, `fd`, then the entry, "
            "then `f_path.dentry`, `d_name.name`?"
        )
    if not set(wanted) & set(found):
        return (
            f"These are not the names of its files, but {', '.join(sorted(found)[:4])}. Is it the name "
            "of the file's *dentry*?"
        )
    if set(found) - set(wanted):
        return "There are more files than this process wrote to: leave other processes out."
    if set(wanted) - set(found):
        return f"There are {len(wanted)} files; {len(found)} of them were found."
    return "The files are right, the sums are not: each write adds its size, the first one too."


def _task_struct() -> dict[str, int]:
    """What the kernel's own types say."""
    btf = place().types()
    task = btf.find("task_struct", "struct")
    assert isinstance(task, Composite)
    offsets = {member.name: member.bit_offset // 8 for member in task.members}
    return {
        "size": btf.size(task),
        "comm": offsets["comm"],
        "state": int("state" in offsets),
        "__state": int("__state" in offsets),
    }


def _by_name(answer: Any) -> dict[Any, Any]:
    """Sums by name, also from the map itself, whose key has a field ``name``."""
    inner = getattr(answer, "df", answer)
    if isinstance(inner, pd.DataFrame) and {"name", "value"} <= {*inner.columns}:
        return dict(zip(inner["name"], inner["value"], strict=True))
    return mapping(answer)


def _name(key: Any) -> str:
    return str(key.get("name", "") if isinstance(key, dict) else key)
