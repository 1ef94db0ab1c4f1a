"""Ready-made tools as a person starts them in JupyterLab: drawn, moving, stopped, kept in the notebook."""

from __future__ import annotations

import re

from acting import answer, ran, saved, shot, until
from notebook_servers import SLOW
from pictures import drawings
from playwright.sync_api import expect

SETUP = """%load_ext bpfnb
import os, subprocess, threading, time
def run(number): subprocess.run(["/bin/true", f"--number={number}"])
pids = []
def sleep(times):
    def work():
        for _ in range(times): time.sleep(0.001)
    worker = threading.Thread(target=work); worker.start(); worker.join()"""


def test_tools_are_drawn_move_stop_and_stay_in_the_notebook(notebook, page, lab):
    lines = (
        "%bpf tool execsnoop --ppid {os.getpid()} --comm true --add user",
        "%bpf tool runqlat --pid {os.getpid()}",
    )
    cells = notebook("tools.ipynb", [SETUP, *lines, "0"])
    page.keyboard.press("Escape")
    execs, waits = (cells.nth(i).locator(".jp-OutputArea .bpfnb").first for i in (1, 2))

    # A table with the tool's columns, to which each program adds a row.
    execs.scroll_into_view_if_needed()
    expect(execs.locator(".b-title").first).to_have_text("execsnoop")
    columns = ["time", "comm", "pid", "ppid", "ret", "args", "user"]
    names = execs.locator(".et-name > span:first-child")
    until(page, lambda: [name.split("\n")[0] for name in names.all_inner_texts()], columns.__eq__)
    for number in range(3):
        ran(page, cells, 3, f"run({number})")
        execs.scroll_into_view_if_needed()
        expect(execs.locator(".et-row:visible")).to_have_count(number + 1)
        expect(execs.locator(".et-row:visible").last).to_contain_text(f"/bin/true --number={number}")

    # A histogram that has what the tool's frame has.
    def drawn() -> int:
        label = waits.locator("svg.b-hist").get_attribute("aria-label") or ""
        found = re.search(r"([\d,]+) values", label)
        return int(found[1].replace(",", "")) if found else 0

    before = 0
    for _ in range(2):
        ran(page, cells, 3, "sleep(200)")
        waits.scroll_into_view_if_needed()
        before = until(page, drawn, lambda now, before=before: now >= before + 200)
    shot(page, "tools-live")

    ran(page, cells, 3, "execsnoop.stop(); runqlat.stop()")
    total = int(answer(page, cells, "runqlat.df['count'].sum()"))
    ran(page, cells, 3, "run(3); sleep(200); execsnoop.close(); runqlat.close()")

    def kept(book):
        pages = ["".join(o.get("data", {}).get("text/html", "") for o in c.outputs) for c in book.cells]
        return drawings(pages[2]) and "--number=2" in pages[1] and pages

    pages = kept(saved(page, lab[1] / "tools.ipynb", kept))
    assert "--number=3" not in pages[1]
    assert f"{total:,} values" in drawings(pages[2])[0]

    page.goto(f"{lab[0]}/lab/tree/tools.ipynb?reset")
    cells = page.locator(".jp-Notebook .jp-Cell")
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=SLOW)
    cells.nth(1).scroll_into_view_if_needed()
    expect(cells.nth(1)).to_contain_text("--number=2")
    cells.nth(2).scroll_into_view_if_needed()
    image = cells.nth(2).locator("img[src^='data:image/svg']")
    until(page, lambda: image.evaluate("i => i.complete && i.naturalWidth"))
    shot(page, "tools-reopened")
    assert page.elsewhere == []


def test_a_filter_that_lets_nothing_pass_is_told_below_the_view_until_rows_come(notebook, page, lab):
    program = lab[1] / "qzjx-silent"
    program.symlink_to("/bin/true")
    lines = (
        "%bpf tool execsnoop --comm qzjx-silent",
        "%bpf tool runqlat --pid 4194305",
        "%bpf tool profile --comm qzjx-silent",
    )
    cells = notebook("silent.ipynb", ["%load_ext bpfnb", *lines, "0"])
    page.keyboard.press("Escape")
    said = ("no process is called 'qzjx-silent' now", "there is no process 4194305 now")
    for place, why in ((1, said[0]), (2, said[1]), (3, said[0])):
        view = cells.nth(place).locator(".jp-OutputArea .bpfnb").first
        view.scroll_into_view_if_needed()
        expect(view.locator(".b-note")).to_have_text(f"nothing seen yet: {why}")
        shot(page, f"tools-silent-{place}")
    ran(page, cells, 4, f"import subprocess; subprocess.run(['{program}'])")
    execs = cells.nth(1).locator(".jp-OutputArea .bpfnb").first
    execs.scroll_into_view_if_needed()
    expect(execs.locator(".et-row:visible")).to_have_count(1)
    expect(execs.locator(".b-note")).to_be_hidden()
    ran(page, cells, 4, "execsnoop.close(); runqlat.close(); profile.close()")
    waits = cells.nth(2).locator(".jp-OutputArea .b-note")
    waits.scroll_into_view_if_needed()
    expect(waits).to_have_text(f"nothing was seen: {said[1]}")
    assert page.elsewhere == []
