"""The gallery run in JupyterLab, saved, and opened by somebody who does not trust it, without a kernel."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import nbformat
from acting import saved, until
from notebook_servers import open_notebook
from pictures import drawings
from playwright.sync_api import expect

GALLERY = Path(__file__).parents[2] / "notebooks/views.ipynb"
LOADED = "images => images.map(i => i.complete && i.naturalWidth > 0)"


def test_every_view_of_a_stopped_notebook_is_there_for_a_reader_who_does_not_trust_it(lab, page):
    address, root = lab
    sources = [cell.source for cell in nbformat.read(GALLERY, 4).cells if cell.cell_type == "code"]
    open_notebook(page, f"{address}/lab/tree", root, "kept.ipynb", sources)
    path = root / "kept.ipynb"

    def displayed(book):
        outputs = [output for cell in book.cells for output in cell.outputs]
        return [output.data for output in outputs if output.output_type == "display_data"]

    def static(book):
        return all(set(data) == {"text/plain", "text/html"} for data in displayed(book))

    book = saved(page, path, static)
    shown = displayed(book)
    assert len(shown) == 4 + 5 + 6, "four panels, five annotated views, six in cells of their own"
    assert "widgets" not in book.metadata
    pictures = [
        sum(len(drawings(output.get("data", {}).get("text/html", ""))) for output in cell.outputs)
        for cell in book.cells
    ]
    assert sum(pictures) == 4 + 5 + 6 - 4 - 1, "all but the panels and the event table, which are tables"

    book.cells[0].source += "\n# changed by somebody else: the outputs are trusted no more"
    nbformat.write(book, path)
    page.goto(f"{address}/lab/tree/kept.ipynb?reset")
    cells = page.locator(".jp-Notebook .jp-Cell")
    expect(cells).to_have_count(len(sources))
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    trust = page.locator("[title*='code cells trusted']")
    expect(trust).to_have_attribute("title", re.compile("Notebook not trusted: 0 of"))
    for index in range(len(sources)):
        cells.nth(index).scroll_into_view_if_needed()
        images = cells.nth(index).locator("img[src^='data:image/svg']")
        expect(images).to_have_count(pictures[index])
        for found in range(pictures[index]):
            images.nth(found).scroll_into_view_if_needed()
        until(page, partial(images.evaluate_all, LOADED), all)
        expect(cells.nth(index)).not_to_contain_text("model not found")
        expect(cells.nth(index)).not_to_contain_text("Loading widget")
    assert page.elsewhere == []
