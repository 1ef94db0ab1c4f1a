"""Stacks that were pointed at as a selection of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.views.flames.parts import Lists, Part, Value
from bpfnb.views.flames.samples import Book, Samples
from bpfnb.views.selection import ROW, Selection

__all__ = ["condition"]

Mask = npt.NDArray[np.bool_]


def condition(samples: Samples, inside: Mask, path: Sequence[str] | None) -> Selection:
    """The selection of the rows whose stacks are *inside* (by number in the book).

    *path* is given where those are all stacks that begin with it. What is said of columns holds for rows to come too,
    and goes before row numbers: that a stack begins so, or else which values the columns have, where exactly these
    stacks have them.
    """
    book = samples.book
    if not inside.any():
        return {ROW: {"in": []}}
    pages = np.array(book.pages, np.int64).reshape(len(book.pages), len(book.parts))
    found = _begins(book, pages, inside, path) if path else None
    if found is None:
        found = _values(book.parts, pages, inside)
    if found is None:
        found = {ROW: {"in": samples.rows[inside[samples.stack]].tolist()}}
    return found


def _begins(book: Book, pages: npt.NDArray[np.int64], inside: Mask, path: Sequence[str]) -> Selection | None:
    """As far as *path* goes: a value for each frame that stands for one, then how the stack below them begins."""
    out: dict[str, Any] = {}
    picked = np.ones(len(pages), bool)
    for i, part in enumerate(book.parts):
        own = path[:1] if isinstance(part, Value) else path
        if not own:
            break
        said = part.under(own, np.unique(pages[inside, i]).tolist())
        if said is None:
            return None
        out[part.column], mask = said
        picked &= mask[pages[:, i]]
        path = path[len(own) :]
    return out if np.array_equal(picked, inside) else None


def _values(parts: Sequence[Part], pages: npt.NDArray[np.int64], inside: Mask) -> Selection | None:
    allowed = [np.unique(pages[inside, i]) for i in range(len(parts))]
    picked = np.ones(len(pages), bool)
    for i, codes in enumerate(allowed):
        picked &= np.isin(pages[:, i], codes)
    if any(isinstance(part, Lists) for part in parts) or not np.array_equal(picked, inside):
        return None
    out: dict[str, Any] = {}
    for part, codes in zip(parts, allowed, strict=True):
        if len(codes) < len(part.stacks):
            chosen = {part.values[code] for code in codes.tolist()}
            if sum(value in chosen for value in part.values) > len(codes):
                return None  # a process's stack that is not picked has the same value
            out[part.column] = {"in": list(chosen)}
    return out
