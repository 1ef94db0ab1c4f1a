"""The bounded memory behind live frames, against a plain list."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.frames.lane import Lane
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
