"""Service maps: edges equal what naive pandas finds, places are steady and free of overlap, pictures say what is drawn."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.errors import BpfnbError, UnknownName
from bpfnb.views.services import servicemap
from bpfnb.views.services.columns import Roles, find
from bpfnb.views.services.edges import Ends, failed, seconds_of
from bpfnb.views.services.geometry import curve, labels, opacity_of, radius, width_of
from bpfnb.views.services.graph import build
from bpfnb.views.services.layers import Cell, arrange
from bpfnb.views.services.layout import Layout, cell_for, crowd
from bpfnb.views.services.metrics import RAMP, Scale, amount, ramp, singular, worded
from bpfnb.views.services.names import kind_of, label_of
from bpfnb.views.services.window import Counters, Window

SECOND = 10**9


def events(count: int = 5000, seed: int = 3) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "ts": np.sort(random.integers(0, 20 * SECOND, count)).astype(np.uint64) + np.uint64(1 << 60),
            "comm": random.choice(["nginx", "api", "worker"], count),
            "daddr": random.choice(["10.0.0.2", "10.0.0.3", "8.8.8.8"], count),
            "dport": random.choice(np.array([53, 5432, 6379], np.uint16), count),
            "bytes": random.integers(0, 1 << 40, count),
            "ret": random.choice([0, 0, 0, -111], count),
            "latency_ns": random.integers(1, 10**9, count),
        }
    )


def nearest_rank(values: pd.Series, percent: int) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


# Edges


def test_events_are_counted_as_naive_pandas_does():
    frame = events()
    view = servicemap(frame)
    span = (int(frame.ts.max()) - int(frame.ts.min())) / SECOND
    found = view.edges.set_index(["source", "target"])
    groups = frame.assign(target=frame.daddr + ":" + frame.dport.astype(str)).groupby(["comm", "target"])
    assert len(found) == len(groups) == 27
    for pair, rows in groups:
        edge = found.loc[pair]
        assert edge["count"] == len(rows)
        assert edge["rate"] == pytest.approx(len(rows) / span)
        assert edge["bytes"] == rows.bytes.sum()
        assert edge["bytes_rate"] == pytest.approx(rows.bytes.sum() / span)
        assert edge["errors"] == pytest.approx((rows.ret < 0).mean())
        assert edge["latency"] == nearest_rank(rows.latency_ns, 50)
        assert edge["latency_p99"] == nearest_rank(rows.latency_ns, 99)
    assert "5,000 events counted over 20 s" in view._text()


def test_aggregated_rows_keep_their_values_and_duplicates_add_up():
    frame = pd.DataFrame(
        {
            "source": ["a", "a", "b"],
            "target": ["b", "b", "c"],
            "rate": [10.0, 30.0, 5.0],
            "errors": [0.0, 0.2, 0.5],
            "latency": [100.0, 200.0, np.nan],
        }
    )
    view = servicemap(frame)
    edges = view.edges
    assert edges["rate"].tolist() == [40.0, 5.0]
    assert edges["errors"].tolist() == pytest.approx([30 * 0.2 / 40, 0.5])
    assert edges["latency"][0] == pytest.approx((10 * 100 + 30 * 200) / 40)
    assert math.isnan(edges["latency"][1])
    assert "2 edges as given, 3 rows added up" in view._text()


def test_whole_numbers_of_errors_are_divided_by_the_count():
    frame = pd.DataFrame({"src": ["a"], "dst": ["b"], "requests": [200], "failed": [30]})
    assert servicemap(frame).edges[["count", "errors"]].values.tolist() == [[200.0, 0.15]]


def test_pairs_without_anything_else_are_edges_and_repeated_ones_events():
    once = servicemap(pd.DataFrame({"source": ["a", "b"], "target": ["b", "c"]}))
    assert "2 edges as given" in once._text()
    twice = servicemap(pd.DataFrame({"source": ["a", "a", "b"], "target": ["b", "b", "c"]}))
    assert twice.edges["count"].tolist() == [2.0, 1.0]
    assert "no rates without times" in twice._text()


@pytest.mark.parametrize(
    ("columns", "source", "target"),
    [
        (["src", "dst"], ("src",), ("dst",)),
        (["time", "source", "destination", "verdict"], ("source",), ("destination",)),
        (["comm", "pid", "saddr", "daddr", "dport"], ("comm",), ("daddr", "dport")),
        (["pid", "daddr", "dport"], ("pid",), ("daddr", "dport")),
        (["PID", "COMM", "LADDR", "LPORT", "RADDR", "RPORT"], ("COMM",), ("RADDR", "RPORT")),
        (["key.saddr", "key.daddr", "key.dport", "packets"], ("key.saddr",), ("key.daddr", "key.dport")),
        (["client_name", "server_name", "server_port"], ("client_name",), ("server_name",)),
        (["auto_service_0", "auto_service_1"], ("auto_service_0",), ("auto_service_1",)),
        (["requestor_service", "responder_service"], ("requestor_service",), ("responder_service",)),
        (["src.address", "dst.address", "dst.port"], ("src.address",), ("dst.address", "dst.port")),
    ],
)
def test_usual_spellings_are_found(columns, source, target):
    roles = find(columns)
    assert (roles.source, roles.target) == (source, target)


def test_columns_that_do_not_exist_are_named_with_the_nearest():
    frame = pd.DataFrame({"source": ["a"], "target": ["b"], "latency_us": [1.0]})
    with pytest.raises(UnknownName, match="no column 'latency_ns'"):
        servicemap(frame, latency="latency_ns")
    with pytest.raises(UnknownName, match="cannot show 'size'"):
        servicemap(frame, width="size")
    with pytest.raises(BpfnbError, match="what the source of an edge is"):
        servicemap(pd.DataFrame({"x": [1]}))


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("status", [200, 404, 500, 503], [0, 0, 1, 1]),
        ("ret", [0, 5, -1, -111], [0, 0, 1, 1]),
        ("err", [0, 1, -1, None], [0, 1, 1, 0]),
        ("failed", [True, False, True, False], [1, 0, 1, 0]),
        ("verdict", ["FORWARDED", "DROPPED", "ERROR", None], [0, 1, 1, 0]),
        ("response_code", ["200", "502", "ok", "error"], [0, 1, 0, 1]),
    ],
)
def test_what_counts_as_an_error(name, values, wanted):
    assert failed(pd.Series(values), name).tolist() == wanted
    if all(isinstance(v, str) for v in values):
        assert failed(pd.Series(pd.Categorical(values)), name).tolist() == wanted


def test_times_keep_their_digits_and_units():
    late = pd.Series(np.array([2**63, 2**63 + 1500], np.uint64))
    assert seconds_of(late, "ts").tolist() == [0.0, 1.5e-6]
    assert seconds_of(pd.Series([1.5, 4.0]), "time").tolist() == [0.0, 2.5]
    assert seconds_of(pd.Series([0, 3]), "t", {"unit": "ms"}).tolist() == [0.0, 0.003]
    dates = pd.Series(pd.to_datetime(["2026-01-01T00:00:00.0Z", "2026-01-01T00:00:02.5Z"]))
    assert seconds_of(dates, "time").tolist() == [0.0, 2.5]
    missing = pd.Series([pd.NaT, *dates[::-1]])
    assert np.array_equal(seconds_of(missing, "time"), [np.nan, 2.5, 0.0], equal_nan=True)


def test_events_without_a_time_are_counted_and_age_the_others_not():
    when = pd.to_datetime(["2026-01-01T00:00:00Z", None, "2026-01-01T00:00:02Z"])
    view = servicemap(pd.DataFrame({"source": ["a", "a", "b"], "target": ["c", "c", "c"], "time": when}))
    edges = view.edges.set_index("source")
    assert edges["count"].tolist() == [2, 1]
    assert edges["rate"].tolist() == [1.0, 0.5]
    assert edges["age"].tolist() == [2.0, 0.0]


def test_names_and_kinds():
    assert label_of(["daddr", "dport"], ["10.0.0.2", 5432]) == "10.0.0.2:5432"
    assert label_of(["dport"], [53.0]) == "port 53"
    assert label_of(["comm"], [b"sh\0junk"]) == "sh"
    assert label_of(["namespace", "service"], ["prod", None]) == "prod/unknown"
    assert kind_of("nginx", ["comm"]) == "process"
    assert kind_of("x", ["container_name"]) == "container"
    assert kind_of("8.8.8.8:53", ["daddr", "dport"]) == "external"
    assert kind_of("10.0.0.2:5432", ["daddr", "dport"]) == "service"
    assert kind_of("[fd00::1]:80", ["daddr", "dport"]) == "service"
    assert kind_of("10.0.0.2", ["saddr"]) == "host"
    assert kind_of("port 53", ["dport"]) == "port"
    assert kind_of("a", ["source"], {"a": "host"}) == "host"
    with pytest.raises(ValueError, match="not 'thing'"):
        kind_of("a", ["source"], lambda _: "thing")


# Edges of what goes on


def window_of(seconds: float = 10.0) -> Window:
    roles = Roles(("s",), ("t",), nbytes="bytes", errors="err", latency="lat")
    return Window(Ends(roles), seconds)


def batch(random: np.random.Generator, count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "s": random.choice(list("ab"), count),
            "t": random.choice(list("cd"), count),
            "bytes": random.integers(0, 1000, count),
            "err": random.integers(0, 2, count),
            "lat": 10 ** random.uniform(2, 9, count),
        }
    )


def test_a_window_counts_what_came_within_it_and_totals_for_ever():
    random = np.random.default_rng(1)
    window, batches = window_of(), []
    for second in range(25):
        batches.append(batch(random, 300))
        window.add(batches[-1], 100.0 + second, lasted=1.0)
    table = window.table(124.0).set_index(["source", "target"])
    everything, recent = pd.concat(batches), pd.concat(batches[-10:])
    for pair, rows in recent.groupby(["s", "t"]):
        total = everything[(everything.s == pair[0]) & (everything.t == pair[1])]
        edge = table.loc[pair]
        assert edge["count"] == len(total)
        assert edge["bytes"] == total.bytes.sum()
        assert edge["rate"] == pytest.approx(len(rows) / 10)
        assert edge["bytes_rate"] == pytest.approx(rows.bytes.sum() / 10)
        assert edge["errors"] == pytest.approx(rows.err.mean())
        assert edge["latency"] == pytest.approx(nearest_rank(rows.lat, 50), rel=0.01)
        assert edge["latency_p99"] == pytest.approx(nearest_rank(rows.lat, 99), rel=0.01)
        assert edge["age"] == 0


def test_a_window_that_nobody_looked_at_does_not_show_a_burst():
    window = window_of(10.0)
    window.add(batch(np.random.default_rng(1), 4), 0.0)  # how long these took is unknown: no rate
    assert window.table(0.0)["rate"].fillna(0).sum() == 0
    window.add(batch(np.random.default_rng(1), 600), 60.0)  # hidden for a minute
    assert window.table(60.0)["rate"].sum() == pytest.approx(10.0)


def test_silent_edges_age_and_go():
    window = window_of(10.0)
    window.add(pd.DataFrame({"s": ["a"], "t": ["b"], "bytes": [1], "err": [0], "lat": [5.0]}), 0.0)
    window.add(pd.DataFrame({"s": ["a"], "t": ["c"], "bytes": [1], "err": [0], "lat": [5.0]}), 50.0)
    table = window.table(61.0, keep=60.0)
    assert table["target"].tolist() == ["c"]
    assert table["age"].tolist() == [11.0]
    assert window.table(61.0)["count"].tolist() == [1.0, 1.0]


def test_counters_become_rates_by_their_differences():
    roles = Roles(("s",), ("t",), weight="packets", nbytes="bytes", errors="errors")
    counters = Counters(Ends(roles), 10.0)

    def read(packets: list[int], now: float) -> pd.DataFrame:
        frame = pd.DataFrame({"s": ["a", "b"], "t": ["x", "x"], "packets": packets})
        counters.add(frame.assign(bytes=frame.packets * 100, errors=frame.packets // 10), now)
        return counters.table(now)

    first = read([1000, 50], 0.0)
    assert first["count"].tolist() == [1000.0, 50.0]
    assert first["rate"].isna().all()
    second = read([1100, 50], 2.0)
    assert second["rate"].tolist() == [50.0, 0.0]
    assert second["bytes_rate"].tolist() == [5000.0, 0.0]
    assert second["errors"][0] == pytest.approx(0.1)
    restarted = read([30, 50], 4.0)  # deleted and counted anew: 30 more
    assert restarted["rate"].tolist() == [(100 + 30) / 4, 0.0]
    assert restarted["count"].tolist() == [30.0, 50.0]
    assert restarted["age"].tolist() == [0.0, 4.0]


# Places


@st.composite
def graphs(draw: st.DrawFn, most: int = 60) -> tuple[list[str], np.ndarray]:
    size = draw(st.integers(1, most))
    seed = draw(st.integers(0, 2**32 - 1))
    density = draw(st.floats(0.3, 3.0))
    random = np.random.default_rng(seed)
    pairs = random.integers(0, size, (int(size * density), 2))
    hub = draw(st.booleans())
    if hub:
        pairs = np.vstack([pairs, np.column_stack([np.arange(size), np.zeros(size, int)])])
    width = draw(st.integers(1, 30))
    return [f"{i:03d}" + "x" * (width if i % 3 else 1) for i in range(size)], pairs


def apart(layout: Layout, names: list[str]) -> None:
    points, radii = layout.points(names), radius(40, 0)
    for i, j in itertools.combinations(range(len(names)), 2):
        assert np.hypot(*(points[i] - points[j])) >= 2 * radii, (names[i], names[j])


def on_screen(layout: Layout, names: list[str]) -> np.ndarray:
    """Places in a view of the layout's shape, as shares of its width."""
    frame, width, height = layout.frame, *layout.smallest
    scale = min(width / frame.width, height / frame.height)
    centre = np.array([frame.left + frame.width / 2, frame.top + frame.height / 2])
    return (layout.points(names) - centre) * scale / width


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_one_node_more_moves_the_others_by_less_than_a_tenth_of_the_width(graph, seed):
    names, pairs = graph
    layout = Layout()
    layout.update(names, pairs)
    random = np.random.default_rng(seed)
    for more in range(3):  # one after the other, so that none may add up to a leap
        size = len(names)
        before, seen = layout.points(names), on_screen(layout, names)
        new = [*names, f"zz{more}-" + "new" * 4]
        ends = random.integers(0, size, 2)
        pairs = np.vstack([pairs, [[size, ends[0]], [ends[1], size]]])
        layout.update(new, pairs)
        assert np.abs(layout.points(names) - before).max() < layout.frame.width / 10
        assert np.hypot(*(on_screen(layout, names) - seen).T).max() < 0.1
        if size < 40:
            apart(layout, new)
        names = new


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(0, 1000))
def test_one_node_less_moves_nobody(graph, which):
    names, pairs = graph
    layout = Layout()
    layout.update(names, pairs)
    gone = which % len(names)
    rest = [name for i, name in enumerate(names) if i != gone]
    kept = pairs[(pairs != gone).all(axis=1)]
    before, seen = layout.points(rest), on_screen(layout, rest)
    layout.update(rest, kept - (kept > gone))
    assert np.array_equal(layout.points(rest), before)
    assert np.array_equal(on_screen(layout, rest), seen)


