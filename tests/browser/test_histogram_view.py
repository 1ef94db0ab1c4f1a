"""The histogram and the heatmap as a person uses them in JupyterLab, on a live kernel whose workload is known."""

from __future__ import annotations

import json
import re

from acting import dark, drag, point, ran, saved, shot, until
from playwright.sync_api import Locator, expect
from workload import CELL, START


def counts(view: Locator, kind: str = "b-hbar") -> dict[str, int]:
    """What the bars say, by range and group."""
    found = view.locator(f"rect.{kind}").evaluate_all(
        "bars => bars.map(b => [b.dataset.group + ' ' + b.dataset.range, Number(b.dataset.count)])"
    )
    return {name.strip(): count for name, count in found}


def test_bars_are_the_workload_and_select_for_each_other(notebook, page, lab):
    views = (
        "first = io.events.hist('latency'); first",
        "second = io.events.hist('latency', by='parity', title='by parity'); second",
    )
    maps = "m = io.slots.hist(); m"
    cells = notebook("histogram.ipynb", [START, CELL, *views, maps, "0"])
    page.keyboard.press("Escape")
    first, second, third = (cells.nth(i).locator(".jp-OutputArea .bpfnb").first for i in (2, 3, 4))
    first.scroll_into_view_if_needed()
    expect(first.locator(".b-empty")).to_have_text("no rows yet")
    for turn in range(1, 6):
        ran(page, cells, 5, f"call({16 * 50})")
        first.scroll_into_view_if_needed()
        expect(first.locator(".b-foot")).to_contain_text(f"{turn * 800:,} values")
        found = counts(first)
        assert len(found) == 16
        assert set(found.values()) == {turn * 50}
    assert found["[2 ns, 4 ns)"] == 250
    expect(first.locator(".b-foot")).to_contain_text("log2 buckets; percentiles exact (nearest rank)")
    expect(first.locator("svg.b-hist")).to_have_attribute(
        "aria-label", re.compile("4,000 values, p50 128 ns")
    )
    third.scroll_into_view_if_needed()
    expect(third.locator(".b-foot")).to_contain_text("as counted in the kernel; percentiles interpolated")
    expect(third.locator("rect.b-hbar")).to_have_count(16)
    until(page, lambda: counts(third), lambda found: set(found.values()) == {250})

    # Pointing says range, count and shares; keys do the same, aloud.
    first.scroll_into_view_if_needed()
    first.locator("rect.b-hbar").nth(3).hover()
    expect(first.locator(".b-tip")).to_contain_text(
        "[8 ns, 16 ns)\n250 values · 6.3 %\n25 % up to here", use_inner_text=True
    )
    shot(page, "histogram-live")
    page.mouse.move(5, 5)
    first.locator("svg.b-hist").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(first.locator("[aria-live]")).to_have_text("[2 ns, 4 ns), 250 values · 6.3 %, 12.5 % up to here")

    # Dragging over bars selects their values, exactly, and filters the other views of the stream.
    drag(page, point(first.locator("rect.b-hbar").nth(4)), point(first.locator("rect.b-hbar").nth(6)))
    expect(first.locator("rect.b-selected")).to_have_count(1)
    second.scroll_into_view_if_needed()
    expect(second.locator(".b-foot")).to_contain_text("750 values")
    left = {"0 [16 ns, 32 ns)": 250, "1 [32 ns, 64 ns)": 250, "0 [64 ns, 128 ns)": 250}
    until(page, lambda: counts(second), lambda found: found == left)
    until(page, lambda: counts(second, "b-behind"), lambda found: sum(found.values()) == 4000)
    code = "print(len(first.selected), len(second.selected), m.total)"
    assert ran(page, cells, 5, code) == "750 750 4000"
    second.scroll_into_view_if_needed()
    shot(page, "histogram-linked")
    first.locator("svg.b-hist").focus()
    page.keyboard.press("Escape")
    expect(first.locator("rect.b-selected")).to_have_count(0)
    expect(second.locator(".b-foot")).to_contain_text("4,000 values")

    # The toolbar: logarithmic counts, stacked groups.
    second.get_by_role("button", name="log counts").click()
    expect(second.get_by_role("button", name="log counts")).to_have_attribute("aria-pressed", "true")
    second.get_by_role("button", name="stacked").click()
    expect(second.locator("rect.b-part")).to_have_count(16)
    shot(page, "histogram-stacked")

    # Dark, then stopped: pictures stay, without widgets, in the saved notebook too.
    dark(page)
    second.scroll_into_view_if_needed()
    expect(second.locator("rect.b-part")).to_have_count(16)
    shot(page, "histogram-dark")
    ran(page, cells, 5, "io.close()")
    for index in (2, 3, 4):
        area = cells.nth(index).locator(".jp-OutputArea")
        expect(area.locator("section.bpfnb > img")).to_have_attribute(
            "alt", re.compile("4,000 values|2,000 values")
        )
    cells.nth(3).scroll_into_view_if_needed()
    shot(page, "histogram-frozen")

    def kept(book):
        html = json.dumps([output.get("data", {}).get("text/html", "") for output in book.cells[2].outputs])
        return "4,000 values" in html

    saved(page, lab[1] / "histogram.ipynb", kept)
    assert page.elsewhere == []


def test_an_offline_page_is_alive_without_a_kernel(page, tmp_path):
    import numpy as np
    import pandas as pd

    from bpfnb.views import hist

    frame = pd.DataFrame({"x": np.arange(100, dtype=np.uint64), "k": ["a", "b"] * 50})
    file = hist(frame, "x", by="k", title="offline").save(tmp_path / "x.html")
    page.unroute("**/*")
    page.goto(file.as_uri())
    bars = page.locator("rect.b-hbar")
    expect(bars.first).to_be_visible()
    until(page, lambda: counts(page.locator(".bpfnb")), lambda found: sum(found.values()) == 100)
    page.mouse.click(*point(bars.last))
    expect(page.locator("rect.b-selected")).to_have_count(1)
    page.get_by_role("button", name="stacked").click()
    expect(page.locator("rect.b-part").first).to_be_visible()
    until(page, lambda: counts(page.locator(".bpfnb"), "b-part"), lambda found: sum(found.values()) == 100)
