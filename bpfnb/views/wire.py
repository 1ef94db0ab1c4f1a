"""Columns on their way to the browser: a small JSON header and plain little-endian buffers.

The header names each column with its type and the number of its buffers, so that the browser lays typed arrays over
what it received and copies nothing:

- numbers, 1-D or 2-D: one buffer; ``dtype`` is NumPy's code without byte order (``u8``, ``f4``); booleans are ``u1``,
  dates and durations ``i8`` in nanoseconds;
- ``text``: offsets (``u4``, one more than there are values) and UTF-8 bytes; a missing value is empty;
- ``dict``: codes (``i4``, -1 where the value is missing), then offsets and bytes of the labels.

64-bit integers stay 64-bit integers: the browser reads them as BigInt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

__all__ = ["Packed", "Payload", "pack"]

Buffers = list[memoryview]

_CODES = {np.dtype(f"<{code}"): code for code in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")}
_PLAIN = {**_CODES, np.dtype(bool): "u1"}


@dataclass
class Payload:
    """What a view draws: *meta* (what JSON can hold) and *columns* (arrays, lists of text, categoricals)."""

    meta: dict[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """A payload as it travels. Two are equal when the browser would draw the same."""

    header: dict[str, Any]
    buffers: Buffers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packed) and self.header == other.header and self.buffers == other.buffers

    __hash__ = None  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.buffers)


def pack(payload: Payload) -> Packed:
    """*payload* as header and buffers. The buffers are copies: what is sent later is what was drawn now."""
    buffers: Buffers = []
    columns = []
    for name, values in payload.columns.items():
        if type(values) is np.ndarray and (code := _PLAIN.get(values.dtype)):  # most are, many times a second
            columns.append({"name": name, "type": code, "length": values.size, "shape": list(values.shape)})
            buffers.append(memoryview(values.tobytes()))
            continue
        about, parts = _column(values)
        columns.append({"name": name, **about})
        buffers += [memoryview(part.tobytes()) for part in parts]
    return Packed({"meta": payload.meta, "columns": columns}, buffers)


def _column(values: Any) -> tuple[dict[str, Any], list[npt.NDArray[Any]]]:
    if isinstance(values, pd.Series | pd.Index):
        values = values.array
    if isinstance(values, pd.arrays.DatetimeArray) and values.tz is not None:
        values = values.tz_convert(None)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pd.Categorical):
        codes = np.ascontiguousarray(values.codes, np.int32)
        labels = [str(label) for label in values.categories]
        return {"type": "dict", "length": len(codes)}, [codes, *_text(labels)]
    if isinstance(values, pa.DictionaryArray):
        codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        labels = [str(label) for label in values.dictionary.to_pylist()]
        return {"type": "dict", "length": len(codes)}, [codes, *_text(labels)]
    if isinstance(values, list | tuple) and all(value is None or isinstance(value, str) for value in values):
        return {"type": "text", "length": len(values)}, _text(values)
    array = np.asarray(values)
    if array.dtype.kind in "OUT":
        texts = ["" if value is None or value is pd.NA else str(value) for value in array.tolist()]
        return {"type": "text", "length": len(texts)}, _text(texts)
    if array.dtype.kind in "mM":
        array = array.astype(f"{array.dtype.kind}8[ns]").view(np.int64)
    elif array.dtype.kind == "b":
        array = array.view(np.uint8)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    code = _CODES.get(array.dtype)
    if code is None:
        raise TypeError(f"a column of {array.dtype} cannot be sent to the browser")
    return {"type": code, "length": array.size, "shape": list(array.shape)}, [array]


def _text(values: Sequence[str | None]) -> list[npt.NDArray[Any]]:
    encoded = [b"" if value is None else value.encode("utf-8", "replace") for value in values]
    offsets = np.zeros(len(encoded) + 1, "<u4")
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    return [offsets, np.frombuffer(b"".join(encoded), np.uint8)]
