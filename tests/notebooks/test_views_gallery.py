"""The gallery of views, executed on the live kernel: each picture is static in the end and shows what was counted."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from pictures import inlined

from bpfnb.demo import summary, to_html

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks/views.ipynb"
READS = {4096: 60_000, 65_536: 60_000, 262_144: 20_000, 1_048_576: 6_000}
pytestmark = pytest.mark.kernel


def pictures(notebook: Any, start: str) -> list[str]:
    """The HTML that the cell shows whose source begins with *start*."""
    cell = next(cell for cell in notebook.cells if cell.source.startswith(start))
    return [inlined(o.data["text/html"]) for o in cell.outputs if o.output_type == "display_data"]


def numbers(html: str, what: str) -> list[int]:
    """The whole numbers that stand before a word."""
    return [int(n.replace(",", "")) for n in re.findall(rf"(\d[\d,]*) {what}\b", html)]


def test_every_cell_ran_and_every_picture_is_static(notebook):
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [o.evalue for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    shown = [o.data for o in outputs if o.output_type == "display_data"]
    assert len(shown) == 4 + 5 + 6, "four panels, five annotated views, six in cells of their own"
    for data in shown:
        assert set(data) == {"text/plain", "text/html"}
        assert data["text/plain"].strip()
        assert "cannot be drawn" not in data["text/plain"]
        html = inlined(data["text/html"].partition("</style>")[2])
        assert not re.search(r"<(script|iframe|link|img)\b|https?://(?!www\.w3\.org)", html)
        for svg in re.findall(r"<svg\b.*?</svg>", html, re.DOTALL):
            root = ET.fromstring(svg)
            assert root.get("aria-label") or root.find(".//{*}title") is not None
            assert len(list(root.iter())) > 10, "not an empty picture"


def test_the_counts_of_all_views_of_one_stream_agree(notebook):
    total = sum(READS.values())
    panel, heatmap, histogram = pictures(notebook, "%%bpf reads")
    assert f">{total:,}<" in panel
    assert total in numbers(heatmap, "values")
    assert total in numbers(histogram, "values")
    [by_size] = pictures(notebook, 'reads.events.hist("latency", by="size")')
    assert set(numbers(by_size, "values")) == set(READS.values())
    [grid] = pictures(notebook, 'reads.events.heatmap("latency"')
    assert total in numbers(grid, "values")
    [table] = pictures(notebook, "reads.events.table")
    assert total in numbers(table, "rows")
    [lines] = pictures(notebook, "reads.events.timeseries")
    assert all(str(size) in lines for size in READS)


def test_what_the_last_cell_says_is_what_was_done_and_drawn(notebook):
    text = summary(notebook)
    total = f"{sum(READS.values()):,}"
    assert f"reads: {total} counted, {total} as rows, 0 lost" in text
    assert "connections: 210 of 210" in text
    assert "processes: 7, of which 2 below the first" in text
    [samples] = numbers(text.partition("samples: ")[2].replace("\n", " end\n", 1), "end")
    _, flames = pictures(notebook, "%%bpf cpu")
    assert samples > 50
    assert samples in numbers(flames, "samples")
    slow = int(text.partition("slow reads: ")[2].replace(",", ""))
    assert slow > 0


def test_who_talks_to_whom_and_what_ran_in_what(notebook):
    [mesh] = pictures(notebook, "net.connections.wait_for")
    assert all(name in mesh for name in ("web", "users", "orders", "worker", "db", "cache", "queue"))
    assert 210 in numbers(mesh, "events")
    _, connections = pictures(notebook, "%%bpf net")
    assert "worker" in connections
    _, spans = pictures(notebook, "%%bpf life")
    assert 7 in numbers(spans, "spans")
    assert "sleep" in spans


def test_the_page_needs_nothing_from_elsewhere(notebook):
    page = to_html(notebook)
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", page)


def test_the_notebook_in_the_repository_has_no_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
