"""The C programs of Debian's bcc tools, as each tool hands them to bcc: recorded in a child that then exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bpfnb.bcc.find import find_package

__all__ = ["VARIANTS", "Recorded", "record"]

# Arguments with which a tool makes another program than without; the first of each where it needs any.
VARIANTS: dict[str, list[str]] = {
    "argdist": ["-C p::do_sys_openat2(int@dfd):int:dfd", "-H r::__kmalloc(u64@size):u64:$entry(size)#1",
                "-C t:irq:irq_handler_entry():int:args->irq", "-H p:c:malloc(size_t@size):size_t:size"],
    "bashreadline": [""], "biolatency": ["", "-D", "-Q", "-F", "-e"], "biolatpcts": ["254:0"],
    "biosnoop": ["", "-Q"], "cpudist": ["", "-O", "-P"], "cpuunclaimed": [""], "dbslower": ["mysql -x /bin/bash"],
    "dbstat": ["mysql"], "deadlock": ["PID"], "dirtop": ["-d /tmp"], "execsnoop": ["", "-x", "-U"],
    "exitsnoop": ["", "-t", "-x"], "fileslower": ["", "-a"], "filetop": ["", "-a"], "funccount": ["vfs_*", "t:sched:*", "c:malloc"],
    "funcinterval": ["vfs_read"], "funclatency": ["vfs_read", "-m vfs_read", "-F vfs_read", "c:malloc"],
    "funcslower": ["vfs_read", "-U vfs_read", "-a 2 vfs_read"], "hardirqs": ["", "-d", "-C"],
    "inject": ["kmalloc -v bio_alloc_bioset()"], "klockstat": ["", "-s 3"], "llcstat": ["", "-t"],
    "memleak": ["", "-p PID", "--percpu"], "mountsnoop": [""], "mysqld_qslower": ["1"], "netqtop": ["-n lo"],
    "offcputime": ["", "-K", "-U", "-u"], "offwaketime": ["", "-u"], "oomkill": [""],
    "opensnoop": ["", "-x", "-e", "-F", "-U", "--cgroupmap /tmp/x", "-n bash", "-p 1"],
    "profile": ["", "-U", "-K", "-p 1", "-I"], "runqlat": ["", "-P", "-L", "--pidnss"], "runqlen": ["", "-O", "-C"],
    "runqslower": ["", "-P", "-p 1"], "slabratetop": [""], "sofdsnoop": [""], "softirqs": ["", "-d", "-C"],
    "stackcount": ["vfs_read", "-U vfs_read", "-P vfs_read", "t:sched:sched_switch", "c:malloc"],
    "statsnoop": ["", "-x", "-t"], "syscount": ["", "-L", "-P", "-x", "-e EPERM"], "tcpaccept": ["", "-T", "-P 80"],
    "tcpconnect": ["", "-d", "-c", "-U", "-P 80", "-L"], "tcpconnlat": ["", "-L"], "tcpdrop": [""],
    "tcplife": ["", "-L 80", "-D 80", "-w", "-4"], "tcpretrans": ["", "-l", "-c", "-s"], "tcprtt": ["", "-b", "-e", "-B"],
    "tcpstates": ["", "-w", "-L 80"], "tcpsubnet": [""], "tcpsynbl": [""], "tcptop": ["", "-p 1"],
    "tcptracer": ["", "-v"], "threadsnoop": [""], "trace": ['do_sys_openat2', 'do_sys_openat2 "%s",arg2', 'c:open "%s",arg1',
              't:sched:sched_switch "%s",args->prev_comm', 'r::vfs_read "%d",retval', 'do_nanosleep(struct@hrtimer_sleeper@*t) "task:@%x",t->task',
              "-K do_sys_openat2", "-U -t do_sys_openat2", '-I net/sock.h udpv6_sendmsg(struct@sock@*sk) "%d",sk->sk_dport'],
    "ttysnoop": ["/dev/null"], "vfsstat": ["", "-p 1"], "wakeuptime": ["", "-u"], "xfsslower": [""], "zfsslower": [""],
    "kvmexit": [""], "swapin": [""], "solisten": ["", "--show-netns"], "killsnoop": ["", "-x"], "ext4slower": ["", "-j", "0"],
}  # fmt: skip

# What a recording must not depend on: symbols, probes and terminals of this machine.
_RECORDER = """
import builtins, ctypes, io, json, os, runpy, sys
sys.path.insert(0, sys.argv[1])
import bcc, curses
def record(text, debug, flags, count, *rest):
    json.dump({"text": text.decode(), "cflags": [flags[i].decode() for i in range(count)]}, open(target, "w"))
    os._exit(0)
