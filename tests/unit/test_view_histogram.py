"""The live histogram: what is drawn is what the frame holds, in buckets that are named truly."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from fakecomm import FakeComm, Page
from growing import Growing
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.errors import UnknownName
from bpfnb.views import Histogram, HistogramView, hist, selection
from bpfnb.views.histogram import view as module
from bpfnb.views.histogram.asked import Asked
from bpfnb.views.histogram.counting import Counter
from bpfnb.views.histogram.parts import parts, placed

U64 = np.uint64


def frame(values, groups=None, dtype=U64) -> pd.DataFrame:
    columns = {"x": np.array(values, dtype)}
    if groups is not None:
        columns["comm"] = groups
    return pd.DataFrame(columns)


def drawn(view) -> dict:
    """What the browser gets, by group."""
    payload = view._build()
    rows = payload.columns["counts"].tolist()
    return {
        group["label"]: dict(zip(payload.meta["ranges"], row, strict=True))
        for group, row in zip(payload.meta["groups"], rows, strict=True)
    }


def nonzero(h) -> dict:
    counts = h.counts
    group = counts["group"] if "group" in counts else [""] * len(counts)
    rows = zip(counts["lower"].tolist(), group, counts["count"].tolist(), strict=True)
    return {(lower, label): count for lower, label, count in rows if count}


# The counter


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=12), min_size=1, max_size=6),
    st.lists(st.integers(0, 20), min_size=6, max_size=6),
    st.booleans(),
    st.sampled_from(["log2", (5, 10, 100)]),
)
def test_following_a_stream_counts_what_it_holds_at_each_moment(batches, gone, filtered, buckets):
    values = np.array([v for batch in batches for v in batch], U64)
    whole = frame(values, [f"g{v % 3}" for v in values.tolist()])
    asked = Asked.of(list(whole.columns), "x", buckets, by="comm")
    counter = Counter(asked, asked.count(whole).edges, np.dtype(U64), filtered)
    start = floor = 0
    for batch, leave in zip(batches, gone, strict=False):
        stop = start + len(batch)
        floor = min(stop, floor + leave)
        part = whole.iloc[start:stop]
        keep = (part["x"].to_numpy() % 2 == 0) if filtered else None
        if len(part):
            counter.add(part, part.index, keep)
        counter.forget(floor)
        start = stop
        kept = whole.iloc[floor:stop]
        found = counter.histogram()
        truth = asked.count(kept, kept["x"].to_numpy() % 2 == 0 if filtered else None)
        assert nonzero(found) == nonzero(truth)
        assert found.edges == truth.edges
        if filtered:
            assert found.behind.sum() == len(kept)


@given(
    st.lists(st.floats(allow_nan=True, width=64), min_size=1, max_size=30),
    st.sampled_from(["log2", (-1.5, 0.25, 1e9)]),
)
def test_floats_are_followed_as_they_are_counted(values, buckets):
    whole = frame(values, dtype=np.float64)
    asked = Asked.of(["x"], "x", buckets)
    truth = asked.count(whole)
    counter = Counter(asked, truth.edges, np.dtype(float), False)
    counter.add(whole, whole.index, None)
    found = counter.histogram()
    assert (found.edges, found.table.tolist(), found.missing) == (
        truth.edges,
        truth.table.tolist(),
        truth.missing,
    )


# The view


@pytest.fixture
def few(monkeypatch):
    """Streams of more than eight rows are followed."""
    monkeypatch.setattr(module, "FEW", 8)


@pytest.mark.parametrize("buckets", ["log2", "linear", [0, 10, 1000]])
def test_a_long_stream_is_drawn_as_counted_through_growth_eviction_and_filter(few, buckets):
    rng = np.random.default_rng(3)
    source = Growing(frame(rng.integers(0, 100, 20), ["a", "b"] * 10))
    view = hist(source, "x", buckets, by="comm")
    for step in range(6):
        source.append(frame(rng.integers(0, 100 * 4**step, 15), ["a", "b", "c"] * 5))
        source.first += 7
        if step == 3:
            other = hist(source, "x", by="comm")
            other.selection = {"comm": {"in": ["a"]}}
        kept = source.frame()
        wanted = kept[kept["comm"] == "a"] if step >= 3 else kept
        counts = drawn(view)
        assert sum(sum(row.values()) for row in counts.values()) == len(wanted)
        h = view.histogram
        truth = Histogram.of(kept["x"], list(h.edges), by=kept["comm"], keep=(kept["comm"] == "a").to_numpy())
        assert nonzero(h) == nonzero(
            truth if step >= 3 else Histogram.of(kept["x"], list(h.edges), by=kept["comm"])
        )
        assert not h.exact
    assert view._counter.rows == len(source.frame())  # it followed, and did not count anew
    assert view._build().meta["filter"] == selection.describe({"comm": {"in": ["a"]}})
    assert view._build().columns["behind"].sum() == len(source.frame())


def test_percentiles_are_exact_as_long_as_there_are_few_rows(few):
    source = Growing(frame(range(1, 8)))
    view = hist(source, "x")
    assert view._build().meta["note"] == "log2 buckets; percentiles exact (nearest rank)"
    assert view.percentiles[""][50] == 4
    source.append(frame([100] * 5))
    assert view._build().meta["note"] == "log2 buckets; percentiles interpolated within buckets"
    source.ended = True
    assert view.percentiles[""][50] == 6  # at rest they are looked up again
    assert view.exact


def test_linear_buckets_say_when_they_were_laid_anew():
    source = Growing(frame([0, 90, 99]))
    view = hist(source, "x", "linear")
    assert view._build().meta["note"].startswith("20 linear buckets over 0 to 100;")
    first = view.edges
    source.append(frame([42]))
    assert view.edges == first
    source.append(frame([1000]))
    note = view._build().meta["note"]
    assert note.startswith("11 linear buckets over 0 to 1,100, re-binned at ")
    assert view.total == 5


def test_slots_of_a_map_say_where_they_were_counted():
    data = pd.DataFrame({"key": [10, 11], "value": [5, 6]})
    assert (
        hist(data)._build().meta["note"]
        == "log2 buckets, as counted by slot; percentiles interpolated within buckets"
    )


def test_nothing_yet_is_drawn_and_what_cannot_be_counted_is_said_at_once():
    view = hist(Growing(frame([])), "x")
    assert view._build().columns["counts"].sum() == 0
    assert view.total == 0
    with pytest.raises(TypeError, match="counts numbers"):
        hist(Growing(frame([1], ["a"])), "comm")
    with pytest.raises(UnknownName, match="no column 'y'"):
        hist(Growing(frame([1])), "y")
    with pytest.raises(ValueError, match="no slots of a histogram"):
        hist(pd.DataFrame({"key": [4242], "value": [1]}))


def test_extremes_are_drawn_exactly():
    view = hist(frame([0, 2**64 - 1, 2**64 - 1]), "x")
    counts = drawn(view)[""]
    assert (counts["0"], counts["[8 Ei, 16 Ei)"]) == (1, 2)
    assert drawn(hist(frame([7, 7, 7]), "x", "linear")) == {"": {"7": 3}}
    one = hist(pd.DataFrame({"x": [np.nan, 5.0]}), "x", "linear")
    assert (one.total, one._build().meta["missing"]) == (1, 1)


# Groups


def test_a_hundred_groups_are_eight_and_the_others_by_their_number():
    values = [1] * 100 + [2] * 8
    groups = [f"t{i:02d}" for i in range(100)] + [f"t{i:02d}" for i in range(50, 58)]
    shown = parts(hist(frame(values, groups), "x", by="comm").histogram)
    assert [part.label for part in shown] == [f"t{i}" for i in range(50, 58)] + ["92 others"]
    assert [int(part.counts.sum()) for part in shown] == [2] * 8 + [92]


def test_a_ninth_group_is_shown_by_its_name():
    shown = parts(hist(frame(range(9), list("abcdefghi")), "x", by="comm").histogram)
    assert [part.label for part in shown][-1] == "i"


def test_groups_keep_their_places_while_they_are_among_the_largest():
    assert placed(["b", "a", "c"], ["a", "b"]) == ["a", "b", "c"]
    assert placed(["c", "b"], ["a", "b"]) == ["c", "b"]
    assert placed(["b"], ["a", "b"]) == ["b"]
    source = Growing(frame([1, 1, 1], ["a", "a", "b"]))
    view = hist(source, "x", by="comm")
    assert list(drawn(view)) == ["a", "b"]
    source.append(frame([1, 1, 1], ["b", "b", "b"]))
    assert list(drawn(view)) == ["a", "b"]
    assert view.groups == ("b", "a")


# Selections


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setattr("comm.create_comm", FakeComm)
    views = []

    def open_page(view):
        views.append(view)
        page = Page(view)
        page.say("hello", visible=True)
        page.wait(1)
        return page

    yield open_page
    for view in views:
        view.close()


def select(page, frame_, buckets, groups=()):
    page.say("select", binning=frame_["meta"]["binning"], buckets=buckets, groups=list(groups))
    assert page.view.error == ""
    return page.view.selection


def test_bars_select_the_exact_values_of_their_buckets(monkeypatch):
    monkeypatch.setattr("comm.create_comm", FakeComm)
    view = hist(frame([1, 2**63 - 1, 2**63, 2**64 - 1], ["a", "b", "a", "b"]), "x", by="comm")
    page = Page(view)
    page.say("hello", visible=True)
    shown = page.wait(1)
    last = len(shown["meta"]["ranges"]) - 1
    assert select(page, shown, [[last - 1, last]]) == {"x": {"ge": 2**62, "lt": 2**63}}
    assert view.selected["x"].tolist() == [2**63 - 1]
    assert select(page, shown, [[last, last + 1]], ["b"]) == {"x": {"ge": 2**63}, "comm": {"in": ["b"]}}
    assert view.selected["x"].tolist() == [2**64 - 1]
    assert select(page, shown, [[0, 1], [last, last + 1]]) == {"x": [{"ge": 1, "lt": 2}, {"ge": 2**63}]}
    assert len(view.selected) == 3
    assert select(page, shown, []) == {}
    page.say("select", binning=77, buckets=[[0, 1]], groups=[])
    assert "no longer drawn" in view.error
    view.close()


def test_a_selection_points_at_the_buckets_that_were_seen_though_others_came(page):
    source = Growing(frame([64, 65]))
    opened = page(hist(source, "x"))
    shown = opened.messages()[0]
    source.append(frame([1]))
    opened.ack()
    later = opened.wait(2)
    assert later["meta"]["binning"] != shown["meta"]["binning"]
    assert select(opened, shown, [[0, 1]]) == {"x": {"ge": 64, "lt": 128}}


def test_slots_select_keys():
    view = hist(pd.DataFrame({"key": [3, 5], "value": [7, 9]}), unit="ns")
    assert view._select(view.histogram, [[0, 2]], []) == {"key": {"ge": 3, "lt": 5}}
    view.selection = {"key": {"ge": 5}}
    assert view._build().meta["selected"] == [(2, 3)]
    assert view.selected["value"].tolist() == [9]


def test_a_selection_set_in_python_is_drawn_where_it_lies():
    view = hist(frame([1, 1000], ["a", "b"]), "x", by="comm")
    view.selection = {"x": {"ge": 2, "lt": 6}, "comm": {"in": ["b"]}}
    meta = view._build().meta
    assert meta["selected"] == [(1, pytest.approx(2.585, abs=1e-3))]  # log2 of 6 lies within [4, 8)
    assert meta["chosen"] == ["b"]


def test_another_views_selection_is_drawn_in_front_of_everything():
    data = frame([1, 2, 4, 8], ["a", "a", "b", "b"])
    left, right = hist(data, "x"), hist(data, "x", by="comm")
    left.selection = {"x": {"ge": 4}}
    payload = right._build()
    assert payload.columns["counts"].sum() == 2
    assert payload.columns["behind"].sum() == 4
    assert "behind" not in left._build().columns
    assert right.total == 2


# What travels, and what stays


def test_a_picture_that_is_the_same_is_not_sent_again_and_one_costs_little(page):
    source = Growing(frame(range(1000), ["a", "b"] * 500))
    opened = page(hist(source, "x", by="comm"))
    opened.ack()
    opened.view.refresh()
    source.append(frame([1], ["a"]))
    opened.wait(2)
    assert len(opened.messages()) == 2
    json_bytes, buffer_bytes = opened.sizes()[-1]
    assert json_bytes < 3000
    assert buffer_bytes == 2 * 11 * 8  # groups by buckets, 64 bits each


def test_a_stopped_view_keeps_its_values_when_the_source_is_gone():
    class Gone:
        name = "gone"
        closed = False

        @property
        def df(self):
            return pd.DataFrame({"key": [1], "value": [8]})

    source = Gone()
    view = hist(source)
    assert view.total == 8
    source.closed = True
    view.stop()
    assert view.state == "done"
    assert view.total == 8


@pytest.mark.parametrize("layout", ["multiples", "stacked"])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_the_static_picture_is_well_formed_and_holds_every_count(layout, log, theme):
    view = hist(frame([1, 2, 2, 500], ["a<b", "c", "c", "c"]), "x", by="comm", layout=layout)
    view.log = log
    picture = view._static(theme)
    root = ET.fromstring(picture)
    said = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(int(text.rsplit(": ", 1)[1]) for text in said) == 4
    assert "a<b: 1 value" in root.get("aria-label")
    assert ("var(" in picture) == (theme == "auto")


@pytest.mark.parametrize("layout", ["multiples", "stacked"])
def test_a_picture_of_no_values_says_so_and_has_no_axis(layout):
    source = Growing(frame([], []))
    view = hist(source, "x", by="comm", unit="ns", layout=layout)
    source.ended = True
    view.stop()
    said = [text.text for text in ET.fromstring(view.svg()).iter("{http://www.w3.org/2000/svg}text")]
    assert said == ["rows: x", "no values"]


def test_a_picture_is_called_by_its_source_and_column():
    view = hist(Growing(frame([1, 2])), "x")
    assert (view.title, view.to_plotly().layout.title.text) == ("rows: x", "rows: x")
    assert ET.fromstring(view.svg()).get("aria-label").startswith("Histogram rows: x: 2 values")
    view.set_trait("filter", {"x": {"ge": 2}})
    assert view.title == "rows: x"
    assert hist(frame([1]), "x").title == "x"
    assert hist(Growing(frame([1])), "x", title="mine").title == "mine"
    slots = Growing(pd.DataFrame({"key": [1], "value": [8]}))
    assert (hist(slots).title, hist(slots, "value").title) == ("rows", "rows: value")


def test_plotly_has_a_row_a_group_and_follows_the_logarithm():
    view = hist(frame([1, 2, 3], ["a", "b", "b"]), "x", by="comm")
    view.log = True
    figure = view.to_plotly()
    assert [list(bar.y) for bar in figure.data] == [[0, 2], [1, 0]]
    assert figure.layout.yaxis.type == "log"


def test_the_view_is_the_value_of_now():
    source = Growing(frame([1, 2]))
    view = hist(source, "x", unit="ns")
    assert isinstance(view, HistogramView)
    source.append(frame([4]))
    assert (view.total, view.unit, view.edges) == (3, "ns", (1, 2, 4, 8))
    assert view.counts["count"].tolist() == [1, 1, 1]
    assert view.table.tolist() == [[1, 1, 1]]
    assert "3 values" in view.text()
