"""The slow service of lab 14: processes in a network namespace of their own.

unshare --net incident.py service SETTINGS
nsenter --net=... incident.py client SETTINGS

client -> shop -> prices (each request) and stock (orders only), over TCP on loopback. stock reads a file under a lock;
so does audit, now and then. backup computes. SETTINGS is JSON: the folder, the seed, how many requests, and how many
milliseconds audit works with the lock (``inside``) and without it (``outside``).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PORTS = {"shop": 8000, "prices": 8001, "stock": 8002}
LOCK, DATA = "stock.lock", "stock.db"


def called(name: str) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ended with its parent
    Path("/proc/self/comm").write_text(name)


def child(name: str, work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        called(name)
        work()
        os._exit(0)
    return pid


def serve(door: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    """One peer after the other: nobody here has more than one."""
    while True:
        peer, _ = door.accept()
        while request := peer.recv(100):
            peer.sendall(answer(request))
        peer.close()


def asking(name: str) -> Callable[[bytes], bytes]:
    connection = socket.create_connection(("127.0.0.1", PORTS[name]))

    def ask(request: bytes) -> bytes:
        connection.sendall(request)
        return connection.recv(100)

    return ask


def locked() -> int:
    file = os.open(LOCK, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def unlock(file: int) -> None:
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def in_stock(_: bytes) -> bytes:
    file = locked()
    number = Path(DATA).read_bytes()
    unlock(file)
    return number


def shop(door: socket.socket) -> None:
    prices, stock = asking("prices"), asking("stock")
    serve(door, lambda request: prices(request) + (stock(request) if request == b"order" else b""))


def audit(inside: float, outside: float) -> None:
    while True:
        file = locked()
        time.sleep(inside / 1000)
        unlock(file)
        time.sleep(outside / 1000)


def backup() -> None:
    """Busy for a third of the time, and innocent."""
    while True:
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        time.sleep(0.01)


def service(settings: dict[str, Any]) -> None:
    called("service")
    os.chdir(settings["folder"])
    Path(LOCK).touch()
    Path(DATA).write_bytes(b"17 cakes")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607
    doors = {name: socket.create_server(("127.0.0.1", port)) for name, port in PORTS.items()}
    child("prices", lambda: serve(doors["prices"], lambda _: b"3 coins "))
    child("stock", lambda: serve(doors["stock"], in_stock))
    child("shop", lambda: shop(doors["shop"]))
    print("ready", flush=True)
    if sys.stdin.readline():
        child("audit", lambda: audit(settings["inside"], settings["outside"]))
        child("backup", backup)
        signal.pause()  # all stay as long as somebody looks at them


def client(settings: dict[str, Any]) -> None:
    called("client")
    chance = random.Random(settings["seed"])  # noqa: S311
    kinds = ["order"] * settings["orders"] + ["list"] * (settings["requests"] - settings["orders"])
    chance.shuffle(kinds)
    ask = asking("shop")
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    times: dict[str, list[float]] = {"order": [], "list": []}
    for kind in kinds:
        begin = time.perf_counter()
        ask(kind.encode())
        times[kind].append(time.perf_counter() - begin)
    # The typical order and the typical list: a request that the machine held up is not the service's fault.
    mean = sum(len(each) * statistics.median(each) for each in times.values()) / len(kinds)
    print(json.dumps({"mean": round(1e9 * mean)}), flush=True)


{"service": service, "client": client}[sys.argv[1]](json.loads(sys.argv[2]))
