"""The report, run by papermill with other parameters and converted by nbconvert: its tables and pictures are there."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from pictures import drawings, shown

from bpfnb.demo import summary
from bpfnb.doctor import permitted

pytest.importorskip("papermill", reason="this needs papermill: pip install 'bpfnb[test]'")
REPORT = Path(__file__).parents[2] / "notebooks/report.ipynb"
READS = 4321
pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a schedule does it: from a terminal, in a folder of its own."""
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)
    folder = tmp_path_factory.mktemp("report")
    command = [
        sys.executable,
        "-m",
        "papermill",
        REPORT,
        "out.ipynb",
        "-p",
        "reads",
        str(READS),
        "--no-progress-bar",
    ]
    subprocess.run([str(word) for word in command], cwd=folder, check=True, capture_output=True, timeout=100)
    return folder / "out.ipynb"


class Cells(HTMLParser):
    """The texts of the cells of a page's DataFrames."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside = self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._inside = "dataframe" in (dict(attrs).get("class") or "")
        self._cell = self._inside and tag in ("td", "th")
        if self._cell:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.texts[-1] += data


def assert_report(html: str) -> None:
    cells = Cells(html).texts
    assert "count" in cells
    assert cells[cells.index("4096") + 1] == f"{float(READS)}"
    assert [one for one in drawings(html) if f"{READS:,} values" in one]
    assert f"{READS:,} reads of process" in re.sub(r"<[^>]*>", "", html)


def converted(executed: Path, *words: str) -> str:
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to",
        "html",
        *words,
        "--output",
        "page.html",
        str(executed),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return (executed.parent / "page.html").read_text()


def test_parameters_reach_the_program(executed: Path) -> None:
    notebook: Any = nbformat.read(executed, as_version=4)
    (given,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert f"reads = {READS}" in given.source
    assert re.fullmatch(rf"{READS:,} reads of process \d+, {READS:,} of 4 KB, 0 lost\n", summary(notebook))
    assert f"{READS:,} values" in shown(notebook, 'waits.events.hist("latency")')


@pytest.mark.parametrize("template", ["lab", "classic", "basic", "webpdf"])
def test_pages_of_nbconvert_have_its_table_and_its_picture(executed: Path, template: str) -> None:
    """``webpdf`` is the page that nbconvert prints to PDF."""
    assert_report(converted(executed, "--template", template))
