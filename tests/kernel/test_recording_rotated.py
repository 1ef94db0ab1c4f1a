"""A recording that rotated is one recording: all that its files have, in order, and what is missing is said."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from workloads import Worker

import bpfnb
from bpfnb.errors import BadRecording, BadValue
from bpfnb.object import BpfObject
from bpfnb.recording import session
from bpfnb.recording.parts import opened
from bpfnb.recording.reader import Recording
from bpfnb.recording.recorder import Recorder

PROGRAM = r"""
struct event { ktime_ns_t when; u64 seq; char name[8]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 3); __type(key, u32); __type(value, u64); } sums SEC(".maps");
u64 seq = 0;
SEC("xdp") int fill(struct xdp_md *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    u32 key = seq % 3;
    u64 *sum = bpf_map_lookup_elem(&sums, &key);
    if (!e) return 0;
    e->when = bpf_ktime_get_ns(); e->seq = seq++;
    __builtin_memset(e->name, 0, 8);
    e->name[0] = 'a' + key;
    if (sum) *sum += 1;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


def turn(recorder: Recorder) -> None:
    with recorder._lock:
        recorder._flush()
        recorder._rotate()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A folder with three files of 100, 200 and 300 rows, and what was live."""
    folder = tmp_path_factory.mktemp("rotated")
    with bpfnb.load(PROGRAM, name="turned", attach=False, watchdog=None) as obj:
        recorder = bpfnb.record(obj, folder / "x.bpfnb", rotate=5, flush=3600.0)
        for rows in (100, 200, 300):
            obj.programs["fill"].test_run(bytes(64), repeat=rows)
            assert obj.events.wait_for({100: 100, 200: 300, 300: 600}[rows], 20)
            if rows < 300:
                turn(recorder)
        recorder.stop()
        assert recorder.rows == 600
        return folder, obj.streams["events"].df


@pytest.fixture
def replays() -> Iterator[list[BpfObject]]:
    found: list[BpfObject] = []
    yield found
    for one in found:
        one.close()


@pytest.mark.parametrize("given", ["x.bpfnb", "x.1.bpfnb", "x.2.bpfnb", "."])
def test_any_file_or_the_folder_is_the_whole(made, given, replays) -> None:
    folder, live = made
    replays.append(obj := bpfnb.replay(folder / given))
    rows = obj.streams["events"].df
    assert rows.equals(live)
    assert rows["seq"].tolist() == list(range(600))
    assert obj.streams["events"].total == 600
    assert obj.maps["sums"].df["value"].tolist() == [200, 200, 200]
    assert "not here" not in obj.note
    assert rows.attrs["bpfnb"]["complete"]


def test_maps_go_on_from_file_to_file(made) -> None:
    folder, _ = made
    with opened(folder / "x.bpfnb") as recording:
        entries = [
            values.view("u8")[:, 0].tolist() for _, _, values in recording.objects["turned"].entries("sums")
        ]
        assert entries[0] == [0, 0, 0]
        assert entries[-1] == [200, 200, 200]
        assert [34, 33, 33] in entries
        assert [100, 100, 100] in entries
        assert recording.manifest.objects["turned"].streams["events"].lanes[0].rows == 600
        tables = recording.tables().set_index("table")
        assert tables.loc["objects/turned/streams/events/event", "rows"] == 600


@pytest.mark.parametrize(
    ("lacking", "numbers", "said"),
    [
        ("x.2.bpfnb", range(100, 600), "part 0 of the recording is not here: nothing is known until"),
        ("x.1.bpfnb", [*range(100), *range(300, 600)], "part 1 of the recording is not here: nothing is known from"),
        ("x.bpfnb", range(300), "goes on in a file that is not here"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(made, lacking, numbers, said, tmp_path, replays) -> None:
    folder, live = made
    for path in folder.iterdir():
        if path.name != lacking:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    replays.append(obj := bpfnb.replay(tmp_path))
    rows = obj.streams["events"].df
    assert rows["seq"].tolist() == list(numbers)
    expected = live[live["seq"].isin(numbers)].reset_index(drop=True)
    assert rows.astype({"name": str}).equals(expected.astype({"name": str}))
    assert said in obj.note
    with opened(tmp_path) as recording, recording.again() as again:
        there = lacking == "x.bpfnb"  # within the window of what is here nothing is missing then
        assert rows.attrs["bpfnb"]["complete"] is there
        assert recording.completeness["complete"] is again.completeness["complete"] is there
        assert list(again.gaps) == list(recording.gaps)


def test_one_file_alone_is_not_complete(made, tmp_path) -> None:
    folder, _ = made
    (tmp_path / "x.bpfnb").write_bytes((folder / "x.bpfnb").read_bytes())
    with opened(tmp_path / "x.bpfnb") as recording, recording.again() as again:
        assert not recording.completeness["complete"]
        assert not again.completeness["complete"]


def test_files_of_a_name_that_ends_in_a_number(made, tmp_path, replays) -> None:
    folder, live = made
    for path in folder.iterdir():
        (tmp_path / path.name.replace("x.", "x.5.", 1)).write_bytes(path.read_bytes())
    for given in ("x.5.bpfnb", "x.5.1.bpfnb", "."):
        replays.append(obj := bpfnb.replay(tmp_path / given))
        assert obj.streams["events"].df.equals(live)


def changed(source: Path, target: Path, **fields: object) -> None:
    """The recording *source* with other *fields* in its manifest."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            data = before.read(name)
            if name == "manifest.json":
                data = json.dumps(json.loads(data) | fields).encode()
            after.writestr(name, data)


def test_a_stranger_s_files_are_refused(made, tmp_path) -> None:
    folder, _ = made
    changed(folder / "x.bpfnb", tmp_path / "y.bpfnb", part=1, window=[1e18, 1e18])
    with pytest.raises(BadRecording, match="says that it is of 1e"):
        opened(tmp_path / "y.bpfnb")
    with opened(folder / "x.bpfnb") as whole:
        objects = json.loads(whole.manifest.to_json())["objects"]
    (sums,) = (one for one in objects["turned"]["maps"] if one["name"] == "sums")
    sums["value_size"] = 16
    (tmp_path / "z.bpfnb").write_bytes((folder / "x.bpfnb").read_bytes())
    changed(folder / "x.1.bpfnb", tmp_path / "z.1.bpfnb", objects=objects)
    with opened(tmp_path / "z.bpfnb") as mixed, pytest.raises(BadRecording, match="of another kind"):
        list(mixed.objects["turned"].entries("sums"))


def test_a_damaged_file_and_strangers_are_no_part(made, tmp_path, replays) -> None:
    folder, _ = made
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "x.1.bpfnb").write_bytes(b"damaged")
    with bpfnb.load(PROGRAM, name="turned", attach=False, watchdog=None) as obj:
        bpfnb.record(obj, tmp_path / "x.7.bpfnb", rotate=2).stop()
    replays.append(whole := bpfnb.replay(tmp_path / "x.bpfnb"))
    assert whole.streams["events"].total == 600
    assert len(whole.streams["events"].df) == 400
    assert "part 1 of the recording is not here" in whole.note
    assert "x.1.bpfnb is no recording" in whole.note
    replays.append(alone := bpfnb.replay(tmp_path / "x.7.bpfnb", name="stranger"))
    assert alone.streams["events"].total == 0
    with pytest.raises(BadValue, match="has 0 recordings"):
        bpfnb.replay(tmp_path_empty(tmp_path))


