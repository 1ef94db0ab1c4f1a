"""Cells of panels and of lists of objects: numbers that may be missing, losses, fills."""

from __future__ import annotations

import math
from typing import Any

from bpfnb.errors import BpfnbError
from bpfnb.views._style import bar, esc, share
from bpfnb.views.plain import Cell

__all__ = ["fill_cell", "lost_cell", "number_cell", "read", "text_cell"]


def lost_cell(count: int | None) -> Cell:
    """A number that stands out when it is not zero, by a sign and a word and not by colour alone."""
    if not count:
        return number_cell(count)
    text = f"{count:,}"
    return Cell(f"! {text}", f'<span class="b-badge b-bad">{text}</span>', number=True)


def fill_cell(fill: float | None) -> Cell:
    if fill is None or math.isnan(fill):
        return text_cell(None)
    text = share(fill)
    return Cell(text, f"{esc(text)}{bar(fill)}", number=True)


def number_cell(value: int | None) -> Cell:
    return text_cell(None if value is None else f"{value:,}")


def text_cell(text: str | None) -> Cell:
    return Cell(text or "-", esc(text or "-"), number=True)


def read(thing: Any, name: str) -> Any:
    """An attribute, or what a method of that name returns; ``None`` where it cannot be had.

    Showing an object must not fail, whatever happened to it in the meantime.
    """
    try:
        value = getattr(thing, name)
        return value() if callable(value) else value
    except (BpfnbError, AttributeError, OSError):
        return None
