"""What a recorder counts of a tool's rows, piece by piece."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa
import pytest

from bpfnb.frames.completeness import ATTR
from bpfnb.recording.tools import Tap


class _Tool:
    """A tool with as many rows as it was given, each of which may have lost its stack, or its name."""

    name = "told"
    grows = True
    settles = 0.0
    asked: ClassVar[dict[str, Any]] = {}
    used: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.given: list[str] = []
        self.short = 0  # counted by the stream, from its beginning: every frame says it
        self.frames = SimpleNamespace(drain=lambda: 0, span=lambda: (0, len(self.given)))

    def new(self, start: int, stop: int) -> pd.DataFrame:
        frame = pd.DataFrame({"row": pd.Series(self.given[start:stop], dtype="str")})
        about: dict[str, Any] = {"rows": len(frame), "complete": True, "total": len(self.given)}
        about |= {"short": self.short} if self.short else {}
        for key in ("stacks_lost", "names_lost"):
            if count := int((frame["row"] == key).sum()):
                about |= {key: count, "complete": False}
        frame.attrs[ATTR] = about
        return frame

    @property
    def df(self) -> pd.DataFrame:
        return self.new(0, len(self.given))

    def beside(self) -> dict[str, pd.DataFrame]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}


STACK, NAME = "stacks_lost", "names_lost"


@pytest.mark.parametrize(
    "pieces",
    [
        [[STACK, "ok"], [STACK, STACK], [NAME, STACK]],  # each of them
        [["ok"], [STACK, "ok", STACK], [], ["ok"], [STACK, NAME, STACK]],  # after pieces without
        [[NAME], [STACK], ["ok", "ok"], [STACK, STACK, STACK]],  # one after the other
        [[STACK, STACK, STACK, STACK, NAME], ["ok"]],
    ],
)
def test_what_pieces_lost_is_added_up(pieces: list[list[str]]) -> None:
    tool = _Tool()
    tap = Tap(tool)  # type: ignore[arg-type]
    put: list[pa.Table] = []
    for number, piece in enumerate(pieces):
        tool.given += piece
        tool.short += number * bool(piece)  # appears with a piece, and is no count of that piece
        tap.take(lambda _, table: put.append(table), last=piece is pieces[-1])
        seen = tool.given if not piece or number == len(pieces) - 1 else tool.given[: tap.rows]
        about = tap.state()["attrs"][ATTR]
        for key in (STACK, NAME):
            assert about.get(key, 0) == seen.count(key), key
        assert about["complete"] == (not {STACK, NAME} & set(seen))
        assert about.get("short", 0) == tool.short
    assert tap.rows == sum(len(table) for table in put) == len(tool.given)
    assert about[STACK] == 4
    assert about[NAME] == 1


def test_each_file_of_a_rotated_recording_has_its_own_count() -> None:
    tool = _Tool()
    tap = Tap(tool)  # type: ignore[arg-type]
    found = []
    for piece in ([STACK, STACK], [STACK], ["ok"]):
        tool.given += piece
        tap.take(lambda *_: None, last=True)
        tap.ended = False
        found.append(tap.state()["attrs"][ATTR])
        tap.restart()
    assert [about.get(STACK, 0) for about in found] == [2, 1, 0]
    assert [about["complete"] for about in found] == [False, False, True]
