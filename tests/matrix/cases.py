"""The cases: each is given a guest, and asserts on what was seen there. NotOffered: this kernel has no such thing."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable

import pytest
from bpfnb.bpf import TOOLS

import bpfnb
import bpfnb.tools
from bpfnb.errors import VerifierError
from bpfnb.tools.needs import told
from bpfnb.vm import Vm
from bpfnb.vm.features import offers
from tests.kernel.workloads import probe_library

__all__ = ["CASES", "NotOfferedError"]

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
u64 seen = 0;
"""
TAIL = '\nchar LICENSE[] SEC("license") = "GPL";\n'
UNLINK = "touch /tmp/a; rm /tmp/a"


class NotOfferedError(Exception):
    """The kernel has no such hook or map."""


def needs(vm: Vm, hook: str) -> None:
    if not offers(vm.kernel)[hook]:
        raise NotOfferedError(hook)


def fires(section: str, *, hook: str = "", command: str = UNLINK, **options: object) -> Callable[[Vm], None]:
    """A program of this section counts what *command* makes happen."""

    def case(vm: Vm) -> None:
        if hook:
            needs(vm, hook)
        source = (
            HEAD
            + f'SEC("{section}") int go(void *ctx) {{ __sync_fetch_and_add(&seen, 1); return 0; }}'
            + TAIL
        )
        with bpfnb.load(source, name="case", on=vm, **options) as obj:
            before = obj.vars.seen
            vm.run(command)
            assert obj.vars.seen > before, f"{section} did not fire"

    return case


def lsm_denies(vm: Vm) -> None:
    needs(vm, "lsm")
    source = HEAD + 'SEC("lsm/inode_unlink") int BPF_PROG(go) { seen++; return -13; }' + TAIL
    vm.run("touch /tmp/kept", check=True)
    with bpfnb.load(source, name="case", on=vm) as obj:
        assert vm.run("rm /tmp/kept").returncode == 1
        assert obj.vars.seen == 1
    assert vm.run("rm /tmp/kept").returncode == 0


def fmod_ret_changes(vm: Vm) -> None:
    needs(vm, "fentry")
    source = HEAD + 'SEC("fmod_ret/security_inode_unlink") int BPF_PROG(go) { seen++; return -13; }' + TAIL
    vm.run("touch /tmp/kept", check=True)
    with bpfnb.load(source, name="case", on=vm):
        assert vm.run("rm /tmp/kept").returncode == 1
    assert vm.run("rm /tmp/kept").returncode == 0


def co_re_relocates(vm: Vm) -> None:
    """Compiled with another kernel's types, read with this one's."""
    source = (
        HEAD
        + """
u32 pid = 0, parent = 0;
SEC("tp_btf/sched_process_exec") int BPF_PROG(go, struct task_struct *task)
{
    parent = BPF_CORE_READ(task, real_parent, tgid);
    pid = BPF_CORE_READ(task, tgid);
    return 0;
}"""
        + TAIL
    )
    from bpfnb.compile import Source
    from bpfnb.compile import compile as compile_source
    from bpfnb.vm import kernels

    other = next(kernel for kernel in reversed(kernels.cached()) if kernel.release != vm.kernel.release)
    elf = compile_source(Source(text=source, name="case"), kernel_btf=other.btf)
    with bpfnb.load(elf, name="case", on=vm) as obj:
        made = vm.popen(["true"])
        made.wait(10.0)
        assert (obj.vars.pid, obj.vars.parent) == (made.pid, 1)


def ring_buffer(vm: Vm) -> None:
    needs(vm, "ringbuf")
    source = (
        HEAD
        + """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, u64); } events SEC(".maps");
SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx)
{
    u64 *e = bpf_ringbuf_reserve(&events, 8, 0);
    if (e) { *e = ++seen; bpf_ringbuf_submit(e, 0); }
    return 0;
}"""
        + TAIL
    )
    with bpfnb.load(source, name="case", on=vm) as obj:
        for _ in range(10):
            vm._remote.call("getpgid", 0)
        _await(lambda: len(obj.events.frame()) == 10)
        assert list(obj.events.frame().iloc[:, 0]) == list(range(1, 11))


def verifier_explains(vm: Vm) -> None:
    source = HEAD + 'SEC("tp/syscalls/sys_enter_getpgid") int go(u64 *ctx) { return *(u64 *)ctx[1]; }' + TAIL
    with pytest.raises(VerifierError) as caught:
        bpfnb.load(source, name="case", on=vm)
    assert caught.value.where is not None
    assert caught.value.where.line == source[: source.index("SEC(")].count("\n") + 1


def features_report(vm: Vm) -> None:
    found = vm.features()
    assert found["map_types"]["hash"]
    assert found["program_types"]["kprobe"]
    assert found["release"] == vm.kernel.release


