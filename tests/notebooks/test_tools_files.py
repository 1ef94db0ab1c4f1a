"""The notebook of the tools of files and disks, executed on the live kernel: what it says is what its cells did."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pictures import shown

from bpfnb.demo import summary, to_html

NOTEBOOK = Path(__file__).parents[2] / "notebooks/tools/files.ipynb"
pytestmark = pytest.mark.kernel


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines())
    places = [one.rpartition("/")[0] for one in said["opensnoop"].split(", ")]
    assert places[:2] == ["ENOENT /etc/opt", "ENOENT /usr/local/etc"]
    assert places[2].startswith("0 /var/tmp/bpfnb-")
    assert said["statsnoop"] == "0, ENOENT, ENOENT, 0"
    assert said["filelife"].startswith("10 files, ")
    assert int(said["filelife"].split()[-2]) >= 10
    assert said["filetop"] == "16,000 KiB written, 2,000 KiB read"
    assert said["fsdist"] == "200 open, 200 read, 200 write, 20 fsync on tmpfs"
    assert "mount 0, umount 0, mount ENOENT" in said["mounts"]
    reads = int(said["biosnoop"].split()[0])
    assert reads >= 300, "a read is one request, or more where the file lies in pieces"
    assert said["biosnoop"].endswith("reads of 2,867,200 bytes")
    assert said["biolatency"] == said["biotop"] == f"{reads} reads"
    assert sum(json.loads(said["bitesize"])) == reads
    assert said["writeback"] == "True"


def test_pictures_are_there(notebook: Any) -> None:
    assert "/etc/opt/program.conf" in shown(notebook, "program = start(")
    assert shown(notebook, "careful = start(").count("/index") == 5
    assert "/data" in shown(notebook, "busy = start(")
    assert "tmpfs fsync" in shown(notebook, "WORK = ")
    assert "read" in shown(notebook, "DIRECT = ")
    assert "flush" in shown(notebook, "latency")
    assert "python read" in shown(notebook, "sizes")


def test_it_needs_nothing_from_elsewhere_and_is_kept_without_outputs(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
