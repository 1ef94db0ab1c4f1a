"""Views in Notebook 7 and marimo, and notebooks that were saved while a view was live, opened without the kernel."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack
from functools import partial
from html import escape

import pandas as pd
import pytest
from acting import saved, until
from notebook_servers import end_kernels, open_notebook, serving
from pictures import drawings
from playwright.sync_api import expect

from bpfnb.views import hist
from bpfnb.views.page import page as offline

GROWING = """import pandas as pd
from bpfnb.views import hist

class Growing:
    name = "growing"
    rows = 100

    @property
    def df(self):
        self.rows += 1
        return pd.DataFrame({"lat": range(self.rows)})

growing = Growing()
view = hist(growing, "lat", unit="ns")
"""


def counted(place) -> int:
    """How many values the live histogram shows; -1 as long as none is drawn."""
    picture = place.locator("svg.b-hist")
    label = picture.get_attribute("aria-label") if picture.count() else None
    found = re.search(r"([\d,]+) values", label or "")
    return int(found[1].replace(",", "")) if found else -1


def wait_for_more(place, than: int) -> int:
    """The number of values shown, once there are more than *than*."""
    return until(place.page, lambda: counted(place), lambda now: now > than)


def test_notebook_7_draws_updates_and_freezes(notebook7, page):
    address, root = notebook7
    cells = open_notebook(page, f"{address}/notebooks", root, "live.ipynb", [GROWING, "view"])
    place = cells.nth(1).locator(".jp-OutputArea")
    first = wait_for_more(place, 100)
    wait_for_more(place, first + 3)
    place.locator("button.b-stop").click()
    expect(place.locator("svg.b-hist")).to_have_count(0)
    expect(place.locator("section.bpfnb > img")).to_be_visible()
    expect(place.locator("section.bpfnb > img")).to_have_attribute("alt", re.compile("values"))
    assert page.elsewhere == []


@pytest.mark.parametrize("host", ["lab", "notebook7"])
def test_a_notebook_saved_while_live_shows_its_picture_without_the_kernel(host, request, page):
    address, root = request.getfixturevalue(host)
    path = "lab/tree" if host == "lab" else "notebooks"
    cells = open_notebook(page, f"{address}/{path}", root, "saved.ipynb", [GROWING, "view"])
    place = cells.nth(1).locator(".jp-OutputArea")
    wait_for_more(place, 110)
    output = saved_with_picture(page, root / "saved.ipynb")
    assert "application/vnd.jupyter.widget-view+json" in output["data"]
    wait_for_more(place, 115)  # the live view goes on

    end_kernels(address)
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    picture = place.locator("section.bpfnb > img")
    expect(picture).to_be_visible()
    expect(picture).to_have_attribute("alt", re.compile("values"))
    expect(place).not_to_contain_text("model not found")
    expect(place.locator("svg.b-hist")).to_have_count(0)
    assert page.elsewhere == []


@pytest.mark.parametrize("host", ["lab", "notebook7"])
def test_a_view_saved_as_soon_as_it_is_shown_is_there_without_the_kernel(host, request, page):
    address, root = request.getfixturevalue(host)
    path = "lab/tree" if host == "lab" else "notebooks"
    still = "import pandas as pd; from bpfnb.views import hist; hist(pd.DataFrame({'lat': [1, 2, 3]}), 'lat')"
    place = open_notebook(page, f"{address}/{path}", root, "soon.ipynb", [still]).locator(".jp-OutputArea")
    expect(place.locator("svg.b-hist")).to_be_visible()
    # Sooner than Python is asked for a picture of now.
    book = saved(page, root / "soon.ipynb", lambda book: book.cells[-1].outputs)

    (output,) = book.cells[-1].outputs
    states = book.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert list(states) == [output.data["application/vnd.jupyter.widget-view+json"]["model_id"]]
    end_kernels(address)
    page.reload()
    expect(place.locator("section.bpfnb > img")).to_be_visible()
    expect(place.locator("section.bpfnb > img")).to_have_attribute("alt", re.compile("3 values"))
    assert page.elsewhere == []


def saved_with_picture(page, path) -> dict:
    """The output of the notebook's last cell, saved until it has the picture that Python sent."""
    notebook = saved(page, path, lambda book: "widgets" in book.metadata)
    (output,) = notebook.cells[-1].outputs
    html = output["data"]["text/html"]
    assert len(drawings(html)) == 1
    (model,) = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    assert model["state"]["_static"] == html
    assert len(json.dumps(model)) < len(json.dumps(html)) + 1000
    return output


MARIMO = """import marimo

app = marimo.App()


@app.cell
def _():
%s
    plain = hist(pd.DataFrame({"lat": [1, 2, 3]}), "lat", title="plain")
    plain
    return plain, view


@app.cell
def _(view):
    view
    return


if __name__ == "__main__":
    app.run()
"""

