"""Rows counted and measured in bins of time, one line for each value of a column, as they arrive.

Bin ``b`` of width ``w`` holds the moments ``b * w <= t < (b + 1) * w`` in nanoseconds, so two charts of one width have
the same bins, and they are those of ``Series.dt.floor``. Rows may come in any order. Only the newest ``keep`` bins
are kept: what is older than those is not drawn, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["MODES", "Bins", "Lines"]

MODES = {
    "rate": "per second",
    "count": "rows",
    "sum": "sum",
    "mean": "mean",
    "max": "largest",
    "p50": "median",
    "p90": "90th percentile",
    "p99": "99th percentile",
    "gauge": "last value",
}
"""How the rows of a bin become one number, and the words for it."""

MISSING = "(none)"
REST = None
_GROUPS = 256
_VALUES = 4_000_000
STICKS = 1.25
"""A line that is drawn gives way only to one so many times as large: near the edge lines do not come and go."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lines:
    """Bins ``first`` to ``first + n``: ``values`` float64 (lines, n), NaN where a line has no number.

    ``rest`` says how many groups the last line puts together; 0: each line is one group.
    """

    first: int
    labels: tuple[str, ...]
    values: Floats
    rest: int = 0


class Bins:
    """*mode* of the rows in each bin of *width* ns. ``rate`` is the count, or the sum where there are values:
    dividing it by the seconds measured is left to who knows those.

    Sums are float64: whole numbers are exact up to 2**53. Percentiles are values that occurred (nearest rank, as
    :func:`bpfnb.views.hist` has them). Beyond 256 groups the smallest are put together for good (``merged``); beyond
    four million values percentiles forget the oldest bins.
    """

    def __init__(
        self, width: int, mode: str, *, valued: bool = True, keep: int = 7200, groups: int = _GROUPS
    ) -> None:
        self.width, self.mode, self.keep = width, mode, keep
        self.valued = valued  # whether rows come with values
        self.first = 0  # number of the oldest bin
        self.size = 0  # how many there are
        self.early = 0  # rows older than the oldest bin that is kept
        self.rows = 0
        self.merged = 0
        self._limit = groups
        self._codes: dict[str, int] = {}
        self._drawn: set[str | None] = set()  # the lines of the last call
        self._labels: list[str | None] = [REST]  # row 0 is for groups that were put together
        # (groups, bins), both with room to grow; only what the mode needs
        self._cells: dict[str, npt.NDArray[Any]] = {"count": np.zeros((1, 0))}
        if valued and mode in ("rate", "sum", "mean"):
            self._cells["total"] = np.zeros((1, 0))
        if mode in ("max", "gauge"):
            self._cells["best"] = np.zeros((1, 0))
        if mode == "gauge":
            self._cells["moment"] = np.zeros((1, 0), np.int64)
        self._values: dict[int, list[tuple[npt.NDArray[np.int32], Floats]]] = {}
        self._kept_values = 0
        self._ranked: dict[int, dict[tuple[int, ...], float]] = {}

    def add(
        self,
        times: npt.NDArray[np.int64],
        labels: pd.Series | None = None,
        values: Floats | None = None,
    ) -> None:
        """Rows at *times* (ns). *labels*: the group of each. *values*: NaN counts as no value and is left out."""
        if values is not None:
            there = ~np.isnan(values)
            times, values = times[there], values[there]
            labels = labels[there] if labels is not None else None
        if not len(times):
            return
        number = times // self.width
        self._room(int(number.min()), int(number.max()))
        inside = number >= self.first
        if not inside.all():
            self.early += int(len(inside) - inside.sum())
            times, number = times[inside], number[inside]
            values = values[inside] if values is not None else None
            labels = labels[inside] if labels is not None else None
        self.rows += len(times)
        code = self._code(labels, len(times))
        at = number - self.first
        count = self._cells["count"]
        flat = code.astype(np.int64) * count.shape[1] + at
        np.add.at(count.reshape(-1), flat, 1)
        if values is not None and "total" in self._cells:
            np.add.at(self._cells["total"].reshape(-1), flat, values)
        if values is not None:
            self._keep(flat, times, at, code, values)
        if len(self._labels) > self._limit:
            self._merge_smallest()

    def _keep(
        self,
        flat: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
        at: npt.NDArray[np.int64],
        code: npt.NDArray[np.int32],
        values: Floats,
    ) -> None:
        """What sums do not hold: the largest, the last, or all values."""
        if self.mode == "max":
            np.maximum.at(self._cells["best"].reshape(-1), flat, values)
        elif self.mode == "gauge":
            order = np.argsort(times, kind="stable")
            flat, times, values = flat[order], times[order], values[order]
            last = np.unique(flat[::-1], return_index=True)[1]
            flat, times, values = flat[::-1][last], times[::-1][last], values[::-1][last]
            moment, best = self._cells["moment"].reshape(-1), self._cells["best"].reshape(-1)
            newer = times >= moment[flat]
            moment[flat[newer]] = times[newer]
            best[flat[newer]] = values[newer]
        elif self.mode in _RANKS:
            order = np.argsort(at, kind="stable")
            ends = np.flatnonzero(np.diff(at[order], append=-1))
            for part in np.split(order, ends[:-1] + 1):
                number = self.first + int(at[part[0]])
                self._values.setdefault(number, []).append((code[part], values[part]))
                self._ranked.pop(number, None)
            self._kept_values += len(values)
            while self._kept_values > _VALUES and len(self._values) > 1:
                self._drop_before(min(self._values) + 1)

    # Room

    def _room(self, low: int, high: int) -> None:
        """Bins *low* to *high* (inclusive), as far as they are among the newest."""
        if self.size and low >= self.first and high < self.first + self.size:
            return
        end = max(high + 1, self.first + self.size if self.size else high + 1)
        first = max(min(low, self.first if self.size else low), end - self.keep)
        capacity = end - first
        if not self.size or first < self.first or end > self.first + self._capacity:
            capacity += min(capacity // 4, self.keep // 4) + 8  # so that most bins come without a move
            self._move(first, capacity)
        elif first > self.first:
            self._drop_before(first)
        self.size = end - self.first

    @property
    def _capacity(self) -> int:
        return int(self._cells["count"].shape[1])

    def _move(self, first: int, capacity: int) -> None:
        low, high = max(first, self.first), min(self.first + self.size, first + capacity)
        for name, old in self._cells.items():
            new = np.full((len(old), capacity), _EMPTY[name], old.dtype)
            if self.size and high > low:
                new[:, low - first : high - first] = old[:, low - self.first : high - self.first]
            self._cells[name] = new
        self._forget_values(first)
        self.first = first

    def _drop_before(self, first: int) -> None:
        """Forget the bins before *first*; the arrays stay as long as they are, until they are full."""
        gone = first - self.first
        if gone <= 0:
            return
        self.size = max(0, self.size - gone)
        kept = max(0, self._capacity - gone)
        for name, array in self._cells.items():
            array[:, :kept] = array[:, self._capacity - kept :].copy()
            array[:, kept:] = _EMPTY[name]
        self.first = first
        self._forget_values(first)

    def _forget_values(self, first: int) -> None:
        for number in [number for number in self._values if number < first]:
            self._kept_values -= sum(len(values) for _, values in self._values.pop(number))
            self._ranked.pop(number, None)

    # Groups

    def _code(self, labels: pd.Series | None, rows: int) -> npt.NDArray[np.int32]:
        if labels is None:
            return np.full(rows, self._group(""), np.int32)
        codes, found = pd.factorize(labels, use_na_sentinel=True)
        rows_of = np.array(
            [*(self._group(str(label)) for label in found), self._group(MISSING) if (codes < 0).any() else 0],
            np.int32,
        )
        return rows_of[codes]

    def _group(self, label: str) -> int:
        code = self._codes.get(label)
        if code is None:
            code = self._codes[label] = len(self._labels)
            self._labels.append(label)
            if len(self._cells["count"]) == code:  # rows ahead, since groups come one by one
                for name, array in self._cells.items():
                    more = np.full((max(code, 4), self._capacity), _EMPTY[name], array.dtype)
                    self._cells[name] = np.concatenate([array, more])
        return code

    def _merge_smallest(self) -> None:
        """Put the smaller half of the groups together with what was put together before."""
        used = len(self._labels)
        weight = self._weight(slice(None))[:used]
        weight[0] = np.inf
        kept = np.sort(np.argsort(-weight, kind="stable")[: self._limit // 2])
        target = np.zeros(used, np.int32)
        target[kept] = np.arange(len(kept))
        self.merged += used - len(kept)
        gone = np.setdiff1d(np.arange(used), kept)
        for name, array in self._cells.items():
            put = array[[0, *gone]]
            self._cells[name] = array[kept]
            self._cells[name][0] = put.sum(axis=0) if name in ("count", "total") else put.max(axis=0)
        self._labels = [self._labels[i] for i in kept]
        self._codes = {label: i for i, label in enumerate(self._labels) if label is not None}
        self._ranked.clear()
        for chunks in self._values.values():
            chunks[:] = [(target[code], values) for code, values in chunks]

    def _weight(self, window: slice) -> Floats:
        """By what groups are ordered: what is added up, where something is; else their rows."""
        summed = self.mode in ("rate", "sum") and self.valued
        weight: Floats = np.abs(self._cells["total" if summed else "count"][:, window]).sum(axis=1)
        return weight

    # Lines

    def lines(self, top: int, first: int | None = None, stop: int | None = None) -> Lines:
        """The bins *first* to *stop* (default: all kept), one line for each of the *top* groups with the largest total
        there and one, the last, for all others together (but a last value of several groups is none).
        """
        first = self.first if first is None else first
        stop = self.first + self.size if stop is None else stop
        low, high = max(first, self.first), min(stop, self.first + self.size)
        width = max(0, stop - first)
        if high <= low:
            return Lines(first, (), np.full((0, width), np.nan))
        window = slice(low - self.first, high - self.first)
        used = len(self._labels)
        weight = self._weight(window)[:used]
        weight[[code for label, code in self._codes.items() if label in self._drawn]] *= STICKS
        rows = self._cells["count"][:used, window].sum(axis=1)
        order = [int(i) for i in np.argsort(-weight, kind="stable") if i and rows[i]]
        chosen, rest = order[:top], order[top:]
        if top:
            self._drawn = {self._labels[code] for code in chosen}
        if rows[0]:
            rest.append(0)
        values = [self._of([code], window) for code in chosen]
        labels = [self._labels[code] or "" for code in chosen]
        others = len(rest) + (max(self.merged - 1, 0) if rows[0] else 0)
        if rest and self.mode != "gauge":
            values.append(self._of(rest, window))
            labels.append(f"{others:,} others")
        out = np.full((len(values), width), np.nan)
        if values:
            out[:, low - first : high - first] = np.stack(values)
        return Lines(first, tuple(labels), out, others if rest else 0)

    def _of(self, codes: Sequence[int], window: slice) -> Floats:
        count: Floats = self._cells["count"][codes, window].sum(axis=0)
        if self.mode in _RANKS:
            return self._ranks(tuple(codes), window)
        if self.mode in ("max", "gauge"):
            return np.where(count > 0, self._cells["best"][codes, window].max(axis=0), np.nan)
        if self.mode == "count" or not self.valued:
            return count
        total: Floats = self._cells["total"][codes, window].sum(axis=0)
        if self.mode != "mean":
            return total
        mean: Floats = np.full(len(total), np.nan)
        return np.divide(total, count, out=mean, where=count > 0)

    def _ranks(self, codes: tuple[int, ...], window: slice) -> Floats:
        """The percentile of each bin: the value at rank ceil(p / 100 * n)."""
        out = np.full(window.stop - window.start, np.nan)
        wanted = np.zeros(len(self._labels), bool)
        wanted[list(codes)] = True
        for i in range(len(out)):
            number = self.first + window.start + i
            chunks = self._values.get(number)
            if not chunks:
                continue
            known = self._ranked.setdefault(number, {})
            if codes not in known:
                code, values = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
                chunks[:] = [(code, values)]  # joined once
                mine = values[wanted[code]]
                rank = max(-(-_RANKS[self.mode] * len(mine) // 100), 1) - 1
                known[codes] = float(np.partition(mine, rank)[rank]) if len(mine) else np.nan
            out[i] = known[codes]
        return out


_RANKS = {"p50": 50, "p90": 90, "p99": 99}
_EMPTY = {"count": 0, "total": 0, "best": -np.inf, "moment": np.iinfo(np.int64).min}