@settings(max_examples=40, deadline=None)
@given(graphs(most=40))
def test_up_to_forty_nodes_do_not_overlap_and_all_labels_have_room(graph):
    names, pairs = graph
    layout = Layout()
    layout.update(names, pairs)
    apart(layout, names)
    frame, much = layout.frame, crowd(len(names))
    degree = np.bincount(pairs.ravel(), minlength=len(names))
    bounds = (frame.left, frame.top, frame.left + frame.width, frame.top + frame.height)
    radii = [radius(int(d), much) for d in degree]
    shown, boxes = labels(layout.points(names), radii, names, range(len(names)), bounds)
    assert len(shown) == len(names)
    for one, other in itertools.combinations(boxes[len(names) :], 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


@settings(max_examples=30, deadline=None)
@given(graphs(most=30))
def test_clients_stand_left_of_servers_where_there_are_no_cycles(graph):
    names, pairs = graph
    ahead = pairs[pairs[:, 0] < pairs[:, 1]]  # an order: no cycles
    places = arrange(len(names), ahead, Cell(100, 50))
    depth = np.zeros(len(names), int)
    for _ in names:
        np.maximum.at(depth, ahead[:, 1], depth[ahead[:, 0]] + 1)
    if depth.max() < 6:  # deeper ones are pressed together
        assert (places[ahead[:, 0], 0] < places[ahead[:, 1], 0]).all()


@settings(max_examples=60, deadline=None)
@given(graphs(most=30), st.booleans())
def test_a_new_pair_without_neighbours_has_a_row_where_no_edge_meets_a_node(graph, back):
    names, pairs = graph
    layout = Layout()
    layout.update(names, pairs)
    for more in range(4):
        size, before, seen = len(names), layout.points(names), on_screen(layout, names)
        names = [*names, f"y{more}", f"z{more}"]
        pairs = np.vstack([pairs, [[size + back, size + (not back)]]])
        layout.update(names, pairs)
        if size < 3:  # then all are arranged anew
            continue
        points = layout.points(names)
        assert np.array_equal(points[:size], before)
        assert np.hypot(*(on_screen(layout, names[:size]) - seen).T).max() < 0.1
        (ax, ay), (bx, by) = points[size + back], points[size + (not back)]
        assert ay == by
        assert bx - ax == pytest.approx(1.35 * layout._cell.width)
        assert not (points[:size, 1] > ay).any()
        inner = (points[:size, 0] > ax - layout._cell.width + 1e-6) & (
            points[:size, 0] < bx + layout._cell.width - 1e-6
        )
        assert (points[:size, 1][inner] <= ay - layout._cell.height + 1e-6).all()
        apart(layout, names)
        frame = layout.frame
        assert frame.left <= ax < bx <= frame.left + frame.width
        assert ay < frame.top + frame.height


def test_pairs_without_neighbours_share_a_row():
    layout = Layout()
    names, pairs = ["a", "b", "c"], [[0, 1], [1, 2]]
    layout.update(names, np.array(pairs))
    for more in range(3):
        names = [*names, f"y{more}", f"z{more}"]
        pairs.append([len(names) - 2, len(names) - 1])
        layout.update(names, np.array(pairs))
    below = layout.points(names[3:])
    assert below[:, 1].tolist() == [layout.places["a"][1] + layout._cell.height] * 6
    assert sorted(below[:, 0].tolist()) == below[:, 0].tolist()


def test_the_order_of_rows_does_not_show():
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "source": [f"s{i}" for i in random.integers(0, 30, 300)],
            "target": [f"t{i}" for i in random.integers(0, 40, 300)],
            "latency": random.uniform(1, 1e9, 300),
            "bytes": random.integers(0, 1000, 300),
            "ts": random.integers(0, 10**10, 300),
        }
    )
    pictures = {servicemap(frame.sample(frac=1, random_state=seed)).svg() for seed in range(4)}
    assert len(pictures) == 1


