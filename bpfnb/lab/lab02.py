"""Lab 2: maps and histograms of system-call latency. Reads of known sizes, sleeps of known lengths, a map too small."""

from __future__ import annotations

from typing import Any

from bpfnb.lab.answers import frame, mapping, number
from bpfnb.lab.facts import Facts
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab02", "Maps and histograms: system-call latency", minutes=45, runs_on_vm=True)

_READS = """
zeros = os.open("/dev/zero", os.O_RDONLY)
for size, count in counts.items():
    for _ in range(count):
        os.read(zeros, int(size))
"""
_NAPS = """
import threading, time
took = []
def sleep():
    for length, count in naps:
        for _ in range(count):
            before = time.monotonic_ns()
            time.sleep(length)
            took.append(time.monotonic_ns() - before)
threads = [threading.Thread(target=sleep) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
report(late=[sum(each >= 2**bucket for each in took) for bucket in buckets])
"""
_MANY = """
for _ in range(3):
    for number in range(1000, 1000 + numbers):
        try:
            os.close(number)
        except OSError:
            pass
"""
SHORT, MIDDLE, LONG = 20, 23, 26  # the buckets of 1.5, 12 and 100 ms
NAPS = ((0.0015, 150), (0.012, 25), (0.1, 10))  # of each of the three threads
TOTAL = 3 * sum(count for _, count in NAPS)
LATE = 0.1  # the share of sleeps that may be in a higher bucket without their process having noticed it


def _reads(make: Making, sizes: tuple[int, ...]) -> None:
    counts = {str(size): make.random.randint(150, 900) for size in sizes}
    process = make.python(_READS, name="reader", counts=counts)
    make.tell(pid=process.pid)
    make.keep(counts=counts)


@LAB.workload()
def reads(make: Making) -> None:
    _reads(make, (4096, 65536, 1048576))


@LAB.workload("sizes")
def sizes(make: Making) -> None:
    _reads(make, (512, 4096, 12288, 100_000))


@LAB.workload("naps")
def naps(make: Making) -> None:
    make.tell(pid=make.python(_NAPS, name="sleeper", naps=NAPS, buckets=[MIDDLE, LONG]).pid)


def _many(make: Making) -> None:
    numbers = make.random.randint(150, 400)
    process = make.python(_MANY, name="closer", numbers=numbers)
    make.tell(pid=process.pid)
    make.keep(numbers=numbers)


LAB.workload("many")(_many)
LAB.workload("many_again")(_many)


