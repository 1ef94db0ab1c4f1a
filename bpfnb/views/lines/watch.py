"""What happens between two pictures: losses as they are found, times when nothing was measured, looks at a map.

A watch has turns of its own, so that nothing is missed while nobody sees the view.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from bpfnb.views.lines.bins import Floats
from bpfnb.views.lines.chart import Moments
from bpfnb.views.source import Source

__all__ = ["Watch", "overlap"]

Span = tuple[int, int]


class Watch:
    """Looks at *source* every *period* seconds, under *lock*. *look*, where given, is called with the wall clock (ns)
    and the monotonic clock (s) unless the object is paused; an error goes to *failed*.
    """

    def __init__(
        self,
        source: Source,
        period: float,
        lock: AbstractContextManager[object],
        failed: Callable[[BaseException], None],
        look: Callable[[int, float], None] | None = None,
    ) -> None:
        self._lock, self._failed = lock, failed
        self.period = period
        self.pauses: deque[Span] = deque(maxlen=1000)
        self.losses: deque[tuple[int, int]] = deque(maxlen=7200)
        """When records were found to be lost (ns), and how many. Those from before the first look are not here."""
        self._source = source
        self._look = look
        self._paused_at: int | None = None
        self._lost = sum(source.lost().values())
        self._done = not source.live

    @property
    def can_lose(self) -> bool:
        """Whether losses are known of: not of a DataFrame that nothing says so of."""
        return self._source.live or self._source.kind == "stream" or bool(self._lost)

    def stop(self) -> None:
        """Look a last time."""
        if not self._done:
            self._done = True
            self._guarded()

    def now(self) -> None:
        """Look now."""
        with self._lock:
            self._now()

    def _now(self) -> None:
        when, clock = self._source.now(), time.monotonic()
        lost = sum(self._source.lost().values())
        if lost > self._lost:
            self.losses.append((when, lost - self._lost))
        self._lost = max(lost, self._lost)
        if self._paused():
            self._paused_at = self._paused_at or when
            return
        if self._paused_at is not None:
            self.pauses.append((self._paused_at, when))
            self._paused_at = None
        if self._look is not None:
            self._look(when, clock)

    def _turn(self) -> float:
        if self._done:
            return 3600.0
        began = time.monotonic()
        self._guarded()
        spent = time.monotonic() - began
        return max(self.period - spent, 4 * spent)  # a map that takes long to read is looked at less often

    def _guarded(self) -> None:
        try:
            self.now()
        except Exception as error:
            if not self._source.closed:  # what was closed just now has had its last look
                self._failed(error)

    def _paused(self) -> bool:
        from bpfnb.object import objects

        made = objects.get(str(self._source.attrs.get("object", "")))
        return made is not None and made.state == "paused"

    def gaps(self, now: int) -> list[Span]:
        """The times until *now* when the object was paused."""
        return [*self.pauses, *([(self._paused_at, now)] if self._paused_at is not None else [])]

    def lost_in(self, start: Moments, stop: Moments) -> Floats | None:
        """How many records were found to be lost in each of the spans; None where nothing is known of losses."""
        if not self.can_lose:
            return None
        out = np.zeros(len(start))
        for when, count in self.losses:
            i = int(np.searchsorted(start, when, side="right")) - 1
            if 0 <= i < len(out) and when < max(int(stop[i]), int(start[i]) + 1):
                out[i] += count
        return out


def overlap(start: Moments, stop: Moments, spans: list[Span]) -> Floats:
    """How many ns of each ``[start, stop)`` lie within *spans*, which do not overlap each other."""
    out = np.zeros(len(start))
    for low, high in spans:
        out += np.clip(np.minimum(stop, high) - np.maximum(start, low), 0, None)
    return out