PROBE = """import marimo

app = marimo.App()


@app.cell
def _():
    import bpfnb

    counting = bpfnb.load(
        '''
        struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
            slots SEC(".maps") VIEW(hist, log2, ns);
        SEC("tracepoint/raw_syscalls/sys_enter") int count(void *ctx)
        {
            u32 slot = 10;
            u64 *n = bpf_map_lookup_elem(&slots, &slot);
            if (n)
                __sync_fetch_and_add(n, 1);
            return 0;
        }
        ''',
        name="counting",
    )
    counting
    return (counting,)


@app.cell
def _(counting):
    counting.slots
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture
def marimo(page, tmp_path):
    """A function that runs this app in marimo, opens it and gives the places of its widgets."""
    with ExitStack() as servers:

        def run(source: str):
            (tmp_path / "app.py").write_text(source)
            command = [sys.executable, "-m", "marimo", "-y", "run", "app.py", "--headless", "--no-token"]
            server = serving([*command, "--host=127.0.0.1", "--port={port}"], tmp_path, "/health")
            page.goto(servers.enter_context(server))
            return page.locator("marimo-anywidget")

        yield run
        assert page.elsewhere == []


def test_marimo_draws_updates_pauses_and_freezes(marimo):
    indented = "".join(f"    {line}\n" if line else "\n" for line in GROWING.splitlines())
    places = marimo(MARIMO % indented)
    expect(places.nth(1).locator("svg.b-hist")).to_be_visible(timeout=60_000)
    live = places.nth(1)
    until(live.page, lambda: counted(places.nth(0)), lambda now: now == 3)
    first = wait_for_more(live, 100)
    wait_for_more(live, first + 3)
    live.get_by_role("button", name="Pause").click()
    expect(live).to_contain_text("paused")
    live.get_by_role("button", name="Resume").click()
    seen = wait_for_more(live, counted(live))
    live.get_by_role("button", name="Freeze").click()
    expect(live.get_by_role("button", name="Freeze")).to_have_count(0)
    wait_for_more(live, seen - 1)


def test_marimo_shows_a_loaded_object_and_its_map(marimo, live_kernel):
    places = marimo(PROBE)
    panel = places.nth(0)
    expect(panel).to_contain_text("attached")
    expect(panel).to_contain_text("tracepoint/raw_syscalls/sys_enter")
    first = wait_for_more(places.nth(1), 0)
    wait_for_more(places.nth(1), first)


VSCODE = """<style>:root{--vscode-editor-foreground:#d4d4d4;--vscode-editor-background:#1e1e1e;
--vscode-focusBorder:#007fd4;--vscode-errorForeground:#f48771}</style>"""
COLORS = """(section) => {
    const probe = document.createElement("i");
    section.append(probe);
    const names = ["fg", "bg", "accent", "bad", "ok", "dim"];
    return Object.fromEntries(names.map((name) => {
        probe.style.color = `var(--b-${name})`;
        return [name, getComputedStyle(probe).color];
    }));
}"""


def test_a_dark_webview_of_vs_code_gives_its_colours_to_widget_and_picture(page):
    """Webviews are sandboxed frames with VS Code's variables and a class on the body, and nothing of Jupyter's."""
    view = hist(pd.DataFrame({"lat": [1, 2, 3, 900]}), "lat", title="lat")
    whole = offline(view).replace("<body>", f'<body class="vscode-dark">{VSCODE}{view.html()}')
    page.set_content(
        f'<iframe sandbox="allow-scripts" width="900" height="900" srcdoc="{escape(whole)}"></iframe>'
    )
    frame = page.frame_locator("iframe")
    expect(frame.locator("svg.b-hist")).to_be_visible()
    sections = frame.locator("section.bpfnb")
    expect(sections).to_have_count(2)
    for section in (sections.nth(0), sections.nth(1)):
        wanted = {
            "fg": "rgb(212, 212, 212)",
            "bg": "rgb(30, 30, 30)",
            "accent": "rgb(0, 127, 212)",
            "bad": "rgb(244, 135, 113)",
            "ok": "rgb(63, 185, 80)",  # not given: the dark one of our own pair
            "dim": "rgb(157, 167, 179)",
        }
        until(page, partial(section.evaluate, COLORS), lambda found, wanted=wanted: found == wanted)
        expect(section).to_have_css("background-color", "rgb(30, 30, 30)")
    bars = frame.locator("svg.b-hist [fill], svg.b-hist rect, svg.b-hist path")
    fills = "(all) => all.map((bar) => getComputedStyle(bar).fill)"
    until(page, lambda: bars.evaluate_all(fills), lambda found: "rgb(0, 127, 212)" in found)
    assert page.elsewhere == []
