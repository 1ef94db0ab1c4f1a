"""What a person sees: a cell run, its panel, a frame, a histogram and an error in a real JupyterLab."""

from __future__ import annotations

import re
from contextlib import suppress

from acting import box, until
from playwright.sync_api import expect

CELL = """%%bpf io
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    slots SEC(".maps") VIEW(hist, log2, ns);
const volatile u32 wanted = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u32 slot = 10;
    u64 *n = bpf_map_lookup_elem(&slots, &slot);
    if (n && (u32)bpf_get_current_pid_tgid() == wanted)
        __sync_fetch_and_add(n, 1);
    return 0;
}"""


def test_a_cell_its_panel_its_frame_and_its_histogram(notebook, page):
    cells = notebook(
        "seen.ipynb",
        [
            "%load_ext bpfnb\nimport os",
            CELL.replace("%%bpf io", "%%bpf io --set wanted={os.getpid()}"),
            "for _ in range(1000): os.getppid()",
            "io.slots.df.query('value > 0')",
            "io.slots.hist()",
            "%bpf list",
            "%bpf close --all",
        ],
    )
    panel = cells.nth(1).locator(".jp-OutputArea")
    expect(panel).to_contain_text("attached")
    expect(panel).to_contain_text("tracepoint/syscalls/sys_enter_getppid")
    expect(cells.nth(3).locator(".jp-OutputArea tbody tr")).to_have_text(re.compile(r"^\s*10\s*1000\s*$"))
    picture = cells.nth(4).locator(".jp-OutputArea")
    expect(picture.locator("section > img").first).to_be_visible()
    expect(picture.locator("section > img").first).to_have_attribute("alt", re.compile("1,000 values"))
    expect(cells.nth(5).locator(".jp-OutputArea")).to_contain_text("attached")
    assert page.elsewhere == []


def test_an_error_points_at_the_cells_line_without_a_stack(notebook, page):
    cells = notebook(
        "wrong.ipynb",
        ["%load_ext bpfnb", CELL.replace("    if (n && ", "    *n += 1;\n    if (")],
    )
    shown = cells.nth(1).locator(".jp-OutputArea")
    expect(shown).to_contain_text("VerifierError")
    expect(shown).to_contain_text("io, line 8")
    expect(shown).to_contain_text("*n += 1;")
    expect(shown).not_to_contain_text("Traceback")
    assert page.elsewhere == []


def test_completion_offers_tracepoints_in_a_section_name(notebook, page):
    cells = notebook("complete.ipynb", ["%load_ext bpfnb", "1"])
    editor = cells.nth(1).locator(".cm-content")
    offers = page.locator(".jp-Completer")
    for _ in range(10):  # JupyterLab gives the kernel a second for its answer
        editor.click()
        page.keyboard.press("Control+A")
        page.keyboard.type('%%bpf io\nSEC("tracepoint/sched/sched_sw', delay=10)
        page.keyboard.press("Tab")
        with suppress(AssertionError):
            expect(offers).to_contain_text("sched_switch", timeout=5_000)
            break
    expect(offers).to_contain_text("sched_switch")


def test_views_in_a_row_of_widgets_share_its_width_whatever_they_show(notebook, page):
    cells = notebook(
        "row.ipynb",
        [
            "import ipywidgets, pandas as pd\nfrom bpfnb import views\nframe = pd.DataFrame({'x': range(100)})\n"
            "left, right = views.table(frame), views.hist(frame, 'x')\n"
            "ipywidgets.HBox([left, ipywidgets.VBox([right])])",
        ],
    )
    row = cells.first.locator(".widget-hbox")
    expect(row.locator("section.bpfnb")).to_have_count(2)
    sections = row.locator("section.bpfnb")
    whole = box(row)["width"]
    until(
        page,
        lambda: [each["width"] for each in map(box, sections.all())],
        lambda widths: abs(widths[0] - widths[1]) < 20 and sum(widths) > 0.95 * whole,
    )
