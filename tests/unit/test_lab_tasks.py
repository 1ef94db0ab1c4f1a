"""Checks, results and students' notebooks, without a kernel that loads anything."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bpfnb
from bpfnb.cli import main
from bpfnb.errors import BpfnbError, UnknownName
from bpfnb.lab import facts, find, judge, labs, workloads
from bpfnb.lab.grading import grade
from bpfnb.lab.notebooks import lab_of, student
from bpfnb.lab.results import read

FACTS = {"pid": 7, "calls": 1200}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of a test's own."""
    monkeypatch.setenv("BPFNB_RESULTS", str(tmp_path / "results.json"))
    monkeypatch.delenv("BPFNB_RECORD", raising=False)
    return tmp_path / "results.json"


def test_an_answer_is_judged_by_value() -> None:
    assert judge("lab01.task1", 1200, FACTS)
    assert judge("lab01.task1", pd.Series([1200]), FACTS)
    refused = judge("lab01.task1", 7, FACTS)
    assert not refused
    assert "the key" in refused.message
    assert "Not yet." in refused._repr_html_()
    assert "<code>work.pid</code>" in judge("lab01.task1", 1300, FACTS)._repr_html_()


def test_no_answer_whatever_makes_a_check_raise() -> None:
    odd: list[Any] = [
        None,
        ...,
        object(),
        [],
        {},
        "",
        b"",
        float("nan"),
        pd.DataFrame(),
        Exception,
        {1: None},
        [[]],
        -1,
    ]
    for lab in labs():
        for task in lab.tasks:
            for answer in odd:
                verdict = judge(f"{lab.name}.{task}", answer, {})
                assert not verdict
                assert verdict.message


def test_every_lab_has_tasks_that_say_what_they_ask_and_why() -> None:
    assert [lab.name for lab in labs()] == [f"lab{number:02}" for number in range(1, 16)]
    for lab in labs():
        assert len(lab.tasks) >= 3
        assert all(task.title and task.why for task in lab.tasks.values())


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"lab01\.task1"):
        judge("lab01.taks1", 1)
    with pytest.raises(UnknownName, match="no lab 'lab99'"):
        judge("lab99.task1", 1)
    with pytest.raises(UnknownName, match="no workload"):
        bpfnb.lab.workload("lab01.nothing")


def test_results_count_attempts_and_keep_the_last(apart: Path) -> None:
    work = bpfnb.lab.workload("lab01")
    try:
        calls = facts.of("lab01")["calls"]
        assert not bpfnb.lab.check("lab01.task1", calls - 1)
        assert bpfnb.lab.check("lab01.task1", calls)
    finally:
        work.close()
    (entry,) = read(apart)
    assert (entry["lab"], entry["task"], entry["passed"], entry["attempts"], entry["hint"], entry["replay"]) == (
        "lab01", "lab01.task1", True, 2, "", False,
    )  # fmt: skip


def test_a_results_file_of_somebody_else_is_not_read(tmp_path: Path) -> None:
    for content in (
        "",
        "[]",
        "null",
        '{"format": "x", "results": [1]}',
        '{"format": "bpfnb-results", "results": [1]}',
    ):
        (tmp_path / "f").write_text(content)
        assert read(tmp_path / "f") == []


def test_a_check_before_its_workload_says_so() -> None:
    facts.forget("lab01", "users")
    with pytest.raises(bpfnb.lab.Unfit, match=r'bpfnb.lab.workload\("lab01.users"\)'):
        facts.of("lab01")["users.pid"]


def test_a_workload_waits_goes_once_and_ends() -> None:
    work = bpfnb.lab.workload("lab01")
    assert work.state == "ready"
    os.kill(work.pid, 0)
    assert Path(f"/proc/{work.pid}/comm").read_text() == "child\n"
    work.run()
    assert work.state == "ended"
    assert not Path(f"/proc/{work.pid}").exists()
    with pytest.raises(BpfnbError, match="goes only once"):
        work.run()
    again = bpfnb.lab.workload("lab01")
    assert again.pid != work.pid
    assert facts.of("lab01")["pid"] == again.pid
    again.close()
    assert not Path(f"/proc/{again.pid}").exists()


def test_the_same_seed_makes_the_same_numbers() -> None:
    found = []
    for seed in (0, 0, 1):
        bpfnb.lab.workload("lab01", seed=seed).close()
        found.append(facts.of("lab01")["calls"])
    assert found[0] == found[1] != found[2]


def test_a_process_that_does_not_start_or_fails_is_told() -> None:
    making = workloads.Making("seed", {})
    with pytest.raises(BpfnbError, match="did not start: nothing good"):
        making.process(["sh", "-c", "echo nothing good >&2"])
    making.end()
    making = workloads.Making("seed", {})
    making.python("os.kill(os.getpid(), 9)")
    making.go()
    with pytest.raises(BpfnbError, match=rf"failed \(exit code {-signal.SIGKILL}\)"):
        making.wait(60)
    making.end()


def test_a_process_reports_what_only_it_knows_and_gets_values() -> None:
    making = workloads.Making("seed", {})
    making.python("report(double=2 * value, drawn=random.random())", value=21)
    making.go()
    making.wait(60)
    making.end()
    assert making.kept["double"] == 42
    assert 0 <= making.kept["drawn"] < 1


