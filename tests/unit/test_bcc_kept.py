"""What is kept on disk between processes: made once, equal to what would be made anew, never another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bpfnb.bcc.kept import kept
from bpfnb.bcc.scan import Text
from bpfnb.compile.source import Source


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "cache"))


def test_what_was_made_is_made_once_and_anew_where_it_is_damaged(tmp_path: Path) -> None:
    maker = tmp_path / "maker.py"
    maker.write_text("one")
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return {"struct": {"task_struct": 7}, "ids": [1, 2]}

    first, second = kept("names a", maker, make), kept("names a", maker, make)
    assert first == second == {"struct": {"task_struct": 7}, "ids": [1, 2]}
    assert len(made) == 1
    kept("names b", maker, make)
    assert len(made) == 2
    maker.write_text("other")
    kept("names a", maker, make)
    assert len(made) == 3
    for file in (tmp_path / "cache/objects").iterdir():
        file.write_bytes(file.read_bytes()[:-3] + b"xyz")
    assert kept("names a", maker, make) == first
    assert len(made) == 4


def test_a_primed_text_is_as_one_that_was_read() -> None:
    code = """
#ifndef X
#define X(a) other(a, CONST)
#endif
typedef struct { int a; } pair_t;
enum colour { RED, GREEN };
struct event { unsigned pid; };
static inline int twice(int value) { return 2 * value; }
"""
    read, primed = Text(Source(code)), Text(Source(code))
    primed.prime(read.priming())
    assert "words" in vars(primed)
    assert primed.definitions == read.definitions
    assert primed.definitions.names >= {"pair_t", "RED", "GREEN", "twice"}
    assert primed.definitions.tags == {"enum colour", "struct event"}
    assert primed.words == read.words
    assert primed.bodies == read.bodies == {"X": frozenset({"a", "other", "CONST"})}
