"""``bpfnb lab grade``: execute students' notebooks, one fresh kernel each, and collect what their checks said.

What a notebook does is done with the rights of whoever grades it: grade unknown people's work in a machine of its own,
or in replay as a user without privileges.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bpfnb.errors import BadValue, MissingDependency
from bpfnb.lab import results
from bpfnb.lab.notebooks import lab_of, recordings_of
from bpfnb.lab.tasks import find, labs
from bpfnb.views.plain import Table

__all__ = ["Grade", "grade", "lab_table", "save", "table"]

CELL, NOTEBOOK = 60.0, 600.0
"""Seconds that a cell and a notebook may take."""


@dataclass(frozen=True)
class Grade:
    """One task of one notebook. ``note`` says why it is not solved: the check's hint, or that it was not reached.

    ``recorded``: it was right of the recorded program, in the place of which the notebook has another, or none.
    """

    notebook: str
    lab: str
    task: str
    passed: bool
    attempts: int
    note: str
    recorded: bool = False


def grade(
    notebooks: Sequence[Path],
    *,
    replay: bool = False,
    recordings: Path | None = None,
    cell_timeout: float = CELL,
    timeout: float = NOTEBOOK,
) -> list[Grade]:
    """Grade notebooks: all tasks of each one's lab, in their order.

    A cell that fails, or is interrupted after *cell_timeout* seconds, does not keep the rest from running; after
    *timeout* seconds the notebook's kernel is ended. With *replay* the lab's recordings are used, from the folder
    ``NN`` in *recordings*, else from ``recordings/NN`` beside the notebook or above it. A task is then solved only by
    programs that are the recorded ones, but for comments and spacing: others are not loaded, so nobody knows what they
    would have seen (:mod:`bpfnb.lab.ownership`).

    :raises MissingDependency: nbclient is not installed.
    """
    return [one for path in notebooks for one in _graded(path, replay, recordings, cell_timeout, timeout)]


def _graded(
    path: Path, replay: bool, recordings: Path | None, cell_timeout: float, timeout: float
) -> list[Grade]:
    try:
        notebook = json.loads(path.read_text())
        name = lab_of(notebook)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return [Grade(str(path), "", "", False, 0, f"not a notebook that can be read: {error}")]
    if name is None or name not in {lab.name for lab in labs()}:
        return [Grade(str(path), name or "", "", False, 0, "not a notebook of a lab")]
    lab = find(name)
    environment = dict(os.environ)
    if replay:
        folder = _recordings(path, name, recordings)
        if folder is None:
            notes = f"there are no recordings of {name} (--recordings names their folder)"
            return [Grade(str(path), name, task, False, 0, notes) for task in lab.tasks]
        environment["BPFNB_REPLAY"] = str(folder)
    with tempfile.TemporaryDirectory(prefix="bpfnb-grade-") as place:
        file = Path(place) / "results.json"
        environment["BPFNB_RESULTS"] = str(file)
        cells, trouble = _execute(path, environment, cell_timeout, timeout)
        entries = {entry["task"].partition(".")[2]: entry for entry in results.read(file)}
    grades = []
    for task in lab.tasks:
        entry = entries.get(task)
        note = trouble or _why_not(cells, f"{name}.{task}") if entry is None else str(entry.get("hint", ""))
        passed = entry is not None and entry.get("passed") is True
        recorded = entry is not None and entry.get("recorded") is True
        attempts = entry["attempts"] if entry else 0
        grades.append(Grade(str(path), name, task, passed, attempts, note, recorded))
    return grades


def _recordings(path: Path, lab: str, given: Path | None) -> Path | None:
    if given is None:
        return recordings_of(lab, path.parent)
    folder = (given / lab.removeprefix("lab")).resolve()
    return folder if folder.is_dir() else None


def _why_not(cells: Sequence[Any], task: str) -> str:
    """Why there is no verdict on a task whose notebook ran to its end."""
    for cell in cells:
        if cell.cell_type == "code" and re.search(rf"\b{re.escape(task)}\b", cell.source):
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    return f"its check was not reached: {output.ename}: {output.evalue}".partition("\n")[0]
    return "its check did not run"


def _execute(
    path: Path, environment: dict[str, str], cell_timeout: float, timeout: float
) -> tuple[Sequence[Any], str]:
    """Run the notebook to its end; returns its cells, and what kept it from that, in words."""
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import DeadKernelError
        from traitlets.config import Config
    except ImportError as error:
        raise MissingDependency(
            f"running notebooks needs {error.name}", hints=["pip install 'bpfnb[lab]'"]
        ) from None
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # of many kinds, for a file that somebody handed in
        return (), f"not a notebook that can be read: {error}"
    with tempfile.TemporaryDirectory(prefix="bpfnb-") as sockets:
        client = NotebookClient(
            notebook,
            timeout=cell_timeout,
            interrupt_on_timeout=True,
            allow_errors=True,
            kernel_name="python3",
            config=Config(ConnectionFileMixin={"transport": "ipc", "ip": f"{sockets}/kernel"}),
            resources={"metadata": {"path": str(path.resolve().parent)}},
        )
        client.log.setLevel("CRITICAL")  # a cell that took too long is told of in the table
        began = time.monotonic()
        try:
            asyncio.run(asyncio.wait_for(client.async_execute(env=environment), timeout))
        except (
            TimeoutError,
            DeadKernelError,
        ):  # nbclient takes its own being cancelled for the kernel's death
            late = time.monotonic() - began >= timeout
            return (
                notebook.cells,
                f"the notebook took longer than {timeout:g} s" if late else "the notebook's kernel died",
            )
    return notebook.cells, ""


def table(grades: Sequence[Grade]) -> Table:
    """One row a task, and below how many are solved."""
    rows = [
        (
            one.notebook,
            f"{one.lab}.{one.task}",
            "solved" if one.passed else "recorded, not yours" if one.recorded else "-",
            one.attempts,
            one.note,
        )
        for one in grades
    ]
    notebooks = len({one.notebook for one in grades})
    solved = sum(one.passed for one in grades)
    footer = f"{solved} of {len(grades)} tasks solved in {notebooks} notebook{'s' * (notebooks != 1)}"
    return Table(("notebook", "task", "verdict", "attempts", "note"), rows, footer=footer)


def save(grades: Sequence[Grade], path: Path) -> None:
    """Write grades as ``.csv`` or ``.json``. :raises BadValue: for another ending."""
    rows = [asdict(one) for one in grades]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1) + "\n")
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Grade)])
            writer.writeheader()
            writer.writerows(rows)
    else:
        raise BadValue(f"grades are saved as .csv or .json, not as '{path.name}'")


def lab_table() -> Table:
    """One row a lab."""
    rows = [(lab.name, lab.title, len(lab.tasks), f"{lab.minutes} min", lab.in_guest) for lab in labs()]
    return Table(("lab", "title", "tasks", "time", "in a guest"), rows, empty="there are no labs")