def test_other_values_move_nothing():
    frame = pd.DataFrame({"source": list("aabbc"), "target": list("bcdee"), "rate": [1.0, 2, 3, 4, 5]})
    one, other = servicemap(frame), servicemap(frame.assign(rate=[1e6, 0, 1e-3, 7, 1e9]))
    assert one.nodes[["name", "x", "y"]].equals(other.nodes[["name", "x", "y"]])


def test_many_new_nodes_at_once_are_arranged_and_pinned_ones_stay():
    layout = Layout()
    layout.update(["a", "b"], np.array([[0, 1]]))
    layout.pin("a", 123.0, 45.0)
    names = sorted(["a", "b", *(f"n{i}" for i in range(20))])
    pairs = np.array([[names.index("a"), i] for i in range(1, 22)])
    layout.update(names, pairs)
    assert layout.places["a"] == (123.0, 45.0)
    apart(layout, names)


def test_components_are_packed_into_the_shape_of_the_view():
    names = [f"{side}{i:02d}" for side in "cs" for i in range(30)]
    pairs = np.column_stack([np.arange(30), np.arange(30, 60)])
    cell = cell_for(names)
    places = arrange(60, pairs, cell)
    wide, tall = np.ptp(places, axis=0) + np.array([cell.width, cell.height])
    assert 1.2 < wide / tall < 3.4
    assert wide * tall < 1.5 * 60 * cell.width * cell.height


