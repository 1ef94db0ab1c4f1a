"""Snapshots of a table as its changes: each row once, with the look at which it came and the one at which it was gone.

The rows stand in an order in which those of each look follow each other as they did in it, so that a look is the rows
with ``came <= look < gone``, as they stand. A row that changed its place among those that stayed is gone there and
comes again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["GONE", "changes", "counts", "present", "spans"]

GONE: Final = "gone@"
"""When a row was not there any more, for the first time; null: it was there until the end."""

MOST: Final = 1 << 25
"""Rows of all looks together."""

Numbers = npt.NDArray[np.int64]


def changes(snapshots: pa.Table, when: str, looks: Numbers, until: int | None) -> pa.Table:
    """*snapshots*, one after the other, as changes.

    *when* is the column with each row's look, a time in ns; *looks* are the times of all of them, in order, also of
    those that found no row. *until*: the look after the last of these, where there is one.

    Raises ValueError where the rows are in another order than their looks, or of none.
    """
    came = _places(snapshots.column(when).cast(pa.int64()).to_numpy(), looks)
    if (np.diff(came) < 0).any():
        raise ValueError("the looks of the rows do not ascend")
    rows, first, last = _runs(_identities(snapshots.drop_columns([when]), came), came, len(looks))
    ends = np.append(looks, until or 0)[last]
    staying = (last == len(looks)) & (until is None)
    kind = snapshots.schema.field(when).type
    table = snapshots.take(pa.array(rows))
    at = table.schema.get_field_index(when)
    table = table.set_column(at, when, pa.array(looks[first]).cast(kind))
    gone = pa.array(ends, mask=staying).cast(kind)
    return table.add_column(at + 1, GONE, gone)


def spans(table: pa.Table, when: str, looks: Numbers) -> tuple[Numbers, Numbers]:
    """Of each row in how many-th of *looks* it came, and in which it was gone: the next, in a table of snapshots.

    Raises ValueError where that is none of them, or two are the same.
    """
    if len(np.unique(looks)) < len(looks):
        raise ValueError("two looks were at the same moment")
    came = _places(table.column(when).cast(pa.int64()).to_numpy(), looks)
    if GONE not in table.column_names:
        return came, came + 1
    gone = table.column(GONE).cast(pa.int64())
    staying = gone.is_null().to_numpy()
    end = np.where(
        staying, len(looks), _places(np.where(staying, looks[:1], gone.fill_null(0).to_numpy()), looks)
    )
    if (end <= came).any():
        raise ValueError("a row was gone before it came")
    if (total := int((end - came).sum())) > MOST:
        raise ValueError(f"its looks have {total:,} rows; {MOST:,} are the most")
    return came, end


def counts(came: Numbers, gone: Numbers, looks: int) -> Numbers:
    """How many rows each look has."""
    changed = np.bincount(came, minlength=looks + 1) - np.bincount(gone, minlength=looks + 1)
    return np.cumsum(changed)[:looks]


def present(came: Numbers, gone: Numbers, looks: int) -> Iterator[Numbers]:
    """The rows of each look, as they stand in the table."""
    order = np.argsort(came, kind="stable")
    starts = np.searchsorted(came[order], np.arange(looks + 1))
    there = np.empty(0, np.int64)
    for at in range(looks):
        there = np.sort(np.r_[there[gone[there] > at], order[starts[at] : starts[at + 1]]])
        yield there


def _places(times: Numbers, looks: Numbers) -> Numbers:
    """Which of *looks* each time is, whose order is another where the clock was set back."""
    order = np.argsort(looks, kind="stable")
    found = np.searchsorted(looks, times, sorter=order)
    if len(times) and ((found == len(looks)).any() or (looks[order[found]] != times).any()):
        raise ValueError("a row is of no look")
    return order[found]


# What rows are the same


def _identities(table: pa.Table, look: Numbers) -> Numbers:
    """A number for each row, equal ones for equal rows of different looks; those of one look differ."""
    rows = table.num_rows
    found = np.zeros(rows, np.int64)
    for column in table.columns:
        for codes in _codes(column.combine_chunks()):
            found = np.unique(found * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
    order = np.lexsort((found, look))
    begins = np.r_[True, (np.diff(found[order]) != 0) | (np.diff(look[order]) != 0)][:rows]
    start = np.maximum.accumulate(np.where(begins, np.arange(rows), 0))
    again = np.empty(rows, np.int64)
    again[order] = np.arange(rows) - start  # of rows alike in one look the how many-th
    return np.unique(found * (int(again.max(initial=0)) + 1) + again, return_inverse=True)[1]


def _codes(column: Any) -> list[Numbers]:
    """Small numbers that tell the values of a column apart, floating-point ones by their bits."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    kind = column.type
    if pa.types.is_nested(kind):
        column = pa.array([None if one is None else repr(one) for one in column.to_pylist()], pa.string())
    elif pa.types.is_floating(kind):
        bits = column.fill_null(0).to_numpy(zero_copy_only=False).view(f"i{kind.bit_width // 8}")
        missing = column.is_null().to_numpy(zero_copy_only=False)
        return [np.unique(bits, return_inverse=True)[1], missing.astype(np.int64)]
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes: Numbers = pc.fill_null(column.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return [codes + 1]


# From when to when, and in which order


def _runs(same: Numbers, look: Numbers, looks: int) -> tuple[Numbers, Numbers, Numbers]:
    """Of each run of one row through looks, in the order of the file: a row that has it, its first look and its end."""
    row, first, last = (np.zeros(len(same) + 1, np.int64) for _ in range(3))
    before = np.zeros(
        len(same) + 1, np.int64
    )  # a list of runs, linked from its end to its beginning, which are run 0
    run_of = np.zeros(int(same.max(initial=-1)) + 1, np.int64)
    place = np.zeros_like(run_of)
    begins = np.searchsorted(look, np.arange(looks + 1))
    count, alive, there = 0, np.empty(0, np.int64), np.empty(0, np.int64)
    for at in range(looks):
        here = same[begins[at] : begins[at + 1]]
        runs = run_of[here]  # 0: it was not there at the look before
        stays = runs > 0
        stays[stays] = _longest(place[here[stays]])
        fresh = np.flatnonzero(~stays)
        new = runs[fresh] = np.arange(count + 1, count + 1 + len(fresh))
        row[new], first[new] = begins[at] + fresh, at
        last[alive] = at
        last[runs] = looks
        run_of[there] = 0
        run_of[here], place[here] = runs, np.arange(len(here))
        _insert(before, runs[::-1], stays[::-1])
        count, alive, there = count + len(fresh), runs, here
    order, links, run = [], before.tolist(), 0
    while run := links[run]:
        order.append(run)
    order.reverse()
    return row[order], first[order], last[order]


def _insert(before: Numbers, runs: Numbers, stays: npt.NDArray[np.bool_]) -> None:
    """Link the *runs* of a look, its last one first, that do not stay before those that stand behind them there."""
    chain, kept = np.r_[0, runs], np.r_[True, stays]
    anchor = np.maximum.accumulate(np.where(kept, np.arange(len(chain)), 0))
    then = before[chain[anchor]]
    fresh = np.flatnonzero(~kept)
    before[chain[fresh - 1]] = chain[fresh]
    ends = fresh[np.r_[kept, True][fresh + 1]]  # what comes next stays, or is nothing
    before[chain[ends]] = then[ends]


def _longest(places: Numbers) -> npt.NDArray[np.bool_]:
    """Which of *places*, no two alike, are the most that ascend."""
    kept = np.ones(len(places), bool)
    if (np.diff(places) > 0).all():
        return kept
    ends: list[int] = []  # of the ascents of each length, the least last place
    holders: list[int] = []
    before = np.empty(len(places), np.int64)
    for at, value in enumerate(places.tolist()):
        length = bisect_left(ends, value)
        before[at] = holders[length - 1] if length else -1
        ends[length : length + 1], holders[length : length + 1] = [value], [at]
    kept[:] = False
    at = holders[-1]
    while at >= 0:
        kept[at] = True
        at = int(before[at])
    return kept
