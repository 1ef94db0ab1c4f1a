"""The heatmap: every row in its column and bucket, gaps apart from zero, and only what changed on its way."""

from __future__ import annotations

import base64
import re
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pandas as pd
import pytest
from fakecomm import FakeComm, Page
from growing import Growing
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import heatmap
from bpfnb.views.heat.colors import ZERO, scale, shade
from bpfnb.views.heat.grid import Fixed, Grid
from bpfnb.views.heat.picture import png
from bpfnb.views.source import Source

SECOND = 10**9
START = 1_760_000_000 * SECOND


def frame(seconds, values, **more) -> pd.DataFrame:
    moments = pd.to_datetime(START + (np.asarray(seconds, float) * SECOND).astype(np.int64), utc=True)
    return pd.DataFrame({"ts": moments, "x": np.array(values, np.uint64), **more})


@pytest.fixture
def clock(monkeypatch):
    """Now, in ns since 1970, to be set."""

    class Clock:
        now = START

        def at(self, seconds: float) -> None:
            self.now = START + int(seconds * SECOND)

    clock = Clock()
    monkeypatch.setattr(Source, "now", lambda _: clock.now)
    return clock


# The grid


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), min_size=1, max_size=8),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 25),
)
def test_a_grid_holds_the_counts_of_its_newest_columns_whatever_the_order_of_rows(batches, width):
    grid = Grid(1, width, 0, Fixed((0, 1, 2, 3, 4, 5)))
    mirror: dict[int, list[float]] = {}  # what a browser knows that took every block
    expected = np.zeros((61, 5))
    newest = -1
    for batch in batches:
        columns, cells = np.array(batch).T
        newest = max(newest, int(columns.max()))
        grid.add(columns, cells, None)
        for column, cell in batch:
            if column > newest - width:
                expected[column, cell] += 1
        expected[: max(0, newest - width + 1)] = 0
        block = grid.block(grid.dirty)
        grid.taken()
        mirror |= {block.first + i: row.tolist() for i, row in enumerate(block.counts)}
        assert grid.stop == newest + 1
        assert grid.stop - grid.first <= width
        for column in range(grid.first, grid.stop):
            assert mirror.get(column, [0.0] * 5) == expected[column].tolist()
    whole = grid.block()
    assert whole.counts.tolist() == expected[grid.first : grid.stop].tolist()


def test_columns_of_a_grid_that_nobody_measured_are_gaps():
    grid = Grid(1, 10, 0, Fixed((0, 1, 2)))
    grid.put(0, np.array([1.0, 2.0]))
    grid.mark(0, 1)
    grid.reach(4)
    grid.mark(3, 5)
    assert grid.block().measured.tolist() == [True, False, False, True, True]
    grid.lose(4, 7)
    assert grid.block().lost.tolist() == [0, 0, 0, 0, 7]


# Rows


def test_rows_fall_into_their_second_and_bucket():
    view = heatmap(frame([0.0, 0.5, 0.999, 1.0, 3.2], [1, 3, 3, 1000, 2]), "x", every=1)
    counts = view.counts
    assert counts.index[0] == pd.Timestamp(START, tz="UTC")
    assert counts[1].tolist() == [1, 0, 0, 0]
    assert counts[2].tolist() == [2, 0, 0, 1]
    assert counts[512].tolist() == [0, 1, 0, 0]
    assert counts.attrs["every_ns"] == SECOND
    assert counts.to_numpy().sum() == 5


def test_data_at_rest_is_cut_into_about_240_columns_unless_told_otherwise():
    data = frame(np.linspace(0, 3600, 5000), np.arange(5000))
    view = heatmap(data, "x")
    assert view.counts.attrs["every_ns"] == 15 * SECOND
    assert view.counts.to_numpy().sum() == 5000
    assert len(heatmap(data, "x", every="1min").counts) == 61
    last = heatmap(data, "x", every="1min", span="10min").counts
    assert len(last) == 10
    with pytest.raises(ValueError, match="at least one column"):
        heatmap(data, "x", span=0)


def test_a_weight_is_summed():
    view = heatmap(frame([0, 0, 1], [4, 5, 4], bytes=[10.5, 1.0, np.nan]), "x", every=1, weight="bytes")
    assert view.counts[4].tolist() == [11.5, 0.0]
    assert view._build().columns["counts"].dtype == np.float32