# The picture


def test_facing_edges_and_loops_have_curves_of_their_own():
    there = curve(0, 0, 10, 200, 0, 10, True)
    back = curve(200, 0, 10, 0, 0, 10, True)
    assert there[1] < 0 < back[1]
    assert there[0] < there[6]
    assert back[0] > back[6]
    loop = curve(5, 5, 10, 5, 5, 10, False)
    assert loop[3] < 5 - 10


def test_the_page_draws_the_same_curves():
    shared = json.loads((Path(__file__).parents[2] / "js" / "test" / "servicemap.json").read_text())
    for case in shared["curves"]:
        assert curve(*case["ends"]) == pytest.approx(case["curve"], abs=1e-5)
    for *arguments, wanted in shared["widths"]:
        assert width_of(*arguments) == pytest.approx(wanted, abs=1e-5)
    for *arguments, wanted in shared["opacities"]:
        assert opacity_of(*arguments) == pytest.approx(wanted, abs=1e-5)
    for *arguments, wanted in shared["amounts"]:
        assert amount(*arguments) == wanted
    for counted, wanted in shared["singulars"].items():
        assert singular(counted) == wanted


def test_scales_keep_to_powers_of_ten():
    scale = Scale.of("rate", np.array([3.0, 20.0, 700.0, np.nan, 0.0]))
    assert (scale.low, scale.high) == (1.0, 1000.0)
    assert [scale(v) for v in (0.0, float("nan"), 1.0, 10.0, 1000.0, 5000.0)] == pytest.approx(
        [0, 0, 0, 1 / 3, 1, 1]
    )
    errors = Scale.of("errors", np.array([0.5]))
    assert [errors(v) for v in (0.0, 0.01, 0.25, 0.9)] == pytest.approx([0, 0.2, 1, 1])
    assert (ramp(0.0), ramp(1.0)) == (RAMP[0], RAMP[-1])


