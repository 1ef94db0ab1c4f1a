"""Waterfalls: who is whose child, what each span did by itself, what was waited for, and what the browser is told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import waterfall
from bpfnb.views.spans.forest import AFTER, BEFORE, ERROR, LOOP, ORPHAN, TWICE

T0 = 1_763_700_000_000_000_000


def spans_of(*rows, **more) -> pd.DataFrame:
    """(id, parent, start, duration) each, in ns after T0."""
    frame = pd.DataFrame(rows, columns=["span_id", "parent_id", "start", "duration"])
    frame["start"] += T0
    return frame.assign(name=frame["span_id"].map(lambda i: f"op{i}"), **more)


def drawn(frame: pd.DataFrame, **options):
    view = waterfall(frame, **options)
    return view, view._scene()


def test_children_stand_under_their_parent_by_their_start():
    view, _ = drawn(spans_of((1, None, 0, 100), (3, 1, 50, 10), (2, 1, 10, 30), (4, 2, 12, 5)))
    assert view.spans["name"].tolist() == ["op1", "op2", "op4", "op3"]
    assert view.spans["depth"].tolist() == [0, 1, 2, 1]
    assert view.spans["row"].tolist() == [0, 2, 3, 1]
    assert view.spans["parent"].tolist() == [-1, 0, 2, 0]


def test_self_time_is_what_no_child_covers_counted_once():
    view, _ = drawn(spans_of((1, 0, 0, 100), (2, 1, 10, 30), (3, 1, 20, 40), (4, 1, 90, 50), (5, 1, 200, 5)))
    # 0-10, 60-90 are its own; 90-100 is the fourth child's, of which the rest lies beyond
    assert view.spans.set_index("name")["alone"].to_dict() == {
        "op1": 40,
        "op2": 30,
        "op3": 40,
        "op4": 50,
        "op5": 5,
    }


def test_what_is_odd_is_marked_and_drawn_where_it_says_it_was():
    _, scene = drawn(
        spans_of(
            (1, "", 0, 100),
            (2, 1, -5, 20),
            (3, 1, 90, 20),
            (4, 77, 10, 5),
            (5, 6, 1, 1),
            (6, 5, 2, 1),
            (3, 1, 40, 1),
        )
    )
    by_row = dict(zip(scene.spans.row[scene.order].tolist(), scene.tree.flags.tolist(), strict=True))
    assert by_row == {0: 0, 1: BEFORE, 2: AFTER, 3: ORPHAN, 4: LOOP, 5: AFTER, 6: TWICE}
    assert (scene.start, scene.stop) == (T0 - 5, T0 + 110)


def test_a_span_that_is_its_own_parent_is_a_root():
    view, scene = drawn(spans_of((1, 1, 0, 10), (2, 1, 1, 2)))
    assert scene.tree.flags.tolist() == [LOOP, 0]
    assert view.spans["depth"].tolist() == [0, 1]


def test_the_critical_path_goes_back_from_the_end_to_what_finished_last():
    # The parent waits for 2 and 3 at once, then for 4; 3 is done before 2, so 2 is what it waited for.
    _, scene = drawn(
        spans_of((1, None, 0, 100), (2, 1, 10, 40), (3, 1, 10, 30), (4, 1, 60, 30), (5, 4, 65, 10))
    )
    names = scene.spans.name[scene.order]
    path = [(names[i], low - T0, high - T0) for i, low, high in scene.tree.critical]
    assert path == [
        ("op1", 90, 100),
        ("op4", 75, 90),
        ("op5", 65, 75),
        ("op4", 60, 65),
        ("op1", 50, 60),
        ("op2", 10, 50),
        ("op1", 0, 10),
    ]


trees = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 1000), st.integers(0, 300)), min_size=1, max_size=40
)


@given(trees)
@settings(max_examples=150, deadline=None)
def test_any_forest_is_drawn_whole_and_its_times_add_up(rows):
    frame = spans_of(*((i + 1, parent, start, length) for i, (parent, start, length) in enumerate(rows)))
    view, scene = drawn(frame)
    tree, spans = scene.tree, view.spans
    assert sorted(spans["row"]) == list(range(len(rows)))
    places = np.arange(len(rows))
    children = tree.parent >= 0
    assert (tree.parent[children] < places[children]).all()
    assert (tree.depth[children] == tree.depth[tree.parent[children]] + 1).all()
    for i in places:  # a subtree is the span and what follows it
        inside = {int(i)}
        for j in places[i + 1 :]:
            if int(tree.parent[j]) in inside:
                inside.add(int(j))
        assert inside == set(range(i, i + int(tree.size[i])))
    for i in places:
        mine = spans.loc[i]
        busy = np.zeros(max(int(mine["duration"]), 0), bool)
        for j in places[tree.parent == i]:
            child = spans.loc[j]
            low, high = child["start"] - mine["start"], child["start"] + child["duration"] - mine["start"]
            busy[max(low, 0) : max(high, 0)] = True
        assert mine["alone"] == (~busy).sum()
    roots = spans[spans["depth"] == 0]
    assert sum(high - low for _, low, high in tree.critical) == roots["duration"].max()
    edges = [edge for _, low, high in tree.critical for edge in (high, low)]
    assert edges == sorted(edges, reverse=True)  # one after the other, without overlap


SPELLINGS = {
    "opentelemetry": {
        "trace_id": "t",
        "span_id": "a1",
        "parent_span_id": "",
        "name": "GET",
        "service_name": "web",
        "start_time_unix_nano": T0,
        "duration_nano": 5_000,
        "kind": 2,
        "status_code": 2,
    },
    "otlp json": {
        "traceId": "t",
        "spanId": "a1",
        "parentSpanId": "",
        "name": "GET",
        "service.name": "web",
        "startTimeUnixNano": T0,
        "endTimeUnixNano": T0 + 5_000,
        "kind": "SPAN_KIND_SERVER",
        "status": "STATUS_CODE_ERROR",
    },
    "jaeger": {
        "traceID": "t",
        "spanID": "a1",
        "parentSpanID": None,
        "operationName": "GET",
        "serviceName": "web",
        "startTime": T0 // 1000,
        "duration": 5,
        "span.kind": "server",
        "error": True,
    },
    "clickhouse": {
        "TraceId": "t",
        "SpanId": "a1",
        "ParentSpanId": "0000000000000000",
        "SpanName": "GET",
        "ServiceName": "web",
        "Timestamp": pd.Timestamp(T0, unit="ns"),
        "Duration": 5_000,
        "SpanKind": "Server",
        "StatusCode": "Error",
    },
}


@pytest.mark.parametrize("system", SPELLINGS)
def test_columns_are_found_under_the_names_that_tracing_systems_give_them(system):
    view, scene = drawn(pd.DataFrame([SPELLINGS[system]]))
    span = view.spans.iloc[0]
    assert (span["name"], span["service"], span["start"], span["duration"]) == ("GET", "web", T0, 5_000)
    assert (scene.spans.kind[0], view.trace, scene.tree.flags.tolist()) == ("server", "t", [ERROR])


def test_ids_may_be_numbers_bytes_or_text_and_parents_may_be_missing_floats():
    ids = [2**63 + 1, 2**63 + 2, 2**63 + 3]
    frame = spans_of(*((i, 0, n, 1) for n, i in enumerate(ids)))
    frame["span_id"] = np.array(ids, np.uint64)
    frame["parent_id"] = np.array([0, ids[0], ids[1]], np.uint64)
    assert drawn(frame)[0].spans["depth"].tolist() == [0, 1, 2]
    frame["span_id"], frame["parent_id"] = [1, 2, 3], [np.nan, 1.0, 2.0]
    assert drawn(frame)[0].spans["depth"].tolist() == [0, 1, 2]
    frame["span_id"], frame["parent_id"] = [b"\1", b"\2", b"\3"], [b"\0", b"\1", b"\2"]
    assert drawn(frame)[0].spans["depth"].tolist() == [0, 1, 2]


def two_traces() -> pd.DataFrame:
    quick = spans_of((1, None, 5000, 10), (2, 1, 5001, 5), trace_id="quick", status="ERROR")
    slow = spans_of((1, None, 0, 900), (2, 1, 10, 5), (3, 1, 20, 5), trace_id="slow", status="OK")
    return pd.concat([quick, slow], ignore_index=True)


@pytest.mark.parametrize(
    ("sort", "first"), [("slowest", "slow"), ("latest", "quick"), ("errors", "quick"), ("largest", "slow")]
)
def test_one_trace_is_shown_the_first_of_the_order(sort, first):
    view = waterfall(two_traces(), sort=sort)
    assert view.trace == first
    assert view.traces["trace"].tolist()[0] == first
    assert set(view.traces.set_index("trace").loc["slow", ["spans", "errors", "duration"]]) == {3, 0, 900}


def test_a_trace_is_chosen_by_the_browser_and_by_python():
    view = waterfall(two_traces())
    view._on_message({"kind": "trace", "id": "quick"}, [])
    assert view._build().meta["trace"] == "quick"
    assert view.spans["row"].tolist() == [0, 1]
    view.trace = "slow"
    assert len(view.spans) == 3
    view._on_message({"kind": "sort", "by": "errors"}, [])
    assert view.trace == "quick"
    with pytest.raises(UnknownName, match="sorted by 'size'"):
        view._on_message({"kind": "sort", "by": "size"}, [])


events = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 40), st.sampled_from([7, 8, 9])), min_size=1, max_size=60
)


@given(events)
@settings(max_examples=100, deadline=None)
def test_in_lanes_nothing_overlaps_and_no_line_is_without_need(rows):
    frame = pd.DataFrame(rows, columns=["ts", "latency", "tid"])
    frame["ts"] = pd.to_datetime(frame["ts"] + T0, unit="ns")
    view, scene = drawn(frame)
    spans = view.spans
    assert sorted(spans["row"]) == list(range(len(rows)))
    lane_of, lane = {}, ""
    for line, label in enumerate(scene.lanes.labels):
        lane = lane_of[line] = label or lane
    for line, part in spans.groupby("line"):
        ordered = part.sort_values("start", kind="stable")
        ends = ordered["start"] + ordered["duration"].clip(lower=1)
        assert (ordered["start"].to_numpy()[1:] >= ends.to_numpy()[:-1]).all()
        assert {str(frame["tid"][row]) for row in part["row"]} == {lane_of[line]}
    for tid, part in frame.groupby("tid"):  # as many lines as spans at the busiest moment
        starts = part["ts"].astype("int64").to_numpy()
        ends = starts + np.maximum(part["latency"].to_numpy(), 1)
        busiest = max(int(((starts <= at) & (ends > at)).sum()) for at in starts)
        assert sum(lane == str(tid) for lane in lane_of.values()) == busiest


def test_events_that_say_when_they_ended_started_that_long_before():
    frame = pd.DataFrame(
        {"ts": pd.to_datetime([T0 + 1000], unit="ns"), "latency": np.array([300], np.uint64), "tid": [1]}
    )
    assert waterfall(frame).spans["start"].tolist() == [T0 + 1000]
    assert waterfall(frame, end="ts", duration="latency").spans["start"].tolist() == [T0 + 700]


def test_a_lane_that_is_asked_for_goes_before_the_tree():
    frame = spans_of((1, None, 0, 10), (2, 1, 1, 5), cpu=[0, 1])
    _, scene = drawn(frame, lane="cpu")
    assert scene.lanes.labels == ["0", "1"]


def test_lanes_of_cpus_are_in_their_order_and_those_of_threads_by_their_first_span():
    rows = {"ts": pd.to_datetime([T0, T0 + 1, T0 + 2, T0 + 3], unit="ns"), "latency": [5, 5, 5, 5]}
    numbers = [10, 2, 10, 0]
    _, scene = drawn(pd.DataFrame({**rows, "cpu": numbers}), lane="cpu")
    assert scene.lanes.labels == ["0", "2", "10", ""]
    _, scene = drawn(pd.DataFrame({**rows, "tid": numbers}))
    assert scene.lanes.labels == ["10", "", "2", "0"]


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        (["OK", "ERROR", "Unset", "request failed", None], [0, 1, 0, 1, 0]),
        ([0, 1, 2, 404, 503], [0, 0, 1, 0, 1]),
        ([0, -11, 5, 1, -1], [0, 1, 0, 0, 1]),
        ([True, False, True, False, False], [1, 0, 1, 0, 0]),
    ],
)
def test_errors_are_what_the_status_says(values, errors):
    frame = spans_of(*((i + 1, None, i, 1) for i in range(5)))
    assert drawn(frame.assign(status=values))[1].spans.error.tolist() == [bool(e) for e in errors]


def test_the_browser_gets_exact_rows_and_every_attribute_as_text():
    frame = spans_of((1, None, 0, 100), (2, 1, 7, 3), sent=np.array([2048, 2**64 - 1], np.uint64))
    frame.attrs["bpfnb_columns"] = {"sent": {"unit": "bytes", "format": "bytes"}}
    payload = waterfall(frame)._build()
    assert payload.meta["zero"] == str(T0)
    assert payload.columns["start"].tolist() == [0, 7]
    assert payload.columns["duration"].tolist() == [100, 3]
    assert payload.columns["parent"].tolist() == [-1, 0]
    assert list(payload.columns["a:sent"]) == ["2 KiB (2,048)", "16 EiB (18,446,744,073,709,551,615)"]


def test_attributes_of_many_spans_are_sent_when_asked_for(monkeypatch):
    monkeypatch.setattr("bpfnb.views.spans.widget.EMBEDDED", 3)
    sent = []
    view = waterfall(spans_of((1, None, 0, 100), (2, 1, 7, 3), comm=["dd", "cat"]))
    monkeypatch.setattr(view, "_reply", lambda content, columns=None: sent.append((content, columns)))
    assert view._build().meta["embedded"] is False
    view._on_message({"kind": "attributes", "row": 1}, [])
    assert ["comm", "cat"] in sent[0][0]["values"]
    view._on_message({"kind": "search", "text": "CAT"}, [])
    assert sent[1][1]["row"].tolist() == [1]
    with pytest.raises(BadValue, match="not kept any more"):
        view._on_message({"kind": "attributes", "row": 5}, [])


def test_what_is_clicked_is_selected_by_row_name_or_service():
    view = waterfall(two_traces().assign(service="web"))
    view._on_message({"kind": "select", "by": "row", "rows": [2, 4]}, [])
    assert view.selection == {"#": {"in": [2, 4]}}
    assert view._build().meta["selected"] == [2, 4]
    view._on_message({"kind": "select", "by": "name", "rows": [1]}, [])
    assert view.selection == {"name": {"in": ["op2"]}}
    assert view.selected.index.tolist() == [1, 3]
    view._on_message({"kind": "select", "by": "service", "rows": [1]}, [])
    assert len(view.selected) == 5
    view._on_message({"kind": "select", "by": "row", "rows": []}, [])
    assert view.selection == {}


def test_a_linked_selection_keeps_whole_traces_and_draws_the_rest_faintly():
    frame = two_traces()
    view, other = waterfall(frame), waterfall(frame)
    other.selection = {"name": {"in": ["op3"]}}
    payload = view._build_now()
    assert [trace["id"] for trace in payload.meta["traces"]] == ["slow"]
    assert payload.columns["faint"].tolist() == [1, 1, 0]


def test_an_offline_page_holds_the_other_traces_too():
    payloads = waterfall(two_traces())._offline_payloads()
    assert [payload.meta["trace"] for payload in payloads] == ["quick", "slow"]  # the last is what is shown
    assert all(len(payload.meta["traces"]) == 2 for payload in payloads)


def test_the_static_picture_stands_alone_escapes_and_leaves_out_the_shortest():
    rows = [(1, None, 0, 10_000), *((i, 1, i * 10, i) for i in range(2, 102))]
    view = waterfall(spans_of(*rows).assign(name="<b>&"))
    picture = view.svg("dark")
    assert "<b>" not in picture
    assert "&lt;b&gt;&amp;" in picture
    assert "var(" not in picture
    assert "41 more spans, the shortest, are not drawn" in picture
    assert "101 ns" in picture
    assert ">41 ns" not in picture
    assert "op" not in view.svg("auto").split("aria-label")[0]


def test_text_marks_errors_and_missing_parents_without_colour():
    frame = spans_of((1, None, 0, 100), (2, 1, 0, 50), (3, 9, 1, 2), status=["OK", "ERROR", "OK"])
    text = waterfall(frame, title="t")._text()
    assert "\n  ! op2" in text
    assert "\n^ op3" in text
    assert "t: 3 spans in 100 ns, 1 with errors" in text


def test_plotly_draws_the_same_bars():
    figure = waterfall(spans_of((1, None, 0, 5_000_000), (2, 1, 1_000_000, 2_000_000))).to_plotly()
    assert list(figure.data[0].base) == [0, 1]
    assert list(figure.data[0].x) == [5, 2]


def test_what_cannot_be_drawn_is_refused_with_the_reason():
    with pytest.raises(BadValue, match="when spans start"):
        waterfall(pd.DataFrame({"a": [1]}))
    with pytest.raises(BadValue, match="how long spans last"):
        waterfall(pd.DataFrame({"ts": [1]}))
    with pytest.raises(UnknownName, match="no column 'nme'"):
        waterfall(spans_of((1, None, 0, 1)), name="nme")
    with pytest.raises(UnknownName, match="no column 'x'"):
        waterfall(spans_of((1, None, 0, 1)), attributes=["x"])


def test_nothing_yet_is_said_and_is_no_error():
    view = waterfall(spans_of((1, None, 0, 1)).iloc[:0])
    assert "no spans yet" in view._text()
    assert "no spans yet" in view.svg()
    assert view._build().meta["traces"] == []
    assert view.trace is None
    assert view.to_plotly().data[0].x == ()