def test_times_may_be_numbers_of_a_clock_of_their_own():
    data = pd.DataFrame({"time": [0.0, 0.25, 2.0], "x": [1, 1, 1]})
    view = heatmap(data, "x", every=1)
    assert view.counts[1].tolist() == [2, 0, 1]
    assert view._build().meta["clock"] is False
    view._on_message({"kind": "select", "binning": 1, "columns": [0, 1], "buckets": [0, 1]}, [])
    assert view.selected["time"].tolist() == [0.0, 0.25]


def test_missing_values_and_times_are_in_no_cell():
    data = pd.DataFrame(
        {"ts": pd.to_datetime([START, None, START + SECOND], utc=True), "x": [1.0, 1.0, np.nan]}
    )
    view = heatmap(data, "x", every=1)
    assert view.counts.to_numpy().sum() == 1
    assert "1 values of unknown time are in no column" in view._build().meta["note"]


@pytest.mark.parametrize(
    ("values", "buckets", "edges"),
    [
        ([0, 2**64 - 1], "log2", 2**64),
        ([5, 5], "linear", 6),
        ([5, 5], [0, 10], 10),
        ([5], 7, 6),
    ],
)
def test_buckets_reach_over_every_value(values, buckets, edges):
    view = heatmap(frame(range(len(values)), values), "x", buckets, every=1)
    assert view.counts.attrs["edges"][-1] == edges
    assert view.counts.to_numpy().sum() == len(values)


def test_a_stream_advances_without_rows_and_knows_when_it_was_not_measured(clock):
    source = Growing(frame([0.1, 0.9], [1, 2]))
    source.data.attrs["bpfnb"] = {"window": ["2025-10-09T08:53:20+00:00", "2025-10-09T08:53:21+00:00"]}
    clock.at(1.5)
    view = heatmap(source, "x", every=1)
    assert view.counts.sum(axis=1).tolist() == [2, 0]
    clock.at(6.5)
    source.append(frame([5.5], [2]))
    object.__setattr__(source.data, "pauses", [(START / 1e9 + 2, START / 1e9 + 4.5)])
    rows = view.counts
    assert rows.isna().all(axis=1).tolist() == [False, False, False, True, False, False, False]
    assert rows[2].dropna().tolist() == [1, 0, 0, 0, 1, 0]


def test_losses_are_marked_where_they_were_noticed(clock):
    source = Growing(frame([0.1], [1]))
    clock.at(0.5)
    view = heatmap(source, "x", every=1)
    clock.at(3.5)
    source.losses = 9
    payload = view._build()
    assert payload.columns["lost"].tolist() == [0, 0, 0, 9]


def test_rows_without_a_time_stand_where_they_arrived(clock):
    source = Growing(pd.DataFrame({"x": [1, 1]}))
    view = heatmap(source, "x", every=1)
    assert "2 values of unknown time" in view._note()
    clock.at(0.9)
    source.append(pd.DataFrame({"x": [4]}))
    view._update()
    clock.at(1.4)
    source.append(pd.DataFrame({"x": [4, 4]}))
    view._update()
    assert view.counts[4].tolist() == [1, 2]
    view._build()
    view._on_message({"kind": "select", "binning": 1, "columns": [1, 2], "buckets": [0, 99]}, [])
    assert view.selection["#"] == {"ge": 3}
    assert view.selected.index.tolist() == [3, 4]


def test_linear_buckets_are_laid_anew_around_larger_values(clock):
    source = Growing(frame([0], [10]))
    view = heatmap(source, "x", "linear", every=1)
    clock.at(1.5)
    source.append(frame([1], [1000]))
    assert view.counts.to_numpy().sum() == 2
    assert view.counts.attrs["edges"][-1] > 1000


# Maps


class Slots:
    """A map of counts by slot."""

    name = "slots"
    view = ("hist", "log2", "ns")
    closed = False

    def __init__(self) -> None:
        self.df = pd.DataFrame({"key": np.arange(4), "value": np.zeros(4, np.int64)})

    def count(self, slot: int, amount: int) -> None:
        self.df = self.df.copy()
        self.df.loc[slot, "value"] += amount


def test_a_map_is_sampled_and_the_differences_are_columns(clock):
    data = Slots()
    data.count(3, 1000)  # before anybody looked
    view = heatmap(data, every=1, span=10)
    data.count(1, 5)
    clock.at(0.5)
    assert view.counts.loc[:, 2].tolist() == [5]
    data.count(1, 2)
    clock.at(1.01)  # just after the end of the first column
    assert view.counts[2].iloc[0] == 7
    data.count(2, 4)
    clock.at(1.9)
    assert view.counts[4].tolist() == [0, 4]
    clock.at(4.9)  # nobody looked for long
    data.count(2, 30)
    rows = view.counts
    assert rows.isna().all(axis=1).tolist() == [False, False, True, True, False]
    assert rows.sum().sum() == 11
    assert "30 counts of unknown time are in no column" in view._note()
    data.df = data.df.assign(value=0)  # emptied
    data.count(1, 6)
    assert view.counts[2].iloc[-1] == 6
    view.stop()


