"""The two sides of lab 11, each a process in a network namespace of its own.

unshare --net flood.py internet WAVE    has `back`: a customer (10.11.0.2), and those who flood
unshare --net flood.py shop PID         has `front`, 10.11.0.1: echoes orders (TCP, 8000), answers questions (UDP, 53)

WAVE is JSON: the port that the flood goes to, and how many datagrams from which source. PID is the process of the
other side, to which the shop makes the link. A wave is bounded: after each 50 datagrams of the flood one order goes
over the connection and comes back, so no queue can overflow.
"""

import contextlib
import ctypes
import json
import selectors
import socket
import subprocess
import sys
from pathlib import Path

SHOP, CUSTOMER = "10.11.0.1", "10.11.0.2"
BATCH, QUESTIONS, PATIENCE = 50, 50, 2.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)  # noqa: S607


def shop(other: str) -> None:
    ip("link", "add", "front", "type", "veth", "peer", "name", "back", "netns", other)
    ip("addr", "add", f"{SHOP}/24", "dev", "front")
    ip("link", "set", "front", "up")
    questions = socket.socket(type=socket.SOCK_DGRAM)
    questions.bind((SHOP, 53))
    questions.setblocking(False)
    door = socket.create_server((SHOP, 8000))
    poll = selectors.DefaultSelector()
    for readable in (questions, door):
        poll.register(readable, selectors.EVENT_READ)
    print("ready", flush=True)

    def answer() -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, who = questions.recvfrom(200)
                if data.startswith(b"question"):
                    questions.sendto(b"answer " + data[9:], who)

    while True:
        for key, _ in poll.select():
            if key.fileobj is door:
                poll.register(door.accept()[0], selectors.EVENT_READ)
                continue
            answer()
            customer = key.fileobj
            if isinstance(customer, socket.socket) and customer is not questions:
                with contextlib.suppress(OSError):
                    if order := customer.recv(100):
                        customer.sendall(order)
                        continue
                poll.unregister(customer)
                customer.close()


class Customer:
    """Orders over one connection, and questions in datagrams."""

    def __init__(self) -> None:
        self.orders = self.answers = 0
        self.alive = True
        self.asking = socket.socket(type=socket.SOCK_DGRAM)
        self.asking.bind((CUSTOMER, 0))
        self.asking.settimeout(0.05)
        self.connection = socket.socket()
        self.connection.settimeout(PATIENCE)
        try:
            self.connection.bind((CUSTOMER, 0))
            self.connection.connect((SHOP, 8000))
        except OSError:
            self.alive = False

    def order(self) -> None:
        if self.alive:
            try:
                self.connection.sendall(b"one cake")
                self.alive = len(self.connection.recv(100)) > 0
                self.orders += self.alive
            except OSError:
                self.alive = False

    def ask(self, number: int) -> None:
        self.asking.sendto(f"question {number}".encode(), (SHOP, 53))
        self.order()  # the shop answers before it takes an order, so the answer is there
        with contextlib.suppress(OSError):
            self.answers += self.asking.recv(100) == f"answer {number}".encode()

    def close(self) -> None:
        self.connection.close()
        self.asking.close()


def internet(wave: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    ip("link", "set", "lo", "up")
    port, flood = json.loads(wave)
    for address in (CUSTOMER, *flood):
        ip("addr", "add", f"{address}/24", "dev", "back")
    ip("link", "set", "back", "up")
    customer = Customer()
    sources = []
    for address, count in flood.items():
        source = socket.socket(type=socket.SOCK_DGRAM)
        source.bind((address, 0))
        sources += [source] * (count // BATCH)
    asked = 0
    for number, source in enumerate(sources):
        for _ in range(BATCH):
            with contextlib.suppress(ConnectionRefusedError):  # told so by ICMP
                source.sendto(b"x" * 100, (SHOP, port))
        if asked < QUESTIONS and number * QUESTIONS // len(sources) >= asked:
            customer.ask(asked)
            asked += 1
        else:
            customer.order()
    served = {"orders": customer.orders, "answers": customer.answers, "alive": customer.alive}
    print(json.dumps({"tell": served, "asked": asked, "batches": len(sources)}), flush=True)


ctypes.CDLL(None).prctl(1, 9)  # killed when its parent ends
Path("/proc/self/comm").write_text(sys.argv[1])
Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")  # nobody else's packets
{"shop": shop, "internet": internet}[sys.argv[1]](sys.argv[2])
