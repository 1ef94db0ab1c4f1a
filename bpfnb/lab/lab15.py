"""Lab 15: kprobes, fentry and LSM. Files that are deleted, or not: seen, seen with the reason, and forbidden."""

from __future__ import annotations

from typing import Any

from bpfnb.lab.answers import hooked, loaded, mapping, member, names, number
from bpfnb.lab.facts import Facts
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab(
    "lab15",
    "Kprobes, fentry and LSM, in a disposable kernel",
    minutes=60,
    runs_on_vm=True,
    hooks=("kprobe/vfs_unlink", "fexit/vfs_unlink", "lsm/inode_unlink"),
)

NAMES = (
    "atlas",
    "budget",
    "cargo",
    "diary",
    "estimate",
    "forecast",
    "guests",
    "harvest",
    "invoice",
    "journal",
)
KEPT, GUARDED = "ledger", "accounts"
OTHERS = ("ledger.old", "ledgers", "led", "draft", "notes")
"""Beside the ledger, with names that only look like its."""
EACCES = 13

_MAKE = """
def made(name, mode=0o644):
    path = f"{folder}/{name}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))
    return path
def error_of(call, *args):
    try:
        call(*args)
    except OSError as error:
        return error.errno
    return 0
"""
_DELETE = """
for number in range(count):
    os.unlink(made(f"file{number}"))
"""
_NAMED = """
paths = [made(name) for name in order]
for path, absent in zip(paths, missing):
    error_of(os.unlink, f"{folder}/{absent}")
    os.unlink(path)
"""
# Nobody may write to a folder of root's (EACCES); in one that everybody may write to, files are their owner's (EPERM).
_RESULTS = """
os.mkdir(f"{folder}/common")
os.chmod(f"{folder}/common", 0o1777)
os.mkdir(f"{folder}/shelf")
plan = []
for error, files in wanted.items():
    for name in files:
        place = "common/" if error == "EPERM" else ""
        plan.append((error, f"{folder}/{name}" if error == "EISDIR" else made(place + name)))
        if error == "EISDIR":
            os.mkdir(plan[-1][1])
random.shuffle(plan)
for error, path in plan:
    os.seteuid(65534 if error in ("EACCES", "EPERM") else 0)
    error_of(os.unlink, path)
    os.seteuid(0)
"""
_GUARD = """
order = [kept] * tries + others
random.shuffle(order)
for name in {*order}:
    made(name)
errors = {}
for name in order:
    errors.setdefault(name, []).append(error_of(os.unlink, f"{folder}/{name}"))
report(kept=errors[kept], others=[name for name in others if errors[name] != [0]])
"""
_VAULT = """
def opened(name, flags):
    return error_of(lambda: os.close(os.open(f"{folder}/{name}", flags)))
plan = [(guarded, os.O_RDONLY)] * reads + [(guarded, os.O_RDWR if n % 3 else os.O_WRONLY) for n in range(writes)]
plan += [("scratch", os.O_WRONLY)] * reads
random.shuffle(plan)
found = {"read": [], "write": [], "other": []}
for name, flags in plan:
    what = "other" if name != guarded else "write" if flags else "read"
    found[what].append(opened(name, flags))
report(**{f"{who}_{what}": errors for what, errors in found.items()})
"""


@LAB.workload()
def cleaner(make: Making) -> None:
    count = make.random.randint(120, 190)
    process = make.python(_MAKE + _DELETE, name="cleaner", folder=str(make.folder()), count=count)
    make.tell(pid=process.pid)
    make.keep(count=count)


@LAB.workload("names")
def named(make: Making) -> None:
    order = make.random.sample(NAMES, 8)
    missing = [f"no-{name}" for name in order]  # what is not there never comes as far as vfs_unlink
    folder = str(make.folder())
    process = make.python(_MAKE + _NAMED, name="mover", folder=folder, order=order, missing=missing)
    make.tell(pid=process.pid)
    make.keep(order=order, missing=missing)


