"""Lab 11: XDP. A flood arrives at a shop, between network namespaces, while a customer orders over one connection."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bpfnb.lab.answers import hooked, mapping, member, text
from bpfnb.lab.facts import Facts
from bpfnb.lab.places import PROGRAMS
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab11", "XDP: dropping a flood while a connection survives", minutes=60)

BATCH, LIMIT, QUESTIONS = 50, 100, 50
CUSTOMER = "10.11.0.2"


def _wave(make: Making, port: int, flood: dict[str, int]) -> None:
    """Two processes, each in a network namespace of its own, with a link between; the flood is bounded."""
    command: list[str | Path] = ["unshare", "--net", sys.executable, "-I", "-S", PROGRAMS / "flood.py"]
    outside = make.process([*command, "internet", json.dumps([port, flood])])
    shop = make.process([*command, "shop", str(outside.pid)], background=True)
    make.tell(pid=shop.pid, network=f"/proc/{shop.pid}/ns/net", interface="front", flood=sum(flood.values()))
    make.keep(sources=flood, port=port, batches=sum(flood.values()) // BATCH)


def _some(make: Making, low: int, high: int) -> int:
    return BATCH * make.random.randint(low // BATCH, high // BATCH)


@LAB.workload()
def crude(make: Making) -> None:
    """All from one source, to a port where nobody is."""
    _wave(make, 9, {"10.11.0.66": _some(make, 3_000, 5_000)})


@LAB.workload("clever")
def clever(make: Making) -> None:
    """From three sources, to the port where questions are answered."""
    _wave(make, 53, {f"10.11.0.{66 + n}": _some(make, 500 * (3 - n), 500 * (4 - n)) for n in range(3)})


def _served(facts: Facts, part: str) -> str | None:
    """What became of the customer, where that is not well."""
    if not facts[f"{part}alive"]:
        return (
            "The flood is gone, and so is the customer's connection: TCP has to pass (`return XDP_PASS` for all that "
            "is not meant). Start the workload anew, load the corrected cell, and let it run."
        )
    if facts[f"{part}answers"] < QUESTIONS:
        return (
            f"The customer asked {QUESTIONS} questions over UDP, and got {facts[f'{part}answers']} answers: what is "
            "not the flood has to pass, also when it is UDP."
        )
    return None


@LAB.task(
    "What becomes of the flood without XDP?",
    why="The kernel finds out that nobody wants a datagram only at the end of its way: after a buffer, the IP stack "
    "and the search for a socket, and then it may even answer. XDP is asked before all of that.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    reason = text(answer).upper().removeprefix("SKB_DROP_REASON_")
    if reason == "NOT_SPECIFIED":
        return (
            "That means that nobody wrote a reason down. Which reason has about as many packets as the flood?"
        )
    if reason in ("NO_SOCKET", "UDP_NO_SOCKET"):
        return None
    return f"`{reason}` is not it: `drops.reasons` counts each reason, and one of them about {facts['flood']:,} times."


@LAB.task(
    "How many packets of which protocol?",
    why="Programs for packets begin like this: look as far into the packet as the answer needs, prove each step to the "
    "verifier, and count. A flood shows as a number out of all proportion.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    counts = {int(key): int(value) for key, value in mapping(answer).items()}
    udp = facts["flood"] + QUESTIONS
    if not counts:
        return "The map is empty: was the workload run after the cell was loaded, at `front` in the shop's namespace?"
    if 17 not in counts:
        return f"There is no protocol 17 (UDP) among {sorted(counts)}. It is the field `protocol` of `struct iphdr`."
    if counts[17] == facts["flood"]:
        return "The customer's questions are UDP, too."
    if counts[17] != udp:
        return (
            f"{counts[17]:,} is not how many UDP packets came to the shop in one run. Load the cell and start the "
            "workload anew: is each packet counted once, and only those of IPv4?"
        )
    if counts.get(6, 0) < facts["batches"]:
        return "UDP is right. Where is TCP (6)? The connection has more packets than orders."
    return None


@LAB.task(
    "Drop the flood, keep the customer",
    why="Dropped before a socket buffer is made: the cheapest thing that Linux can do with a packet. And what is not "
    "named in the condition passes, so the customer noticed nothing.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    dropped = int(member(hooked(answer, "xdp"), "dropped"))
    if dropped == 0:
        return (
            "Nothing was dropped. Ports are big-endian in a packet: compare with `bpf_htons(9)`. And was the workload "
            "run after the cell was loaded?"
        )
    bad = _served(facts, "")
    if bad is not None:
        return bad
    if dropped != facts["flood"]:
        return f"{dropped:,} packets were dropped, and the flood had {facts['flood']:,}."
    return None


@LAB.task(
    "Who sends?",
    why="Now the flood uses the port that the customers need; the port tells nothing any more, the source does. A map "
    "with a key of four bytes is a table of all sources, and it is bounded: it can be filled by who forges addresses.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    counts = {str(key): int(value) for key, value in mapping(answer).items()}
    right = {**facts["clever.sources"], CUSTOMER: QUESTIONS}
    if not counts:
        return "The map is empty: count each UDP packet by `ip->saddr`, and run the workload after the cell was loaded."
    if not any("." in key for key in counts):
        return "The keys are numbers: declare the key as `ipv4_t`, and the frame shows addresses."
    swapped = {".".join(reversed(address.split("."))) for address in right}
    if {*counts} & swapped - {*right}:
        return "The addresses are written from behind: they are big-endian in the packet, and `ipv4_t` expects them so."
    if {*counts} == {"10.11.0.1"}:
        return "That is the shop: the packets go to it. Whom do they come from?"
    if counts.get(CUSTOMER, 0) > QUESTIONS:
        return "The customer's orders over TCP are counted too: only UDP is asked for."
    if CUSTOMER not in counts and {*counts} == {*facts["clever.sources"]}:
        return "One who sends is missing: the customer's questions are UDP to the same port."
    if counts != right:
        return "These are not the sources and numbers of one run: start the workload anew after the cell was loaded."
    return None


@LAB.task(
    "A limit for each source",
    why="No list of the wicked is needed: each source has an allowance, the customer stays below it. With a moment in "
    "the value, and allowances that grow with time, this is a token bucket, as those who defend networks use it.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    dropped = int(member(hooked(answer, "xdp"), "dropped"))
    if dropped == 0:
        return "Nothing was dropped: is the number of the source looked at after it was counted up, against the limit?"
    bad = _served(facts, "clever.")
    if bad is not None:
        return bad
    flood = facts["clever.sources"]
    right = sum(count - LIMIT for count in flood.values())
    if dropped == sum(flood.values()) - LIMIT or dropped == sum(flood.values()) + QUESTIONS - LIMIT:
        return f"That is a limit of {LIMIT} for all sources together: count each source in its own entry of the map."
    if abs(dropped - right) in (len(flood), 2 * len(flood)):
        return f"Off by {abs(dropped - right) // len(flood)} for each source: of each exactly the first {LIMIT} pass."
    if dropped != right:
        return f"{dropped:,} were dropped. Of each source the first {LIMIT} datagrams pass, and all others are dropped."
    return None
