"""The flame graph as a person uses it in JupyterLab on live samples, and as a page without Python."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from acting import answer, changes, dark, drag, point, ran, saved, shot, until
from pictures import drawings
from playwright.sync_api import Locator, Page, expect

from bpfnb.symbols.kallsyms import KERNEL
from bpfnb.views import flamegraph

CELL = """%%bpf cpu --frequency 499 --pid {dd.pid}
struct stack_sample { ktime_ns_t ts; u64 stack[32]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } samples SEC(".maps");
SEC("perf_event") int sample(struct bpf_perf_event_data *ctx)
{
    struct stack_sample *s = bpf_ringbuf_reserve(&samples, sizeof(*s), 0);
    if (!s)
        return 0;
    __builtin_memset(s->stack, 0, sizeof(s->stack));
    s->ts = bpf_ktime_get_ns();
    bpf_get_stack(ctx, s->stack, sizeof(s->stack), 0);
    bpf_ringbuf_submit(s, 0);
    return 0;
}"""
START = """%load_ext bpfnb
import json, subprocess
# It ends with the kernel, whatever becomes of the test.
command = "setpriv --pdeathsig KILL dd if=/dev/zero of=/dev/null bs=64k"
dd = subprocess.Popen(command.split(), stderr=subprocess.DEVNULL)"""


def wait_painted(page: Page, view: Locator) -> None:
    """Until the frames' canvas holds more than its background."""
    canvas = view.locator(".f-frames canvas")
    painted = """(canvas) => canvas.width > 0 && canvas.height > 0 && canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 === 3 && value > 0)"""
    until(page, lambda: canvas.evaluate(painted))


def choose(page: Page, view: Locator, start: float, stop: float) -> None:
    """Drag along the strip of time, from and to shares of its width."""
    strip = view.locator(".f-strip")
    drag(page, point(strip, start, 0.3), point(strip, stop, 0.3))


def test_live_samples_are_drawn_searched_chosen_and_kept(notebook, lab, page):
    if KERNEL.hidden:
        pytest.skip("this process is not shown kernel addresses")
    _, root = lab
    cells = notebook(
        "flames.ipynb", [START, CELL, "v = cpu.samples.flamegraph(hz=5, title='dd')\nv", "pass", "0"]
    )
    view = cells.nth(2).locator(".jp-OutputArea .bpfnb").first
    status = view.locator(".b-foot")
    expect(status).to_have_text(re.compile(r"[1-9][\d,]* samples · [1-9]"))
    assert len(changes(view, ".b-foot", 5)) == 6  # it moves by itself
    wait_painted(page, view)
    shot(page, "flamegraph-lab")

    # Zoom by keyboard: down to what reads the zeros, and back.
    frames = view.locator(".f-frames")
    frames.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    crumbs = view.locator(".f-crumbs button")
    expect(crumbs).to_have_count(4)
    expect(crumbs.first).to_have_text("all")
    page.keyboard.press("Escape")
    expect(crumbs).to_have_count(3)
    crumbs.first.click()
    expect(crumbs).to_have_count(1)

    # Once nothing comes any more, the page and Python say the same.
    ran(page, cells, 3, "dd.kill(); dd.wait(); cpu.samples.drain(); v.refresh()")
    total = int(until(page, lambda: answer(page, cells, "cpu.samples.total")))
    until(page, lambda: answer(page, cells, "v.tree.total"), lambda counted: int(counted) == total)
    expect(status).to_have_text(re.compile(rf"^{total:,} samples"))
    search = view.locator(".f-search")
    search.fill("/zero.*_\\[k\\]$/")
    share = float(answer(page, cells, r"v.search('/zero.*_\\[k\\]$/')"))
    assert share > 0.1

    def matched() -> float | None:
        shown = re.search(r"matched ([\d.]+) %", view.locator(".f-found").inner_text())
        return shown and float(shown[1])

    until(page, matched, lambda percent: percent == pytest.approx(100 * share, abs=0.06))
    search.fill("/(/")
    expect(view.locator(".f-found")).to_contain_text("nvalid")
    expect(search).to_have_attribute("aria-invalid", "true")
    search.fill("")

    # A range of time, what it is compared with, and the rows under a frame.
    choose(page, view, 0.6, 0.8)
    expect(status).not_to_have_text(re.compile(rf"^{total:,} samples"))
    window = answer(page, cells, "json.dumps([v.window, v.selection, v.tree.total, len(v.selected)])")
    chosen, selection, inside, rows = json.loads(window)
    assert selection == {"ts": {"ge": chosen[0], "lt": chosen[1]}}
    assert inside == rows
    expect(status).to_have_text(re.compile(rf"^{inside:,} samples"))
    page.keyboard.down("Shift")
    choose(page, view, 0.1, 0.4)
    page.keyboard.up("Shift")
    expect(status).to_contain_text("compared with")
    expect(view.get_by_label("colour by")).to_have_value("diff")
    shot(page, "flamegraph-lab-diff")
    frames.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Control+Enter")
    expect(view.locator(".f-select")).to_have_text("Selected: clear")
    assert int(answer(page, cells, "len(v.selected)")) > 0

    # Dark, then still.
    dark(page)
    wait_painted(page, view)
    shot(page, "flamegraph-lab-dark")
    ran(page, cells, 3, "v.stop(); cpu.close()")
    picture = cells.nth(2).locator(".jp-OutputArea section > img")
    expect(picture).to_have_count(1)
    expect(picture).to_have_attribute("alt", re.compile("compared with"))

    def kept(book):
        html = "".join(output.get("data", {}).get("text/html", "") for output in book.cells[2].outputs)
        return len(drawings(html)) == 1

    saved(page, root / "flames.ipynb", kept)
    assert page.elsewhere == []


