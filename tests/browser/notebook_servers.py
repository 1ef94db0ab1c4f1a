"""Servers of notebooks and of pages on this machine, and notebooks that are opened there in a page."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Error, Locator, Page, expect

__all__ = ["SLOW", "end_kernels", "jupyter", "open_notebook", "running", "serving"]

SLOW = 120_000  # ms that a page may take to load, or cells to run

running: set[str] = set()
"""Addresses of Jupyter servers."""


@contextmanager
def serving(command: list[str], root: Path, ready: str = "") -> Iterator[str]:
    """The address of a server on this machine; *command* takes a port, and the page *ready* answers once it is up."""
    log = root / "server.log"
    for last in (False, False, True):  # another process may take the port first
        port = _free_port()
        with log.open("w") as errors:
            server = subprocess.Popen(
                [part.format(port=port) for part in command],
                cwd=root,
                env={
                    **os.environ,
                    "JUPYTER_CONFIG_DIR": str(root / ".config"),
                    "JUPYTER_DATA_DIR": str(root / ".data"),
                    "XDG_CONFIG_HOME": str(root / ".config"),
                    "XDG_STATE_HOME": str(root / ".state"),
                },
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        address = f"http://127.0.0.1:{port}"
        try:
            if _answers(server, f"{address}{ready}"):
                yield address
                return
        finally:
            _end(server)
        assert not last, log.read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(server: subprocess.Popen[bytes], page: str) -> bool:
    """Whether *server* serves *page*; False as soon as it ended instead."""
    deadline = monotonic() + 120
    while server.poll() is None and monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(page, timeout=5).close()
            return server.poll() is None
        sleep(0.1)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def jupyter(program: str, root: Path, *options: str) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        program,
        "--no-browser",
        "--expose-app-in-browser",  # for READY
        "--allow-root",
        "--port={port}",
        "--ServerApp.port_retries=0",
        "--ip=127.0.0.1",
        "--ServerApp.disable_check_xsrf=True",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={root}",
        *options,
    ]
    with serving(command, root, "/api") as address:
        running.add(address)
        yield address
        running.discard(address)


def end_kernels(address: str) -> None:
    """End the kernels of all notebooks that are open at a Jupyter server."""
    with urllib.request.urlopen(f"{address}/api/sessions", timeout=60) as answer:
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(f"{address}/api/sessions/{session['id']}", method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()


READY = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
    const kernel = session?.isReady && session.session?.kernel;
    return kernel && kernel.connectionStatus === "connected" && kernel.status === "idle";
}"""
"""Whether the page is connected with the notebook's kernel, and knows it. Toolbars say so before."""


def open_notebook(page: Page, address: str, root: Path, name: str, cells: list[str]) -> Locator:
    """Write a notebook of these cells, open it at *address*, run all of them and wait until they are done."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, root / name)
    page.goto(f"{address}/{name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    if "/lab/" in address:  # which loads the page again for ?reset
        expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=SLOW)
    page.wait_for_function(READY, polling=200)
    first = page.locator(".jp-Notebook .jp-Cell .jp-InputPrompt").first
    for _ in range(4):
        # a menu may close again while the page is still being put together
        with suppress(Error, AssertionError):
            page.get_by_text("Run", exact=True).first.click(timeout=20_000)
            page.get_by_text("Run All Cells", exact=True).first.click(timeout=20_000)
            expect(first).not_to_have_text("[ ]:", timeout=20_000)
            break
        page.keyboard.press("Escape")
    prompt = page.locator(".jp-Notebook .jp-Cell:last-child .jp-InputPrompt")
    try:
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=SLOW)
    except AssertionError as error:
        error.add_note("\n".join(page.locator(".jp-Notebook .jp-Cell").all_inner_texts()))
        raise
    return page.locator(".jp-Notebook .jp-Cell")
