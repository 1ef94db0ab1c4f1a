"""Histograms count exactly, whatever the numbers; their drawings say the same."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import drawings

from bpfnb.errors import UnknownName
from bpfnb.views import Histogram, hist, humanize
from bpfnb.views.histogram.flags import placed

U64_MAX = 2**64 - 1
any_numbers = st.one_of(
    hnp.arrays(np.uint64, st.integers(0, 60)),
    hnp.arrays(np.int64, st.integers(0, 60)),
    hnp.arrays(np.int8, st.integers(0, 60)),
    hnp.arrays(np.float64, st.integers(0, 60)),
    hnp.arrays(np.float32, st.integers(0, 60)),
)
any_buckets = st.sampled_from(["log2", "linear", 1, 7, (0, 10, 100), (-5, 2.5, 1e9), (2**62, 2**63, 2**64)])


@given(any_numbers, any_buckets)
def test_every_value_lies_in_exactly_the_bucket_that_counts_it(values, buckets):
    h = Histogram.of(values, buckets)
    present = [v for v in values.tolist() if not (isinstance(v, float) and math.isnan(v))]
    assert h.total + h.missing == len(values)
    assert all(a < b for a, b in zip(h.edges, h.edges[1:], strict=False))
    # Python compares integers with floats exactly, so this is the truth. The last bucket may hold infinity.
    last = len(h.edges) - 2
    expected = [
        sum(low <= v < high or (i == last and v == high == math.inf) for v in present)
        for i, (low, high) in enumerate(zip(h.edges, h.edges[1:], strict=False))
    ]
    assert h.table[0].tolist() == expected
    assert h.counts["count"].sum() == len(present)
    assert len(h.text().splitlines()) >= len(expected)
    ET.fromstring(h._repr_html_().split("</style>")[1])


@given(hnp.arrays(np.uint64, st.integers(1, 80)), st.sampled_from([50, 90, 99]))
def test_percentiles_of_raw_values_are_values_that_occurred(values, percent):
    value = Histogram.of(values).percentiles[""][percent]
    ordered = sorted(values.tolist())
    assert value == ordered[math.ceil(percent / 100 * len(ordered)) - 1]


def test_log2_buckets_begin_at_powers_of_two():
    h = hist(np.array([0, 0, 1, 2, 3, 4, 7, 8, 1023, 1024], np.uint64))
    assert h.edges == (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    assert h.table[0].tolist() == [2, 1, 2, 2, 1, 0, 0, 0, 0, 0, 1, 1]


def test_the_largest_u64_has_a_bucket_and_exact_edges():
    h = hist(np.array([1, U64_MAX], np.uint64))
    assert h.edges[-1] == 2**64
    assert h.table[0][-1] == 1
    assert int(h.counts["upper"].iloc[-1]) == 2**64
    assert h.counts["lower"].iloc[-1] == 2**63
    assert h.percentiles[""][99] == U64_MAX


def test_neighbours_beyond_what_a_double_holds_are_told_apart():
    values = np.array([2**63 - 1, 2**63, 2**63 + 1], np.uint64)
    h = hist(values, buckets=[2**63 - 1, 2**63, 2**63 + 1, 2**63 + 2])
    assert h.table[0].tolist() == [1, 1, 1]


def test_missing_values_are_counted_apart():
    series = pd.Series([1.0, np.nan, 3.0, np.nan])
    h = hist(series, buckets="linear")
    assert (h.total, h.missing) == (2, 2)
    assert "2 missing values" in h.text()
    assert hist(pd.Series([1, None, 3], dtype="Int64")).missing == 1
    assert hist(pd.Series([1, None, 3], dtype="uint64[pyarrow]")).total == 2


def test_negative_values_share_one_bucket():
    h = hist(np.array([-1000, -1, 0, 5]))
    assert h.table[0].tolist()[:2] == [2, 1]
    assert "< 0 : 2" in h.text()


def test_values_outside_the_given_edges_are_counted_below_and_above():
    h = hist([1, 5, 10, 99, 1000], buckets=[5, 10, 100])
    assert h.edges == (-math.inf, 5, 10, 100, math.inf)
    assert h.table[0].tolist() == [1, 1, 2, 1]
    assert "< 5 : 1" in h.text()
    assert ">= 100 : 1" in h.text()


def test_linear_buckets_are_round_and_whole_for_integers():
    h = hist(np.arange(3, 203))
    assert set(np.diff(hist(np.arange(3, 203), buckets="linear").edges)) == {10}
    assert h.total == 200
    assert hist(np.array([5, 5, 5]), buckets="linear").edges == (5, 6)


def test_groups_are_counted_apart_and_add_up():
    frame = pd.DataFrame({"ns": [1, 2, 4, 1000, 1001], "comm": ["a", "b", "b", "b", "a"]})
    h = hist(frame, "ns", by="comm", unit="ns")
    assert h.groups == ("b", "a")  # most values first
    assert h.table.sum(axis=1).tolist() == [3, 2]
    assert h.percentiles["b"][50] == 4
    assert h.counts.groupby("group")["count"].sum().to_dict() == {"a": 2, "b": 3}


def test_a_map_of_slots_counts_what_its_values_say():
    frame = pd.DataFrame({"key": [0, 10, 11], "value": [5, 100, 50]})
    h = hist(frame, unit="ns")
    assert h.total == 155
    assert h.edges[0] == 0
    assert h.edges[-1] == 1 << 12
    assert not h.exact
    assert "interpolated" in h.text()
    # Half of 155 lies 72.5 values into the 100 of [1024, 2048).
    assert h.percentiles[""][50] == 1024 + 1024 * 72.5 / 100


def test_an_array_map_is_indexed_by_slot_and_empty_slots_are_trimmed():
    counts = np.zeros(64, np.int64)
    counts[[3, 5]] = 7
    frame = pd.DataFrame({"value": counts}, index=pd.RangeIndex(64, name="key"))
    h = hist(frame)
    assert h.edges == (8, 16, 32, 64)
    assert h.table[0].tolist() == [7, 0, 7]


def test_bcc_slots_are_one_lower():
    # bcc's bpf_log2l: slot 1 counts 0 and 1, slot 2 counts 2 and 3.
    h = Histogram.from_slots([1, 2, 3], [4, 5, 6], first=-1)
    assert h.edges == (0, 2, 4, 8)
    assert h.table[0].tolist() == [4, 5, 6]


def test_arrays_of_slots_make_a_group_a_row():
    frame = pd.DataFrame({"comm": ["dd", "sh"], "slots.0": [1, 0], "slots.1": [2, 0], "slots.2": [0, 9]})
    h = hist(frame)
    assert h.groups == ("sh", "dd")
    assert h.table.tolist() == [[0, 0, 9], [1, 2, 0]]
    assert hist(frame, "slots", by="comm").total == 12


def test_linear_slots_take_their_width():
    h = Histogram.from_slots([2, 4], [1, 3], 5)
    assert h.edges == (10, 15, 20, 25)
    assert h.table[0].tolist() == [1, 0, 3]


def test_a_timedelta_is_counted_in_nanoseconds():
    h = hist(pd.Series(pd.to_timedelta([1, 2], unit="us")))
    assert h.unit == "ns"
    assert h.percentiles[""][50] == 1000


def test_the_unit_comes_from_the_annotation():
    frame = pd.DataFrame({"latency": [1024]})
    frame.attrs["bpfnb_columns"] = {"latency": {"unit": "ns"}}
    assert hist(frame, "latency").unit == "ns"
    assert hist(frame["latency"]).unit == "ns"


def test_text_is_no_number_and_an_unknown_column_is_named():
    with pytest.raises(TypeError, match="counts numbers"):
        hist(pd.Series(["a", "b"], name="comm"))
    with pytest.raises(UnknownName, match="no column 'latenzy'") as caught:
        hist(pd.DataFrame({"latency": [1]}), "latenzy")
    assert "latency" in caught.value.hints[0]
    with pytest.raises(UnknownName, match="which column"):
        hist(pd.DataFrame({"latency": [1]}))
    with pytest.raises(UnknownName, match="cubic"):
        hist([1, 2], buckets="cubic")
    with pytest.raises(ValueError, match="increasing"):
        hist([1, 2], buckets=[3, 2, 1])


def test_nothing_at_all_still_shows():
    h = hist(np.array([], np.uint64))
    assert h.total == 0
    assert "0 values" in h.text()
    assert len(drawings(h.html())) == 1


def test_text_has_the_range_the_count_and_the_bar():
    text = hist(pd.Series([1024] * 8 + [5000] * 4, name="latency"), unit="ns").text(width=8)
    assert "[1.02 us, 2.05 us) : 8     |********|" in text
    assert "[4.1 us, 8.19 us) : 4     |****    |" in text
    assert text.endswith("12 values, p50 1.02 us, p90 5 us, p99 5 us")


def test_the_plotly_figure_has_the_counts_and_ranges():
    h = hist(np.array([1, 2, 3, 1000], np.uint64), unit="us")
    figure = h.to_plotly()
    bar = figure.data[0]
    assert list(bar.y) == h.table[0].tolist()
    assert bar.customdata[-1] == "[512 us, 1.02 ms)"
    assert figure.layout.xaxis.ticktext[0] == "1 us"
    assert [note.text for note in figure.layout.annotations] == ["p50 2 us", "p90 1 ms", "p99 1 ms"]


def test_names_of_processes_are_escaped():
    frame = pd.DataFrame({"x": [1, 2], "comm": ["<script>", "a&b\x1b[31m"]})
    h = hist(frame, "x", by="comm")
    assert "<script>" not in h.html()
    assert "\x1b" not in h.text()
    assert all("<script>" not in trace.name for trace in h.to_plotly().data)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "ns", "0 ns"),
        (999, "ns", "999 ns"),
        (999.9, "us", "1 ms"),
        (1_500_000, "ns", "1.5 ms"),
        (90, "s", "90 s"),
        (0.25, "ns", "0.25 ns"),
        (4096, "bytes", "4 KiB"),
        (5000, "bytes", "4.88 KiB"),
        (1 << 20, None, "1 Mi"),
        (2**64, None, "16 Ei"),
        (1_234_567, None, "1,234,567"),
        (3, "packets", "3 packets"),
        (1.25, None, "1.25"),
    ],
)
def test_humanize(value, unit, text):
    assert humanize(value, unit) == text


@pytest.mark.parametrize(
    "lines", [(5.0, 10.0, 15.0), (380.0, 590.0, 597.0), (590.0, 595.0, 598.0), (300.0, 300.0, 340.0)]
)
def test_labels_of_percentiles_touch_neither_each_other_nor_lines(lines):
    wide = 70.0
    found = placed([(x, wide) for x in lines], 0.0, 600.0)
    for (left, row), x in zip(found, lines, strict=True):
        assert left >= 0
        assert left + wide <= 600
        assert left in (x + 4, x - 4 - wide)
        for (other, above), line in zip(found, lines, strict=True):
            if (other, above, line) != (left, row, x):
                assert row != above or other + wide < left or left + wide < other
            assert above < row or not left < line < left + wide
