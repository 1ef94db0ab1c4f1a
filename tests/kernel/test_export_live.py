"""Exports of a live object and of its recording: what a known workload did, and nothing that was redacted."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import bpfnb
from bpfnb.errors import BadValue
from bpfnb.exports import FORMATS, write
from bpfnb.exports.subject import opened
from bpfnb.frames.syscalls import syscall_names

SECRET = "topsecret-7"
CALLS = 200
SOURCE = """
struct event { ktime_ns_t ts; ns_t latency; u32 pid, tid; char comm[16]; char note[16] SENSITIVE; stack_id_t kernel_stack; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024); __uint(key_size, 4);
         __uint(value_size, 8 * 127); } stacks SEC(".maps");
struct who { char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct who); __type(value, u64); }
    calls SEC(".maps");
const volatile u32 target = 0;
const volatile s64 wanted = 0;
SEC("tp_btf/sys_enter") int BPF_PROG(enter, struct pt_regs *regs, long id) {
    u64 both = bpf_get_current_pid_tgid(), one = 1, *n;
    struct who who = {};
    if (both >> 32 != target || id != wanted) return 0;
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->ts = bpf_ktime_get_ns(); e->latency = 1000; e->pid = both >> 32; e->tid = both;
    bpf_get_current_comm(e->comm, 16); bpf_get_current_comm(e->note, 16);
    e->kernel_stack = bpf_get_stackid(ctx, &stacks, 0);
    bpf_ringbuf_submit(e, 0);
    bpf_get_current_comm(who.comm, 16);
    n = bpf_map_lookup_elem(&calls, &who);
    if (n) __sync_fetch_and_add(n, 1); else bpf_map_update_elem(&calls, &who, &one, BPF_ANY);
    return 0;
}
"""


def work() -> None:
    """So many calls by a thread whose name must not be told."""
    Path("/proc/thread-self/comm").write_text(SECRET)
    for _ in range(CALLS):
        os.getpgid(0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bpfnb.BpfObject, Path, Path]]:
    """A stopped object, its recording with the name hashed, and one with everything."""
    folder = tmp_path_factory.mktemp("export")
    number = next(n for n, name in syscall_names().items() if name == "getpgid")
    with bpfnb.load(SOURCE, name="pgid", globals={"target": os.getpid(), "wanted": number}) as obj:
        with (
            bpfnb.record(obj, folder / "safe.bpfnb", redact=["comm=hash"], flush=0.1),
            bpfnb.record(obj, folder / "open.bpfnb", include=["note"], flush=0.1),
        ):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert obj.streams["events"].wait_for(CALLS, timeout=20)
        obj.stop()
        yield obj, folder / "safe.bpfnb", folder / "open.bpfnb"


def test_a_live_object_and_its_recording_say_the_same(made, tmp_path):
    obj, _, recording = made
    for what, folder in ((obj, tmp_path / "live"), (recording, tmp_path / "recorded")):
        folder.mkdir()
        bpfnb.export(what, folder / "x.parquet")
        bpfnb.export(what, folder / "x.jsonl", stream="events")
    live, recorded = (
        pq.read_table(tmp_path / name / "x-events.parquet").to_pandas() for name in ("live", "recorded")
    )
    assert len(live) == CALLS
    pd.testing.assert_frame_equal(live, recorded)
    assert set(recorded["note"]) == {SECRET}
    counts = pd.read_parquet(tmp_path / "recorded" / "x-calls.parquet")
    assert counts[["comm", "value"]].to_numpy().tolist() == [[SECRET, CALLS]]
    lines = [json.loads(line) for line in (tmp_path / "recorded" / "x.jsonl").read_text().splitlines()]
    assert [one["pid"] for one in lines] == [os.getpid()] * CALLS
    assert pd.to_datetime([one["ts"] for one in lines]).tolist() == recorded["ts"].tolist()


def test_stacks_by_name(made, tmp_path):
    _, _, recording = made
    (written,) = write(recording, tmp_path / "x.folded")
    text = written.path.read_text()
    assert "do_syscall_64" in text or "el0_svc" in text
    assert sum(int(line.rpartition(" ")[2]) for line in text.splitlines()) == CALLS


@pytest.mark.parametrize("kind", list(FORMATS))
def test_what_was_redacted_is_in_no_file(made, tmp_path, kind):
    _, recording, whole = made
    for what, kept in ((recording, False), (whole, True)):
        folder = tmp_path / what.stem
        folder.mkdir()
        written = bpfnb.export(what, folder / f"x{FORMATS[kind][0]}", format=kind)
        found = any(SECRET.encode() in _plain(path) for path in written)
        assert found == (kept and kind not in ("folded", "pprof"))
        if kind in ("csv", "parquet"):
            read = pd.read_csv if kind == "csv" else pd.read_parquet
            names = read(next(path for path in written if "events" in path.name)).columns
            assert ("note" in names) == kept


def _plain(path: Path) -> bytes:
    """The bytes of a file with what it packs unpacked."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas().to_csv().encode()
    if path.suffix == ".html":
        data = path.read_text()
        parts = re.findall(r'"([A-Za-z0-9+/=]{16,})"', data)
        return data.encode() + b"".join(base64.b64decode(part) for part in parts if len(part) % 4 == 0)
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return path.read_bytes()


def test_a_tool_and_its_recording(tmp_path):
    with bpfnb.tools.execsnoop() as tool, bpfnb.record(tool, tmp_path / "exec.bpfnb", flush=0.1):
        subprocess.run(["/bin/true", SECRET], check=True)
        tool.object.streams["events"].wait_for(1, timeout=20)
        bpfnb.export(tool, tmp_path / "live.csv")
        tool.stop()
    assert SECRET in (tmp_path / "live.csv").read_text()
    bpfnb.export(tmp_path / "exec.bpfnb", tmp_path / "recorded.csv")
    text = (tmp_path / "recorded.csv").read_text()
    assert "args" not in text.splitlines()[0]
    assert SECRET not in text
    assert "/bin/true" in text


def test_in_terminal_and_notebook(made, tmp_path, capsys, monkeypatch):
    from bpfnb.cli import main

    _, recording, _ = made
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.bpfnb").write_bytes(recording.read_bytes())
    assert main(["export", "mine.bpfnb", "--to", "perfetto", "--to", "e.csv", "--stream", "events"]) == 0
    said = capsys.readouterr().out
    assert f"{CALLS} rows" in said
    assert f"{CALLS} events" in said
    assert {path.name for path in tmp_path.iterdir()} == {"mine.bpfnb", "mine.perfetto-trace", "e.csv"}
    assert main(["export", "mine.bpfnb", "--to", "e.csv", "--stream", "events"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "all-events.csv").write_text("mine")  # one of the several files of all.csv
    assert main(["export", "mine.bpfnb", "--to", "all.csv"]) == 1
    assert "all-events.csv is there already" in capsys.readouterr().err
    assert (tmp_path / "all-events.csv").read_text() == "mine"
    assert main(["export", "mine.bpfnb", "--to", "nowhere/e.csv"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(["export", "nothing.bpfnb", "--to", "html"]) == 1
    assert main(["export", "mine.bpfnb"]) == 2


def test_a_live_object_by_its_name(made, tmp_path):
    obj, _, _ = made
    with opened(obj.name) as subject:
        assert [part.name for part in subject.parts if part.kind == "stream"] == ["events"]
    with pytest.raises(BadValue, match="no format"):
        bpfnb.export(obj.name, tmp_path / "x")
