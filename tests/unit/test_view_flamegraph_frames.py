"""A flame graph that follows its source: what travels to the browser, how much of it, and what a page keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fakecomm import FakeComm, Page
from growing import Growing

from bpfnb.views import flamegraph
from bpfnb.views.view import STATIC

START = 1_790_000_000_000_000_000


@pytest.fixture(autouse=True)
def comms(monkeypatch):
    monkeypatch.setattr("comm.create_comm", FakeComm)


def samples(stacks, first=0, **columns) -> pd.DataFrame:
    times = START + (first + np.arange(len(stacks))) * 10**9
    return pd.DataFrame({"ts": pd.to_datetime(times, utc=True), "stack": np.array(stacks, object), **columns})


class Browser:
    """What the browser's part makes of frames: the last whole tree, with the weights that came since."""

    def __init__(self) -> None:
        self.full = 0

    def take(self, view) -> bool:
        """Build and send once; False where there was nothing to say."""
        payload = view._build_now()
        if payload is None:
            return False
        columns = payload.columns
        if view.full:
            self.full += 1
            names = columns["name"]
            self.names = [None if code < 0 else names.categories[code] for code in names.codes]
            self.parent = columns["parent"].tolist()
            self.own = {name: columns[name].copy() for name in ("own", "base") if name in columns}
        else:
            for name, own in self.own.items():
                own[columns[f"{name}_at"]] = columns[name]
        assert view._transmit(payload)
        return True

    def stacks(self, name="own") -> dict[str, int]:
        def path(node):
            return "" if node <= 0 else f"{path(self.parent[node])};{self.names[node]}".lstrip(";")

        return {path(node): int(w) for node, w in enumerate(self.own[name]) if w}


def counted(view) -> dict[str, int]:
    return {k: int(n) for k, _, n in (line.rpartition(" ") for line in view.folded().splitlines())}


def test_while_the_shape_stays_only_changed_weights_travel():
    source = Growing(samples(["a;b", "a;c", "d"]))
    view, browser = flamegraph(source), Browser()
    assert browser.take(view)
    source.append(samples(["a;b", "a;b", "a"], 3))  # "a" is a node already, though a stack that is new
    assert browser.take(view)
    assert (browser.full, browser.stacks()) == (1, {"a": 1, "a;b": 3, "a;c": 1, "d": 1})
    source.append(samples(["a", "d", "a;b"], 6))
    payload = view._build()
    assert payload is not None
    assert (payload.columns["own_at"].tolist(), payload.columns["own"].tolist()) == ([1, 2, 4], [2, 4, 2])
    assert "name" not in payload.columns
    assert "parent" not in payload.columns
    assert view._transmit(payload)
    assert not browser.take(view)  # nothing is new


def test_the_browser_has_what_python_counts_whatever_happens():
    rng = np.random.default_rng(4)
    known = [";".join(rng.choice(list("abcdef"), rng.integers(1, 6))) for _ in range(40)]
    source = Growing(samples(known[:3], comm=["x"] * 3))
    view, other, browser = flamegraph(source), flamegraph(source), Browser()
    browser.take(view)
    for step in range(60):
        match step % 10:
            case 3:
                source.first = max(0, len(source.data) - 30)  # old rows go, and with them stacks
            case 5:
                other.selection = {"comm": {"in": ["y"]}} if step % 20 == 5 else {}
            case 7:
                view.window = (START, START + step * 10**9) if step % 20 == 7 else None
            case 8:
                view.base_window = (START, START + step * 10**8) if step % 20 == 8 else None
        more = [known[i] for i in rng.integers(0, min(step + 3, 40), 5)]
        source.append(samples(more, len(source.data), comm=rng.choice(["x", "y"], 5)))
        browser.take(view)
        assert browser.stacks() == counted(view)
        if view.tree.base_own is not None:
            base = view.tree
            assert browser.stacks("base") == {
                ";".join(base.path(n)): int(w) for n, w in enumerate(base.base_own) if w
            }
    assert browser.full < 40


def test_what_is_left_out_comes_back_without_the_whole_tree():
    source = Growing(samples(["a;b", "c", "a;b"]))
    view, browser = flamegraph(source), Browser()
    browser.take(view)
    source.first = 2  # "c" is gone
    browser.take(view)
    assert browser.stacks() == counted(view) == {"a;b": 1}
    source.append(samples(["c"], 3))
    browser.take(view)
    assert browser.stacks() == counted(view) == {"a;b": 1, "c": 1}
    assert browser.full == 1