def tmp_path_empty(path: Path) -> Path:
    (path / "empty").mkdir()
    return path / "empty"


def test_exports_and_cells_take_all_of_it(made, tmp_path, monkeypatch) -> None:
    folder, live = made
    bpfnb.export(folder / "x.1.bpfnb", tmp_path / "x.parquet", stream="events")
    assert pd.read_parquet(tmp_path / "x.parquet")["seq"].tolist() == list(range(600))
    for path in folder.iterdir():
        (tmp_path / path.name.replace("x.", "turned.", 1)).write_bytes(path.read_bytes())
    session.replay_from(tmp_path)
    try:
        with bpfnb.load(PROGRAM, name="turned", attach=False) as obj:
            assert obj.streams["events"].df.equals(live)
    finally:
        session.replay_from(None)


def test_a_tool_s_rows_and_its_tables_too(tmp_path) -> None:
    with (
        Worker(netns=True) as worker,
        bpfnb.tools.execsnoop(ppid=os.getpid(), comm="true") as execs,
        bpfnb.tools.flows(netns=f"/proc/{worker.pid}/ns/net") as flows,
    ):
        recorder = bpfnb.record([execs, flows], tmp_path / "t.bpfnb", rotate=5, flush=3600.0)
        for number in range(3):
            subprocess.run(["/bin/true", str(number)], check=True)
            worker.run("udp(3)")
            assert execs.wait(number + 1, 20)
            if number < 2:
                turn(recorder)
        execs.stop()
        flows.stop()
        recorder.stop()
        frame, last = execs.df.drop(columns=["args"]), flows.df
        assert len(frame) == 3
        assert last["tx_packets"].sum() == 9
    parts = [Recording(tmp_path / name) for name in ("t.2.bpfnb", "t.1.bpfnb", "t.bpfnb")]
    looks = []
    for part in parts:
        replayed = part.replay()
        looks += replayed["flows"].past()
        for each in replayed.values():
            each.close()
        part.close()
    assert len(looks) >= 3
    tool = bpfnb.replay(tmp_path / "t.1.bpfnb", object="execsnoop")
    assert tool.df.drop(columns=["args"]).equals(frame)
    tool.close()
    whole = bpfnb.replay(tmp_path / "t.1.bpfnb", object="flows")
    assert [when for when, _ in whole.past()] == [when for when, _ in looks]
    for (_, found), (_, expected) in zip(whole.past(), looks, strict=True):
        assert found.astype(object).equals(expected.astype(object))
    assert whole.df.equals(last)
    whole.close()


def test_a_speed_is_a_number(made) -> None:
    folder, _ = made
    for speed in ("x", 0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadValue, match="is not replayed"):
            bpfnb.replay(folder, speed=speed)
