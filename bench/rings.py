"""Ring and perf buffers to columns and to DataFrames, against libbpf's C consumer and bcc's callbacks.

Both sides get the same events: an XDP program that emits one 64-byte record is run in the kernel with
BPF_PROG_TEST_RUN until the buffer is nearly full, then the consumer is timed emptying it. Rounds alternate.

Columns are one contiguous array of the field's own type a field, in memory of their own. The C consumer copies each
record behind the last into a buffer whose pages are there and warm, its best case. Against it stands an event of
numbers; the others have a char[16] as well, as most events do.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

import bpfnb
from bench.peers import bcc, c_consumer, run_program
from bench.report import line, note
from bpfnb.frames.layout import Layout
from bpfnb.kernel.perfbuf import PerfReader
from bpfnb.kernel.ringbuf import RingReader

ROUNDS = 15
EVENT = "u64 a, b, c, d, g; u32 e, f; char comm[16];"
NUMBERS = "u64 a, b, c, d, g, h, i; u32 e, f;"
FILL_NUMBERS = """
    e->a = bpf_ktime_get_ns(); e->b = 2; e->c = 3; e->d = 4; e->e = 5; e->f = 6; e->g = 7; """
FILL = f"""{FILL_NUMBERS}
    __builtin_memcpy(e->comm, "benchmark\\0\\0\\0\\0\\0\\0", 16);
