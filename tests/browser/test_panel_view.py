"""The panel of a running object as a person uses it in JupyterLab, on a live kernel."""

from __future__ import annotations

import re

from acting import answer, changes, dark, ran, run_cell, saved, shot, until
from pictures import drawings
from playwright.sync_api import Locator, expect

CELL = """%%bpf io --set wanted={os.getpid()} --watchdog off
enum mode { QUIET = 0, LOUD = 7 };
struct event { ktime_ns_t ts; ns_t latency; u32 number; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } tiny SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, u64); __type(value, u64); } small SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    slots SEC(".maps") VIEW(hist, log2, ns);
const volatile u32 wanted = 0;
volatile u64 factor RANGE(0, 1000) = 1;
volatile ns_t slower_than DESCRIPTION("faster ones are not counted") = 0;
volatile u64 big = 18446744073709551615ULL;
volatile u64 hits = 0;
volatile bool sending = false;
volatile enum mode mode = LOUD;
volatile char label[8] = "abc";
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u32 slot = 10;
    u64 *n, key = hits;
    struct event *e;

    if (bpf_get_current_pid_tgid() >> 32 != wanted)
        return 0;
    __sync_fetch_and_add(&hits, factor);
    bpf_map_update_elem(&small, &key, &key, BPF_ANY);
    n = bpf_map_lookup_elem(&slots, &slot);
    if (n)
        __sync_fetch_and_add(n, 1);
    if (!sending)
        return 0;
    e = bpf_ringbuf_reserve(&tiny, sizeof(*e), 0);
    if (!e)
        return 0;
    e->number = hits;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
SEC("xdp") int idle(struct xdp_md *ctx) { return XDP_PASS; }"""

START = """%load_ext bpfnb
import os, threading, time
def call(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(200): os.getppid()
        time.sleep(0.01)
def background(seconds): threading.Thread(target=call, args=(seconds,), daemon=True).start()"""


def row(panel: Locator, name: str) -> Locator:
    """The row of a table that begins with *name*."""
    return panel.locator("tbody tr").filter(has=panel.page.get_by_role("rowheader", name=name, exact=True))


def control(panel: Locator, name: str) -> Locator:
    return panel.get_by_label(name, exact=True)


