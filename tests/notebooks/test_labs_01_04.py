"""Labs 1 to 4, and what a student might get wrong in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from labs_common import LABS, OfLabs

from bpfnb.lab.rejected import PROGRAMS

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

WRONG: dict[str, Mapping[str, Sequence[str]]] = {
    "lab01": {
        "task1": ["None", "work.pid", "hello.calls.df.value.sum() + 1", "str(answer)", "hello"],
        "task2": ["hello", "users.calls"],
        "task3": ["'hello'", "message[::-1]", "message + '!'", "spy.letters.df"],
        "task4": ["{'ENOENT': 74}", "failures", "{f'-{n}': 1 for n in range(4)}"],
    },
    "lab02": {
        "task1": ["len(buckets)", "answer * 2", "buckets"],
        "task2": ["reads.latency", "{4096: 1}", "sizes.by_size.df.value"],
        "task3": ["reads.latency", "naps.started", "naps.latency.df.value // 2", "naps.latency.df.value.rename(lambda k: k - 10)"],
        "task4": ["100 * share", "1 - share", "rows.value.loc[26:].sum() / rows.value.sum()", "None"],
        "task5": ["few", "whole.head(100)", "small"],
    },
    "lab03": {
        "task1": ["work.pid", "parent.people.df.pid.iloc[0]", "0", "grand.people"],
        "task2": ["{0: 8, 1: 1, 2: 0, 3: 1}", "layout", "layout.numbers.df.value[::-1].reset_index(drop=True)"],
        "task3": ["names[::-1]", "['youngest', *names]", "set(names)", "names[:2]", "line.people"],
        "task4": ["files.written.df.value", "{'ledger': 12}", "{'': 5}"],
    },
    "lab04": {f"task{number}": ["None", "example", f"'p{number}'"] for number in range(1, 11)},
}  # fmt: skip


class TestLabs(OfLabs):
    WRONG = WRONG


def test_the_programs_to_repair_are_those_that_are_shown_as_refused() -> None:
    cells = json.loads((LABS / "04-the-verifier.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert [*PROGRAMS] == [0, *range(1, 11)], "the worked example, and ten"
    for number, program in [*PROGRAMS.items()][1:]:
        (given,) = [source for source in sources if source.split()[:2] == ["%%bpf", f"p{number}"]]
        assert given.partition("\n")[2].strip() == program.strip()
