"""A recorded map: its entries at the moment that a replay has come to, and at each look before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from itertools import islice

import pandas as pd

from bpfnb.btf import Btf
from bpfnb.frames import MapFrame
from bpfnb.kernel.backend import Bytes2D, MapInfo
from bpfnb.recording.backend import RecordedMaps
from bpfnb.recording.looks import Looks
from bpfnb.recording.reader import RecordedObject

__all__ = ["ReplayedMap"]

Entries = Iterator[tuple[int, Bytes2D, Bytes2D]]


class ReplayedMap(MapFrame):
    """A map as it was at the moment that has come; windows are those of the recorded reading."""

    def __init__(
        self,
        recorded: RecordedObject,
        memory: RecordedMaps,
        info: MapInfo,
        btf: Btf,
        provenance: Mapping[str, str],
    ) -> None:
        entry = recorded.map(info.name)
        clock = recorded.recording.manifest.clock_offset
        super().__init__(
            info.name,
            memory,
            info,
            btf,
            provenance=provenance,
            lost=(lambda: entry.lost) if entry.counted else None,
            view=entry.view,
            clock=clock,
        )
        self._memory = memory
        self._recorded = recorded
        self._times: list[int] = []
        self._later: Entries | None = None
        self._upcoming: int | None = None
        self._places: list[tuple[int, Entries]] = []
        self._then: tuple[Bytes2D, Bytes2D, tuple[float, float]] | None = None

    def past(self) -> Looks:
        """What it was each time that it had changed, so far: when it was read (ns since 1970), and its frame."""
        self._later = (
            self._later or self._entries()
        )  # opens the file, which may have moved when a look is asked for
        while True:
            if self._upcoming is None:
                self._upcoming = next((when for when, *_ in self._later), None)
            if self._upcoming is None or self._upcoming > self.present():
                break
            self._times.append(self._upcoming)
            self._upcoming = None
        return Looks(self._times, self._frames, range(len(self._times)))

    def _frames(self, looks: range) -> Iterator[pd.DataFrame]:
        at, entries = self._places.pop() if self._places else (0, self._entries())
        if at > looks.start:
            at, entries = 0, self._entries()
        for taken, keys, values in islice(entries, looks.start - at, looks.stop - at):
            then = copy(self)
            then._then = keys, values, (taken / 1e9, taken / 1e9)
            yield then.frame()
        self._places = [(looks.stop, entries)]  # where the next look is, most likely

    def _entries(self) -> Entries:
        return self._memory.kept.entries(self.name)

    def _read(self) -> tuple[Bytes2D, Bytes2D, tuple[float, float]]:
        if self._then is not None:
            return self._then
        past = self._memory.past(self.name)
        keys, values, snapshot = past.keys, past.values, past.snapshot
        self._known = (float("inf"), 0.0, len(keys))
        return (
            keys.copy(),
            values.copy(),
            (snapshot.time, snapshot.until) if snapshot else self._memory.player.window,
        )

    def present(self) -> int:
        return self._memory.player.present()

    @property
    def fill(self) -> float | None:
        self._known = (float("-inf"), 0.0, 0)  # reading costs nothing
        return super().fill

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, recorded>"
