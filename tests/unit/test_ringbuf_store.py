"""The bounded memory behind live frames, against a plain list."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.frames.lane import Lane
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.store import Batch, Bound, Store
from bpfnb.frames.union import union_frame

LANES = [Lane(None), Lane(None)]
LANES[1].name = "other"


def add(store: Store, rows: list[int], when: float = 0.0) -> None:
    """One drained batch: ``rows[i]`` is the lane of row i; each row holds its own number."""
    with store.lock:
        first = store.total
        numbers = np.arange(first, first + len(rows), dtype=np.uint64)
        for index, lane in enumerate(LANES):
            mine = numbers[np.array(rows) == index]
            if len(mine):
                raw = mine.view(np.uint8).reshape(-1, 8)
                order = None if len(mine) == len(rows) else mine.astype(np.int64)
                store.add(lane, Batch.of(int(mine[0]), raw, when, 8, order))
        store.total += len(rows)
        store.evict(when)


def numbers(store: Store, lane: Lane, start: int = 0, stop: int = 1 << 60) -> list[int]:
    out = []
    for batch in store.read(lane, start, stop):
        values = [int.from_bytes(data.as_py(), "little") for data in batch.columns["data"]]
        assert values == batch.numbers().tolist()
        out += values
    return out


steps = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 300)),
    st.tuples(st.just("mixed"), st.lists(st.integers(0, 1), min_size=1, max_size=30)),
    st.tuples(st.just("read"), st.integers(0, 1)),
    st.tuples(st.just("limit"), st.integers(1, 600)),
    st.tuples(st.just("clear"), st.none()),
    st.tuples(st.just("between"), st.tuples(st.integers(0, 500), st.integers(0, 500))),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_it_is_a_list_that_forgets_its_head(plan: list) -> None:
    store = Store(Bound())
    lanes: list[int] = []  # the lane of each row ever
    floor = 0
    for what, value in plan:
        if what in ("add", "mixed"):
            rows = [0] * value if what == "add" else value
            add(store, rows)
            lanes += rows
        elif what == "limit":
            with store.lock:
                store.bound = Bound(rows=value)
                store.evict(0)
        elif what == "clear":
            store.clear()
            floor = len(lanes)
        floor = max(floor, len(lanes) - (store.bound.rows or 0))
        kept = range(floor, len(lanes))
        assert store.total - store.floor == len(kept)
        for index in (0, 1):
            mine = [n for n in kept if lanes[n] == index]
            assert store.rows(LANES[index]) == len(mine)
            if what == "read" and value == index:
                assert numbers(store, LANES[index]) == mine
            if what == "between":
                start, stop = value
                assert numbers(store, LANES[index], start, stop) == [n for n in mine if start <= n < stop]
    kept_bytes = sum(b.size for batches in store._lanes.values() for b in batches)
    assert store.nbytes == kept_bytes


def test_picked_rows_are_those_asked_for_as_far_as_they_are_kept() -> None:
    store = Store(Bound(rows=700))
    lanes = [0, 1, 1, 0, 0] * 200
    for begin in range(0, 1000, 50):
        add(store, lanes[begin : begin + 50])
    wanted = np.array([5, 301, 302, 303, 499, 500, 747, 998, 999, 5000])
    for index in (0, 1):
        picked = store.pick(LANES[index], wanted)
        values = [int.from_bytes(data.as_py(), "little") for b in picked for data in b.columns["data"]]
        assert values == [n for n in wanted.tolist() if 300 <= n < 1000 and lanes[n] == index]
        assert [n for b in picked for n in b.numbers().tolist()] == values
    assert store.pick(LANES[0], np.empty(0, np.int64)) == []


def test_bytes_bound_holds_for_raw_and_decoded_rows() -> None:
    store = Store(Bound(rows=None, nbytes=50_000))
    for turn in range(200):
        add(store, [0] * 100)
        assert store.nbytes <= 50_000
        if turn % 7 == 0:
            assert numbers(store, LANES[0])[-1] == store.total - 1
    assert store.total == 20_000
    assert store.total - store.floor > 1000


def test_seconds_bound_counts_from_the_drain() -> None:
    store = Store(Bound(seconds=10))
    for second in range(100):
        add(store, [0] * 10, float(second))
    assert numbers(store, LANES[0]) == list(range(890, 1000))


def test_reading_while_rows_arrive_misses_and_repeats_nothing() -> None:
    store = Store(Bound(rows=None))
    threads = [threading.Thread(target=lambda: [add(store, [0] * 37 + [1]) for _ in range(500)])]
    threads[0].start()
    cursor, seen = 0, []
    while threads[0].is_alive() or cursor < store.total:
        upto = store.total
        seen += sorted(n for lane in LANES for n in numbers(store, lane, cursor, upto))
        cursor = upto
    assert seen == list(range(500 * 38))


def test_a_union_stands_in_the_order_of_arrival() -> None:
    store = Store(Bound())
    rows = [0, 1, 1, 0, 1] * 20
    add(store, rows)
    frame = union_frame([(lane, store.read(lane, 0, store.total)) for lane in LANES], raw=False)
    assert [int.from_bytes(data, "little") for data in frame["data"]] == list(range(100))
    assert frame.columns.tolist() == ["type", "data"]
    assert frame["type"].tolist() == ["data", "other", "other", "data", "other"] * 20


def test_a_live_frame_takes_scattered_rows_in_the_order_they_are_asked_for() -> None:
    frame = LiveFrame("rows")
    frame._store.bound = Bound(rows=900)
    add(frame._store, [0, 1, 1, 0] * 250)
    wanted = [950, 101, 102, 950, 3, 999, 1000]
    taken = frame.take(wanted)
    assert taken.index.tolist() == [950, 101, 102, 950, 999]
    assert [int.from_bytes(data, "little") for data in taken["data"]] == [950, 101, 102, 950, 999]
    assert taken["type"].tolist() == ["other", "other", "other", "other", "data"]
    assert frame.take(wanted, ["type"]).columns.tolist() == ["type"]
    assert len(frame.take([])) == 0
    assert frame.numbers(0, 5000).tolist() == list(range(100, 1000))
    assert frame.numbers(200, 203).tolist() == [200, 201, 202]
    assert frame.numbers(5000, 6000).tolist() == []
    frame._lanes = lambda: LANES[:1]  # as the frame of one kind of record has it
    assert frame.numbers(0, 108).tolist() == [100, 103, 104, 107]


def test_a_batch_of_one_length_is_followed_by_one_of_several():
    store = Store(Bound())
    raw = np.arange(3, dtype=np.uint64).view(np.uint8).reshape(-1, 8)
    with store.lock:
        store.add(LANES[0], Batch.of(0, raw, 0.0, 8))
        store.add(LANES[0], Batch.of(3, raw, 0.0, np.array([8, 5, 7], np.uint32)))
        store.total = 6
    found = [data for batch in store.read(LANES[0], 0, 6) for data in batch.columns["data"].to_pylist()]
    assert list(map(len, found)) == [8, 8, 8, 8, 5, 7]
