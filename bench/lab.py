"""A real JupyterLab with a page of headless Chromium, in which cells are run and frames of the screen are timed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

__all__ = ["Bench", "opened"]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
TIMER = """
window.benchTimes = []; let last = performance.now();
requestAnimationFrame(function step(now) { benchTimes.push(now - last); last = now; requestAnimationFrame(step); });
"""


class Bench:
    """One page of one notebook."""

    def __init__(self, page: Any, address: str, root: Path) -> None:
        self.page = page
        self.root = root
        self._address = address

    def run(self, name: str, cells: list[str]) -> None:
        """Open a notebook of *cells* and run all of them; the last one prints ``READY``."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.root / f"{name}.ipynb")
        self.page.goto(f"{self._address}/lab/tree/{name}.ipynb?reset")
        self.page.wait_for_function(
            "document.querySelector('#jp-main-statusbar')?.textContent.includes('| Idle')", timeout=60_000
        )
        self.page.locator(".jp-Cell").first.click()
        self.page.get_by_text("Run", exact=True).first.click()
        self.page.get_by_text("Run All Cells", exact=True).click()
        self.page.get_by_text("READY", exact=True).wait_for(timeout=60_000)

    def frames(self, seconds: float) -> list[float]:
        """Milliseconds between frames of the screen during *seconds*."""
        self.page.evaluate(TIMER)
        self.page.wait_for_timeout(1000 * seconds)
        return list(self.page.evaluate("benchTimes.slice(1)"))

    def shut_down(self) -> None:
        """End all kernels; what they had loaded goes with them."""
        with urllib.request.urlopen(f"{self._address}/api/sessions") as answer:
            sessions = json.load(answer)
        for session in sessions:
            address = f"{self._address}/api/sessions/{session['id']}"
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()

    def heap(self) -> int:
        """Bytes of JavaScript's heap after a collection."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("HeapProfiler.collectGarbage")
        used = session.send("Runtime.getHeapUsage")["usedSize"]
        session.detach()
        return int(used)


@contextlib.contextmanager
def opened() -> Iterator[Bench]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("bench: the views' benchmarks need chromium; ./run bench installs it")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        root = Path(folder)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
                "--ip=127.0.0.1", "--IdentityProvider.token=", f"--ServerApp.root_dir={root}",
                "--LabApp.news_url=None", "--ServerApp.disable_check_xsrf=True",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            cwd=root,
            env={
                **os.environ,
                "JUPYTER_CONFIG_DIR": str(root / ".config"),
                "JUPYTER_DATA_DIR": str(root / ".data"),
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            _await(address, server)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 1200})
                yield Bench(page, address, root)
                browser.close()
        finally:
            server.terminate()
            server.wait(30)


def _await(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/api", timeout=1).close()
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("bench: JupyterLab did not start")
        time.sleep(0.1)
