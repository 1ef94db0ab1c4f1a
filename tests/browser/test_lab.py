"""What a person sees: a cell run, its panel, a frame, a histogram and an error in a real JupyterLab."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

CELL = """%%bpf io
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    slots SEC(".maps") VIEW(hist, log2, ns);
const volatile u32 wanted = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u32 slot = 10;
    u64 *n = bpf_map_lookup_elem(&slots, &slot);
    if (n && bpf_get_current_pid_tgid() >> 32 == wanted)
        __sync_fetch_and_add(n, 1);
    return 0;
}"""


@pytest.fixture
def notebook(lab, page):
    """A function that opens a notebook of these cells, runs all of them and waits until they are done."""
    address, root = lab

    def run(name: str, cells: list[str]):
        notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, root / name)
        page.goto(f"{address}/lab/tree/{name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)
        page.get_by_text("Run", exact=True).first.click()
        page.get_by_text("Run All Cells", exact=True).first.click()
        prompt = page.locator(".jp-Notebook .jp-Cell:last-child .jp-InputPrompt")
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=60_000)
        return page.locator(".jp-Notebook .jp-Cell")

    return run


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
    expect(picture.locator("svg").first).to_be_visible()
    expect(picture).to_contain_text("1,000 values")
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
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.type('%%bpf io\nSEC("tracepoint/sched/sched_sw', delay=10)
    page.keyboard.press("Tab")
    box = page.locator(".jp-Completer")
    expect(box).to_contain_text("sched_switch", timeout=30_000)
