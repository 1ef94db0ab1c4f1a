"""Known workloads for tests on the live kernel, each in a process of its own, with exact counts.

A :class:`Worker` is a child process that runs Python code when told to, and answers when it is done. Its ``pid`` goes
into the program under test, so that others' activity on the machine is not counted.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Self

from bpfnb.compile import Source
from bpfnb.compile import compile as compile_source
from bpfnb.kernel import ids
from bpfnb.kernel.backend import LoadSettings
from bpfnb.kernel.local import LocalBackend, LocalObject
from bpfnb.kernel.system import cgroup_root

# What code in a worker may call. `result` is sent back.
_SERVER = r"""
import ctypes, errno, json, mmap, os, signal, socket, struct, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)

def getppid(n):
    for _ in range(n):
        os.getppid()

def until(path, what):
    # what(50), until there is a file; of how many
    n = 0
    while not os.path.exists(path):
        what(50)
        n += 50
    return n

def opens(path, n):
    for _ in range(n):
        os.close(os.open(path, os.O_RDONLY))

def writes(path, sizes):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for size in sizes:
        os.write(fd, b"x" * size)
    os.close(fd)

def faults(n):
    # n fresh pages, touched once each; no huge pages, which would take fewer faults
    memory = mmap.mmap(-1, n * mmap.PAGESIZE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(n):
        memory[page * mmap.PAGESIZE] = 1
    memory.close()

def tcp(n, host="127.0.0.1", payload=b""):
    # n connections on loopback, each closed by the client first; the port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, 0))
        server.listen(128)
        for _ in range(n):
            with socket.socket(family) as client:
                client.connect(server.getsockname()[:2])
                peer, _ = server.accept()
                if payload:
                    client.sendall(payload)
                    got = b""
                    while len(got) < len(payload):
                        got += peer.recv(len(payload))
                peer.close()
        return server.getsockname()[1]

def udp(n, size=16, connected=False):
    # n datagrams on loopback, each received before the next; the receiver's port
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        for _ in range(n):
            client.sendto(b"u" * size, server.getsockname())
            server.recvfrom(size)
        return server.getsockname()[1]

def burn(seconds):
    # occupies one CPU; how often the loop went round
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        rounds += 1
    return rounds

def up(name):
    # an interface of this network namespace up
    with socket.socket() as s:
        libc.ioctl(s.fileno(), 0x8914, struct.pack("16sh14x", name.encode(), 1))

def send_netlink(message):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.send(message)
        code = struct.unpack_from("=i", s.recv(4096), 16)[0]
        if code:
            raise OSError(-code, os.strerror(-code))

def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

def veth(name, peer):
    # a pair of interfaces, both up
    peer_info = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(3, peer.encode() + b"\0")
    kind = attribute(18, attribute(1, b"veth") + attribute(2, attribute(1, peer_info)))
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(3, name.encode() + b"\0") + kind
    send_netlink(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
    up(name), up(peer)

def packets(interface, n, payload=b"bpfnb-packet", kind=0x88B5):
    # n raw frames of an ether type that nothing else uses
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((interface, 0))
        frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack(">H", kind) + payload.ljust(50, b"\0")
        for _ in range(n):
            s.send(frame)

if NETNS:
    if libc.unshare(0x40000000):
        raise OSError(ctypes.get_errno(), "unshare")
    up("lo")
print("ready", flush=True)
space = globals()
for line in sys.stdin:
    space["result"] = None
    try:
        exec(json.loads(line), space)
        answer = {"result": space["result"]}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}", "errno": getattr(error, "errno", None)}
    print(json.dumps(answer), flush=True)
"""


class WorkFailed(Exception):
    """Code in a worker raised; ``errno`` is that of an OSError."""

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno


class Worker:
    """A child process that runs code on demand. A context manager; ends with the block."""

    def __init__(self, *, netns: bool = False, cgroup: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"NETNS = {netns}\n{_SERVER}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: move_to(cgroup)) if cgroup else None,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the worker did not start"

    def run(self, code: str) -> Any:
        """Run *code* to its end; the value it left in ``result``. Raises WorkFailed."""
        self.start(code)
        return self.finish()

    def start(self, code: str) -> None:
        """Begin *code*; :meth:`finish` awaits it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Any:
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise WorkFailed(answer["error"], answer["errno"])
        return answer["result"]

    def call(self, code: str) -> Any:
        """The value of one expression, run in the worker."""
        return self.run(f"result = {code}")

    @contextlib.contextmanager
    def netns(self) -> Iterator[None]:
        """This thread in the worker's network namespace."""
        with Path("/proc/thread-self/ns/net").open() as own, Path(f"/proc/{self.pid}/ns/net").open() as other:
            _setns(other.fileno())
            try:
                yield
            finally:
                _setns(own.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _setns(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def move_to(cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


@contextlib.contextmanager
def new_cgroup() -> Iterator[Path]:
    """An empty cgroup v2 directory of the test's own. Processes in it must have ended when the block ends."""
    path = Path(tempfile.mkdtemp(prefix="bpfnb-test-", dir=cgroup_root()))
    try:
        yield path
    finally:
        path.rmdir()


def load(source: str, *, name: str = "test", **settings: Any) -> LocalObject:
    """A cell compiled and loaded by itself, without the object layer above it. ``wanted=`` sets that global."""
    if "wanted" in settings:
        settings["globals"] = {"wanted": settings.pop("wanted").to_bytes(4, "little")}
    elf = compile_source(Source(source, name))
    return LocalBackend().load(elf.data, LoadSettings(name=name, **settings))


def u64(data: bytes) -> int:
    return int.from_bytes(data, "little")


def object_ids(obj: LocalObject) -> dict[str, list[int]]:
    """The kernel's ids of everything an object holds."""
    return {
        "link": obj.link_ids(),
        "program": [program.id for program in obj.programs.values()],
        "map": [info.id for info in obj.maps.values()],
    }


def left_over(held: dict[str, list[int]]) -> dict[str, list[int]]:
    """Those ids that the kernel still has after a while. Freeing waits for an RCU period."""
    return {kind: left for kind, numbers in held.items() if (left := ids.wait_gone(kind, numbers))}


def await_true(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait until *condition* holds."""
    done = threading.Event()
    for _ in range(int(timeout / 0.005)):
        if condition():
            return
        done.wait(0.005)
    raise AssertionError("the condition did not come true in time")


_LIBRARY = r"""
unsigned short bpfnb_tick_semaphore __attribute__((section(".probes"), used));

__attribute__((noinline)) int bpfnb_step(int i) { __asm__ volatile("" ::: "memory"); return i * 3; }
__attribute__((noinline)) int bpfnb_stride(int i) { __asm__ volatile("" ::: "memory"); return i * 5; }

__attribute__((noinline)) void bpfnb_tick(int i)
{
    __asm__ volatile(
        "990: nop\n"
        ".pushsection .note.stapsdt,\"\",\"note\"\n"
        ".balign 4\n"
        ".4byte 992f-991f, 994f-993f, 3\n"
        "991: .asciz \"stapsdt\"\n"
        "992: .balign 4\n"
        "993: .8byte 990b\n"
        ".8byte 0\n"
        ".8byte bpfnb_tick_semaphore\n"
        ".asciz \"bpfnb\"\n"
        ".asciz \"tick\"\n"
        ".asciz \"-4@%0\"\n"
        "994: .balign 4\n"
        ".popsection\n"
        : : "r"(i));
}

void work(int n)
{
    for (int i = 0; i < n; i++) {
        bpfnb_step(i);
        bpfnb_stride(i);
        bpfnb_tick(i);
    }
}
"""


@cache
def probe_library() -> Path:
    """A shared library whose ``work(n)`` calls bpfnb_step and bpfnb_stride and passes the USDT probe bpfnb:tick, each
    n times. Made by the system's compiler, or by ziglang's.
    """
    folder = Path(tempfile.mkdtemp(prefix="bpfnb-test-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "probes.c").write_text(_LIBRARY)
    library = folder / "libbpfnbprobes.so"
    gcc = shutil.which("gcc") or shutil.which("cc")
    command = [gcc] if gcc else [sys.executable, "-m", "ziglang", "cc"]
    subprocess.run(
        [*command, "-O1", "-g", "-shared", "-fPIC", "-o", str(library), str(folder / "probes.c")],
        check=True,
        capture_output=True,
    )
    return library
