"""Traces: slices, instants, tracks and counters, read back by Perfetto's own messages and as Chrome's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bpfnb
from bpfnb.exports.subject import Part, Subject
from bpfnb.exports.timeline import timeline
from bpfnb.frames.columns import TEXT

trace_pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")

START = 1_700_000_000_000_000_001
NOTES = {"time": {"format": "timestamp", "unit": "ns"}, "latency": {"format": "duration", "unit": "ns"}}


@pytest.fixture
def calls() -> pd.DataFrame:
    """Thread 11 reads within a write; its fsync overlaps the write's end; process 20 has one call."""
    made = pd.DataFrame({
        "time": pd.to_datetime([START, START + 10, START + 90, START + 5, None], utc=True),
        "latency": np.array([100, 20, 50, 1, 9], np.uint64),
        "pid": np.array([10, 10, 10, 20, 20], np.uint32),
        "tid": np.array([11, 11, 11, 20, 20], np.uint32),
        "comm": pd.Categorical(["db", "db", "db", "sh", "sh"]),
        "call": pd.Categorical(["write", "read", "fsync", "open", "open"]),
        "size": np.array([2**64 - 1, 0, 3, 4, 5], np.uint64),
        "path": pd.array(["/a", None, "/c", "/d", "/e"], TEXT),
    })  # fmt: skip
    made.attrs = {
        "bpfnb": {"rows": 5, "lost": 3, "window": ["2023-11-14T22:13:20+00:00", "2023-11-14T22:13:21+00:00"]},
        "bpfnb_columns": NOTES,
    }
    return made


def chrome(frame: Any, tmp_path: Path) -> dict[str, Any]:
    bpfnb.export(frame, tmp_path / "x.trace.json")
    read: dict[str, Any] = json.loads((tmp_path / "x.trace.json").read_text())
    return read


