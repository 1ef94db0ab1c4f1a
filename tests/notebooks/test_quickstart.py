"""The quickstart notebook, executed on the live kernel as the demo does it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pictures import drawings

from bpfnb.demo import summary, to_html

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks/quickstart.ipynb"
pytestmark = pytest.mark.kernel


def output(notebook: Any, start: str) -> Any:
    """The outputs of the cell whose source begins with *start*."""
    return next(cell.outputs for cell in notebook.cells if cell.source.startswith(start))


def test_every_cell_ran_and_only_the_intended_one_failed(notebook):
    failed = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    assert [error.ename for error in failed] == ["VerifierError"]
    traceback = "\n".join(failed[0].traceback)
    assert "calls, line 14" in traceback
    assert "may be" in traceback or "NULL" in traceback
    assert "File " not in traceback, "no Python stack"


def test_it_measured_what_dd_did(notebook):
    text = summary(notebook)
    calls = int(re.search(r"dd made ([\d,]+)", text)[1].replace(",", ""))
    assert 200_000 <= calls < 201_000, "100,000 reads and 100,000 writes, and starting up"
    rows, lost = re.search(r"([\d,]+) reads as rows, (\d+) lost", text).groups()
    assert int(rows.replace(",", "")) >= 22_000
    assert lost == "0"
    counted = [int(n.replace(",", "")) for n in re.findall(r"\) : ([\d,]+)", text)]
    values = int(re.search(r"^([\d,]+) values", text, re.MULTILINE)[1].replace(",", ""))
    assert sum(counted) == values >= int(rows.replace(",", ""))


def test_it_draws_and_carries_types(notebook):
    picture = output(notebook, "reads.latency.hist()")[0].data
    assert len(drawings(picture["text/html"])) == 1
    figure = output(notebook, "reads_of_dd =")[0].data["application/vnd.plotly.v1+json"]
    assert {trace["name"].split()[0] for trace in figure["data"]} == {"4096", "65536", "1048576"}
    assert [sum(trace["y"]) for trace in figure["data"]] == pytest.approx([10_000, 10_000, 2_000], abs=3)
    dtypes = output(notebook, "print(events.dtypes)")[0].text
    assert re.search(r"ts\s+datetime64\[ns, UTC\]", dtypes)
    assert re.search(r"latency\s+uint64", dtypes)


def test_the_page_needs_nothing_from_elsewhere(notebook):
    page = to_html(notebook)
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", page)
    assert "Plotly" in page


def test_demo_says_what_is_missing_where_bpf_is_not_permitted():
    code = (
        "import ctypes, sys\n"
        "words = (ctypes.c_uint32 * 6)()\n"
        "header = (ctypes.c_uint32 * 2)(0x20080522, 0)\n"
        "assert ctypes.CDLL(None).capset(header, words) == 0\n"
        "from bpfnb.demo import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 1
    assert "CAP_BPF" in done.stderr
    assert "hint" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_notebook_in_the_repository_has_no_outputs():
    cells = json.loads((ROOT / "notebooks/quickstart.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
