"""The service of this investigation and its client, each in a network of its own, with a cable between; its troubles.

In a notebook::

    service = orders.Service("lock")     # or "disk", "network", None: nothing is wrong
    service.run()                        # the client makes its requests, one after the other
    service.close()

Only the first line of each case says what is wrong. In replay nothing is started.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ADDRESS, PORT = "10.12.0.1", 8000
REQUESTS, ANSWER = 120, 6_000
TROUBLES = (None, "lock", "disk", "network")
LOSS = """
u64 answers;

SEC("xdp") int cable(struct xdp_md *ctx)    /* a bad plug: now and then the last packet of an answer is lost */
{
    struct ethhdr *eth = (void *)(long)ctx->data;
    struct iphdr *ip = (void *)(eth + 1);
    struct tcphdr *tcp = (void *)(ip + 1);

    if ((void *)(tcp + 1) > (void *)(long)ctx->data_end || ip->protocol != IPPROTO_TCP || !tcp->psh)
        return XDP_PASS;
    return ++answers % 15 ? XDP_PASS : XDP_DROP;
}
"""


class Service:
    """Two processes: ``server`` and ``client`` are their pids, ``network`` is the server's network namespace."""

    def __init__(self, trouble: str | None = None) -> None:
        import bpfnb

        # In replay nobody is there. The numbers only tell a case's tools from those of the others.
        self.server = self.client = 1 + TROUBLES.index(trouble)
        self.network = f"/proc/{self.server}/ns/net"
        self._processes: list[subprocess.Popen[str]] = []
        self._cable = None
        if bpfnb.replaying():
            return
        # On the disk whose journal the service shares with others, not in memory.
        self._folder = tempfile.TemporaryDirectory(prefix="bpfnb-orders-", dir="/var/tmp")
        try:
            client = self._start("client")
            server = self._start("server", str(client), self._folder.name, trouble or "")
            self.server, self.client, self.network = server, client, f"/proc/{server}/ns/net"
            if trouble == "network":
                self._cable = bpfnb.load(LOSS, name="cable", interface="back", netns=client)
        except BaseException:
            self.close()
            raise

    def _start(self, *words: str) -> int:
        command = ["unshare", "--net", sys.executable, "-I", "-S", __file__, *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)
        self._processes.append(process)
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the {words[0]} did not start")
        return process.pid

    def run(self) -> None:
        """Let the client make its requests, and wait until it has made them all."""
        if self._processes:
            client, server = self._processes
            for process in (server, client):
                process.stdin.write("go\n")
                process.stdin.flush()
            if client.stdout.readline() != "done\n":
                raise RuntimeError("the client did not finish")

    def close(self) -> None:
        """End all processes; their networks, the cable and their files go with them."""
        if self._cable is not None:
            self._cable.close()
        for process in self._processes:
            process.kill()
            process.communicate()
        if self._processes:
            self._processes.clear()
            self._folder.cleanup()


def called(name: str) -> None:
    """This thread's name, as tools see it."""
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def server(other: str, folder: str, trouble: str) -> None:
    os.chdir(folder)
    ip("link", "add", "front", "type", "veth", "peer", "name", "back", "netns", other)
    ip("addr", "add", f"{ADDRESS}/24", "dev", "front")
    ip("link", "set", "front", "up")
    door = socket.create_server((ADDRESS, PORT))
    ledger = threading.Lock()
    journal = os.open("journal", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.fsync(journal)

    def serve() -> None:
        called("worker")
        peer, _ = door.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while order := peer.recv(100):
            with ledger:
                os.write(journal, order + b"\n")
            os.fdatasync(journal)
            peer.sendall(bytes(ANSWER))

    def report() -> None:
        called("report")
        while True:
            with ledger:
                time.sleep(0.02)  # adds up all orders, with the ledger locked
            time.sleep(0.01)

    def archive(number: int) -> None:
        """A neighbour: many files, each synchronised. Bounded: one at a time, for 20 s at most."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            name = f"archive.{number}"
            file = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            for part in range(8):
                os.pwrite(file, bytes(1 << 20), part << 20)
            os.fsync(file)
            os.close(file)
            Path(name).unlink()

    threading.Thread(target=serve, daemon=True).start()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    if trouble == "lock":
        threading.Thread(target=report, daemon=True).start()
    for number in range(3 if trouble == "disk" else 0):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            called("archiver")
            archive(number)
            os._exit(0)
    sys.stdin.read()


def client() -> None:
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    ip("addr", "add", "10.12.0.2/24", "dev", "back")
    ip("link", "set", "back", "up")
    with socket.create_connection((ADDRESS, PORT)) as connection:
        for number in range(REQUESTS):
            connection.sendall(f"order {number}".encode())
            left = ANSWER
            while left:
                left -= len(connection.recv(left, socket.MSG_WAITALL))
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ended with the notebook
    called({"server": "orders"}.get(sys.argv[1], sys.argv[1]))
    {"server": server, "client": client}[sys.argv[1]](*sys.argv[2:])