def test_a_filter_on_the_slots_of_a_map_hides_buckets_and_keeps_history(clock):
    data = Slots()
    view = heatmap(data, every=1)
    for slot, amount in ((1, 5), (2, 3)):
        data.count(slot, amount)
    clock.at(0.5)
    assert view.counts.sum().sum() == 8
    view.set_trait("filter", {"key": {"ge": 2, "lt": 3}})
    assert view.counts.sum().sum() == 3
    view.set_trait("filter", {})
    assert view.counts.sum().sum() == 8
    view.selection = {"key": {"ge": 1, "lt": 2}}
    assert view._selected() == {"columns": None, "buckets": [0, 1]}
    view.stop()


def test_a_reading_without_moments_is_refused():
    with pytest.raises(BadValue, match="no moments"):
        heatmap(pd.DataFrame({"key": [1], "value": [2]}))
    with pytest.raises(UnknownName, match="which column says when"):
        heatmap(pd.DataFrame({"x": [1]}), "x")
    with pytest.raises(UnknownName, match="no column 'y'"):
        heatmap(frame([0], [1]), "x", weight="y")


# Grids


def test_a_grid_is_drawn_as_it_is_and_back():
    first = heatmap(frame([0, 0, 2, 3], [1, 2, 2, 9]), "x", every=1)
    table = first.counts
    table.iloc[1] = np.nan
    again = heatmap(table)
    pd.testing.assert_frame_equal(again.counts, table, check_freq=False)
    assert again.counts.attrs["edges"] == first.counts.attrs["edges"]
    array = heatmap(np.array([[1.0, 2.0], [np.nan, np.nan]]))
    assert array.counts.isna().all(axis=1).tolist() == [False, True]
    with pytest.raises(ValueError, match="must increase"):
        heatmap(pd.DataFrame([[1, 2]], columns=[4, 2]))


def test_nothing_yet_is_a_picture_too(clock):
    view = heatmap(Growing(frame([], [])), "x")
    assert view.text() == "no rows yet"
    assert "no rows yet" in view.svg()
    assert view._build().columns["counts"].size == 0


# What travels


def test_after_the_first_frame_only_changed_columns_travel(clock, monkeypatch):
    monkeypatch.setattr("comm.create_comm", FakeComm)
    source = Growing(frame(np.arange(0, 300, 0.5), np.arange(1, 601)))
    clock.at(299.9)
    view = heatmap(source, "x", every=1, span=300)
    page = Page(view)
    page.say("hello", visible=True)
    first = page.wait(1)
    buckets = len(first["meta"]["ranges"])
    assert first["full"] is True
    assert first["columns"][0]["shape"] == [300, buckets]
    page.ack()
    clock.at(300.5)
    source.append(frame([300.1], [5]))
    second = page.wait(2)
    assert second["full"] is False
    assert second["meta"]["from"] == 300
    assert second["columns"][0]["shape"] == [1, buckets]
    assert sum(page.sizes()[-1]) < 3000
    page.ack()
    page.say("resync", visible=True)
    third = page.wait(3)
    assert third["full"] is True
    assert third["columns"][0]["shape"] == [300, buckets]
    # Nothing is sent as long as nothing changes.
    clock.at(300.6)
    page.ack()
    before = len(page.messages())
    for _ in range(3):
        with view.lock:
            view._dirty = True
            assert view._build() is None
    assert len(page.messages()) == before
    view.close()


def test_another_bucket_brings_the_whole_grid(clock):
    source = Growing(frame([0, 1], [4, 4]))
    clock.at(1.5)
    view = heatmap(source, "x", every=1)
    first = view._build()
    view.full = False
    source.append(frame([1], [64]))
    second = view._build()
    assert second.meta["binning"] == first.meta["binning"] + 1
    assert second.meta["from"] == first.meta["first"]
    assert second.columns["counts"].tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]]


