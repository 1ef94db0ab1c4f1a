"""Columns of records as a recording holds them: as people read them, and so that the kernel's come back exactly.

A column stands under its own name as a frame shows it: text, names, addresses and dates. Where the shown form does not
tell the number (enumerations, errors, signals, system calls) a twin ``NAME@raw`` has it. Beside the columns of the
struct stand ``arrived@`` (when the row was drained) and, where they do not just count up, ``row@``, the numbers of
arrival. What repeats is dictionary-encoded.
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bpfnb.errors import BadRecording
from bpfnb.frames.columns import Column, present
from bpfnb.frames.lane import Columns, Lane

__all__ = ["ARRIVED", "FIRST", "RAW", "ROW", "from_table", "name_of", "to_table", "wanted_columns"]

RAW: Final = "@raw"
ROW: Final = "row@"
ARRIVED: Final = "arrived@"
FIRST: Final = b"bpfnb.first"
"""The key of a table's metadata whose value is the number of its first row, where there is no column ``row@``."""

_NAMES: Final = ("errno", "signal", "syscall")
_MOMENT: Final = pa.timestamp("us", "UTC")
_DATE: Final = pa.timestamp("ns", "UTC")
_EXPANDED: Final = 2 << 30  # bytes of text that one piece may hold when it is no dictionary any more


def name_of(column: Column) -> str:
    """The column's name in a file: that of a scalar by itself is ``value``."""
    return column.name or "value"


def _twin(column: Column) -> bool:
    return column.kind == "enum" or (column.kind == "int" and column.annotations.format in _NAMES)


def _address(column: Column) -> bool:
    return (column.annotations.format, column.size) in (
        ("ipv4", 4),
        ("ipv6", 16),
        ("ip", 16),
        ("mac", 6),
    ) and (column.kind in ("int", "bytes"))


def _swapped(column: Column) -> bool:
    return column.kind == "int" and column.annotations.format == "port_be" and column.size == 2


def _moment(column: Column) -> bool:
    return column.kind == "int" and column.moment


# To a table


def to_table(
    lane: Lane,
    columns: Columns,
    numbers: npt.NDArray[np.int64] | int,
    arrived: npt.NDArray[np.float64],
    clock: int,
) -> pa.Table:
    """The rows of *lane* as a table to be written.

    *numbers* are the rows' numbers of arrival, or the first one's where they count up; *arrived* when they were
    drained, in s since 1970; *clock* the offset (ns) of the clock of timestamps to 1970. A column that *columns*
    lacks, because it is not to be recorded, is not in the table.
    """
    fields: list[pa.Field] = []
    arrays: list[Any] = []

    def put(name: str, array: Any, stated: dict[str, str] | None = None) -> None:
        fields.append(pa.field(name, array.type, metadata=stated or None))
        arrays.append(array)

    known = lane.layout.columns if lane.layout else ()
    for column in known:
        if column.name in columns:
            values = columns[column.name]
            put(name_of(column), _shown(column, values, clock), _stated(column))
            if _twin(column):
                put(name_of(column) + RAW, pa.array(values))
    ours = {column.name for column in known}
    for name, values in columns.items():
        if name not in ours:  # the rest of longer records
            put(name, values.dictionary_encode() if pa.types.is_string(values.type) else values)
    put(ARRIVED, pa.array(np.round(arrived * 1e6).astype(np.int64)).cast(_MOMENT))
    metadata = {}
    if isinstance(numbers, int):
        metadata[FIRST] = str(numbers)
    else:
        put(ROW, pa.array(numbers))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata or None))


def _stated(column: Column) -> dict[str, str]:
    stated = column.annotations.to_dict()
    meta = {key: text if isinstance(text, str) else json.dumps(text) for key, text in stated.items()}
    return meta | ({"hidden": "true"} if column.annotations.hidden else {}) | {"type": column.type}


def _shown(column: Column, values: Any, clock: int) -> Any:
    if column.kind == "text":
        return values.dictionary_encode()
    if column.kind == "list":
        return _flat(values)
    if _moment(column):
        return pa.array(present(column, values, clock)).cast(_DATE)
    if _address(column):  # spelled once each
        encoded = (pa.array(values) if isinstance(values, np.ndarray) else values).dictionary_encode()
        distinct = encoded.dictionary
        if isinstance(values, np.ndarray):
            distinct = distinct.to_numpy(zero_copy_only=False)
        return pa.DictionaryArray.from_arrays(encoded.indices, present(column, distinct))
    if _twin(column):
        named = present(column, values)
        if column.kind == "enum":
            return named
        return named.cast(pa.string()).dictionary_encode()  # ENOENT is 2 and -2
    if _swapped(column):
        return pa.array(values.byteswap())
    return pa.array(values) if isinstance(values, np.ndarray) else values


def _flat(values: Any) -> Any:
    """An array of arrays as one list of its numbers a row."""
    length, inner = 1, values
    while pa.types.is_fixed_size_list(inner.type):
        length *= inner.type.list_size
        inner = inner.flatten()
    return pa.FixedSizeListArray.from_arrays(inner, length)


# From a table


def wanted_columns(lane: Lane, there: Sequence[str]) -> list[str]:
    """Of the columns in a file those that :func:`from_table` needs."""
    known = lane.layout.columns if lane.layout else ()
    needed = {name_of(column) + (RAW if _twin(column) else "") for column in known}
    shown = {name_of(column) for column in known}
    return [name for name in there if name in needed or (name not in shown and not name.endswith(RAW))]


