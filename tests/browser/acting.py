"""What a person does in a notebook's page, and how the tests wait for what comes of it.

Whatever the page or the kernel does takes its time, on a busy machine a long one. So nothing is read once and compared:
playwright's ``expect`` reads again until it fits, and :func:`until` does so for all that it cannot express.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TypeVar

import nbformat
from nbformat import NotebookNode
from nbformat.reader import NotJSONError
from playwright.sync_api import Error, FloatRect, Locator, Page, expect

__all__ = [
    "PATIENCE", "SHOTS", "answer", "box", "changes", "dark", "drag", "point", "ran", "run_cell", "saved", "shot", "until",
]  # fmt: skip

T = TypeVar("T")

PATIENCE = 40
"""Seconds until what is awaited counts as missing: many times what it takes on a quiet machine."""

SHOTS = Path(os.environ.get("BPFNB_SHOTS", "build/shots"))
"""Where pictures are kept for people to look at."""


def until(page: Page, read: Callable[[], T], holds: Callable[[T], object] = bool) -> T:
    """What *read* gives as soon as it *holds*. AssertionError with the last value if it does not for a long time."""
    end = monotonic() + PATIENCE
    while not holds(value := read()):
        if monotonic() > end:
            raise AssertionError(f"after {PATIENCE} s still: {value!r:.3000}")
        page.wait_for_timeout(50)  # not time.sleep: the page's requests go through this thread
    return value


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


# Cells

_runs = itertools.count(1)


def run_cell(page: Page, cells: Locator, index: int, code: str) -> Locator:
    """Put *code* into a cell and run it; does not wait for its end."""
    cell = cells.nth(index)
    editor = cell.locator(".cm-content")
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    expect(editor).to_contain_text(code.splitlines()[-1].strip())
    page.keyboard.press("Control+Enter")
    return cell


def ran(page: Page, cells: Locator, index: int, code: str) -> str:
    """Put *code* into a cell, run it and wait until it is done: what it printed."""
    end = f"run {next(_runs)} is done"  # told from what the same code printed before
    output = run_cell(page, cells, index, f"{code}\nprint('{end}')").locator(".jp-OutputArea").first
    try:
        expect(output).to_contain_text(re.compile(rf"{end}\s*$"), timeout=90_000)
    except AssertionError as error:
        error.add_note(cells.nth(index).inner_text())
        raise
    return output.inner_text().strip().removesuffix(end).strip()


def answer(page: Page, cells: Locator, code: str) -> str:
    """What the last cell prints of an expression."""
    return ran(page, cells, -1, f"print({code})")


def saved(page: Page, path: Path, ready: Callable[[NotebookNode], object]) -> NotebookNode:
    """The notebook at *path*, which the page saves until all is in it that *ready* asks for."""
    page.evaluate("document.activeElement?.blur()")  # fields of views keep their keys for themselves

    def save() -> NotebookNode | None:
        page.keyboard.press("Control+s")
        expect(page.locator(".lm-TabBar-tab.jp-mod-current.jp-mod-dirty")).to_have_count(0)
        try:
            return nbformat.read(path, 4)
        except NotJSONError:  # the server is writing it
            return None

    book = until(page, save, lambda book: book and ready(book))
    assert book
    return book


# Pointing


def box(thing: Locator) -> FloatRect:
    """Where *thing* is in the window, once it is in sight and stands still."""
    before: list[FloatRect | None] = [None]

    def still(now: FloatRect | None) -> bool:
        before.append(now)
        return now is not None and now == before[-2]

    thing.scroll_into_view_if_needed()
    found = until(thing.page, thing.bounding_box, still)
    assert found
    return found


def point(thing: Locator, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
    """The place in the window of a point within *thing*, given as shares of its width and height."""
    at = box(thing)
    return at["x"] + at["width"] * across, at["y"] + at["height"] * down


def drag(page: Page, start: tuple[float, float], stop: tuple[float, float]) -> None:
    """From one place in the window to another."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2, steps=4)
    page.mouse.move(*stop, steps=4)
    page.mouse.up()


def changes(place: Locator, css: str, count: int) -> list[str]:
    """*count* + 1 different texts that *css* shows, one after the other."""
    return place.locator(css).first.evaluate(
        """(e, [count, patience]) => new Promise((done, failed) => {
             const seen = [e.textContent];
             const observer = new MutationObserver(() => {
               if (e.textContent !== seen.at(-1)) seen.push(e.textContent);
               if (seen.length > count) { observer.disconnect(); done(seen); }
             });
             observer.observe(e, { childList: true, characterData: true, subtree: true });
             setTimeout(() => failed(new Error("only " + JSON.stringify(seen))), patience);
           })""",
        [count, 1000 * PATIENCE],
    )


def dark(page: Page) -> None:
    """Choose JupyterLab's dark theme from its menu."""
    body = page.locator("body")
    for _ in range(4):
        with suppress(Error, AssertionError):  # a menu that was open already, or closed again
            page.get_by_text("Settings", exact=True).first.click(timeout=20_000)
            page.get_by_text("Theme", exact=True).first.hover(timeout=20_000)
            page.get_by_text("JupyterLab Dark", exact=True).first.click(timeout=20_000)
            expect(body).to_have_attribute("data-jp-theme-light", "false", timeout=20_000)
            return
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
    expect(body).to_have_attribute("data-jp-theme-light", "false")