WORK = "touch /tmp/a; cat /tmp/a >/dev/null; sleep 0.05; rm /tmp/a"
TCP = (
    "echo hello >/tmp/h; nc -l -p 7000 </tmp/h >/dev/null & "
    "until cat /proc/net/tcp* | grep -q ':1B58 0*:0000 0A'; do sleep 0.01; done; "
    "nc 127.0.0.1 7000 </tmp/h >/dev/null; wait"
)
"""The client begins when 7000 (0x1B58) is listened to (state 0A)."""

LISTENS = "nc -l -p 7001"
CRASHES = "sh -c 'kill -SEGV $$'; true"
STARVES = (
    "mkfifo /tmp/fifo; tail -c 90000000 </tmp/fifo >/dev/null & exec 3>/tmp/fifo; "
    "head -c 80000000 /dev/zero >&3; echo f >/proc/sysrq-trigger; wait; rm /tmp/fifo"
)
"""Who has the most memory is killed: tail, which keeps what head wrote and waits for more."""


def calls(*names: str) -> Callable[[Vm], None]:
    """What calls functions of the guest's C library: its agent does."""

    def work(vm: Vm) -> None:
        memory = vm._remote.call("calloc", 1, 64).value
        for name in names:
            vm._remote.call(name, memory)
        vm._remote.call("free", memory)

    return work


def allocates(vm: Vm) -> None:
    vm._remote.call("free", vm._remote.call("malloc", 64).value)


def fails_to_wait(vm: Vm) -> None:
    memory = vm._remote.call("calloc", 1, 64).value
    vm._remote.call("syscall", 202, memory, 0, 1)  # futex: it is not 1


Work = str | Callable[[Vm], None]
_MUTEX = ("pthread_mutex_lock", "pthread_mutex_unlock")
HOW: dict[str, tuple[dict[str, object], Work]] = {
    "capable": ({}, "mount -t tmpfs none /mnt; umount /mnt"),
    "crash": ({}, CRASHES),
    "dns": ({}, "nslookup bpfnb.example 127.0.0.1"),
    "fileslower": ({"min_ms": 0}, WORK),
    "flows": ({}, TCP),
    "funccount": ({"function": "libc.so.6:getpgid"}, calls("getpgid")),
    "funclatency": ({"function": "libc.so.6:getpgid"}, calls("getpgid")),
    "futex": ({}, fails_to_wait),
    "kmsg": ({}, "echo hello >/dev/kmsg"),
    "listening": ({}, LISTENS),
    "mallocs": ({}, allocates),
    "memleak": ({}, allocates),
    "mounts": ({}, "mount -t tmpfs none /mnt; umount /mnt"),
    "mutexes": ({}, calls(*_MUTEX)),
    "netmap": ({}, TCP),
    "oomkill": ({}, STARVES),
    "profile": ({}, "head -c 30000000 /dev/zero >/dev/null"),
    "signals": ({}, CRASHES),
    "sockets": ({}, LISTENS),
    "stackcount": ({"event": "sched:sched_switch"}, WORK),
    **{name: ({}, TCP) for name in ("tcpaccept", "tcpconnect", "tcplife", "tcpstates", "tcptop")},
    "tcpdrop": ({}, "nc -w 1 127.0.0.1 1; true"),
    "tcpprobe": ({}, TCP),
    "tcprtt": ({}, TCP),
    "trace": ({"event": "sched:sched_process_exec"}, WORK),
    "udp": ({"port": 53}, "nslookup bpfnb.example 127.0.0.1"),
    "uprobe": ({"function": "libc.so.6:getpgid"}, calls("getpgid")),
}
"""What a tool is asked, and what makes it see something; others see what WORK does."""

QUIET = frozenset(
    [
        "biolatency",
        "biosnoop",
        "biotop",
        "bitesize",
        "cachestat",
        "klocks",
        "kmemleak",
        "reclaim",
        "tcpretrans",
        "writeback",
    ]
)
"""Of which nothing happens in a small guest by itself: no disk, no loss, memory for all."""


def tool(name: str) -> Callable[[Vm], None]:
    """It has its columns, and rows of what happened in the guest."""

    def case(vm: Vm) -> None:
        options, work = HOW.get(name, ({}, WORK))
        running = getattr(bpfnb.tools, name)(on=vm, **options)
        with running:
            done = None
            if work == LISTENS:
                done = vm.popen(LISTENS)
            elif isinstance(work, str):
                vm.run(work)
            else:
                work(vm)
            if name == "dns":
                _await(lambda: len(running.unanswered(0)) > 0)
                assert set(running.unanswered(0)["name"]) == {"bpfnb.example"}
            elif name not in QUIET:
                assert running.wait(1, 20.0), "it saw nothing"
            frame = running.df
            wanted = set(running.columns)
            assert wanted <= set(frame.columns), wanted - set(frame.columns)
            if work == TCP and "comm" in frame:
                assert "nc" in set(frame["comm"]), set(frame["comm"])
            if done is not None:
                _await(lambda: 7001 in set(running.df["lport"]))
                assert 7001 in set(running.df["lport"])
                done.kill()
                done.wait(20.0)

    return case


