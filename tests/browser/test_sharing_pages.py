"""The report as JupyterLab saves it, opened again without its kernel, and as nbconvert's page for PDF prints it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from acting import saved, shot, until
from notebook_servers import end_kernels
from pictures import drawings
from playwright.sync_api import expect

REPORT = Path(__file__).parents[2] / "notebooks/report.ipynb"
READS = 2345


def cells_of_report() -> list[str]:
    cells = [cell for cell in json.loads(REPORT.read_text())["cells"] if cell["cell_type"] == "code"]
    return [re.sub(r"(?m)^reads = \w+", f"reads = {READS}", "".join(cell["source"])) for cell in cells]


def whole(book) -> bool:
    """Whether the picture is there, and each widget that is to be shown has its state beside it."""
    text = json.dumps(book.cells[-2].outputs)
    known = json.dumps(book.metadata.get("widgets", {}))
    wanted = re.findall(r'"model_id": "(\w+)"', text)
    return "values" in text and all(one in known for one in wanted)


def test_what_jupyterlab_saves_has_tables_and_pictures(notebook, lab, page):
    address, root = lab
    notebook("report.ipynb", cells_of_report())
    book = saved(page, root / "report.ipynb", whole)
    panel, table, picture, said = (cell.outputs for cell in book.cells[2:])
    assert "waits" in panel[-1]["data"]["text/html"]
    assert f"<td>{READS}.0</td>" in table[-1]["data"]["text/html"]
    assert f"{READS:,} values" in drawings(picture[-1]["data"]["text/html"])[0]
    assert f"{READS:,} of 4 KB, 0 lost" in said[-1]["text"]

    end_kernels(address)
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    cells = page.locator(".jp-Notebook .jp-Cell")
    expect(cells.nth(4).locator("section.bpfnb > img")).to_be_visible()
    expect(cells.nth(4).locator("section.bpfnb > img")).to_have_attribute(
        "alt", re.compile(f"{READS:,} values")
    )
    expect(cells.nth(3).locator("table.dataframe")).to_contain_text(f"{READS}.0")
    assert page.elsewhere == []


def test_the_page_for_pdf_prints_its_table_and_its_picture(live_kernel, page, tmp_path):
    pytest.importorskip("papermill", reason="this needs papermill: pip install 'bpfnb[test]'")
    for command in (
        ["papermill", str(REPORT), "out.ipynb", "-p", "reads", str(READS), "--no-progress-bar"],
        ["nbconvert", "--to", "html", "--template", "webpdf", "--HTMLExporter.mathjax_url=", "--HTMLExporter.require_js_url=", "--HTMLExporter.jquery_url=", "out.ipynb"],
    ):  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, check=True, capture_output=True, timeout=100
        )
    page.emulate_media(media="print")
    page.set_content((tmp_path / "out.html").read_text())
    picture = page.locator("section.bpfnb > img").last
    expect(picture).to_be_visible()
    until(
        page,
        lambda: picture.evaluate("image => image.complete && image.naturalWidth"),
        lambda wide: wide > 300,
    )
    expect(page.locator("table.dataframe")).to_contain_text(f"{READS}.0")
    expect(page.locator("body")).to_contain_text(f"{READS:,} of 4 KB, 0 lost")
    shot(page, "printed-report")
    printed = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) in range(1, 6)
