"""Time series and waterfalls as a person sees them in JupyterLab, on a live kernel, and offline."""

from __future__ import annotations

import json
import re
from pathlib import Path

from acting import answer, box, changes, dark, drag, point, ran, saved, shot, until
from pictures import drawings
from playwright.sync_api import expect

SETUP = """%load_ext bpfnb
import os, threading, time, json
import pandas as pd
going = True
def call():
    while going:
        for _ in range(30): os.getppid()
        time.sleep(0.01)
caller = threading.Thread(target=call, daemon=True)
def background(): caller.start()"""

CELL = r"""%%bpf io --set wanted={os.getpid()} --watchdog off
struct event { ktime_ns_t ts; u32 tid; ns_t latency; char comm[16]; u64 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } calls SEC(".maps");
const volatile u32 wanted = 0;
u64 n = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    if (id >> 32 != wanted) return 0;
    u32 key = n % 3;
    u64 one = 1, *found = bpf_map_lookup_elem(&calls, &key);
    if (found) __sync_fetch_and_add(found, 1); else bpf_map_update_elem(&calls, &key, &one, 0);
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->ts = bpf_ktime_get_ns();
    e->tid = id;
    e->n = n++;
    e->latency = 200000 + (e->n % 7) * 100000;
    __builtin_memset(e->comm, 0, 16);
    e->comm[0] = 'a' + e->n % 11;
    bpf_ringbuf_submit(e, 0);
    return 0;
}"""

SPANS = """T0 = 1_763_700_000_000_000_000
rows = []
def span(trace, parent, service, name, start, length, status="OK", **more):
    rows.append(dict(trace_id=trace, span_id=f"{len(rows) + 1:016x}", parent_span_id=parent, service_name=service,
                     name=name, start_time_unix_nano=T0 + start, duration_nano=length, status_code=status, **more))
    return rows[-1]["span_id"]
for k in range(3):
    root = span(f"t{k}", "", "front", "GET /cart", k * 10**9, (3 - k) * 100_000_000, url=f"/cart?id={k}")
    load = span(f"t{k}", root, "cart", "load", k * 10**9 + 10_000_000, 60_000_000)
    for i in range(6):
        span(f"t{k}", load, "db", "SELECT items", k * 10**9 + 11_000_000 + i * 9_000_000, 7_000_000,
             "ERROR" if i == 4 else "OK", statement=f"SELECT {i}")
    span(f"t{k}", "ffff", "worker", "reindex", k * 10**9 + 80_000_000, 5_000_000)
spans = pd.DataFrame(rows)"""