def test_a_rectangle_selects_times_and_values():
    data = frame([0.5, 1.5, 2.5, 2.6], [4, 4, 5, 64])
    view = heatmap(data, "x", every=1)
    meta = view._build().meta
    view._on_message({"kind": "select", "binning": meta["binning"], "columns": [1, 3], "buckets": [0, 1]}, [])
    assert view.selection == {"ts": {"ge": START + SECOND, "lt": START + 3 * SECOND}, "x": {"ge": 4, "lt": 8}}
    assert view.selected["x"].tolist() == [4, 5]
    assert view._build().meta["selected"] == {"columns": [1, 3], "buckets": [0, 1]}
    view._on_message({"kind": "select", "binning": meta["binning"], "columns": None, "buckets": None}, [])
    assert view.selection == {}


def test_other_views_selections_filter_it():
    data = frame([0, 0, 1], [4, 5, 64], comm=["a", "b", "a"])
    left, right = heatmap(data, "x", every=1), heatmap(data, "x", every=1)
    left.selection = {"comm": {"in": ["a"]}}
    assert right.counts.to_numpy().sum() == 2
    left.selection = {}
    assert right.counts.to_numpy().sum() == 3


# Pictures


def pixels(data: bytes) -> np.ndarray:
    """The palette indexes of a PNG without filters."""
    chunks, at = {}, 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks[kind] = data[at + 8 : at + 8 + size]
        assert (
            zlib.crc32(data[at + 4 : at + 8 + size])
            == struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0]
        )
        at += 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    return np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)[:, 1:]


def test_the_image_tells_gaps_zero_and_counts_apart():
    image = pixels(
        png(np.array([[0.0, 1.0], [0.0, 0.0], [100.0, 0.0]]), np.array([True, False, True]), "sqrt")
    )
    assert image.tolist() == [[2 + round(0.1 * 253), 0, 1], [1, 0, 255]]  # the highest bucket on top


def test_colours_grow_lighter_with_counts():
    light = scale(256).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > -1).all()
    assert light[-1] - light[0] > 150
    assert light[0] - np.dot(ZERO, [0.2126, 0.7152, 0.0722]) > 25
    for mapping in ("sqrt", "log", "linear"):
        assert shade(np.array([0.0, 50.0]), 50.0, mapping).tolist() == [0, 1]


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_the_static_picture_is_small_and_well_formed(theme):
    rng = np.random.default_rng(5)
    data = frame(np.sort(rng.uniform(0, 300, 50_000)), rng.integers(1, 2**60, 50_000))
    view = heatmap(data, "x", every=1)
    picture = view._static(theme)
    ET.fromstring(picture)
    assert len(picture) < 150_000
    image = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", picture).group(1))
    assert pixels(image).shape == (len(view.counts.columns), 300)
    assert "50,000 values" in picture


def test_labels_of_time_stay_clear_of_the_zone_and_of_the_edge():
    picture = heatmap(frame([0, 60], [1, 2]), "x", every="1s").svg()
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)"[^>]*>([^<]*)</text>', picture)
    zone = next(text for text in texts if text[3] == "UTC")
    times = [text for text in texts if re.fullmatch(r"\d\d:\d\d:\d\d", text[3])]
    assert len(times) >= 3
    for x, y, anchor, label in times:
        assert anchor == "middle"
        assert y == zone[1]
        assert float(x) - 2.8 * len(label) > float(zone[0])
        assert float(x) + 2.8 * len(label) < 720
    lowest = max(float(y) for _, y, anchor, _ in texts if anchor == "end" and float(y) < float(zone[1]))
    assert float(zone[1]) - lowest >= 12


def test_a_picture_is_called_by_its_source_and_column():
    view = heatmap(Growing(frame([0, 1], [4, 4])), "x")
    assert (view.title, view.to_plotly().layout.title.text) == ("rows: x", "rows: x")
    assert ET.fromstring(view.svg()).get("aria-label").startswith("Heatmap rows: x: ")
    assert heatmap(frame([0], [1]), "x").title == "x"
    assert heatmap(frame([0], [1]), "x", title="mine").title == "mine"


def test_plotly_has_the_grid_with_gaps():
    table = heatmap(frame([0, 2], [1, 2]), "x", every=1).counts
    table.iloc[1] = np.nan
    figure = heatmap(table).to_plotly()
    z = np.array(figure.data[0].z, float)
    assert np.isnan(z[:, 1]).all()
    assert np.nansum(z) == 2
    assert figure.data[0].customdata[1][0] == "[2, 4)"


def test_a_map_that_is_gone_leaves_its_last_picture(clock):
    data = Slots()
    view = heatmap(data, every=1)
    data.count(1, 5)
    clock.at(0.5)
    assert view.counts.sum().sum() == 5
    data.closed = True
    view.stop()
    assert "5 counts" in view.svg()