def test_a_page_without_python_zooms_searches_and_counts_ranges(page, tmp_path):
    rng = np.random.default_rng(5)
    start = 1_790_000_000_000_000_000
    times = start + np.sort(rng.integers(0, 60 * 10**9, 6000))
    early = times < start + 30 * 10**9
    stacks = np.where(
        early, rng.choice(["a;b;c", "a;d"], 6000), rng.choice(["a;b", "a;d;read_[k]", "e"], 6000)
    )
    frame = pd.DataFrame({"ts": pd.to_datetime(times, utc=True), "stack": stacks})
    view = flamegraph(frame, title="offline")
    file = view.save(tmp_path / "flames.html")
    page.unroute("**/*")
    page.context.set_offline(True)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(file.as_uri())
    status, crumbs = page.locator(".b-foot"), page.locator(".f-crumbs button")
    expect(status).to_have_text("6,000 samples · 6 frames")
    page.locator(".f-search").fill("b")
    share = (frame["stack"].str.contains("b")).mean()
    expect(page.locator(".f-found")).to_have_text(f"matched {100 * share:.1f} %")
    page.locator(".f-frames").click(position={"x": 20, "y": 27})
    expect(crumbs).to_have_text(["all", "a"])
    page.keyboard.press("Backspace")
    expect(crumbs).to_have_text(["all"])
    choose(page, page.locator(".bpfnb"), 0.0, 0.25)
    expect(status).to_have_text(re.compile(r"^1,\d{3} samples"))
    view.window = (start, start + 15_500_000_000)
    shown = int(status.inner_text().split(" samples")[0].replace(",", ""))
    assert shown == pytest.approx(view.tree.total, abs=2 * 6000 / 120)
    page.keyboard.down("Shift")
    choose(page, page.locator(".bpfnb"), 0.6, 0.9)
    page.keyboard.up("Shift")
    expect(status).to_contain_text("compared with")
    page.locator(".f-top").click()
    functions = page.locator("table.f-top tbody th")
    expect(functions).to_have_count(4)  # e and read_[k] came later
    until(page, functions.all_inner_texts, lambda names: sorted(names[:2]) == ["c", "d"])
    wait_painted(page, page.locator(".bpfnb"))
    page.locator(".f-inverted").click()
    expect(crumbs).to_have_text(["all"])

    # A host may hide the view and change its colours meanwhile: it is painted when there is room for it again.
    page.evaluate("document.body.style.display = 'none'")
    page.emulate_media(color_scheme="dark")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("document.body.style.display = ''")
    page.wait_for_function(
        """() => { const box = document.querySelector(".f-frames"), canvas = box.querySelector("canvas");
            return box.clientWidth > 0 && canvas.clientWidth === box.clientWidth; }"""
    )
    wait_painted(page, page.locator(".bpfnb"))
    assert problems == []