def test_rates_move_are_read_zoomed_selected_and_stay(notebook, page, lab):
    cells = notebook(
        "rates.ipynb",
        [
            SETUP,
            CELL,
            "background(); time.sleep(3)\nview = io.events.timeseries(by='comm', every='250ms', span='10s', top=5)\nview",
            "other = io.events.timeseries('n', mode='count', every='250ms', span='10s')\nother",
            "1",
        ],
    )
    view = cells.nth(2).locator(".bpfnb")
    canvas = view.locator("canvas")
    expect(canvas).to_be_visible(timeout=20_000)
    canvas.scroll_into_view_if_needed()  # what nobody sees gets no frames
    expect(view.locator(".ts-legend tbody tr")).to_have_count(6)
    expect(view.locator(".ts-legend tbody tr").last).to_contain_text("6 others")
    canvas.scroll_into_view_if_needed()
    assert len(changes(view, ".ts-legend tbody td", 5)) == 6  # it moves by itself
    shot(page, "timeseries-live")

    # pointing
    tip = view.locator(".b-tip")
    page.mouse.move(*point(canvas, 0.9, 0.3))
    shown = until(
        page, tip.locator(".ts-value").all_inner_texts, lambda texts: len(texts) == 6 and all(texts)
    )
    values = [float(text.removesuffix("/s").replace(",", "")) for text in shown]
    assert values == sorted(values, reverse=True)
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()

    # the legend hides, and isolates
    first = view.locator(".ts-legend button").first
    first.click()
    expect(first).to_have_attribute("aria-pressed", "false")
    first.click(modifiers=["Control"])
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(view.locator('.ts-legend button[aria-pressed="false"]')).to_have_count(5)
    first.click(modifiers=["Control"])
    expect(view.locator('.ts-legend button[aria-pressed="false"]')).to_have_count(0)

    # looking back
    live = view.get_by_role("button", name="follow the newest")
    expect(live).to_have_attribute("aria-pressed", "true")
    view.get_by_role("button", name="zoom in").click()
    expect(live).to_have_attribute("aria-pressed", "false")
    expect(view.locator(".b-foot")).to_contain_text("looking back")

    # a range that is dragged over is selected, exactly, and filters the other view
    drag(page, point(canvas, 0.6), point(canvas, 0.8))
    expect(view.locator(".b-foot")).to_contain_text("selected")
    code = "json.dumps([view.selection, other.filter == view.selection, len(view.selected)])"
    selection, linked, rows = until(
        page, lambda: json.loads(answer(page, cells, code)), lambda told: told[0] and told[1]
    )
    assert linked is True
    span = selection["ts"]["lt"] - selection["ts"]["ge"]
    assert span % 250_000_000 == 0
    assert 500_000_000 <= span <= 2_000_000_000  # a fifth of five seconds, to the edges of the bins
    assert rows > 0

    def by_key():
        """JupyterLab moves the focus for a while after a cell has run."""
        canvas.focus()
        page.keyboard.press("ArrowLeft")
        return tip.is_visible()

    until(page, by_key)
    until(
        page,
        lambda: canvas.press("Escape") or view.locator(".b-foot").inner_text(),
        lambda told: "selected" not in told,
    )
    until(page, lambda: answer(page, cells, "view.selection"), lambda told: told == "{}")

    # following again
    live.click()
    expect(live).to_have_attribute("aria-pressed", "true")

    # stopped: every number is in the saved notebook, without a kernel
    ran(page, cells, 4, "going = False; caller.join(); io.stop()")
    frozen = cells.nth(2).locator("section > img")
    expect(frozen).to_be_visible()
    expect(cells.nth(2).locator("canvas")).to_have_count(0)
    code = "view._window = view._chart().history; d = view.drawn; print(round(d.iloc[:, 4:].mul(d.seconds, axis=0).sum().sum()), io.events.total)"
    drawn, total = ran(page, cells, 4, code).split()
    assert drawn == total
    assert int(total) > 1000
    frozen.scroll_into_view_if_needed()
    shot(page, "timeseries-frozen")

    def kept(book):
        return "application/vnd.jupyter.widget-view+json" not in book.cells[2].outputs[0]["data"]

    output = saved(page, Path(lab[1]) / "rates.ipynb", kept).cells[2].outputs[0]["data"]
    (drawing,) = drawings(output["text/html"])
    assert "6 others" in drawing
    assert page.elsewhere == []


def test_counters_of_a_map_in_the_dark(notebook, page):
    page.emulate_media(color_scheme="dark")
    cells = notebook(
        "counters.ipynb",
        [
            SETUP,
            CELL,
            "background()\nview = io.calls.timeseries(every='200ms', span='8s')\nview.save('rates.html')\nview",
            "time.sleep(4)",
        ],
    )
    dark(page)
    view = cells.nth(2).locator(".bpfnb")
    view.locator("canvas").scroll_into_view_if_needed()
    expect(view.locator(".ts-legend tbody tr")).to_have_count(3)
    until(
        page,
        view.locator(".ts-legend button").all_inner_texts,
        lambda texts: sorted(texts) == ["0", "1", "2"],
    )
    view.locator("canvas").scroll_into_view_if_needed()
    assert len(changes(view, ".ts-legend tbody td", 5)) == 6
    shot(page, "timeseries-dark")
    assert page.elsewhere == []


