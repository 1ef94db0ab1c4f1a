"""Lab 8: TCP from connect to close. A shop and its customer, on a way that loses some packets."""

from __future__ import annotations

import json
from typing import Any

from bpfnb.lab.answers import Unfit, frame, mapping, number, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.sources import networked
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab08", "TCP from connect to close, retransmits and drops", minutes=60)


def _started(make: Making, step: str, **sizes: Any) -> None:
    networked(make, "shop", step, json.dumps(sizes))
    make.keep(**sizes)


@LAB.workload("connect2")
@LAB.workload("connect")
def connect(make: Making) -> None:
    _started(
        make,
        "connect",
        connects=make.random.randint(20, 25),
        every=make.random.randint(14, 18),  # the next would be beyond the last one
        refused=make.random.randint(4, 9),
    )


@LAB.workload("orders")
def orders(make: Making) -> None:
    every = make.random.randint(11, 14)
    _started(make, "orders", orders=5 * every + make.random.randint(0, 3), every=every)


@LAB.workload("life")
def life(make: Making) -> None:
    sizes = [make.random.randint(100, 60_000) for _ in range(make.random.randint(9, 14))]
    hangs_up = make.random.sample(range(len(sizes)), make.random.randint(3, 4))
    _started(make, "life", bytes=sizes, hangs_up=hangs_up)


@LAB.task(
    "How many connections were refused, and how long did the slowest of the others take to open?",
    why="A refusal is quick. What is slow is a SYN that nobody answers: TCP tries again only after a second.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    """The number exactly; the time between 1 s (the first try's time) and 1.5 s."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unfit("The answer has two parts: (number of refused ones, seconds of the slowest).")
    refused, slowest = number(answer[0]), number(answer[1])
    if refused == facts["connect.connects"]:
        return "That is how many were opened. How many were refused: what is in the column `ret`?"
    if refused == facts["connect.connects"] + facts["connect.refused"]:
        return "Those are all connections that were asked for. Some of them were refused: what is in `ret`?"
    if refused != facts["connect.refused"]:
        return (
            f"{refused} is not the number of refused connections: count the rows whose `ret` is ECONNREFUSED."
        )
    if 1 <= slowest <= 1.5:
        return None
    if 1e9 <= slowest <= 1.5e9:
        return "The number is right. The time is in nanoseconds: the task asks for seconds."
    if slowest < 0.1:
        return "The number is right. The time is that of a quick one: look for the largest `latency`."
    return "The number is right, the time is not: the largest `latency`, in seconds."


@LAB.task(
    "How many bytes did the customer receive, and how many of the connections did the shop close first?",
    why="A connection's bytes and its end are known when it is over: one row for each instead of one for each packet.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unfit("The answer has two parts: (bytes, connections that the shop closed first).")
    received, hung_up = number(answer[0]), number(answer[1])
    true, connections = sum(facts["life.bytes"]), len(facts["life.bytes"])
    lines = sum(
        len(f"{'last' if n in facts['life.hangs_up'] else 'more'} {size}\n")
        for n, size in enumerate(facts["life.bytes"])
    )
    if received == lines:
        return "That is what the customer sent: its own `tx_bytes`, or what the shop received."
    if received == true + lines:
        return "Both ends of a connection have a row. Take those of the customer only."
    if 0.9 * true <= received * 1024 <= true:
        return "That is `rx_kb`, whole units of 1,024 bytes: `rx_bytes` has each of them."
    if received != true:
        return f"{received:,} is not what the customer received: add up `rx_bytes` of its own rows."
    true = len(facts["life.hangs_up"])
    if hung_up == true:
        return None
    if hung_up == connections - true:
        return "The bytes are right. That many were closed first by the customer."
    return (
        "The bytes are right. Who closes first goes through FIN_WAIT1, the other end through CLOSE_WAIT: count the "
        "changes of the shop's own sockets."
    )


@LAB.task(
    "What was sent again, and why?",
    why="TCP repairs losses without a word to the program, which only feels them as time. The kind says how.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    """A count for each kind; together exactly what the network's own counter says (RetransSegs)."""
    if not isinstance(answer, int | float):
        counts = {str(kind): float(n) for kind, n in mapping(answer).items() if n}
    else:
        raise Unfit("The answer is a count for each kind: a Series, such as value_counts() makes.")
    true = facts["orders.retrans"]
    kinds = {"FAST", "TIMEOUT", "LOSS_PROBE", "SYN", "SYNACK"}
    if not counts:
        return "There is nothing in it. Did tcpretrans run while the orders were sent, and in their network?"
    if not set(counts) <= kinds:
        return (
            f"The kinds are in the column `kind`, such as LOSS_PROBE; these are {', '.join(sorted(counts))}."
        )
    if sum(counts.values()) != true:
        return (
            f"These are {sum(counts.values()):.0f} segments; the network's own counter says something else."
        )
    return None


@LAB.task(
    "Where did the packets go: for which reason were those of the orders dropped, and how many?",
    why="Most drops are no faults: what is old, closed or unwanted goes this way, too. The reason tells them apart.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unfit('The answer has two parts: ("REASON", number).')
    reason, count = text(answer[0]).removeprefix("SKB_DROP_REASON_"), number(answer[1])
    lost = facts["orders.lost"]
    if reason == "TC_INGRESS":
        if count == lost:
            return None
        if count == facts["orders.retrans"]:
            return "The reason is right. That many were sent again, some of them for nothing. How many were lost?"
        return f"The reason is right, the number is not: how many rows have it? {count:,} is not it."
    if reason in ("QUEUE_PURGE", "SOCKET_CLOSE", "TCP_CLOSE"):
        return f"{reason} is what remains in queues when a connection ends. The orders were lost before that."
    if reason in ("TCP_OLD_DATA", "TCP_OLD_SEQUENCE", "TCP_OFO_DROP"):
        return f"{reason}: that arrived a second time, and was not needed. What was lost the first time?"
    if reason in ("NOT_SPECIFIED", "NO_SOCKET"):
        return f"{reason} is not about the orders: look at `dport` and `len` of those rows."
    return f"'{reason}' is not the reason. Look at packets to port 8080 that carry data, and where they were dropped."


@LAB.task(
    "Your own tcpconnect: how long did each connection take to open?",
    why="One tracepoint sees all changes: states and a clock are most of what TCP tools are made of.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    """A row for each connection that was opened; exactly one took between 1 and 1.5 s."""
    table = frame(answer)
    if "took" not in table.columns:
        raise Unfit(
            "The answer is the frame of your events: a row for each connection, with a column `took`."
        )
    connects, refused = facts["connect2.connects"], facts["connect2.refused"]
    if len(table) == 0:
        return (
            "There are no rows. Did the workload run after the cell? Is SYN_SENT noted, and does "
            "a row come when SYN_SENT is left?"
        )
    if len(table) == connects + refused:
        return "Refused ones are in it, too: a connection is open when its new state is ESTABLISHED."
    if len(table) == 2 * connects:
        return "Both ends are in it. The end that asks comes from SYN_SENT, the other from SYN_RECV."
    if len(table) != connects:
        return f"{len(table):,} rows are too {'many' if len(table) > connects else 'few'}."
    took = table["took"]
    if (took > 60e9).any():
        return "These are moments, not durations: subtract the moment at which SYN_SENT began from now."
    slow = int((took > 9e8).sum())
    if slow != 1 or took.max() > 1.5e9:
        return "The number of rows is right, the times are not: one took a good second, in nanoseconds."
    return None
