"""Lab 15's hints for programs that allow or forbid the wrong thing: what their processes were told is altered here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bpfnb
from bpfnb.lab.lab15 import EACCES, OTHERS
from bpfnb.lab.tasks import judge

RECORDED = Path(__file__).parents[2] / "notebooks/labs/recordings/15"


def facts() -> dict[str, Any]:
    """Those of the recorded run, in which all was right."""
    parts = json.loads((RECORDED / "facts.json").read_text())["lab"]["lab15"]
    return {
        f"{part}.{name}": value
        for part, groups in parts.items()
        for group in groups.values()
        for name, value in group.items()
    }


def verdict(task: str, name: str, **altered: Any) -> tuple[bool, str]:
    known = facts()
    told = {key.replace("__", "."): value for key, value in altered.items()}
    assert {*told} <= {*known}
    with bpfnb.replay(RECORDED / f"{name}.bpfnb") as obj:
        found = judge(f"lab15.{task}", obj, known | told)
    return found.passed, found.message


@pytest.mark.parametrize(
    ("altered", "hint"),
    [
        ({"guard__kept": [0, 0]}, "The ledger was deleted"),
        ({"guard__kept": [EACCES, 0]}, "The ledger was deleted"),
        ({"guard__others": list(OTHERS)}, "Now nothing can be deleted any more"),
        ({"guard__others": ["ledger.old", "ledgers"]}, "Deleted could not be: ledger.old, ledgers"),
        ({"guard__kept": [1, 1]}, "error 1. EACCES is wanted"),
    ],
)
def test_a_guard_that_allows_or_forbids_too_much(altered: dict[str, Any], hint: str) -> None:
    passed, message = verdict("task4", "guard", **altered)
    assert not passed
    assert hint in message


@pytest.mark.parametrize(
    ("altered", "hint"),
    [
        ({"vault__owner_write": [EACCES]}, "The owner was refused, too"),
        ({"vault__clerk_write": [0, 0]}, "nobody said no"),
        ({"vault__clerk_write": [0, EACCES]}, "Some got through"),
        ({"vault__clerk_read": [EACCES]}, "It cannot be read any more either"),
        ({"vault__clerk_other": [EACCES, 0]}, "Another file cannot be written any more"),
        ({"vault__clerk_write": [2]}, "with error 2. EACCES is wanted"),
        ({"vault__writes": 99}, "refused more or less often"),
    ],
)
def test_a_vault_that_allows_or_forbids_too_much(altered: dict[str, Any], hint: str) -> None:
    passed, message = verdict("task5", "vault", **altered)
    assert not passed
    assert hint in message


def test_what_was_right_is_right() -> None:
    assert verdict("task4", "guard")[0]
    assert verdict("task5", "vault")[0]
    assert "no program in the section lsm/file_open" in verdict("task5", "guard")[1]


@pytest.mark.parametrize(
    ("task", "answer", "hint"),
    [
        ("task1", lambda known: sorted(known["names.order"]), "their order is not"),
        ("task1", lambda known: [*known["names.order"], *known["names.missing"]], "never there"),
        ("task1", lambda known: [*known["names.order"], "log"], "other processes delete files"),
        ("task1", lambda known: known["names.order"][1:], "1 are missing"),
        ("task1", lambda _: [""], "`d_name.name` is an address, too"),
        ("task1", lambda _: ["bpfnb-lab-1"] * 8, "the second is the folder"),
        ("task3", lambda known: {e: n for n, e in known["reasons.failed"].items()}, "changed places"),
        ("task3", lambda known: dict.fromkeys(known["reasons.failed"], "13"), "`errno_t`"),
        ("task3", lambda known: dict.fromkeys(known["reasons.failed"], "EPERM"), "their errors are not"),
        ("task3", lambda known: {**known["reasons.failed"], "x0": "0"}, "files in it that were deleted"),
        (
            "task3",
            lambda known: {next(iter(known["reasons.failed"])): "EPERM"},
            "could not be deleted; these are 1",
        ),
    ],
)
def test_mistakes_in_what_was_seen(task: str, answer: Any, hint: str) -> None:
    known = facts()
    found = judge(f"lab15.{task}", answer(known), known)
    assert not found.passed
    assert hint in found.message
