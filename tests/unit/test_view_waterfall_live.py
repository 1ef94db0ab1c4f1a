"""A waterfall of a trace that is still coming in: children end, and so arrive, before their parents."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakecomm import FakeComm, Page
from growing import Growing

from bpfnb.views import waterfall
from bpfnb.views.spans.forest import ORPHAN

T0 = 1_763_700_000_000_000_000
COLUMNS = ["trace_id", "span_id", "parent_id", "start", "duration"]


@pytest.fixture(autouse=True)
def comms(monkeypatch):
    monkeypatch.setattr("comm.create_comm", FakeComm)


def spans(*rows) -> pd.DataFrame:
    """(trace, id, parent, start, duration) each, in ns after T0."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["start"] += T0
    return frame.assign(name=frame["span_id"].map(lambda i: f"op{i}"))


def drawn(payload) -> list[tuple[int, int, int, int]]:
    """Row, depth, flags and start of each line."""
    columns = payload.columns
    return [
        tuple(int(value) for value in line)
        for line in zip(*(columns[name] for name in ("row", "depth", "flags", "start")), strict=True)
    ]


def test_children_that_come_first_are_roots_until_their_parent_is_there():
    source = Growing(spans(("t", 3, 2, 20, 10), ("t", 4, 2, 35, 10)))
    view = waterfall(source)
    first = view._build()
    assert drawn(first) == [(0, 0, ORPHAN, 0), (1, 0, ORPHAN, 15)]
    assert (first.meta["zero"], first.meta["duration"]) == (str(T0 + 20), 25)
    source.append(spans(("t", 2, 1, 10, 50)))
    assert drawn(view._build()) == [(2, 0, ORPHAN, 0), (0, 1, 0, 10), (1, 1, 0, 25)]
    source.append(spans(("t", 5, 1, 65, 5), ("t", 1, None, 0, 100)))
    last = view._build()
    assert drawn(last) == [(4, 0, 0, 0), (2, 1, 0, 10), (0, 2, 0, 20), (1, 2, 0, 35), (3, 1, 0, 65)]
    assert last.columns["parent"].tolist() == [-1, 0, 1, 1, 0]
    assert last.columns["alone"].tolist() == [100 - 50 - 5, 50 - 20, 10, 10, 5]
    assert (last.meta["zero"], last.meta["duration"]) == (str(T0), 100)
    path = last.columns
    waited = path["critical_stop"] - path["critical_start"]
    assert waited.sum() == 100
    assert path["critical_span"].tolist() == [0, 4, 0, 1, 3, 1, 2, 1, 0]


def test_a_selected_span_stays_selected_while_its_parents_come():
    source = Growing(spans(("t", 3, 2, 20, 10)))
    view = waterfall(source)
    view._on_message({"kind": "select", "by": "row", "rows": [0]}, [])
    source.append(spans(("t", 2, 1, 10, 50), ("t", 1, None, 0, 100)))
    assert view._build().meta["selected"] == [0]
    assert view.selected["span_id"].tolist() == [3]
    assert view.spans.set_index("name")["depth"].to_dict() == {"op1": 0, "op2": 1, "op3": 2}


def test_the_trace_that_is_looked_at_stays_while_slower_ones_come(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("bpfnb.views.spans.widget.time", SimpleNamespace(monotonic=lambda: now))
    source = Growing(spans(("a", 1, None, 0, 100)))
    view = waterfall(source)
    assert view.trace == "a"
    source.append(spans(("b", 1, None, 0, 500)))
    now += 1.0
    assert view.trace == "a"  # not yet: a picture that jumps cannot be read
    assert view.traces["trace"].tolist() == ["b", "a"]
    now += 1.5
    assert view.trace == "b"
    view.trace = "a"
    source.append(spans(("c", 1, None, 0, 900)))
    now += 10
    assert view.trace == "a"


def test_a_trace_is_drawn_as_its_parents_come_whatever_the_order():
    rng = np.random.default_rng(6)
    rows = [("t", 1, None, 0, 10_000)]
    for i in range(2, 200):
        _, parent, _, start, duration = rows[int(rng.integers(0, len(rows)))]
        begin = start + int(rng.integers(0, max(duration // 2, 1)))
        rows.append(("t", i, parent, begin, max((start + duration - begin) // 2, 1)))
    order = sorted(rows, key=lambda row: row[3] + row[4])  # as spans are sent: when they end
    source = Growing(spans(*order[:20]))
    view = waterfall(source)
    for first in range(20, 200, 20):
        known = {row[1] for row in order[:first]}
        orphans = {row[1] for row in order[:first] if row[2] is not None and row[2] not in known}
        payload = view._build()
        flags, at = payload.columns["flags"], payload.columns["row"].astype(int)
        ids = source.data["span_id"].to_numpy()[at]
        assert set(ids[(flags & ORPHAN) > 0].tolist()) == orphans
        assert len(ids) == first
        source.append(spans(*order[first : first + 20]))
    whole = waterfall(spans(*rows)).spans
    live = view.spans
    for column in ("name", "depth", "alone"):
        assert live[column].tolist() == whole[column].tolist()


def test_frames_follow_the_stream_and_stop_when_nothing_comes():
    source = Growing(spans(("t", 2, 1, 10, 50)))
    view = waterfall(source, hz=30)
    page = Page(view)
    page.say("hello", visible=True)
    assert page.wait(1)["meta"]["trace"] == "t"
    page.ack()
    source.append(spans(("t", 1, None, 0, 100)))
    view.refresh()
    second = page.wait(2)
    assert (second["meta"]["duration"], second["meta"]["traces"][0]["spans"]) == (100, 2)
    page.ack()
    view.refresh()  # the same picture again: not sent
    source.losses = 4
    view.refresh()
    assert page.wait(3)["meta"]["source"]["lost"] == 4
    view.close()
