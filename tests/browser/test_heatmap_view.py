"""The heatmap as a person uses it in JupyterLab: a known workload appears column by column, with its pause."""

from __future__ import annotations

import re

from acting import dark, drag, point, ran, saved, shot, until
from pictures import drawings
from playwright.sync_api import Locator, expect
from workload import CELL, START


def colors(view: Locator) -> set[str]:
    """The colours that the canvas shows within the plot's right half."""
    return set(
        view.locator("canvas").evaluate(
            """canvas => {
                const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                const found = new Set();
                for (let i = 0; i < data.length; i += 4) if (data[i + 3]) found.add([data[i], data[i+1], data[i+2]].join());
                return [...found];
            }"""
        )
    )


def test_columns_are_the_workload_with_gaps_and_a_rectangle_selects_rows(notebook, page, lab):
    cells = notebook(
        "heatmap.ipynb",
        [
            START,
            CELL,
            "v = io.events.heatmap('latency', every='1s', span='4min', height=240); v",
            "m = io.slots.heatmap(every='1s', span='4min', height=240); m",
            "h = io.events.hist('latency', height=200); h",
            "0",
        ],
    )
    stream, sampled, bars = (cells.nth(i).locator(".jp-OutputArea .bpfnb").first for i in (2, 3, 4))
    for turn in range(1, 6):
        ran(page, cells, 5, f"call({16 * 50})")
        stream.scroll_into_view_if_needed()
        expect(stream.locator(".b-foot")).to_contain_text(f"{turn * 800:,} values shown")
    ran(page, cells, 5, "io.pause(); time.sleep(2.5); io.resume(); call(1600); time.sleep(1.2)")
    sampled.scroll_into_view_if_needed()
    expect(sampled.locator(".b-foot")).to_contain_text("5,600 counts shown")
    expect(sampled.locator(".b-foot")).to_contain_text(
        "differences of samples; log2 buckets, as counted in the kernel"
    )
    stream.scroll_into_view_if_needed()
    expect(stream.locator(".b-foot")).to_contain_text("5,600 values shown")
    expect(stream.locator("svg")).to_have_attribute(
        "aria-label", re.compile("with gaps in which nothing was measured")
    )
    expect(stream).to_contain_text("not measured")
    counted = "print(v.counts.sum().sum(), v.counts.isna().all(axis=1).sum() >= 1, [v.error, m.error])"
    assert ran(page, cells, 5, counted) == "5600.0 True ['', '']"
    stream.scroll_into_view_if_needed()
    until(page, lambda: colors(stream), lambda found: len(found) >= 4)

    # Drag over all columns and the lowest quarter of the buckets: its rows, and only they, are left in the histogram.
    left, top = point(stream.locator("svg.b-heat"), 0, 0)
    right, _ = point(stream.locator("svg.b-heat"), 1, 0)
    top, tall = top + 8, 240 - 60
    drag(page, (left + 64, top + tall - 3), (right - 14, top + tall * 3 / 4 + 4))
    expect(stream.locator("rect.b-box")).to_have_count(1)
    shot(page, "heatmap-live")
    bars.scroll_into_view_if_needed()
    expect(bars.locator(".b-foot")).to_contain_text("1,400 values")
    code = "print(sorted(v.selected.latency.unique().tolist()), v.selection['latency'])"
    assert ran(page, cells, 5, code) == "[1, 2, 4, 8] {'ge': 1, 'lt': 16}"
    stream.scroll_into_view_if_needed()
    stream.locator("svg.b-heat").focus()
    page.keyboard.press("Escape")
    expect(stream.locator("rect.b-box")).to_have_count(0)
    page.keyboard.press("End")
    expect(stream.locator("[aria-live]")).to_have_text(
        re.compile(r"\d\d:\d\d:\d\d.* to .*, 1 ns, \d+ values?|not measured")
    )
    stream.get_by_label("from counts to colours").select_option("linear")
    expect(stream.get_by_label("from counts to colours")).to_have_value("linear")

    dark(page)
    stream.scroll_into_view_if_needed()
    shot(page, "heatmap-live-dark")

    ran(page, cells, 5, "io.close()")
    for index, what in ((2, "values"), (3, "counts")):
        picture = cells.nth(index).locator(".jp-OutputArea section.bpfnb > img")
        expect(picture).to_have_attribute("alt", re.compile(f"5,600 {what}"))
    cells.nth(2).scroll_into_view_if_needed()
    shot(page, "heatmap-frozen")

    def kept(book):
        return drawings("".join(output["data"].get("text/html", "") for output in book.cells[2].outputs))

    (drawing,) = kept(saved(page, lab[1] / "heatmap.ipynb", kept))
    assert "5,600 values" in drawing
    assert drawing.count("<image") == 1
    assert page.elsewhere == []


def test_an_offline_page_is_alive_without_a_kernel(page, tmp_path):
    import numpy as np
    import pandas as pd

    from bpfnb.views import heatmap

    frame = pd.DataFrame(
        {"ts": pd.date_range("2026-01-01", periods=200, freq="100ms", tz="UTC"), "x": np.arange(200)}
    )
    file = heatmap(frame, "x", every=1, title="offline").save(tmp_path / "x.html")
    page.unroute("**/*")
    page.goto(file.as_uri())
    expect(page.locator(".b-foot")).to_contain_text("200 values shown")
    until(page, lambda: colors(page.locator(".bpfnb")), lambda found: len(found) >= 3)
    page.locator("svg.b-heat").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("rect.b-box")).to_have_count(1)
    expect(page.locator(".b-tip")).to_contain_text("values")