bcc.lib.bpf_module_create_c_from_string = record
bcc.BPF.get_kprobe_functions = staticmethod(lambda pattern: [b"vfs_read"])
bcc.BPF.ksymname = staticmethod(lambda name: 1)
kallsyms = "".join(f"ffffffff81000000 D {name}_file_operations\\n" for name in ("ext4", "btrfs", "xfs"))
kallsyms += "ffffffff81000000 D vm_zone_stat\\nffffffff81000000 D vm_node_stat\\n"
real_open = open
def fake_open(name, *a, **k):
    if str(name).startswith("/usr/share/bpfcc-tools/"):
        name = os.path.join(os.path.dirname(sys.argv[0]), "../share/bpfcc-tools", os.path.basename(name))
    return io.StringIO(kallsyms) if name == "/proc/kallsyms" else real_open(name, *a, **k)
builtins.open = fake_open
bcc.BPF._find_file = staticmethod(lambda name: name and os.path.join(os.path.dirname(sys.argv[0]).encode(), b"../share/bpfcc-tools", os.path.basename(name)))
curses.wrapper = lambda run, *arguments: run(FakeScreen(), *arguments)
class FakeScreen:
    def __getattr__(self, name):
        return lambda *a, **k: (24, 80)
target, sys.argv = sys.argv[2], sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Recorded:
    """A program: the tool's name with its arguments, the text, and the options for clang."""

    name: str
    text: str
    cflags: tuple[str, ...]


def record(tools: Path, only: Mapping[str, list[str]] | None = None) -> tuple[list[Recorded], dict[str, str]]:
    """Every distinct program, and why each tool or call without one has none. *only*: tools and their arguments."""
    calls = []
    for path in sorted(tools.glob("*-bpfcc")):
        if b"python" in path.read_bytes()[:64]:
            name = path.name.removesuffix("-bpfcc")
            variants = VARIANTS.get(name, [""]) if only is None else only.get(name, [])
            calls += [(name, path, arguments) for arguments in variants]
    with ThreadPoolExecutor(2) as pool, tempfile.TemporaryDirectory() as folder:
        found = list(pool.map(lambda item: _record(*item[1], Path(folder) / str(item[0])), enumerate(calls)))
    programs: dict[tuple[str, tuple[str, ...]], Recorded] = {}
    without = {}
    for outcome in found:
        if isinstance(outcome, Recorded):
            programs.setdefault((outcome.text, outcome.cflags), outcome)
        else:
            without[outcome[0]] = outcome[1]
    return list(programs.values()), without


def _record(name: str, path: Path, arguments: str, target: Path) -> Recorded | tuple[str, str]:
    words = [word.replace("@", " ").replace("PID", str(os.getpid())) for word in arguments.split()]
    if name == "trace" and words and not words[0].startswith("-"):
        words = [" ".join(words)]
    elif name == "trace" and words and words[0] == "-I":
        words = [*words[:2], " ".join(words[2:])]
    label = f"{name} {arguments}".strip()
    command = [
        "/usr/bin/python3",
        "-c",
        _RECORDER,
        str(find_package().parent),
        str(target),
        str(path),
        *words,
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, cwd="/tmp"
        )
    except subprocess.TimeoutExpired:
        return label, "no program within 30 s"
    if not target.exists():
        lines = (done.stderr or done.stdout).strip().splitlines()
        return label, lines[-1][:120] if lines else "exits without a program"
    recorded = json.loads(target.read_text())
    return Recorded(label, recorded["text"], tuple(recorded["cflags"]))


if __name__ == "__main__":
    from bench.distribution import bcc_tools

    programs, without = record(bcc_tools())
    print(len(programs), "programs of", len({p.name.split()[0] for p in programs}), "tools", file=sys.stderr)
    for label, why in without.items():
        print(f"{label}: {why}", file=sys.stderr)
