"""Lab 9: who talks to whom. A town of services that call one another, and sensors that send to a collector."""

from __future__ import annotations

import json
from typing import Any

from bpfnb.lab.answers import Unfit, mapping, number, text, texts
from bpfnb.lab.facts import Facts
from bpfnb.lab.sources import networked
from bpfnb.lab.tasks import Lab
from bpfnb.lab.workloads import Making

LAB = Lab("lab09", "Who talks to whom: flows and a service map", minutes=50)
SENSORS = 6001, 6002, 6003, 6004
ROUNDS = 30


@LAB.workload("visit")
def visit(make: Making) -> None:
    sizes = {
        "pages": make.random.randint(25, 35),
        "stock": make.random.randint(5, 8),
        "prices": make.random.randint(2, 3),
        "slow": make.random.choice(["stock", "prices"]),
    }
    networked(make, "town", "visit", json.dumps(sizes))
    make.tell(pages=sizes["pages"])
    make.keep(stock=sizes["stock"], prices=sizes["prices"], slow=sizes["slow"])


@LAB.workload("chatter2")
@LAB.workload("chatter")
def chatter(make: Making) -> None:
    sends = [make.random.randint(4, 9) for _ in SENSORS]
    loud, burst = make.random.choice(SENSORS), make.random.randint(300, 500)
    networked(make, "town", "chatter", json.dumps({"sends": sends, "loud": loud, "burst": burst}))
    counts = {
        str(port): ROUNDS * each + (burst if port == loud else 0)
        for port, each in zip(SENSORS, sends, strict=True)
    }
    make.keep(counts=counts, loud=loud, usual=dict(zip(counts, sends, strict=True))[str(loud)], burst=burst)


@LAB.task(
    "Whom does the shop depend on?",
    why="Nobody had to tell: no configuration, no agent, no library in the services. Sockets know their processes.",
)
def task1(answer: Any, facts: Facts) -> str | None:
    names = texts(answer)
    facts["visit.pages"]
    true = {"stock", "prices", "log"}
    if names == true:
        return None
    if "web" in names:
        return "The web server depends on the shop, not the other way round: `source` asks, `target` answers."
    if names & {"search", "browser"}:
        return f"{', '.join(sorted(names & {'search', 'browser'}))}: not connected with the shop. Take its own rows."
    if "shop" in names:
        return "The shop itself does not count: whom does it ask?"
    if names == true - {"log"}:
        return "One is missing: the shop does not only speak TCP."
    return "That is not all of them, or others: which targets have rows with the source `shop`?"


@LAB.task(
    "How many requests does the stock get for one page of the browser?",
    why="One click becomes many requests further in. The map's numbers show such loops, no single log does.",
)
def task2(answer: Any, facts: Facts) -> str | None:
    count, pages, stock = number(answer), facts["visit.pages"], facts["visit.stock"]
    if abs(count - stock) < 0.01:
        return None
    if count == pages * stock:
        return "That is what it gets for all pages. How many are there?"
    if abs(count - facts["visit.prices"]) < 0.01 or abs(count - facts["visit.prices"] - 1) < 0.01:
        return "That is what the prices get."
    if abs(count * stock - 1) < 0.01:
        return "That is the other way round."
    return f"{count:g} is not it: the stock's `requests` divided by those of the web server."


@LAB.task(
    "Which service makes the pages slow?",
    why="Who waits for a slow one is slow as well. The cause is the one that is slow without asking anybody.",
)
def task3(answer: Any, facts: Facts) -> str | None:
    name, slow = text(answer), facts["visit.slow"]
    if name == slow:
        return None
    if name in ("web", "shop", "search"):
        return f"{name} asks others and waits for them. Follow the latency to the one that asks nobody."
    if name == "browser":
        return "The browser is who waits. Follow the latency from it, target by target."
    if name in ("stock", "prices", "log"):
        return f"Answers of {name} come at once: compare the column `latency` of those that ask nobody."
    return f"There is no service '{name}': the names are in the columns `source` and `target`."


@LAB.task(
    "Which sensor was loud, and how many datagrams did it send in all?",
    why="A sum hides a moment: what counts is the distance from the flow's own habit.",
)
def task4(answer: Any, facts: Facts) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unfit("The answer has two parts: (port, number of datagrams).")
    port, count = number(answer[0]), number(answer[1])
    loud, counts = facts["chatter.loud"], facts["chatter.counts"]
    if port == 7000:
        return "That is the collector's port, to which all send. Which port did the loud one send from?"
    if port not in SENSORS:
        return f"{port} is no sensor's port: they send from 6001 to 6004."
    if port != loud:
        return "That sensor is as regular as a clock: whose interval is farthest from what was expected?"
    if count == counts[str(loud)]:
        return None
    if facts["chatter.burst"] <= count <= facts["chatter.burst"] + 3 * facts["chatter.usual"]:
        return "The sensor is right. That is what it sent in the one loud moment: how much was it in all?"
    if count == sum(counts.values()):
        return "The sensor is right. That is what all four have sent."
    return "The sensor is right, the number is not: `tx_packets` of its row in the flows."


@LAB.task(
    "Your own table of flows: how many datagrams did each sensor send?",
    why="A key and two counters are a flow table: routers, billing and service maps begin with this program.",
)
def task5(answer: Any, facts: Facts) -> str | None:
    """Exact, by the port that they were sent from."""
    given = {int(port): int(n) for port, n in mapping(answer).items() if n}
    true = {int(port): n for port, n in facts["chatter2.counts"].items()}
    if given == true:
        return None
    if not given:
        return "The table is empty. Did the sensors begin after the cell, and which packets does the program count?"
    if set(given) == {7000}:
        return "That is the port to which all send. Take the port that they send from: `source` of the UDP header."
    if any(socket_port(port) in true for port in given):
        return (
            "The ports' bytes are the wrong way round: what comes from the network goes through bpf_ntohs()."
        )
    if set(given) >= set(true) and all(given[port] == n for port, n in true.items()):
        return "The sensors are right, but there is more: only UDP (protocol 17) to port 7000 belongs in it."
    if set(given) == set(true):
        per = {given[port] / n for port, n in true.items()}
        if min(per) > 1.9:
            return "Each was counted more than once, or its bytes were: add one for each datagram."
        return "The ports are right, the numbers are not: is every datagram added, also the first of a flow?"
    return f"The ports are {', '.join(map(str, sorted(given)[:6]))}: the sensors send from 6001 to 6004."


def socket_port(port: int) -> int:
    """A port with its two bytes exchanged."""
    return (port & 0xFF) << 8 | port >> 8
