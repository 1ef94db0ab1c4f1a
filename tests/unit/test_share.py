"""Which recordings a notebook needs, read from its cells, and where they are looked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bpfnb.errors import BadValue, MissingRecording, UnknownName
from bpfnb.share import named, recordings_of, share


def notebook(*cells: str) -> dict[str, Any]:
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True), "metadata": {}} for cell in cells]
    return {
        "cells": [*made, {"cell_type": "markdown", "source": "%%bpf prose", "metadata": {}}],
        "nbformat": 4,
    }


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("%%bpf io\nint x;", ["io"]),
        ("%%bpf --no-attach io\nint x;", ["io"]),
        ("%%bpf io --no-attach\nSEC(\"x\") // tools.nothing()", ["io"]),
        ('obj = bpfnb.load(SOURCE, name="disk")', ["disk"]),
        ("obj = load('''a (b) c''', watchdog=f(1),\n  name='disk')", ["disk"]),
        ("t = bpfnb.tools.execsnoop(comm='sh')", ["execsnoop"]),
        ("from bpfnb import tools\ntools.flows().view()", ["flows"]),
        ("%bpf tool runqlat --pid 1", ["runqlat"]),
        ("%bpf trace sched:sched_switch", ["trace"]),
        ("%bpf list", []),
        ("print('name=')", []),
    ],
)  # fmt: skip
def test_names_of_what_cells_load(cell: str, names: list[str]) -> None:
    assert named(notebook(cell)) == names


@pytest.mark.parametrize(
    "folder", [".", "recordings", "recordings/05-flames", "recordings/05", "../recordings/05"]
)
def test_recordings_are_found_beside_the_notebook(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "labs" / "05-flames.ipynb"
    at = (path.parent / folder).resolve()
    at.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(exist_ok=True)
    for name in ("io.bpfnb", "io-2.bpfnb", "io-2b.bpfnb", "other.bpfnb", "ioo.bpfnb", "facts.json"):
        (at / name).write_bytes(b"")
    found = recordings_of(path, notebook("%%bpf io\n"))
    assert found == {f"recordings/{name}": at / name for name in ("io.bpfnb", "io-2.bpfnb", "facts.json")}


def test_files_that_cells_name_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("data/incident.bpfnb", "outside.bpfnb"):
        (tmp_path / name).write_bytes(b"")
    cell = "bpfnb.replay('data/incident.bpfnb'), bpfnb.replay('../x.bpfnb'), bpfnb.replay('none.bpfnb')"
    found = recordings_of(tmp_path / "x.ipynb", notebook(cell))
    assert found == {"data/incident.bpfnb": tmp_path / "data/incident.bpfnb"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "io.bpfnb").write_bytes(b"")
    with pytest.raises(MissingRecording, match="no recording of disk"):
        recordings_of(tmp_path / "x.ipynb", notebook("%%bpf io\n", "%%bpf disk\n"))


def test_what_is_no_notebook(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    with pytest.raises(UnknownName):
        share(path)
    for text in ("", "[]", json.dumps({"cells": [{}]})):
        path.write_text(text)
        with pytest.raises(BadValue, match="no notebook"):
            share(path)
