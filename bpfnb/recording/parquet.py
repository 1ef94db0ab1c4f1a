"""Parquet inside a recording: how tables are written small, and how they are looked at before they are read.

Written: zstd; a dictionary for what repeats, differences for numbers that grow, bytes of a kind together for the rest,
as a sample of each column says. Read: the footer and the header of every page are compared with limits before pyarrow
allocates anything for them, since both may claim any size, and a few bytes of zstd may hold gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bpfnb.errors import BadRecording
from bpfnb.recording.thrift import Pages

__all__ = ["Sheet", "encode"]

ROW_GROUP: Final = 1 << 17
_SAMPLE: Final = 1 << 13
_MANY: Final = 1 << 16
_FAST, _SMALL, _SMALLEST = 3, 12, 15  # levels of zstd
_SHORT: Final = 8 << 20  # bytes of a table that takes the last of them
_DICTIONARY: Final = "dictionary"
_WORDS: Final = 16 << 20  # bytes of a dictionary, beyond which its values are written out
# One page a column and group, whose header is all that is looked at before it is read; older pyarrow does so unasked.
_PAGES: Final[dict[str, Any]] = (
    {"max_rows_per_page": ROW_GROUP} if "max_rows_per_page" in signature(pq.write_table).parameters else {}
)
MAX_COLUMNS: Final = 4096
MAX_ROWS: Final = 1 << 31
MAX_PAGE: Final = 64 << 20
MAX_GROUP: Final = 2 << 30  # bytes that the pages of one row group hold
MAX_GROUP_ROWS: Final = 1 << 24
_CODECS: Final = frozenset({"ZSTD", "UNCOMPRESSED", "SNAPPY"})


def encode(table: pa.Table, *, small: bool = False, schema: bool = True) -> bytes:
    """*table* as a Parquet file; *small* takes several times as long to find for each column what takes least.

    Without *schema* Arrow's own description of the types is left out, which takes more than a short table: text that
    was a dictionary is then read as plain text.
    """
    level = _FAST if not small else _SMALLEST if table.nbytes < _SHORT else _SMALL
    if small:
        table = _in_order(table)
    chosen = {
        field.name: _smallest(column, field, level) if small else _encoding(field.type, column)
        for field, column in zip(table.schema, table.columns, strict=True)
    }
    return _written(table, chosen, level, schema=schema)


def _written(table: pa.Table, encodings: dict[str, str], level: int, *, schema: bool = True) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=level,
        use_dictionary=[name for name, encoding in encodings.items() if encoding == _DICTIONARY] or False,
        column_encoding={n: e for n, e in encodings.items() if e and e != _DICTIONARY} or None,
        row_group_size=ROW_GROUP,
        dictionary_pagesize_limit=_WORDS,
        write_statistics=table.num_rows >= _MANY,  # nobody skips parts of small ones
        store_schema=schema,
        **_PAGES,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _encoding(kind: pa.DataType, column: pa.ChunkedArray) -> str:
    """What a sample says of a column."""
    if pa.types.is_dictionary(kind):
        return _DICTIONARY
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        return ""
    sample = _sample(column)
    if len(sample.unique()) * 4 <= len(sample):
        return _DICTIONARY
    return _others(kind)[0]


def _others(kind: pa.DataType) -> list[str]:
    """The encodings of values that do not repeat, the likeliest first."""
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        wide = kind.bit_width >= 32
        return ["DELTA_BINARY_PACKED", *(["BYTE_STREAM_SPLIT"] if wide else []), "PLAIN"]
    if pa.types.is_floating(kind) and kind.bit_width > 16:
        return ["BYTE_STREAM_SPLIT", "PLAIN"]
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return ["DELTA_LENGTH_BYTE_ARRAY", "PLAIN"]
    return [""]


def _smallest(column: pa.ChunkedArray, field: pa.Field, level: int) -> str:
    kind = field.type
    if pa.types.is_dictionary(kind):
        return _DICTIONARY
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind) or not len(column):
        return ""
    part = pa.table({"x": column.slice(0, _MANY)})
    tried = {e: len(_written(part, {"x": e}, level, schema=False)) for e in (_DICTIONARY, *_others(kind))}
    return min(tried, key=lambda encoding: tried[encoding])


def _in_order(table: pa.Table) -> pa.Table:
    """With the words of dictionaries in the order that takes least: frequent ones have small numbers, and among those
    that are about as frequent the ones that begin alike, as stacks do, stand beside each other.
    """
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(at).unify_dictionaries().combine_chunks()
            words = column.dictionary
            places = np.empty(len(words), np.int32)
            places[pc.array_sort_indices(words).to_numpy()] = np.arange(len(words), dtype=np.int32)
            counts = np.bincount(column.indices.drop_null().to_numpy(), minlength=len(words))
            order = pa.array(np.lexsort((places, -np.frexp(counts)[1])))
            places[order.to_numpy()] = np.arange(len(words), dtype=np.int32)
            indices = pa.array(places).take(column.indices)
            column = pa.DictionaryArray.from_arrays(indices, words.take(order))
            table = table.set_column(at, field.with_type(column.type), column)
    return table


def _sample(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.slice(max(0, len(column) // 2 - _SAMPLE // 2), _SAMPLE)


class Sheet:
    """A Parquet file in memory, looked at but not read. Raises BadRecording where it is none or claims too much."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._data = data
        try:
            self._file = pq.ParquetFile(
                pa.BufferReader(data), thrift_string_size_limit=16 << 20, thrift_container_size_limit=1 << 20
            )
            meta = self._file.metadata
            self.schema: pa.Schema = self._file.schema_arrow
            self.rows: int = meta.num_rows
        except Exception as error:
            raise BadRecording(f"{name} is no Parquet file: {_first(error)}") from None
        self._check(meta)

    @property
    def columns(self) -> list[str]:
        return list(self.schema.names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The row groups of *columns*, one table each, of plain types, checked before they are read."""
        wanted = [name for name in self.columns if name in columns]
        numbers = [number for number, name in enumerate(self._leaves) if name in wanted]
        for group in range(self._file.metadata.num_row_groups):
            if not self._file.metadata.row_group(group).num_rows:
                continue
            self._check_pages(group, numbers)
            try:
                table = self._file.read_row_group(group, columns=wanted)
                table.validate()
            except Exception as error:
                raise BadRecording(f"{self.name} is damaged: {_first(error)}") from None
            if table.num_rows != self._file.metadata.row_group(group).num_rows:
                raise BadRecording(f"{self.name} is damaged: a column is too short")
            yield table

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows. For tables that are small."""
        wanted = self.columns if columns is None else [name for name in self.columns if name in columns]
        empty = pa.schema([self.schema.field(name) for name in wanted]).empty_table()
        found = list(self.batches(wanted))
        return pa.concat_tables(found) if found else empty

    def _check(self, meta: Any) -> None:
        names = self.schema.names
        if len(names) > MAX_COLUMNS or len(set(names)) < len(names):
            raise BadRecording(f"{self.name} has {len(names):,} columns, {len(set(names)):,} names")
        if not 0 <= self.rows <= MAX_ROWS or meta.num_row_groups > 1 + self.rows:
            raise BadRecording(f"{self.name} says that it has {self.rows:,} rows")
        for field in self.schema:
            if not _plain(field.type):
                raise BadRecording(
                    f"the column '{field.name[:80]}' of {self.name} holds {str(field.type)[:80]}"
                )
        self._leaves = [str(meta.schema.column(n).path).split(".list.")[0] for n in range(meta.num_columns)]
        if len(self._leaves) != len(names):
            raise BadRecording(f"{self.name} has nested columns")
        if sorted(self._leaves) != sorted(names):
            raise BadRecording(f"{self.name} has nested columns")
        rows = 0
        for number in range(meta.num_row_groups):
            group = meta.row_group(number)
            rows += group.num_rows
            if not 0 <= group.num_rows <= MAX_GROUP_ROWS:
                raise BadRecording(f"{self.name} says that {group.num_rows:,} rows are in one group")
        if rows != self.rows:
            raise BadRecording(f"{self.name} says that it has {self.rows:,} rows, and then {rows:,}")

    def _check_pages(self, group: int, numbers: Sequence[int]) -> None:
        """Every page of the columns *numbers*: that it is in the file, and how much it will hold."""
        meta = self._file.metadata.row_group(group)
        total = 0
        for number in numbers:
            chunk = meta.column(number)
            if chunk.compression not in _CODECS:
                raise BadRecording(f"{self.name} is compressed with {chunk.compression}", hints=["use zstd"])
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                start = min(start, chunk.dictionary_page_offset)
            end = start + chunk.total_compressed_size
            if not 4 <= start <= end <= len(self._data):
                raise BadRecording(f"{self.name}: a column lies outside the file")
            values = 0
            for page in Pages(self._data, start, end, self.name):
                if page.uncompressed > MAX_PAGE:
                    raise BadRecording(
                        f"{self.name}: a page of {page.uncompressed:,} bytes; {MAX_PAGE:,} are the most"
                    )
                total += page.uncompressed
                values += page.values if page.data else 0
            listed = pa.types.is_fixed_size_list(
                self.schema.field(self._leaves[number]).type
            ) or pa.types.is_list(self.schema.field(self._leaves[number]).type)
            if not listed and values != meta.num_rows:
                raise BadRecording(
                    f"{self.name}: a column has {values:,} values, its rows are {meta.num_rows:,}"
                )
            if total > MAX_GROUP or values > MAX_GROUP_ROWS * 8:
                raise BadRecording(
                    f"{self.name}: a group of rows holds {total:,} bytes; {MAX_GROUP:,} are the most"
                )


def _plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
        return bool(
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        ) or pa.types.is_string(kind)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_timestamp(kind)
    )


def _first(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