def _results(make: Making, counts: dict[str, int], letters: str) -> None:
    wanted = {
        error: [f"{letter}{number}" for number in range(counts[error])]
        for error, letter in zip(counts, letters, strict=True)
    }
    process = make.python(_MAKE + _RESULTS, name="clumsy", folder=str(make.folder()), wanted=wanted)
    make.tell(pid=process.pid)
    make.keep(
        counts=counts, failed={name: error for error in wanted if error != "OK" for name in wanted[error]}
    )


@LAB.workload("results")
def results(make: Making) -> None:
    errors = ("OK", "EISDIR", "EACCES", "EPERM")
    _results(make, {error: make.random.randint(15, 60) for error in errors}, "abcd")


@LAB.workload("reasons")
def reasons(make: Making) -> None:
    letters = "".join(make.random.sample("kmprstvw", 4))  # of a name its error cannot be told
    errors = ("OK", "EISDIR", "EACCES", "EPERM")
    _results(make, {error: make.random.randint(3, 7) for error in errors}, letters)


@LAB.workload("guard")
def guard(make: Making) -> None:
    folder, tries = str(make.folder()), make.random.randint(4, 9)
    given: dict[str, Any] = {"folder": folder, "tries": tries, "kept": KEPT, "others": list(OTHERS)}
    process = make.python(_MAKE + _GUARD, name="careless", **given)
    make.tell(pid=process.pid)
    make.keep(tries=tries)


@LAB.workload("vault")
def vault(make: Making) -> None:
    folder, reads, writes = (
        str(make.folder(GUARDED, "scratch")),
        make.random.randint(5, 9),
        make.random.randint(10, 20),
    )
    given: dict[str, Any] = {"folder": folder, "guarded": GUARDED, "reads": reads, "writes": writes}
    clerk, _ = (make.python(_MAKE + _VAULT, name=who, who=who, **given) for who in ("clerk", "owner"))
    make.tell(pid=clerk.pid)
    make.keep(writes=writes)


