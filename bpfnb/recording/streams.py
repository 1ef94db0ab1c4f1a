"""A recorded stream that is filled from its recording: at once, or as its rows arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import BadRecording
from bpfnb.frames import Stream, pump
from bpfnb.frames.layout import Layout
from bpfnb.frames.live import Callback
from bpfnb.frames.store import Batch, Bound
from bpfnb.recording.backend import Nothing
from bpfnb.recording.player import Player
from bpfnb.recording.reader import Piece, RecordedObject

__all__ = ["ReplayedStream"]


class ReplayedStream(Stream):
    """The stream *name* of *recorded*, as far as *player* has come.

    It keeps all rows, unless *rows* says how many. Once they are all there it is ``settled``: whoever waits for more
    goes on, and who asks for rows from now on (``on``, ``async for``) gets those that there are, as in a notebook that
    asked before they came.
    """

    def __init__(
        self,
        name: str,
        recorded: RecordedObject,
        player: Player,
        layouts: Sequence[Layout],
        *,
        provenance: Mapping[str, Any],
        rows: int | None = None,
    ) -> None:
        self._info = info = recorded.stream(name)
        lost = (lambda: 0) if info.counted else None
        super().__init__(name, Nothing(), layouts, lost=lost, provenance=provenance, kind=info.kind)
        self.view = info.view
        self._player = player
        self._whole = not recorded.recording.gaps
        self._measured = _Counts.of(recorded, name)
        lanes = {lane.name: lane for lane in (*self._known, self._unknown)}
        found = recorded.lanes(name)
        for missing in set(found) - lanes.keys():
            raise BadRecording(
                f"the records '{missing[:80]}' of '{name}' in {recorded.recording.path} have no type"
            )
        self._sources = {lanes[one]: _Pieces(recorded.read(name, lanes[one])) for one in found}
        store = self._store
        store.bound = Bound(rows, None, None)
        store.opened = store.looked = info.opened
        store.total = store.floor = info.first
        self._speeds[0] = (self._speeds[0][0], info.first)
        if player.ended:
            self._drain()

    # Filling

    def _drain(self, *, rest: bool = True) -> int:  # noqa: ARG002  all is there
        if self._store.closed:
            return 0
        position = self._player.position
        ended = position == float("inf")
        ready = [
            (lane, _batch(piece))
            for lane, pieces in self._sources.items()
            for piece in pieces.until(position)
        ]
        store, before = self._store, self._store.total
        with store.lock:
            for lane, batch in ready:
                store.add(lane, batch)
                self._totals[lane] = self._totals.get(lane, 0) + batch.rows
                store.total = max(store.total, batch.end)
            if ended:
                store.total = max(store.total, self._info.total)
                store.looked, self._peak, self._short = self._info.looked, self._info.peak, self._info.short
            else:
                store.looked = max(store.opened, position)
            store.evict(store.looked)
            if ended:
                store.closed = True
                for frame in (self, *self._types.values()):
                    frame.settled = True
            if ready or ended:
                store.announce()
        if ended:
            pump.remove(self)
        return store.total - before

    def present(self) -> int:
        return self._player.present()

    def lost_by(self) -> dict[str, int]:
        if self._store.closed:
            return dict(self._info.lost_by) or dict(self._lost)
        return self._measured.lost(self._player.position)

    def _uncounted(self) -> dict[str, Any]:
        return super()._uncounted() | ({} if self._whole else {"complete": False})

    @property
    def fill(self) -> float:
        return 0.0 if self._store.closed else self._measured.fill(self._player.position)

    def close(self) -> None:
        """Nothing more comes; the rows stay readable."""
        pump.remove(self)
        with self._draining:
            self._reader = None
            self._sources.clear()
            self._store.closed = True
        super().close()

    # What came before anybody could ask

    def on(self, callback: Callback) -> Callable[[], None]:
        """As :meth:`LiveFrame.on`; once all rows are there, *callback* gets them in one frame."""
        end = super().on(callback)
        if self.settled:
            self._guard(lambda: self._deliver(callback, self._store.floor))
        return end

    async def __aiter__(self) -> AsyncIterator[pd.DataFrame]:
        if self.settled:
            frame = self._frame(self._store.floor)[0]
            if len(frame):
                yield frame
            return
        async for frame in super().__aiter__():
            yield frame

    def wait_for(self, rows: int | None = None, timeout: float | None = None) -> bool:
        """As :meth:`LiveFrame.wait_for`; once all rows are there, any row there is counts as one that came."""
        return super().wait_for(self._goal(rows), timeout)

    async def wait(self, rows: int | None = None, timeout: float | None = None) -> bool:
        return await super().wait(self._goal(rows), timeout)

    def _goal(self, rows: int | None) -> int | None:
        return max(1, self._now_total()) if rows is None and self.settled else rows

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, recorded>"


class _Pieces:
    """The rows of one lane, given out in the order of their arrival, a piece in memory at a time."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._head: Piece | None = None
        self._begun = False

    def until(self, position: float) -> Iterator[Piece]:
        """The rows that had arrived at *position* and were not given out yet."""
        if not self._begun:
            self._begun, self._head = True, next(self._pieces, None)
        while self._head is not None:
            piece = self._head
            rows = piece.rows
            if piece.arrived[-1] > position:
                rows = int(np.searchsorted(piece.arrived, position, "right"))
            if rows < piece.rows:
                if rows:
                    self._head = _part(piece, rows, piece.rows)
                    yield _part(piece, 0, rows)
                return
            self._head = next(self._pieces, None)
            yield piece


