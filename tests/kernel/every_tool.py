"""Every ready-made tool at once, and one workload of which nearly all of them have something to tell."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from allocating import program
from loops import loop_device, make_ext4, own_mounts
from tcp_path import PATH
from test_tool_dns import started as serve_names
from test_tool_locks import HOLD
from test_tool_oomkill import small_cgroup
from test_tool_userspace import SCRIPT, trampolines
from tooling import Doer
from workloads import Worker, await_true, probe_library

from bpfnb import tools
from bpfnb.errors import KernelFeatureMissing

__all__ = ["Workload", "options_of"]


class Workload:
    """Processes whose doings all tools look at. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        enter = self._stack.enter_context
        self.disk = enter(loop_device(folder))
        make_ext4(self.disk)
        (folder / "mounted").mkdir()
        self.worker = enter(Worker())
        own_mounts(self.worker)
        self.worker.run(f"mount('{self.disk}', '{folder / 'mounted'}', 'ext4')")
        self.worker.run(f"lib = ctypes.CDLL({str(probe_library())!r})")
        self.locker = enter(Worker())
        self.locker.run(HOLD.replace("PATH", repr(str(folder / "held"))))
        self.net = enter(Worker(netns=True))
        serve_names(self.net, 10)
        self.net.run(PATH)
        self.allocator = enter(Doer(program()))
        (folder / "walk.py").write_text(SCRIPT)
        self.python: Doer | None = None
        with contextlib.suppress(pytest.skip.Exception):  # no CPython here keeps a perf map
            self.python = enter(Doer(*trampolines(), folder / "walk.py"))
            assert self.python.process.stdout is not None
            self.python.process.stdout.readline()

    @property
    def space(self) -> str:
        return f"/proc/{self.net.pid}/ns/net"

    def run(self) -> None:
        """All of it, the same each time. Nothing goes on afterwards."""
        run = self.worker.run
        there = self.folder / "mounted"
        run("getppid(50); lib.work(20); faults(20); libc.lrand48(); libc.usleep(2000); burn(0.2)")
        run(
            f"""
writes("{there}/file", [4096] * 100)
fd = os.open("{there}", os.O_RDONLY)
libc.syncfs(fd)
mount("none", "{there}", "tmpfs"), libc.umount(b"{there}")
os.write(os.open("{there}/file", os.O_WRONLY), b"dirty")
file = os.open("{there}/file", os.O_RDWR | os.O_DIRECT)
memory = mmap.mmap(-1, 4096)
os.fsync(file), os.preadv(file, [memory], 0), os.close(file)
os.posix_fadvise(os.open("{there}/file", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
open("{there}/file").read(), os.stat("{there}/file"), os.unlink("{there}/file")
try:
    os.open("/no/such/file", os.O_RDONLY)
except OSError:
    pass
signal.signal(signal.SIGUSR1, lambda *_: None), os.kill(os.getpid(), signal.SIGUSR1)
open("/proc/sys/vm/compact_memory", "w").write("1")
"""
        )
        run(
            "child = os.fork()\nif not child: os.setuid(65534) or os.execv('/bin/true', ['true', 'one', 'two'])\nos.waitpid(child, 0)"
        )
        run("child = os.fork()\nif not child: os.abort()\nos.waitpid(child, 0)")
        self.locker.run("contended(5)")
        run("open('/dev/kmsg', 'w').write('bpfnb: every tool')")
        for code in ("tcp(3, payload=b'x' * 5000)", "udp(3)", "ask('www.example.com', 1)"):
            self.net.run(code)
        self.net.run("kept = socket.create_server(('127.0.0.1', 0))")
        self.net.run("lost = socket.socket(type=socket.SOCK_DGRAM); lost.sendto(b'x', ('127.0.0.1', 9))")
        for word in ("leak", "contend", "change", "touch", "signal"):
            self.allocator.do(word, 5)
        if self.python is not None:
            self.python.do("outer", 30)
        self._lose()
        self._starve()

    def _lose(self) -> None:
        """A segment that has to be sent again."""
        self.net.run(
            "server, client, peer = connected(); drop = lambda packet: True; client.sendall(b'x' * 10)"
        )
        await_true(lambda: self.net.call("len(dropped)") > 1)
        self.net.run(
            "drop = lambda packet: False; take(peer, 10); client.close(), peer.close(), server.close()"
        )

    def _starve(self) -> None:
        """A process that is killed for memory, where there are cgroups of memory."""
        code = "data = []\nwhile True: data.append(bytearray(b'x') * (1 << 20))"
        with contextlib.suppress(pytest.skip.Exception), small_cgroup() as group:
            subprocess.run(
                [sys.executable, "-c", code],
                preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def options_of(name: str, work: Workload) -> dict[str, Any]:
    """What the tool *name* is given so that it sees the workload and nobody else, as far as it can.

    Raises KernelFeatureMissing for one that has nothing to look at on this machine.
    """
    worker, net = {"pid": work.worker.pid}, {"netns": work.space}
    library = probe_library()
    known: dict[str, dict[str, Any]] = {
        "trace": {"event": ["syscalls:sys_enter_getppid", "sched:sched_process_fork"], **worker},
        "stackcount": {"event": ["syscalls:sys_enter_getppid"], **worker},
        "funccount": {"function": "libc.so.6:lrand48", **worker},
        "funclatency": {"function": "libc.so.6:usleep", **worker},
        "uprobe": {"function": f"{library}:bpfnb_step", **worker},
        "usdt": {"probe": f"{library}:bpfnb:tick", **worker},
        "fileslower": {"min_ms": 0, **worker},
        "profile": {"frequency": 499, **worker},
        "klocks": {"pid": work.locker.pid},
        "forks": worker,
        "signals": worker,
        "cpuidle": {},
        "bpftop": {},
        "writeback": {},
        "kmsg": {"level": "debug"},
        "execsnoop": {"ppid": work.worker.pid, "add": ["user", "parent"]},
        "exitsnoop": {},
        "oomkill": {},
        "crash": {},
        "tcpdrop": net,
        **{
            key: {"pid": work.allocator.pid}
            for key in ("memleak", "mallocs", "mutexes", "faults", "mmapsnoop", "futex")
        },
    }
    if name == "pycalls":
        if work.python is None:
            raise KernelFeatureMissing("no CPython here keeps a perf map")
        return {"pid": work.python.pid, "latency": True}
    if name in known:
        return known[name]
    return net if tools.find(name).family == "network" else worker
