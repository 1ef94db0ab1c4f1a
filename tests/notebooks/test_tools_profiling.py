"""The notebook of stacks and crashes, executed on the live kernel: what it says is what its program did."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/profiling.ipynb"
pytestmark = pytest.mark.kernel


def missing() -> str | None:
    return "there is no gcc" if shutil.which("gcc") is None else None


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    samples, ratio = map(float, re.findall(r"[\d.]+", said["profile"]))
    assert samples == pytest.approx(8 * 0.15 * 199, rel=0.1)
    assert ratio == pytest.approx(2, rel=0.15)
    assert said["files"] == "cpu.folded, cpu.speedscope.json, cpu.pb.gz, cpu.svg"
    assert said["offcputime"].endswith("s below pay, 16 waits")
    assert float(said["offcputime"].split()[0]) == pytest.approx(1.6, abs=0.15)
    assert re.fullmatch(r"5 messages, \d+ ms waited", said["offwaketime"])
    assert said["crash"] == "SIGSEGV at 0xbad0 in main;broken;receipt"


def test_pictures_name_what_ran(notebook: Any) -> None:
    assert {"search", "price", "stock", "compute"} <= set(words(shown(notebook, "searching = start")))
    assert {"pay", "ask_bank"} <= set(words(shown(notebook, "paying = start")))
    assert "--" in shown(notebook, "TALK = ")


def words(html: str) -> list[str]:
    return re.findall(r"\w+", html)


def test_it_needs_nothing_from_elsewhere_and_is_kept_without_outputs(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