def _part(piece: Piece, start: int, stop: int) -> Piece:
    numbers = None if piece.numbers is None else piece.numbers[start:stop]
    first = piece.first + start if numbers is None else int(numbers[0])
    columns = {name: values[start:stop] for name, values in piece.columns.items()}
    return Piece(first, stop - start, numbers, piece.arrived[start:stop], columns)


def _batch(piece: Piece) -> Batch:
    batch = Batch.of_columns(piece.first, piece.rows, piece.columns, float(piece.arrived[-1]))
    if piece.numbers is None:
        return batch
    end = int(piece.numbers[-1]) + 1
    return Batch(
        piece.first,
        end,
        piece.rows,
        batch.began,
        batch.ended,
        batch.size,
        columns=piece.columns,
        order=piece.numbers,
    )


class _Counts:
    """What a stream had lost, and how full its buffer was, over time."""

    def __init__(
        self, times: Sequence[float], lost: Sequence[tuple[int, int]], fill: Sequence[float]
    ) -> None:
        self._times, self._lost, self._fill = times, lost, fill

    @classmethod
    def of(cls, recorded: RecordedObject, name: str) -> _Counts:
        table = recorded.health
        needed = ["kind", "name", "time", "lost_program", "lost_buffer", "fill"]
        if not set(needed) <= set(table.schema.names):
            return cls([], [], [])
        rows = [
            row for row in table.select(needed).to_pylist() if (row["kind"], row["name"]) == ("stream", name)
        ]
        try:
            return cls(
                [row["time"].timestamp() for row in rows],
                [(int(row["lost_program"] or 0), int(row["lost_buffer"] or 0)) for row in rows],
                [float(row["fill"] or 0.0) for row in rows],
            )
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadRecording(
                f"the health of '{name}' in {recorded.recording.path} is damaged: {error}"
            ) from None

    def lost(self, position: float) -> dict[str, int]:
        program, buffer = self._lost[at] if (at := self._at(position)) >= 0 else (0, 0)
        return {"program": program, "buffer": buffer}

    def fill(self, position: float) -> float:
        return self._fill[at] if (at := self._at(position)) >= 0 else 0.0

    def _at(self, position: float) -> int:
        return int(np.searchsorted(self._times, position, "right")) - 1
