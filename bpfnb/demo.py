"""``bpfnb demo``: execute the quickstart notebook on this machine's kernel and say what it measured."""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfnb.doctor import permitted
from bpfnb.errors import MissingDependency

__all__ = ["execute", "main", "summary", "to_html"]

QUICKSTART = Path("notebooks/quickstart.ipynb")
PLOTLY = "application/vnd.plotly.v1+json"


def execute(path: Path, *, timeout: int = 120, env: Mapping[str, str] | None = None) -> Any:
    """Run every cell of a notebook in a fresh kernel, in the notebook's folder; returns the executed notebook.

    *env* is added to the environment.

    :raises nbclient.exceptions.CellExecutionError: a cell failed.
    :raises MissingDependency: nbclient is not installed.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from traitlets.config import Config
    except ImportError as error:
        raise MissingDependency(
            f"running notebooks needs {error.name}", hints=["pip install 'bpfnb[lab]'"]
        ) from None
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="bpfnb-") as sockets:
        # Sockets in a folder of this user's: nobody else on the machine can listen to the notebook's kernel.
        config = Config(ConnectionFileMixin={"transport": "ipc", "ip": f"{sockets}/kernel"})
        client = NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            config=config,
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute(env={**os.environ, "PLOTLY_RENDERER": "plotly_mimetype", **(env or {})})
    return notebook


def to_html(notebook: Any) -> str:
    """The executed notebook as one HTML page that loads nothing from elsewhere."""
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    figures = [
        output.data
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if PLOTLY in output.get("data", {})
    ]
    for number, data in enumerate(figures):
        import plotly.io

        # The first figure brings plotly.js for all.
        data["text/html"] = plotly.io.to_html(
            data.pop(PLOTLY),
            include_plotlyjs=number == 0,
            include_mathjax=False,
            full_html=False,
            validate=False,
        )
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="")
    text, _ = exporter.from_notebook_node(notebook)
    return str(text)


def summary(notebook: Any) -> str:
    """What the cells tagged ``summary`` printed."""
    lines = []
    for cell in notebook.cells:
        if "summary" in cell.metadata.get("tags", []):
            lines += [
                out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout"
            ]
    return "".join(lines)


def main(directory: Path | None = None) -> int:
    """Run the demo; returns the exit code. *directory* holds notebooks/ and gets build/."""
    refused = permitted()
    if refused is not None:
        print(refused.render(color=sys.stderr.isatty()), file=sys.stderr)
        return 1
    root = directory or Path.cwd()
    source = root / QUICKSTART
    if not source.exists():
        print(
            f"bpfnb demo: there is no {QUICKSTART} here; run it in a clone of the repository", file=sys.stderr
        )
        return 1
    import nbformat

    print(f"Running {QUICKSTART} on the live kernel {os.uname().release} ...", flush=True)
    notebook = execute(source)
    build = root / "build"
    build.mkdir(exist_ok=True)
    nbformat.write(notebook, build / source.name)
    page = build / source.with_suffix(".html").name
    page.write_text(to_html(notebook))
    print(f"\n{summary(notebook)}")
    print(f"The executed notebook: build/{source.name}\nThe same as a page:    build/{page.name}")
    return 0