def test_words_of_measures():
    assert worded("rate", 120.0) == "120/s"
    assert worded("bytes_rate", 4096.0) == "4.00 KiB/s" or worded("bytes_rate", 4096.0) == "4 KiB/s"
    assert worded("errors", 0.02) == "2 %"
    assert worded("latency", 1.5e6, "ns") == "1.5 ms"
    assert worded("count", 1234567.0) == "1,234,567"
    assert worded("rate", float("nan")) == "-"


def test_the_static_picture_says_all_it_draws_and_trusts_no_name():
    frame = pd.DataFrame(
        {
            "source": ["redis-server", "<script>alert(1)</script>"],
            "target": ["10.0.0.2:5432", "10.0.0.2:5432"],
            "rate": [120.0, 3.0],
            "errors": [0.02, 0.0],
        }
    )
    view = servicemap(frame, title="prod")
    root = ElementTree.fromstring(view.svg("dark"))
    space = "{http://www.w3.org/2000/svg}"
    titles = [title.text for title in root.iter(f"{space}title")]
    assert "redis-server to 10.0.0.2:5432, 120/s, 2 % errors" in titles
    assert "redis-server (service)" in titles
    assert root.get("aria-label") == "Service map prod: 3 nodes, 2 edges"
    assert not list(root.iter(f"{space}script"))
    texts = ["".join(text.itertext()) for text in root.iter(f"{space}text")]
    assert "2 edges as given" in texts
    assert {"width: rate 1/s", "colour: errors 0 %"} <= set(texts)
    assert "var(" not in view.svg("dark")
    assert "<script" not in view.html()