def test_a_workload_ends_with_a_kernel_that_is_killed() -> None:
    code = "import os, bpfnb.lab; w = bpfnb.lab.workload('lab01'); print(w.pid, flush=True); input()"
    kernel = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert kernel.stdin is not None
    assert kernel.stdout is not None
    waiting = os.pidfd_open(int(kernel.stdout.readline()))
    kernel.kill()
    ended, _, _ = select.select([waiting], [], [], 60)
    os.close(waiting)
    kernel.communicate()
    assert ended


def test_facts_are_kept_with_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFNB_RECORD", str(tmp_path / "recorded"))
    work = bpfnb.lab.workload("lab01")
    work.close()
    kept = json.loads((tmp_path / "recorded/facts.json").read_text())["lab"]["lab01"][""]
    assert kept["told"] == {"pid": work.pid}
    monkeypatch.setattr(facts.session, "folder", lambda: tmp_path / "recorded")
    replayed = bpfnb.lab.workload("lab01")
    replayed.run()
    assert (replayed.state, replayed.pid) == ("recorded", work.pid)
    assert facts.of("lab01")["calls"] == kept["kept"]["calls"]
    with pytest.raises(BpfnbError, match="no facts of the workload lab02"):
        bpfnb.lab.workload("lab02")


def cell(source: str, kind: str = "code", **metadata: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"cell_type": kind, "id": "x", "metadata": metadata, "source": source}
    return made | ({"outputs": [1], "execution_count": 3} if kind == "code" else {})


def test_a_students_notebook_has_skeletons_and_no_solutions() -> None:
    made = student(
        {
            "metadata": {"bpfnb": {"lab": "lab01"}},
            "cells": [
                cell("kept"),
                cell("answer = 42", tags=["solution"], skeleton=["answer = None\n", "answer"]),
                cell("%%bpf io -D X=1\nint secret;", tags=["solution", "raises-exception", "own"]),
                cell("print(42)", tags=["solution"]),
                cell("left out", tags=["solution"], skeleton=""),
                cell("why 42", "markdown", tags=["solution"]),
                cell("text", "markdown"),
            ],
        }
    )
    assert ["".join(each["source"]) for each in made["cells"]] == [
        "kept",
        "answer = None\nanswer",
        "%%bpf io -D X=1\n// your program",
        "# your answer",
        "text",
    ]
    assert "42" not in json.dumps(made)
    assert made["cells"][2]["metadata"] == {"tags": ["own", "raises-exception"]}
    assert all(each.get("outputs") in ([], None) for each in made["cells"])
    assert lab_of(made) == "lab01"
    assert lab_of({"cells": [cell('check("lab03.task2", x)')]}) == "lab03"
    assert lab_of({"cells": [cell("x")]}) is None


def handed_in(path: Path, *sources: str) -> Path:
    cells = [{"cell_type": "code", "id": f"c{at}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
             for at, source in enumerate(sources)]  # fmt: skip
    metadata = {
        "bpfnb": {"lab": "lab01"},
        "kernelspec": {"name": "python3", "display_name": "", "language": "python"},
    }
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_grading_goes_on_after_cells_that_fail_or_do_not_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = handed_in(
        tmp_path / "anna.ipynb",
        "import bpfnb; from bpfnb.lab import facts",
        "raise RuntimeError('of the student')",
        "while True: pass",
        "work = bpfnb.lab.workload('lab01'); bpfnb.lab.check('lab01.task1', facts.of('lab01')['calls'])",
        "bpfnb.lab.check('lab01.task2', undefined)",
        "bpfnb.lab.check('lab01.task3', 'wrong')",
    )
    broken = tmp_path / "ben.ipynb"
    broken.write_text("no notebook")
    to = tmp_path / "grades.json"
    assert main(["lab", "grade", "--cell-timeout", "15", str(notebook), str(broken), "--to", str(to)]) == 1
    grades = {one["task"]: one for one in json.loads(to.read_text())}
    assert [grades[f"task{n}"]["passed"] for n in (1, 2, 3, 4)] == [True, False, False, False]
    assert grades["task1"]["attempts"] == 1
    assert grades["task2"]["note"] == "its check was not reached: NameError: name 'undefined' is not defined"
    assert "workload has not run" in grades["task3"]["note"]
    assert grades["task4"]["note"] == "its check did not run"
    assert "not a notebook that can be read" in grades[""]["note"]
    assert "1 of 5 tasks solved in 2 notebooks" in capsys.readouterr().out
    assert not (tmp_path / "bpfnb-results.json").exists()


def test_a_notebook_that_takes_too_long_or_dies_counts_as_unsolved(tmp_path: Path) -> None:
    stuck = handed_in(
        tmp_path / "stuck.ipynb",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    )
    dead = handed_in(tmp_path / "dead.ipynb", "import os; os._exit(1)")
    (first, *_), (second, *_) = (grade([path], cell_timeout=1, timeout=8) for path in (stuck, dead))
    assert first.note == "the notebook took longer than 8 s"
    assert second.note == "the notebook's kernel died"


def test_the_terminal_lists_labs_and_says_what_grade_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "list"]) == 0
    assert "lab04  The verifier" in capsys.readouterr().out
    assert main(["lab", "grade"]) == 2
    assert "name the notebooks" in capsys.readouterr().err
    assert find("lab02").minutes == 45
