"""The notebook of the user-space tools, executed on the live kernel: each call of its programs, by the number."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/userspace.ipynb"
pytestmark = pytest.mark.kernel


def missing() -> str | None:
    notes = subprocess.run(
        ["readelf", "--notes", "--wide", "/usr/bin/python3"], capture_output=True, text=True
    ).stdout
    if "import__find__load__start" not in notes:
        return "this machine's /usr/bin/python3 was built without USDT probes"
    return None


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    total = sum(number * (3 if number % 10 else 5) for number in range(100))
    assert said["price"] == f"100 calls, {total} in all, 0 lost"
    assert said["handle"] == "50, 60, 70, 80, 90 from 10.0.0.7"
    assert said["factorial"] == "1! = 1, 2! = 2, 3! = 6, 4! = 24, 5! = 120"
    assert said["funccount"] == "{'lrand48': 3000, 'drand48': 1000, 'usleep': 50}"
    assert said["funclatency"] == "{'usleep': 50, 'lrand48': 3000}"
    assert said["mallocs"] == "50 of a megabyte"
    assert said["usdt"] == "True"
    assert said["pycalls"] == "{'leaf': 200, 'branch': 2}" or "no perf map" in said["pycalls"]


def test_pictures_are_there(notebook: Any) -> None:
    assert "10.0.0.7" in shown(notebook, "%bpf tool uprobe")
    assert "usleep" in shown(notebook, "times")
    assert "MiB" in shown(notebook, "MEMORY = ")
    assert "json.decoder" in shown(notebook, 'run = start(python, "-c", "input(); import json")')


def test_it_needs_nothing_from_elsewhere_and_is_kept_without_outputs(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