@pytest.mark.parametrize(
    ("column", "unit", "counted", "low"),
    [
        ("requests", None, "requests", "1"),
        ("tx_packets", None, "tx packets", "1"),
        ("n", "lookups", "lookups", "1"),
        ("amount", "bytes", "bytes", "1 B"),
        ("count", None, "count", "1"),
    ],
)
def test_edges_are_counted_in_what_their_column_counts(column, unit, counted, low):
    frame = pd.DataFrame({"source": ["a", "b"], "target": ["c", "c"], column: [3, 7]})
    frame.attrs["bpfnb_columns"] = {column: {"unit": unit}} if unit else {}
    view = servicemap(frame, weight=column)
    assert f"width: {counted} {low}<" in view.svg()
    assert view._build().meta["metrics"]["count"]["title"] == counted
    assert view._text().splitlines()[0].split()[2:] == counted.split()


def test_the_page_is_told_what_one_of_the_counted_is_called():
    frame = pd.DataFrame({"source": ["a"], "target": ["b"], "queries": [1]})
    meta = servicemap(frame, weight="queries")._build().meta
    assert (meta["counted"], meta["singular"]) == ("queries", "query")


def test_a_table_is_read_once_for_a_picture():
    class Table:
        name = "table"
        closed = False
        reads = 0

        @property
        def df(self):
            self.reads += 1
            frame = pd.DataFrame(
                {"source": ["a"], "target": ["b"], "n": [5 * self.reads], "latency": [1_500_000]}
            )
            frame.attrs["bpfnb_columns"] = {"n": {"unit": "lookups"}, "latency": {"unit": "ns"}}
            return frame

    table = Table()
    view = servicemap(table, weight="n", latency="latency")
    assert view._build().meta["counted"] == "lookups"
    for draw in (view._build, view.svg, view._text):
        before = table.reads
        draw()
        assert table.reads == before + 1
    meta = view._build().meta
    assert (meta["counted"], meta["singular"], meta["unit"]) == ("lookups", "lookup", "ns")


