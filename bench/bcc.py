"""bcc's dialect through bpfnb, against bcc by itself, on one and the same programs.

To attached: ``BPF(text=...)`` with headers made from BTF against the real headers of a distribution's kernel, in
processes of their own, taking turns. Every text is a new one, so the compile that is rehearsed in a fork counts.

To DataFrames: tables and buffers of one text, loaded twice, read by ``bpfnb.frames.of`` and by bcc's own ``items()``,
``open_perf_buffer`` and ``open_ring_buffer`` with callbacks that make the same rows. An XDP program that is run with
BPF_PROG_TEST_RUN fills the buffers, the same number of events on either side.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd

import bpfnb.bcc
from bench import distribution
from bench.bcc_programs import record
from bench.maps import ENTRIES, fill_map
from bench.peers import run_program
from bench.report import line, note
from bench.rings import BCC_PERF, BCC_RING, FIELDS, RING_EVENTS, timed
from bpfnb import frames
from bpfnb.frames import pump
from bpfnb.frames.mapframe import MapFrame
from bpfnb.frames.stream import Stream

__all__ = ["bcc"]

PROCESSES = 3
TASK = """
#include <linux/sched.h>
BPF_HASH(calls, u32, u64);
TRACEPOINT_PROBE(raw_syscalls, sys_enter)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 parent = task->real_parent->tgid;
    calls.increment(parent);
    return 0;
}
"""
NO_HEADER = """
BPF_HASH(calls, u32, u64);
TRACEPOINT_PROBE(raw_syscalls, sys_enter) { calls.increment(bpf_get_current_pid_tgid() >> 32); return 0; }
"""
ROUNDS = 7
PERF_PAGES = 1024  # a CPU, of both sides, and as many events as the main job's bench takes
PERF_EVENTS = 40_000
TABLE = f"BPF_HASH(m, u64, u64, {ENTRIES}); int touch(struct xdp_md *ctx) {{ return 0; }}"


def bcc() -> None:
    """Programs in bcc's dialect."""
    attached()
    chosen = os.environ.pop(
        "BCC_KERNEL_SOURCE", None
    )  # the other benches' peer; here every side has bpfnb's headers
    lib = bpfnb.bcc.enable()
    try:
        table(lib)
        ring(lib)
        perf(lib)
    finally:
        bpfnb.bcc.disable()
        if chosen is not None:
            os.environ["BCC_KERNEL_SOURCE"] = chosen


def attached() -> None:
    """``BPF()`` to attached with headers from BTF and with a distribution's."""
    try:
        tree = str(distribution.merged_headers())
        tools, _ = record(distribution.bcc_tools(), {"runqlat": [""], "tcplife": [""]})
    except distribution.Unavailable as error:
        note(f"BPF() to attached was not measured, there are no packages: {error}")
        return
    note(f"real headers: {distribution.kernel().release}'s")
    programs = {"a program of 9 lines": TASK} | {program.name: program.text for program in tools}
    for name, text in programs.items():
        ours, theirs, known = _alternating(text, tree)
        for what, mine, peer in zip(("first in a process", "later ones"), ours, theirs, strict=True):
            line(
                f"bcc {name} to attached, {what}",
                f"{mine * 1e3:.0f} ms",
                f"with real headers {peer * 1e3:.0f} ms",
                mine / peer,
                0.6,
                at_most=True,
            )
        note(
            f"compiled here before, so not rehearsed: {known[0] * 1e3:.0f} ms, later {known[1] * 1e3:.0f} ms"
        )
    ours, theirs, known = _alternating(NO_HEADER, tree)
    note(
        f"a program that includes no header: {ours[1] * 1e3:.0f} ms, compiled before {known[1] * 1e3:.0f} ms, "
        f"with real headers {theirs[1] * 1e3:.0f} ms"
    )


def _alternating(text: str, tree: str) -> tuple[list[float], list[float], list[float]]:
    """Median seconds of a process's first program and of those after it: ours, theirs, ours of known texts."""
    ours, theirs, known = [], [], []
    for _ in range(PROCESSES):
        salt = time.time_ns()
        texts = [f"{text}\n// {salt + number}\n" for number in range(2)]
        ours.append(_process("ours", texts, tree))
        theirs.append(_process("headers", texts, tree))
        known.append(_process("ours", texts, tree))
    first, second, third = (
        [statistics.median(times) for times in zip(*rows, strict=True)] for rows in (ours, theirs, known)
    )
    return first, second, third


def _process(mode: str, texts: list[str], tree: str) -> list[float]:
    environment = {name: value for name, value in os.environ.items() if name != "BCC_KERNEL_SOURCE"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.bcc_attach", mode],
        input=json.dumps({"tree": tree, "texts": texts}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    )
    return [float(seconds) for seconds in json.loads(done.stdout)]


def table(lib: Any) -> None:
    """A table of a million entries to a DataFrame."""
    b = lib.BPF(text=TABLE)
    fill_map(b["m"].map_fd)
    frame = frames.of(b["m"])
    assert isinstance(frame, MapFrame)
    ours = []
    for _ in range(5):
        start = time.perf_counter()
        df = frame.df
        ours.append(time.perf_counter() - start)
        if len(df) != ENTRIES or int(df.value.sum()) != 3 * ENTRIES * (ENTRIES - 1) // 2:
            raise SystemExit("bench: the frame is wrong")
        del df
    start = time.perf_counter()
    items = b["m"].items()
    theirs = time.perf_counter() - start
    if len(items) != ENTRIES:
        raise SystemExit(f"bench: bcc gave {len(items)} entries of {ENTRIES}")
    del items
    start = time.perf_counter()
    batch = pd.DataFrame(b["m"].items_lookup_batch(), columns=["key", "value"])
    batched = time.perf_counter() - start
    if len(batch) != ENTRIES:
        raise SystemExit(f"bench: bcc gave {len(batch)} entries of {ENTRIES} in batches")
    b.cleanup()
    mine = statistics.median(ours)
    line(
        "bcc table of 1,000,000 to DataFrame",
        f"{mine * 1e3:.0f} ms",
        f"items() {theirs * 1e3:.0f} ms",
        theirs / mine,
        20,
    )
    note(f"bcc's items_lookup_batch() to a DataFrame {batched * 1e3:.0f} ms, {batched / mine:.1f} times ours")


def ring(lib: Any) -> None:
    """A ring buffer of a bcc program to a DataFrame."""
    _buffer(lib, "ring buffer", BCC_RING, RING_EVENTS, None, 25)


def perf(lib: Any) -> None:
    """A perf buffer of a bcc program to a DataFrame."""
    _buffer(lib, "perf buffer", BCC_PERF, PERF_EVENTS, PERF_PAGES, 15)


class _Callbacks:
    """bcc's own reader of the program's buffer, whose callback makes the rows that the frame has."""

    def __init__(self, b: Any) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.told = 0
        self._event = b["events"].event
        if hasattr(b["events"], "open_ring_buffer"):
            b["events"].open_ring_buffer(self._on_event)
            self._consume = b.ring_buffer_consume
        else:
            b["events"].open_perf_buffer(self._on_event, page_cnt=PERF_PAGES, lost_cb=self._on_loss)
            self._consume = b.perf_buffer_consume

    def _on_event(self, _: Any, data: int, size: int) -> None:
        event = self._event(data)
        self.rows.append((*(getattr(event, name) for name in FIELDS), event.comm.decode()))

    def _on_loss(self, count: int) -> None:
        self.told += count

    def frame(self) -> int:
        self.rows.clear()
        self._consume()
        return len(pd.DataFrame(self.rows, columns=[*FIELDS, "comm"]))


def _buffer(lib: Any, what: str, text: str, events: int, pages: int | None, goal: float) -> None:
    with _filled(lib, text) as (mine, fill), _filled(lib, text) as (theirs, fill_theirs):
        stream = frames.of(mine["events"], pages=pages)
        assert isinstance(stream, Stream)
        pump.remove(stream)  # drained by hand, so that all the work is on the clock
        callbacks = _Callbacks(theirs)

        def frame() -> int:
            stream.drain()
            return len(stream.df)

        spent: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            stream.clear()
            fill(events)
            first = timed(frame, events)
            fill_theirs(events)
            spent.append((1e9 * first, 1e9 * timed(callbacks.frame, events)))
        ours_ns, theirs_ns = (statistics.median(times) for times in zip(*spent, strict=True))
        line(
            f"bcc {what} to DataFrame",
            f"{ours_ns:.1f} ns/event",
            f"callbacks {theirs_ns:.0f} ns/event",
            theirs_ns / ours_ns,
            goal,
        )
        _losses(stream, frame, fill, callbacks, fill_theirs, events)
        stream.close()
        # Its finaliser deletes the CPUs' keys by a descriptor that may be another map's after cleanup().
        del callbacks


def _losses(
    stream: Stream,
    frame: Callable[[], int],
    fill: Callable[[int], None],
    callbacks: _Callbacks,
    fill_theirs: Callable[[int], None],
    events: int,
) -> None:
    """What each side knows when three times as many events come as have room."""
    stream.clear()
    fill(3 * events)
    missed = 3 * events - frame()
    fill_theirs(3 * events)
    missed_there = 3 * events - callbacks.frame()
    for one in (fill, fill_theirs):  # the kernel tells of a perf buffer's losses with the next record
        one(1)
    frame()
    callbacks.frame()
    counted = sum(stream.lost_by().values())
    if not 0 < missed == counted:
        raise SystemExit(f"bench: {missed} events had no room, and {counted} are counted as lost")
    note(
        f"of {3 * events:,} events {missed:,} found no room, and the frame counts {counted:,} as lost; "
        f"with bcc {missed_there:,}, of which its reader is told {callbacks.told or 'nothing'}"
    )


@contextlib.contextmanager
def _filled(lib: Any, text: str) -> Iterator[tuple[Any, Callable[[int], None]]]:
    """A loaded program, and what runs it in the kernel a number of times."""
    b = lib.BPF(text=text)
    try:
        yield b, partial(run_program, b.load_func("fill", lib.BPF.XDP).fd)
    finally:
        b.tables.clear()
        gc.collect()
        b.cleanup()
