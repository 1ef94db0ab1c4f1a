"""Edges of a source that goes on: events of a stream, or snapshots of counters in a map.

Each batch is reduced to its edges when it arrives; only these small sums are kept for as long as the window is, so
memory and time depend on the edges, not on the events. Latencies are kept as counts in 64 buckets for each power of
two: percentiles over the window are exact to 1 %.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views.services.edges import Ends, Numbers, failed, numbers, summed

__all__ = ["Counters", "Window"]

_SHIFT = 46  # the upper 18 bits of a double: sign, exponent, and 6 bits of its fraction
_STEP = 1 << 18


@dataclass(frozen=True)
class _Batch:
    """Sums of one batch. ``edge`` has each edge once; ``slots`` are ``edge * _STEP + bucket``."""

    begin: float
    when: float
    edge: npt.NDArray[np.int64]
    count: Numbers
    nbytes: Numbers | None
    errors: Numbers | None
    slots: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]


class Window:
    """Events, counted: totals for ever, rates and percentiles over the last ``seconds``."""

    def __init__(self, ends: Ends, seconds: float) -> None:
        self.roles = ends.roles
        self.ends = ends
        self.seconds = seconds
        self.events = 0
        self._start = self._until = np.nan  # what time the batches cover
        self._batches: deque[_Batch] = deque()
        self._count = np.zeros(0)
        self._nbytes = np.zeros(0)
        self._seen = np.zeros(0)

    def add(self, frame: pd.DataFrame, now: float, lasted: float | None = None) -> None:
        """Count the rows of *frame*, which arrived since the last call.

        *lasted*: for the first call, the seconds that its rows took; unknown, they count for totals only.
        """
        begin = self._until
        if np.isnan(begin):
            begin = self._start = now - (lasted or 0.0)
        self._until = now
        if not len(frame):
            return
        roles = self.roles
        numbered = self.ends.number(frame)
        self._grow(len(self.ends.edges))
        edge, local = np.unique(numbered, return_inverse=True)
        size = len(edge)
        weight = np.ones(len(frame)) if roles.weight is None else numbers(frame[roles.weight])
        count = summed(local, weight, size)
        nbytes = errors = None
        if roles.nbytes is not None:
            nbytes = summed(local, numbers(frame[roles.nbytes]), size)
            self._nbytes[edge] += nbytes
        if roles.errors is not None:
            errors = summed(local, failed(frame[roles.errors], roles.errors) * weight, size)
        slots = hits = np.zeros(0, np.int64)
        if roles.latency is not None:
            buckets = np.maximum(numbers(frame[roles.latency]), 0.0).view(np.int64) >> _SHIFT
            slots, hits = np.unique(numbered * _STEP + buckets, return_counts=True)
        self._count[edge] += count
        self._seen[edge] = now
        self.events += len(frame)
        if begin < now:
            self._batches.append(_Batch(begin, now, edge, count, nbytes, errors, slots, hits))

    def table(self, now: float, keep: float | None = None) -> pd.DataFrame:
        """The edges at *now*, without those last seen more than *keep* seconds ago."""
        while self._batches and self._batches[0].when <= now - self.seconds:
            self._batches.popleft()
        size, elapsed = len(self.ends.edges), min(self.seconds, now - self._start)
        if self._batches:  # nobody looked for longer than the window: it is as long as what came meanwhile
            elapsed = max(elapsed, now - self._batches[0].begin)
        count, nbytes, errors = np.zeros(size), np.zeros(size), np.zeros(size)
        for batch in self._batches:
            count[batch.edge] += batch.count
            if batch.nbytes is not None:
                nbytes[batch.edge] += batch.nbytes
            if batch.errors is not None:
                errors[batch.edge] += batch.errors
        age = now - self._seen
        found = {"count": self._count.copy(), "age": age}
        if elapsed > 0:
            found["rate"] = count / elapsed
        if self.roles.nbytes is not None:
            found["bytes"] = self._nbytes.copy()
            if elapsed > 0:
                found["bytes_rate"] = nbytes / elapsed
        if self.roles.errors is not None:
            found["errors"] = np.divide(errors, count, out=np.full(size, np.nan), where=count > 0)
        if self.roles.latency is not None:
            found["latency"], found["latency_p99"] = self._latency(size)
        return self.ends.table(found, None if keep is None else age <= keep)

    def _latency(self, size: int) -> tuple[Numbers, Numbers]:
        median, high = np.full(size, np.nan), np.full(size, np.nan)
        batches = [batch for batch in self._batches if len(batch.slots)]
        if not batches:
            return median, high
        slots, where = np.unique(np.concatenate([b.slots for b in batches]), return_inverse=True)
        hits = np.bincount(where, np.concatenate([b.hits for b in batches])).astype(np.int64)
        edge = slots // _STEP
        middle = ((slots % _STEP << _SHIFT) + (1 << (_SHIFT - 1))).view(np.float64)
        middle[slots % _STEP == 0] = 0.0
        running = np.cumsum(hits)
        present, first = np.unique(edge, return_index=True)
        before = running[first] - hits[first]
        total = np.append(before[1:], running[-1]) - before
        for result, percent in ((median, 50), (high, 99)):
            result[present] = middle[np.searchsorted(running, before + -(-total * percent // 100))]
        return median, high

    def _grow(self, size: int) -> None:
        more = size - len(self._count)
        if more > 0:
            empty = np.zeros(more)
            self._count = np.append(self._count, empty)
            self._nbytes = np.append(self._nbytes, empty)
            self._seen = np.append(self._seen, empty)


class Counters:
    """Counters that only grow, read again and again: rates from the differences over the last ``seconds``.

    A counter that is lower than before was deleted and began again at nothing.
    """

    def __init__(self, ends: Ends, seconds: float) -> None:
        self.roles = ends.roles
        self.ends = ends
        self.seconds = seconds
        self._reads: deque[tuple[float, dict[str, Numbers]]] = deque()
        self._grown: dict[str, Numbers] = {}
        self._last: dict[str, Numbers] = {}
        self._seen = np.zeros(0)
        self._there = np.zeros(0, bool)

    @property
    def read(self) -> bool:
        """Whether the counters were read at all."""
        return bool(self._reads)

    def add(self, frame: pd.DataFrame, now: float) -> None:
        """The counters as they stand at *now*, one or more rows for an edge."""
        numbered = self.ends.number(frame)
        size = len(self.ends.edges)
        first = not self._reads
        grew = np.zeros(size, bool)
        for name, column in self._columns().items():
            value = summed(numbered, numbers(frame[column]), size)
            last = _padded(self._last.get(name), size)
            gain = np.where(value >= last, value - last, value)
            grew |= gain > 0
            base = _padded(self._grown.get(name), size)
            self._grown[name] = base if first else base + gain
            self._last[name] = value
        self._there = np.bincount(numbered, minlength=size) > 0
        self._seen = _padded(self._seen, size)
        self._seen[grew] = now
        self._reads.append((now, dict(self._grown)))
        while len(self._reads) > 2 and self._reads[1][0] <= now - self.seconds:
            self._reads.popleft()

    def table(self, now: float, keep: float | None = None) -> pd.DataFrame:
        """The edges as last read, without those whose counters are gone, or stood still longer than *keep* seconds."""
        size, last = len(self.ends.edges), self._last
        age = now - self._seen
        found: dict[str, Numbers] = {"age": age}
        found |= {name: last[name] for name in ("count", "bytes") if name in last}
        if len(self._reads) > 1:
            (begin, old), (end, new) = self._reads[0], self._reads[-1]
            gained = {name: new[name] - _padded(old.get(name), size) for name in new}
            for name, rate in (("count", "rate"), ("bytes", "bytes_rate")):
                if name in gained:
                    found[rate] = gained[name] / (end - begin)
            if {"errors", "count"} <= gained.keys():
                found["errors"] = np.divide(
                    gained["errors"], gained["count"], out=np.full(size, np.nan), where=gained["count"] > 0
                ).clip(0, 1)
        there = self._there if keep is None else self._there & (age <= keep)
        return self.ends.table(found, there)

    def _columns(self) -> dict[str, str]:
        roles = self.roles
        named = {"count": roles.weight, "bytes": roles.nbytes, "errors": roles.errors}
        return {name: column for name, column in named.items() if column is not None}


def _padded(values: Numbers | None, size: int) -> Numbers:
    values = np.zeros(0) if values is None else values
    return np.append(values, np.zeros(size - len(values)))
