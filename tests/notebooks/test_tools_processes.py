"""The notebook of the tools of processes, executed on the live kernel: what it says is what its cells did."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pictures import inlined

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/processes.ipynb"
pytestmark = pytest.mark.kernel


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    victims, wanted = said.pop("oomkill").split(" of ")
    assert victims == wanted
    assert said == {
        "execsnoop": "env, head, printf, seq, sort; 1 not found",
        "exitsnoop": "3/, 0/, 0/SIGTERM",
        "forks": "4 children",
        "signals": "SIGWINCH ignored, SIGTERM delivered, SIGUSR1 refused",
        "capable": "True, True",
        "crash": "SIGSEGV",
    }


def test_pictures_are_there(notebook: Any) -> None:
    shown = inlined(to_html(notebook))
    assert "printf two words" in shown
    assert "SEGV_MAPERR" in shown
    assert shown.count(">sleep") >= 4  # bars of the tree


def test_it_needs_nothing_from_elsewhere_and_is_kept_without_outputs(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
