"""The notebook of the network's tools, executed on the live kernel: what it says is what its cells did."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/network.ipynb"
pytestmark = pytest.mark.kernel


def missing() -> str | None:
    return None if shutil.which("ip") and shutil.which("unshare") else "no iproute2 or util-linux"


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    assert said["netmap"] == "1 connection, 200 requests, 1800 and 200000 bytes"
    flows = re.fullmatch(r"1290 packets, 165,120 bytes, a burst of (\d+)", said["flows"])
    assert flows is not None
    assert int(flows[1]) >= 300, "a thousand at once, perhaps in two intervals or three"
    assert re.fullmatch(r"4 names, 1 not found, fast: [01]", said["dns"]), "three answers take 5 ms"
    assert said["udp"] == "4 answers"
    assert said["listening"] == "4 came, 4 wait of 10"
    assert said["sockets"] == "2 listen, 8 are connected"
    assert said["tcpdrop"] == "5 had no socket, True that many were too many"


def test_pictures_show_it(notebook: Any) -> None:
    assert all(f">{name}<" in shown(notebook, "shop = start") for name in ("shop", "stock"))
    names = shown(notebook, "resolver = start")
    assert "www.bpfnb.example" in names
    assert "NXDOMAIN" in names
    assert "NO_SOCKET" in shown(notebook, "lossy = start")
    assert "udp_sendmsg" in shown(notebook, "drops.flames")


def test_the_page_needs_nothing_from_elsewhere(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))


def test_the_notebook_in_the_repository_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
