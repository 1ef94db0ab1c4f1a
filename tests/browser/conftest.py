"""Real notebook servers on this machine and a page of headless Chromium that shows them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the browser tests need playwright: pip install 'bpfnb[test]'")
from acting import PATIENCE, shot
from notebook_servers import SLOW, end_kernels, jupyter, open_notebook, running
from playwright.sync_api import Browser, Error, Locator, Page, expect, sync_playwright

from bpfnb.doctor import permitted

# A machine with two cores runs the page, the server and the kernel, and perhaps another suite beside.
expect.set_options(timeout=1000 * PATIENCE)
LIMIT = 480  # seconds a test, on a machine that is busy with another suite

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(page := getattr(item, "funcargs", {}).get("page"), Page):
        with suppress(Error):  # the page may be what failed
            shot(page, f"failed-{item.name}")
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Of a module, since playwright keeps an event loop running, in which no other test could start one.
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _kernels_end() -> Iterator[None]:
    """Kernels and their probes end with the test that began them, rather than slow the next ones."""
    yield
    for address in running:
        end_kernels(address)


@pytest.fixture(scope="session")
def live_kernel() -> None:
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)


@pytest.fixture(scope="module")
def lab(live_kernel: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab and the folder it shows."""
    root = tmp_path_factory.mktemp("lab")
    quiet = root / ".config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false"}')  # whether it may would be asked over the page's corner
    never = "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
    with jupyter("jupyterlab", root, "--LabApp.news_url=None", never) as address:
        yield address, root


@pytest.fixture(scope="module")
def notebook7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a Notebook 7 and the folder it shows."""
    root = tmp_path_factory.mktemp("notebook7")
    with jupyter("notebook", root) as address:
        yield address, root


@pytest.fixture
def notebook(lab: tuple[str, Path], page: Page) -> Callable[[str, list[str]], Locator]:
    """A function that opens a notebook of these cells in JupyterLab, runs all and waits until they are done."""
    address, root = lab
    return lambda name, cells: open_notebook(page, f"{address}/lab/tree", root, name, cells)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that refuses to talk to anything but this machine, and remembers that it was asked to."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(SLOW)
    page.elsewhere = []  # type: ignore[attr-defined]

    def guard(route):  # type: ignore[no-untyped-def]
        if route.request.url.startswith(("http://127.0.0.1", "data:", "blob:")):
            route.continue_()
        else:
            page.elsewhere.append(route.request.url)  # type: ignore[attr-defined]
            route.abort()

    page.route("**/*", guard)
    yield page
    context.close()
