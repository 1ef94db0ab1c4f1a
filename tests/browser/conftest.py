"""A real JupyterLab on this machine and a page of headless Chromium that shows it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

pytest.importorskip("playwright", reason="the browser tests need playwright: pip install 'bpfnb[test]'")
from playwright.sync_api import Browser, Page, sync_playwright

from bpfnb.doctor import permitted

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab and the folder it shows."""
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)
    root = tmp_path_factory.mktemp("lab")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--port={port}",
            "--ip=127.0.0.1",
            "--IdentityProvider.token=",
            f"--ServerApp.root_dir={root}",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ],
        cwd=root,
        env={
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(root / ".config"),
            "JUPYTER_DATA_DIR": str(root / ".data"),
        },
        stdout=subprocess.DEVNULL,
        stderr=(root / "server.log").open("w"),
    )
    address = f"http://127.0.0.1:{port}"
    deadline = monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=1).close()
            break
        except OSError:
            assert server.poll() is None, (root / "server.log").read_text()
            assert monotonic() < deadline, "JupyterLab did not start"
    yield address, root
    server.terminate()
    server.wait(30)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that refuses to talk to anything but this machine, and remembers that it was asked to."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
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
