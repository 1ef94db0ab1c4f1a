"""Addresses to functions by sorted arrays, against a plain search."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.symbols.table import Piece, Table


def piece(rows, limit=10_000):
    """Rows are (start, size, rank, name)."""
    texts = [name.encode() + b"\0" for *_, name in rows]
    return Piece(
        np.array([row[0] for row in rows], np.uint64),
        np.array([row[1] for row in rows], np.uint64),
        np.full(len(rows), limit, np.uint64),
        np.array([row[2] for row in rows], np.uint8),
        np.cumsum([0, *(len(text) for text in texts)])[: len(rows)].astype(np.int64),
        b"".join(texts),
    )


def found(table, addresses):
    return [table.name(at) if at >= 0 else None for at in table.find(np.array(addresses, np.uint64)).tolist()]


spans = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=40)


@settings(deadline=None)
@given(spans)
def test_each_address_has_the_innermost_function_that_holds_it(spans):
    rows = [(start, size, i % 7, f"f{i}") for i, (start, size) in enumerate(spans)]
    table = Table([piece(rows)])
    best = {}
    for start, size, rank, name in rows:
        best.setdefault(start, []).append((rank, name, size))
    chosen = {start: min(each, key=lambda row: row[0]) for start, each in best.items()}
    for address in range(300):
        inside = [s for s, (_, _, size) in chosen.items() if s <= address < s + size]
        expected = chosen[max(inside)][1] if inside else None
        assert found(table, [address]) == [expected]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), max_size=30))
def test_a_symbol_holds_its_own_bytes_and_nothing_between_symbols(widths):
    rows, at = [], 0
    for size, gap in widths:
        rows.append((at, size, 0, f"f{at}"))
        at += size + gap
    table = Table([piece(rows[::2]), piece(rows[1::2])])
    names = {address: row[3] for row in rows for address in range(row[0], row[0] + row[1])}
    every = list(range(at + 10))
    assert found(table, every) == [names.get(address) for address in every]
    assert np.all(table.starts[1:] > table.starts[:-1])


def test_without_a_size_a_function_goes_as_far_as_the_next_or_its_section():
    table = Table([piece([(10, 0, 0, "a"), (20, 4, 0, "b"), (30, 0, 0, "c")], limit=40)])
    assert found(table, [9, 10, 19, 20, 24, 30, 39, 40]) == [None, "a", "a", "b", None, "c", "c", None]


def test_labels_inside_of_functions_are_none():
    table = Table([piece([(10, 20, 0, "f"), (15, 0, 0, "label"), (30, 0, 0, "g")], limit=40)])
    assert found(table, [14, 15, 29, 30]) == ["f", "f", "f", "g"]
    assert len(table) == 2


def test_the_one_with_a_size_then_of_the_lowest_rank_is_the_name_of_an_address():
    rows = [(10, 0, 0, "start"), (10, 8, 8, "local"), (10, 8, 0, "write"), (10, 8, 4, "__write")]
    assert found(Table([piece(rows)]), [10]) == ["write"]


def test_an_empty_table_and_ends_beyond_64_bits():
    assert found(Table([]), [0, 5, 2**64 - 1]) == [None] * 3
    top = 2**64 - 4
    assert found(Table([piece([(top, 100, 0, "f")])]), [top - 1, top, 2**64 - 2]) == [None, "f", "f"]
