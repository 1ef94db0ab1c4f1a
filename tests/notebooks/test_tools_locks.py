"""The notebook of locks' tools, executed on the live kernel: what it says is what its cells did."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/locks.ipynb"
pytestmark = pytest.mark.kernel


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    times, kept = map(int, re.findall(r"\d+", said["report"]))
    assert times == 25
    assert kept >= 25 * 20
    contended, waited = map(int, re.findall(r"\d+", said["count"]))
    assert 1 <= contended <= 25
    assert waited >= 1
    waits, slept = map(int, re.findall(r"\d+", said["futex"]))
    assert 1 <= waits <= 50, "who is woken may find that another one was faster"
    assert slept >= 1
    assert int(said["klocks"].split()[0]) >= 1


def test_pictures_are_there(notebook: Any) -> None:
    assert "count" in shown(notebook, "mutexes.stop()")
    assert "report" in shown(notebook, "mutexes.view(")
    assert "pwrite64" in shown(notebook, "WRITE = ")


def test_it_needs_nothing_from_elsewhere_and_is_kept_without_outputs(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
