"""Lab 13: uprobes. A market in C handles requests; its functions are seen with their arguments and results."""

from __future__ import annotations

from typing import Any

from bpfnb.lab.answers import Unfit, frame, hooked, mapping, member, number
from bpfnb.lab.facts import Facts
from bpfnb.lab.sources import compiled
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab13", "Uprobes: functions of a running program, with arguments", minutes=45)

ITEMS = ("apple", "bread", "cheese", "durian", "egg")


@LAB.workload()
def market(make: Making) -> None:
    requests = make.random.randint(500, 700)
    program = compiled(make, "market")
    process = make.process([program, str(make.random.getrandbits(30)), str(requests)])
    make.tell(pid=process.pid, program=str(program))
    make.keep(requests=requests)


def _items(facts: Facts, what: str) -> dict[str, int]:
    return {item: facts[f"{what}.{item}"] for item in ITEMS if facts[f"{what}.{item}"]}


@LAB.task(
    "What did the market earn?",
    why="The program was not changed, not restarted, and does not know: the kernel replaced one instruction of the "
    "function, and the type of each column came from its debug information.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    """Exact: the sum of all prices that are not errors."""
    earned, right = number(answer), facts["earned"]
    if earned == right:
        return None
    failures = sum(_items(facts, "failed").values())
    if earned == right - failures:
        return "Close: `price` returns -1 where something cannot be sold. That is an error, not an amount."
    if earned == right / 100:
        return "That is in whole coins. `price` returns cents; leave it at that."
    priced = sum(_items(facts, "priced").values())
    if earned in (priced, priced - failures):
        return "That is how often it was called. What did it return, all together?"
    return f"{earned:,} is not the sum of what `price` returned: are the calls of exactly one run in it?"


@LAB.task(
    "Whose orders were large?",
    why="The condition became a few instructions of the probe: what does not meet it was never copied. And paths such "
    "as `request->customer->name` are followed in the program's own memory, by its own types.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    """Exact: how many orders (method ORDER) of 80 and more, by customer."""
    counts = {str(key): number(value) for key, value in mapping(answer).items()}
    right = {n: facts[f"large.{n}"] for n in ("ada", "grace", "linus", "margaret") if facts[f"large.{n}"]}
    if counts == right:
        return None
    if not {*counts} & {*right}:
        return f"The customers have names, such as `grace`; these are {', '.join([*counts][:3]) or 'none'}."
    total, wanted = sum(counts.values()), sum(right.values())
    if total >= 2.5 * wanted and total < 4 * wanted:
        return "These are all methods; only `ORDER` is asked for."
    if 1.5 * wanted < total <= 2.5 * wanted:
        return "There are too many: refunds are not orders."
    if total > wanted:
        return "There are too many: of `ORDER` those with a `count` of 80 and more, and 80 itself is one of them."
    return "There are too few: is 80 itself in it (`>=`)? And was the tool there before the run?"


def _table(answer: Any, name: str, *columns: str) -> Any:
    rows = frame(member(hooked(answer, "uprobe", "uretprobe"), name), *columns)
    if rows.empty:
        raise Unfit(
            "The map is empty: was the workload run after the cell was loaded, at this workload's program?"
        )
    return rows


@LAB.task(
    "How often was each item's price asked for?",
    why="Twelve lines, and a program that prints nothing tells what it is asked. An argument that is a pointer is an "
    "address of that program's memory: `bpf_probe_read_user_str` reads what is there.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    """Exact: calls of price() by the text of its first argument."""
    rows = _table(answer, "asked", "item", "value")
    counts = {str(item): int(value) for item, value in zip(rows["item"], rows["value"], strict=True)}
    right = _items(facts, "priced")
    if {*counts} == {""}:
        return "All names are empty: the argument is an address, read from it: `bpf_probe_read_user_str(..., item)`."
    if {*counts} != {*right}:
        strange = ", ".join(sorted({*counts} ^ {*right})[:4])
        return f"The items do not fit ({strange}): is the whole key set to zeros before it is filled?"
    if all(value == 1 for value in counts.values()):
        return "Each has a 1: an item that is in the map already has to be counted up."
    wrong = [item for item in right if counts[item] != right[item]]
    return (
        f"{wrong[0]}: {counts[wrong[0]]:,} is not how often it was asked for in one run." if wrong else None
    )


@LAB.task(
    "Which items failed, and how often?",
    why="A result alone says that something fails; beside its argument it says what. Two probes and a map between "
    "them, by thread: every tracer of functions is built like this.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    """Exact: calls of price() with a result below zero, by item."""
    rows = _table(answer, "failures", "item", "value")
    counts = {str(item): int(value) for item, value in zip(rows["item"], rows["value"], strict=True)}
    right, priced = _items(facts, "failed"), _items(facts, "priced")
    if counts == right:
        return None
    if counts == priced:
        return (
            "All calls are counted, not only failures. The result is an `int` of 32 bits: `PT_REGS_RC(ctx)` has 64, "
            "and as one of 64 it is not below zero. Declare it as `int`."
        )
    if {*counts} - {*right}:
        return f"{sorted({*counts} - {*right})[0]!r} did not fail: is the entry of the thread removed after its call?"
    missing = sorted({*right} - {*counts})
    if missing:
        return f"One that failed is missing; there are {len(right)}. Negative results are all errors, not only -2."
    return "The items are right, their numbers are not: is each failed call of one run counted once?"