@LAB.task(
    "Which files did it delete?",
    why="No tracepoint is there, and none is needed: a kprobe stands at nearly any function of the kernel. Its "
    "arguments are registers, each pointer is read with care, and nobody promises the function to the next version.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    found, wanted = names(answer), facts["names.order"]
    if found == wanted:
        return None
    if not found:
        return "There are no names yet. Are there rows in `deleted.files.df`, and was it loaded before `work.run()`?"
    if not any(found):
        return (
            "The names are empty: `d_name.name` is an address, too. First read the pointer (`BPF_CORE_READ`), then the "
            "text that it leads to (`bpf_probe_read_kernel_str`)."
        )
    if sorted(found) == sorted(wanted):
        return "The names are right, their order is not: that of the rows."
    if {*found} & {*facts["names.missing"]}:
        return "Some of these were never there: `vfs_unlink` is called for files that exist. Is the program at it?"
    if {*wanted} < {*found}:
        return "There are more than it deleted: other processes delete files, too. Those of `TARGET` only."
    if {*found} < {*wanted}:
        return f"{len(wanted) - len(found)} are missing. Is there a record for each call?"
    return "These are not its files. Which argument is the file's entry: the second is the folder, the third the file."


@LAB.task(
    "How many failed, and with which error?",
    why="A kretprobe runs when the function returns and sees the result, but no argument any more: those registers "
    "have long been used for something else. Who wants both keeps the arguments in a map, by thread, as in lab 2.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    hooked(answer, "kretprobe")
    counts = {str(name): int(number(count)) for name, count in mapping(member(answer, "errors")).items()}
    given = dict(facts["results.counts"])
    done = given.pop("OK")
    if counts == given:
        return None
    if not counts:
        return "Nothing was counted: an error is a `ret` below zero, and it is counted under `-ret`."
    if any(name.lstrip("-").isdigit() for name in counts if name != "0"):
        return "Errors are to have their names, such as EPERM: give the key the type `errno_t`, and count under `-ret`."
    if done in counts.values() and len(counts) == len(given) + 1:
        return (
            "One of these is no error: a `ret` of 0 is a file that was deleted. Only failures are asked for."
        )
    if {*counts} != {*given}:
        return f"There are {len(given)} kinds of errors; yours are others, or of other processes: {', '.join(counts)}."
    if all(count == 1 for count in counts.values()):
        return "Each has a 1: an error that is in the map already has to be counted up."
    return "The errors are right, their numbers are not: is each failed call of this process counted once?"


@LAB.task(
    "Which file failed with which error?",
    why="fexit has the arguments and the result at once, with their types: the verifier knows that `dentry` is one, so "
    "the pointer is simply followed. It costs less than a kretprobe, and wants a kernel with BTF and trampolines.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    found = {str(name): str(error) for name, error in mapping(answer).items()}
    wanted: dict[str, str] = facts["reasons.failed"]
    if found == wanted:
        return None
    if not found:
        return "There is nothing in it. Are there rows in `why.failures.df`?"
    if {*found} & {*wanted.values()} or {*found.values()} <= {*wanted}:
        return "Names and errors have changed places: of each file its error, `{'name': 'EPERM'}`."
    if {*found} == {""}:
        return "The names are empty: read the text at `dentry->d_name.name` with `bpf_probe_read_kernel_str`."
    if any(error.lstrip("-").isdigit() and error != "0" for error in found.values()):
        return "The errors are numbers: give the field the type `errno_t`, and store `-ret` in it."
    if {*wanted} < {*found}:
        return "There are files in it that were deleted: leave out those with a `ret` of 0, or of other processes."
    if {*wanted} != {*found}:
        return f"{len(wanted)} files could not be deleted; these are {len({*found} & {*wanted})} of them."
    return "The files are right, their errors are not: `ret` is the function's result, the program's last argument."


@LAB.task(
    "The ledger stays",
    why="An LSM hook is asked before a thing is done, and its answer counts, also for root. With the maps that you "
    "know it decides by whatever the kernel knows of the process and the file.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    loaded(answer, "lsm/inode_unlink")
    kept, others = facts["guard.kept"], facts["guard.others"]
    if 0 in kept:
        return (
            f"The {KEPT} was deleted: the program has to return an error for it, `-{EACCES}`. Is its name compared "
            "with its end (7 bytes), and was the program loaded before `work.run()`?"
        )
    if {*OTHERS} == {*others}:
        return f"Now nothing can be deleted any more: what is not the {KEPT} is answered with 0."
    if others:
        return (
            f"Deleted could not be: {', '.join(others)}. Compare the whole name, with the zero that ends it."
        )
    if {*kept} != {EACCES}:
        return f"It stays, but the process was told of error {kept[0]}. EACCES is wanted: `return -{EACCES}`."
    return None


@LAB.task(
    "Read, but do not write",
    why="One hook for every open of every file, asked with all that is known by then: who, what, and for what. Such a "
    "program is a policy; real ones keep it in maps that a service in user space fills.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    obj = loaded(answer, "lsm/file_open")
    read, write, other = (facts[f"vault.clerk_{what}"] for what in ("read", "write", "other"))
    if any(facts["vault.owner_write"]):
        return "The owner was refused, too: only the process `TARGET` is not to write."
    if 0 in write:
        if any(write):
            return (
                "Some got through: one may open for writing as `O_WRONLY` and as `O_RDWR`. Look at `f_mode`."
            )
        return f"{GUARDED} was opened for writing, and nobody said no. Is the name compared with its end (9 bytes)?"
    if any(read):
        return "It cannot be read any more either: refuse only where `file->f_mode` has `FMODE_WRITE`."
    if any(other):
        return f"Another file cannot be written any more: only {GUARDED} is guarded."
    if {*write} != {EACCES}:
        return f"It is refused, but with error {write[0]}. EACCES is wanted: `return -{EACCES}`."
    refused = int(member(obj, "refused"))
    if refused != facts["vault.writes"]:
        return f"All is decided well, but `refused` says {refused}, and it was refused more or less often than that."
    return None
