"""One kind of record in a stream: its layout, and what a record carries beyond or without it.

The columns of a batch are a dict as :meth:`Layout.decode` makes it. A record that is longer than its struct keeps the
rest in a column of its own: that of the flexible array at the struct's end (``char args[]``: text; strings in it that
end with a NUL each, as in /proc/PID/cmdline, stand with spaces between), else ``payload``, bytes (``payload.rest``
where a field has that name). Where no struct is known, the only column is ``data``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.annotations import NONE
from bpfnb.frames.columns import TEXT, Column, clock_offset
from bpfnb.frames.layout import Layout, text_between
from bpfnb.kernel.backend import Bytes2D

__all__ = ["Columns", "Lane", "nbytes", "perf_padded"]

_NAMED = ("errno", "signal", "syscall", "ipv4", "ipv6", "ip", "mac")  # formats that make names of numbers

Columns = dict[str, Any]
"""Column name to numpy array or pyarrow array, all of one length."""


def perf_padded(size: int) -> int:
    """The size at which a perf buffer delivers *size* bytes: the next 8n + 4."""
    return ((size + 4 + 7) & ~7) - 4


def nbytes(columns: Columns) -> int:
    return sum(
        column.nbytes if isinstance(column, np.ndarray) else column.get_total_buffer_size()
        for column in columns.values()
    )


class Lane:
    """Records of one *layout*; None: bytes of unknown type."""

    def __init__(self, layout: Layout | None) -> None:
        self.layout = layout
        self.name = layout.name.removeprefix("struct ") if layout else "data"
        self.size = layout.size if layout else 0
        self._declared = layout.tail is not None if layout else False
        self._rest = _rest(layout)
        self._kind = pa.string() if layout and layout.tail and layout.tail[1] == "text" else pa.binary()
        self._parts: dict[frozenset[str], Lane] = {}

    @cached_property
    def rest(self) -> Column:
        """The column of what a record holds behind its struct, in bytes that no struct has (``size`` 0)."""
        kind = "text" if self._kind == pa.string() else "bytes"
        stated = self.layout.rest if self.layout and self.layout.tail else NONE
        return Column(self._rest, kind, "", self.size, 0, "char[]", stated)

    @property
    def clock(self) -> int:
        """What makes times since boot dates, of the kernel that wrote the records: see :func:`clock_offset`."""
        own = self.layout.clock if self.layout else None
        return clock_offset() if own is None else own

    @cached_property
    def plain(self) -> dict[str, Column]:
        """The columns that are numbers, booleans or times where people read them."""
        return {
            column.name: column
            for column in (self.layout.columns if self.layout else ())
            if column.kind in ("int", "bool", "float", "pointer")
            and column.annotations.format not in _NAMED
            and not column.annotations.hidden
        }

    def decode(self, data: Bytes2D, lengths: npt.NDArray[np.uint32] | int | None) -> Columns:
        """Columns of (n, >= size) rows. *lengths* None: nothing but the struct (and padding) is in them."""
        columns: Columns = dict(self.layout.decode(data)) if self.layout else {}
        if lengths is not None:
            tails = _tails(data[:, self.size :], np.asarray(lengths, np.int64) - self.size)
            columns[self._rest] = self._tail(*tails)
        return columns

    @property
    def tailed(self) -> bool:
        """Whether its struct ends in a flexible array, so that records differ in length."""
        return self._declared

    def assemble(
        self, cells: Sequence[npt.NDArray[np.uint8]], tails: tuple[Any, npt.NDArray[np.uint8]] | None
    ) -> Columns:
        """As :meth:`decode`, of the layout's fields and, where it is :attr:`tailed`, of what is behind them."""
        assert self.layout is not None
        columns: Columns = dict(self.layout.assemble(cells))
        if tails is not None:
            columns[self._rest] = self._tail(*tails)
        return columns

    def _tail(self, offsets: npt.NDArray[np.int32], values: npt.NDArray[np.uint8]) -> pa.Array:
        """Values between offsets: bytes, or text, in which NULs are spaces."""
        if self._kind == pa.string():
            zeros = values == 0
            if zeros.any():
                values[zeros] = ord(" ")
            return text_between(offsets, values)
        return pa.Array.from_buffers(
            pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(values)]
        )

    def _none(self, rows: int) -> pa.Array:
        """The tails of records that have none."""
        empty = "" if self._kind == pa.string() else b""
        return pa.repeat(empty, rows) if self._declared else pa.nulls(rows, self._kind)

    def peek(self, data: Bytes2D) -> Columns:
        """As :meth:`decode` of the struct alone; numbers may be views of *data*."""
        return self.layout.peek(data) if self.layout else {}

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
                self._none(_length(part)) if tail is None else tail
                for part, tail in zip(parts, tails, strict=True)
            ]
        )
        return out

    def frame(self, columns: Columns, *, raw: bool = False, copy: bool = True) -> pd.DataFrame:
        """As :meth:`Layout.frame`."""
        tail = columns.get(self._rest)
        if tail is None and self._declared:
            tail = self._none(_length(columns))
        if tail is None and self.layout:
            return self.layout.frame(columns, raw=raw, copy=copy)
        bare = {k: v for k, v in columns.items() if k != self._rest}
        frame = self.layout.frame(bare, raw=raw, copy=copy) if self.layout else pd.DataFrame()
        tail = pa.array([], self._kind) if tail is None else tail
        text = self._kind == pa.string()
        frame[self._rest] = TEXT.__from_arrow__(tail) if text else pd.arrays.ArrowExtensionArray(tail)
        if stated := self.rest.annotations.to_dict():
            frame.attrs.setdefault("bpfnb_columns", {})[self._rest] = stated
        return frame

    def arrow(self, columns: Columns) -> pa.RecordBatch:
        bare = {k: v for k, v in columns.items() if k != self._rest}
        if self.layout is None:
            return pa.record_batch({self._rest: columns.get(self._rest, pa.array([], pa.binary()))})
        batch = self.layout.arrow(bare)
        if self._rest in columns or self._declared:
            tail = columns.get(self._rest)
            batch = batch.append_column(self._rest, self._none(_length(columns)) if tail is None else tail)
        return batch

    def only(self, names: Collection[str]) -> Lane:
        """The same records with the named columns alone, for putting together what was decoded."""
        if self.layout is None:
            return self
        wanted = frozenset(names)
        out = self._parts.get(wanted)  # live pictures ask for the same ones again and again
        if out is None:
            out = Lane(replace(self.layout, columns=tuple(c for c in self.layout.columns if c.name in names)))
            out.name, out._rest = self.name, self._rest
            if self._rest not in names:
                out._rest, out._declared = "\0", False
            self._parts[wanted] = out
        return out

    def empty(self) -> Columns:
        return self.decode(np.empty((0, self.size), np.uint8), None if self.layout else 0)


def _rest(layout: Layout | None) -> str:
    """What the bytes behind a struct are called: as no field is, and so that redaction takes them for a payload."""
    if layout is None:
        return "data"
    if layout.tail:
        return layout.tail[0]
    fields = {column.name for column in layout.columns}
    return "payload.rest" if "payload" in fields else "payload"


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def _tails(data: Bytes2D, lengths: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """The first ``lengths[i]`` bytes of each row, one behind the other, and where each row's begin."""
    lengths = np.broadcast_to(np.maximum(lengths, 0), len(data))
    offsets = np.zeros(len(data) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets, data[np.arange(data.shape[1]) < lengths[:, None]]
