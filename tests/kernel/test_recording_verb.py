"""The verbs ``record`` and ``recording``, in a terminal and in a notebook."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from workloads import Worker

import bpfnb
from bpfnb.cli import NOTEBOOK, main
from bpfnb.commandline import UsageProblem, run
from bpfnb.recording.reader import Recording
from bpfnb.recording.recorder import recorders
from bpfnb.views import humanize

CELL = 'struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } one SEC(".maps");'


def _bpf(line: str) -> Any:
    return run(line.split(), NOTEBOOK, "%bpf")


def test_a_terminal_records_a_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.bpfnb"
    with Worker() as worker:
        words = (
            f"record execsnoop --ppid {worker.pid} --max-seconds 60 --duration 6 --to {path} --include args"
        )
        with bpfnb.tools.execsnoop(ppid=worker.pid) as watching:  # compiled once: the verb's starts at once

            def work() -> None:
                while not (path.exists() and bpfnb.objects.keys() >= {"execsnoop", "execsnoop_2"}):
                    threading.Event().wait(0.05)
                worker.run("import subprocess\nfor i in range(3): subprocess.run(['/bin/true', f'word{i}'])")

            thread = threading.Thread(target=work)
            thread.start()
            assert main(words.split()) == 0
            thread.join()
            assert watching.wait(3, 5)
    out = capsys.readouterr()
    assert f"{path}: object ended, 3 rows" in out.out
    with Recording(path) as recording:
        (recorded,) = recording.objects.values()
        rows = [row for table in recorded.table("frame") for row in table.column("args").to_pylist()]
    assert [row.split()[-1] for row in rows] == ["word0", "word1", "word2"]

    assert main(["recording", str(path)]) == 0
    text = capsys.readouterr().out
    assert "complete  " in text
    assert "objects/execsnoop" in text

    assert main(["record", "execsnoop"]) == 2
    assert "--to incident.bpfnb" in capsys.readouterr().err
    assert main(["record", "execsnoop", "--to", str(path), "--duration", "1"]) == 1, "it exists"
    assert "--overwrite" in capsys.readouterr().err
    assert main(["recording", __file__]) == 1
    assert "is no recording" in capsys.readouterr().err


def test_what_ends_services_ends_a_recording_as_ctrl_c_does(tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with Worker() as worker:
        words = f"-m bpfnb record execsnoop --ppid {worker.pid} --to {path}"
        with subprocess.Popen(
            [sys.executable, *words.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as recorder:
            assert recorder.stderr
            assert recorder.stderr.readline().startswith("recording execsnoop")
            worker.run("import subprocess\nfor i in range(3): subprocess.run(['/bin/true'])")
            recorder.terminate()
            out, _ = recorder.communicate(timeout=60)
    assert recorder.returncode == 0
    assert out == f"{path}: object ended, 3 rows, {humanize(path.stat().st_size, 'bytes')}\n"
    with Recording(path) as recording:
        assert (recording.stopped, recording.recovered) == ("object ended", False)


def test_a_notebook_lists_begins_and_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "a.bpfnb"
    with bpfnb.load(CELL, name="mine"):
        recorder = _bpf(f"record mine --to {path} --max-bytes 10M --facts os")
        assert recorder.state == "recording"
        listed = _bpf("record")
        assert [row[:3] for row in listed.rows if row[0] == "mine"] == [("mine", str(path), "recording")]
        with pytest.raises(UsageProblem, match="nothing records yours"):
            _bpf("record yours --stop")
        with pytest.raises(UsageProblem, match="say where to"):
            _bpf("record mine")
        with pytest.raises(UsageProblem, match="'much' is no size"):
            _bpf(f"record mine --to {path} --max-bytes much")
        ended = _bpf("record mine --stop")
        assert [row[2] for row in ended.rows] == ["stopped"]
    assert recorder in recorders
    with Recording(path) as recording:
        assert recording.manifest.limits["max_bytes"] == 10 << 20
        assert list(recording.manifest.host.facts) == ["os"]
