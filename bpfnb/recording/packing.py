"""Decoded values put back where they stood in a record's bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpfnb.frames.columns import Column
from bpfnb.kernel.backend import Bytes2D

__all__ = ["put"]


def put(rows: Bytes2D, column: Column, values: Any) -> None:
    """Write *values*, as :meth:`~bpfnb.frames.layout.Layout.decode` gives them, into *rows*; zeros for None."""
    if column.bits:
        _put_bits(rows, column.bits, values)
        return
    field = rows[:, column.offset : column.offset + column.size]
    if values is None:
        field[:] = 0
    elif isinstance(values, np.ndarray):
        field[:] = np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), -1)
    elif column.kind == "list":
        while hasattr(values, "flatten") and hasattr(values.type, "list_size"):
            values = values.flatten()
        flat = values.to_numpy(zero_copy_only=False)
        field[:] = np.ascontiguousarray(flat).view(np.uint8).reshape(len(rows), -1)
    else:
        texts = [one.encode() if isinstance(one, str) else one for one in values.to_pylist()]
        cells = np.array(texts, f"S{column.size}")  # cut at the field's end, filled with zeros
        field[:] = cells.view(np.uint8).reshape(len(rows), -1)


def _put_bits(rows: Bytes2D, bits: tuple[int, int], values: Any) -> None:
    first, width = bits
    wide = np.zeros(len(rows), np.uint64) if values is None else values.astype(np.int64).view(np.uint64)
    for at in range(first // 8, (first + width + 7) // 8):
        low = max(first - 8 * at, 0)
        high = min(first + width - 8 * at, 8)
        mask = (1 << high) - (1 << low)
        shift = 8 * at - first
        part = wide >> np.uint64(shift) if shift > 0 else wide << np.uint64(-shift)
        rows[:, at] = (rows[:, at] & ~np.uint8(mask)) | (part.astype(np.uint8) & np.uint8(mask))
