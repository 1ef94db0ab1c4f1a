"""Rows that C counts into a heatmap's grid are counted as NumPy counts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.views import _buckets
from bpfnb.views.heat.grid import Grid
from bpfnb.views.heat.tally import Tally
from bpfnb.views.histogram.scale import Scale

TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]
NEVER = -(10**18)


def scale(edges: list[int] | None) -> Scale:
    if edges is None:
        return Scale("log2", (0, 1), False)
    return Scale(edges, _buckets.explicit(np.zeros(0), edges), False)


near = st.lists(st.integers(-200, 300), min_size=2, max_size=30, unique=True).map(sorted)
far = near.map(lambda edges: [*edges, 10**6, 10**7])  # too far apart to be looked up in a table


@st.composite
def batches(draw, dtype: np.dtype) -> list[tuple[list[int], list[int]]]:
    limits = np.iinfo(dtype)
    values = st.one_of(
        st.integers(max(limits.min, -400), min(limits.max, 500)), st.integers(limits.min, limits.max)
    )
    row = st.tuples(st.one_of(st.integers(0, 200), st.just(NEVER)), values)
    return [tuple(zip(*rows, strict=True)) for rows in draw(st.lists(st.lists(row, min_size=1), max_size=6))]


@settings(deadline=None, max_examples=300)
@given(
    st.data(), st.sampled_from(TYPES), st.one_of(st.none(), near, far), st.integers(1, 30), st.integers(1, 9)
)
def test_c_counts_what_numpy_counts(data, name, edges, width, every):
    dtype = np.dtype(name)
    buckets = scale(edges)
    tally = Tally.of(buckets.edges, dtype)
    if tally is None:
        pytest.skip("there is no compiler")
    ours, theirs = (Grid(every, width, -7, buckets) for _ in range(2))
    for moments, numbers in data.draw(batches(dtype)):
        at, values = np.array(moments), np.array(numbers, dtype)
        there = at != NEVER
        # As they stand in a record, beside other fields.
        record = np.zeros(len(at), [("at", "<i8"), ("between", "u1"), ("value", dtype)])
        record["at"], record["value"] = np.where(there, at - 3, NEVER), values
        missing = tally.count(ours, record["at"], record["value"], 3, NEVER)
        assert missing == (~there).sum()
        theirs.add((at[there] + 7) // every, buckets.cells(values[there]), None)
        if theirs.empty:
            continue
        assert ours.edges == theirs.edges
        assert (ours.first, ours.stop) == (theirs.first, theirs.stop)
        np.testing.assert_array_equal(ours.block().counts, theirs.block().counts)
        assert ours.dirty <= theirs.dirty
        if data.draw(st.booleans()):
            ours.taken()
            theirs.taken()


def test_c_counts_no_floats():
    assert Tally.of((0.0, 1.0, 2.0), np.dtype("f8")) is None
    assert Tally.of((0, 1, 2), np.dtype(">i4")) is None
