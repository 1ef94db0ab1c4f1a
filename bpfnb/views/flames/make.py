"""From data and a few words to a flame graph: the columns are found, the base of a comparison is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.frames.drawn import Drawn
from bpfnb.symbols.frame import AddressNames
from bpfnb.views.flames.columns import choose, folded_frame, parts_for
from bpfnb.views.flames.names import Names
from bpfnb.views.flames.naming import Naming, Order, Owner, Symbolize
from bpfnb.views.flames.paint import Color
from bpfnb.views.flames.samples import Book, Samples
from bpfnb.views.flames.static import Style
from bpfnb.views.flames.view import FlameGraph
from bpfnb.views.source import Source

__all__ = ["flamegraph"]


def flamegraph(
    data: Any,
    stack: str | Sequence[str] | None = None,
    weight: str | None = None,
    *,
    base: Any = None,
    by: str | Sequence[str] | None = None,
    time: str | None = None,
    stacks: Any = None,
    order: Order | None = None,
    pid: Owner = None,
    symbolize: Symbolize | AddressNames | None = None,
    unit: str | None = None,
    style: Style = "icicle",
    color: Color | None = None,
    height: int | None = None,
    title: str = "",
    hz: float = 2.0,
) -> FlameGraph:
    """Stacks with their weights: how wide a frame is says how much of the total it was in.

    *data* is a live stream, a map, a DataFrame, or folded text (``a;b;c 12``, as one text, a list of lines or a
    Series). *stack* names the column with the stacks, or several whose stacks stand on each other, the root's side
    first; where it is left out, annotations (FORMAT(stack)), usual names and types tell. A column holds folded text
    (``a;b;c``), lists of names (root first), lists of addresses (leaf first, as BPF writes them; *order* says
    otherwise, ``"root"`` or ``"leaf"``), or ids of stacks in the map *stacks*.

    *pid* names the column that says whose user addresses are, or is that process (default: a column named ``tgid`` or
    ``pid``): they have names while the process lives, and after it if it was seen alive, here or by
    ``bpfnb.symbols.MACHINE.watch(pid)``. Where it is not known whose they are, they stand as hex. *symbolize* is a
    :class:`bpfnb.symbols.Symbolizer` of one's own (``Symbolizer(lines=True)`` shows inlined functions), or a function
    that gives the names of an array of u64 addresses, None where it knows none.

    *weight* names the column to add up (default: a column named ``value``, ``count`` ..., else 1 a row), in *unit*
    (default: the column's, or ``samples``). *by* names columns whose values stand below the root, ``by="comm"``. *time*
    names the column with the moments (default: the first that has some): with it a range of time can be chosen.

    *base* makes a differential: another frame with the same columns, folded text, or a range of time (start, end) of
    *data*. Both are compared as shares of their totals. *style* is ``icicle`` (root on top) or ``flame``; *color* is
    ``origin`` (kernel, user, interpreter), ``name`` or ``diff``.

    Raises UnknownName for a column that is not there, BadValue where there are no stacks, or ids without *stacks*.
    """
    source = Source.of(folded_frame(_lines(data)) if _is_folded(data) else data)
    first, upto = source.span()
    sample = source.frame() if source.kind == "map" else source.rows(first, min(upto, first + 1000))
    words = source.view[1:] if source.view[:1] == ("flamegraph",) else ()
    choice = choose(sample, source.about, stack, weight, by, time, pid, words)
    names = Names()
    elsewhere = next((one.symbols for one in (data, stacks) if isinstance(one, Drawn) and one.symbols), None)
    naming = Naming(symbolize or elsewhere, live=source.live)
    book = Book(parts_for(choice, sample, names, stacks, order, naming), names)
    view = FlameGraph(
        source,
        Samples(book, choice.weight, choice.time),
        unit=unit or (source.about(choice.weight).get("unit") if choice.weight else None) or "samples",
        base=None if base is None or _is_range(base) else _base_samples(base, book, choice.weight),
        style=style,
        color=color or ("origin" if base is None else "diff"),
        height=height,
        title=title,
        hz=hz,
    )
    if _is_range(base):
        view.base_window = base
    return view


def _base_samples(base: Any, book: Book, weight: str | None) -> Samples:
    """The rows to compare with, of *base* as it is now."""
    frame = Source.of(folded_frame(_lines(base)) if _is_folded(base) else base).frame()
    out = Samples(book, weight, None)
    for column in out.columns:
        if column not in frame.columns:
            raise BadValue(
                f"the base has no column '{column}'", hints=[f"it is compared by: {', '.join(out.columns)}"]
            )
    out.add(frame)
    return out


def _is_folded(data: Any) -> bool:
    if isinstance(data, pd.Series):
        return pd.api.types.is_string_dtype(data.dtype)
    if isinstance(data, list):
        return bool(data) and all(isinstance(line, str) for line in data)
    return isinstance(data, str)


def _lines(data: Any) -> str | list[str]:
    return data if isinstance(data, str) else [str(line) for line in data]


def _is_range(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2
