"""A map looked at again and again: counters as rates between two looks, gauges as they are.

A counter's rate is what it grew by, divided by the seconds between the two looks; numbers are subtracted as whole
numbers of 64 bits. A counter that went down began again at zero (the map was cleared, the entry replaced, or the
number wrapped), and so did one whose key vanished and came back: what it has now is what it counted since, at least.
Such a look is marked as a reset; a rate is never negative. A key that was not there at the last look has counted from
zero since then. Between two looks that are further apart than expected (the view was paused or hidden) nothing is
known of when it happened: that is a gap, and a new beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views.lines.bins import Floats, Lines

__all__ = ["Sample", "Samples"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one look found: for the time from ``start`` to ``stop`` (ns), the number of each line.

    ``seconds`` is the true time between the looks. ``resets`` names the lines that began again.
    """

    start: int
    stop: int
    seconds: float
    values: dict[str, float]
    resets: frozenset[str] = frozenset()


class Samples:
    """The newest *keep* looks. *rate*: the values count upwards, else they are drawn as they are.

    *patience*: seconds between two looks above which there is a gap.
    """

    def __init__(self, *, rate: bool, patience: float, keep: int = 7200) -> None:
        self.rate = rate
        self.patience = patience
        self.samples: deque[Sample] = deque(maxlen=keep)
        self.resets = 0
        self._last: dict[str, int | float] | None = None
        self._gone: set[str] = set()
        self._when = 0
        self._clock = 0.0

    def add(self, when: int, clock: float, labels: Sequence[str], values: npt.NDArray[np.generic]) -> None:
        """One look at wall-clock time *when* (ns) and monotonic time *clock* (s). Equal *labels* are added up."""
        now: dict[str, int | float] = {}
        for label, value in zip(labels, values.tolist(), strict=True):
            if value is not None and value == value:
                now[label] = now.get(label, 0) + value
        seconds = clock - self._clock
        gap = self._last is None or not 0 <= seconds <= self.patience  # of a recording it is another clock
        if not self.rate:
            start = when if gap else self._when
            self._append(Sample(start, when, 0.0 if gap else seconds, {k: float(v) for k, v in now.items()}))
        elif not gap and seconds > 0:
            self._append(self._grown(when, seconds, now))
        if self._last is not None:
            self._gone |= self._last.keys() - now.keys()
        self._last, self._when, self._clock = now, when, clock

    def _grown(self, when: int, seconds: float, now: dict[str, int | float]) -> Sample:
        last = self._last or {}
        rates: dict[str, float] = {}
        resets = set()
        for label, value in now.items():
            grown = value - last.get(label, 0)
            if grown < 0 or (label not in last and label in self._gone):
                resets.add(label)
                grown = max(value, 0)
            rates[label] = grown / seconds
        return Sample(self._when, when, seconds, rates, frozenset(resets))

    def _append(self, sample: Sample) -> None:
        self.samples.append(sample)
        self.resets += len(sample.resets)
        self._gone -= sample.resets

    def lines(
        self, top: int, start: int | None = None, stop: int | None = None
    ) -> tuple[Lines, list[Sample]]:
        """The looks that ended between *start* and *stop* (ns; default: all), one line for each of the *top* keys with
        the largest total there and one for all others together; and the looks themselves.

        A key that is not there has no number, unless it is a counter: nothing was counted.
        """
        chosen = [
            s
            for s in self.samples
            if (start is None or s.stop >= start) and (stop is None or s.start <= stop)
        ]
        table = pd.DataFrame([sample.values for sample in chosen], dtype=np.float64)
        totals = table.abs().sum().to_numpy() if len(table) else np.zeros(0)
        order = np.argsort(-totals, kind="stable")
        labels = [str(table.columns[i]) for i in order[:top]]
        values: Floats = table.to_numpy(np.float64).T[order] if len(table) else np.zeros((0, len(chosen)))
        rest = values[top:]
        values = values[:top]
        if self.rate:
            values, rest = np.nan_to_num(values), np.nan_to_num(rest)
        if len(rest):
            values = np.vstack([values, np.nansum(rest, axis=0)])
            labels.append(f"{len(rest):,} others")
        return Lines(0, tuple(labels), values, len(rest)), chosen
