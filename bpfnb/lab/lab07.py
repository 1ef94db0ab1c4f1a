"""Lab 7: files and disks. An archive writes, reads and saves files in a folder of a disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bpfnb.lab.answers import Unfit, frame, mapping, number, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.sources import code
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab07", "Files and disks", minutes=50)
LINE = len("one more picture came in\n")  # what programs/archive.py writes


def _place(make: Making) -> Path:
    """A folder on a disk, where there is one: /tmp is in memory on many machines."""
    made = Path(tempfile.mkdtemp(prefix="bpfnb-lab-", dir="/var/tmp"))
    make.when_ended(lambda: shutil.rmtree(made, ignore_errors=True))
    return made


def _pictures(place: Path, kib: int) -> None:
    """A file that is on the disk, and not in the page cache."""
    with (place / "pictures").open("wb") as file:
        file.write(os.urandom(kib << 10))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@LAB.workload("journal2")
@LAB.workload("journal")
def journal(make: Making) -> None:
    place, lines, pages = _place(make), make.random.randint(40, 60), make.random.randint(100, 200)
    process = make.python(code("archive", f"journal({str(place)!r}, {lines}, {pages})"), name="archive")
    make.tell(pid=process.pid)
    make.keep(small=lines * LINE, large=pages)


@LAB.workload("pictures")
def pictures(make: Making) -> None:
    place, times, kib = _place(make), make.random.randint(3, 5), 64 * make.random.randint(48, 80)
    _pictures(place, kib)
    process = make.python(code("archive", f"pictures({str(place)!r}, {times})"), name="archive")
    make.tell(pid=process.pid)
    make.keep(kib=kib, times=times)


@LAB.workload("save")
def save(make: Making) -> None:
    place, every = _place(make), make.random.randint(8, 12)
    saves = every * make.random.randint(20, 30)
    process = make.python(code("archive", f"save({str(place)!r}, {saves}, {every})"), name="archive")
    make.tell(pid=process.pid)
    make.keep(saves=saves, every=every)


@LAB.workload("direct")
def direct(make: Making) -> None:
    place = _place(make)
    sizes = make.random.choices([4096, 8192, 16384, 32768], k=make.random.randint(150, 250))
    _pictures(place, 1024)
    process = make.python(code("archive", f"direct({str(place)!r}, {sizes})"), name="archive")
    make.tell(pid=process.pid)
    make.keep(reads=len(sizes), bytes=sum(sizes))


@LAB.task(
    "Which file costs the most calls, and how many bytes does each of them write?",
    why="A call costs about the same for one byte as for a page. Files are found by their calls, not by their sizes.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unfit('The answer has two parts: ("file", bytes of each write).')
    name, size = text(answer[0]).rpartition("/")[2], number(answer[1])
    small = facts["journal.small"]
    if name == "report":
        return "The report has the most bytes. Which file has the most calls?"
    if name != "journal":
        return f"'{name}' is not the file that is written to most often: look at the column `writes`."
    if abs(size - 1) < 0.01:
        return None
    if abs(size - small) < 1:
        return (
            "The file is right. The number is of all its writes together: how much does a single one write?"
        )
    return (
        "The file is right, the size is not: divide its bytes by its calls. `w_kb` counts 1,024 bytes each."
    )


@LAB.task(
    "How many KiB came from the disk?",
    why="What processes ask for and what disks do are different things; the page cache is what lies between.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    """Within 10 %: a file that lies in pieces needs a look at where they are."""
    kib, times = facts["pictures.kib"], facts["pictures.times"]
    came = number(answer)
    if abs(came - kib) <= 0.1 * kib:
        return None
    if abs(came - kib * times) <= 0.1 * kib * times:
        return "That is what the archive asked for. Most of it was in memory: what did the disk do?"
    if abs(came / 1024 - kib) <= 0.1 * kib:
        return "That is in bytes; the task asks for KiB."
    if abs(came - kib * (times - 1)) <= 0.1 * kib:
        return "That is what did not come from the disk."
    if came == 0:
        return "Not a single request: did biosnoop run while the archive read, and is it told of its pid?"
    return f"{came:,.0f} KiB is not what the disk read for the archive: add up `bytes` of its requests that read."


@LAB.task(
    "Which share of the time that the archive waits for its files is spent in fsync?",
    why="Writing is quick since it is only remembered. Whoever wants it to be on the disk now waits for the disk.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    """A frame of operations with their counts and times: the counts are exact, and the share is its own."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unfit("The answer has two parts: (frame of totals, share).")
    totals, share = frame(answer[0], "op", "count", "total"), number(answer[1])
    saves, every = facts["save.saves"], facts["save.every"]
    sums = totals.groupby(totals["op"].astype(str))[["count", "total"]].sum()
    if "fsync" not in sums.index:
        return "The frame has no fsync. Did fsdist run while the archive saved, and are all operations asked for?"
    if sums["count"]["fsync"] != saves // every:
        return f"{sums['count']['fsync']:,} times fsync is not what the archive did: is the frame of this one only?"
    if "write" not in sums.index or sums["count"]["write"] != saves:
        return (
            "The number of writes is not what the archive did: the frame must have all operations of one run."
        )
    true = sums["total"]["fsync"] / sums["total"].sum()
    if abs(share - sums["count"]["fsync"] / sums["count"].sum()) < 0.005 and abs(share - true) > 0.01:
        return "That is the share of the calls. The share of the time is in the column `total`."
    if 1 < share <= 100:
        return "As a share it should lie between 0 and 1."
    return (
        None
        if abs(share - true) <= 0.01
        else f"{share:.3f} is not the share: `total` of fsync by the sum of all."
    )


