"""The topics of bcc's tutorial, executed on the live kernel: each frame and picture shows what the cells did."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pictures import inlined

from bpfnb.bcc.find import find_package
from bpfnb.demo import summary, to_html
from bpfnb.errors import MissingDependency

NOTEBOOK = Path(__file__).parents[2] / "notebooks/bcc.ipynb"
pytestmark = pytest.mark.kernel


def probes(binary: str) -> str:
    return subprocess.run(["readelf", "--notes", "--wide", binary], capture_output=True, text=True).stdout


def missing() -> str | None:
    try:
        find_package()
    except MissingDependency as error:
        return error.message
    if "import__find__load__start" not in probes("/usr/bin/python3"):
        return "this machine's /usr/bin/python3 was built without USDT probes"
    return None


def shown(notebook: Any, start: str, kind: str = "text/html") -> str:
    """What the cell shows whose source begins with *start*."""
    cell = next(cell for cell in notebook.cells if cell.source.startswith(start))
    return "\n".join(inlined(o.data[kind]) for o in cell.outputs if "data" in o and kind in o.data)


def buckets(text: str) -> dict[str, int]:
    """The counts of a histogram's text by the lower ends of their buckets."""
    rows = re.findall(r"\[([^,]+), [^)]+\)\s*:\s*([\d,]+)", text)
    return {low: int(count.replace(",", "")) for low, count in rows}


def test_every_cell_ran(notebook: Any) -> None:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.evalue for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []


def test_what_the_last_cell_says_is_what_was_done(notebook: Any) -> None:
    said = dict(line.split(": ", 1) for line in summary(notebook).strip().splitlines() if ": " in line)
    assert said["hello"] == "3 of 3 programs"
    assert said["syncs"].startswith("3 intervals")
    assert [int(ns) >= 50_000_000 for ns in re.findall(r"shortest (\d+) ns", said["syncs"])] == [True]
    assert said["words"] == "{'1234567': 100, '42': 200, '7': 300}"
    assert said["imports"].endswith("with json.decoder: True")
    assert said["packets"] == "500 udp"
    assert 100_000 <= int(said["script"].split()[0].replace(",", "")) < 100_500


def test_histograms_are_of_the_reads_that_dd_did(notebook: Any) -> None:
    sizes = buckets(shown(notebook, "for size, count in", "text/plain"))
    assert sizes["4 Ki"] == 9_000
    assert sizes["64 Ki"] == 1_000
    assert 3_000 <= sizes["512"] < 3_020, "the reads of 512 bytes, and the headers of libraries that dd loads"
    latency = shown(notebook, 'run("dd", "if=/dev/zero", "of=/dev/null", "bs=4k"', "text/plain")
    of_dd = latency.partition("latency [dd]")[2].partition("values")[0]
    assert 20_000 <= sum(buckets(of_dd).values()) < 20_020


def test_pictures_name_what_ran(notebook: Any) -> None:
    pairs = shown(notebook, 'run("sh", "-c"')
    assert all(f">{name}<" in pairs for name in ("dd", "cat", "wc"))
    flames = shown(notebook, 'run("dd", "if=/dev/urandom"')
    assert "get_random_bytes_user" in flames or "urandom_read_iter" in flames
    assert ">json<" in shown(notebook, "python = run("), (
        "which takes the longest: it imports most of the others"
    )


def test_a_packaged_tool_prints_into_its_cell(notebook: Any) -> None:
    cell = next(cell for cell in notebook.cells if cell.source.startswith("%bpf script"))
    text = "".join(o.text for o in cell.outputs)
    assert re.search(r"^SYSCALL +COUNT$", text, re.M)
    assert len(re.findall(r"^\w+ +\d+$", text, re.M)) == 5


def test_the_page_needs_nothing_from_elsewhere(notebook: Any) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", to_html(notebook))


def test_the_notebook_in_the_repository_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
