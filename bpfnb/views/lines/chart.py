"""What a time series shows at one moment, whatever it came from: lines over bins of time, and what was lost in each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views._style import DURATIONS, humanize
from bpfnb.views.lines.bins import Floats
from bpfnb.views.moments import EPOCH

__all__ = ["Axis", "Chart", "Slots", "axis", "with_unit"]

Moments = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chart:
    """``start`` to ``stop`` (int64 ns) of each bin, ``at`` where its point is drawn, ``seconds`` measured in it.

    ``values``: float64 (lines, bins), NaN where a line has no number: lines are broken there. ``lost``: records lost
    in each bin, None where nothing can be lost. ``rest``: how many groups the last line puts together. ``running``:
    the last bin is not over yet. ``resets``: the bins in which a counter began again.
    """

    labels: tuple[str, ...]
    start: Moments
    stop: Moments
    at: Moments
    seconds: Floats
    values: Floats
    window: tuple[int, int]
    history: tuple[int, int]
    rest: int = 0
    lost: Floats | None = None
    running: bool = False
    resets: Sequence[int] = ()
    what: str = ""
    unit: str | None = None
    per_second: bool = False
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def empty(self) -> bool:
        return not self.labels or not np.isfinite(self.values).any()

    @property
    def solid(self) -> int:
        """How many bins are over: the line ends there."""
        return len(self.start) - 1 if self.running and len(self.start) > 1 else len(self.start)

    def shown(self) -> npt.NDArray[np.bool_]:
        """The bins that are over and within the window."""
        inside = (self.at >= self.window[0]) & (self.at <= self.window[1])
        inside[self.solid :] = False
        return inside

    def summary(self, line: int) -> dict[str, float]:
        """``now``, ``min``, ``mean``, ``max`` of a line within the window; NaN where it has no number."""
        values = self.values[line, self.shown()]
        values = values[np.isfinite(values)]
        if not len(values):
            return dict.fromkeys(("now", "min", "mean", "max"), math.nan)
        return {
            "now": float(values[-1]),
            "min": float(values.min()),
            "mean": float(values.mean()),
            "max": float(values.max()),
        }

    def largest(self) -> tuple[float, float]:
        """The least and the largest number within the window; (0, 0) where there is none."""
        values = self.values[:, self.shown()]
        values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)

    def frame(self) -> pd.DataFrame:
        """One row a bin: ``start`` and ``stop`` (times; seconds where the clock is not the wall's), ``seconds``
        measured, ``lost`` where that is known, and one column a line.
        """
        wall = not len(self.start) or int(self.start[0]) >= EPOCH
        edges = [
            pd.to_datetime(edge, unit="ns", utc=True) if wall else edge / 1e9
            for edge in (self.start, self.stop)
        ]
        columns = {"start": edges[0], "stop": edges[1], "seconds": self.seconds}
        if self.lost is not None:
            columns["lost"] = self.lost.astype(np.int64)
        return pd.DataFrame(columns | {label: self.values[i] for i, label in enumerate(self.labels)})


class Slots:
    """Which line has which colour: a line keeps its own as long as it is among those drawn."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._of: dict[str, int] = {}

    def assign(self, labels: Iterable[str]) -> list[int]:
        """A number from 0 on for each label; more labels than colours begin again."""
        labels = list(labels)
        self._of = {label: slot for label, slot in self._of.items() if label in labels}
        for label in labels:
            if label not in self._of:
                taken = set(self._of.values())
                free = (slot for slot in range(self._count) if slot not in taken)
                self._of[label] = next(free, len(self._of) % self._count)
        return [self._of[label] for label in labels]


def with_unit(value: float, unit: str | None, per_second: bool, digits: int = 3) -> str:
    """``1.5 ms``, ``12.3 KiB/s``, ``4,500/s``: a number of a line as a person reads it."""
    if math.isnan(value):
        return "-"
    if unit is None or unit not in (*DURATIONS, "bytes"):
        text = _plain(value, digits) + (f" {unit}" if unit else "")
    else:
        text = humanize(round(value) if abs(value) >= 100 and unit == "bytes" else value, unit, digits)
    return text + "/s" * per_second


def _plain(value: float, digits: int) -> str:
    if abs(value) >= 1e6:
        for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
            if abs(value) >= size:
                return f"{value / size:.{digits}g} {letter}"
    if abs(value) >= 100:
        return f"{round(value):,}"
    return f"{value:.{digits}g}"


@dataclass(frozen=True)
class Axis:
    """Round numbers within ``low`` to ``high``, and their labels."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


TINY = 1e-290  # below this, steps of a range are no numbers any more


def axis(low: float, high: float, unit: str | None, per_second: bool, *, zero: bool, count: int = 4) -> Axis:
    """About *count* round numbers in the unit that suits *high*; from zero on where *zero* is wanted."""
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < TINY:
        if max(abs(low), abs(high)) < TINY:
            low, high = (-1.0 if low < 0 else 0.0), 1.0
        else:
            high = low + abs(low)
    factor, name = _scale(max(abs(low), abs(high)), unit)
    step = _round_step((high - low) / factor / count) * factor
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(i * step for i in range(first, last + 1))
    labels = tuple(
        f"{tick / factor:,.10g}{name}{'/s' if per_second else ''}" if tick else "0" for tick in ticks
    )
    return Axis(ticks[0], ticks[-1], ticks, labels)


def _scale(size: float, unit: str | None) -> tuple[float, str]:
    """What a label's numbers are divided by, and what stands behind them."""
    if unit in DURATIONS:
        base = DURATIONS[unit or ""]
        name = next((n for n in ("s", "ms", "us") if size * base >= DURATIONS[n]), "ns")
        return DURATIONS[name] / base, f" {name}"
    if unit == "bytes":
        power = 0
        while size >= 1024 and power < 6:
            size, power = size / 1024, power + 1
        return 1024.0**power, f" {('', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei')[power]}B"
    factor, letter = next(
        ((f, n) for f, n in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if size >= f), (1, "")
    )
    return factor, letter + (f" {unit}" if unit else "")


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * (1 - 1e-9))
