"""Kernel bytes to columns: where each field of a C type stands, and a whole batch of records taken apart at once.

A :class:`Layout` is made from BTF. Its :meth:`~Layout.decode` runs no Python code per record: it copies field by
field, in pieces of a batch that stay in the processor's cache, so each byte comes from memory once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.annotations import NONE, Annotations, of, of_type
from bpfnb.btf import Array, Btf, Composite, Enum, Float, Int, Pointer, Type, Var, fields
from bpfnb.frames import columns as presentation
from bpfnb.frames import values as single
from bpfnb.frames.columns import Column, Decoded, clock_offset
from bpfnb.kernel import split

__all__ = ["Column", "Decoded", "Layout", "clock_offset", "text_between"]

CACHE_BYTES: Final = 1 << 18  # of records taken apart at a time: half a common L2 cache
EXPANDED: Final = 64  # arrays of more elements become one column of lists
STRUCT_COLUMNS: Final = 1024  # arrays of structs that would make more columns than this stay bytes


_Fill = Callable[[slice], None]


@dataclass(frozen=True)
class Layout:
    """The columns of one C type; ``name`` is the type as C spells it, ``size`` its bytes.

    Struct fields are columns in the order of their declaration, fields of nested structs as ``a.b``, elements of
    arrays as ``a.0``; arrays of more than 64 numbers are one column of lists. ``char[N]`` is text up to its first
    NUL, ``unsigned char[N]`` is bytes. A union shows its widest member, and all its bytes in a column of its own
    name (``a|b`` where it has none). Scalars and arrays by themselves are one column named ``""``. A flexible array of
    bytes right behind the rest is :attr:`tail`, which records fill as they need.
    """

    btf: Btf = field(repr=False)
    type: Type = field(repr=False)
    name: str
    size: int
    columns: tuple[Column, ...] = field(repr=False)
    tail: tuple[str, str] | None = field(default=None, repr=False)
    """Name of the flexible array at the struct's end, and ``text`` or ``bytes``."""
    rest: Annotations = field(default=NONE, repr=False)
    """What the declaration of :attr:`tail` says."""
    clock: int | None = field(default=None, repr=False)
    """What makes times since boot dates (ns, see :func:`clock_offset`) where records are of another kernel."""

    @staticmethod
    def of(btf: Btf, type_id: int, stated: Annotations = NONE, *, clock: int | None = None) -> Layout:
        """The layout of a type, or of a global variable. *stated* is what a map says of its values.

        Raises UnknownName for an annotation that does not exist.
        """
        found = btf[type_id]
        if isinstance(found, Var):
            stated, found = stated.over(of(btf, type_id)), btf[found.type]
        columns = tuple(_columns(btf, "", found.id, 0, stated))
        whole = btf.resolve(found.id)
        tail, rest = _tail(btf, whole), NONE
        if tail and isinstance(whole, Composite):
            rest = of(btf, whole.id, len(whole.members) - 1).over(stated.inherited())
        return Layout(btf, found, btf.describe(found), btf.size(found), columns, tail, rest, clock)

    def decode(self, rows: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Columns of *rows*, ``uint8`` of shape (n, at least ``size``), one record a row; extra bytes are ignored.

        Integers, floats, enums (their numbers) and pointers are NumPy arrays, contiguous and writable, in the C
        type's own width; text is a pyarrow.StringArray (invalid UTF-8 replaced), bytes are FixedSizeBinaryArray,
        long arrays FixedSizeListArray.
        """
        if rows.ndim != 2 or rows.shape[1] < self.size:
            raise ValueError(
                f"{self.name} takes rows of {self.size} bytes, not an array of shape {rows.shape}"
            )
        count, stride = rows.shape
        if stride == 0 or (count and rows.strides[1] != 1):
            rows = np.ascontiguousarray(rows)
        outs: list[npt.NDArray[Any]] = []
        fills: list[_Fill] = []
        for column in self.columns:
            stored = _stored(column.dtype)
            if column.bits:
                out = np.empty(count, stored)
                fills.append(_fill_bits(rows[:, : self.size], column, out))
            else:
                source = _field(rows, column.offset, stored)
                out = np.empty(source.shape, source.dtype)
                fills.append(_fill_plain(source, out))
            outs.append(out)
        step = max(1, CACHE_BYTES // max(1, stride))
        for start in range(0, count, step):
            part = slice(start, start + step)
            for fill in fills:
                fill(part)
        return {column.name: _finish(column, out) for column, out in zip(self.columns, outs, strict=True)}

    def peek(self, rows: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """As :meth:`decode`, but numbers are views of *rows*, which costs no time that grows with them."""
        if self._peeked is None or (len(rows) and rows.strides[1] != 1):
            return self.decode(rows)
        return {name: rows[:, part].view(dtype)[:, 0] for name, part, dtype in self._peeked}

    @cached_property
    def _peeked(self) -> list[tuple[str, slice, np.dtype[Any]]] | None:
        """Name, bytes and type of each column, where all are numbers in bytes of their own."""
        if any(column.bits or column.kind not in ("int", "float", "pointer") for column in self.columns):
            return None
        return [(c.name, slice(c.offset, c.offset + c.size), np.dtype(c.dtype)) for c in self.columns]

    @cached_property
    def fields(self) -> list[tuple[int, int]]:
        """Offset and size in bytes of what each column is made from."""
        return [(column.offset, column.size) for column in self.columns]

    def assemble(self, cells: Sequence[npt.NDArray[np.uint8]]) -> dict[str, Any]:
        """As :meth:`decode`, from the bytes of each of :attr:`fields` in all rows, one behind the other."""
        decoded: dict[str, Any] = {}
        for column, cell in zip(self.columns, cells, strict=True):
            stored = _stored(column.dtype)
            if column.bits:
                out = np.empty(len(cell) // column.size, stored)
                here = replace(column, bits=(column.bits[0] - 8 * column.offset, column.bits[1]))
                _fill_bits(cell.reshape(-1, column.size), here, out)(slice(None))
            else:
                out = cell.view(stored.base)
                if stored.shape:
                    out = out.reshape(-1, *stored.shape)
            decoded[column.name] = _finish(column, out)
        return decoded

    def concat(self, parts: Sequence[Decoded]) -> dict[str, Any]:
        """Several decoded batches as one, in their order; none gives columns without rows."""
        if not parts:
            return self.decode(np.empty((0, self.size), np.uint8))
        if len(parts) == 1:
            return dict(parts[0])
        return {column.name: _concat([part[column.name] for part in parts]) for column in self.columns}

    def frame(
        self,
        decoded: Decoded,
        *,
        raw: bool = False,
        hidden: bool = False,
        clock_offset: int | None = None,
        copy: bool = True,
    ) -> pd.DataFrame:
        """A DataFrame that shares no memory with *decoded*; with *copy* false it takes over what it can.

        Enums, error numbers and system calls are categoricals of names (unknown values by their digits), addresses
        and ``char[N]`` text of pandas' string dtype, timestamps ``datetime64[ns, UTC]``, ports in host order.
        Durations and amounts stay numbers; ``df.attrs["bpfnb_columns"]`` names units, formats and descriptions of
        the columns that have any. Fields marked HIDDEN are left out unless *hidden* or *raw* is true.

        *raw* leaves all numbers as decoded. *clock_offset* (ns, see :func:`clock_offset`) belongs to the kernel
        that wrote the records; by default it is :attr:`clock`, else this one's.
        """
        clock = self.clock if clock_offset is None else clock_offset
        return presentation.to_pandas(self.columns, decoded, raw=raw, hidden=hidden, clock=clock, copy=copy)

    def arrow(
        self, decoded: Decoded, *, raw: bool = False, hidden: bool = False, clock_offset: int | None = None
    ) -> Any:
        """The columns of :meth:`frame` as a pyarrow.RecordBatch; field metadata carries the annotations."""
        clock = self.clock if clock_offset is None else clock_offset
        return presentation.to_arrow(self.columns, decoded, raw=raw, hidden=hidden, clock=clock)

    def encode(self, value: object) -> bytes:
        """One value as the kernel holds it: see :func:`bpfnb.frames.values.encode`. Raises MapTypeError."""
        return single.encode(self.btf, self.type.id, value)

    def decode_one(self, data: bytes) -> Any:
        """One value as Python's int, float, str, bytes, list or dict: see :func:`bpfnb.frames.values.decode`."""
        return single.decode(self.btf, self.type.id, data)


# From a type to its columns.


def _columns(
    btf: Btf, path: str, type_id: int, at: int, stated: Annotations, *, bits: int = 0, anonymous: bool = False
) -> Iterator[Column]:
    """The columns of one field at bit *at*; *bits* is 0 but for bit fields, *stated* what is known from outside.

    An *anonymous* member has the path of the struct around it.
    """
    stated = stated.over(of_type(btf, type_id))
    found = btf.resolve(type_id)
    size = btf.size(found)
    if not size:
        return  # flexible arrays, empty structs
    if isinstance(found, Int) and not bits and found.bits < 8 * size:
        at, bits = at + found.offset, found.bits  # how old compilers wrote bit fields

    def column(name: str, kind: str, dtype: str) -> Column:
        where = (at, bits) if bits else None
        length = (at % 8 + bits + 7) // 8 if bits else size
        values = found.values if isinstance(found, Enum) else ()
        return Column(name, kind, dtype, at // 8, length, btf.describe(type_id), stated, where, values)

    whole = _whole(btf, found, stated.format)
    if bits > 64:  # of a 128-bit integer: the bytes that hold it
        held = column(path, "bytes", "")
        yield replace(held, dtype=f"V{held.size}", bits=None)
    elif whole:
        yield column(path, *whole)
    elif isinstance(found, Array):
        shape, kind, dtype = _shape(btf, found, stated)
        one = list(_columns(btf, path, found.element, at, stated))
        if path and math.prod(shape) <= EXPANDED and found.count * len(one) <= STRUCT_COLUMNS:
            width = 8 * btf.size(found.element)
            for index in range(found.count):
                yield from _columns(btf, f"{path}.{index}", found.element, at + index * width, stated)
        elif kind in ("", "text", "bytes"):
            yield column(path, "bytes", f"V{size}")
        else:
            yield column(path, "list", f"({','.join(map(str, shape))},){dtype}")
    elif isinstance(found, Composite) and found.kind == "struct":
        for index in range(len(found.members)):
            yield from _member(btf, path, found, index, at, stated)
    elif isinstance(found, Composite):
        if any(of(btf, found.id, index).sensitive for index in range(len(found.members))):
            stated = replace(stated, sensitive=True)  # the members are the same bytes
        widths = [member.bit_size or 8 * btf.size(member.type) for member in found.members]
        inner = list(_member(btf, path, found, widths.index(max(widths)), at, stated)) if widths else []
        yield from inner
        own = (
            _join(path, "|".join(member.name for member in fields(btf, found)))
            if anonymous or not path
            else path
        )
        if [(one.kind, one.size) for one in inner] != [("bytes", size)] and own not in (
            c.name for c in inner
        ):
            yield column(own, "bytes", f"V{size}")


def _member(
    btf: Btf, path: str, outer: Composite, index: int, at: int, stated: Annotations
) -> Iterator[Column]:
    member = outer.members[index]
    if not member.name and not isinstance(btf.resolve(member.type), Composite):
        return  # padding
    own = of(btf, outer.id, index).over(stated.inherited())
    where = at + member.bit_offset
    name = _join(path, member.name)
    yield from _columns(btf, name, member.type, where, own, bits=member.bit_size, anonymous=not member.name)


def _tail(btf: Btf, found: Type) -> tuple[str, str] | None:
    """A struct's flexible array of bytes. One that begins within the struct's padding is left to who knows of it."""
    if not isinstance(found, Composite) or found.kind != "struct" or len(found.members) < 2:
        return None
    last = found.members[-1]
    array = btf.resolve(last.type)
    if not isinstance(array, Array) or array.count or last.bit_offset != 8 * btf.size(found):
        return None
    element = btf.resolve(array.element)
    if not isinstance(element, Int) or element.size != 1 or element.bool:
        return None
    text = element.char or of(btf, found.id, len(found.members) - 1).format == "text"
    return last.name, "text" if text else "bytes"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _whole(btf: Btf, found: Type, format: str | None) -> tuple[str, str] | None:  # noqa: A002
    """Kind and dtype of a type that makes one column, or None where it has to be taken apart."""
    size = btf.size(found)
    match found, format:
        case (_, "ipv6" | "ip") if size == 16:
            return "bytes", "V16"
        case (_, "mac") if size == 6:
            return "bytes", "V6"
        case (_, "ipv4") if size == 4:
            return "int", "<u4"
        case Int(), _ if size in (1, 2, 4, 8):
            return ("bool", "|b1") if found.bool else ("int", f"<{'i' if found.signed else 'u'}{size}")
        case Float(), _ if size in (2, 4, 8):
            return "float", f"<f{size}"
        case Enum(), _:
            return "enum", f"<{'i' if found.signed else 'u'}{size}"
        case Pointer(), _:
            return "pointer", "<u8"
        case Array(), _:
            element = btf.resolve(found.element)
            if isinstance(element, Int) and element.size == 1 and not element.bool:
                if element.char or format == "text":
                    return "text", f"S{size}"
                if not element.signed:
                    return "bytes", f"V{size}"
        case Int() | Float(), _:
            return "bytes", f"V{size}"  # wider than NumPy's
    return None


def _shape(btf: Btf, array: Array, stated: Annotations) -> tuple[list[int], str, str]:
    """Dimensions of an array, and kind and dtype of what it is an array of (empty for structs)."""
    shape = [array.count]
    while True:
        element = btf.resolve(array.element)
        whole = _whole(btf, element, stated.over(of_type(btf, array.element)).format)
        if whole or not isinstance(element, Array):
            return shape, *(whole or ("", ""))
        array = element
        shape.append(array.count)


# From bytes to arrays.


@cache
def _stored(dtype: str) -> np.dtype[Any]:
    """The dtype that bytes are copied as: C's bool may hold any byte, which NumPy's must not."""
    return np.dtype(dtype.replace("|b1", "|u1"))


def _field(rows: npt.NDArray[np.uint8], offset: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A view of one field of all rows, shape (n, *the dtype's own shape)."""
    cells = rows[:, offset : offset + dtype.itemsize].view(dtype.base)
    return cells.reshape(len(rows), *dtype.shape)


def _fill_plain(source: npt.NDArray[Any], out: npt.NDArray[Any]) -> _Fill:
    def fill(part: slice) -> None:
        out[part] = source[part]

    return fill


def _fill_bits(rows: npt.NDArray[np.uint8], column: Column, out: npt.NDArray[Any]) -> _Fill:
    """Copies a bit field: whole words where one covers it, else its bytes one by one."""
    assert column.bits
    first, width = column.bits
    start, end = first // 8, (first + width + 7) // 8
    word = next((size for size in (1, 2, 4, 8) if end - start <= size <= rows.shape[1]), 0)
    if word:
        start = min(start, rows.shape[1] - word)
        pieces = [(_field(rows, start, np.dtype(f"<u{word}")), 8 * start - first)]
    else:
        pieces = [(rows[:, at], 8 * at - first) for at in range(start, end)]
    mask, drop = np.uint64((1 << width) - 1), np.uint64(64 - width)
    signed = out.dtype.kind == "i"

    def fill(part: slice) -> None:
        value = np.zeros(len(out[part]), np.uint64)
        for source, shift in pieces:
            bits = source[part].astype(np.uint64)
            value |= bits << np.uint64(shift) if shift > 0 else bits >> np.uint64(-shift)
        value &= mask
        out[part] = (value << drop).view(np.int64) >> drop.astype(np.int64) if signed else value

    return fill


def _finish(column: Column, out: npt.NDArray[Any]) -> Any:
    """What :meth:`Layout.decode` returns of a column's copied bytes."""
    if "|b1" in column.dtype:
        out = out != 0
    if column.kind == "text":
        return _text(out)
    if column.kind == "bytes":
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(column.size), len(out), [None, pa.py_buffer(out)]
        )
    if column.kind == "list":
        array = pa.array(out.reshape(-1))
        for count in reversed(out.shape[1:]):
            array = pa.FixedSizeListArray.from_arrays(array, count)
        return array
    return out


def _text(cells: npt.NDArray[np.bytes_]) -> Any:
    """C strings as a StringArray, each cut at its first NUL."""
    if split.library() is not None:
        return text_between(*split.pack_text(cells))
    binary = pa.array(cells, pa.binary())  # pyarrow stops at the first NUL
    _, offsets, values = binary.buffers()
    empty = np.empty(0, np.uint8)
    return text_between(
        np.frombuffer(offsets, np.int32)[: len(cells) + 1],
        empty if values is None else np.frombuffer(values, np.uint8),
    )


def text_between(offsets: npt.NDArray[np.int32], values: npt.NDArray[np.uint8]) -> Any:
    """A StringArray of the bytes between each two of *offsets*; what is no UTF-8 is replaced."""
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    text = pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)
    if not len(values) or values.max() < 0x80:  # ASCII; pyarrow looks at each value by itself
        return text
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        binary = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
        return pa.array([value.decode(errors="replace") for value in binary.to_pylist()], pa.string())
    return text


def _concat(parts: Iterable[Any]) -> Any:
    parts = list(parts)
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)
