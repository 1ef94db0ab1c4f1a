"""What a rule hides of the events is not in the table of processes either, nor in that of names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bpfnb
from bpfnb.recording.reader import Recording

PROGRAM = r"""
struct event { u32 pid; u32 uid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } events SEC(".maps");
u32 whose = 0;
SEC("xdp") int fill(struct xdp_md *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->pid = whose; e->uid = 0;
    __builtin_memset(e->comm, 0, 16);
    e->comm[0] = 'x';
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


SECRET = "s3cr3t-of-comm"
RENAMED = f"open('/proc/self/comm', 'w').write('{SECRET}'); print('ready', flush=True); input()"


def decoded(path: Path) -> tuple[set[str], str]:
    """The columns of the table of processes, and all of its values as text."""
    with Recording(path) as recording:
        table = recording.processes
        return set(table.column_names), repr(table.to_pydict())


@pytest.mark.parametrize(
    ("rule", "gone"),
    [
        ("events.comm=drop", {"comm", "parent"}),
        ("events.comm=hash", set()),
        ("events.pid=hash", set()),
        ("pid=hash", set()),
        ("events.uid=drop", {"uid", "user"}),
    ],
)
def test_a_rule_for_events_holds_for_processes(tmp_path: Path, rule: str, gone: set[str]) -> None:
    with (
        bpfnb.load(PROGRAM, name="whose", attach=False, watchdog=None) as obj,
        subprocess.Popen(
            [sys.executable, "-c", RENAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        obj.vars.whose = child.pid
        recorder = bpfnb.record(obj, tmp_path / "p.bpfnb", redact=[rule], flush=3600.0)
        obj.programs["fill"].test_run(bytes(64), repeat=1)
        assert obj.events.wait_for(1, 20)
        with recorder._lock:
            recorder._flush()
        child.communicate(b"\n")
        recorder.stop()
    columns, text = decoded(tmp_path / "p.bpfnb")
    assert "start" in columns
    assert not columns & gone
    if "comm" in rule:
        assert SECRET not in text
    else:
        assert SECRET in text
    if "pid" in rule:
        with Recording(tmp_path / "p.bpfnb") as recording:
            people = recording.processes.to_pydict()
        assert child.pid not in people["pid"]
        assert os.getpid() not in people["ppid"]


def test_nobody_is_looked_up_whose_number_is_not_told(tmp_path: Path) -> None:
    with bpfnb.load(PROGRAM, name="whose", attach=False, watchdog=None) as obj:
        obj.vars.whose = os.getpid()
        recorder = bpfnb.record(obj, tmp_path / "n.bpfnb", redact=["events.pid=drop"], flush=3600.0)
        obj.programs["fill"].test_run(bytes(64), repeat=1)
        assert obj.events.wait_for(1, 20)
        recorder.stop()
    columns, _ = decoded(tmp_path / "n.bpfnb")
    assert columns == set()


def test_a_rule_for_a_tool_s_frame_holds_for_processes(tmp_path: Path) -> None:
    with bpfnb.tools.execsnoop() as execs:
        recorder = bpfnb.record(execs, tmp_path / "t.bpfnb", redact=["frame.comm=hash"], flush=3600.0)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            while child.pid not in execs.df["pid"].to_numpy():
                assert execs.wait(len(execs.df) + 1, 20) or child.pid in execs.df["pid"].to_numpy()
            comm = Path(f"/proc/{child.pid}/comm").read_text().strip()
            with recorder._lock:
                recorder._flush()
            child.communicate(b"\n")
        recorder.stop()
    with Recording(tmp_path / "t.bpfnb") as recording:
        people = recording.processes.to_pandas().set_index("pid")
    assert child.pid in people.index
    assert people.loc[child.pid, "comm"] != comm
    assert comm not in set(people["comm"]) | set(people["parent"])