@LAB.task(
    "Your own histogram: how large are the archive's writes?",
    why="A histogram in the kernel costs one addition for each call, and nothing is copied until somebody looks.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    """Exact: slot 0 has the writes of one byte, slot 12 those of 4,096."""
    counts = {int(slot): int(n) for slot, n in mapping(answer).items() if n}
    small, large = facts["journal2.small"], facts["journal2.large"]
    if counts == {0: small, 12: large}:
        return None
    if not counts:
        return (
            "The map is empty. Are those counted whose pid is TARGET, and did the archive run after the cell?"
        )
    if counts.get(0, 0) == small + large:
        return "All writes are in slot 0: the slot has to be chosen by the size that the call asks for."
    if set(counts) >= {1, 4096} or set(counts) == {1}:
        return "The sizes themselves are the keys. A slot is the power of two: bpfnb_log2(size)."
    if {0, 12} < set(counts) and counts[0] >= small:
        return "There is more than the archive's writes: is every other process left out?"
    if counts.get(0) == small or counts.get(12) == large:
        return "One of the two sizes is right. The other is missing or is in another slot: how is the slot found?"
    return (
        f"The slots are {counts}. Every write of the archive belongs in the slot of its size's power of two."
    )


@LAB.task(
    "Your own biosnoop: how much did the archive read, and how long did the disk take?",
    why="The kernel follows each request from its making to its end; two events and a map time any device.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    """The bytes exactly: requests may be cut in pieces, their sum stays. As many requests as reads, or more."""
    table = frame(answer, "bytes", "latency")
    reads, total = facts["direct.reads"], facts["direct.bytes"]
    if len(table) == 0:
        return (
            "There are no rows. Did the archive run after the cell, is the moment noted at block_io_start, and is it "
            "looked up at block_rq_complete?"
        )
    asked = int(table["bytes"].sum())
    latency = table["latency"]
    if asked == 0:
        return "Requests are there, their sizes are not: __data_len of the request has it while it is not complete."
    if asked * 512 == total:
        return "The sizes are in sectors. A sector has 512 bytes."
    if asked != total or len(table) < reads:
        return f"{asked:,} bytes in {len(table):,} requests is too {'much' if asked > total else 'little'}."
    if (latency <= 0).any() or (latency > 60e9).any():
        return "The sizes are right. The latency is not: it is now, less the moment at which the request was made."
    return None
