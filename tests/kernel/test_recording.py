"""Recordings of live objects: every row and entry is in the file, as pandas, pyarrow and zipfile read it alone."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workloads import Worker

import bpfnb
from bpfnb.errors import BadValue, BpfnbError, UnknownName
from bpfnb.object import BpfObject
from bpfnb.recording.reader import Recording
from bpfnb.recording.recorder import Recorder

CELL = r"""
enum way { READ, WRITE, };
struct event {
    ktime_ns_t when; u64 seq; u32 pid; errno_t error; signal_t signal; enum way way; ipv4_t address; port_be_t port;
    u8 mac[6] FORMAT(mac); u8 flag; char name[16]; u32 bit:3; u64 many[70]; u64 noise, inside HIDDEN;
};
struct note { ktime_ns_t when; u64 seq; char text[]; };
struct arguments { u32 count, first; };
struct place { u32 pid; enum way way; };

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 22); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } both SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 100); __type(key, struct place); __type(value, u64); } sums SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } each SEC(".maps");
int threshold = 7;

static long put(u32 i, struct arguments *a)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    __builtin_memset(e, 0, sizeof(*e));
    e->seq = a->first + i;
    e->when = e->seq % 5 ? bpf_ktime_get_ns() : 0;
    e->pid = e->seq % 7;
    e->error = -(s32)(e->seq % 3);
    e->signal = 9;
    e->way = e->seq % 4;
    e->address = 0x0100000a + ((e->seq % 3) << 24);
    e->port = 0x5000;
    e->mac[5] = e->seq % 2;
    e->flag = e->seq % 2;
    e->name[0] = 'a' + e->seq % 26;
    e->bit = e->seq;
    e->many[69] = e->seq;
    e->noise = (u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
    e->inside = ~e->seq;
    bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("syscall") int produce(struct arguments *a)
{
    struct place place = { .pid = 5, .way = WRITE };
    u64 one = a->count, *sum = bpf_map_lookup_elem(&sums, &place);
    u32 zero = 0;
    if (sum) *sum += one; else bpf_map_update_elem(&sums, &place, &one, BPF_ANY);
    u64 *mine = bpf_map_lookup_elem(&each, &zero);
    if (mine) *mine += one;
    struct arguments copy = *a;
    bpf_loop(a->count, put, &copy, 0);
    return 0;
}

struct pair { u64 seq; u32 kind; };
SEC("syscall") int mixed(struct arguments *a)
{
    struct pair p = { a->first, 3 };
    struct { u64 seq; } s = { a->first + 1 };
    bpf_ringbuf_output(&both, &p, sizeof(p), 0);
    bpf_ringbuf_output(&both, &s, sizeof(s), 0);
    return 0;
}
"""


def _run(obj: BpfObject, count: int, first: int = 0, program: str = "produce") -> None:
    given = count.to_bytes(4, "little") + first.to_bytes(4, "little")
    obj.programs[program].test_run(ctx=given)


def _tables(path: Path, folder: str) -> pa.Table:
    """As somebody reads them who has no bpfnb."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = sorted(name for name in archive.namelist() if name.startswith(f"{folder}/"))
        assert names, archive.namelist()
        pieces = [pq.read_table(io.BytesIO(archive.read(name))) for name in names]
    return pa.concat_tables(pieces, promote_options="permissive")


@pytest.fixture
def obj() -> Any:
    with bpfnb.load(CELL, name="recorded", watchdog=None) as loaded:
        yield loaded


def _alike(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        left.reset_index(drop=True), right.reset_index(drop=True), check_categorical=False
    )


def test_rows_are_read_back_by_others_as_the_frame_has_them(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    _run(obj, 300)
    assert obj.events.wait_for(300, 30)
    with bpfnb.record(obj, path) as recorder:
        _run(obj, 700, 300)
    live = obj.events.df
    assert (recorder.state, recorder.rows, recorder.lost) == ("stopped", 1000, {})
    found = _tables(path, "objects/recorded/streams/events/event").to_pandas()
    assert found["seq"].tolist() == list(range(1000))
    assert (found["inside"] == ~found["seq"].astype("uint64")).all(), "hidden columns are there too"
    same = [name for name in live.columns if name not in ("many", "flag", "name", "error", "way", "address")]
    _alike(
        found[[*same]].assign(mac=found["mac"].astype(object)),
        live[same].assign(mac=live["mac"].astype(object)),
    )
    for name in ("name", "error", "way", "address", "signal"):
        assert found[name].astype(str).tolist() == live[name].astype(str).tolist(), name
    assert found["error@raw"].tolist() == [-(n % 3) for n in range(1000)]
    assert found["when"].isna().tolist() == [n % 5 == 0 for n in range(1000)]
    assert [row[69] for row in found["many"]] == list(range(1000))


def test_columns_come_back_exactly(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with bpfnb.record(obj, path):
        _run(obj, 1000)
    lane = obj.events._known[0]
    pieces = list(Recording(path).objects["recorded"].read("events", lane))
    assert [piece.numbers for piece in pieces] == [None] * len(pieces)
    columns = lane.concat([piece.columns for piece in pieces])
    live = [batch.columns for batch in obj.events._store.read(lane, 0, 1000)]
    for name, values in lane.concat(live).items():  # type: ignore[arg-type]
        assert pa.array(values).equals(pa.array(columns[name])), name
    assert lane.frame(columns, raw=True).equals(obj.events.frame(raw=True))


def test_maps_over_time_and_their_bytes(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with bpfnb.record(obj, path, flush=0.05) as recorder:
        _run(obj, 10)
        _until(lambda: _health(path, "sums", "entries") == [1])
        _run(obj, 5)
    found = _tables(path, "objects/recorded/maps/sums").to_pandas()
    assert found["value"].tolist() == [10, 15], "once for each change"
    assert (found["pid"].tolist(), found["way"].tolist()) == ([5, 5], ["WRITE", "WRITE"])
    assert found["snapshot"].is_monotonic_increasing
    assert [int.from_bytes(raw, "little") for raw in found["value@raw"]] == [10, 15]
    recording = Recording(path).objects["recorded"]
    *_, (taken, keys, values) = recording.entries("sums")
    live = obj.loaded.read_all("sums")
    assert keys.tobytes() == live[0].tobytes()
    assert values.tobytes() == live[1].tobytes()
    assert recording.snapshots("sums")[-1].taken == taken
    *_, (_, _, per_cpu) = recording.entries("each")
    assert per_cpu.tobytes() == obj.loaded.read_all("each")[1].tobytes()
    assert recorder.error is None


def test_global_variables_and_what_the_object_is(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    obj.vars.threshold = 9
    bpfnb.record(obj, path, facts=("hostname",)).stop()
    recording = Recording(path)
    info = recording.manifest.objects["recorded"]
    recorded = recording.objects["recorded"]
    assert recorded.source == CELL
    assert recorded.types == obj.elf.btf.data
    assert [one.name for one in info.programs] == list(obj.programs)
    assert {one.name: one.info().max_entries for one in info.maps}["sums"] == 100
    assert recording.manifest.host.facts == {"hostname": os.uname().nodename}
    assert recording.manifest.host.kernel == os.uname().release
    data = next(one.name for one in info.maps if one.internal == ".data")
    *_, (_, _, values) = recorded.entries(data)
    assert int.from_bytes(values.tobytes()[:4], "little") == 9
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert (manifest["format"], manifest["version"], manifest["complete"]) == ("bpfnb-recording", 2, True)


def test_kinds_of_records_keep_their_order(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with bpfnb.record(obj, path):
        for number in range(0, 20, 2):
            _run(obj, 0, number, "mixed")
    live = obj.both.df
    recorded = Recording(path).objects["recorded"]
    lanes = {lane.name: lane for lane in obj.both._lanes()}
    assert set(recorded.lanes("both")) == set(lanes)
    order = {}
    for lane in lanes.values():
        for piece in recorded.read("both", lane):
            assert piece.numbers is not None
            order |= {int(n): int(s) for n, s in zip(piece.numbers, piece.columns["seq"], strict=True)}
    assert [order[number] for number in range(20)] == live["seq"].tolist() == list(range(20))
    columns = _tables(path, "objects/recorded/streams/both").column_names
    assert "row@" in columns


def test_ends_with_its_object(tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    obj = bpfnb.load(CELL, name="recorded")
    recorder = bpfnb.record("recorded", path, flush=60.0)
    _run(obj, 100)
    obj.close()
    assert (recorder.state, recorder.rows) == ("object ended", 100)
    assert len(_tables(path, "objects/recorded/streams/events/event")) == 100
    assert _tables(path, "objects/recorded/maps/sums")["value"].to_pylist()[-1] == 100
    assert recorder.stop().state == "object ended"


def test_several_objects_and_a_tool_in_one_file(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with Worker() as worker, bpfnb.tools.execsnoop(ppid=worker.pid) as tool:
        with bpfnb.record([obj, tool], path):
            worker.run("import subprocess\nfor i in range(3): subprocess.run(['/bin/true', str(i)])")
            _run(obj, 5)
            assert tool.wait(3, 30)
        live = tool.df
    assert len(live) == 3
    assert len(_tables(path, "objects/recorded/streams/events/event")) == 5
    rows = _tables(path, "objects/execsnoop/frame").to_pandas()
    assert rows["pid"].tolist() == live["pid"].tolist()
    assert "args" not in rows, "command lines are left out unasked"
    assert Recording(path).manifest.objects["execsnoop"].tool["name"] == "execsnoop"


_CHILD = """
import sys, time, bpfnb
obj = bpfnb.load(sys.argv[2], name="recorded")
recorder = bpfnb.record(obj, sys.argv[1], flush=0.05)
for first in range(0, 10_000_000, 100):
    obj.programs["produce"].test_run(ctx=(100).to_bytes(4, "little") + first.to_bytes(4, "little"))
    time.sleep(0.002)
    print(recorder.rows, flush=True)
"""


def test_a_kill_leaves_all_up_to_the_last_flush(tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), CELL], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    rows = 0
    for line in child.stdout:
        rows = int(line)
        if rows > 1500:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    recording = Recording(path)
    assert recording.stopped == "killed"
    assert not recording.completeness["complete"]
    found = _tables(path, "objects/recorded/streams/events/event").to_pandas().sort_values("seq")
    assert len(found) >= rows
    assert found["seq"].tolist() == list(range(len(found)))
    recorded = recording.objects["recorded"]
    assert sum(piece.rows for piece in recorded.read("events", _lane())) == len(found)
    assert recorded.health.num_rows
    torn = tmp_path / "torn.bpfnb"
    torn.write_bytes(path.read_bytes()[:-3000])
    cut = Recording(torn)
    assert cut.recovered
    assert sum(p.rows for p in cut.objects["recorded"].read("events", _lane())) >= len(found) - 200


def _lane() -> Any:
    with bpfnb.load(CELL, name="lane", attach=False) as obj:
        return obj.events._known[0]


def test_bounds_end_it_and_rotation_goes_on(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    recorder = bpfnb.record(obj, path, max_bytes=70_000, flush=0.05)
    for number in itertools.count():
        _run(obj, 500, 500 * number)
        if recorder.state != "recording":
            break
    assert recorder.state == "limit size"
    assert Recording(path).stopped == "limit size"

    timed = bpfnb.record(obj, tmp_path / "b.bpfnb", max_seconds=0.2, flush=0.05)
    _until(lambda: timed.state == "limit time")

    obj.events.clear()
    turning = bpfnb.record(obj, tmp_path / "c.bpfnb", max_bytes=70_000, rotate=2, flush=0.05)
    first = obj.events.total
    for number in itertools.count():
        _run(obj, 500, 500 * number)
        _until(lambda: turning.rows >= obj.events.total - first)
        if turning._part >= 4:  # how much a file overshoots its bound is a matter of how busy the machine is
            break
    turning.stop()
    assert turning.error is None
    assert sorted(p.name for p in tmp_path.glob("c*")) == ["c.1.bpfnb", "c.2.bpfnb", "c.bpfnb"]
    parts = [Recording(tmp_path / name) for name in ("c.2.bpfnb", "c.1.bpfnb", "c.bpfnb")]
    assert [part.manifest.part for part in parts] == [turning._part - 2, turning._part - 1, turning._part]
    lane = obj.events._known[0]
    pieces = [piece for part in parts for piece in part.objects["recorded"].read("events", lane)]
    for before, after in itertools.pairwise(pieces):
        assert before.first + before.rows == after.first, "files follow one another"
    assert pieces[-1].first + pieces[-1].rows == obj.events.total


def test_rows_that_went_before_they_were_written_are_counted(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    obj.events.limit(rows=100)
    recorder = bpfnb.record(obj, path, flush=60.0)
    for number in range(4):
        _run(obj, 100, 100 * number)
        obj.events.drain()
    recorder.stop()
    assert recorder.lost == {"recorded.events recorder": 300}
    completeness = Recording(path).completeness
    assert (completeness["complete"], completeness["lost"]) == (False, {"recorded.events recorder": 300})
    (piece,) = Recording(path).objects["recorded"].read("events", obj.events._known[0])
    assert (piece.first, piece.rows) == (300, 100)


def test_rows_that_are_cleared_away_are_written_before(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with bpfnb.record(obj, path, flush=60.0) as recorder:
        for number in range(4):
            _run(obj, 100, 100 * number)
            obj.events.clear()
            assert len(obj.events) == 0
        _run(obj, 10, 400)
    assert obj.events._store.keepers == []
    assert (recorder.rows, recorder.lost) == (410, {})
    assert _tables(path, "objects/recorded/streams/events/event")["seq"].to_pylist() == list(range(410))
    assert obj.events.df["seq"].tolist() == list(range(400, 410))


def test_mistakes_are_named_before_anything_is_written(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with pytest.raises(UnknownName, match="no live object 'recoded'"):
        bpfnb.record("recoded", path)
    with pytest.raises(UnknownName, match="no fact 'shoe size'"):
        bpfnb.record(obj, path, facts=("shoe size",))
    with pytest.raises(UnknownName, match="'adress'"):
        bpfnb.record(obj, path, redact=("adress=mask",))
    with pytest.raises(BadValue, match="positive"):
        bpfnb.record(obj, path, flush=0)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(BpfnbError, match="exists"):
        bpfnb.record(obj, path)
    assert path.read_text() == "mine"
    bpfnb.record(obj, path, overwrite=True).stop()
    assert Recording(path).stopped == "stopped"
    with pytest.raises(BpfnbError, match="cannot be written"):
        bpfnb.record(obj, tmp_path / "nowhere" / "a.bpfnb")
    with pytest.raises(BadValue, match="None cannot be recorded"):
        bpfnb.record(None, path, overwrite=True)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="positive"):
        bpfnb.record(obj, path, overwrite=True, max_bytes="1G")  # type: ignore[arg-type]


def test_one_rule_is_given_by_itself(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    bpfnb.record(obj, path, redact="address=mask", facts="hostname").stop()
    manifest = Recording(path).manifest
    assert manifest.redaction["rules"] == ["address=mask"]
    assert list(manifest.host.facts) == ["hostname"]


def test_two_recorders_do_not_write_one_file(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with bpfnb.record(obj, path) as first:
        (tmp_path / "other").symlink_to(path)
        with pytest.raises(BpfnbError, match="recorded is recorded to it"):
            bpfnb.record(obj, tmp_path / "other", overwrite=True)
        _run(obj, 50)
    assert (first.state, Recording(path).stopped) == ("stopped", "stopped")
    assert len(_tables(path, "objects/recorded/streams/events/event")) == 50


def test_a_stopped_object_is_recorded_at_once(obj: BpfObject, tmp_path: Path) -> None:
    _run(obj, 50)
    obj.stop()
    recorder = bpfnb.record(obj, tmp_path / "a.bpfnb", flush=60.0)
    assert (recorder.state, recorder.rows) == ("object ended", 50)
    assert Recording(recorder.path).stopped == "object ended"


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """A folder on a file system of 400 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "small", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_what_was_written_can_be_read(obj: BpfObject, small: Path) -> None:
    recorder = bpfnb.record(obj, small / "a.bpfnb", flush=0.1)
    _run(obj, 10)
    _until(lambda: recorder.rows == 10)
    _fill(small / "rest", 0)
    _run(obj, 5000, first=10)
    with pytest.raises(BpfnbError, match="No space left on device"):
        recorder.stop()
    assert recorder.state == "failed"
    with Recording(small / "a.bpfnb") as recording:
        assert recording.stopped == "killed"
        rows = recording.tables().set_index("table").loc["objects/recorded/streams/events/event", "rows"]
        assert rows >= 10


def test_a_disk_with_no_room_for_the_merged_file_keeps_the_whole_one(obj: BpfObject, small: Path) -> None:
    with bpfnb.record(obj, small / "a.bpfnb", flush=0.1) as recorder:
        _run(obj, 10)
        _until(lambda: recorder.rows == 10)
        _fill(small / "rest", 32 << 10)
    with Recording(recorder.path) as recording:
        assert (recorder.state, recording.stopped) == ("stopped", "stopped")
    assert sorted(os.listdir(small)) == ["a.bpfnb", "rest"]
    assert len(_tables(recorder.path, "objects/recorded/streams/events/event")) == 10


def _fill(path: Path, leave: int) -> None:
    path.write_bytes(bytes(os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize - leave))


def test_what_is_redacted_never_reaches_the_file(obj: BpfObject, tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    recorder = bpfnb.record(
        obj,
        path,
        redact=("address=mask", "name=hash", "mac=drop", "sums.pid=hash", "noise=drop", "sums.way=drop"),
        flush=0.05,
    )
    _run(obj, 50)
    _until(lambda: recorder.rows == 50)
    for _ in range(2):  # while it goes on, and after the end
        found = _tables(path, "objects/recorded/streams/events/event").to_pandas()
        assert set(found["address"]) == {"10.0.0.0"}
        assert "mac" not in found
        assert {len(name) for name in found["name"]} == {16}
        assert found["name"].nunique() == 26
        assert set(_tables(path, "objects/recorded/maps/sums")["pid"].to_pylist()) != {5}
        assert b"10.0.0.1" not in path.read_bytes()
        recorder.stop()
    columns = Recording(path).manifest.redaction["columns"]
    assert columns["events.address"] == "mask"
    assert columns["events.mac"] == "drop"
    replayed = bpfnb.replay(path)
    assert isinstance(replayed, BpfObject)
    with replayed:
        rows, sums = replayed.events.df, replayed.sums.df
        assert len(rows) == 50
        assert rows[["mac", "noise"]].isna().all(axis=None)  # zeros would be taken for values
        assert not rows[["seq", "address"]].isna().any(axis=None)
        assert math.isnan(rows["noise"].mean())
        assert replayed.events.arrow().column("noise").null_count == 50
        assert sums["way"].isna().all()
        assert not sums["value"].isna().any()


STACKS = r"""
struct event { u32 pid; stack_id_t kernel; stack_id_t user; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024); __uint(key_size, 4);
         __uint(value_size, 1016); } stacks SEC(".maps");
const volatile u32 wanted = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int on(void *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct event *e;
    if (pid != wanted || !(e = bpf_ringbuf_reserve(&events, sizeof(*e), 0))) return 0;
    e->pid = pid;
    e->kernel = bpf_get_stackid(ctx, &stacks, 0);
    e->user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


def test_stacks_have_names_and_processes_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with Worker() as worker, bpfnb.load(STACKS, name="stacks", globals={"wanted": worker.pid}) as obj:
        with bpfnb.record(obj, path):
            worker.run("getppid(10)")
            assert obj.events.wait_for(10, 30)
        symbols = Recording(path).symbols.to_pandas()
        live = obj.stacks.df
    kernel = symbols[symbols["pid"] == 0]
    assert "do_syscall_64" in set(kernel["name"]) or kernel["name"].str.contains("syscall").any()
    user = symbols[symbols["pid"] == worker.pid]
    assert "getppid" in set(user["name"].dropna())
    addresses = {int(address) for frames in live["frames"] for address in frames}
    assert addresses >= set(map(int, symbols["address"]))
    processes = Recording(path).processes.to_pandas().set_index("pid")
    assert processes.loc[worker.pid, "ppid"] == os.getpid()
    assert "cmdline" not in processes, "left out unasked"


def _health(path: Path, name: str, column: str) -> list[Any]:
    """The last of a map's or stream's readings, in the file as it is now; none in the middle of a flush."""
    health = Recording(path).objects["recorded"].health.to_pandas()
    if "name" not in health:
        return []
    return list(health[health["name"] == name][column].tail(1))


def _until(reached: Callable[[], bool], seconds: float = 20.0) -> None:
    import threading
    import time

    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not come to that"
        threading.Event().wait(0.01)


def test_shows_itself(obj: BpfObject, tmp_path: Path) -> None:
    recorder = bpfnb.record(obj, tmp_path / "<a>.bpfnb")
    assert isinstance(recorder, Recorder)
    _run(obj, 3)
    recorder.stop()
    assert "stopped, 3 rows" in repr(recorder)
    assert "&lt;a&gt;" in recorder._repr_html_()
    tables = Recording(recorder.path).tables().set_index("table")
    assert tables.loc["objects/recorded/streams/events/event", "rows"] == 3


def test_a_name_is_the_tool_where_a_tool_has_it(tmp_path: Path) -> None:
    with bpfnb.tools.execsnoop() as tool:
        bpfnb.record(tool.object.name, tmp_path / "a.bpfnb").stop()
    assert Recording(tmp_path / "a.bpfnb").manifest.objects[tool.object.name].kind == "tool"


_LEAVES = """
import os, sys, bpfnb
obj = bpfnb.load(sys.argv[2], name="recorded")
recorder = bpfnb.record(obj, sys.argv[1], flush=60.0)
if os.fork() == 0:
    sys.exit(recorder.state != "left to the parent")
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
obj.programs["produce"].test_run(ctx=(10).to_bytes(8, "little"))
"""


def test_a_process_that_ends_ends_it_and_its_fork_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    subprocess.run([sys.executable, "-c", _LEAVES, str(path), CELL], check=True, timeout=60)
    assert Recording(path).stopped in ("stopped", "object ended")
    assert len(_tables(path, "objects/recorded/streams/events/event")) == 10
