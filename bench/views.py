"""What a live view costs: Python's milliseconds an update, and the screen's frames, in a real JupyterLab and Chromium.

The table shows a stream of 200,000 events a second; beside it ``itables`` gets the newest 1,000 rows of the same frame.
The heatmap is 64 buckets by 300 columns, a new column 20 times a second; beside it a plotly ``FigureWidget`` gets the
same grid. Each has the page for itself, one after the other, in one run.

Python's time is the processor's in the thread that makes an update, all of it: ours reads what is new, counts (for the
heatmap 1,000 events), asks for losses, encodes and sends; theirs takes what was made ready for it, encodes and sends.
What both cannot go below is shown beside: ipykernel's part of one message without content at the same rate.
:mod:`bench.updates` has what the widgets themselves take, up to the comm.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.lab import Bench, opened
from bench.report import line, note
from bench.updates import updates

__all__ = ["views"]

SECONDS = 15.0
TABLE_SECONDS = 120.0
FRAME_GOAL = 25.0  # ms

PROGRAM = """
struct event { ktime_ns_t ts; u64 seq; u32 value; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 22); } events SEC(".maps");
u64 seq = 0;
SEC("xdp") int fill(struct xdp_md *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->ts = bpf_ktime_get_ns(); e->seq = __sync_fetch_and_add(&seq, 1);
    e->value = bpf_get_prandom_u32() & 63;
    __builtin_memcpy(e->comm, "benchmark", 10);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""
SETUP = f"""
import gc, json, os, statistics, threading, time
from pathlib import Path
import numpy as np
import bpfnb
from bench.peers import run_program
from bpfnb.kernel import syscall

obj = bpfnb.load('''{PROGRAM}''', name="bench", attach=False, watchdog=None, rows=500_000)
fd = syscall.fd_by_id(syscall.OBJ_PROGRAM, obj.programs["fill"].info.id)

def produce(rate, seconds):
    child = os.fork()
    if child:
        return child
    start, sent, total = time.monotonic(), 0, int(rate * seconds)
    while sent < total:
        due = min(int((time.monotonic() - start) * rate), total) - sent
        if due > 0:
            run_program(fd, due)
            sent += due
        time.sleep(0.002)
    os._exit(0)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def report(spent):
    def write():
        while True:
            time.sleep(0.5)
            times = list(spent)
            stats = dict(updates=len(times), ms=1e3 * statistics.median(times) if times else None,
                         resident=resident(), lost=obj.events.lost, total=obj.events.total)
            Path("stats.tmp").write_text(json.dumps(stats))
            Path("stats.tmp").rename("stats.json")
    threading.Thread(target=write, daemon=True).start()
"""
TABLE = """
view = obj.events.table(hz=10)
view
"""
ITABLE = """
from itables.widget import ITable
spent = []
view = ITable(obj.events.df.tail(1000))
def feed():
    while True:
        frame = obj.events.slice(obj.events.total - 1000)
        start = time.thread_time()
        view.update(frame)
        spent.append(time.thread_time() - start)
        time.sleep(0.1)
threading.Thread(target=feed, daemon=True).start()
view
"""
HEATMAP = """
view = obj.events.heatmap("value", buckets=list(range(65)), every="50ms", span=300, hz=20)
view
"""
FIGURE = """
import plotly.graph_objects as go
spent = []
grid = np.random.default_rng(1).poisson(15, (64, 300)).astype(np.float32)
view = go.FigureWidget(data=[go.Heatmap(z=grid)])
def feed():
    global grid
    rng = np.random.default_rng(2)
    while True:
        grid = np.concatenate([grid[:, 1:], rng.poisson(15, (64, 1))], axis=1).astype(np.float32)
        start = time.thread_time()
        view.data[0].z = grid
        spent.append(time.thread_time() - start)
        time.sleep(0.05)
threading.Thread(target=feed, daemon=True).start()
view
"""
EMPTY = """
import ipywidgets
spent = []
view = ipywidgets.HTML("nothing")
def feed():
    while True:
        start = time.thread_time()
        view.send({})
        spent.append(time.thread_time() - start)
        time.sleep(0.05)
threading.Thread(target=feed, daemon=True).start()
view
"""


def views() -> None:
    """Frame times, Python's time an update, memory over two minutes."""
    with opened() as bench:
        table, stats = _measured(bench, "table", TABLE, 200_000, SECONDS)
        peer, peer_stats = _measured(bench, "itables", ITABLE, 200_000, SECONDS, spent="spent")
        _compare("table fed by 200,000 events/s", table, stats, peer, peer_stats, "itables", None)
        heat, stats = _measured(bench, "heatmap", HEATMAP, 20_000, SECONDS)
        peer, peer_stats = _measured(bench, "figure", FIGURE, 20_000, SECONDS, spent="spent")
        _compare("heatmap of 64 x 300 at 20 Hz", heat, stats, peer, peer_stats, "FigureWidget", None)
        _, empty = _measured(bench, "empty", EMPTY, 20_000, SECONDS / 3, spent="spent")
        note(f"one message without content at 20 Hz: {empty['ms']:.3f} ms, which both sides need")
        updates(PROGRAM)
        _memory(bench)


def _measured(
    bench: Bench, name: str, cell: str, rate: int, seconds: float, *, spent: str = "view.spent"
) -> tuple[list[float], dict[str, Any]]:
    """Frame times of the page and what the kernel says of its own, after the view has settled."""
    bench.run(
        name, [SETUP, cell, f"child = produce({rate}, {seconds + 10})\nreport({spent})\nprint('READY')"]
    )
    bench.page.wait_for_timeout(3000)
    frames = bench.frames(seconds)
    stats = _stats(bench)
    bench.shut_down()
    return frames, stats


def _compare(
    what: str,
    ours: list[float],
    stats: dict[str, Any],
    theirs: list[float],
    peer: dict[str, Any],
    name: str,
    goal: float | None,
) -> None:
    p95, peer_p95 = (float(np.percentile(times, 95)) for times in (ours, theirs))
    line(
        f"{what}: frame p95",
        f"{p95:.1f} ms (max {max(ours):.0f})",
        f"{name} {peer_p95:.1f} ms (max {max(theirs):.0f}), goal {FRAME_GOAL:.0f} ms",
        p95 / FRAME_GOAL,
        1,
        at_most=True,
    )
    line(
        f"{what}: Python an update",
        f"{stats['ms']:.3f} ms ({stats['updates']} updates)",
        f"{name} {peer['ms']:.2f} ms ({peer['updates']} updates)",
        peer["ms"] / stats["ms"],
        goal or 1,
    )


def _memory(bench: Bench) -> None:
    """Two minutes of the table: memory of the page and of the kernel's process, minute against minute."""
    bench.run(
        "memory",
        [SETUP, TABLE, f"child = produce(200_000, {TABLE_SECONDS + 40})\nreport(view.spent)\nprint('READY')"],
    )
    samples = []
    start = time.monotonic()
    while time.monotonic() - start < TABLE_SECONDS:
        bench.page.wait_for_timeout(5000)
        samples.append((bench.heap(), _stats(bench)["resident"]))
    half = len(samples) // 2
    for what, values in zip(
        ("the page's heap", "the kernel's process"), zip(*samples, strict=True), strict=True
    ):
        first, second = statistics.median(values[2:half]), statistics.median(values[half:])
        line(
            f"table over {TABLE_SECONDS:.0f} s: {what}",
            f"{second / 2**20:.0f} MB in the second minute",
            f"{first / 2**20:.0f} MB in the first",
            second / first,
            1.1,
            at_most=True,
        )
    stats = _stats(bench)
    note(f"{stats['total']:,} events, {stats['lost']} lost")
    bench.shut_down()


def _stats(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(bench.root / "stats.json").read_text())
    return found
