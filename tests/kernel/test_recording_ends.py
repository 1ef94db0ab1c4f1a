"""How a recording ends when something is in the way: what was written is whole, and what it says of itself is true."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bpfnb
from bpfnb.errors import BpfnbError
from bpfnb.object import BpfObject
from bpfnb.recording import recorder as recorders
from bpfnb.recording.reader import Recording

PROGRAM = r"""
struct event { u64 seq; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } events SEC(".maps");
u64 seq = 0;
SEC("xdp") int fill(struct xdp_md *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->seq = seq++;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""
ROWS = "objects/ends/streams/events/event"


@pytest.fixture
def obj() -> Iterator[BpfObject]:
    with bpfnb.load(PROGRAM, name="ends", attach=False, watchdog=None) as loaded:
        yield loaded


def _flushed(obj: BpfObject, recorder: recorders.Recorder, rows: int) -> None:
    upto = obj.events.total + rows
    obj.programs["fill"].test_run(bytes(64), repeat=rows)
    assert obj.events.wait_for(upto, 20)
    with recorder._lock:
        recorder._flush()
        recorder._bound()


def _rows(path: Path) -> int:
    with Recording(path) as recording:
        assert not recording.recovered
        return recording.objects["ends"].rows("events", "event")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, BpfnbError])
def test_what_stops_the_merging_leaves_the_whole_file(
    obj: BpfObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise kind("in the way")

    path = tmp_path / "a.bpfnb"
    recorder = bpfnb.record(obj, path, flush=3600.0)
    _flushed(obj, recorder, 30)
    _flushed(obj, recorder, 12)
    monkeypatch.setattr("bpfnb.recording.merge.joined", full)
    monkeypatch.setattr("bpfnb.recording.merge.encode", full)
    if kind is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            recorder.stop()
    recorder.stop()
    assert (recorder.state, recorder.error) == ("stopped", None)
    assert recorder.wait(0)
    assert os.listdir(tmp_path) == ["a.bpfnb"]
    with Recording(path) as recording:
        assert recording.stopped == "stopped"
        assert len(recording.pieces(ROWS)) == 2
    assert _rows(path) == 42


def test_an_interrupt_before_it_is_whole_is_its_failure(
    obj: BpfObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    recorder = bpfnb.record(obj, tmp_path / "a.bpfnb", flush=3600.0)
    _flushed(obj, recorder, 30)
    monkeypatch.setattr(recorder, "_commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recorder.stop()
    assert recorder.state == "failed"
    assert recorder.wait(0)
    assert _rows(recorder.path) == 30


def test_ends_before_there_are_more_tables_than_are_read(
    obj: BpfObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bpfnb"
    recorder = bpfnb.record(obj, path, flush=3600.0)
    _flushed(obj, recorder, 5)
    assert recorder.state == "recording"
    monkeypatch.setattr(recorders, "PIECES", len(recorder._container.entries) + 1)
    _flushed(obj, recorder, 6)
    assert recorder.state == "limit entries"
    assert _rows(path) == 11
    with Recording(path) as recording:
        assert recording.stopped == "limit entries"
        assert len(recording.pieces(ROWS)) == 1


def test_turns_before_there_are_more_tables_than_are_read(
    obj: BpfObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bpfnb"
    recorder = bpfnb.record(obj, path, rotate=2, flush=3600.0)
    _flushed(obj, recorder, 5)
    monkeypatch.setattr(recorders, "PIECES", len(recorder._container.entries) + 1)
    _flushed(obj, recorder, 6)
    monkeypatch.setattr(recorders, "PIECES", 1 << 20)
    _flushed(obj, recorder, 7)
    recorder.stop()
    assert _rows(tmp_path / "a.1.bpfnb") == 11
    assert _rows(path) == 7
