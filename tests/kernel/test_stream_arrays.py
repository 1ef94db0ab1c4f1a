"""Columns of a stream's newest rows as arrays: what a DataFrame holds, whether rows were decoded before or not."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

import bpfnb
import bpfnb.views
from bpfnb.frames import pump
from bpfnb.views.raster import png

CELL = r"""
struct event { ktime_ns_t ts; u64 seq; s32 small; char comm[16]; unsigned flags:3, more:13; bool odd; u32 error FORMAT(errno);
               double half; ktime_ns_t never; };
struct other { u64 a, b; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
const volatile u32 wanted = 0;
u64 seq = 0;
u32 kind = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    if ((u32)bpf_get_current_pid_tgid() != wanted)
        return 0;
    if (kind) {
        struct other *o = bpf_ringbuf_reserve(&events, sizeof(*o), 0);
        if (o) { o->a = o->b = 1; bpf_ringbuf_submit(o, 0); }
        return 0;
    }
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    __builtin_memset(e, 0, sizeof(*e));
    e->ts = bpf_ktime_get_ns();
    e->seq = seq++;
    e->small = -(s32)e->seq;
    e->flags = e->seq % 8;
    e->more = e->seq % 8000;
    e->odd = e->seq & 1;
    e->half = 0.5;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""
NAMES = ["ts", "seq", "small", "flags", "more", "odd", "half", "never"]


@pytest.fixture
def obj() -> Iterator[bpfnb.object.BpfObject]:
    with bpfnb.load(CELL, name="arrays", globals={"wanted": os.getpid()}, watchdog=None) as obj:
        yield obj


def call(times: int) -> None:
    for _ in range(times):
        os.getppid()


def agree(frame: pd.DataFrame, found: object, names: list[str]) -> None:
    assert found is not None
    assert list(found.columns) == names
    assert found.rows == len(frame)
    assert found.number == (frame.index[0] if len(frame) else found.number)
    for name in names:
        expected = frame[name]
        if isinstance(expected.dtype, pd.DatetimeTZDtype):
            expected = expected.dt.tz_convert("UTC").dt.tz_localize(None)
        assert found.columns[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(found.columns[name], expected.to_numpy())


def test_arrays_are_what_a_slice_holds(obj):
    events = obj.events
    for calls in (1, 700, 40, 3000):  # few wait as bytes, many are decoded as they are drained
        call(calls)
        events.drain()
    total = events.total
    assert total == 3741
    arrays = [(a, b, events.arrays(a, b, NAMES)) for a, b in [(0, total), (650, 760), (3740, 9999), (5, 5)]]
    for start, stop, found in arrays:  # reading a frame decodes what those were made from
        agree(events.slice(start, stop), found, NAMES)
        agree(events.slice(start, stop), events.arrays(start, stop, NAMES), NAMES)
    agree(events.slice(0, total), events.arrays(0, total, ["small"]), ["small"])
    assert np.isnat(events.arrays(0, 10, ["never"]).columns["never"]).all()


def test_rows_that_went_are_not_in_the_arrays(obj):
    events = obj.events
    call(500)
    events.drain()
    events.limit(rows=100)
    found = events.arrays(0, 500, ["seq"])
    assert (found.number, found.rows) == (400, 100)
    assert found.columns["seq"].tolist() == list(range(400, 500))
    events.clear()
    found = events.arrays(0, 500, ["seq"])
    assert (found.number, found.rows, found.columns["seq"].tolist()) == (500, 0, [])


def test_names_text_and_records_of_several_kinds_take_a_frame(obj):
    events = obj.events
    call(10)
    events.drain()
    for column in ("comm", "error", "absent"):
        assert events.arrays(0, 10, ["seq", column]) is None
    assert events.arrays(0, 10, ["seq"]) is not None
    obj.vars.kind = 1
    call(3)
    events.drain()
    assert events.total == 13
    assert events.arrays(0, 13, ["seq"]) is None
    assert events["event"].arrays(0, 13, ["seq"]) is None


def test_a_heatmap_counts_from_arrays_what_it_counts_from_frames(obj, monkeypatch):
    events = obj.events
    call(1)
    events.drain()
    fast = events.heatmap("seq", every="50ms", span=2000)
    slow = events.heatmap("seq", every="50ms", span=2000)
    monkeypatch.setattr(slow.source, "arrays", lambda *_, **__: None)
    for _ in range(5):
        call(333)
        events.drain()
        with fast.lock, slow.lock:
            fast._update()
            slow._update()
    a, b = fast.counts.fillna(0), slow.counts.fillna(0)
    assert a.to_numpy().sum() == b.to_numpy().sum() == 1666
    common = a.index.intersection(b.index)
    pd.testing.assert_frame_equal(a.loc[common], b.loc[common], check_freq=False)
    assert a.loc[a.index.difference(common)].to_numpy().sum() == 0
    fast.close()
    slow.close()


def test_a_long_histogram_follows_by_arrays(obj, monkeypatch):
    monkeypatch.setattr("bpfnb.views.histogram.view.FEW", 100)
    events = obj.events
    call(1)
    events.drain()
    bars = events.hist("seq")
    events.limit(rows=1000)
    for calls in (500, 2, 700, 0, 30):
        call(calls)
        events.drain()
        low, high = events.span()
        expected = pd.Series(np.arange(low, high, dtype=np.uint64))
        assert bars.histogram.counts.equals(bpfnb.views.hist(expected).histogram.counts)
    assert (low, high) == (233, 1233)
    bars.close()


def test_before_it_was_attached_nothing_was_measured():
    start = {"wanted": os.getpid(), "kind": 1}
    with bpfnb.load(CELL, name="later", globals=start, watchdog=None, attach=False) as obj:
        assert obj.events.pauses[-1][1] is None
        loaded = time.time()
        heat = obj.events.heatmap("a", every="50ms", span=2000)
        while time.time() < loaded + 0.2:
            assert len(heat.counts) < 2000
        obj.attach()
        attached = time.time()
        while time.time() < attached + 0.2:
            assert len(heat.counts) < 2000
        call(5)
        obj.events.drain()
        counts = heat.counts
        quiet = counts[counts.index < pd.Timestamp(attached - 0.05, unit="s", tz="UTC")]
        measured = counts[counts.index > pd.Timestamp(attached, unit="s", tz="UTC")]
        assert len(quiet) >= 2
        assert quiet.isna().all(axis=None)
        assert len(measured) >= 2
        assert not measured.isna().any(axis=None)


def test_an_overflow_is_on_the_badge_and_on_its_column_and_in_the_png(obj, tmp_path):
    events = obj.events
    call(10)
    events.drain()
    heat = events.heatmap("seq", every="10min", span=3)
    pump.remove(events)  # nobody empties the ring
    call(30_000)
    lost = events.lost
    assert lost > 0
    pump.add(events)
    events.drain()
    kept = events.total
    assert kept + lost == 30_010
    payload = heat._build_full()
    heat._transmit(payload)
    about = payload.meta["source"]
    assert (about["lost"], about["lost_by"]) == (lost, {"program": lost})
    assert payload.columns["lost"].sum() == lost
    assert payload.columns["counts"].sum() == kept
    assert "events lost</title>" in heat.svg()
    drawn = heat.save(tmp_path / "x.png").read_bytes()
    assert drawn == png(heat.svg())
    assert drawn != png(re.sub(r"<image [^>]*>", "", heat.svg()))  # the cells are in the picture
    heat.close()