def test_rows_that_are_counted_are_events():
    view = servicemap(events())
    assert {"rate": "events/s", "count": "events"}.items() <= {
        name: one["title"] for name, one in view._build().meta["metrics"].items()
    }.items()


def test_no_connections_yet():
    view = servicemap(pd.DataFrame({"source": [], "target": []}), title="now")
    assert "no connections yet" in view.svg()
    assert view._text() == "no connections yet"
    payload = view._build()
    assert payload is not None
    assert payload.columns["name"] == []


def test_plotly_has_every_node_and_edge():
    frame = pd.DataFrame({"source": list("aabb<"), "target": list("bcdee"), "rate": [1.0, 2, 3, 4, 5]})
    figure = servicemap(frame).to_plotly()
    texts = [list(trace.text) for trace in figure.data if trace.text is not None]
    assert ["&lt;", "a", "b", "c", "d", "e"] in texts
    assert any("a to b, 1/s" in text for text in texts)


# The view


def test_small_nodes_of_more_than_the_limit_are_folded_and_said_so():
    frame = pd.DataFrame(
        {
            "source": [f"client{i:03d}" for i in range(400)] + ["hub"] * 200,
            "target": ["hub"] * 400 + [f"server{i:03d}" for i in range(200)],
            "count": np.r_[np.arange(400, 0, -1), np.arange(200, 0, -1)],
        }
    )
    view = servicemap(frame)
    graph = view._now()
    assert len(graph.names) <= 300
    assert sum(len(members) for members in graph.folded.values()) == 601 - (
        len(graph.names) - len(graph.folded)
    )
    assert view.edges["count"].sum() == frame["count"].sum()
    clients = next(name for name in graph.names if name.endswith("other clients"))
    assert "client399" in graph.folded[clients]
    assert "client000" in graph.names
    assert json.dumps(view._build().meta)
    view._on_message({"kind": "select", "names": [clients, "hub"]}, [])
    assert len(view.selected) == len(graph.folded[clients])
    view._on_message({"kind": "limit", "limit": 1000}, [])
    assert len(view.nodes) == 601


