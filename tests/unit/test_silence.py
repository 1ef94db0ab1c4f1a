"""How often a silent tool is looked at: never longer than a share of the time, whatever a look costs or runs into."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pytest

from bpfnb.errors import BadValue
from bpfnb.tools import silence
from bpfnb.tools.silence import Silence


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Costly:
    """A tool with no row in its map, of which each reading takes *cost* seconds."""

    filters: ClassVar = {"pid": 1}
    passing: ClassVar = {"pid": [(1, 1)]}
    origin, closed, snapshot, system = "", False, False, None
    frames = SimpleNamespace()

    def __init__(self, clock: Clock, cost: float) -> None:
        self.clock, self.cost = clock, cost
        self.reads = 0

    @property
    def df(self) -> pd.DataFrame:
        self.reads += 1
        self.clock.now += self.cost
        return pd.DataFrame()


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(silence, "time", made)
    return made


@pytest.mark.parametrize(("cost", "pause"), [(10.0, 200.0), (0.001, 0.5)])
def test_rows_that_cost_much_are_read_seldom(clock, monkeypatch, cost, pause):
    monkeypatch.setattr(silence, "PATIENCE", float("inf"))
    tool = Costly(clock, cost)
    asked = Silence(tool)
    assert (asked.said(), tool.reads) == ("", 1)
    over = clock.now
    for later, reads in ((0.0, 1), (0.9 * pause, 1), (1.1 * pause, 2)):
        clock.now = over + later
        assert (asked.said(), tool.reads) == ("", reads)


@pytest.mark.parametrize(("cost", "pause"), [(10.0, 200.0), (0.001, 2.0)])
@pytest.mark.parametrize("error", [None, BadValue("2 containers' ids begin with 'ab'"), ValueError("broken")])
def test_looks_are_as_seldom_when_they_fail(clock, monkeypatch, cost, pause, error):
    monkeypatch.setattr(silence, "PATIENCE", 0.0)
    looks = []

    def look(passing):
        looks.append(passing)
        clock.now += cost
        if error is not None:
            raise error
        return "it is odd"

    monkeypatch.setattr(silence, "why_silent", look)
    tool = Costly(clock, 0.0)
    asked = Silence(tool)

    def ask():
        try:
            asked.said()
        except ValueError as caught:
            assert caught is error  # noqa: PT017
        asked._look.join(60)

    ask()
    over = clock.now
    for later, count in ((0.0, 1), (0.9 * pause, 1), (1.1 * pause, 2)):
        clock.now = over + later
        ask()
        assert looks == [tool.passing] * count
