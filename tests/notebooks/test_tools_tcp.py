"""The notebook of the TCP tools, executed on the live kernel: its rows and pictures are of what its cells did."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pictures import inlined

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/tcp.ipynb"
pytestmark = pytest.mark.kernel


def missing() -> str | None:
    return None if shutil.which("redis-server") else "no redis-server here"


def shown(notebook: Any, start: str) -> str:
    """What the cell shows whose source begins with *start*."""
    cell = next(cell for cell in notebook.cells if cell.source.startswith(start))
    return "\n".join(inlined(o.data["text/html"]) for o in cell.outputs if "data" in o)


def test_every_cell_ran(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.evalue for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    assert ast.literal_eval(said["connects"]) == {"0": 8, "ECONNREFUSED": 2}
    assert said["accepts"] == "8"
    assert said["life"] == "redis-server received 106033, sent 7005"
    assert said["top"] == "redis-server received 2706, sent 30003307"
    states = "SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 CLOSE_WAIT LAST_ACK"
    assert ast.literal_eval(said["states"]) == {
        "ESTABLISHED": 2,
        "CLOSE": 2,
        **dict.fromkeys(states.split(), 1),
    }
    low, shortest = map(int, re.findall(r"\d+", said["shortest round trip"]))
    assert low >= 16_777_216
    assert shortest >= 20_000
    first, largest, threshold = map(int, re.findall(r"\d+", said["windows"]))
    assert first == 10 < largest
    assert threshold < 2**31 - 1, "the end of slow start"
    segments, counted = map(int, re.findall(r"\d+", said["again"]))
    assert segments == counted >= 3
    assert {"LOSS_PROBE", "TIMEOUT"} <= set(re.findall(r"[A-Z_]+", said["again"]))


def test_pictures_show_it(notebook: Any) -> None:
    connects = shown(notebook, "%bpf tool tcpconnect")
    assert connects.count(">ECONNREFUSED<") == 2
    assert ">redis-server<" in shown(notebook, "%bpf tool tcpaccept")
    assert ">FIN_WAIT2<" in shown(notebook, "%bpf tool tcpstates")
    assert "16.8 ms" in shown(notebook, "%bpf tool tcprtt")
    assert "snd_cwnd" in shown(notebook, "%bpf tool tcpprobe")
    assert ">LOSS_PROBE<" in shown(notebook, "%bpf tool tcpretrans")


def test_the_page_needs_nothing_from_elsewhere(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))


def test_the_notebook_in_the_repository_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