def columns_of_processes(vm: Vm) -> None:
    """``add=`` tells of the guest's processes, and filters by user take its names."""
    with bpfnb.tools.opensnoop(on=vm, add=["parent", "cmdline", "user"], uid="root") as opens:
        process = vm.popen("touch /tmp/told; until [ -e /tmp/heard ]; do sleep 0.05; done; rm /tmp/heard")
        _await(lambda: opens.df["path"].eq("/tmp/told").any())
        frame = opens.df
        vm.run("touch /tmp/heard")
        process.wait(20.0)
        own = frame[(frame["comm"] == "touch") | frame["path"].eq("/tmp/told")]
        assert set(own["user"].dropna()) == {"root"}
        assert frame["cmdline"].notna().any()


def user_symbols(vm: Vm) -> None:
    """Functions of the guest's processes have names."""
    needs(vm, "uprobe")
    with bpfnb.tools.stackcount("uprobe:libc.so.6:getpgid", on=vm) as stacks:
        vm._remote.call("getpgid", 0)
        assert stacks.wait(1, 20.0)
        assert stacks.df["user_stack"].astype(str).str.contains("getpgid").any(), stacks.df[
            "user_stack"
        ].tolist()


def usdt(vm: Vm) -> None:
    """A program's probe, with its argument."""
    source = probe_library().with_name("probes.c")
    program = source.with_name("probes")
    main = source.with_name("main.c")
    main.write_text("void work(int); int main(void) { work(3); return 0; }")
    subprocess.run(
        [shutil.which("gcc") or "cc", "-O1", "-o", str(program), str(source), str(main)], check=True
    )
    path = vm.put(program)
    with bpfnb.tools.usdt(f"{path}:bpfnb:tick", on=vm) as ticks:
        vm.run(path, check=True)
        assert ticks.wait(3, 20.0)
        assert ticks.df["arg1"].tolist() == [0, 1, 2]
        assert set(ticks.df["comm"]) == {"probes"}


def program_of(name: str) -> Callable[[Vm], None]:
    """The program alone, of a tool whose target a guest has not."""

    def case(vm: Vm) -> None:
        made = getattr(bpfnb.tools, name)
        with (
            told(name, made.more, vm),
            bpfnb.load(TOOLS / f"{name}.bpf.c", name="case", directory=TOOLS, attach=False, on=vm) as obj,
        ):
            assert obj.programs

    return case


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def _tools() -> dict[str, Callable[[Vm], None]]:
    """Every ready-made tool."""
    others = {"pycalls": program_of("pycalls"), "usdt": usdt}
    return {f"tool {name}": others.get(name) or tool(name) for name in bpfnb.tools.names()}


CASES: dict[str, Callable[[Vm], None]] = {
    "tracepoint": fires("tracepoint/syscalls/sys_enter_unlink"),
    "raw_tp": fires("raw_tp/sched_process_exec"),
    "tp_btf": fires("tp_btf/sched_process_exec"),
    "kprobe": fires("kprobe/vfs_unlink", hook="kprobe"),
    "kretprobe": fires("kretprobe/vfs_unlink", hook="kprobe"),
    "kprobe.multi": fires("kprobe.multi/vfs_unlin*", hook="kprobe.multi"),
    "ksyscall": fires("ksyscall/unlink", hook="kprobe"),
    "fentry": fires("fentry/vfs_unlink", hook="fentry"),
    "fexit": fires("fexit/vfs_unlink", hook="fentry"),
    "fmod_ret": fmod_ret_changes,
    "lsm denies": lsm_denies,
    "perf_event": fires("perf_event", command="head -c 20000000 /dev/zero >/dev/null", frequency=99),
    "xdp": fires("xdp", command="ping -c 1 127.0.0.1", interface="lo"),
    "tc": fires("tc", command="ping -c 1 127.0.0.1", interface="lo"),
    "cgroup": fires("cgroup/sock_create", command="nc -w 1 127.0.0.1 1"),
    "ringbuf": ring_buffer,
    "CO-RE": co_re_relocates,
    "verifier": verifier_explains,
    "features": features_report,
    "add=": columns_of_processes,
    "user symbols": user_symbols,
    **_tools(),
}
