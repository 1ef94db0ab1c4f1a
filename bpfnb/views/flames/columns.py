"""Which columns of a frame make a stack, its weight and its moment, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.mapframe import MapFrame
from bpfnb.views import moments
from bpfnb.views.flames.names import KERNEL, Names
from bpfnb.views.flames.naming import Naming, Order, Owner
from bpfnb.views.flames.parts import Folded, Ids, Lists, Part, Spread, Value

__all__ = ["Choice", "choose", "folded_frame", "parts_for"]

STACK = re.compile(r"^(k|u|kern|user|kernel)?_?stack(_?id|_?trace)?$|^(callchain|backtrace|frames|folded)$")
IN_KERNEL = re.compile(r"^k(ern|ernel)?_?(stack|callchain)")
WEIGHTS = ("value", "count", "counts", "samples", "weight", "n")
OWNERS = ("tgid", "pid")
"""Columns that say whose addresses a stack's are; a thread's number serves as well."""


class Choice:
    """The columns of a stack from the root's side on, ``by`` ones first; of its weight and moment, or None.

    *owner* says whose its user addresses are.
    """

    def __init__(
        self, stack: list[str], by: list[str], weight: str | None, time: str | None, owner: Owner
    ) -> None:
        self.stack = stack
        self.by = by
        self.weight = weight
        self.time = time
        self.owner = owner


def choose(
    frame: pd.DataFrame,
    about: Callable[[str], Mapping[str, Any]],
    stack: str | Sequence[str] | None,
    weight: str | None,
    by: str | Sequence[str] | None,
    time: str | None,
    pid: Owner = None,
    view: Sequence[str] = (),
) -> Choice:
    """What was asked for, and for the rest what annotations, then names, then the columns' types say.

    Raises UnknownName for a column that is not there, BadValue where no column holds stacks.
    """
    names = [*(str(name) for name in frame.columns), *spread(frame)]
    asked = [*_list(stack), *_list(by), *(c for c in (weight, time, pid) if isinstance(c, str))]
    for name in asked:
        if name not in names:
            raise UnknownName.among(names, name, f"there is no column '{name}'")
    stacks = _list(stack) or [c for c in view if c in names]
    stacks = stacks or _stacks(frame, names, about)
    if not stacks:
        raise BadValue(
            "no column holds stacks",
            hints=[f'name it: flamegraph(data, "column"); there are: {", ".join(names)}'],
        )
    if weight is None and not (set(stacks) == {"frames"} and "stack_id" in names):
        weight = next(
            (c for c in WEIGHTS if c in frame and c not in stacks and frame[c].dtype.kind in "iuf"), None
        )
    if pid is None:
        pid = next((c for c in OWNERS if c in frame and frame[c].dtype.kind in "iu"), None)
    return Choice(stacks, _list(by), weight, time or moments.column(frame, about), pid)


def _list(value: str | Sequence[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _stacks(frame: pd.DataFrame, names: list[str], about: Callable[[str], Mapping[str, Any]]) -> list[str]:
    found = [name for name in names if about(name).get("format") == "stack"]
    if not found:
        found = [name for name in names if STACK.search(name) and not name.endswith("_len")]
    if "frames" in found and "stack_id" in found:
        found.remove("stack_id")  # a map of stacks has both
    if not found:
        found = [name for name in names if name in frame and _holds_stacks(frame, name)][:1]
    return sorted(found, key=lambda name: bool(IN_KERNEL.search(name)))  # the kernel's frames are the leaves


def spread(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Small arrays, which are decoded to a column an element: ``stack`` stands for ``stack.0``, ``stack.1`` ..."""
    found: dict[str, list[str]] = {}
    for name in map(str, frame.columns):
        array, _, number = name.rpartition(".")
        if array and number == str(len(found.get(array, ()))) and frame[name].dtype.kind in "iu":
            found.setdefault(array, []).append(name)
    return {name: columns for name, columns in found.items() if name not in frame.columns}


def _holds_stacks(frame: pd.DataFrame, name: str) -> bool:
    kind = getattr(frame[name].dtype, "pyarrow_dtype", None)
    if kind is not None and pa.types.is_list(kind):
        return True
    first = next((value for value in frame[name].head(50).tolist() if value is not None), None)
    return isinstance(first, list | tuple | np.ndarray) or (isinstance(first, str) and ";" in first)


def parts_for(
    choice: Choice,
    frame: pd.DataFrame,
    names: Names,
    stacks: Any,
    order: Order | None,
    naming: Naming,
) -> list[Part]:
    """A part for each column of a stack; *stacks* is the map that ids point into.

    Raises BadValue for ids without a map.
    """
    out: list[Part] = [Value(column, names) for column in choice.by]
    for column in choice.stack:
        suffix = KERNEL if IN_KERNEL.search(column) else ""
        owner = None if suffix else choice.owner
        if column not in frame.columns:
            elements = spread(frame)[column]
            out.append(Spread(column, elements, names, suffix, order=order, naming=naming, owner=owner))
            continue
        values = frame[column]
        if values.dtype.kind in "iu":
            if stacks is None:
                raise BadValue(
                    f"'{column}' holds ids of stacks",
                    hints=["say where they are: flamegraph(..., stacks=obj.stacks)"],
                )
            out.append(Ids(column, names, reader(stacks), suffix, order, naming, owner))
        elif _is_text(values):
            out.append(Folded(column, names, suffix, order or "root"))
        else:
            out.append(Lists(column, names, suffix, order, naming, owner))
    return out


def _is_text(values: pd.Series[Any]) -> bool:
    if values.dtype != object:
        return isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(values.dtype)
    first = next((value for value in values.tolist() if value is not None), None)
    return isinstance(first, str)


def reader(stacks: Any) -> Callable[[], Mapping[int, Any]]:
    """A function that gives stacks by id: of a BPF_MAP_TYPE_STACK_TRACE map, a frame with its columns, or a mapping."""
    if isinstance(stacks, Mapping):
        return lambda: stacks
    if isinstance(stacks, MapFrame | pd.DataFrame) or hasattr(stacks, "df"):

        def read() -> Mapping[int, Any]:
            frame = stacks if isinstance(stacks, pd.DataFrame) else stacks.df
            if not {"stack_id", "frames"} <= set(frame.columns):
                raise BadValue("stacks is no map of stacks: those have columns 'stack_id' and 'frames'")
            return dict(zip(frame["stack_id"].tolist(), frame["frames"].tolist(), strict=True))

        return read
    raise BadValue(f"stacks is a map of stacks, a frame of one or a dict, not a {type(stacks).__name__}")


def folded_frame(lines: str | Sequence[str]) -> pd.DataFrame:
    """Folded text (``a;b;c 12``, as flamegraph.pl reads it) as a frame of ``stack`` and ``count``.

    Lines that begin with ``#`` and empty ones are skipped; one without a count at its end counts once. A count may have
    a fraction; whole ones stay exact up to 2**64 - 1.
    """
    rows = lines.splitlines() if isinstance(lines, str) else [str(line) for line in lines]
    stacks, counts = [], []
    for row in rows:
        line = row.strip()
        if not line or line.startswith("#"):
            continue
        stack, _, last = line.rpartition(" ")
        counted = bool(stack) and re.fullmatch(r"\d+(\.\d+)?", last) is not None
        stacks.append(stack.rstrip() if counted else line)
        counts.append((float(last) if "." in last else int(last)) if counted else 1)
    whole = all(isinstance(count, int) and count < 1 << 64 for count in counts)
    return pd.DataFrame(
        {
            "stack": pd.Series(stacks, dtype=object),
            "count": np.array(counts, np.uint64 if whole else np.float64),
        }
    )
