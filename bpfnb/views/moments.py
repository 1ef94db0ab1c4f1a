"""Moments of a frame's rows as nanoseconds, whichever way a column holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views._style import DURATIONS

__all__ = ["EPOCH", "clock", "column", "duration", "factor", "nanoseconds", "steps", "suffix", "ticks"]

EPOCH = 10**17
"""Nanoseconds above which a moment counts from 1970 (this one is in 1973); smaller ones are of a clock of their own."""

NAMES = ("ts", "time", "timestamp", "time_", "@timestamp", "when", "datetime", "start_time", "start")
_SUFFIXES = {
    "_ns": "ns",
    "nano": "ns",
    "nanos": "ns",
    "_us": "us",
    "micros": "us",
    "_ms": "ms",
    "millis": "ms",
}

Dates = npt.NDArray[np.datetime64]
Moments = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]


def column(frame: pd.DataFrame, about: Callable[[str], Mapping[str, Any]] = lambda _: {}) -> str | None:
    """The column that says when a row happened: annotated as a timestamp, of a datetime type, or usually named so."""
    names = [str(name) for name in frame.columns]
    for name in names:
        if about(name).get("format") == "timestamp":
            return name
    usual = [name for name in NAMES if name in names]
    for name in [*usual, *names]:
        if frame[name].dtype.kind == "M" or isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            return name
    return next((name for name in usual if frame[name].dtype.kind in "iuf"), None)


def nanoseconds(values: pd.Series | pd.Index | Dates, unit: str | None = None) -> Moments:
    """*values* as int64 ns, and which of them are there.

    Datetimes count from 1970 (UTC where they name no zone). Numbers are in *unit* (``ns``, ``us``, ``ms``, ``s``);
    where none is given in what the column's name ends with, else seconds for floats, and for integers the unit in
    which they lie between 1973 and 5138, or seconds.

    :raises TypeError: neither datetimes nor numbers.
    """
    if isinstance(values, np.ndarray):
        dates = np.asarray(values.astype("M8[ns]", copy=False).view(np.int64))
        return dates, dates != np.iinfo(np.int64).min
    there = ~np.asarray(pd.isna(values), dtype=bool)
    if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind == "M":
        moments = pd.DatetimeIndex(values)
        naive = moments.tz_convert("UTC").tz_localize(None) if moments.tz is not None else moments
        return np.asarray(naive.as_unit("ns").asi8), there
    if values.dtype.kind == "m":
        return np.asarray(pd.TimedeltaIndex(values).as_unit("ns").asi8), there
    if values.dtype.kind not in "iuf":
        raise TypeError(f"'{values.name}' holds {values.dtype} values, not moments")
    # A nullable column without its missing values is an array of its plain type.
    plain: Any = getattr(values.dtype, "numpy_dtype", values.dtype)
    numbers = np.asarray(values[there].to_numpy(dtype=plain))
    finite = np.isfinite(numbers)
    there[np.flatnonzero(there)[~finite]] = False
    numbers = numbers[finite]
    by = DURATIONS[unit if unit in DURATIONS else _unit(numbers, str(values.name or ""))]
    out = np.zeros(len(values), np.int64)
    if numbers.dtype.kind == "f":
        out[there] = np.rint(numbers * by).astype(np.int64)
    else:
        out[there] = numbers.astype(np.int64) * by
    return out, there


def factor(values: pd.Series | pd.Index, unit: str | None = None) -> int:
    """How many ns one in *values* stands for, as :func:`nanoseconds` reads them; 1 for datetimes."""
    if values.dtype.kind not in "iuf":
        return 1
    numbers = np.asarray(values.dropna())
    numbers = numbers[np.isfinite(numbers)]
    return DURATIONS[unit if unit in DURATIONS else _unit(numbers, str(values.name or ""))]


def suffix(name: str) -> str | None:
    """The unit that a column's name ends with."""
    return next((unit for ending, unit in _SUFFIXES.items() if name.lower().endswith(ending)), None)


def _unit(numbers: npt.NDArray[Any], name: str) -> str:
    stated = suffix(name)
    if stated is not None:
        return stated
    size = float(np.abs(numbers).max()) if len(numbers) else 0.0
    if numbers.dtype.kind == "f" and size < EPOCH / 10**9 * 100:
        return "s"
    return next(
        (unit for unit, factor in DURATIONS.items() if size * factor >= EPOCH and size * factor < 10**20), "s"
    )


def duration(value: object) -> int:
    """A length of time in ns: ``"1s"``, ``"250ms"``, a timedelta, or a number of seconds.

    :raises ValueError: not positive, or not a duration.
    """
    span = pd.Timedelta(seconds=value) if isinstance(value, int | float) else pd.Timedelta(value)  # type: ignore[arg-type]
    if pd.isna(span) or span.as_unit("ns").value <= 0:
        raise ValueError(f"{value!r} is no positive length of time")
    return int(span.as_unit("ns").value)


def clock(moment: int, step: int) -> str:
    """*moment* as text for an axis whose ticks are *step* ns apart: time of day (UTC), or elapsed seconds."""
    if moment < EPOCH:
        return _elapsed(moment, step)
    at = pd.Timestamp(moment, unit="ns")
    if step >= 86_400 * 10**9:
        return f"{at:%Y-%m-%d}"
    if step >= 60 * 10**9:
        return f"{at:%H:%M}"
    digits = next((d for d in range(10) if step % 10 ** (9 - d) == 0), 9)
    fraction = f"{moment % 10**9:09d}"[:digits]
    return f"{at:%H:%M:%S}" + (f".{fraction}" if digits else "")


def _elapsed(moment: int, step: int) -> str:
    unit = next(name for name in ("s", "ms", "us", "ns") if step >= DURATIONS[name] or name == "ns")
    scaled = moment / DURATIONS[unit]
    return f"{scaled:g} {unit}"


def ticks(start: int, stop: int, count: int) -> tuple[list[int], int]:
    """At most *count* round moments within ``[start, stop]``, and how far they are apart in ns."""
    step = next(step for step in steps() if (stop - start) // step < max(count, 1) or step >= 10**18)
    first = -(-start // step) * step
    return list(range(first, stop + 1, step)), step


def steps() -> Iterable[int]:
    """Round lengths of time in ns, growing: 1, 2, 5 ... 500 ms, 1, 2, 5, 10, 15, 30 s ... days."""
    second = 10**9
    for power in range(9):
        for digit in (1, 2, 5):
            yield digit * 10**power
    for base, sizes in (
        (second, (1, 2, 5, 10, 15, 30)),
        (60 * second, (1, 2, 5, 10, 15, 30)),
        (3600 * second, (1, 2, 3, 6, 12)),
    ):
        yield from (base * size for size in sizes)
    day = 86_400 * second
    while True:
        for digit in (1, 2, 5):
            yield day * digit
        day *= 10
