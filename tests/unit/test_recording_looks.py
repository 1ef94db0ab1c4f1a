"""Looks at a recorded table: frames that are made as they are asked for, also where the clock was set back."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from recordings import made

from bpfnb.errors import BadRecording
from bpfnb.recording.changes import GONE
from bpfnb.recording.looks import Looks
from bpfnb.recording.merge import rewrite
from bpfnb.recording.parquet import encode
from bpfnb.recording.reader import Recording
from bpfnb.recording.tool_frames import Forms, to_arrow
from bpfnb.recording.tool_past import Past
from bpfnb.recording.tools import SNAPSHOT

TIME = pa.timestamp("ns", "UTC")
SECOND = 10**9


def _counted(made: list[int]) -> Looks:
    def frames(looks: range) -> Iterator[pd.DataFrame]:
        for at in looks:
            made.append(at)
            yield pd.DataFrame({"x": [at]})

    return Looks([100 + at for at in range(10)], frames)


def test_a_frame_is_made_when_it_is_asked_for() -> None:
    made: list[int] = []
    looks = _counted(made)
    assert (len(looks), looks.times, bool(looks[10:])) == (10, [*range(100, 110)], False)
    assert made == []
    when, frame = looks[-1]
    assert (when, frame["x"].tolist(), made) == (109, [9], [9])
    made.clear()
    part = looks[3:6].each(lambda frame: frame * 2)
    assert part.times == [103, 104, 105]
    assert [(when, int(frame["x"].sum())) for when, frame in part] == [(103, 6), (104, 8), (105, 10)]
    assert made == [3, 4, 5]
    assert [when for when, _ in looks[::-4]] == [109, 105, 101]
    with pytest.raises(IndexError):
        looks[10]
    assert list(Looks()) == []


def _past(counts: list[int], times: list[int] | None = None, moment: Any = lambda: math.inf) -> Past:
    """Snapshots with so many rows each, whose values say of which look they are."""
    times = times or [SECOND * (at + 1) for at in range(len(counts))]
    frame = pd.DataFrame({"look": np.repeat(np.arange(len(counts)), counts)})
    forms = Forms()
    forms.learn(frame, frame)
    table = to_arrow(frame, forms).append_column(SNAPSHOT, pa.array(np.repeat(times, counts), TIME))
    return Past("table", forms, [(table, list(zip(times, counts, strict=True)))], {}, moment)


def test_a_loop_over_looks_keeps_none_of_their_frames() -> None:
    counts = [1 + at % 5 for at in range(3000)]
    past = _past(counts)
    frames: list[weakref.ref[pd.DataFrame]] = []
    sizes, most = [], 0
    for at, (_, frame) in enumerate(past.past()):
        sizes.append(len(frame))
        assert set(frame["look"]) == {at}
        frames.append(weakref.ref(frame))
        if at % 500 == 499:
            gc.collect()
            most = max(most, sum(one() is not None for one in frames))
    assert sizes == counts
    assert most <= 2
    assert past.past()[1234][1]["look"].tolist() == [1234] * counts[1234]
    assert [len(frame) for _, frame in past.past()[2995:]] == counts[2995:]


def test_looks_of_a_clock_that_was_set_back_come_in_their_order() -> None:
    now = [0.0]
    past = _past([1, 2, 3, 4], [100 * SECOND, 101 * SECOND, 95 * SECOND, 96 * SECOND], lambda: now[0])
    seen = []
    for now[0] in (96.0, 100.0, 101.0, math.inf):
        seen.append((len(past.df), past.looked // SECOND, past.settled))
    assert seen == [(0, 0, False), (1, 100, False), (4, 96, True), (4, 96, True)]
    assert [(when // SECOND, len(frame)) for when, frame in past.past()] == [
        (100, 1),
        (101, 2),
        (95, 3),
        (96, 4),
    ]


def test_two_looks_at_one_moment_are_refused() -> None:
    with pytest.raises(BadRecording, match="two looks were at the same moment"):
        _past([1, 2, 1], [100, 101, 100])


FOLDER = "objects/io/maps/sums"


def test_a_map_s_looks_keep_their_order_in_one_piece(tmp_path: Path) -> None:
    """Those of before the clock was set back come first, however they are merged."""
    times, extra = [100, 101, 95, 96], {}
    for number, when in enumerate(times, 1):
        keys = [key.to_bytes(4, "little") for key in range(number)]
        table = {
            "snapshot": pa.array([when] * number, TIME),
            "key@raw": pa.array(keys, pa.binary(4)),
            "value@raw": pa.array([bytes(8)] * number, pa.binary(8)),
        }
        extra[f"{FOLDER}/{number:05}.parquet"] = encode(pa.table(table))
    looks = [1, *times]
    health = {
        **{name: pa.array(looks, TIME) for name in ("time", "until", "snapshot")},
        "kind": ["map"] * 5,
        "name": ["sums"] * 5,
        "entries": [2, 1, 2, 3, 4],
    }
    extra["objects/io/health/00000.parquet"] = encode(pa.table(health))
    path = made(tmp_path / "a.bpfnb", extra=extra)
    expected = [(1, 2), (100, 1), (101, 2), (95, 3), (96, 4)]
    for turn in range(2):
        with Recording(path) as recording:
            (*_, last) = pieces = recording.pieces(FOLDER)
            assert GONE not in recording.sheet(last).columns
            assert len(pieces) == (5, 1)[turn]
            found = recording.objects["io"].entries("sums")
            assert [(when, len(keys)) for when, keys, _ in found] == expected
            replaced = {"manifest.json": recording.text("manifest.json", 1 << 20)}
        rewrite(path, replaced)
