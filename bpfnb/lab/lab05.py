"""Lab 5: flame graphs. A bakery computes in some functions, and waits in others."""

from __future__ import annotations

from typing import Any

from bpfnb.lab.answers import Unfit, mapping, number, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.sources import compiled
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab05", "On-CPU and off-CPU flame graphs", minutes=60)
STEPS = "knead", "glaze", "decorate", "pack"
STOPS = "ask_traffic", "unlock_door", "find_parking"


@LAB.workload("bake2")
@LAB.workload("bake")
def bake(make: Making) -> None:
    # decorate is the widest of the four, but knead and glaze together spend more in whisk.
    knead, glaze = (make.random.randint(28, 34) / 100 for _ in range(2))
    seconds = [knead, glaze, round(max(knead, glaze) + make.random.randint(9, 11) / 100, 2), 0.15]
    process = make.process([compiled(make, "bakery"), "bake", "8", *map(str, seconds)])
    make.tell(pid=process.pid)
    make.keep(**dict(zip(STEPS, seconds, strict=True)))


@LAB.workload("deliver2")
@LAB.workload("deliver")
def deliver(make: Making) -> None:
    # Few long waits, and many short ones that are more in all.
    counts = [make.random.randint(2, 3), make.random.randint(70, 90), make.random.randint(6, 9)]
    each = [0.15, 0.01, 0.03]
    words = [str(word) for pair in zip(counts, each, strict=True) for word in pair]
    process = make.process([compiled(make, "bakery"), "deliver", *words])
    make.tell(pid=process.pid)
    make.keep(**dict(zip(STOPS, counts, strict=True)))


@LAB.task(
    "Which function itself uses the most processor time?",
    why="A function called from several places is several boxes, none of them the widest: add up by name.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    name = text(answer).removesuffix("()")
    facts["bake.cpu_s"]
    if name == "whisk":
        return None
    if name == "decorate":
        return (
            "decorate is the widest box of its row. But one function stands in the graph twice, "
            "under two callers: what do its boxes have together?"
        )
    if name in ("knead", "glaze"):
        return (
            f"{name} is wide because of what it calls: it has hardly a sample in which it stands at the end."
        )
    if name in ("main", "bake", "_start", "__libc_start_call_main"):
        return f"Everything happens below {name}, so it is wide. What uses the time itself is at the end of a stack."
    if "clock_gettime" in name or name == "now":
        return "That is a function which the bakery asks for the time. It has a few samples: look for more."
    return f"'{name}' is not the function with most samples at the end of a stack."


@LAB.task(
    "Which share of the processor time is spent in glaze and what it calls?",
    why="A box is as wide as its function and all that it calls: that is what a faster glaze could save.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    """Within 6 hundredths: that is three times what chance does to 600 samples."""
    share = number(answer)
    seconds = {step: facts[f"bake.{step}"] for step in STEPS}
    true = seconds["glaze"] / sum(seconds.values())
    if 1 < share <= 100:
        return f"This is {share:g}: as a share it should lie between 0 and 1. Divide by the number of all samples."
    if share > 100:
        return "This is a number of samples. Divide it by the number of all samples of the process."
    if abs(share - true) <= 0.06:
        return None
    if share < 0.02:
        return "That is glaze alone, where it stands at the end of a stack. Count every sample whose stack has it."
    if abs(share - (seconds["glaze"] + seconds["knead"]) / sum(seconds.values())) <= 0.06:
        return "That is all of whisk. Only a part of it was called by glaze: look at the whole stack."
    return f"{share:.0%} is too {'much' if share > true else 'little'}: samples with glaze, divided by all samples."


@LAB.task(
    "Your own profiler: how many seconds of processor time did the bakery use?",
    why="A profile is no more than a clock, a filter and a count. Each sample stands for one period of the clock.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    """Within 15 %: samples are taken at ticks of the clock, which a busy machine has a little late."""
    seconds = number(answer)
    true = facts["bake2.cpu_s"]
    if seconds == 0:
        return "No sample was counted. Is the upper half of pid_tgid compared with TARGET, and are equal ones counted?"
    if abs(seconds - true) <= 0.15 * true:
        return None
    if abs(seconds / 499 - true) <= 0.15 * true:
        return "That is the number of samples. Each of them stands for 1/499 of a second."
    if seconds > 1.5 * true:
        return (
            f"{seconds:.2f} s is more than the process used: does the program leave out all other processes?"
        )
    return (
        f"{seconds:.2f} s is not what the process used. Did the profiler run for all of its time, at 499 samples "
        "a second, and are all samples of the map counted, those in the kernel, too?"
    )


@LAB.task(
    "Which function keeps the delivery waiting longest, and how often does it wait?",
    why="Many short waits hide behind a long one. The width of a box is their sum, and the count says which it is.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    """The count within 4: the kernel does not tell of every wait's end, the tool says how many it missed."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unfit('The answer has two parts: ("function", count).')
    name, count = text(answer[0]).removesuffix("()"), number(answer[1])
    waits = facts["deliver.unlock_door"]
    facts["deliver.asleep_s"]
    if name == "ask_traffic":
        return "ask_traffic has the longest single wait. Which function waits longest when all its waits are added up?"
    if name in ("deliver", "main", "bakery") or "sleep" in name:
        return (
            f"All waits have {name} in their stack. Which of the functions that deliver calls is the widest?"
        )
    if name != "unlock_door":
        return f"'{name}' is not the function that the delivery waits for longest. The widest box is."
    if abs(count - waits) <= 4:
        return None
    if abs(count - sum(facts[f"deliver.{stop}"] for stop in STOPS)) <= 4:
        return "The function is right. The count is of all waits: take only those with it in their stack."
    return "The function is right, the number of its waits is not: it is in the column `count`."


@LAB.task(
    "Your own off-CPU program: how many seconds did the delivery wait, by state?",
    why="All off-CPU analysis is this pair: note when a thread leaves the CPU, and look when it comes back.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    """The sleeping within 10 % of what the process itself measured."""
    waits = {int(state): float(ns) for state, ns in mapping(answer).items()}
    true = facts["deliver2.asleep_s"] * 1e9
    if not waits or not any(waits.values()):
        return (
            "Nothing was added up. `left` needs an entry when the thread goes (prev), and is looked up when it comes "
            "back (next)."
        )
    asleep = waits.get(1, 0.0)
    if abs(asleep - true) <= 0.1 * true:
        return None
    if not asleep and abs(sum(waits.values()) - true) <= 0.25 * true:
        return (
            "The sum is right, but it does not stand under state 1 (sleeping). The state is that of the thread when "
            "it left, `was->state`, and of prev->__state only the lower bits say it (`& 3`)."
        )
    if asleep > 1e17:
        return "That is a moment, not a duration: subtract the moment at which it left from now."
    if 0 < asleep < true / 1e5:
        return (
            "That is a thousandth or less of what it should be: times are in nanoseconds here, and stay so."
        )
    if asleep > true:
        return f"State 1 has {asleep / 1e9:.2f} s, which is too much: is every wait taken out of `left` when it ends?"
    return f"State 1 has {asleep / 1e9:.2f} s, too little: are waits added up, or does one replace another?"