"""
RING_BYTES = 1 << 23
RING_EVENTS = RING_BYTES // 72 - 1
PERF_PAGES = 1024
PERF_EVENTS = 40_000

RING = f"""
struct event {{ {EVENT} }};
struct {{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, {RING_BYTES}); }} events SEC(".maps");
SEC("xdp") int fill(struct xdp_md *ctx)
{{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    {FILL}
    bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
    return 0;
}}
"""
RING_OF_NUMBERS = RING.replace(EVENT, NUMBERS).replace(FILL, FILL_NUMBERS + "e->h = 8; e->i = 9;")
PERF = f"""
struct event {{ {EVENT} }};
struct {{ __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); }} events SEC(".maps");
SEC("xdp") int fill(struct xdp_md *ctx)
{{
    struct event event = {{}}, *e = &event;
    {FILL}
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
    return 0;
}}
"""
BCC_RING = f"""
struct event {{ {EVENT} }};
BPF_RINGBUF_OUTPUT(events, {RING_BYTES // 4096});
int fill(struct xdp_md *ctx)
{{
    struct event event = {{}}, *e = &event;
    {FILL}
    events.ringbuf_output(e, sizeof(*e), BPF_RB_NO_WAKEUP);
    return 0;
}}
"""
BCC_PERF = f"""
struct event {{ {EVENT} }};
BPF_PERF_OUTPUT(events);
int fill(struct xdp_md *ctx)
{{
    struct event event = {{}}, *e = &event;
    {FILL}
    events.perf_submit(ctx, e, sizeof(*e));
    return 0;
}}
"""
FIELDS = ("a", "b", "c", "d", "g", "e", "f")


def timed(run: Callable[[], int], expected: int) -> float:
    """Seconds an event, after checking that every event came through."""
    start = time.perf_counter()
    got = run()
    spent = time.perf_counter() - start
    if got != expected:
        raise SystemExit(f"bench: {got} events came through of {expected}")
    return spent / expected


def _emit(obj: bpfnb.BpfObject, events: int) -> None:
    obj.loaded.test_run("fill", bytes(64), events)


def _decoded(reader: Any, layout: Any) -> Any:
    """What a stream does when it drains."""
    parts = []
    if isinstance(reader, RingReader):
        while (taken := reader.columns(layout.size, layout.fields))[0]:
            parts.append(layout.assemble(taken[1]))
    parts += [layout.decode(records.data) for records in reader.drain()]
    return layout.concat(parts)


def _columns(reader: Any, layout: Any) -> int:
    decoded = _decoded(reader, layout)
    assert all(column.flags.c_contiguous and column.ndim == 1 for column in decoded.values())
    return len(decoded["a"])


def _frame(reader: Any, layout: Any) -> int:
    return len(layout.frame(_decoded(reader, layout)))


def _bcc_rows(
    b: Any, consume: Callable[[], None], opener: Callable[..., None], **kw: Any
) -> Callable[[], int]:
    rows: list[tuple[Any, ...]] = []
    table = b["events"]

    def on_event(cpu: int, data: int, size: int) -> None:
        event = table.event(data)
        rows.append((*(getattr(event, name) for name in FIELDS), event.comm.decode()))

    opener(table)(on_event, **kw)

    def run() -> int:
        rows.clear()
        consume()
        return len(pd.DataFrame(rows, columns=[*FIELDS, "comm"]))

    return run


def _ours(source: str, *consumers: Callable[[Any, Any], int]) -> list[float]:
    """Nanoseconds an event of libbpf's consumer, then of each of *consumers*, in turns."""
    with bpfnb.load(source, name="bench_ring", attach=False, watchdog=None) as obj:
        obj.streams["events"].close()
        info = obj.loaded.maps["events"]
        layout = Layout.of(obj.elf.btf, obj.elf.events["events"][0].type_id)
        reader = RingReader(info.fd, info.max_entries)
        sink = np.ones(RING_BYTES, np.uint8)
        records = ctypes.c_uint64()
        spent: list[list[float]] = [[] for _ in range(1 + len(consumers))]
        for _ in range(ROUNDS):
            _emit(obj, RING_EVENTS)
            peer = c_consumer().consume(info.fd, sink.ctypes.data, sink.nbytes, ctypes.byref(records))
            if records.value != RING_EVENTS:
                raise SystemExit(f"bench: libbpf saw {records.value} events of {RING_EVENTS}")
            spent[0].append(peer / RING_EVENTS)
            for mine, consumer in zip(spent[1:], consumers, strict=True):
                _emit(obj, RING_EVENTS)
                mine.append(1e9 * timed(partial(consumer, reader, layout), RING_EVENTS))
        reader.close()
    return [statistics.median(times) for times in spent]


def ring() -> None:
    """Ring buffer to columns and to a DataFrame."""
    peer, columns = _ours(RING_OF_NUMBERS, _columns)
    line(
        "ring buffer to columns (64-byte events of numbers)",
        f"{columns:.1f} ns/event",
        f"libbpf in C {peer:.1f} ns/event",
        peer / columns,
        0.7,
    )
    peer, text, frame = _ours(RING, lambda reader, layout: len(_decoded(reader, layout)["a"]), _frame)
    note(f"with a char[16] as text in a column of its own {text:.1f} ns/event, libbpf in C {peer:.1f}")
    b = bcc().BPF(text=BCC_RING)
    fill = b.load_func("fill", bcc().BPF.XDP)
    rows = _bcc_rows(
        b,
        b.ring_buffer_consume,
        lambda table: (
            lambda callback: table.open_ring_buffer(lambda ctx, data, size: callback(0, data, size))
        ),
    )
    bcc_ns = []
    for _ in range(3):
        run_program(fill.fd, RING_EVENTS)
        bcc_ns.append(1e9 * timed(rows, RING_EVENTS))
    b.cleanup()
    theirs = statistics.median(bcc_ns)
    line(
        "ring buffer to DataFrame", f"{frame:.1f} ns/event", f"bcc {theirs:.0f} ns/event", theirs / frame, 25
    )


def perf() -> None:
    """Perf buffer to a DataFrame."""
    with bpfnb.load(PERF, name="bench_perf", attach=False, watchdog=None) as obj:
        obj.streams["events"].close()
        layout = Layout.of(obj.elf.btf, obj.elf.events["events"][0].type_id)
        reader = PerfReader(obj.loaded.maps["events"].fd, pages=PERF_PAGES)
        ours_ns = []
        for _ in range(ROUNDS):
            _emit(obj, PERF_EVENTS)
            ours_ns.append(1e9 * timed(lambda: _frame(reader, layout), PERF_EVENTS))
        reader.close()
    b = bcc().BPF(text=BCC_PERF)
    fill = b.load_func("fill", bcc().BPF.XDP)
    rows = _bcc_rows(
        b, lambda: b.perf_buffer_consume(), lambda table: table.open_perf_buffer, page_cnt=PERF_PAGES
    )
    bcc_ns = []
    for _ in range(3):
        run_program(fill.fd, PERF_EVENTS)
        bcc_ns.append(1e9 * timed(rows, PERF_EVENTS))
    # Its finaliser deletes the CPUs' keys through a descriptor number that may be another map's by then.
    del rows
    b.tables.clear()
    gc.collect()
    b.cleanup()
    ours, theirs = statistics.median(ours_ns), statistics.median(bcc_ns)
    line("perf buffer to DataFrame", f"{ours:.1f} ns/event", f"bcc {theirs:.0f} ns/event", theirs / ours, 15)
