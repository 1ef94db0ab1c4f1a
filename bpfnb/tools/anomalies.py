"""What is unusual in counts over time: z-scores over an exponentially weighted average, of many series at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue

__all__ = ["HISTORY", "LEAST", "marked"]

HISTORY: Final = 600  # intervals of a series that are looked at, the latest
LEAST: Final = 0.1  # of the average: what a steady series may vary by, so that one packet more is nothing


def marked(
    parts: pd.DataFrame, measure: str, *, alpha: float = 0.2, threshold: float = 4.0, warmup: int = 8
) -> pd.DataFrame:
    """Rows of *parts* (one for each ``id`` and interval ``number``, *measure* what is counted) that are unusual.

    Intervals without a row count as 0 between a series' first and last. An interval's ``z`` is how many standard
    deviations it is from what was ``expected``, the average of those before with weights that fall by 1 - *alpha* each;
    it is unusual beyond *threshold* on either side, after *warmup* intervals. An unusual one moves the average by no
    more than *threshold* deviations. The last one is never too little: it may not be complete.

    :returns: ``id``, ``number``, ``value``, ``expected``, ``z`` by number and id.
    :raises BadValue: alpha is not between 0 and 1, or threshold or warmup not above 0.
    """
    if not 0 < alpha < 1 or threshold <= 0 or warmup < 1:
        raise BadValue("alpha= is between 0 and 1, threshold= and warmup= above 0")
    series, codes = np.unique(parts["id"].to_numpy(np.uint64), return_inverse=True)
    number = parts["number"].to_numpy(np.int64)
    last = np.full(len(series), -1)
    np.maximum.at(last, codes, number)
    first = last.copy()
    np.minimum.at(first, codes, number)
    first = np.maximum(first, last - HISTORY + 1)
    keep = (last - first >= warmup) & (np.bincount(codes, minlength=len(series)) >= 2)
    rank = np.cumsum(keep) - 1
    inside = keep[codes] & (number >= first[codes])
    length = (last - first + 1)[keep]
    values = np.zeros((int(length.max(initial=0)), len(length)))
    values[number[inside] - first[codes[inside]], rank[codes[inside]]] = parts[measure].to_numpy(float)[
        inside
    ]

    mean, variance = values[:1].sum(axis=0), np.zeros(len(length))
    found = []
    for step in range(1, len(values)):
        difference = values[step] - mean
        deviation = np.maximum(np.sqrt(variance), LEAST * mean)
        z = np.divide(difference, deviation, out=np.zeros(len(mean)), where=deviation > 0)
        unusual = (np.abs(z) > threshold) & (step >= warmup) & (step < length)
        unusual &= (z > 0) | (step < length - 1)
        at = np.flatnonzero(unusual)
        if len(at):
            found.append(
                pd.DataFrame(
                    {
                        "id": series[keep][at],
                        "number": first[keep][at] + step,
                        "value": values[step, at],
                        "expected": mean[at],
                        "z": z[at],
                    }
                )
            )
        difference = np.where(unusual, np.clip(z, -threshold, threshold) * deviation, difference)
        mean = mean + alpha * difference
        variance = (1 - alpha) * (variance + alpha * difference**2)
    if not found:
        empty = {"id": "uint64", "number": "int64", "value": "float64", "expected": "float64", "z": "float64"}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in empty.items()})
    return pd.concat(found).sort_values(["number", "id"], ignore_index=True)
