"""Time series: every number that is drawn, against counting by hand or by pandas."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import moments, timeseries
from bpfnb.views.lines.bins import Bins
from bpfnb.views.lines.chart import Slots, axis, with_unit
from bpfnb.views.lines.samples import Samples

SECOND = 10**9
T0 = 1_763_700_000 * SECOND

rows = st.lists(
    st.tuples(
        st.integers(0, 40 * SECOND),
        st.sampled_from("abcdef"),
        st.integers(-1000, 1_000_000),
    ),
    min_size=1,
    max_size=120,
)


def frame_of(events) -> pd.DataFrame:
    times, labels, values = zip(*events, strict=True)
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(np.array(times) + T0, unit="ns"),
            "who": list(labels),
            "n": np.array(values, np.int64),
        }
    )


def naive(frame: pd.DataFrame, mode: str) -> pd.Series:
    """By pandas: bins of a second, one value a bin and label."""
    groups = frame.groupby([frame["ts"].dt.floor("1s"), "who"], sort=False)
    match mode:
        case "count" | "rate":
            return groups.size().astype(float)
        case "sum":
            return groups["n"].sum().astype(float)
        case "mean":
            return groups["n"].mean()
        case "max":
            return groups["n"].max().astype(float)
        case "gauge":
            return (
                frame.sort_values("ts", kind="stable")
                .groupby([frame["ts"].dt.floor("1s"), "who"])["n"]
                .last()
                .astype(float)
            )
        case _:
            rank = int(mode[1:])
            return groups["n"].agg(lambda v: float(sorted(v)[max(math.ceil(rank / 100 * len(v)), 1) - 1]))


@given(rows, st.sampled_from(["count", "rate", "sum", "mean", "max", "gauge", "p50", "p90", "p99"]))
@settings(max_examples=150, deadline=None)
def test_each_bin_of_each_line_is_what_pandas_says(events, mode):
    frame = frame_of(events)
    column = None if mode in ("count", "rate") else "n"
    drawn = timeseries(frame, column, by="who", mode=mode, every="1s").drawn.set_index("start")
    wanted = naive(frame, mode)
    for (when, who), value in wanted.items():
        assert drawn.loc[when.tz_localize("UTC"), who] == pytest.approx(value)
    lines = drawn.drop(columns=["stop", "seconds"])
    nothing = 0 if mode in ("count", "rate", "sum") else None
    found = lines.fillna(0) if nothing == 0 else lines
    # And nowhere else is anything: what pandas does not list is zero, or a gap.
    listed = {(when.tz_localize("UTC"), who) for when, who in wanted.index}
    for who in found.columns:
        for when, value in found[who].items():
            if (when, who) not in listed:
                assert value == 0 if nothing == 0 else math.isnan(value)


@given(rows, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_top_lines_and_the_others_add_up_to_all(events, top):
    frame = frame_of(events)
    drawn = timeseries(frame, by="who", every="1s", top=top).drawn
    lines = drawn.drop(columns=["start", "stop", "seconds"])
    totals = frame["who"].value_counts()
    rest = len(totals) - top
    assert (lines.mul(drawn["seconds"], axis=0)).to_numpy().sum() == len(frame)
    assert len(lines.columns) == min(top, len(totals)) + (rest > 0)
    if rest > 0:
        assert lines.columns[-1] == f"{rest} others"
        assert lines.iloc[:, :-1].sum().min() >= totals.nsmallest(rest).max()


@given(rows, st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_rows_in_any_portions_give_the_same_bins(events, parts):
    at_once, bit_by_bit = Bins(SECOND, "p90"), Bins(SECOND, "p90")
    times, labels, values = (list(column) for column in zip(*events, strict=True))
    when, who, what = np.array(times, np.int64), pd.Series(labels), np.array(values, float)
    at_once.add(when, who, what)
    for part in np.array_split(np.arange(len(when)), parts):
        bit_by_bit.add(when[part], who.iloc[part], what[part])
        bit_by_bit.lines(3)
    a, b = at_once.lines(9), bit_by_bit.lines(9)
    assert a.first == b.first
    assert {label: line.tolist() for label, line in zip(a.labels, np.nan_to_num(a.values), strict=True)} == {
        label: line.tolist() for label, line in zip(b.labels, np.nan_to_num(b.values), strict=True)
    }


def test_late_rows_go_where_they_belong_and_too_late_ones_are_counted():
    bins = Bins(10, "count", valued=False, keep=5)
    bins.add(np.array([100, 101, 145]))
    bins.add(np.array([102, 120]))  # late, and still kept
    bins.add(np.array([99, 12]))  # older than five bins before the newest
    assert bins.lines(1).values.tolist() == [[3, 0, 1, 0, 1]]
    assert (bins.first, bins.early) == (10, 2)
    bins.add(np.array([164]))  # the oldest two go
    assert bins.first == 12
    assert bins.lines(1).values.tolist() == [[1, 0, 1, 0, 1]]


def test_a_late_row_before_the_first_makes_room():
    bins = Bins(10, "sum")
    bins.add(np.array([50]), None, np.array([5.0]))
    bins.add(np.array([20]), None, np.array([2.0]))
    assert bins.first == 2
    assert bins.lines(1).values.tolist() == [[2, 0, 0, 5]]


def test_beyond_the_bound_of_groups_the_smallest_are_put_together_and_nothing_is_lost():
    bins = Bins(10, "count", valued=False, groups=16)
    labels = [f"g{i}" for i in range(100) for _ in range(i + 1)]
    for part in np.array_split(np.arange(len(labels)), 50):
        bins.add(np.full(len(part), 7, np.int64), pd.Series(labels).iloc[part])
    lines = bins.lines(4)
    assert lines.values.sum() == len(labels)
    assert lines.labels[:2] == ("g99", "g98")
    assert bins.merged > 0


def test_a_line_gives_way_only_to_one_a_quarter_larger():
    bins = Bins(10, "count", valued=False)
    grow = lambda label, rows: bins.add(np.full(rows, 7, np.int64), pd.Series([label] * rows))  # noqa: E731
    grow("a", 100)
    grow("b", 90)
    assert bins.lines(1).labels == ("a", "1 others")
    grow("b", 30)
    assert bins.lines(1).labels == ("a", "1 others")
    grow("b", 10)
    assert bins.lines(1).labels == ("b", "1 others")


def test_a_percentile_forgets_old_bins_rather_than_memory(monkeypatch):
    monkeypatch.setattr("bpfnb.views.lines.bins._VALUES", 100)
    bins = Bins(10, "p99")
    for number in range(20):
        bins.add(np.full(30, number * 10, np.int64), None, np.arange(30.0))
    assert bins.lines(1).values.tolist() == [[29.0] * 3]
    assert bins.first == 17


def test_a_counters_rate_is_its_growth_by_the_true_time():
    samples = Samples(rate=True, patience=10)
    samples.add(0, 0.0, ["a"], np.array([2**63 + 1], np.uint64))
    samples.add(2 * SECOND, 2.5, ["a"], np.array([2**63 + 11], np.uint64))
    lines, looks = samples.lines(5)
    assert (lines.labels, lines.values.tolist()) == (("a",), [[10 / 2.5]])
    assert (looks[0].start, looks[0].stop, looks[0].seconds) == (0, 2 * SECOND, 2.5)


def test_a_counter_that_went_down_began_again_and_no_rate_is_negative():
    samples = Samples(rate=True, patience=10)
    for clock, value in enumerate((100, 150, 30, 40)):
        samples.add(clock * SECOND, float(clock), ["a"], np.array([value], np.uint64))
    lines, looks = samples.lines(5)
    assert lines.values.tolist() == [[50, 30, 10]]
    assert [sorted(look.resets) for look in looks] == [[], ["a"], []]


def test_a_key_that_vanished_and_came_back_began_again_and_a_new_one_counts_from_zero():
    samples = Samples(rate=True, patience=10)
    looks = [{"a": 5}, {"a": 9, "b": 7}, {"b": 8}, {"a": 20, "b": 8}]
    for clock, now in enumerate(looks):
        samples.add(clock * SECOND, float(clock), list(now), np.array(list(now.values()), np.uint64))
    lines, found = samples.lines(5)
    by_label = dict(zip(lines.labels, lines.values.tolist(), strict=True))
    assert by_label == {"a": [4, 0, 20], "b": [7, 1, 0]}
    assert [sorted(look.resets) for look in found] == [[], [], ["a"]]
    assert samples.resets == 1


def test_between_looks_too_far_apart_nothing_is_known():
    samples = Samples(rate=True, patience=2)
    for clock in (0, 1, 2, 30, 31):
        samples.add(clock * SECOND, float(clock), ["a"], np.array([clock * 10], np.uint64))
    _, looks = samples.lines(5)
    assert [(look.start // SECOND, look.stop // SECOND) for look in looks] == [(0, 1), (1, 2), (30, 31)]


def test_gauges_are_drawn_as_they_are_and_the_rest_is_added_up():
    samples = Samples(rate=False, patience=2)
    samples.add(0, 0.0, ["a", "b", "c"], np.array([-3, 10, 1]))
    samples.add(SECOND, 1.0, ["a", "b", "c"], np.array([-4, 11, 2]))
    lines, _ = samples.lines(2)
    assert lines.labels == ("b", "a", "1 others")
    assert lines.values.tolist() == [[10, 11], [-3, -4], [1, 2]]


def test_a_frame_with_a_time_index_is_one_line_a_column():
    index = pd.date_range("2026-11-21", periods=3, freq="s")
    view = timeseries(pd.DataFrame({"a": [1, 2, 3], "b": [0.5, None, -7.0], "text": "x"}, index=index))
    drawn = view.drawn
    assert list(drawn.columns) == ["start", "stop", "seconds", "b", "a"]
    assert drawn["a"].tolist() == [1, 2, 3]
    assert drawn["b"].fillna(99).tolist() == [0.5, 99, -7.0]
    assert drawn["start"].tolist() == list(index.tz_localize("UTC"))


def test_only_what_was_measured_counts_and_the_window_says_what_was():
    frame = pd.DataFrame({"ts": pd.to_datetime([T0 + SECOND // 2, T0 + SECOND * 5 // 2], unit="ns")})
    frame.attrs["bpfnb"] = {"window": [moment(T0 + SECOND // 4), moment(T0 + 3 * SECOND)]}
    drawn = timeseries(frame, every="1s").drawn
    assert drawn["seconds"].tolist() == [0.75, 1.0, 1.0]
    assert drawn["rows per second"].tolist() == [1 / 0.75, 0, 1]


def moment(ns: int) -> str:
    return pd.Timestamp(ns, unit="ns", tz="UTC").isoformat()


def test_units_come_from_the_annotation_and_rates_are_per_second():
    frame = pd.DataFrame({"ts": pd.to_datetime([T0, T0 + 9], unit="ns"), "size": [1024, 2048]})
    frame.attrs["bpfnb_columns"] = {"size": {"unit": "bytes"}}
    view = timeseries(frame, "size", mode="rate", every="1s")
    assert "3 KiB/s" in view._text()
    assert "size per second" in view.svg()


@pytest.mark.parametrize(
    ("value", "unit", "rate", "text"),
    [
        (1_500_000, "ns", False, "1.5 ms"),
        (12_600, "bytes", True, "12.3 KiB/s"),
        (4500.4, None, True, "4,500/s"),
        (0.123456, None, False, "0.123"),
        (2_345_678, None, True, "2.35 M/s"),
        (math.nan, None, True, "-"),
    ],
)
def test_numbers_read_as_people_read_them(value, unit, rate, text):
    assert with_unit(value, unit, rate) == text


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12), st.sampled_from([None, "ns", "bytes"]), st.booleans())
def test_an_axis_holds_its_numbers_in_few_round_ticks(low, more, unit, zero):
    assume(more == 0 or more > 1e-6 * abs(low))
    found = axis(low, low + more, unit, False, zero=zero)
    slack = 1e-6 * max(abs(low), abs(low + more))
    assert found.low <= low + slack
    assert found.high >= low + more - slack
    assert 2 <= len(found.ticks) <= 12
    assert len(set(found.labels)) == len(found.ticks)
    assert not zero or found.low <= 0 <= found.high


def test_a_line_keeps_its_colour_while_others_come_and_go():
    slots = Slots(3)
    assert slots.assign(["a", "b", "c"]) == [0, 1, 2]
    assert slots.assign(["c", "d", "a"]) == [2, 1, 0]


@pytest.mark.parametrize(
    ("values", "unit", "wanted"),
    [
        (pd.Series(pd.to_datetime(["2026-11-21T05:00"])), None, 1795237200 * SECOND),
        (pd.Series(pd.to_datetime(["2026-11-21T05:00+02:00"])), None, 1795230000 * SECOND),
        (pd.Series([1763700000]), None, T0),
        (pd.Series([1763700000123], name="x"), None, T0 + 123_000_000),
        (pd.Series([1763700000000007]), None, T0 + 7000),
        (pd.Series([T0 + 5], dtype="uint64"), None, T0 + 5),
        (pd.Series([1.5]), None, 1_500_000_000),
        (pd.Series([7], name="start_ms"), None, 7_000_000),
        (pd.Series([7]), "us", 7000),
        (pd.Series([pd.Timedelta("3ms")]), None, 3_000_000),
    ],
)
def test_moments_are_nanoseconds_whatever_they_were(values, unit, wanted):
    found, there = moments.nanoseconds(values, unit)
    assert (found.tolist(), there.tolist()) == ([wanted], [True])


def test_what_cannot_be_drawn_is_refused_with_the_reason():
    frame = frame_of([(0, "a", 1)])
    with pytest.raises(UnknownName, match="no column 'nn'"):
        timeseries(frame, "nn")
    with pytest.raises(UnknownName, match="no mode 'median'"):
        timeseries(frame, "n", mode="median")
    with pytest.raises(BadValue, match="of which column"):
        timeseries(frame, mode="p99")
    with pytest.raises(BadValue, match="several lines already"):
        timeseries(frame, ["n", "who"], by="who")
    with pytest.raises(BadValue, match="when the rows happened"):
        timeseries(frame[["who", "n"]])
    with pytest.raises(TypeError, match="nothing to draw"):
        _ = timeseries(frame, "who", mode="max").drawn
    with pytest.raises(BadValue, match="longer time"):
        _ = timeseries(frame_of([(0, "a", 1), (40 * SECOND, "a", 1)]), every="1us").drawn
    with pytest.raises(ValueError, match="no positive length"):
        timeseries(frame, every="0s")


def test_a_time_that_is_dragged_over_is_an_exact_range_of_the_column():
    view = timeseries(frame_of([(0, "a", 1), (2 * SECOND, "b", 2), (2 * SECOND + 1, "c", 3)]), every="1s")
    payload = view._build()
    view._on_message({"kind": "select", "zero": payload.meta["zero"], "from": 1.0, "to": 3.0}, [])
    assert view.selection == {"ts": {"ge": T0 + SECOND, "lt": T0 + 3 * SECOND}}
    assert view.selected["who"].tolist() == ["b", "c"]
    assert view._build().meta["selected"] == [1.0, 3.0]
    view._on_message({"kind": "select", "zero": payload.meta["zero"]}, [])
    assert view.selection == {}


def test_a_selection_of_a_column_of_seconds_is_in_seconds():
    view = timeseries(pd.DataFrame({"time": [0.25, 1.5, 7.0]}), every="1s")
    payload = view._build()
    view._on_message({"kind": "select", "zero": payload.meta["zero"], "from": 1.0, "to": 2.0}, [])
    assert view.selected["time"].tolist() == [1.5]


def test_linked_views_filter_what_is_counted():
    frame = frame_of([(0, "a", 1), (1, "b", 1), (2, "b", 1)])
    counted, other = timeseries(frame, mode="count", every="1s"), timeseries(frame, by="who", every="1s")
    other.selection = {"who": {"in": ["b"]}}
    counted._build_now()
    assert counted.drawn["rows"].tolist() == [2]
    assert other.drawn["a"].tolist() == [1]


def test_the_static_picture_stands_alone_and_escapes():
    view = timeseries(
        frame_of([(i * SECOND, "<b>&", i) for i in range(5)]), "n", by="who", every="1s", title="<x>"
    )
    picture = view.svg("dark")
    assert "&lt;b&gt;&amp;amp;" not in picture
    assert "&lt;b&gt;&amp;" in picture
    assert "<b>" not in picture
    assert "var(" not in picture
    assert "<script" not in picture
    assert "var(--b-fg,#1f2328)" in view.svg("auto")


def test_a_gap_is_a_gap_in_the_picture_too():
    view = timeseries(
        frame_of([(0, "a", 1), (SECOND, "a", 2), (3 * SECOND, "a", 5)]), "n", mode="max", every="1s"
    )
    path = view.svg().split('<path d="')[1].split('"')[0]
    assert path.count("M") == 2  # two pieces
    assert view.svg().count("<circle") == 1  # of which the second is one point


def test_plotly_draws_the_same_numbers():
    view = timeseries(
        frame_of([(0, "a", 1), (SECOND, "a", 2), (SECOND, "b", 9)]), "n", by="who", mode="sum", every="1s"
    )
    figure = view.to_plotly()
    assert {line.name: list(line.y) for line in figure.data} == {"b": [0, 9], "a": [1, 2]}


def test_nothing_yet_is_said_and_is_no_error():
    view = timeseries(frame_of([(0, "a", 1)]).iloc[:0], every="1s")
    assert "nothing was measured yet" in view._text()
    assert "nothing was measured yet" in view.svg()
    assert view._build().meta["labels"] == []
