"""The tests of labs: a solution is executed, and wrong answers are judged in its kernel, where its objects are."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import pytest

from bpfnb.demo import execute
from bpfnb.doctor import permitted
from bpfnb.errors import MissingDependency
from bpfnb.lab import find
from bpfnb.lab.notebooks import as_text, student
from bpfnb.lab.results import read
from bpfnb.vm import kernels
from bpfnb.vm.kernels import Kernel

__all__ = ["LABS", "Executed", "OfLabs", "executed", "guest_kernel", "solution"]

LABS = Path(__file__).parents[2] / "notebooks/labs"
MOST_BYTES = {"of a file": 200_000, "of a lab": 600_000}
_MARK = "bpfnb-judged"


@dataclass(frozen=True)
class Executed:
    """An executed solution, its results by task, and the verdicts on wrong answers: (task, answer) to its hint."""

    lab: str
    notebook: Any
    results: dict[str, dict[str, Any]]
    refused: dict[tuple[str, str], str | None]


def solution(lab: str) -> Path:
    (path,) = (LABS / "solutions").glob(f"{lab.removeprefix('lab')}-*.ipynb")
    return path


def executed(
    lab: str,
    wrong: Mapping[str, Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    replay: bool = False,
    on: str | None = None,
) -> Executed:
    """Execute the solution of *lab* (``lab01``), live or in replay, and then judge *wrong* answers in its kernel.

    *wrong* has for each task Python expressions of what a student might plausibly give, of the solution's variables.
    *on* is the kernel of the guest in which it is live.
    """
    if not replay and on is None and (refusal := permitted()) is not None:
        pytest.skip(refusal.message)
    if not replay and on is not None:
        monkeypatch.setenv("BPFNB_ON", guest_kernel(on).release)
    source = solution(lab)
    notebook = nbformat.read(source, as_version=4)
    for task, answers in wrong.items():
        for answer in answers:
            judged = f"bpfnb.lab.judge({f'{lab}.{task}'!r}, {answer})"
            # The notebook may have closed its objects with its last cell: this stands before it, after its check.
            code = f"import json; _v = {judged}\nprint({_MARK!r}, json.dumps([{task!r}, {answer!r}, bool(_v), _v.message]))"
            cell = nbformat.v4.new_code_cell(code, id=f"wrong-{len(notebook.cells)}")
            at = max(n for n, c in enumerate(notebook.cells) if re.search(rf"\b{lab}\.{task}\b", c.source))
            notebook.cells.insert(at + 1, cell)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        monkeypatch.setenv("BPFNB_RESULTS", str(results))
        if replay:
            monkeypatch.setenv("BPFNB_REPLAY", str(LABS / "recordings" / source.name[:2]))
        path = Path(folder) / source.name
        nbformat.write(notebook, path)
        done = execute(path)
        entries = {entry["task"].partition(".")[2]: entry for entry in read(results)}
    refused: dict[tuple[str, str], str | None] = {}
    for cell in done.cells:
        # A printed line may arrive in pieces.
        said = "".join(
            o.text for o in cell.get("outputs", []) if o.output_type == "stream" and o.name == "stdout"
        )
        if said.startswith(_MARK):
            task, answer, passed, hint = json.loads(said.removeprefix(_MARK))
            refused[task, answer] = None if passed else hint
    return Executed(lab, done, entries, refused)


def guest_kernel(version: str) -> Kernel:
    """A kernel for guests, fetched where it is not there yet. Skips the test where it cannot be had."""
    try:
        return kernels.find(version)
    except MissingDependency as error:
        pytest.skip(str(error))


class OfLabs:
    """The tests that each lab has; a module names its labs with wrong answers, task by task."""

    WRONG: ClassVar[Mapping[str, Mapping[str, Sequence[str]]]]
    NEEDS: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Commands that a lab needs."""
    ON: ClassVar[str | None] = None
    """The kernel of the guest in which they are live."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "lab" in metafunc.fixturenames:
            metafunc.parametrize("lab", [*self.WRONG])

    def test_its_solution_passes_and_wrong_answers_get_hints(
        self, lab: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lacking = [command for command in self.NEEDS.get(lab, ()) if shutil.which(command) is None]
        if lacking:
            pytest.skip(f"no {', '.join(lacking)}")
        run = executed(lab, self.WRONG[lab], monkeypatch, on=self.ON)
        _assert_solved(run, replay=False)
        _assert_refused(run, self.WRONG[lab])

    def test_it_passes_in_replay_and_wrong_answers_get_hints(
        self, lab: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = executed(lab, self.WRONG[lab], monkeypatch, replay=True)
        _assert_solved(run, replay=True)
        _assert_refused(run, self.WRONG[lab])

    def test_the_students_notebook_is_made_of_the_solution(self, lab: str) -> None:
        """Neither has outputs."""
        source = solution(lab)
        made = as_text(student(json.loads(source.read_text())))
        assert (LABS / source.name).read_text() == made, "python notebooks/labs/make.py student"
        cells = [*json.loads(made)["cells"], *json.loads(source.read_text())["cells"]]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)

    def test_its_recordings_are_small(self, lab: str) -> None:
        files = [*(LABS / "recordings" / lab.removeprefix("lab")).iterdir()]
        sizes = [file.stat().st_size for file in files]
        assert 0 < max(sizes) < MOST_BYTES["of a file"]
        assert sum(sizes) < MOST_BYTES["of a lab"]


def _assert_solved(run: Executed, *, replay: bool) -> None:
    """Every task of the lab was checked, and passed."""
    tasks = find(run.lab).tasks
    hints = {task: run.results.get(task, {}).get("hint", "not checked") for task in tasks}
    assert hints == dict.fromkeys(tasks, ""), f"not solved: {[task for task in tasks if hints[task]]}"
    assert {entry["replay"] for entry in run.results.values()} == {replay}


def _assert_refused(run: Executed, wrong: Mapping[str, Sequence[str]]) -> None:
    """Each wrong answer was refused with a hint of its own; every task has one."""
    assert {*wrong} == {*find(run.lab).tasks}
    accepted = [key for key, hint in run.refused.items() if not hint]
    assert accepted == [], f"accepted: {accepted}"
    assert {*run.refused} == {(task, answer) for task, answers in wrong.items() for answer in answers}
    assert not [key for key, hint in run.refused.items() if hint and "could not be looked at" in hint]
