"""An exported page in a browser without a network: what a person does with tables, flame graphs and heat maps."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from acting import box, shot, until
from playwright.sync_api import Page, expect

import bpfnb

ROWS = 30_000


@pytest.fixture
def opened(page: Page, tmp_path):
    """A function that exports, opens the page offline, and gives its problems and requests."""

    def open_page(what) -> list[str]:
        (path,) = bpfnb.export(what, tmp_path / "x.html")
        heard: list[str] = []
        page.unroute("**/*")
        page.context.set_offline(True)
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("console", lambda message: heard.append(message.text))
        # its own scripts and pictures are blobs and data of the file
        page.on(
            "request", lambda r: r.url.startswith(("blob:", "data:", path.as_uri())) or heard.append(r.url)
        )
        page.goto(path.as_uri())
        return heard

    return open_page


@pytest.fixture
def tables():
    numbers = np.arange(ROWS)
    calls = pd.DataFrame({
        "time": pd.to_datetime(1_790_000_000_000_000_000 + numbers * 1_000_000, utc=True),
        "latency": (numbers * 7919 % 1_000_003 + 1).astype(np.uint64),
        "pid": (100 + numbers % 3).astype(np.uint32),
        "comm": pd.Categorical(np.array(["dd", "sh", "<b>bold</b>"])[numbers % 3]),
    })  # fmt: skip
    calls.attrs = {
        "bpfnb": {"rows": ROWS, "lost": 12, "lost_by": {"buffer": 12}, "complete": False, "kernel": "6.18.1"},
        "bpfnb_columns": {"time": {"format": "timestamp"}, "latency": {"format": "duration", "unit": "ns"}},
    }
    stacks = pd.DataFrame({"stack": ["main;run;read", "main;idle"], "count": [3, 1]})
    return {"calls": calls, "stacks </script><script>alert(1)": stacks}


def test_views_answer_without_a_network(page: Page, opened, tables) -> None:
    heard = opened(tables)
    expect(page.locator("h1 .x-badge")).to_have_text("12 lost")
    expect(page.locator("h2")).to_have_text(
        ["calls frame", "stacks </script><script>alert(1) frame", "Where this is from"]
    )
    calls, stacks = page.locator("main > section").nth(0), page.locator("main > section").nth(1)
    expect(calls.locator("p").first).to_contain_text("12 LOST (12 buffer)")
    heat, table = calls.locator(".x-view").nth(0), calls.locator(".x-view").nth(1)
    flames, rows = stacks.locator(".x-view").nth(0), stacks.locator(".x-view").nth(1)

    # the table says of how many it holds so many, sorts by what it holds, and filters
    expect(table.locator(".b-foot")).to_contain_text("this page holds the last 20,000 of 30,000")
    head = table.get_by_role("columnheader", name=re.compile("latency"))
    head.get_by_role("button", name="sort by latency").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    best = tables["calls"].iloc[-20_000:].sort_values("latency")["latency"]
    # the first row's text has the smallest latency, whichever unit it is in
    first = table.locator("[role=row]").nth(1)
    until(page, first.inner_text, lambda text: f"{best.iloc[0]} ns" in text)
    table.get_by_role("button", name="filter comm").click()
    table.get_by_role("dialog", name="filter comm").get_by_role("textbox").fill("bold")
    expect(table.locator(".b-foot")).to_contain_text("of 20,000 rows")
    page.keyboard.press("Escape")
    expect(first).to_contain_text("<b>bold</b>")

    # the heat map tells what is under the pointer
    expect(heat.locator(".b-foot")).to_contain_text("30,000 values shown")
    picture = heat.locator("svg.b-heat")
    at = box(picture)
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + 40)
    expect(heat.locator(".b-tip")).to_contain_text("value")

    # the flame graph searches and zooms
    expect(flames.locator(".b-foot")).to_contain_text("4 samples")
    flames.locator(".f-search").fill("read")
    expect(flames.locator(".f-found")).to_contain_text("matched 75")
    flames.locator(".f-frames").click(position={"x": 20, "y": 27})
    expect(flames.locator(".f-crumbs button")).to_have_text(["all", "main"])
    expect(rows.locator(".b-foot")).to_contain_text("2 rows")
    expect(page.locator("#about")).to_contain_text("6.18.1")
    shot(page, "export-page")
    assert heard == []


def test_links_lead_to_the_tables(page: Page, opened, tables) -> None:
    heard = opened(tables)
    page.locator("nav a").nth(1).click()
    expect(page.locator("main > section").nth(1)).to_be_in_viewport()
    assert heard == []


def test_pictures_stay_where_scripts_do_not_run(browser, tmp_path, tables) -> None:
    (path,) = bpfnb.export({"stacks": tables["stacks </script><script>alert(1)"]}, tmp_path / "x.html")
    context = browser.new_context(java_script_enabled=False, offline=True)
    still = context.new_page()
    still.goto(path.as_uri())
    expect(still.locator("main td", has_text="main;run;read").first).to_be_visible()
    expect(still.locator("main svg, main img").first).to_be_visible()
    context.close()
