"""Snapshots written as changes: every look comes back exactly, and each row is there once."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from bpfnb.recording.changes import GONE, changes, spans

WHEN = pa.timestamp("ns", "UTC")


def _table(looks: dict[int, list[tuple[str, float | None]]]) -> pa.Table:
    rows = [(when, *row) for when, found in looks.items() for row in found]
    return pa.table(
        {
            "at": pa.array([row[0] for row in rows], WHEN),
            "name": pa.array([row[1] for row in rows], pa.string()).dictionary_encode(),
            "value": pa.array([row[2] for row in rows], pa.float64()),
        }
    )


def _looks(table: pa.Table, times: list[int]) -> dict[int, list[tuple[str, float | None]]]:
    came, gone = spans(table, "at", np.array(times, np.int64))
    bare = table.select(["name", "value"]).to_pylist()
    return {
        when: [(row["name"], row["value"]) for row, a, b in zip(bare, came, gone, strict=True) if a <= n < b]
        for n, when in enumerate(times)
    }


def test_a_row_is_written_once_with_when_it_came_and_went() -> None:
    looks = {10: [("a", 1.0), ("b", 2.0)], 20: [("a", 1.0), ("c", None), ("b", 2.0)], 30: [("c", None)]}
    made = changes(_table(looks), "at", np.array([10, 20, 30]), None)
    assert made.select(["name", "value"]).to_pylist() == [
        {"name": "a", "value": 1.0},
        {"name": "c", "value": None},
        {"name": "b", "value": 2.0},
    ]
    assert made["at"].cast(pa.int64()).to_pylist() == [10, 20, 10]
    assert made[GONE].cast(pa.int64()).to_pylist() == [30, None, 30]
    assert _looks(made, [10, 20, 30]) == looks


def test_what_was_there_at_the_end_of_a_piece_ends_where_the_next_begins() -> None:
    made = changes(_table({10: [("a", 1.0)]}), "at", np.array([10]), 20)
    assert made[GONE].cast(pa.int64()).to_pylist() == [20]


def test_a_look_that_found_nothing_ends_what_was_there() -> None:
    made = changes(_table({10: [("a", 1.0)], 30: [("a", 1.0)]}), "at", np.array([10, 20, 30]), None)
    assert made[GONE].cast(pa.int64()).to_pylist() == [20, None]
    assert _looks(made, [10, 20, 30]) == {10: [("a", 1.0)], 20: [], 30: [("a", 1.0)]}


def test_bits_tell_numbers_apart_and_lists_are_compared_whole() -> None:
    table = pa.table(
        {
            "at": pa.array([10, 20, 30, 40], WHEN),
            "value": pa.array([0.0, -0.0, None, float("nan")], pa.float64()),
            "list": pa.array([[1, 2]] * 4, pa.list_(pa.int64(), 2)),
        }
    )
    made = changes(table, "at", np.array([10, 20, 30, 40]), None)
    assert str(made["value"].to_pylist()) == "[0.0, -0.0, None, nan]"
    same = table.set_column(1, "value", pa.array([1.0] * 4))
    assert changes(same, "at", np.array([10, 20, 30, 40]), None).num_rows == 1
    other = same.set_column(2, "list", pa.array([[1, 2], [1, 2], [1, 3], [1, 3]], pa.list_(pa.int64(), 2)))
    assert changes(other, "at", np.array([10, 20, 30, 40]), None).num_rows == 2


@pytest.mark.parametrize("seed", range(40))
def test_every_look_comes_back_whatever_comes_goes_and_moves(seed: int) -> None:
    chance = random.Random(seed)
    looks: dict[int, list[tuple[str, float | None]]] = {}
    rows: list[tuple[str, float | None]] = []
    for when in range(10, 10 + 12):
        for _ in range(chance.randrange(6)):
            rows.insert(
                chance.randrange(len(rows) + 1), (f"n{chance.randrange(5)}", chance.choice([1.0, 2.0, None]))
            )
        for _ in range(chance.randrange(4)):
            if rows:
                rows.pop(chance.randrange(len(rows)))
        if chance.random() < 0.3:
            chance.shuffle(rows)
        if chance.random() < 0.1:
            rows.clear()
        looks[when] = list(rows)
    times = list(looks)
    made = changes(_table(looks), "at", np.array(times), None)
    assert _looks(made, times) == looks
    assert made.num_rows <= sum(map(len, looks.values()))


def test_rows_of_no_look_are_refused() -> None:
    table = pa.table({"at": pa.array([10], WHEN), GONE: pa.array([5], WHEN)})
    with pytest.raises(ValueError, match="of no look"):
        spans(table, "at", np.array([10, 20]))
    with pytest.raises(ValueError, match="before it came"):
        spans(table.set_column(1, GONE, pa.array([10], WHEN)), "at", np.array([10, 20]))
    with pytest.raises(ValueError, match="of no look"):
        spans(table, "at", np.empty(0, np.int64))