def from_table(lane: Lane, table: pa.Table, clock: int) -> Columns:
    """The columns of *lane* exactly as they were given to :func:`to_table`; zeros for those that are not there.

    Raises BadRecording where the table does not fit the lane.
    """
    rows = table.num_rows
    out: Columns = {}
    for column in lane.layout.columns if lane.layout else ():
        name = name_of(column) + (RAW if _twin(column) else "")
        try:
            at = table.schema.names.index(name)
        except ValueError:
            out[column.name] = _nothing(column, rows)
            continue
        out[column.name] = _decoded(column, _single(table.column(at)), clock)
    rest = lane._rest
    if rest in table.schema.names:
        out[rest] = _rest(_single(table.column(rest)), lane)
    elif lane.layout is None:
        raise BadRecording(f"a table of records without a type has no column '{rest}'")
    return out


def _single(column: pa.ChunkedArray) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return pa.concat_arrays(column.chunks)


def _rest(values: Any, lane: Lane) -> Any:
    values = _expanded(values)
    kind = lane._kind
    if values.type != kind:
        raise BadRecording(f"the column '{lane._rest}' holds {values.type}, not {kind}")
    if lane._declared and values.null_count:
        values = values.fill_null("" if kind == pa.string() else b"")
    return values


def _expanded(values: Any) -> Any:
    """A dictionary's values one by one; BadRecording where that would be far more than what is in the file."""
    if not pa.types.is_dictionary(values.type):
        return values
    words = values.dictionary
    if pa.types.is_string(words.type) or pa.types.is_binary(words.type):
        lengths = pc.binary_length(words).fill_null(0)
        if len(lengths) and pc.max(lengths).as_py() * len(values) > _EXPANDED:
            total = pc.sum(lengths.cast(pa.int64()).take(values.indices.drop_null())).as_py() or 0
            if total > _EXPANDED:
                raise BadRecording(
                    f"a column holds {total:,} bytes of text; {_EXPANDED:,} are the most in one piece"
                )
    return words.take(values.indices)


def _nothing(column: Column, rows: int) -> Any:
    """Zeros, as a record that nobody filled in has them."""
    if column.kind == "text":
        return pa.repeat("", rows)
    if column.kind == "bytes":
        return pa.repeat(pa.scalar(bytes(column.size), pa.binary(column.size)), rows)
    dtype = np.dtype(column.dtype)
    if column.kind == "list":
        return _shaped(pa.array(np.zeros(rows * math.prod(dtype.shape), _number(dtype.base))), dtype.shape)
    return np.zeros(rows, dtype)


def _number(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(bool) if dtype.kind == "b" else dtype


def _decoded(column: Column, values: Any, clock: int) -> Any:
    name = column.name
    if values.null_count and not _moment(column):
        raise BadRecording(f"the column '{name}' has {values.null_count:,} missing values")
    if column.kind == "text":
        return _typed(_expanded(values), pa.string(), name)
    if _address(column):
        return _numbered(column, values)
    if column.kind == "bytes":
        return _typed(values, pa.binary(column.size), name)
    if column.kind == "list":
        dtype = np.dtype(column.dtype)
        wanted = pa.from_numpy_dtype(_number(dtype.base))
        size = math.prod(dtype.shape)
        if pa.types.is_fixed_size_list(values.type) and values.type.list_size == size:
            return _shaped(_typed(values.flatten(), wanted, name), dtype.shape)
        raise BadRecording(f"the column '{name}' holds {values.type}, not lists of {size} numbers")
    if _moment(column):
        raw = _typed(values, _DATE, name).cast(pa.int64())
        since = _as_numpy(raw.fill_null(clock)) - np.int64(
            clock
        )  # missing where the program never set it: zero
        return since.view(column.dtype)
    raw = _as_numpy(_typed(values, pa.from_numpy_dtype(_number(np.dtype(column.dtype))), name))
    return raw.byteswap() if _swapped(column) else raw


def _as_numpy(values: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found


def _typed(values: Any, wanted: pa.DataType, name: str) -> Any:
    if values.type != wanted:
        raise BadRecording(f"the column '{name}' holds {values.type}, where the record's type has {wanted}")
    return values


def _shaped(values: Any, shape: tuple[int, ...]) -> Any:
    for count in reversed(shape):
        values = pa.FixedSizeListArray.from_arrays(values, count)
    return values


def _numbered(column: Column, values: Any) -> Any:
    """Addresses as the record has them, reading each spelling once."""
    if not pa.types.is_dictionary(values.type):
        values = _typed(values, pa.string(), column.name).dictionary_encode()
    words = _typed(values.dictionary, pa.string(), column.name).to_pylist()
    form = column.annotations.format
    try:
        packed = [_packed(form, word) for word in words]
    except ValueError:
        raise BadRecording(f"the column '{column.name}' holds what is no {form} address") from None
    if column.kind == "int":
        return np.frombuffer(b"".join(packed), column.dtype)[_as_numpy(values.indices)]
    return pa.array(packed, pa.binary(column.size)).take(values.indices)


def _packed(form: str | None, word: str | None) -> bytes:
    if word is None:
        raise ValueError
    if form == "mac":
        octets = bytes.fromhex(word.replace(":", ""))
        if len(octets) != 6:
            raise ValueError(word)
        return octets
    address = ipaddress.ip_address(word)
    if (form == "ipv4" and address.version == 6) or (form == "ipv6" and address.version == 4):
        raise ValueError(word)
    if form == "ip" and address.version == 4:
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed
