"""Rates on the live kernel: what is drawn adds up to exactly what was counted, through pauses and losses."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from workloads import Worker, await_true

import bpfnb
from bpfnb.views import timeseries, waterfall

CELL = r"""
struct event { ktime_ns_t ts; u32 pid; ns_t latency; bytes_t size; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } calls SEC(".maps");
const volatile u32 wanted = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    if (pid != wanted) return 0;
    u64 one = 1, *n = bpf_map_lookup_elem(&calls, &pid);
    if (n) __sync_fetch_and_add(n, 1); else bpf_map_update_elem(&calls, &pid, &one, 0);
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->ts = bpf_ktime_get_ns();
    e->pid = pid;
    e->latency = 1000;
    e->size = 512;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""
LINES = ["start", "stop", "seconds", "lost"]


@pytest.fixture
def worker():
    with Worker() as made:
        yield made


@pytest.fixture
def io(worker):
    with bpfnb.load(CELL, name="t_lines", globals={"wanted": worker.pid}) as made:
        yield made


def counted(view) -> float:
    """What the drawn rates say happened: each by the seconds it was measured."""
    drawn = view.drawn
    return float(drawn.drop(columns=LINES).mul(drawn["seconds"], axis=0).sum().sum())


def test_the_rates_of_a_stream_add_up_to_its_events(io, worker):
    view = timeseries(io.events, every="50ms")
    for n in (100, 1, 1000, 250):
        worker.run(f"getppid({n})")
    io.events.wait_for(1351, 60)
    assert io.events.total == 1351
    assert counted(view) == pytest.approx(1351, abs=1e-6)
    assert view._chart().unit is None


def test_the_sums_of_a_column_add_up_in_its_unit(io, worker):
    view = timeseries(io.events, "size", mode="rate", every="50ms")
    worker.run("getppid(400)")
    io.events.wait_for(400, 60)
    assert counted(view) == pytest.approx(400 * 512, abs=1e-3)
    assert view._chart().unit == "bytes"
    assert "B/s" in view.svg()


def test_bins_outlive_the_rows_that_the_stream_drops(io, worker):
    view = timeseries(io.events, every="100ms")
    io.events.limit(rows=100)
    for goal in range(100, 1001, 100):
        worker.run("getppid(100)")
        io.events.wait_for(goal, 60)
        view._build()
    assert len(io.events) == 100
    assert counted(view) == pytest.approx(1000, abs=1e-6)


def test_the_rates_of_a_counter_add_up_to_what_it_counted(io, worker):
    worker.run("getppid(7)")  # before the first look: not of this chart
    view = timeseries(io.calls, every="100ms")
    watch = view._watch
    await_true(lambda: len(view._feed._samples.samples) >= 1)
    for n in (100, 3000, 5):
        worker.run(f"getppid({n})")
        looks = len(view._feed._samples.samples)
        await_true(lambda looks=looks: len(view._feed._samples.samples) > looks)
    watch.now()
    drawn = view.drawn
    assert list(drawn.columns) == [*LINES, str(worker.pid)]
    assert counted(view) == pytest.approx(3105, abs=1e-6)
    assert (drawn[str(worker.pid)].dropna() >= 0).all()


def test_a_map_that_is_cleared_begins_again(io, worker):
    view = timeseries(io.calls, every="10s")
    watch = view._watch
    watch.now()
    worker.run("getppid(50)")
    watch.now()
    io.calls.clear()
    watch.now()
    worker.run("getppid(20)")
    watch.now()
    assert counted(view) == pytest.approx(70, abs=1e-6)
    chart = view._chart()  # which may have been looked at in between, on its own
    [again] = chart.resets
    grew = chart.frame()[str(worker.pid)] * chart.frame()["seconds"]
    assert grew[:again].sum() == pytest.approx(50, abs=1e-6)
    assert grew[again:].sum() == pytest.approx(20, abs=1e-6)
    assert chart.notes == ["counters began again 1 times"]


def test_while_the_object_is_paused_nothing_is_measured(io, worker):
    view = timeseries(io.events, every="100ms")
    worker.run("getppid(30)")
    io.events.wait_for(30, 60)
    view._build()
    asked = time.monotonic()
    io.pause()
    view._watch.now()
    paused = time.monotonic()
    worker.run("getppid(1000)")  # nobody counts these
    await_true(lambda: time.monotonic() - paused > 0.45)
    least = time.monotonic() - paused
    io.resume()
    view._watch.now()
    most = time.monotonic() - asked
    worker.run("getppid(12)")
    io.events.wait_for(42, 60)
    await_true(lambda: counted(view) == pytest.approx(42, abs=1e-6))
    drawn = view.drawn
    gap = drawn[drawn["seconds"] == 0]
    assert int(least / 0.1) - 1 <= len(gap) <= int(most / 0.1) + 1  # whole bins of 100 ms
    assert gap["rows per second"].isna().all()


def test_what_is_lost_stands_in_the_strip(worker):
    small = CELL.replace("1 << 20", "1 << 12")
    with bpfnb.load(small, name="t_lost", globals={"wanted": worker.pid}) as io:
        view = timeseries(io.events, every="100ms")
        while not io.events.lost:
            worker.run("getppid(20000)")
        io.events.drain()
        view._watch.now()
        await_true(lambda: view._watch.now() or view.drawn["lost"].sum() == io.events.lost)
        assert io.calls[worker.pid] == io.events.total + io.events.lost
        assert "lost" in view.svg()


def test_a_stopped_object_leaves_the_whole_count(worker):
    with bpfnb.load(CELL, name="t_stopped", globals={"wanted": worker.pid}) as io:
        view = timeseries(io.events, every="50ms")
        worker.run("getppid(321)")
        io.events.wait_for(321, 60)
        io.stop()
        assert view.state == "done"
        assert counted(view) == pytest.approx(321, abs=1e-6)
        assert not view._chart().running


def test_events_of_threads_stand_in_lanes_as_they_arrive(io, worker):
    view = waterfall(io.events)
    assert view._build().meta["count"] == 0
    worker.run("getppid(40)")
    io.events.wait_for(40, 60)
    spans = view.spans
    assert len(spans) == 40
    assert spans["duration"].tolist() == [1000] * 40
    assert view._scene().lanes.labels[0] == str(worker.pid)
    assert (np.diff(spans["start"]) >= 0).all()


def test_a_hidden_chart_of_a_map_goes_on_looking(io, worker):
    view = timeseries(io.calls, every="100ms")
    assert not view._clients  # nobody shows it
    await_true(lambda: len(view._feed._samples.samples) >= 1)
    worker.run("getppid(11)")
    await_true(lambda: counted(view) == pytest.approx(11, abs=1e-6))
    assert os.getpid() != worker.pid
