"""Opening a recording of 10,000,000 events, beside pyarrow reading the same columns of the same file.

Ours ends when the stream has all rows, decoded: any frame, slice or view of it reads no file any more. Theirs takes the
Parquet files out of the zip and reads all of their columns into one table.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import bpfnb
from bench.report import line, note

__all__ = ["replay"]

ROWS = 10_000_000
STEP = 20_000
ROUNDS = 3
GOAL = 2.0

PROGRAM = """
struct event { ktime_ns_t ts; u64 seq; u32 value; pid_t pid; ns_t latency; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 24); } events SEC(".maps");
u64 seq = 0;
SEC("xdp") int fill(struct xdp_md *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->ts = bpf_ktime_get_ns(); e->seq = __sync_fetch_and_add(&seq, 1);
    e->value = bpf_get_prandom_u32() & 63; e->pid = 1000 + (bpf_get_prandom_u32() & 15);
    e->latency = bpf_get_prandom_u32() & 0xfffff;
    if (e->value & 1) __builtin_memcpy(e->comm, "benchmark", 10); else __builtin_memcpy(e->comm, "worker", 7);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


def replay() -> None:
    with tempfile.TemporaryDirectory(prefix="bpfnb-bench-") as folder:
        path = Path(folder) / "events.bpfnb"
        _record(path)
        note(f"{ROWS:,} events in {path.stat().st_size / 1e6:.0f} MB")
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(_arrow(path))
            ours.append(_ours(path))
        one, other = statistics.median(ours), statistics.median(theirs)
        line("replay", f"open {one:.2f} s", f"pyarrow {other:.2f} s", one / other, GOAL, at_most=True)


def _record(path: Path) -> None:
    io = bpfnb.load(PROGRAM, name="events", attach=False, watchdog=None)
    with bpfnb.record(io, path, max_bytes=4 << 30) as recorder:
        for sent in range(STEP, ROWS + 1, STEP):
            io.programs["fill"].test_run(bytes(64), repeat=STEP)
            while recorder.rows < sent - 200_000:
                time.sleep(0.01)
        io.stop()
    io.close()


def _ours(path: Path) -> float:
    gc.collect()
    began = time.perf_counter()
    with bpfnb.replay(path) as io:
        assert io.streams["events"].total == ROWS
        return time.perf_counter() - began


def _arrow(path: Path) -> float:
    gc.collect()
    began = time.perf_counter()
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if "/streams/" in name]
        table = pa.concat_tables([pq.read_table(pa.BufferReader(file.read(name))) for name in names])
    assert table.num_rows == ROWS
    return time.perf_counter() - began
