"""The student's notebook of a lab, made from the notebook with the solutions: one source, so they cannot differ."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

__all__ = ["lab_of", "recordings_of", "student", "write"]

_SOLUTION = "solution"
_CELL = re.compile(r"%%(?:bpf|bpftrace)\b.*")
_TASK = re.compile(r"\b(lab\d\d)\.\w+")


def student(solution: dict[str, Any]) -> dict[str, Any]:
    """The student's notebook: each code cell tagged ``solution`` as its ``skeleton``, such Markdown cells left out."""
    made = copy.deepcopy(solution)
    made["cells"] = [cell for cell in map(_for_student, made["cells"]) if cell is not None]
    return made


def write(solution: Path, target: Path) -> None:
    """Make the student's notebook *target* from the file *solution*."""
    target.write_text(as_text(student(json.loads(solution.read_text()))))


def as_text(notebook: dict[str, Any]) -> str:
    """As Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def lab_of(notebook: dict[str, Any]) -> str | None:
    """The name of the lab that a notebook is of: from its metadata, else from the tasks that it names."""
    said = notebook.get("metadata", {}).get("bpfnb", {})
    if isinstance(said, dict) and isinstance(said.get("lab"), str):
        return str(said["lab"])
    text = "\n".join("".join(cell.get("source", "")) for cell in notebook.get("cells", []))
    found = _TASK.search(text)
    return found[1] if found else None


def recordings_of(lab: str, beside: Path) -> Path | None:
    """The folder with a lab's recordings: ``recordings/NN`` in the notebook's folder *beside*, or one folder up."""
    number = lab.removeprefix("lab")
    here = beside.resolve()
    known = (here / "recordings" / number, here.parent / "recordings" / number)
    return next((folder for folder in known if folder.is_dir()), None)


def _for_student(cell: dict[str, Any]) -> dict[str, Any] | None:
    metadata = cell["metadata"]
    tags = metadata.get("tags", [])
    skeleton = metadata.pop("skeleton", None)
    if cell["cell_type"] == "code":
        cell["outputs"], cell["execution_count"] = [], None
    if _SOLUTION not in tags:
        return cell
    left_out = skeleton is None and cell["cell_type"] != "code"
    if left_out or (skeleton is not None and not "".join(skeleton)):
        return None
    # Running all cells goes on where one is not filled in yet.
    kept = [tag for tag in tags if tag not in (_SOLUTION, "raises-exception")]
    metadata["tags"] = [*kept, "raises-exception"] if cell["cell_type"] == "code" else kept
    lines = "".join(skeleton) if isinstance(skeleton, list) else skeleton
    cell["source"] = _empty(cell["source"]) if lines is None else lines.splitlines(keepends=True)
    return cell


def _empty(source: str | list[str]) -> list[str]:
    """What is left of a solution's cell without its own skeleton: the line that names its object."""
    magic = _CELL.match("".join(source))
    return [f"{magic[0]}\n", "// your program"] if magic else ["# your answer"]
