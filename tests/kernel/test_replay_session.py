"""Which recording a cell gets: by its text, by its place in the notebook, and again when it runs again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bpfnb
from bpfnb.recording import session

CELL = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } runs SEC(".maps");
u64 mark = NUMBER;
SEC("raw_tp") int never(void *ctx) { return 0; }
"""
FIRST, SECOND = CELL.replace("NUMBER", "1"), CELL.replace("NUMBER", "2")


class Page:
    """A front end that says which cell runs, or does not."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.execution = 0
        self.cell = ""
        patch.setattr(session, "_cell", lambda: (self.cell, self.execution) if self.cell else None)

    def run(self, text: str, cell: str = "", times: int = 1) -> list[object]:
        """What marks the recordings that the cell gets, which loads *text* so many times."""
        self.execution, self.cell = self.execution + 1, cell
        return [bpfnb.load(text, name="io", attach=False).vars.mark for _ in range(times)]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BPFNB_RECORD", str(folder))
        patch.setattr(session, "_session", session._Session())
        for text in (FIRST, SECOND):
            bpfnb.load(text, name="io", attach=False).close()
    return folder


@pytest.fixture
def page(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    session.replay_from(recordings)
    yield Page(monkeypatch)
    session.replay_from(None)
    bpfnb.close_all()


def test_the_mirror_numbers_the_objects_of_a_name(recordings: Path) -> None:
    assert sorted(path.name for path in recordings.iterdir()) == ["io-2.bpfnb", "io.bpfnb"]


def test_the_same_text_decides_in_whatever_order_cells_run(page: Page) -> None:
    assert page.run(SECOND) == [2]
    assert page.run(FIRST) == [1]
    assert page.run(SECOND) == [2]
    assert bpfnb.objects["io"].warnings == ()


def test_changed_texts_get_theirs_by_the_order(page: Page) -> None:
    assert page.run("changed") == [1]
    (warning,) = bpfnb.objects["io"].warnings
    assert "this text is not the one that was recorded" in warning.message
    assert page.run("changed too") == [2]
    assert page.run("changed") == [1], "the same as before"


def test_a_source_that_is_not_there_is_not_known_to_be_the_recorded_one(page: Page) -> None:
    page.run(FIRST)
    bpfnb.load(Path("not-there.c"), name="io", attach=False)
    assert [differs for _, _, differs in session.bound()] == [False, True]


def test_a_cell_that_runs_again_gets_the_same_again_though_it_was_changed(page: Page) -> None:
    assert page.run(FIRST, "A") == [1]
    assert page.run("changed", "A") == [1]
    assert page.run(SECOND, "B") == [2]
    assert page.run("changed", "A") == [1]


def test_a_cell_that_loads_twice_gets_both_each_time(page: Page) -> None:
    assert page.run("changed", "A", times=2) == [1, 2]
    assert page.run("changed", "A", times=2) == [1, 2]


def test_a_new_object_closes_the_one_before_and_a_context_closes_its_own(page: Page) -> None:
    page.run(FIRST)
    before = bpfnb.objects["io"]
    page.run(FIRST)
    assert before.state == "closed"
    with bpfnb.load(FIRST, name="io") as io:
        assert io.state == "loaded", "its program says no place"
        assert io.status == "replayed"
        assert len(io.runs.df) == 1
    assert io.state == "closed"
    assert "io" not in bpfnb.objects


def test_columns_to_include_are_those_that_an_object_has(tmp_path: Path) -> None:
    """``BPFNB_RECORD_INCLUDE`` is for all objects of a session: one without such a column is recorded all the same."""
    code = f"""
import subprocess, bpfnb
with bpfnb.load({FIRST!r}, name="io", attach=False), bpfnb.tools.execsnoop() as execs:
    subprocess.run(["/bin/true", "included"], check=True)
    assert execs.wait(1, 20)
"""
    env = {**os.environ, "BPFNB_RECORD": str(tmp_path), "BPFNB_RECORD_INCLUDE": "args, nothing"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "BPFNB_RECORD_INCLUDE: nothing that was recorded has a column nothing\n" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["execsnoop.bpfnb", "io.bpfnb"]
    with bpfnb.replay(tmp_path / "execsnoop.bpfnb", name="included") as tool:
        assert "/bin/true included" in tool.df["args"].tolist()
