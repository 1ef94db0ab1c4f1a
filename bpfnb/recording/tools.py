"""What a recorder takes from a tool: its frame as it grows or changes, and what else replaying it needs.

The tables of a tool, folders below ``objects/NAME/``:

- ``frame``: of a tool whose rows come and stay, the rows, with ``arrived@`` (when they were taken). Of one whose frame
  is made from maps, snapshots of it: each with its moment in ``snapshot@``; the last one is the frame as it was at the
  end. A column of which a piece has no value may be absent in that piece.
- ``looks``: when snapshots were taken (``snapshot@``) and how many ``rows`` each has, which may be none.
- ``beside/NAME``: the frames of :meth:`bpfnb.tools.tool.Tool.beside`, snapshots too; ``beside/NAME@`` their looks.

:meth:`Tap.state` is the tool's part of the manifest, true at any time of what was taken until then.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from bpfnb.errors import BpfnbError
from bpfnb.frames import Stream
from bpfnb.frames.completeness import ATTR
from bpfnb.recording.container import folder_of
from bpfnb.recording.taps import Put
from bpfnb.recording.tool_frames import Forms, to_arrow
from bpfnb.tools.tool import Tool

__all__ = ["ARRIVED", "SNAPSHOT", "Tap", "plain"]

ARRIVED: Final = "arrived@"
SNAPSHOT: Final = "snapshot@"
_ROWS: Final = 200_000  # of snapshots, after each of which they are taken half as often
_BUSY: Final = 20.0  # times as long as a snapshot takes, nobody takes another

Redact = Callable[[str, pd.DataFrame], pd.DataFrame]
"""Of a table's name and rows, what may be written: see :meth:`bpfnb.recording.redaction.Redaction.frame`."""


