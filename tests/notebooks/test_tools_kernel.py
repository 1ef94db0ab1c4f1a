"""The notebook of tracepoints, stacks and bpftrace, executed on the live kernel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pictures import inlined

from bpfnb.demo import summary

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/kernel.ipynb"
pytestmark = pytest.mark.kernel


def missing() -> str | None:
    return "bpftrace is not installed" if shutil.which("bpftrace") is None else None


def shown(notebook: Any, start: str, kind: str = "text/html") -> str:
    """What the cell shows whose source begins with *start*."""
    cell = next(cell for cell in notebook.cells if cell.source.startswith(start))
    return "\n".join(inlined(o.data[kind]) for o in cell.outputs if "data" in o and kind in o.data)


def test_every_cell_ran(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.evalue for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines() if ": " in line)
    assert said["opens"] == "['/etc/passwd', '/etc/hostname', '/etc/nosuch.conf']"
    assert said["life"] == "['sched:sched_process_exec', 'sched:sched_process_exit']"
    assert said["asked"] == "3000"
    assert said["costs"] == "5000"
    assert said["log"] == "bpfnb: the notebook was here, by True"
    assert said["sizes"] == "2000 reads"


def test_pictures_show_it(notebook: Any) -> None:
    assert "do_syscall_64" in shown(notebook, "asked = tools.stackcount")
    assert "sched:sched_process_exec" in shown(notebook, "%bpf trace --list")
    assert "[2 Ki, 4 Ki)" in shown(notebook, "%%bpftrace sizes", "text/plain")


def test_the_notebook_in_the_repository_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
