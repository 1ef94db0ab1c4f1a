"""A cell in bcc's dialect as a person meets it in JupyterLab: panel, live histogram, end."""

from __future__ import annotations

import re

import pytest
from acting import ran, run_cell, saved, shot, until
from pictures import drawings
from playwright.sync_api import Locator, expect

CELL = """%%bpf calls --watchdog off
BPF_HISTOGRAM(sizes);
BPF_HASH(counts, u32, u64);
struct call_t { u64 ts; u32 size; char comm[TASK_COMM_LEN]; };
BPF_RINGBUF_OUTPUT(events, 64);
TRACEPOINT_PROBE(syscalls, sys_enter_getpriority)
{
    struct call_t call = {};
    u32 who = args->who;

    if (args->which != 77)
        return 0;
    sizes.increment(bpf_log2l(who));
    counts.increment(who);
    call.ts = bpf_ktime_get_ns();
    call.size = who;
    bpf_get_current_comm(&call.comm, sizeof(call.comm));
    events.ringbuf_output(&call, sizeof(call), 0);
    return 0;
}"""
START = """%load_ext bpfnb
import ctypes
libc = ctypes.CDLL(None)
def call(*numbers):
    for number in numbers: libc.getpriority(77, number)"""


def counts(bars: Locator) -> list[list[object]]:
    found: list[list[object]] = bars.evaluate_all(
        "bars => bars.map(b => [b.dataset.range, Number(b.dataset.count)])"
    )
    return found


@pytest.mark.usefixtures("bcc_installed")
def test_a_bcc_cell_has_a_panel_and_a_histogram_that_moves(notebook, page, lab):
    views = ("h = calls.sizes.hist(); h", "t = calls.events.table(); t")
    cells = notebook("bcc-cell.ipynb", [START, CELL, *views, "0"])
    panel, hist, table = (cells.nth(i).locator(".jp-OutputArea .bpfnb").first for i in (1, 2, 3))
    page.keyboard.press("Escape")
    panel.scroll_into_view_if_needed()
    expect(panel.locator(".b-badge[role=status]").first).to_have_text("attached")
    expect(panel).to_contain_text("tracepoint/syscalls/sys_enter_getpriority")
    bars = hist.locator("rect.b-hbar")
    for turn in range(1, 6):
        ran(page, cells, 4, "call(*[4] * 10, *[100] * 30)")
        hist.scroll_into_view_if_needed()
        wanted = [["[4, 8)", 10 * turn], ["[64, 128)", 30 * turn]]
        until(page, lambda: counts(bars), lambda found, wanted=wanted: found == wanted)
    shot(page, "bcc-cell-histogram")
    table.scroll_into_view_if_needed()
    expect(table).to_contain_text("200 rows")
    shot(page, "bcc-cell-table")
    panel.scroll_into_view_if_needed()
    runs = panel.locator("tbody tr").filter(has_text="sys_enter_getpriority").locator("td").nth(2)
    expect(runs).to_have_text(re.compile("[1-9]"))
    shot(page, "bcc-cell-panel")

    # An error is said at the cell's own line, and the old program goes on.
    wrong = run_cell(page, cells, 1, CELL.replace("sizes.increment", "sices.increment"))
    expect(wrong.locator(".jp-OutputArea")).to_contain_text("sices")
    expect(wrong.locator(".jp-OutputArea")).to_contain_text("line 12")
    shot(page, "bcc-cell-error")
    assert ran(page, cells, 4, "call(4); print(calls.counts[4], calls.state)") == "51 attached"

    ran(page, cells, 4, "calls.stop()")

    def kept(book):
        return drawings(
            "".join(output.get("data", {}).get("text/html", "") for output in book.cells[2].outputs)
        )

    book = saved(page, lab[1] / "bcc-cell.ipynb", kept)
    (picture,) = kept(book)
    assert "201 values" in picture
    assert page.elsewhere == []