class Tap:
    """Takes from *tool* what is new each time :meth:`take` is called, by one thread at a time.

    The first call gives what the tool already has. *every*: seconds between two snapshots, at least. ``rows`` counts
    those taken of the frame, from number ``first`` on, ``missed`` those that its bound evicted before.
    """

    def __init__(self, tool: Tool, redact: Redact = lambda _, frame: frame, *, every: float = 1.0) -> None:
        self.tool = tool
        self.rows = self.missed = self.first = self._next = 0
        self.ended = False
        self._redact = redact
        self._every = every
        self._due = 0.0
        self._written = 0
        self._beside: dict[str, _Snapshots] = {}
        self._grows = tool.grows
        self._forms = Forms()
        self._said: dict[str, Any] = {}  # what a frame without rows says of itself
        self._counts: dict[str, int] = {}  # of rows with something odd, as stacks that were lost
        self._settled: deque[tuple[float, int]] = deque()
        self._frames = cast("Stream", tool.frames)  # where it grows
        if self._grows:
            self.first, total = self._frames.span()
            self._next = self.first
            self._learn(tool.new(total, total))
            self._note(total)
        else:
            self._whole = _Snapshots("frame", redact)

    def samples(self) -> dict[str, pd.DataFrame]:
        """Its tables as rules of redaction are compared with them: with all columns, if not with rows."""
        total = self._frames.span()[1] if self._grows else 0
        frame = self.tool.new(total, total) if self._grows else self.tool.df
        beside = {folder_of("beside", name): one for name, one in self.tool.beside().items()}
        return {"frame": frame, **beside}

    @property
    def waiting(self) -> int:
        """Rows that came since the last :meth:`take`."""
        return self._frames.span()[1] - self._next if self._grows else 0

    def restart(self) -> None:
        """Another file begins with the next row, or with the tables as they are."""
        self.rows, self.missed, self.first, self._due = 0, 0, self._next, 0.0
        self._counts.clear()
        for table in self._tables():
            table.restart()

    def take(self, put: Put, *, last: bool = False) -> None:
        """Put what is new. *last*: all there is, once the tool has stopped; its object's maps may still be open."""
        if self.ended:
            return
        if self._grows:
            self._rows(put, last=last)
        now = time.monotonic()
        if last or now >= self._due:
            self._snapshots(put)
            took = time.monotonic() - now
            every = self._every * 2 ** (self._written // _ROWS)
            self._due = now + max(every, _BUSY * took)
        self.ended = last

    def state(self) -> dict[str, Any]:
        """The tool's part of the manifest, plain values for JSON."""
        tool = self.tool
        forms, attrs = (self._forms, self._attrs) if self._grows else (self._whole.forms, self._whole.attrs)
        return {
            "name": tool.name,
            "options": plain(tool.asked),
            "grows": self._grows,
            "columns": forms.to_json(),
            "attrs": plain(attrs),
            "used": [*tool.used],
            "state": plain(tool.state()),
            "beside": {
                name: {"columns": one.forms.to_json(), "attrs": plain(one.attrs)}
                for name, one in self._beside.items()
            },
            "first": self.first,
            "missed": self.missed,
        }

    # Rows that come and stay

    def _rows(self, put: Put, *, last: bool) -> None:
        self._frames.drain()
        total = self._frames.span()[1]
        self._settled.append((time.monotonic(), total))
        upto = total if last else self._next
        while self._settled and self._settled[0][0] <= time.monotonic() - self.tool.settles:
            upto = max(upto, self._settled.popleft()[1])
        if upto > self._next:
            frame = self.tool.new(self._next, upto)
            self._note(total)
            self.missed += max(0, upto - self._next - len(frame))
            self._next = upto
            if len(frame):
                written = self._learn(frame)
                self._count(frame.attrs.get(ATTR, {}))
                self.rows += len(frame)
                when = pa.array(np.full(len(frame), time.time_ns() // 1000), pa.timestamp("us", "UTC"))
                put("frame", to_arrow(written, self._forms).append_column(ARRIVED, when))
        if last and self._forms.unsettled:
            self._forms.settle(self._redact("frame", self.tool.df))
        if last or total != self._noted:
            self._note(total)

    @property
    def _attrs(self) -> dict[str, Any]:
        """What the rows that were taken say of themselves."""
        about = dict(self._said.get(ATTR, {}))
        complete = about.get("complete", False) and not any(self._counts.values())
        return {**self._said, ATTR: {**about, **self._counts, "complete": complete, "rows": self.rows}}

    def _learn(self, frame: pd.DataFrame) -> pd.DataFrame:
        written = self._redact("frame", frame)
        self._forms.learn(frame, written)
        return written

    def _count(self, about: Mapping[str, Any]) -> None:
        """Add up what a piece's rows say that no rows do not say: each speaks of its own rows only."""
        for key in about.keys() - self._said.get(ATTR, {}).keys():
            if type(about[key]) is int:
                self._counts[key] = self._counts.get(key, 0) + about[key]

    def _note(self, total: int) -> None:
        self._said = attributes(self.tool.new(total, total))
        self._noted = total

    # What is what it is now

    def _snapshots(self, put: Put) -> None:
        with contextlib.suppress(BpfnbError):  # it was closed just now, and what was taken last stands
            if not self._grows:
                frame = self.tool.df
                self._written += self._whole.take(frame, put)
                self.rows = len(frame)
            for name, frame in self.tool.beside().items():
                table = self._beside.setdefault(name, _Snapshots(folder_of("beside", name), self._redact))
                self._written += table.take(frame, put)

    def _tables(self) -> list[_Snapshots]:
        return [*self._beside.values(), *(() if self._grows else (self._whole,))]


class _Snapshots:
    """A table that is taken again and again, and written where it has changed."""

    def __init__(self, table: str, redact: Redact) -> None:
        self.table = table
        self.forms = Forms()
        self.attrs: dict[str, Any] = {}
        self._redact = redact
        self._last: pd.DataFrame | None = None

    def restart(self) -> None:
        self._last = None

    def take(self, frame: pd.DataFrame, put: Put) -> int:
        """How many rows were put."""
        frame = frame.reset_index(drop=frame.index.names == [None])
        self.attrs = attributes(frame)
        if self._last is not None and frame.equals(self._last):
            return 0
        self._last = frame
        written = self._redact(self.table, frame)
        self.forms = Forms()
        self.forms.learn(frame, written)
        now = pa.scalar(time.time_ns(), pa.timestamp("ns", "UTC"))
        if len(frame):
            rows = to_arrow(written, self.forms)
            put(self.table, rows.append_column(SNAPSHOT, pa.repeat(now, len(frame))))
        looks = pa.table({SNAPSHOT: pa.repeat(now, 1), "rows": pa.array([len(frame)], pa.int64())})
        put("looks" if self.table == "frame" else f"{self.table}@", looks)
        return len(frame)


def attributes(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(name): value for name, value in frame.attrs.items()}


def plain(value: Any) -> Any:
    """*value* as JSON has it: numbers are Python's, sets and tuples lists, paths text, what is no number None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset | range | np.ndarray):
        return [plain(one) for one in value]
    return str(value)