def test_slices_of_chrome(calls: pd.DataFrame, tmp_path: Path) -> None:
    trace = chrome({"io": calls}, tmp_path)
    events = trace["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    told = [(e["name"], e["pid"], e["ts"], e["dur"], e["cat"]) for e in slices]
    assert told == [
        ("write", 10, 0, 0.1, "io"),
        ("open", 20, 0.005, 0.001, "io"),
        ("read", 10, 0.01, 0.02, "io"),
        ("fsync", 10, 0.09, 0.05, "io"),
    ]
    threads = {e["name"]: e["tid"] for e in slices}
    assert threads["write"] == threads["read"] == 11
    assert threads["fsync"] != 11, "it overlaps the write without being within it"
    names = {(e["name"], e["pid"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M"}
    assert names["process_name", 10, 0] == "db"
    assert names["thread_name", 10, 11] == "db 11"
    assert names["thread_name", 10, threads["fsync"]] == "db 11 (2)"
    write = slices[0]["args"]
    assert write == {"pid": 10, "tid": 11, "comm": "db", "call": "write", "size": 2**64 - 1, "path": "/a"}
    assert "path" not in slices[2]["args"]
    assert trace["otherData"]["start"] == "2023-11-14T22:13:20.000000001+00:00"
    (lost,) = [e for e in events if e["ph"] == "C"]
    assert (lost["name"], lost["args"]) == ("io: lost", {"value": 3})


def test_instants_of_no_process(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"ts": pd.to_datetime([START, START + 2000], utc=True), "kind": pd.Categorical(["a", "b"])}
    )
    events = chrome({"marks": frame}, tmp_path)["traceEvents"]
    told = [(e["ph"], e["name"], e["ts"], e["s"]) for e in events if e["ph"] != "M"]
    assert told == [("i", "a", 0, "t"), ("i", "b", 2, "t")]
    assert [e["args"]["name"] for e in events if e["ph"] == "M"] == ["marks", "marks"]


def test_a_moment_at_the_end(calls: pd.DataFrame, tmp_path: Path) -> None:
    calls.attrs["bpfnb_columns"] = {
        **NOTES,
        "time": {"format": "timestamp", "description": "when it returned"},
    }
    slices = [e for e in chrome(calls.iloc[:2], tmp_path)["traceEvents"] if e["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"]) for e in slices] == [("write", 0, 0.1), ("read", 0.09, 0.02)]


def test_perfetto_by_its_own_messages(calls: pd.DataFrame, tmp_path: Path) -> None:
    bpfnb.export({"io": calls}, tmp_path / "x.perfetto-trace")
    trace = trace_pb2.Trace()
    trace.ParseFromString((tmp_path / "x.perfetto-trace").read_bytes())
    clocks = {c.clock_id: c.timestamp for p in trace.packet for c in p.clock_snapshot.clocks}
    assert clocks == {1: START, 6: START}
    assert {p.trusted_packet_sequence_id for p in trace.packet} == {1}
    tracks = {
        p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")
    }
    open_: dict[int, list[Any]] = {}
    found = []
    for packet in trace.packet:
        event = packet.track_event
        if not packet.HasField("track_event") or event.type == event.TYPE_COUNTER:
            continue
        stack = open_.setdefault(event.track_uuid, [])
        if event.type == event.TYPE_SLICE_BEGIN:
            stack.append((packet.timestamp - START, event))
        else:
            begin, which = stack.pop()
            found.append((which.name, begin, packet.timestamp - START, event.track_uuid, which))
    assert not any(open_.values())
    assert {(name, begin, end) for name, begin, end, *_ in found} == {
        ("write", 0, 100), ("read", 10, 30), ("fsync", 90, 140), ("open", 5, 6),
    }  # fmt: skip
    by_name = {name: (tracks[uuid], event) for name, _, _, uuid, event in found}
    thread = by_name["write"][0]
    assert (thread.thread.pid, thread.thread.tid, thread.thread.thread_name) == (10, 11, "db 11")
    assert tracks[thread.parent_uuid].process.process_name == "db"
    assert by_name["fsync"][0].name == "db 11 (2)"
    assert by_name["fsync"][0].parent_uuid == thread.parent_uuid
    assert list(by_name["write"][1].categories) == ["io"]
    details = {d.name: d for d in by_name["write"][1].debug_annotations}
    assert details["size"].uint_value == 2**64 - 1
    assert details["pid"].int_value == 10
    assert details["path"].string_value == "/a"
    counters = [
        p
        for p in trace.packet
        if p.track_event.type == p.track_event.TYPE_COUNTER and p.HasField("track_event")
    ]
    assert [
        (tracks[p.track_event.track_uuid].name, p.track_event.double_counter_value) for p in counters
    ] == [("io: lost", 3.0)]


def test_slices_that_touch_stay_apart(tmp_path: Path) -> None:
    """One ends when the next begins, one is empty: every end closes its own beginning."""
    frame = pd.DataFrame(
        {
            "start": [START, START + 10, START + 10, START + 20],
            "duration": [10, 0, 10, 0],
            "name": list("abcd"),
        }
    )
    bpfnb.export(frame, tmp_path / "x.pftrace")
    trace = trace_pb2.Trace()
    trace.ParseFromString((tmp_path / "x.pftrace").read_bytes())
    depth: dict[int, list[str]] = {}
    closed = []
    for packet in trace.packet:
        event = packet.track_event
        if not packet.HasField("track_event"):
            continue
        stack = depth.setdefault(event.track_uuid, [])
        if event.type == event.TYPE_SLICE_BEGIN:
            stack.append((event.name, packet.timestamp))
        else:
            name, begin = stack.pop()
            closed.append((name, packet.timestamp - begin))
    assert sorted(closed) == [("a", 10), ("b", 0), ("c", 10), ("d", 0)]


def test_losses_over_time_are_counters_and_no_health_is_none() -> None:
    when = pd.to_datetime([1_700_000_000, 1_700_000_001], unit="s", utc=True)
    health = pd.DataFrame({
        "time": when, "name": ["events"] * 2, "total": [5, 9], "lost_buffer": [0, 3], "lost_full": [None, None],
    })  # fmt: skip
    part = Part("events", pd.DataFrame({"time": when}), "frame")
    found = timeline(Subject("io", [part], health={"io": health, "bare": pd.DataFrame()})).counters
    assert {one.name: one.values.tolist() for one in found} == {
        "io events: total": [5, 9],
        "io events: lost_buffer": [0, 3],
    }
    assert timeline(Subject("io", [part], health={"bare": pd.DataFrame()})).counters == []
