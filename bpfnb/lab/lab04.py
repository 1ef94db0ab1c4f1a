"""Lab 4: ten programs that the verifier refuses. Each repaired one has to load, and to do what it was meant to do."""

from __future__ import annotations

import socket
from typing import Any

import pandas as pd

from bpfnb.lab.answers import Unfit, loaded, member
from bpfnb.lab.facts import Facts
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab04", "The verifier: ten programs that it rejects, and why", minutes=60, runs_on_vm=True)

_CLOSE = """
for number in numbers:
    try:
        os.close(number)
    except OSError:
        pass
"""
_WRITE = """
nowhere = os.open("/dev/null", os.O_WRONLY)
for word in words:
    os.write(nowhere, word.encode())
"""
_SEND = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as one:
    for _ in range(count):
        one.sendto(b"datagram", ("127.0.0.1", port))
"""
_CONNECT = """
import socket
servers = [socket.create_server(("127.0.0.1", each)) for each in (port, other)]
def connects(to):
    try:
        socket.create_connection(("127.0.0.1", to)).close()
    except PermissionError:
        return False
    return True
report(guarded=connects(port), open=connects(other))
"""
GAMES = 400
"""Of six throws each in the mean, 2400 in all; the standard deviation of their sum is 110."""
WORDS = (
    "short",
    "a little longer",
    "exactly thirty-two characters ok",
    "one that is much too long for the room there is",
)


# The workloads, one for each program


@LAB.workload("task1")
def parents(make: Making) -> None:
    count = make.random.randint(300, 900)
    process = make.python("for _ in range(count):\n    os.getppid()", name="first", count=count)
    make.tell(pid=process.pid)
    make.keep(count=count)


def _closes(make: Making, numbers: list[int]) -> None:
    make.tell(pid=make.python(_CLOSE, name="closer", numbers=numbers).pid)
    make.keep(numbers=numbers)


@LAB.workload("task2")
def some_count(make: Making) -> None:
    _closes(make, [make.random.choice((700, 1000)) + make.random.randint(0, 200) for _ in range(80)])


@LAB.workload("task3")
def the_last(make: Making) -> None:
    _closes(make, [make.random.randint(1000, 9000) for _ in range(40)])


@LAB.workload("task4")
def digits(make: Making) -> None:
    _closes(make, [1000 + make.random.randint(0, 13) for _ in range(150)])


@LAB.workload("task5")
def words(make: Making) -> None:
    said = [make.random.choice(WORDS) for _ in range(12)]
    make.tell(pid=make.python(_WRITE, name="speaker", words=said).pid)
    make.keep(words=said)


@LAB.workload("task6")
def one_parent(make: Making) -> None:
    make.tell(pid=make.python("report(parent=os.getppid())", name="child").pid)


@LAB.workload("task7")
def some_calls(make: Making) -> None:
    make.tell(pid=make.python("os.getppid()", name="passer-by").pid)


@LAB.workload("task8")
def games(make: Making) -> None:
    make.tell(pid=make.python("for _ in range(games):\n    os.getppid()", name="player", games=GAMES).pid)


@LAB.workload("task9")
def datagrams(make: Making) -> None:
    (port,) = _free_ports(socket.SOCK_DGRAM, 1)
    count = make.random.randint(50, 150)
    make.tell(pid=make.python(_SEND, name="sender", port=port, count=count).pid, port=port)
    make.keep(count=count)


@LAB.workload("task10")
def connections(make: Making) -> None:
    port, other = _free_ports(socket.SOCK_STREAM, 2)
    make.tell(pid=make.python(_CONNECT, name="visitor", port=port, other=other).pid, port=port)


def _free_ports(kind: socket.SocketKind, count: int) -> list[int]:
    sockets = [socket.socket(type=kind) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


# The checks


@LAB.task(
    "1: a look-up that may find nothing",
    why="NULL is an answer like any other. The verifier follows both branches and knows in which of "
    "them the pointer is one.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    counts = _entries(answer, "tracepoint/syscalls/sys_enter_getppid", "calls")
    count, pid = facts["task1.count"], facts["task1.pid"]
    if counts.get(pid) == count:
        return None
    if pid not in counts:
        return "It loads, but counts nothing: where there is no entry yet, one has to be made."
    if counts[pid] == count - 1:
        return "One is missing, the first: the entry that is made begins at 1."
    return (
        f"It loads, but counted {counts[pid]:,} calls, and there were others. Is the counter raised at each?"
    )


@LAB.task(
    "2: a record that is never given back",
    why="Who reserves must submit or discard, on every path: a forgotten record would block the "
    "buffer for good.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    rows = _rows(answer, "tracepoint/syscalls/sys_enter_close", "events")
    sent = rows.number[rows.pid == facts["task2.pid"]].tolist()
    wanted = [number for number in facts["task2.numbers"] if number >= 1000]
    if sent == wanted:
        return None
    if not sent:
        return "It loads, but sends nothing: a record that is meant to arrive is submitted, not discarded."
    if 0 in sent or min(sent) < 1000:
        return "It loads, but sends records for numbers below 1000, too: those are to be left out, not sent."
    return f"It loads, but sent {len(sent)} records of {len(wanted)}."


@LAB.task(
    "3: a record used after it was given away",
    why="After the submit the record belongs to the reader: what is needed later is kept before.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    section = "tracepoint/syscalls/sys_enter_close"
    kept = _entries(answer, section, "numbers")
    rows = _rows(answer, section, "events")
    pid, wanted = facts["task3.pid"], facts["task3.numbers"]
    if rows.number[rows.pid == pid].tolist() != wanted:
        return (
            "It loads, but not every number arrives as an event: the record still has to be filled in "
            "and submitted."
        )
    if kept.get(pid) != wanted[-1]:
        return "The events arrive, but the map `numbers` does not have the last number of this process."
    return None


@LAB.task(
    "4: an index without a bound",
    why="An index from outside can be anything. The verifier wants a check that no input gets around, "
    "and so should you.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    frame = _map(answer, "tracepoint/syscalls/sys_enter_close", "by_process").df
    rows = frame[frame.key == facts["task4.pid"]]
    if rows.empty:
        return "It loads, but has no entry of this process."
    found = [int(rows[f"count.{digit}"].iloc[0]) for digit in range(10)]
    numbers = [number - 1000 for number in facts["task4.numbers"]]
    wanted = [numbers.count(digit) for digit in range(10)]
    if found == wanted:
        return None
    if sum(found) == len(numbers):
        return (
            "Numbers that are no digit are counted, too, as other digits: a mask keeps the index in "
            "bounds, but counts what it should not."
        )
    if found[:9] == wanted[:9]:
        return "Digits go up to 9: the last one is left out, or others are counted as it."
    return "It loads, but the counts are not those of the digits 0 to 9."


@LAB.task(
    "5: a size without a bound",
    why="The size is the caller's. Copying as much as somebody asks for is the oldest hole in C, and "
    "here it cannot be loaded.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    rows = _rows(answer, "tracepoint/syscalls/sys_enter_write", "words")
    heard = rows.text[rows.pid == facts["task5.pid"]].tolist()
    said = facts["task5.words"]
    if len(heard) < len(said):
        return (
            f"It loads, but heard {len(heard)} words of {len(said)}: the long ones are to be cut, not "
            "left out."
        )
    pairs = list(zip(heard, said, strict=False))
    if len(heard) == len(said) and all(
        word.startswith(got) and len(got) >= min(31, len(word)) for got, word in pairs
    ):
        return None
    if not any(heard):
        return "It loads, but all texts are empty: a size of 0 copies nothing."
    if any(len(got) < min(31, len(word)) for got, word in pairs):
        return (
            "Some are cut too short: there is room for 32 bytes. With a mask of 31 a size of 32 "
            "becomes 0; a comparison keeps it."
        )
    return "It loads, but these are not the words that were written."


@LAB.task(
    "6: an address that is only a number",
    why="Who knows the type may follow the pointer; who only has a number asks a helper to read it "
    "with care.",
)
def task6(answer: Any, facts: Facts) -> str | None:
    found = _entries(answer, "tracepoint/syscalls/sys_enter_getppid", "parents")
    pid, parent = facts["task6.pid"], facts["task6.parent"]
    if found.get(pid) == parent:
        return None
    if pid not in found:
        return "It loads, but has no entry of this process."
    if found[pid] == pid:
        return "This is the process itself: its parent is asked for."
    return (
        "It loads, but this is not the parent. A read through something that is no task gives 0, and "
        "no error."
    )


@LAB.task(
    "7: writing where one may only read",
    why="A program observes. What it wants to remember is put into its own maps, and the kernel's "
    "data stay the kernel's.",
)
def task7(answer: Any, facts: Facts) -> str | None:
    found = _entries(answer, "tp_btf/sys_enter", "seen")
    if facts["task7.pid"] in found:
        return None
    return (
        "It loads, but did not mark this process. The map itself can say whether a process was seen before."
    )


@LAB.task(
    "8: a loop without an end",
    why="A program has to end, whatever its input. The verifier tries all turns, so a bound must be "
    "in the program's text.",
)
def task8(answer: Any, facts: Facts) -> str | None:
    throws = _entries(answer, "tracepoint/syscalls/sys_enter_getppid", "throws").get(facts["task8.pid"], 0)
    if not throws:
        return "It loads, but has no throws of this process."
    if 6 * GAMES * 0.75 <= throws <= 6 * GAMES * 1.25:
        return None
    if throws == GAMES:
        return "It loads, but throws only once: it is to go on until there is a six."
    if throws < 6 * GAMES:
        return (
            f"It loads, but {throws:,} throws in {GAMES} games are too few: the bound ends games that have no six yet. "
            "How long can a game be?"
        )
    return f"It loads, but {throws:,} throws in {GAMES} games are too many: a game ends with its first six."


@LAB.task(
    "9: a packet that may be shorter",
    why="A packet ends where its sender likes. One comparison with `data_end` covers every byte before it.",
)
def task9(answer: Any, facts: Facts) -> str | None:
    found = _entries(answer, "cgroup_skb/egress", "packets")
    port, count = facts["task9.port"], facts["task9.count"]
    if found.get(port) == count:
        return None
    if int.from_bytes(port.to_bytes(2, "little"), "big") in found:
        return "The bytes of the port are in the network's order: `bpf_ntohs` turns them round."
    if port not in found:
        return (
            "It loads, but counts no packet to this port. Is the check the right way round: too short "
            "is what ends past `data_end`?"
        )
    return f"It loads, but counted {found[port]} packets of {count}."


@LAB.task(
    "10: an answer that the hook does not understand",
    why="Each hook has its own answers. Here 1 lets the connection be made, and 0 makes `connect` "
    "fail with EPERM.",
)
def task10(answer: Any, facts: Facts) -> str | None:
    found = _entries(answer, "cgroup/connect4", "refused")
    guarded, other = facts["task10.guarded"], facts["task10.open"]
    if guarded:
        return "It loads, but the connection was made: which answer refuses it?"
    if not other:
        return "It refuses every connection, also to other ports."
    return (
        None if facts["task10.pid"] in found else "It refuses, but did not enter the process into `refused`."
    )


def _map(answer: Any, section: str, name: str) -> Any:
    if answer is None:
        raise Unfit("Not loaded yet: what the verifier says under the cell is what to repair.")
    return member(loaded(answer, section), name)


def _entries(answer: Any, section: str, name: str) -> dict[int, int]:
    frame = _map(answer, section, name).df
    return dict(zip(frame["key"].tolist(), frame["value"].tolist(), strict=True))


def _rows(answer: Any, section: str, name: str) -> pd.DataFrame:
    stream = _map(answer, section, name)
    stream.drain()
    frame: pd.DataFrame = stream.df
    return frame
