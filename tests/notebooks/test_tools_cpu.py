"""The notebook of the CPU's tools, executed on the live kernel: what it says is what its cells did."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/cpu.ipynb"
pytestmark = pytest.mark.kernel


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    assert int(re.search(r"(\d+)% of the time", said["runqlat"])[1]) >= 90
    assert int(said["runqlen"].split()[2]) >= 2, "two hogs, and whoever else wants that CPU"
    on, away = map(int, re.findall(r"\d+", said["cpudist"]))
    assert on >= 190, "of 200 ms, while others want that CPU, too"
    assert away >= 390
    assert said["timeline"].endswith("0 lost")
    assert {"preempted", "sleeping", "ended"} <= {*said["timeline"].partition(";")[0].split(", ")}
    assert said["syscount"] == "10,000 getppid, 100 openat failed"
    assert said["syslat"] == "1,100 read"
    assert int(said["softirqs"].split()[0].replace(",", "")) >= 2_000


def test_pictures_are_there(notebook: Any) -> None:
    assert "ms</text>" in shown(notebook, "hogs = [start(HOG), start(HOG)]\nwaits")
    assert "cpu " in shown(notebook, "hogs = [start(HOG) for _ in range(3)]")
    assert "1,100 values" in shown(notebook, "reader = start(")
    assert "ended" in shown(notebook, "ran = schedule")
    assert "getppid" in shown(notebook, "%bpf tool syscount")


def test_it_needs_nothing_from_elsewhere_and_is_kept_without_outputs(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
