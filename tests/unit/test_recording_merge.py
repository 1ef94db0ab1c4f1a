"""What a finished recording's file becomes: the same in fewer pieces, or what it was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from recordings import made

from bpfnb.recording import archive
from bpfnb.recording.changes import GONE, changes
from bpfnb.recording.container import Container
from bpfnb.recording.merge import rewrite, tidy
from bpfnb.recording.parquet import encode
from bpfnb.recording.reader import Recording

TIME = pa.timestamp("ns", "UTC")
FOLDER = "objects/io/maps/sums"


def _recorded(path: Path, times: list[int]) -> Path:
    """A map with one entry more at each of *times*, after the first look."""
    extra = {}
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
        "time": pa.array(looks, TIME),
        "until": pa.array(looks, TIME),
        "kind": ["map"] * len(looks),
        "name": ["sums"] * len(looks),
        "entries": [2, *range(1, 1 + len(times))],
        "snapshot": pa.array(looks, TIME),
    }
    extra["objects/io/health/00000.parquet"] = encode(pa.table(health))
    made(path, extra=extra)
    return path


def _rewritten(path: Path) -> None:
    with Recording(path) as recording:
        replaced = {"manifest.json": recording.text("manifest.json", 1 << 20)}
    assert rewrite(path, replaced) == path.stat().st_size


def _entries(path: Path) -> dict[int, list[tuple[bytes, bytes]]]:
    with Recording(path) as recording:
        found = recording.objects["io"].entries("sums")
        return {
            when: [(k.tobytes(), v.tobytes()) for k, v in zip(keys, values, strict=True)]
            for when, keys, values in found
        }


def _columns(path: Path) -> list[str]:
    with Recording(path) as recording:
        (piece,) = recording.pieces(FOLDER)
        return recording.sheet(piece).columns


def test_snapshots_become_changes(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a.bpfnb", [95, 96, 100, 101])
    before = _entries(path)
    _rewritten(path)
    assert [len(rows) for rows in before.values()] == [2, 1, 2, 3, 4]
    assert _entries(path) == before
    assert GONE in _columns(path)


def test_a_clock_that_was_set_back_leaves_them_snapshots(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a.bpfnb", [100, 101, 95, 96])
    before = _entries(path)
    _rewritten(path)
    assert {when: len(rows) for when, rows in before.items()} == {1: 2, 100: 1, 101: 2, 95: 3, 96: 4}
    assert _entries(path) == before
    assert GONE not in _columns(path)


def test_one_snapshot_stays_one(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a.bpfnb", [])
    _rewritten(path)
    assert [len(rows) for rows in _entries(path).values()] == [2]
    assert GONE not in _columns(path)


@pytest.mark.parametrize(
    ("times", "said"), [([100, 101, 95, 96], "do not ascend"), ([95, 97, 100, 101], "of no look")]
)
def test_looks_that_cannot_be_told_are_no_changes(times: list[int], said: str) -> None:
    table = pa.table({"at": pa.array(times, TIME), "value": times})
    with pytest.raises(ValueError, match=said):
        changes(table, "at", np.array([95, 96, 100, 101]), None)


def test_what_has_more_entries_than_are_read_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bpfnb"
    with Recording(_recorded(tmp_path / "b.bpfnb", [95, 96, 100, 101])) as recording:
        found = {name: recording.text(name, 1 << 20) for name in recording.entries}
    replaced = {"manifest.json": found.pop("manifest.json")}
    container = Container(path)
    for name, data in (*replaced.items(), *found.items()):  # a recorder begins with the manifest
        container.add(name, data)
    container.commit(replaced)
    container.close()
    whole = path.read_bytes()
    monkeypatch.setattr(archive, "MAX_ENTRIES", len(found))
    with Recording(path) as recording:
        assert recording.recovered
        assert len(recording.entries) == len(found)
    assert rewrite(path, replaced) == len(whole)
    assert path.read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ["a.bpfnb", "b.bpfnb"]


def test_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    gone = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1  # no process has it
    names = ["a.bpfnb", f".a.bpfnb.{os.getpid()}", ".a.bpfnb.notes", f".b.bpfnb.{gone}"]
    for name in (*names, f".a.bpfnb.{gone}"):
        (tmp_path / name).touch()
    tidy(tmp_path / "a.bpfnb")
    assert sorted(os.listdir(tmp_path)) == sorted(names)
