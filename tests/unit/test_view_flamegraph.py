"""Flame graphs by value: stacks to trees and back, shares, comparisons, ranges of time, selections, exports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from growing import Growing
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.errors import BadValue, UnknownName
from bpfnb.symbols.kallsyms import Kallsyms
from bpfnb.views import flamegraph, selection
from bpfnb.views.flames import paint
from bpfnb.views.flames.columns import folded_frame
from bpfnb.views.flames.names import ORIGINS, origins
from bpfnb.views.flames.static import MOST, Look, svg

TEXT = "a 1\na;b 2\na;b;c 4\na;x;x;b 8\nc;a 16\n"

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=";#"),
    min_size=1,
    max_size=6,
)
weighed = st.dictionaries(
    st.lists(names, min_size=1, max_size=6).map(tuple), st.integers(1, 2**58), min_size=1, max_size=30
)


def stacks(view):
    return {
        tuple(line.rpartition(" ")[0].split(";")): int(line.rpartition(" ")[2])
        for line in view.folded().splitlines()
    }


def timed(moments, stacks, **columns):
    return pd.DataFrame({"ts": pd.to_datetime(moments, unit="ns", utc=True), "stack": stacks, **columns})


@settings(max_examples=30, deadline=None)
@given(weighed)
def test_folded_text_becomes_a_tree_and_the_same_text_again(wanted):
    view = flamegraph("".join(f"{';'.join(stack)} {weight}\n" for stack, weight in wanted.items()))
    assert stacks(view) == wanted
    tree = view.tree
    assert tree.total == sum(wanted.values())
    for node in range(len(tree)):
        under = sum(w for s, w in wanted.items() if list(s[: tree.depth[node]]) == tree.path(node))
        assert tree.value[node] == under
        assert tree.value[node] == tree.own[node] + sum(int(tree.value[c]) for c in tree.children(node))


@settings(max_examples=20, deadline=None)
@given(weighed)
def test_inverted_and_merged_trees_hold_the_same_weight(wanted):
    view = flamegraph("".join(f"{';'.join(stack)} {weight}\n" for stack, weight in wanted.items()))
    view._take()
    turned = view._weighed(inverted=True, merged=False)
    found = {tuple(turned.path(n)[::-1]): int(turned.own[n]) for n in np.flatnonzero(turned.own)}
    assert found == wanted
    merged = view._weighed(inverted=False, merged=True)
    assert merged.total == sum(wanted.values())
    assert all(
        a != b for n in range(len(merged)) for a, b in zip(merged.path(n), merged.path(n)[1:], strict=False)
    )


def test_siblings_stand_in_order_of_their_names():
    tree = flamegraph(TEXT).tree
    assert [tree.path(n) for n in range(len(tree))] == [
        [], ["a"], ["a", "b"], ["a", "b", "c"], ["a", "x"], ["a", "x", "x"], ["a", "x", "x", "b"], ["c"], ["c", "a"],
    ]  # fmt: skip
    assert tree.own.tolist() == [0, 1, 2, 4, 0, 0, 8, 0, 16]


def test_weights_of_64_bits_are_exact():
    big = 2**63 + 1
    view = flamegraph(pd.DataFrame({"stack": ["a;b", "a;c"], "n": np.array([big, 3], np.uint64)}), weight="n")
    assert view.tree.total == big + 3
    assert view.folded() == f"a;b {big}\na;c 3\n"
    assert view._build().columns["own"].dtype == np.uint64


def test_weights_that_are_none_are_refused():
    view = flamegraph(pd.DataFrame({"stack": ["a", "b"], "n": [1, -1]}), weight="n")
    with pytest.raises(BadValue, match="-1 is no weight"):
        _ = view.tree
    assert flamegraph(pd.DataFrame({"stack": ["a", "b"], "n": [0.5, np.nan]}), weight="n").tree.total == 0.5


def test_a_matching_stack_counts_once():
    view = flamegraph(TEXT)
    assert view.search("x") == 8 / 31
    assert view.search("B") == 14 / 31
    assert view.search("/^[bx]$/") == 14 / 31
    assert view.search("a") == 1.0
    assert view.search("gone") == 0.0
    with pytest.raises(BadValue, match="no regular expression"):
        view.search("/(/")


def test_top_functions_count_recursion_once():
    rows = {row[0]: row[1:] for row in flamegraph(TEXT).top()}
    assert rows["a"] == ("17 samples", "54.8 %", "31 samples", "100 %")
    assert rows["b"] == ("10 samples", "32.3 %", "14 samples", "45.2 %")
    assert list(rows) == ["a", "b", "c"]


# Columns


def test_lists_of_names_and_of_addresses():
    by_name = flamegraph(pd.DataFrame({"frames": [["a", "b"], ["a"], ["a", "b"], None, []]}))
    assert stacks(by_name) == {("a", "b"): 2, ("a",): 1, ("[no stack]",): 2}
    leaf_first = flamegraph(pd.DataFrame({"stack": [["b", "a"]]}), order="leaf")
    assert stacks(leaf_first) == {("a", "b"): 1}
    addresses = pa.array(
        [[0x30, 0x20, 0x10, 0, 0], [0x20, 0x10, 0, 0, 0], [0x30, 0x20, 0x10, 0, 0]], pa.list_(pa.uint64(), 5)
    )
    frame = pd.DataFrame({"ustack": pd.arrays.ArrowExtensionArray(addresses)})
    assert stacks(flamegraph(frame)) == {("0x10", "0x20", "0x30"): 2, ("0x10", "0x20"): 1}
    table = {0x10: "main", 0x20: "work"}
    named = flamegraph(frame, symbolize=lambda each: [table.get(int(a)) for a in each])
    assert stacks(named) == {("main", "work", "0x30"): 2, ("main", "work"): 1}
    with pytest.raises(BadValue, match="1 names for 3 addresses"):
        _ = flamegraph(frame, symbolize=lambda each: ["one"]).tree


def test_kernel_addresses_are_looked_up_callers_where_they_called(monkeypatch):
    text = "ffffffff81000000 T enter\nffffffff81000100 T work\nffffffff81000200 T leaf\nffffffff81000300 T rest\n"
    monkeypatch.setattr("bpfnb.views.flames.naming.SYMBOLS", Kallsyms(text.encode()))
    leaf, caller, top = 0xFFFFFFFF81000200, 0xFFFFFFFF81000200, 0xFFFFFFFF81000010
    frame = pd.DataFrame({"kernel_stack": [np.array([leaf, caller, top], np.uint64)]})
    # The caller's call is the last instruction of work(): it would return to the first one of leaf().
    assert stacks(flamegraph(frame)) == {("enter_[k]", "work_[k]", "leaf_[k]"): 1}


def test_ids_of_stacks_with_their_map_and_their_errors():
    calls = pd.DataFrame({
        "comm": ["dd", "dd", "cat", "cat", "sh"],
        "user_stack": np.array([1, 1, 2, -14, -17], np.int32),
        "kernel_stack": np.array([3, -14, 3, -14, 9], np.int32),
        "count": [10, 20, 30, 40, 50],
    })  # fmt: skip
    traces = {1: ["write", "main"], 2: ["read", "main"], 3: ["vfs_[k]", "enter_[k]"]}
    view = flamegraph(calls, stacks=traces, by="comm")
    assert stacks(view) == {
        ("dd", "main", "write", "enter_[k]", "vfs_[k]"): 10,
        ("dd", "main", "write"): 20,
        ("cat", "main", "read", "enter_[k]", "vfs_[k]"): 30,
        ("cat",): 40,
        ("sh", "[stack lost: stack map collision]", "[stack not in map]"): 50,
    }
    with pytest.raises(BadValue, match="holds ids of stacks"):
        flamegraph(calls)


def test_a_stack_that_comes_into_the_map_later_is_found_then():
    traces = {}
    view = flamegraph(pd.DataFrame({"stack_id": [5], "count": [3]}), stacks=traces)
    assert stacks(view) == {("[stack not in map]",): 3}
    traces[5] = ["leaf", "root"]
    view._reset()
    assert stacks(view) == {("root", "leaf"): 3}


def test_columns_are_found_and_wrong_ones_said():
    frame = pd.DataFrame({"pid": [1], "folded": ["a;b"], "value": [7]})
    assert stacks(flamegraph(frame)) == {("a", "b"): 7}
    with pytest.raises(UnknownName, match="no column 'stak'"):
        flamegraph(frame, "stak")
    with pytest.raises(BadValue, match="no column holds stacks"):
        flamegraph(pd.DataFrame({"pid": [1]}))


def test_folded_lines_of_all_kinds():
    frame = folded_frame("# comment\n\na;b c 3\nlone\nx;y 2.5\n")
    assert frame.values.tolist() == [["a;b c", 3.0], ["lone", 1.0], ["x;y", 2.5]]
    assert folded_frame(["a 18446744073709551615"])["count"].tolist() == [2**64 - 1]
    assert stacks(flamegraph(pd.Series(["a;b", "a;b", "c"]))) == {("a", "b"): 2, ("c",): 1}


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("do_syscall_64_[k]", "kernel"), ("main", "user"), ("std::sort<int>", "user"), ("inlined_[i]", "user"),
        ("py::f:/srv/x.py", "interpreter"), ("Lorg/acme/A;::run", "interpreter"), ("LazyCompile:*tick", "interpreter"),
        ("jitted_[j]", "interpreter"), ("[unknown]", "unknown"), ("0x7f001234", "unknown"), ("0xffffffff81_[k]", "kernel"),
    ],
)  # fmt: skip
def test_where_a_frame_comes_from(name, origin):
    assert ORIGINS[origins([name])[0]] == origin


def test_a_names_shade_is_its_own_and_hues_of_origins_differ():
    assert paint.hashed("foobar") == 0xBF9CF968 / 0xFFFFFFFF
    assert paint.of_origin("a", 0) != paint.of_origin("b", 0)
    assert len({paint.of_origin("a", i)[:3] for i in range(4)}) == 4
    assert paint.diverging(0) == "#eeeeee"


# Comparing, ranges of time


def test_a_differential_compares_shares_of_the_totals():
    view = flamegraph("a 50\nb 50\n", base="a 2\nb 6\n")
    tree = view.tree
    assert view.color == "diff"
    assert (tree.total, tree.base_total) == (100, 8)
    drift = {tree.label(n): tree.drift[n] for n in range(len(tree))}
    assert drift["all"] == 0
    assert drift["a"] == pytest.approx(np.log2(0.501 / 0.251) / 2)
    assert drift["b"] == pytest.approx(np.log2(0.501 / 0.751) / 2)
    same = flamegraph("a 500\nb 1500\n", base="a 2\nb 6\n").tree
    assert same.drift.tolist() == [0, 0, 0]


def test_what_only_the_base_has_stays_in_the_tree():
    tree = flamegraph("a 1\n", base="gone;deep 3\n").tree
    assert {tuple(tree.path(n)): (int(tree.value[n]), int(tree.base[n])) for n in range(len(tree))} == {
        (): (1, 3), ("a",): (1, 0), ("gone",): (0, 3), ("gone", "deep"): (0, 3),
    }  # fmt: skip


def test_a_base_without_the_columns_is_refused():
    with pytest.raises(BadValue, match="the base has no column 'stack'"):
        flamegraph("a 1\n", base=pd.DataFrame({"other": ["a"]}))


def test_a_range_of_time_and_what_it_is_compared_with():
    start = 1_790_000_000_000_000_000
    frame = timed([start + i * 10**9 for i in range(10)], ["a"] * 5 + ["b"] * 5)
    view = flamegraph(frame)
    view.window = (start + 4 * 10**9, start + 8 * 10**9)
    assert stacks(view) == {("a",): 1, ("b",): 3}
    assert view.selection == {"ts": {"ge": start + 4 * 10**9, "lt": start + 8 * 10**9}}
    assert len(view.selected) == 4
    view.base_window = (pd.Timestamp(start, tz="UTC"), pd.Timestamp(start + 5 * 10**9, tz="UTC"))
    assert view.color == "diff"
    assert (view.tree.total, view.tree.base_total) == (4, 5)
    view.base_window = None
    view.window = None
    assert view.selection == {}
    assert view.tree.total == 10
    with pytest.raises(BadValue, match="ends after its start"):
        view.window = (5, 5)
    with pytest.raises(BadValue, match="no moments"):
        flamegraph(TEXT).window = (1, 2)


def test_steps_dragged_in_the_browser_are_exact_moments():
    start = 1_790_000_000_123_456_789
    view = flamegraph(timed([start, start + 3 * 10**9, start + 9 * 10**9], ["a", "b", "c"]))
    meta = view._build().meta["strip"]
    view._on_message(
        {"kind": "window", "first": 0, "last": 79, "start": meta["start"], "step": meta["step"]}, []
    )
    assert view.window == (int(meta["start"]), int(meta["start"]) + 80 * meta["step"])
    assert stacks(view) == {("a",): 1, ("b",): 1}
    view._on_message({"kind": "window"}, [])
    assert view.window is None


def test_offline_cells_hold_all_weight_by_stack_and_step():
    rng = np.random.default_rng(1)
    times = np.sort(rng.integers(0, 60 * 10**9, 5000)) + 1_790_000_000_000_000_000
    frame = timed(times, rng.choice(["a;b", "a;c", "d"], 5000))
    view = flamegraph(frame)
    (payload,) = view._offline_payloads()
    cells = pd.DataFrame({k: payload.columns[f"cell_{k}"] for k in ("node", "step", "weight")})
    tree = view.tree
    by_node = cells.groupby("node")["weight"].sum()
    assert {tuple(tree.path(n)): w for n, w in by_node.items()} == {
        tuple(k.split(";")): v for k, v in frame["stack"].value_counts().items()
    }
    assert cells.groupby("step")["weight"].sum().reindex(
        range(len(payload.columns["strip"])), fill_value=0
    ).tolist() == (payload.columns["strip"].tolist())
    assert len(payload.columns["strip"]) <= 240


# Selecting


@pytest.mark.parametrize("as_lists", [False, True])
def test_a_frame_selects_the_rows_under_it(as_lists):
    texts = ["a;b", "a;bc", "a;b;c", "d", "a"]
    frame = pd.DataFrame({"stack": [t.split(";") for t in texts] if as_lists else texts, "n": range(5)})
    view = flamegraph(frame, "stack")
    view._on_message({"kind": "select", "path": ["a", "b"]}, [])
    assert view.selection == {"stack": {"under": ["a", "b"]}}
    assert view.selected["n"].tolist() == [0, 2]
    view._on_message({"kind": "select", "path": []}, [])
    assert view.selection == {}


def test_a_frame_of_the_callers_view_selects_what_ends_there():
    view = flamegraph(pd.DataFrame({"stack": ["a;b", "c;b", "a;c"], "n": range(3)}), "stack")
    view.inverted = True
    view._on_message({"kind": "select", "path": ["b"]}, [])
    assert view.selected["n"].tolist() == [0, 1]


def test_frames_over_several_columns_select_by_their_values():
    calls = pd.DataFrame({"comm": ["dd", "dd", "cat"], "stack_id": [1, 2, 1], "count": [1, 2, 4]})
    view = flamegraph(calls, stacks={1: ["write", "main"], 2: ["read", "main"]}, by="comm")
    _ = view.tree
    view._select(["dd", "main", "write"])
    assert view.selection == {"comm": {"in": ["dd"]}, "stack_id": {"in": [1]}}
    assert view.selected["count"].tolist() == [1]
    view._select(["dd"])
    assert view.selected["count"].tolist() == [1, 2]


TABLE = {0x10: "main", 0x11: "main", 0x20: "work", 0x21: "work", 0x30: "rest", 2**63 + 7: "top"}


def named(frame, **options):
    view = flamegraph(frame, symbolize=lambda each: [TABLE.get(int(a)) for a in each], **options)
    _ = view.tree
    return view


def fixed(*rows):
    """Leaf first, and zeros to a fixed length, as a live stream has them."""
    width = max(map(len, rows)) + 1
    lists = pa.array([[*row, *[0] * (width - len(row))] for row in rows], pa.list_(pa.uint64(), width))
    return pd.Series(pd.arrays.ArrowExtensionArray(lists))


@pytest.mark.parametrize("column", [fixed, lambda *rows: [np.array(row, np.uint64) for row in rows]])
def test_a_frame_of_addresses_selects_the_stacks_that_end_in_them(column):
    frame = pd.DataFrame({"stack": column([0x20, 0x10], [0x30, 0x10], [0x30, 0x20, 0x10], [2**63 + 7])})
    view = named(frame)
    view._select(["main", "work"])
    assert view.selection == {"stack": {"under": ["0x10", "0x20"]}}
    assert view.selected.index.tolist() == [0, 2]
    view._select(["top"])
    assert view.selection == {"stack": {"under": ["0x8000000000000007"]}}
    assert view.selected.index.tolist() == [3]
    more = pd.DataFrame({"stack": column([0x77, 0x20, 0x10], [0x20, 0x30, 0x10], [0x20])})
    assert selection.apply(more, {"stack": {"under": ["0x10", "0x20"]}}).tolist() == [True, False, False]


def test_several_addresses_of_one_name_are_alternatives():
    frame = pd.DataFrame({"stack": fixed([0x20, 0x10], [0x21, 0x11], [0x21, 0x10], [0x30, 0x10], [0x10])})
    view = named(frame)
    view._select(["main", "work"])
    assert view.selection == {
        "stack": [{"under": ["0x10", "0x20"]}, {"under": ["0x10", "0x21"]}, {"under": ["0x11", "0x21"]}]
    }
    assert view.selected.index.tolist() == [0, 1, 2]
    many = {"stack": [{"under": [hex(at)]} for at in range(1, 8)]}
    assert selection.describe(many).endswith("or stack under 0x5 or 2 more")


def test_addresses_below_a_value_select_by_both_columns():
    frame = pd.DataFrame({"comm": ["dd", "cat", "dd"], "stack": fixed([0x20, 0x10], [0x20, 0x10], [0x30])})
    view = named(frame, by="comm")
    view._select(["dd", "main"])
    assert view.selection == {"comm": {"in": ["dd"]}, "stack": {"under": ["0x10"]}}
    assert view.selected.index.tolist() == [0]
    view._select(["dd"])
    assert view.selection == {"comm": {"in": ["dd"]}}


def test_stacks_that_no_condition_picks_are_selected_by_their_rows(monkeypatch):
    view = named(pd.DataFrame({"stack": [[0x10, 0x20], [0x10, 0x30]]}), order="root")
    view._select(["main", "work"])
    assert view.selection == {"#": {"in": [0]}}
    user, kernel = fixed([0x10], [0x11, 0x10], [0x10]), fixed([0x30], [0x30], [0x20])
    view = named(pd.DataFrame({"ustack": user, "kstack": kernel}))
    view._select(["main", "rest_[k]"])
    assert view.selected.index.tolist() == [0]  # though the second's user stack begins so too
    assert view.selection == {"#": {"in": [0]}}
    monkeypatch.setattr("bpfnb.views.flames.parts.WAYS", 1)
    view = named(pd.DataFrame({"stack": fixed([0x10], [0x11])}))
    view._select(["main"])
    assert view.selection == {"#": {"in": [0, 1]}}


def test_rows_that_come_later_join_a_selected_frame_of_addresses():
    source = Growing(pd.DataFrame({"stack": fixed([0x20, 0x10], [0x30]), "comm": ["a", "b"]}))
    view, other = named(source), flamegraph(source, "comm")
    view._select(["main"])
    assert stacks(other) == {("a",): 1}
    source.append(pd.DataFrame({"stack": fixed([0x30, 0x10], [0x20]), "comm": ["c", "d"]}))
    assert stacks(other) == {("a",): 1, ("c",): 1}


def test_linked_views_leave_only_what_the_others_select():
    frame = pd.DataFrame({"stack": ["a", "b", "b"], "comm": ["x", "x", "y"]})
    one, two = flamegraph(frame), flamegraph(frame)
    one.selection = {"comm": {"in": ["x"]}}
    assert stacks(two) == {("a",): 1, ("b",): 1}
    assert stacks(one) == {("a",): 1, ("b",): 2}
    one.selection = {}
    assert stacks(two) == {("a",): 1, ("b",): 2}


def test_under_finds_lists_that_begin_so_among_many_empty_and_missing_ones():
    lists = pa.array([["a", "b", "c"], ["a", "b"], ["a", "x"], ["z"], [], None]).take(
        pa.array(np.arange(600_000) % 6)
    )
    frame = pd.DataFrame({"stack": pd.arrays.ArrowExtensionArray(lists)})
    found = selection.apply(frame, {"stack": {"under": ["a", "b"]}})
    assert np.flatnonzero(found[:12]).tolist() == [0, 1, 6, 7]
    assert found.sum() == 200_000


# Pictures and exports


def test_the_svg_leaves_narrow_frames_out_and_keeps_the_totals():
    lines = [f"root;f{i} 1" for i in range(5000)] + ["root;big 100000"]
    picture = svg(flamegraph("\n".join(lines)).tree, Look("t"), "light")
    assert "big: 100,000 samples, 95.2 %" in picture
    assert "root: 105,000 samples, 100 %" in picture
    assert not re.search(r"<title>f\d", picture)
    assert "5,000 narrower frames" in picture


def test_the_svg_stays_small_and_has_no_scripts():
    rng = np.random.default_rng(2)
    lines = [
        ";".join(f"function_with_a_long_name_{x}" for x in rng.integers(0, 400, 30))
        + f" {rng.integers(1, 99)}"
        for _ in range(3000)
    ]
    view = flamegraph(lines)
    for picture in (view.svg("light"), view.svg("dark"), view.html()):
        assert len(picture.encode()) < 300_000
        assert picture.count("<g><title>") <= MOST
        assert "<script" not in picture
    assert flamegraph("").svg("light").count("no samples") >= 1


def test_names_are_escaped_in_the_svg():
    picture = flamegraph('std::f<int>"&; x 5\n').svg("light")
    assert "std::f&lt;int&gt;&quot;&amp;" in picture
    assert "<int>" not in picture


def test_plotly_has_the_same_weights():
    figure = flamegraph(TEXT).to_plotly()
    trace = figure.data[0]
    assert trace.type == "icicle"
    assert dict(zip(trace.ids, trace.values, strict=True))["0"] == 31
    children = {}
    for parent, value in zip(trace.parents, trace.values, strict=True):
        children[parent] = children.get(parent, 0) + value
    assert children["0"] == 31


def test_speedscope_json_is_what_its_format_says():
    view = flamegraph(
        pd.DataFrame({"stack": ["a;b", "a"], "lat": [5, 7]}), weight="lat", unit="ns", title="t"
    )
    file = json.loads(json.dumps(view.speedscope()))
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    (profile,) = file["profiles"]
    assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
    assert (profile["type"], profile["unit"], profile["startValue"], profile["endValue"]) == (
        "sampled",
        "nanoseconds",
        0,
        12,
    )
    assert len(profile["samples"]) == len(profile["weights"])
    frames = [frame["name"] for frame in file["shared"]["frames"]]
    assert {tuple(frames[i] for i in s): w for s, w in zip(profile["samples"], profile["weights"], strict=True)} == {
        ("a", "b"): 5, ("a",): 7,
    }  # fmt: skip


def test_text_and_page(tmp_path: Path):
    view = flamegraph(TEXT, title="cpu")
    assert view._text().startswith("cpu: 31 samples in 5 stacks")
    assert "a         17 samples  54.8 %" in view._text()
    bundle = Path("bpfnb/views/static/flamegraph.js")
    if not bundle.exists():
        pytest.skip("the bundles were not built")
    page = view.save(tmp_path / "f.html").read_text()
    assert '"seq": 1' in page
    assert "http://" not in page.split('id="code"')[0].replace("http://www.w3.org", "")


def test_a_million_samples_are_counted_once_and_only_new_ones_again():
    rng = np.random.default_rng(3)
    different = np.array([";".join(f"f{x}" for x in rng.integers(0, 300, 20)) for _ in range(5000)], object)
    pick = rng.integers(0, 5000, 1_000_000)
    view = flamegraph(pd.DataFrame({"stack": different[pick]}))
    assert view.tree.total == 1_000_000
    wanted = np.bincount(pick, minlength=5000)
    shown = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in view.folded().splitlines()}
    assert shown == {str(different[i]): int(n) for i, n in enumerate(wanted) if n}
    encoded = []
    view._book.encode = lambda frame: encoded.append(len(frame))
    assert view.tree.total == 1_000_000
    assert encoded == []


def test_a_small_array_in_columns_of_its_own_is_one_stack():
    frame = pd.DataFrame(
        {
            "ts": [1, 2],
            **{f"stack.{i}": np.array(v, np.uint64) for i, v in enumerate([[3, 3], [2, 0], [0, 0]])},
        }
    )
    view = flamegraph(frame)
    assert stacks(view) == {("0x2", "0x3"): 1, ("0x3",): 1}
    view._select(["0x2"])
    assert view.selected["ts"].tolist() == [1]


def test_names_stay_within_their_frames_in_the_svg():
    picture = flamegraph("ENTRY_WWWWMMMM 10\nillicit_little 10\nother 80\n").svg("light")
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", picture)
    assert "illicit_little" in texts  # as many letters in as many pixels, but slim ones
    assert "ENTRY_WWWWMMMM" not in texts
    assert "ENTRY_WWWW…" in texts
