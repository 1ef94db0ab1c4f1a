"""Heat maps of recorded maps and distributions show what was added from look to look, as it was recorded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpfnb
from bpfnb.recording import merge
from bpfnb.recording.reader import Recording
from bpfnb.views import heatmap

PROGRAM = r"""
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    spread SEC(".maps") VIEW(hist, log2, ns);
u32 slot = 0;
SEC("xdp") int fill(struct xdp_md *ctx)
{
    u32 key = slot;
    u64 *count = bpf_map_lookup_elem(&spread, &key);
    if (count) *count += 1;
    return 0;
}
"""


def _total(view: Any) -> np.ndarray:
    """The counts of all columns, by bucket."""
    found: np.ndarray = view._feed.grid.block().counts.sum(axis=0)
    return found[found > 0]


def test_a_recorded_map_has_its_history(tmp_path: Path) -> None:
    with bpfnb.load(PROGRAM, name="history", attach=False, watchdog=None) as obj:
        recorder = bpfnb.record(obj, tmp_path / "a.bpfnb", flush=3600.0)
        for slot, runs in ((3, 100), (5, 20), (3, 7)):
            obj.vars.slot = slot
            obj.programs["fill"].test_run(bytes(64), repeat=runs)
            with recorder._lock:
                recorder._sources[0].maps["spread"]._due = 0.0
                recorder._flush()
        recorder.stop()
    replayed = bpfnb.replay(tmp_path / "a.bpfnb")
    past = replayed.maps["spread"].past()
    counts = [frame["value"].to_numpy()[[3, 5]].tolist() for _, frame in past]
    assert counts == [[0, 0], [100, 0], [100, 20], [107, 20]]
    assert [when for when, _ in past] == sorted(when for when, _ in past)
    assert replayed.maps["spread"].df["value"].sum() == 127
    view = heatmap(replayed.maps["spread"], every=0.5)
    assert _total(view).tolist() == [107.0, 20.0]
    view._feed_on()
    assert _total(view).tolist() == [107.0, 20.0], "once"
    assert view.svg()
    replayed.close()


def test_looks_of_several_pieces_are_those_that_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "ROWS", 100)  # of 64 a look: two looks a piece
    with bpfnb.load(PROGRAM, name="pieces", attach=False, watchdog=None) as obj:
        recorder = bpfnb.record(obj, tmp_path / "c.bpfnb", flush=3600.0)
        for slot in range(4):
            obj.vars.slot = slot
            obj.programs["fill"].test_run(bytes(64), repeat=10)
            with recorder._lock:
                recorder._sources[0].maps["spread"]._due = 0.0
                recorder._flush()
        recorder.stop()
    with Recording(tmp_path / "c.bpfnb") as recording:
        assert len(recording.pieces("objects/pieces/maps/spread")) > 1
    replayed = bpfnb.replay(tmp_path / "c.bpfnb")
    (tmp_path / "c.bpfnb").rename(tmp_path / "moved.bpfnb")
    past = replayed.maps["spread"].past()
    assert [int(frame["value"].sum()) for _, frame in past] == [0, 10, 20, 30, 40]
    assert len(set(past.times)) == 5
    assert [int(past[at][1]["value"].sum()) for at in (-1, 1, 2, 0)] == [40, 10, 20, 0]
    assert [int(frame["value"].sum()) for _, frame in past[3:]] == [30, 40]
    replayed.close()
    assert [int(frame["value"].sum()) for _, frame in past[:3]] == [0, 10, 20], "a view that is left has them"


def test_a_recorded_distribution_has_its_history(tmp_path: Path) -> None:
    with bpfnb.tools.runqlat() as tool:
        recorder = bpfnb.record(tool, tmp_path / "b.bpfnb", flush=3600.0)
        for _ in range(3):
            before = int(tool.df["count"].sum())
            while int(tool.df["count"].sum()) < before + 20:
                time.sleep(0.01)
            with recorder._lock:
                recorder._sources[0]._tap._due = 0.0
                recorder._flush()
        tool.stop()
        recorder.stop()
    replayed = bpfnb.replay(tmp_path / "b.bpfnb")
    past = replayed.past()
    assert len(past) >= 4
    added = int(past[-1][1]["count"].sum()) - int(past[0][1]["count"].sum())
    assert added >= 60
    assert int(_total(replayed.heatmap()).sum()) == added
    replayed.close()
