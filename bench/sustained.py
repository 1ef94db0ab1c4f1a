"""200,000 events a second while a DataFrame is taken every 100 ms: nothing lost, memory inside the frame's bound."""

from __future__ import annotations

import gc
import os
import resource
import signal
import time
from pathlib import Path

import bpfnb
from bench.peers import run_program
from bench.report import line, note
from bench.rings import EVENT, FILL
from bpfnb.kernel import syscall

RATE = 200_000
RING = f"""
struct event {{ {EVENT} }};
struct {{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, {1 << 22}); }} events SEC(".maps");
SEC("xdp") int fill(struct xdp_md *ctx)
{{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    {FILL}
    bpf_ringbuf_submit(e, 0);
    return 0;
}}
"""


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def producer(fd: int, seconds: float) -> int:
    """A child that emits RATE events a second in small bursts; returns its pid."""
    child = os.fork()
    if child:
        return child
    start, sent, total = time.monotonic(), 0, int(RATE * seconds)
    while sent < total:
        due = min(int((time.monotonic() - start) * RATE), total) - sent
        if due > 0:
            run_program(fd, due)
            sent += due
        time.sleep(0.0005)
    os._exit(0)


def sustained(seconds: float = 60.0) -> None:
    """10 s for losses and CPU, the rest for memory."""
    with bpfnb.load(RING, name="bench_sustained", attach=False, watchdog=None) as obj:
        stream = obj.streams["events"]
        gc.collect()
        resident = _resident()
        child = producer(syscall.fd_by_id(syscall.OBJ_PROGRAM, obj.programs["fill"].info.id), seconds)
        try:
            start, used = time.monotonic(), time.process_time()
            slowest, frames, reported = 0.0, 0, False
            while time.monotonic() - start < seconds:
                before = time.perf_counter()
                rows = len(stream.df)
                slowest, frames = max(slowest, time.perf_counter() - before), frames + 1
                if not reported and time.monotonic() - start >= min(10.0, seconds):
                    reported = True
                    share = (time.process_time() - used) / (time.monotonic() - start)
                    line(
                        "lost of 200,000 events/s for 10 s",
                        f"{stream.lost} lost",
                        f"{stream.total} received",
                        float(stream.lost),
                        0,
                        at_most=True,
                    )
                    note(
                        f"CPU share of the process {share:.0%}; {frames} frames, the last of {rows:,} rows; "
                        f"slowest frame {slowest * 1e3:.0f} ms"
                    )
                time.sleep(max(0.0, 0.1 - (time.perf_counter() - before)))
        finally:
            os.kill(child, signal.SIGTERM) if os.waitpid(child, os.WNOHANG)[0] == 0 else None
        gc.collect()
        grown, bound = _resident() - resident, stream.limit().nbytes
        line(
            f"memory after {seconds:.0f} s",
            f"{grown >> 20} MB more",
            f"the frame's bound {bound >> 20} MB",
            grown / bound,
            1,
            at_most=True,
        )
        note(
            f"peak resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB; "
            f"{stream.total:,} events, {stream.lost} lost in all"
        )