def test_a_waterfall_is_read_searched_and_selected_by_pointer_and_keyboard(notebook, page, lab):
    cells = notebook(
        "spans.ipynb",
        [
            SETUP,
            SPANS,
            "from bpfnb.views import waterfall\nview = waterfall(spans, title='requests')\nview.save('spans.html')\nview",
            "1",
        ],
    )
    view = cells.nth(2).locator(".bpfnb")
    rows = view.locator(".wf-row")
    view.locator(".wf-rows").scroll_into_view_if_needed()
    expect(rows).to_have_count(9)
    expect(rows.first).to_contain_text("GET /cart")
    expect(rows.first).to_have_attribute("aria-level", "1")
    expect(view.locator(".wf-trace option")).to_have_count(3)

    # errors and missing parents are marked, not only coloured
    expect(rows.filter(has=page.locator(".wf-mark", has_text="!"))).to_have_count(1)
    expect(rows.last.locator(".wf-odd")).to_have_text("↑")

    # a click shows every attribute and selects the row
    rows.nth(6).click()
    expect(view.locator(".wf-pane")).to_contain_text("SELECT 4")
    expect(view.locator(".wf-pane")).to_contain_text("error")
    shot(page, "waterfall-live")
    selected = "json.dumps([view.selection, view.selected.statement.tolist()])"
    wanted = [{"#": {"in": [6]}}, ["SELECT 4"]]
    until(page, lambda: json.loads(answer(page, cells, selected)), lambda told: told == wanted)
    view.get_by_role("button", name="All of this service").click()
    selected = "json.dumps([view.selection, len(view.selected)])"
    wanted = [{"service_name": {"in": ["db"]}}, 18]
    until(page, lambda: json.loads(answer(page, cells, selected)), lambda told: told == wanted)

    # as a tree, by keyboard
    grid = view.get_by_role("treegrid")
    grid.press("Home")
    grid.press("ArrowDown")
    grid.press("ArrowLeft")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_have_attribute("aria-expanded", "false")
    expect(rows.nth(1)).to_contain_text("+6")
    grid.press("ArrowRight")
    expect(rows).to_have_count(9)
    grid.press("ArrowRight")
    active = view.locator(".wf-row.wf-active")
    expect(active).to_have_attribute("aria-rowindex", "3")
    expect(active).to_have_id(re.compile(".+"))
    until(page, lambda: grid.get_attribute("aria-activedescendant") == active.get_attribute("id"))
    grid.press("ArrowLeft")
    expect(active).to_have_attribute("aria-rowindex", "2")
    # keys that come faster than the picture: folded and opened again, down from the opened row, and back up
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(active).to_have_attribute("aria-rowindex", "3")
    page.keyboard.press("ArrowLeft")
    expect(active).to_have_attribute("aria-rowindex", "2")

    # search counts, in attributes too
    view.get_by_label("search spans").fill("select 3")
    expect(view.get_by_text("1 of 9", exact=True)).to_be_visible()
    expect(view.locator(".wf-hit")).to_contain_text("SELECT items")
    view.get_by_label("search spans").fill("")

    # another trace; zoom and back
    view.get_by_label("trace", exact=True).select_option("t2")
    expect(view.locator(".b-foot")).to_contain_text("100 ms")
    drag(page, point(view.locator(".wf-rows"), 0.5), point(view.locator(".wf-rows"), 0.7))
    whole = view.get_by_role("button", name="Whole")
    expect(whole).to_be_enabled()
    whole.click()
    expect(whole).to_be_disabled()
    view.get_by_role("button", name="Critical path").click()
    shot(page, "waterfall-critical")

    # frozen: what is shown stays
    ran(page, cells, 3, "view.stop()")
    still = cells.nth(2).locator("section > img")
    expect(still).to_be_visible()
    (drawing,) = drawings(still.evaluate("image => image.outerHTML"))
    assert "SELECT items" in drawing
    shot(page, "waterfall-frozen")

    # offline, every trace is there
    page.unroute("**/*")
    page.goto(f"file://{lab[1]}/spans.html")
    rows = page.locator(".wf-row")
    expect(rows).to_have_count(9)
    page.get_by_label("trace", exact=True).select_option("t1")
    expect(page.locator(".b-foot")).to_contain_text("200 ms")
    rows.nth(3).click()
    expect(page.locator(".wf-pane")).to_contain_text("SELECT 1")
    shot(page, "waterfall-offline")


def test_live_events_stand_in_lanes(notebook, page):
    cells = notebook(
        "lanes.ipynb",
        [
            SETUP,
            CELL,
            "io.events.limit(rows=400)\nbackground()\nview = io.events.waterfall(name='comm')\nview",
            "1",
        ],
    )
    view = cells.nth(2).locator(".bpfnb")
    view.locator(".wf-rows").scroll_into_view_if_needed()
    expect(view.locator(".wf-lane")).to_have_count(1)
    view.locator(".wf-rows").scroll_into_view_if_needed()
    assert len(changes(view, ".b-foot", 5)) == 6
    shot(page, "waterfall-lanes-live")
    ran(page, cells, 3, "going = False; io.close()")
    expect(cells.nth(2).locator("section > img")).to_be_visible(timeout=20_000)


def test_a_time_series_offline_keeps_its_history(notebook, page, lab):
    notebook(
        "offline.ipynb",
        [
            SETUP,
            CELL,
            "background(); time.sleep(2)\nview = io.events.timeseries(by='comm', every='100ms', span='1s')\nview.save('lines.html')",
            "going = False; io.close()",
        ],
    )
    page.unroute("**/*")
    page.goto(f"file://{lab[1]}/lines.html")
    expect(page.locator(".ts-legend tbody tr")).to_have_count(9)
    canvas = page.locator("canvas")
    expect(canvas).to_have_attribute("aria-label", re.compile("over 1 seconds"))
    page.get_by_role("button", name="all that is kept").click()
    expect(canvas).not_to_have_attribute("aria-label", re.compile("over 1 seconds"))
    at = box(canvas)
    page.mouse.move(at["x"] + 200, at["y"] + 100)
    expect(page.locator(".b-tip")).to_be_visible()
    shot(page, "timeseries-offline")
