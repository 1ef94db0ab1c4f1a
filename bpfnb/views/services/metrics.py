"""What widths, colours and labels of edges can show: the measures, their words, and their scales."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views._style import humanize, share

__all__ = ["RAMP", "TITLES", "Scale", "amount", "present", "ramp", "singular", "titles", "worded"]

TITLES: Final = {
    "rate": "rate",
    "count": "count",
    "bytes_rate": "bytes/s",
    "bytes": "bytes",
    "errors": "errors",
    "latency": "latency p50",
    "latency_p99": "latency p99",
}

RAMP: Final = ("#8593a1", "#e69f00", "#d55e00", "#c8174b")
"""Nothing to worry about, up to the worst: told apart on light and dark pages and with any colour vision."""

_REGULAR: Final = (
    "calls connections drops errors events failures faults files flows hits lookups messages operations packets pages "
    "reads records requests responses retransmits rows samples segments sessions sockets times transfers writes"
)
_ONE: Final = {
    **{word: word.removesuffix("s") for word in _REGULAR.split()},
    "misses": "miss",
    "queries": "query",
    "retries": "retry",
    "tries": "try",
}
"""What edges count, and one of it. Of other words (ns, status) nobody knows whether they are plurals."""

ERRORS_FULL = 0.25  # the share of errors from which on the colour is the last


@dataclass(frozen=True)
class Scale:
    """Values to 0 .. 1: logarithmic between two powers of ten around them, so that it seldom changes.

    Errors have a fixed scale, the square root up to 25 %.
    """

    metric: str
    low: float
    high: float

    @classmethod
    def of(cls, metric: str, values: npt.NDArray[np.float64]) -> Scale:
        if metric == "errors":
            return cls(metric, 0.0, ERRORS_FULL)
        positive = values[np.isfinite(values) & (values > 0)]
        if not len(positive):
            return cls(metric, 1.0, 10.0)
        low = 10.0 ** math.floor(math.log10(positive.min()))
        high = 10.0 ** math.ceil(math.log10(positive.max()))
        return cls(metric, low, high if high > low else 10 * low)

    def __call__(self, value: float) -> float:
        if not value > self.low:  # NaN too
            return 0.0
        if self.metric == "errors":
            return min(1.0, math.sqrt(value / self.high))
        return min(1.0, math.log(value / self.low) / math.log(self.high / self.low))


def present(edges: pd.DataFrame) -> list[str]:
    """The measures that are known of any edge."""
    return [name for name in TITLES if edges[name].notna().any()]


def titles(counted: str) -> dict[str, str]:
    """By measure, what it is called where *counted* (``requests``; ``""``: nobody knows) is what edges count."""
    return {**TITLES, "rate": f"{counted}/s", "count": counted} if counted else dict(TITLES)


def worded(metric: str, value: float, unit: str | None = None, counted: str = "") -> str:
    """``120/s``, ``4 KiB/s``, ``2 %``, ``1.5 ms``; a dash where nothing is known. *unit* is the latency's, *counted*
    as of :func:`titles`.
    """
    if math.isnan(value):
        return "-"
    if counted == "bytes":
        metric = {"rate": "bytes_rate", "count": "bytes"}.get(metric, metric)
    if metric == "errors":
        return share(value)
    if metric in ("rate", "bytes_rate"):
        return humanize(float(f"{value:.3g}"), "bytes" if metric == "bytes_rate" else None).strip() + "/s"
    if metric == "bytes":
        return humanize(value, "bytes")
    if metric == "count":
        return f"{value:,.0f}" if value == round(value) else f"{value:,.3g}"
    return humanize(float(value), unit)


def amount(metric: str, value: float, unit: str | None, counted: str) -> str:
    """A measure within a sentence: ``12 requests``, ``120 requests/s``, ``2 % errors``, ``latency p50 1.5 ms``."""
    words = worded(metric, value, unit, counted)
    plain = counted in ("", "bytes")
    if metric == "errors":
        return f"{words} errors"
    if metric == "bytes_rate" or (metric == "rate" and plain):
        return words
    if metric == "rate":
        return f"{words.removesuffix('/s')} {counted}/s"
    if metric != "count":
        return f"{TITLES[metric]} {words}"
    if plain:
        return words if counted else f"{words} in all"
    return f"{words} {singular(counted) if words == '1' else counted}"


def singular(counted: str) -> str:
    """One of what is *counted*: ``HTTP request`` of ``HTTP requests``; the same word where that is not known."""
    first, space, last = counted.rpartition(" ")
    return f"{first}{space}{_ONE.get(last, last)}"


def ramp(t: float) -> str:
    """The colour at *t* between 0 and 1."""
    at = min(max(t, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(at), len(RAMP) - 2)
    parts = [
        round(int(RAMP[low][i : i + 2], 16) * (low + 1 - at) + int(RAMP[low + 1][i : i + 2], 16) * (at - low))
        for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in parts)
