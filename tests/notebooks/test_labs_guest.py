"""Labs in a disposable kernel: lab 15, and one that an ordinary user begins where nothing may be loaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import nobody
import pytest
from labs_common import OfLabs, guest_kernel, solution

from bpfnb.lab import find
from bpfnb.lab.results import read

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(480)]

KERNEL = "6.12"
EXECUTE = """
import sys
from pathlib import Path
import nbformat
from bpfnb.demo import execute
Path("done.ipynb").write_text(nbformat.writes(execute(Path(sys.argv[1]))))
"""


class TestLabs(OfLabs):
    ON = KERNEL
    WRONG = {  # noqa: RUF012
        "lab15": {
            "task1": [
                "None",
                "order[::-1]",
                "order[:3]",
                "[*order, 'no-atlas']",
                "set(order)",
                "[''] * 8",
                "deleted",
            ],
            "task2": ["None", "counted", "deleted"],
            "task3": [
                "{}",
                "{error: name for name, error in reasons.items()}",
                "{**reasons, 'more': '0'}",
                "dict.fromkeys(reasons, 'EPERM')",
                "dict(list(reasons.items())[:2])",
                "dict.fromkeys(reasons, '13')",
            ],
            "task4": ["None", "why", "'ledger'"],
            "task5": ["None", "guard", "vault.vars.refused"],
        }
    }


def test_an_ordinary_user_who_may_load_nothing_is_given_a_guest() -> None:
    cached = guest_kernel(KERNEL).folder
    with nobody.folder() as home:
        shutil.copytree(cached, home / ".cache/bpfnb/vm/kernels" / cached.name)
        notebook = Path(shutil.copy(solution("lab01"), home))
        for path in home.rglob("*"):
            os.chown(path, nobody.NOBODY, nobody.NOBODY)
        results = home / "results.json"
        nobody.run(EXECUTE, str(notebook), home=home, timeout=400, BPFNB_RESULTS=str(results))
        cells = nbformat.read(home / "done.ipynb", as_version=4).cells
        entries = read(results)
    begun = next(output.data["text/plain"] for output in cells[1].outputs if "data" in output)
    assert f"In a disposable kernel, Linux {cached.name}" in begun
    assert "Times in it are emulated" in begun
    assert [(entry["task"], entry["hint"], entry["replay"]) for entry in entries] == [
        (f"lab01.{task}", "", False) for task in find("lab01").tasks
    ]