def test_lost_events_are_told_though_no_sample_came():
    source = Growing(samples(["a"]))
    view, browser = flamegraph(source), Browser()
    browser.take(view)
    assert not browser.take(view)
    source.losses = 3
    payload = view._build()
    assert payload is not None
    assert len(payload.columns["own_at"]) == 0


def test_weights_beyond_floats_make_a_whole_tree():
    source = Growing(pd.DataFrame({"stack": ["a", "b"], "n": np.array([1, 2], np.uint64)}))
    view, browser = flamegraph(source, weight="n"), Browser()
    browser.take(view)
    source.append(pd.DataFrame({"stack": ["a"], "n": np.array([2**63], np.uint64)}))
    browser.take(view)
    assert browser.full == 2
    assert browser.stacks() == {"a": 2**63 + 1, "b": 2}


def test_an_update_of_a_large_tree_takes_bytes_by_what_changed():
    rng = np.random.default_rng(7)
    stacks = [
        ";".join(["main", *(f"function_{x}" for x in rng.integers(0, 300, 12)), f"leaf_{i}"])
        for i in range(9000)
    ]
    source = Growing(samples(stacks))
    view = flamegraph(source, hz=30)
    page = Page(view)
    page.say("hello", visible=True)
    assert page.wait(1)["full"]
    page.ack()
    assert len(view.tree) > 100_000
    source.append(samples(stacks[:500], 9000))
    view.refresh()
    assert not page.wait(2)["full"]
    whole, update = page.sizes()
    assert whole[1] > 1_500_000
    assert update[1] <= 500 * 12 + 240 * 8
    assert update[0] < 1_000
    page.ack()
    source.append(samples(["main;fresh"], 9500))
    view.refresh()
    assert page.wait(3)["full"]
    page.ack()
    page.say("resync", visible=True)
    assert page.wait(4)["full"]
    view.close()


# Pages without Python


def test_a_page_of_a_million_samples_stays_small_and_counts_the_same(tmp_path):
    rng = np.random.default_rng(8)
    different = np.array(
        [
            ";".join(["main", *(f"module::function_{x}" for x in rng.integers(0, 200, 12))])
            for _ in range(3000)
        ],
        object,
    )
    pick = rng.integers(0, 3000, 1_000_000)
    times = START + np.sort(rng.integers(0, 600 * 10**9, 1_000_000))
    frame = pd.DataFrame({"ts": pd.to_datetime(times, utc=True), "stack": different[pick]})
    view = flamegraph(frame)
    (payload,) = view._offline_payloads()
    columns = payload.columns
    assert sum(columns[name].nbytes for name in ("cell_node", "cell_step", "cell_weight")) <= 1 << 20
    assert 30 <= len(columns["strip"]) < 240
    assert columns["cell_weight"].sum() == 1_000_000
    steps = np.bincount(columns["cell_step"], columns["cell_weight"])
    assert steps.tolist() == columns["strip"].tolist()
    meta = payload.meta["strip"]
    first, step = int(meta["start"]), meta["step"]
    view.window = (first + 10 * step, first + 20 * step)
    inside = (columns["cell_step"] >= 10) & (columns["cell_step"] < 20)
    own = np.bincount(
        columns["cell_node"][inside], columns["cell_weight"][inside], minlength=len(columns["parent"])
    )
    tree = view.tree
    assert own.sum() == tree.total
    full = flamegraph(frame).tree
    assert {tuple(full.path(n)): w for n, w in enumerate(own.tolist()) if w} == {
        tuple(tree.path(n)): w for n, w in enumerate(tree.own.tolist()) if w
    }
    if (STATIC / "flamegraph.js").exists():
        assert view.save(tmp_path / "million.html").stat().st_size < 3_000_000


# Annotations


def test_the_words_of_a_view_annotation_name_the_stacks():
    class Annotated(Growing):
        view = ("flamegraph", "callers")

    frame = pd.DataFrame({"stack": ["a;b"], "callers": ["b;a"]})
    assert counted(flamegraph(Annotated(frame))) == {"b;a": 1}
    assert counted(flamegraph(Growing(frame))) == {"a;b": 1}
    Annotated.view = ("hist", "callers")
    assert counted(flamegraph(Annotated(frame))) == {"a;b": 1}
