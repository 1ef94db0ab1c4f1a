"""The town of lab 9: services that call one another, in a network of their own.

town.py STEP SIZES      SIZES: JSON of the numbers that it works with

visit      a browser asks the web server for ``pages``. The web server asks the shop and the search; the shop asks the
           stock ``stock`` times and the prices once, and writes a line to a log; the search asks the prices ``prices``
           times. The one that is called ``slow`` takes its time for each answer
chatter    four sensors send as many datagrams as ``sends`` says every twentieth of a second, and ``loud`` sends
           ``burst`` more of them in one of those moments

It says that it is ready, waits for a line, does the step and ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PORTS = {"web": 8080, "shop": 5000, "search": 5001, "stock": 5002, "prices": 5003}
LOG, COLLECTOR, SENSORS = 514, 7000, (6001, 6002, 6003, 6004)
ROUNDS, LOUD_ROUND = 30, 20


def mortal() -> None:
    """Who made this process does not leave it behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def called(name: str) -> None:
    Path("/proc/self/comm").write_text(name)


def server(name: str, work: Callable[[Callable[[], object]], object]) -> int:
    """A process of that name. It is ready once it calls what *work* is given."""
    ears, mouth = os.pipe()
    child = os.fork()
    if not child:
        mortal()
        called(name)
        sys.stdin.close()
        work(lambda: os.write(mouth, b"."))
        os._exit(0)
    os.close(mouth)
    if not os.read(ears, 1):
        raise RuntimeError(f"{name} did not start")
    os.close(ears)
    return child


def dialled(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def ask(to: socket.socket) -> None:
    to.sendall(b"how many of this, and how much?\n")
    while not to.recv(65536).endswith(b"\n"):
        pass


def service(
    name: str, size: int, *, asks: dict[str, int], delay: float = 0, logs: bool = False
) -> Callable[[Callable[[], object]], None]:
    """It answers each line with so many bytes, after it has asked others so often and worked for a while."""

    def talk(peer: socket.socket) -> None:
        others = {other: dialled(PORTS[other]) for other in asks}
        log = socket.socket(type=socket.SOCK_DGRAM)
        with peer, peer.makefile("rb") as lines:
            for _ in lines:
                for other, times in asks.items():
                    for _ in range(times):
                        ask(others[other])
                if delay:
                    time.sleep(delay)  # its work
                if logs:
                    log.sendto(b"one more was served\n", ("127.0.0.1", LOG))
                peer.sendall(b"x" * (size - 1) + b"\n")

    def work(ready: Callable[[], object]) -> None:
        with socket.create_server(("127.0.0.1", PORTS[name])) as listener:
            ready()
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    return work


def receiver(port: int) -> Callable[[Callable[[], object]], None]:
    def work(ready: Callable[[], object]) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as mailbox:
            mailbox.bind(("127.0.0.1", port))
            ready()
            while True:
                mailbox.recv(2048)

    return work


def visit(sizes: dict[str, Any]) -> tuple[list[int], Callable[[], object]]:
    delay = {name: 0.004 if name == sizes["slow"] else 0 for name in ("stock", "prices")}
    servers = [
        server("log", receiver(LOG)),
        server("stock", service("stock", 100, asks={}, delay=delay["stock"])),
        server("prices", service("prices", 100, asks={}, delay=delay["prices"])),
        server("search", service("search", 500, asks={"prices": sizes["prices"]})),
        server("shop", service("shop", 300, asks={"stock": sizes["stock"], "prices": 1}, logs=True)),
        server("web", service("web", 2000, asks={"shop": 1, "search": 1})),
    ]
    called("browser")

    def browse() -> None:
        with dialled(PORTS["web"]) as web:
            for _ in range(sizes["pages"]):
                ask(web)

    return servers, browse


def chatter(sizes: dict[str, Any]) -> tuple[list[int], Callable[[], object]]:
    servers = [server("collector", receiver(COLLECTOR))]
    called("sensors")

    def send() -> None:
        sensors = {port: socket.socket(type=socket.SOCK_DGRAM) for port in SENSORS}
        for port, sensor in sensors.items():
            sensor.bind(("127.0.0.1", port))
        for number in range(ROUNDS):
            time.sleep(0.05)  # a clock's beat: this is what is measured
            for (port, sensor), sends in zip(sensors.items(), sizes["sends"], strict=True):
                loud = number == LOUD_ROUND and port == sizes["loud"]
                for _ in range(sends + (sizes["burst"] if loud else 0)):
                    sensor.sendto(b"21.5 degrees", ("127.0.0.1", COLLECTOR))

    return servers, send


def main(step: str, sizes: str) -> None:
    mortal()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "a network of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607
    servers, work = {"visit": visit, "chatter": chatter}[step](json.loads(sizes))
    print("ready", flush=True)
    if sys.stdin.readline():
        work()
    for child in servers:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


main(*sys.argv[1:])
