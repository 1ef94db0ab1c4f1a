"""The order of rows by one or several columns: stable, missing values last whichever way."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["order", "ranks"]

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def order(columns: Sequence[pd.Series[Any]], descending: Sequence[bool]) -> Ints:
    """Positions of the rows in order, int64: by the first column, its ties by the second, and so on.

    Rows that are equal in all stay in the order they had, in descending order too.
    """
    rows = len(columns[0])
    found = np.arange(rows, dtype=np.int64)
    for column, down in zip(reversed(columns), reversed(descending), strict=True):
        keys, missing = _keys(column)
        keys = keys[found]
        turn = _argsort(keys, down)
        if missing is not None:
            gone = missing[found][turn]
            turn = np.concatenate([turn[~gone], turn[gone]])
        found = found[turn]
    return found


def ranks(column: pd.Series[Any]) -> npt.NDArray[np.uint32]:
    """For each row how many smaller values there are; missing ones share the highest rank.

    A browser can sort by these whatever the values are, 64-bit integers too.
    """
    keys, missing = _keys(column)
    found = np.unique(keys, return_inverse=True)[1].astype(np.uint32)
    if missing is not None:
        found[missing] = np.iinfo(np.uint32).max
    return found


def _argsort(keys: npt.NDArray[Any], down: bool) -> Ints:
    if not down:
        return np.argsort(keys, kind="stable")
    turned = np.argsort(keys[::-1], kind="stable")[::-1]  # equal keys keep their order
    return len(keys) - 1 - turned


def _keys(column: pd.Series[Any]) -> tuple[npt.NDArray[Any], Mask | None]:
    """Numbers that stand in the order of the values, and which values are missing (None: none is)."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy()
        places = np.arange(len(dtype.categories))
        if not dtype.ordered:  # an enumeration's declaration order means nothing to a reader: by name
            places[order([pd.Series(dtype.categories)], [False])] = np.arange(len(places))
        keys = places[codes] if len(places) else codes
        return _with_missing(keys, codes < 0)
    letter = getattr(dtype, "kind", "O")
    if letter in "mM":
        values = column.to_numpy(dtype=f"{letter}8[ns]").view(np.int64)
        return _with_missing(values, values == np.iinfo(np.int64).min)
    if letter in "iufb":
        missing = column.isna().to_numpy()
        if isinstance(dtype, np.dtype):
            return _with_missing(column.to_numpy(), missing)
        width: Any = getattr(dtype, "numpy_dtype", np.float64)
        return _with_missing(column.to_numpy(dtype=width, na_value=0), missing)
    return _words(column)


def _words(column: pd.Series[Any]) -> tuple[npt.NDArray[Any], Mask | None]:
    """Text and bytes by their own order, whatever else there is as objects."""
    try:
        array = pa.array(column.array, from_pandas=True)
    except (TypeError, ValueError, OverflowError):  # mixed, or integers beyond 64 bits
        return _things(column)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = array.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)):
        return _things(column)
    encoded = array.dictionary_encode()
    places = np.empty(len(encoded.dictionary) + 1, np.int64)
    places[pc.array_sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(encoded.dictionary))
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return _with_missing(places[codes], codes < 0)


def _things(column: pd.Series[Any]) -> tuple[npt.NDArray[Any], Mask | None]:
    """Numbers by their value, then whatever else there is by how it is written."""
    found = [None if _gone(value) else _thing(value) for value in column.array]
    places = {key: place for place, key in enumerate(sorted({key for key in found if key is not None}))}
    codes = np.array([-1 if key is None else places[key] for key in found], np.int64)
    return _with_missing(codes, codes < 0)


def _thing(value: Any) -> tuple[bool, Any, str]:
    number = isinstance(value, int | float | Decimal | np.number)
    return (False, value, "") if number else (True, 0, str(value))


def _gone(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _with_missing(keys: npt.NDArray[Any], missing: Mask) -> tuple[npt.NDArray[Any], Mask | None]:
    return keys, missing if missing.any() else None