def test_an_edge_selects_its_rows_and_a_node_those_of_both_sides():
    frame = events(400)
    view = servicemap(frame)
    view._on_message({"kind": "select", "names": ["nginx", "10.0.0.2:5432"]}, [])
    assert view.selection == {
        "comm": {"in": ["nginx"]},
        "daddr": {"in": ["10.0.0.2"]},
        "dport": {"in": [5432]},
    }
    wanted = frame[(frame.comm == "nginx") & (frame.daddr == "10.0.0.2") & (frame.dport == 5432)]
    assert view.selected.ts.tolist() == wanted.ts.tolist()
    assert view._build().meta["picked"] == ["nginx", "10.0.0.2:5432"]
    view._on_message({"kind": "select", "names": []}, [])
    assert view.selection == {}
    both = pd.DataFrame({"source": ["a", "b", "c"], "target": ["b", "c", "a"]})
    view = servicemap(both)
    view._on_message({"kind": "select", "names": ["b"]}, [])
    assert view.selected.index.tolist() == [0, 1]
    with pytest.raises(UnknownName, match="no node 'x'"):
        view._on_message({"kind": "select", "names": ["x"]}, [])


def test_linked_views_filter_the_map():
    frame = events(400)
    view, other = servicemap(frame), servicemap(frame)
    other.selection = {"comm": {"in": ["api"]}}
    assert set(view.edges["source"]) == {"api"}
    assert set(other.edges["source"]) == {"api", "nginx", "worker"}
    other.selection = {}
    assert set(view.edges["source"]) == {"api", "nginx", "worker"}


def test_messages_pin_arrange_and_choose():
    view = servicemap(pd.DataFrame({"source": list("aab"), "target": list("bcc"), "count": [1, 2, 3]}))
    before = view.nodes.set_index("name")[["x", "y"]]
    view._on_message({"kind": "pin", "name": "a", "x": -100, "y": 50.5}, [])
    view._on_message({"kind": "arrange"}, [])
    assert view.nodes.set_index("name").loc["a", ["x", "y"]].tolist() == [-100.0, 50.5]
    assert view._build().meta["pinned"] == ["a"]
    view._on_message({"kind": "unpin", "name": "a"}, [])
    view._on_message({"kind": "arrange"}, [])
    assert view.nodes.set_index("name")[["x", "y"]].equals(before)
    view._on_message({"kind": "show", "what": "color", "metric": "count"}, [])
    assert "colour: count" in view.svg()
    for wrong in (
        {"kind": "pin", "name": "a", "x": float("nan"), "y": 0},
        {"kind": "show", "what": "width", "metric": "x"},
        {"kind": "?"},
    ):
        with pytest.raises(BpfnbError):
            view._on_message(wrong, [])


def test_kinds_and_groups_by_columns_or_by_name():
    frame = pd.DataFrame(
        {
            "client": ["a", "b"],
            "server": ["b", "c"],
            "client_kind": ["process", "container"],
            "server_kind": ["container", "host"],
        }
    )
    nodes = servicemap(frame, node_kind=("client_kind", "server_kind"), group={"a": "front"}).nodes
    assert nodes["kind"].tolist() == ["process", "container", "host"]
    assert nodes["group"].tolist() == ["front", "", ""]


def test_the_same_data_sends_the_same_frame():
    from bpfnb.views.wire import pack

    view = servicemap(events(300))
    assert pack(view._build()) == pack(view._build())


def test_rank_follows_neighbours_then_traffic_then_name():
    table = pd.DataFrame(
        {"source": ["hub", "hub", "x", "y"], "target": ["x", "y", "z", "w"], "count": [1.0, 1, 1, 1000]}
    )
    for column in ("rate", "bytes", "bytes_rate", "errors", "latency", "latency_p99", "age"):
        table[column] = np.nan
    graph = build(table, lambda _: "service")
    assert [graph.names[i] for i in np.argsort(graph.rank)] == ["y", "hub", "x", "w", "z"]


def test_the_picture_of_two_hundred_nodes_shows_most_labels():
    random = np.random.default_rng(2)
    source = [f"api-{i}" for i in random.integers(0, 60, 400)]
    target = [f"10.0.0.{i}:5432" for i in random.integers(0, 140, 400)]
    view = servicemap(
        pd.DataFrame(
            {"source": source, "target": target, "rate": random.uniform(1, 1e4, 400)}
        ).drop_duplicates(["source", "target"])
    )
    left_out = int(re.search(r"(\d+) labels left out", view.svg() + "0 labels left out")[1])
    assert left_out < 0.4 * len(view.nodes)
