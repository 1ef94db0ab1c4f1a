"""From a cell's text to attached programs: changed against bcc, unchanged against the system calls alone."""

from __future__ import annotations

import os
import statistics
import threading
import time

import bpfnb
from bench.peers import bcc
from bench.report import line

ROUNDS = 7
CELL = """
struct {{ __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, u32); __type(value, u64); }} calls SEC(".maps");
SEC("tracepoint/raw_syscalls/sys_enter") int count(struct trace_event_raw_sys_enter *ctx)
{{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 one = {number}, *n = bpf_map_lookup_elem(&calls, &pid);
    if (n) __sync_fetch_and_add(n, 1); else bpf_map_update_elem(&calls, &pid, &one, BPF_ANY);
    return 0;
}}
"""
BCC_CELL = """
BPF_HASH(calls, u32, u64);
TRACEPOINT_PROBE(raw_syscalls, sys_enter)
{{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 one = {number}, *n = calls.lookup(&pid);
    if (n) __sync_fetch_and_add(n, 1); else calls.update(&pid, &one);
    return 0;
}}
"""
# Time inside bpf(2), perf_event_open(2) and ioctl(2) of one thread, summed in the kernel.
CLOCK = """
volatile u32 thread = 0;
volatile u64 spent_ns = 0, calls = 0;
u64 entered;
static bool mine(long id)
{{
    return (u32)bpf_get_current_pid_tgid() == thread && (id == {bpf} || id == {perf} || id == {ioctl});
}}
SEC("tp_btf/sys_enter") int BPF_PROG(enter, struct pt_regs *regs, long id)
{{
    if (mine(id)) entered = bpf_ktime_get_ns();
    return 0;
}}
SEC("tp_btf/sys_exit") int BPF_PROG(leave, struct pt_regs *regs, long ret)
{{
    if (entered && (u32)bpf_get_current_pid_tgid() == thread) {{
        spent_ns += bpf_ktime_get_ns() - entered;
        calls++;
        entered = 0;
    }}
    return 0;
}}
"""
NUMBERS = {
    "x86_64": {"bpf": 321, "perf": 298, "ioctl": 16},
    "aarch64": {"bpf": 280, "perf": 241, "ioctl": 29},
}


def _load(number: int, name: str) -> float:
    start = time.perf_counter()
    obj = bpfnb.load(CELL.format(number=number), name=name, watchdog=None)
    spent = time.perf_counter() - start
    obj.close()
    return spent


def cells() -> None:
    """Cell to attached."""
    _load(0, "bench_cell")  # makes the precompiled header where there is none yet
    salt = time.time_ns() % 1_000_000
    changed = [_load(salt + n, "bench_cell") for n in range(1, ROUNDS + 1)]
    theirs = []
    for n in range(3):
        start = time.perf_counter()
        b = bcc().BPF(text=BCC_CELL.format(number=salt + n))
        theirs.append(time.perf_counter() - start)
        b.cleanup()
    with bpfnb.load(CLOCK.format(**NUMBERS[os.uname().machine]), name="bench_clock", watchdog=None) as clock:
        clock.vars.thread = threading.get_native_id()
        unchanged, alone = [], []
        for _ in range(ROUNDS):
            before = int(clock.vars.spent_ns)
            start = time.perf_counter()
            obj = bpfnb.load(CELL.format(number=salt + 1), name="bench_cell", watchdog=None)
            unchanged.append(time.perf_counter() - start)
            alone.append((int(clock.vars.spent_ns) - before) / 1e9)
            obj.close()
    mine, peer = statistics.median(changed), statistics.median(theirs)
    line(
        "changed cell to attached",
        f"{mine * 1e3:.0f} ms",
        f"bcc {peer * 1e3:.0f} ms",
        mine / peer,
        0.4,
        at_most=True,
    )
    warm, calls = statistics.median(unchanged), statistics.median(alone)
    line(
        "unchanged cell to attached",
        f"{warm * 1e3:.1f} ms",
        f"system calls alone {calls * 1e3:.1f} ms",
        warm / calls,
        5,
        at_most=True,
    )
