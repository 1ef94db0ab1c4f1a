"""The site of the documentation: built strictly, complete, and opened with nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from acting import shot, until
from notebook_servers import serving
from playwright.sync_api import expect

import bpfnb
from bpfnb import tools

pytest.importorskip("mkdocs", reason="the site needs mkdocs: pip install 'bpfnb[docs]'")
ROOT = Path(__file__).parents[2]
LABS = ROOT / "notebooks/labs"
ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return target


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serving(
        [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1", "--directory", str(site)],
        site.parent,
    ) as found:
        yield found


class Loaded(HTMLParser):
    """What a page loads by itself, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        if tag in LOADED:
            self.addresses.append(given.get(LOADED[tag]) or "")
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(given.get("href") or "")
        self.addresses += re.findall(r"url\(([^)]*)\)", given.get("style") or "")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loaded = Loaded(page.read_text())
        assert [one for one in loaded.addresses if ELSEWHERE.match(one)] == [], page
        assert any(one.endswith(".js") for one in loaded.addresses), page
    for sheet in site.rglob("*.css"):
        wanted = re.findall(r"(?:url\(|@import\s*)[\"']?([^\"')]+)", sheet.read_text())
        assert [one for one in wanted if ELSEWHERE.match(one)] == [], sheet


def test_the_public_names_and_all_tools_are_there(site: Path) -> None:
    anchors: set[str] = set()
    for page in (site / "api").rglob("*.html"):
        anchors |= Loaded(page.read_text()).anchors
    for name in bpfnb.__all__:
        assert f"bpfnb.{name}" in anchors or any(one.startswith(f"bpfnb.{name}.") for one in anchors), name
    assert {
        f"bpfnb.views.{name}" for name in ("hist", "heatmap", "table", "timeseries", "flamegraph")
    } <= anchors
    assert {"bpfnb.lab.check", "bpfnb.lab.begin", "bpfnb.errors.VerifierError"} <= anchors
    listed = (site / "tools/index.html").read_text()
    assert {*tools.names()} <= Loaded(listed).anchors
    assert "--max-bytes N" in listed


def test_docstrings_are_written_for_the_page_too(site: Path) -> None:
    for page in (site / "api").rglob("*.html"):
        text = page.read_text()
        assert not re.search(r":(?:class|meth|func|mod|attr|data|raises)\b", text), page


def test_labs_are_there_without_their_solutions(site: Path) -> None:
    built = {page.parent.name for page in (site / "notebooks/labs").glob("[0-9]*/index.html")}
    assert built == {path.stem for path in LABS.glob("[0-9]*.ipynb")}
    assert not list((site / "notebooks").rglob("*solution*"))
    lab = (site / "notebooks/labs/02-maps-and-histograms/index.html").read_text()
    assert "share = None" in re.sub(r"<[^>]*>", "", lab)


def test_the_investigation_has_its_pictures_and_tables(site: Path) -> None:
    text = (site / "notebooks/investigations/slow-service/index.html").read_text()
    assert text.count('<div class="output"') > 20
    assert "data-number" not in text
    assert text.count("<svg") + text.count("data:image/") > 4
    assert 'class="dataframe"' in text
    assert "recorded 20" in text


PAGES = (
    "",
    "tools/",
    "api/objects/",
    "notebooks/labs/",
    "notebooks/quickstart/",
    "notebooks/investigations/slow-service/",
)


@pytest.mark.parametrize("width", [1400, 420])
def test_pages_fit_a_wide_and_a_narrow_window(address: str, page, width: int) -> None:
    said: list[str] = []
    page.on(
        "console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None
    )
    page.set_viewport_size({"width": width, "height": 1000})
    for name in PAGES:
        page.goto(f"{address}/{name}")
        expect(page.locator("article h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        shot(page, f"docs-{name.strip('/').replace('/', '-') or 'home'}-{width}")
    picture = page.locator(".output svg, .output img").first
    picture.scroll_into_view_if_needed()
    until(page, picture.bounding_box, lambda at: at and at["width"] > 200)
    assert page.elsewhere == []
    assert said == []


def test_the_search_finds_a_tool_without_help_from_elsewhere(address: str, page) -> None:
    page.goto(address)
    page.locator("input.md-search__input").click()
    page.keyboard.type("execsnoop")
    expect(page.locator('.md-search-result__link[href$="/tools/?h=execsnoop#execsnoop"]')).to_be_attached()
    assert page.elsewhere == []
