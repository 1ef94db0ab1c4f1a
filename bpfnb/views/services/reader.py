"""What the map shows of its source: reads what is new and keeps the table of edges."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from bpfnb.errors import ObjectClosed
from bpfnb.views.selection import columns_of
from bpfnb.views.services.columns import Roles
from bpfnb.views.services.edges import Ends, as_given, counted, is_counted, seconds_of
from bpfnb.views.services.window import Counters, Window
from bpfnb.views.source import Source

__all__ = ["Reader"]

_VAGUE: Final = ("count", "n", "value", "weight")
_LONGEST: Final = 20  # characters of a column's name that may stand for what it counts


class Reader:
    """The edges of a *source*. ``said`` tells in words how they came about.

    - A stream that goes on: its events are counted as they arrive; rates are over the last *window* seconds.
    - A map that goes on: its counters are read each time; rates come from what they grew by in the *window*.
    - Anything else: the rows that there are, as events to be counted or as edges (:func:`.edges.is_counted`).

    Edges not seen for *keep* seconds are left out, as long as the source goes on.
    """

    def __init__(
        self,
        source: Source,
        roles: Roles,
        tagged: Mapping[str, tuple[str, str]],
        window: float,
        keep: float | None,
    ) -> None:
        self.source = source
        self.roles = roles
        self.window = window
        self.keep = keep
        self.said = ""
        self.ends = Ends(roles, tagged=tagged)
        self._tagged = tagged
        self._filter: Mapping[str, Any] = {}
        self._next: int | None = None
        self._counting: Window | Counters | None = None
        self._version: object = None
        self._table: pd.DataFrame | None = None
        self._notes: Mapping[str, Mapping[str, Any]] | None = None
        self.reset()

    @property
    def counted(self) -> str:
        """What edges count: the weight column's unit or name, else the rows, which are events; ``""``: nobody knows."""
        name = self.roles.weight
        if name is None:
            return "" if self.roles.rate else "events"
        unit = self.about(name).get("unit")
        word = name.rpartition(".")[2].replace("_", " ")
        return str(unit) if unit else "" if word in _VAGUE or len(word) > _LONGEST else word

    def about(self, column: str) -> Mapping[str, Any]:
        """What is known of a column; of a map as of its last reading, since to ask for it is another."""
        return self.source.about(column) if self._notes is None else self._notes.get(column) or {}

    @property
    def follows(self) -> bool:
        """Whether edges fade and rates sink with time, although nothing new comes."""
        return self._counting is not None and self.source.live

    def reset(self) -> None:
        """Begin anew with the rows that are kept."""
        self.ends = Ends(self.roles, tagged=self._tagged)
        self._next = self._table = None
        self._counting = None
        if self.source.live and self.source.kind == "stream":
            self._counting = Window(self.ends, self.window)
        elif self.source.live and self.source.kind == "map" and self.roles.rate is None and self.roles.weight:
            self._counting = Counters(self.ends, self.window)

    def table(self, leave: Callable[[pd.DataFrame], pd.DataFrame], filter: Mapping[str, Any]) -> pd.DataFrame:  # noqa: A002
        """The edges of now. *leave* applies the *filter* of linked views to a frame."""
        columns = list(dict.fromkeys([*self.roles.columns, *(c for p in self._tagged.values() for c in p)]))
        columns += [name for name in columns_of(filter) if name not in columns]
        if filter != self._filter:
            self._filter = dict(filter)
            self.reset()
        now = time.monotonic()
        keep = self.keep if self.source.live else None
        if isinstance(self._counting, Window):
            if self._next is None:
                self._next = self.source.span()[0]
                frame, self._next = self.source.since(self._next, columns)
                self._counting.add(leave(frame), now, self._lasted(frame))
            else:
                frame, self._next = self.source.since(self._next, columns)
                self._counting.add(leave(frame), now)
            self.said = f"{self._counting.events:,} events, rates over the last {self.window:g} s"
            return self._counting.table(now, keep)
        if isinstance(self._counting, Counters):
            try:
                frame = self._read(columns)
            except ObjectClosed:
                if not self._counting.read:
                    raise
            else:
                self._counting.add(leave(frame), now)
            self.said = f"counters, rates over the last {self.window:g} s"
            return self._counting.table(now, keep)
        version = self.source.version()
        if self._table is None or version is None or version != self._version:
            self._table, self._version = self._whole(leave(self._read(columns))), version
        return self._table

    def _read(self, columns: Sequence[str]) -> pd.DataFrame:
        frame = self.source.frame(columns)
        if self.source.kind == "map":
            self._notes = frame.attrs.get("bpfnb_columns", {})
        return frame

    def _whole(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.ends = Ends(self.roles, tagged=self._tagged)
        if self.source.kind == "stream" or (is_counted(frame, self.roles) and not self._is_keyed()):
            lasted = self._lasted(frame)
            over = f" over {lasted:.3g} s" if lasted else ", no rates without times"
            self.said = f"{len(frame):,} events counted{over}"
            about = self.about(self.roles.time) if self.roles.time else None
            return counted(frame, self.roles, self.ends, about)
        table = as_given(frame, self.roles, self.ends)
        merged = f", {len(frame):,} rows added up" if len(table) < len(frame) else ""
        self.said = f"{len(table):,} edges as given{merged}"
        return table

    def _is_keyed(self) -> bool:
        return self.source.kind == "map" and self.roles.weight is not None

    def _lasted(self, frame: pd.DataFrame) -> float | None:
        """The seconds that the rows took, by their times."""
        if self.roles.time is None or not len(frame):
            return None
        when = seconds_of(frame[self.roles.time], self.roles.time, self.about(self.roles.time))
        return float(when.max() - when.min())