def test_a_panel_lives_is_used_and_becomes_a_picture(notebook, page, lab):
    cells = notebook("panel.ipynb", [START, CELL, "background(900)", "pass", "0"])
    panel = cells.nth(1).locator(".jp-OutputArea .bpfnb").first
    expect(panel.locator(".b-badge[role=status]").first).to_have_text("attached")
    expect(row(panel, "count")).to_contain_text("tracepoint/syscalls/sys_enter_getppid")
    expect(row(panel, "idle")).to_contain_text("no, needs interface")

    # It moves: runs, the map's fill, refused updates, the value that the program itself writes.
    runs = row(panel, "count").locator("td").nth(2)
    expect(runs).to_have_text(re.compile(r"[1-9]"))
    assert len(changes(row(panel, "count"), "td >> nth=2", 5)) == 6
    expect(row(panel, "small")).to_contain_text("100 %")
    expect(row(panel, "small").locator(".b-badge.b-bad")).to_have_text(re.compile(r"[1-9]"))
    before = int(control(panel, "hits").input_value())
    expect(control(panel, "hits")).not_to_have_value(str(before))
    shot(page, "panel-live")

    # A slider changes what the program does.
    slider = panel.get_by_label("factor, slider")
    slider.focus()
    for _ in range(9):
        slider.press("ArrowRight")
    expect(control(panel, "factor")).to_have_value("10")
    until(page, lambda: answer(page, cells, "io.vars.factor"), lambda told: told == "10")
    ran(page, cells, -1, "io.vars.hits = 0")
    told = answer(page, cells, "[os.getppid() for _ in range(7)] and (io.vars.hits >= 70, io.vars.hits % 10)")
    assert told == "(True, 0)"

    # Values from Python and from the program arrive; wrong ones are refused beside the control, exact ones are exact.
    ran(page, cells, 3, "io.vars.slower_than = 1_500_000; io.vars.mode = 'QUIET'")
    expect(control(panel, "slower_than")).to_have_value("1500000")
    expect(panel.locator(".b-variable", has_text="slower_than")).to_contain_text("1.5 ms")
    expect(control(panel, "mode")).to_have_value("QUIET")
    control(panel, "slower_than").fill("2.5 ms")
    control(panel, "slower_than").press("Enter")
    expect(control(panel, "slower_than")).to_have_value("2500000")
    big = control(panel, "big")
    expect(big).to_have_value("18446744073709551615")
    big.fill("18446744073709551616")
    big.press("Enter")
    wrong = panel.locator(".b-variable", has_text="big").locator(".b-wrong")
    expect(wrong).to_contain_text("0 to 18446744073709551615")
    shot(page, "panel-refused")
    big.fill("18446744073709551613")
    big.press("Enter")
    expect(wrong).to_be_hidden()
    until(page, lambda: answer(page, cells, "io.vars.big"), lambda told: told == "18446744073709551613")
    control(panel, "mode").select_option("LOUD")
    control(panel, "label").fill("né")
    control(panel, "label").press("Enter")
    sending = panel.get_by_role("switch", name="sending")
    sending.click()
    expect(sending).to_have_attribute("aria-checked", "true")
    told = "(io.vars.mode, io.vars.label, io.vars.sending)"
    until(page, lambda: answer(page, cells, told), lambda told: told == "('LOUD', 'né', True)")

    # A tiny ring overflows as long as nobody drains it.
    ran(
        page,
        cells,
        3,
        "from bpfnb.frames import pump; pump.remove(io.tiny); [os.getppid() for _ in range(500)]; pass",
    )
    lost = row(panel, "tiny").locator(".b-badge.b-bad")
    expect(lost).to_have_text(re.compile(r"[1-9]"))
    expect(row(panel, "tiny").locator(".b-bar")).to_be_visible()

    # Buttons work while a cell runs.
    blocking = run_cell(page, cells, 3, "while not os.path.exists('go on'): time.sleep(0.1)")
    expect(blocking.locator(".jp-InputPrompt")).to_have_text("[*]:")
    panel.get_by_role("button", name="Pause").click()
    expect(panel.locator(".b-badge[role=status]").first).to_have_text("paused")
    panel.get_by_role("button", name="Resume").click()
    expect(panel.locator(".b-badge[role=status]").first).to_have_text("attached")
    expect(blocking.locator(".jp-InputPrompt")).to_have_text("[*]:")
    panel.get_by_role("button", name="Stop").click()
    frozen = cells.nth(1).locator(".jp-OutputArea .bpfnb.b-panel")
    expect(frozen).to_contain_text("stopped")
    expect(frozen.locator("button")).to_have_count(0)
    expect(frozen).to_contain_text("18446744073709551613")
    expect(cells.nth(1).locator(".jp-OutputArea section > img").first).to_be_visible()
    expect(page.locator(".b-object")).to_have_count(0)  # no widget is left
    expect(blocking.locator(".jp-InputPrompt")).to_have_text("[*]:")
    (lab[1] / "go on").touch()
    expect(blocking.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"))
    shot(page, "panel-stopped")

    # What is saved is the picture.
    def kept(book):
        return [set(output.get("data", ())) for output in book.cells[1].outputs] == 2 * [
            {"text/plain", "text/html"}
        ]

    panel_output, picture = saved(page, lab[1] / "panel.ipynb", kept).cells[1].outputs
    assert "stopped" in panel_output["data"]["text/html"]
    assert len(drawings(picture["data"]["text/html"])) == 1
    assert page.elsewhere == []


def test_a_panel_in_the_dark_with_everything_in_sight(notebook, page):
    page.set_viewport_size({"width": 1280, "height": 1500})
    cells = notebook(
        "dark.ipynb",
        [START, CELL, "background(900); io.vars.sending = True; io.vars.slower_than = 1500", "io.panel()"],
    )
    dark(page)
    panel = cells.nth(3).locator(".jp-OutputArea .bpfnb").first
    panel.scroll_into_view_if_needed()
    expect(row(panel, "tiny").locator("td").nth(2)).to_have_text(re.compile(r"^[1-9][\d,]*/s"))
    expect(row(panel, "count").locator("polyline")).to_have_attribute("points", re.compile(r"( .*){6}"))
    until(
        page,
        lambda: panel.evaluate("element => getComputedStyle(element).backgroundColor"),
        lambda color: max(map(int, re.findall(r"\d+", color)[:3])) < 60,
    )
    shot(page, "panel-dark")

    # Both places that show the panel are one: what is changed in one is seen in the other.
    control(panel, "factor").fill("4")
    control(panel, "factor").press("Enter")
    first = cells.nth(1).locator(".jp-OutputArea .bpfnb").first
    first.scroll_into_view_if_needed()
    expect(control(first, "factor")).to_have_value("4")

    # Running the cell again replaces the object: both become pictures that say so, and a new panel lives.
    run_cell(page, cells, 1, CELL)
    replaced = cells.nth(3).locator(".jp-OutputArea .bpfnb.b-panel")
    replaced.scroll_into_view_if_needed()
    expect(replaced).to_contain_text("replaced by the next object of this name")
    expect(replaced.locator("button")).to_have_count(0)
    first.scroll_into_view_if_needed()
    expect(first.locator(".b-badge[role=status]").first).to_have_text("attached")
    expect(control(first, "factor")).to_have_value("1")
    assert page.elsewhere == []