@LAB.task(
    "How many reads were there?",
    why="A histogram counts everything: nothing is sampled, and it is 512 bytes whether a thousand "
    "reads come or a billion.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    total, wanted = number(answer), sum(facts["counts"].values())
    if total == wanted:
        return None
    if total < 64:
        return "This looks like a number of buckets. How many reads are *in* them? Add up the column `value`."
    if total > wanted:
        return (
            "This is too much. Add up `value` (how many), not `key` (which bucket), and of this process only."
        )
    return "This is too little. Was the program attached before `work.run()`? Is every bucket added?"


@LAB.task(
    "Count reads by their size",
    why="The key decides what a map tells. Sizes say why some of the reads in the histogram took longer.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    counts = {int(number(size)): int(number(count)) for size, count in mapping(answer).items()}
    counts.pop(3, None)  # the line that let the process go, when the program was attached before
    wanted = {int(size): count for size, count in facts["sizes.counts"].items()}
    if counts == wanted:
        return None
    if not counts:
        return (
            "The map is empty: does the program write to it, at the return of `read`, for the process "
            "`work.pid`?"
        )
    if set(counts) == {wanted[size] for size in wanted}:
        return "Keys and values have changed places: the key is the size."
    if len(counts) == 1 and 0 in counts:
        return (
            "All have the size 0: it is the *return* that knows how much was read, `ctx->ret` at "
            "`sys_exit_read`."
        )
    if all(counts.get(size, 0) >= count for size, count in wanted.items()):
        return "All sizes of this process are there, and more: other processes' reads are counted too."
    if set(wanted) <= set(counts):
        return (
            "The sizes are right, the counts are too small: is the counter raised when the key is "
            "there already?"
        )
    return (
        f"The process read in {len(wanted)} sizes; here are {len(counts)} keys, and not all of those. "
        "What is the key?"
    )


@LAB.task(
    "Measure the sleeps of three threads",
    why="Times of entry are kept by thread: with the pid as key the threads overwrite each other, and "
    "nobody says so.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    facts["naps.pid"]
    found = {int(number(bucket)): int(number(count)) for bucket, count in mapping(answer).items()}
    buckets = {bucket: count for bucket, count in found.items() if count}
    total = sum(buckets.values())
    if not total:
        return (
            "The histogram is empty. Is the entry kept at `sys_enter_clock_nanosleep`, and looked up "
            "at its `sys_exit`?"
        )
    if max(buckets) < SHORT:
        if {SHORT - 10, SHORT - 9} & set(buckets):
            return (
                "The buckets are those of microseconds: `bpfnb_log2` is to be given nanoseconds, as "
                "the clock gives them."
            )
        return (
            "No sleep is as long as a millisecond: is it the time at the return less the time at the *entry*?"
        )
    if max(buckets) > LONG + 8:
        return "Some durations are those since the machine started: is the time of entry subtracted?"
    if total < TOTAL:
        return (
            f"{total:,} sleeps were measured, and there were more. Three threads sleep at the same time: "
            "what happens in `started` when its key is the pid, which they share?"
        )
    if total > TOTAL:
        return (
            "There are more sleeps than this process made: others sleep too, count those of `work.pid` only."
        )
    for least, late in zip((MIDDLE, LONG), facts["naps.late"], strict=True):
        longer = sum(count for bucket, count in buckets.items() if bucket >= least)
        wanted = 3 * sum(count for _, count in NAPS[(least == LONG) + 1 :])
        if not wanted <= longer <= late + LATE * TOTAL:  # on a busy or emulated machine some end late
            return (
                f"The number of sleeps is right, but {longer} in bucket {least} or above is not. "
                "Is the entry deleted at the return, and the same thread's?"
            )
    return None


@LAB.task(
    "Which share of the time is in the longest sleeps?",
    why="One sleep in eighteen has about two thirds of the time: what is rare can be what matters, and an "
    "average hides it.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    facts["naps.pid"]
    share = number(answer)
    counts = [count for _, count in NAPS]
    middle = [1.5 * 2**bucket * count for bucket, count in zip((SHORT, MIDDLE, LONG), counts, strict=True)]
    wanted = middle[2] / sum(middle)
    if abs(share - wanted) <= 0.08:
        return None
    if abs(share - 100 * wanted) <= 8:
        return "A share between 0 and 1 is asked for, not percent."
    if abs(share - counts[2] / sum(counts)) <= 0.02:
        return (
            "This is the share of the *number* of sleeps. Multiply each bucket's number by the time "
            "that such a sleep takes."
        )
    if abs(share - (1 - wanted)) <= 0.08:
        return "This is the share of all the others."
    if not 0 <= share <= 1:
        return "A share is between 0 and 1: the time in buckets of 26 and above, divided by the time in all."
    return (
        "Not that. A bucket's time is its `value` times 1.5 * 2**key nanoseconds; sum it over the "
        "buckets of 26 and above."
    )


@LAB.task(
    "Make the map large enough",
    why="A full map loses without an error. `df.attrs` says so on every frame, and the panel says it in red.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    rows = frame(answer, "key", "value")
    wanted = facts["many_again.numbers"]
    if len(rows) == 64:
        return (
            "64 rows, the size of the map: it was full, and the rest was refused. How large must "
            "`max_entries` be?"
        )
    if len(rows) > wanted:
        return (
            "There are more numbers than this process used: count those of `work.pid`, and of 1000 or more."
        )
    if len(rows) < wanted:
        lost = rows.attrs.get("bpfnb", {}).get("lost", 0)
        refused = f" {lost:,} updates were refused." if lost else ""
        return (
            f"{len(rows):,} rows are not all.{refused} Is the map large enough, and was the program "
            "attached in time?"
        )
    if set(rows["value"]) != {3}:
        return "All numbers are there, but not with their counts: each was called three times."
    return None
