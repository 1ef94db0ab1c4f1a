"""Rows without a DataFrame around them: numbers and times as NumPy arrays, for pictures drawn many times a second.

Numbers and booleans are what the DataFrame has, times are ``datetime64[ns]`` in UTC, NaT where the program set none.
Anything else takes :meth:`~bpfnb.frames.live.LiveFrame.slice`: names and text, records of several kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from bpfnb.frames.columns import present
from bpfnb.frames.lane import Lane
from bpfnb.frames.store import Store

__all__ = ["Arrays", "read"]


class Arrays(NamedTuple):
    """``number`` is the first row's; the others follow one by one. ``columns``, of ``rows`` values each, are not to be
    written to: they may be the frame's own, and stand apart in memory. ``boot`` names those that hold ns since boot,
    to which ``clock`` is added for the time of day."""

    number: int
    rows: int
    columns: dict[str, npt.NDArray[Any]]
    boot: Collection[str] = ()
    clock: int = 0


def read(
    store: Store,
    lanes: Sequence[Lane],
    start: int,
    stop: int | None,
    columns: Collection[str],
    *,
    boot: bool = False,
) -> Arrays | None:
    """The rows numbered *start* to *stop* (exclusive; None: to the last) that are kept.

    With *boot*, times stay as the kernel wrote them: ns since boot, 0 where the program set none.

    None for columns that are no numbers, or are not there, and where *lanes* are not the one of all rows.
    """
    known, clock = lanes[0].plain, lanes[0].clock
    if len(lanes) != 1 or not known.keys() >= set(columns):
        return None
    found = store.columns(lanes[0], columns, start, stop)
    if found is None:
        return None
    number, rows, decoded = found
    since_boot = [name for name in columns if boot and known[name].moment]
    shown = {
        name: decoded[name] if name in since_boot else present(known[name], decoded[name], clock)
        for name in columns
    }
    return Arrays(number, rows, shown, since_boot, clock)
