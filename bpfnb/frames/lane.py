"""One kind of record in a stream: its layout, and what a record carries beyond or without it.

The columns of a batch are a dict as :meth:`Layout.decode` makes it. A record that is longer than its struct (a
flexible tail) keeps the rest in a ``payload`` column of bytes; where no struct is known, the only column is ``data``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.frames.layout import Layout
from bpfnb.kernel.backend import Bytes2D

__all__ = ["Columns", "Lane", "nbytes", "perf_padded"]

Columns = dict[str, Any]
"""Column name to numpy array or pyarrow array, all of one length."""


def perf_padded(size: int) -> int:
    """The size at which a perf buffer delivers *size* bytes: the next 8n + 4."""
    return ((size + 4 + 7) & ~7) - 4


def nbytes(columns: Columns) -> int:
    return sum(int(column.nbytes) for column in columns.values())


class Lane:
    """Records of one *layout*; None: bytes of unknown type."""

    def __init__(self, layout: Layout | None) -> None:
        self.layout = layout
        self.name = layout.name.removeprefix("struct ") if layout else "data"
        self.size = layout.size if layout else 0
        self._rest = "payload" if layout else "data"

    def decode(self, data: Bytes2D, lengths: npt.NDArray[np.uint32] | int | None) -> Columns:
        """Columns of (n, >= size) rows. *lengths* None: nothing but the struct (and padding) is in them."""
        columns: Columns = dict(self.layout.decode(data)) if self.layout else {}
        if lengths is not None:
            columns[self._rest] = _tails(data[:, self.size :], np.asarray(lengths, np.int64) - self.size)
        return columns

    def concat(self, parts: Sequence[Columns]) -> Columns:
        if len(parts) == 1:
            return parts[0]
        tails = [part.get(self._rest) for part in parts]
        if all(tail is None for tail in tails):
            return dict(self.layout.concat(list(parts))) if self.layout else {}
        bare = [{k: v for k, v in part.items() if k != self._rest} for part in parts]
        out: Columns = dict(self.layout.concat(bare)) if self.layout else {}
        out[self._rest] = pa.concat_arrays(
            [
                pa.nulls(_length(part), pa.binary()) if tail is None else tail
                for part, tail in zip(parts, tails, strict=True)
            ]
        )
        return out

    def frame(self, columns: Columns, *, raw: bool = False, copy: bool = True) -> pd.DataFrame:
        """As :meth:`Layout.frame`."""
        tail = columns.get(self._rest)
        if tail is None and self.layout:
            return self.layout.frame(columns, raw=raw, copy=copy)
        bare = {k: v for k, v in columns.items() if k != self._rest}
        frame = self.layout.frame(bare, raw=raw, copy=copy) if self.layout else pd.DataFrame()
        frame[self._rest] = pd.arrays.ArrowExtensionArray(pa.array([], pa.binary()) if tail is None else tail)
        return frame

    def arrow(self, columns: Columns) -> pa.RecordBatch:
        bare = {k: v for k, v in columns.items() if k != self._rest}
        if self.layout is None:
            return pa.record_batch({self._rest: columns.get(self._rest, pa.array([], pa.binary()))})
        batch = self.layout.arrow(bare)
        if self._rest in columns:
            batch = batch.append_column(self._rest, columns[self._rest])
        return batch

    def empty(self) -> Columns:
        return self.decode(np.empty((0, self.size), np.uint8), None if self.layout else 0)


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def _tails(data: Bytes2D, lengths: npt.NDArray[Any]) -> pa.Array:
    """The first ``lengths[i]`` bytes of each row as a binary array."""
    lengths = np.broadcast_to(np.maximum(lengths, 0), len(data))
    offsets = np.zeros(len(data) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    values = data[np.arange(data.shape[1]) < lengths[:, None]]
    return pa.Array.from_buffers(pa.binary(), len(data), [None, pa.py_buffer(offsets), pa.py_buffer(values)])
