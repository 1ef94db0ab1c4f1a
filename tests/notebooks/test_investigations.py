"""The investigation of a slow service, executed on the live kernel and in replay: each cause is found by its numbers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import execute, summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/investigations/slow-service.ipynb"
RECORDINGS = NOTEBOOK.parent / "recordings"
pytestmark = [pytest.mark.kernel, pytest.mark.timeout(200)]


def missing() -> str | None:
    lacking = [command for command in ("ip", "unshare") if shutil.which(command) is None]
    return f"no {', '.join(lacking)}" if lacking else None


def assert_found(notebook: Any) -> None:
    """What the last cell says: each day's trouble is told by what it changes, and by nothing else."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    monday = re.fullmatch(r"the worker waited (\d+) ms for locks, let go by report", said["monday"])
    assert monday is not None
    assert int(monday[1]) >= 40, "the report keeps the ledger for 20 ms each time"
    assert re.fullmatch(r"\d+ ms in fdatasync, most is written by archiver", said["tuesday"])
    wednesday = re.fullmatch(r"(\d+) packets sent again, (\d+) requests were late", said["wednesday"])
    assert wednesday is not None
    assert int(wednesday[1]) >= 5, "of 120 answers every 15th lost its last packet"
    assert int(wednesday[2]) >= 4, "which takes TCP 200 ms to suspect"
    texts = "\n".join(o.text for o in outputs if o.output_type == "stream")
    assert "0 packets of the service were dropped by its own kernel" in texts
    locks = re.search(r"the worker waited ([\d.]+) ms for locks\n", texts)
    assert locks is not None
    assert float(locks[1]) < int(monday[1]) / 4, "on Tuesday it is not the lock"


def test_each_cause_is_found(notebook: Any) -> None:
    assert_found(notebook)


def test_pictures_are_there(notebook: Any) -> None:
    assert "<svg" in shown(notebook, "wednesday.requests.hist(")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))


def test_the_same_notebook_in_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFNB_REPLAY", str(RECORDINGS))
    assert_found(execute(NOTEBOOK))


def test_it_is_kept_without_outputs_and_its_recordings_are_small() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    sizes = [file.stat().st_size for file in RECORDINGS.iterdir()]
    assert max(sizes) < 200_000
    assert sum(sizes) < 600_000
