"""Rows whose columns are values of a traced program: what filters may name of them, and what they are in frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import BadValue, BpfnbError
from bpfnb.tools.expression import Name, place
from bpfnb.tools.filter_c import Operand
from bpfnb.tools.paths import Column

__all__ = ["TASK", "at", "operand", "values_of"]

_TASK = {
    "comm": Operand("e->comm", 16),
    **{name: Operand(f"((s64)e->{name})") for name in ("pid", "tid", "uid")},
}
TASK: Mapping[str, Operand] = {**_TASK, **{f"current_{name}": one for name, one in _TASK.items()}}
"""Of the task that runs, in a row ``e``; also as ``current_pid`` and so on, where something else has the name."""


def operand(name: str, column: Column, bit: int | None) -> Operand:
    """*column* as it stands in ``e->NAME``, absent where that *bit* of ``e->missing`` is set.

    Raises BadValue for floating-point numbers, which programs in the kernel cannot compare.
    """
    there = "" if bit is None else f"!(e->missing & {1 << bit:#x}ULL)"
    if column.is_text:
        return Operand(f"e->{name}", int(column.suffix.strip("[]")), there=there)
    if column.c in ("float", "double"):
        raise BadValue(
            f"'{column.path}' is a floating-point number, which programs in the kernel cannot compare"
        )
    signed = column.c not in ("u64", "void *")  # smaller ones fit into 63 bits
    symbols = {label: number for number, label in column.enumerators.items()}
    return Operand(f"(({'s' if signed else 'u'}64)e->{name})", 0, signed, symbols, there)


@contextmanager
def at(name: Name, expression: str) -> Iterator[None]:
    """What goes wrong inside goes wrong where the *expression* has this name."""
    try:
        yield
    except BpfnbError as error:
        error.message = f"filter: {error.message}"
        error.where, error.source = place(expression, name.at).values()  # type: ignore[assignment]
        raise


def values_of(
    values: pd.Series[Any], column: Column, absent: npt.NDArray[np.bool_], *, partial: bool
) -> pd.Series[Any]:
    """The values of one column, missing where the program could not read them."""
    if column.enumerators:
        known = column.enumerators
        others = [int(v) for v in values.unique() if int(v) not in known]
        numbers = [*known, *others]
        labels = list(dict.fromkeys([*known.values(), *map(str, others)]))
        code = {number: labels.index(known.get(number, str(number))) for number in numbers}
        codes = values.map(code).to_numpy(np.intp) if len(values) else np.empty(0, np.intp)
        chosen: list[int] = np.where(absent, -1, codes).tolist()
        return pd.Series(pd.Categorical.from_codes(chosen, categories=pd.Index(labels)), index=values.index)
    if not (column.reads or partial):
        return values
    if pd.api.types.is_bool_dtype(values):
        return values.astype("boolean").mask(absent)
    if pd.api.types.is_integer_dtype(values):
        dtype: Any = values.dtype
        nullable: Any = values.astype(f"{'UInt' if dtype.kind == 'u' else 'Int'}{8 * dtype.itemsize}")  # type: ignore[call-overload]
        values = nullable
    return values.mask(absent)
