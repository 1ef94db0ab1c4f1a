"""Tables as files of Parquet, CSV, JSON and JSON lines, a column at a time.

In text, times are ISO 8601 in UTC with nanoseconds, bytes hexadecimal digits, missing values empty (CSV) or null;
integers are written in full, as JSON's grammar allows, also beyond 2**53.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bpfnb.exports.subject import Part

__all__ = ["WRITERS", "csv", "json_array", "json_lines", "parquet"]

_BATCH: Final = 1 << 16  # rows made into text at a time
_TOP: Final = 64 << 20  # bytes of a Parquet row group's plain size


def parquet(part: Part, path: Path) -> int:
    """zstd-compressed, what repeats dictionary-encoded; units and completeness in the metadata. Returns the rows."""
    table = part.arrow()
    pq.write_table(table, path, compression="zstd")
    return int(table.num_rows)


def csv(part: Part, path: Path) -> int:
    """As RFC 4180 has it, in UTF-8, quoted where need be, with a line of names."""
    table = part.arrow()
    with path.open("wb") as file:
        names = pa.table({name: pa.array([], pa.string()) for name in table.column_names})
        options = pacsv.WriteOptions(quoting_style="needed")
        pacsv.write_csv(names, file, options)
        for batch in table.to_batches(_BATCH):
            columns = [_plain(column) for column in batch.columns]
            made = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
            pacsv.write_csv(
                pa.Table.from_batches([made]),
                file,
                pacsv.WriteOptions(include_header=False, quoting_style="needed"),
            )
    return int(table.num_rows)


def json_array(part: Part, path: Path) -> int:
    """One array of objects, a line each."""
    return _json(part, path, "[\n", ",\n", "\n]\n")


def json_lines(part: Part, path: Path) -> int:
    """One object a line."""
    return _json(part, path, "", "\n", "\n")


WRITERS: Final[Mapping[str, Callable[[Part, Path], int]]] = {
    "parquet": parquet,
    "csv": csv,
    "json": json_array,
    "jsonl": json_lines,
}


def _json(part: Part, path: Path, before: str, between: str, after: str) -> int:
    table = part.arrow()
    with path.open("wb") as file:
        file.write(before.encode())
        skipped = len(between)  # nothing stands between the first row and what is before
        for batch in table.to_batches(_BATCH):
            if batch.num_rows:
                file.write(memoryview(_objects(batch, between))[skipped:])
                skipped = 0
        file.write(after.encode() if table.num_rows or before else b"")
    return int(table.num_rows)


def _objects(batch: pa.RecordBatch, between: str) -> pa.Buffer:
    """Each row as an object of JSON, with *between* before it."""
    pieces: list[Any] = [between + "{"]
    for at, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        pieces += [f"{', ' if at else ''}{json.dumps(name, ensure_ascii=False)}: ", _literals(column)]
    if not batch.num_columns:
        return pa.py_buffer(f"{between}{{}}".encode() * batch.num_rows)
    rows = pc.binary_join_element_wise(*pieces, "}", "")
    return rows.buffers()[2][: pc.sum(pc.binary_length(rows)).as_py()]


def _literals(values: pa.Array) -> pa.Array:
    """Each value as JSON."""
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return pc.fill_null(values.cast(pa.string()), "null")
    if pa.types.is_floating(kind):
        finite = pc.if_else(pc.is_finite(values), values, pa.scalar(None, kind))
        return pc.fill_null(finite.cast(pa.string()), "null")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.array(
            [json.dumps(one, ensure_ascii=False, default=_hex) for one in values.to_pylist()], pa.string()
        )
    encoded = _plain(values).cast(pa.string()).dictionary_encode()
    words = pa.array(
        [json.dumps(one, ensure_ascii=False) for one in encoded.dictionary.to_pylist()], pa.string()
    )
    return pc.fill_null(words.take(encoded.indices), "null")


def _plain(values: pa.Array) -> pa.Array:
    """Numbers and truth as they are, all else as text."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.dictionary).take(values.indices)
    if pa.types.is_timestamp(kind):
        text = pc.strftime(values, format="%Y-%m-%dT%H:%M:%S")
        return pc.binary_join_element_wise(text, "Z" if kind.tz else "", "")
    if pa.types.is_duration(kind):
        return values.cast(pa.duration("ns")).cast(pa.int64())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        encoded = values.dictionary_encode()
        words = pa.array([one.hex() for one in encoded.dictionary.to_pylist()], pa.string())
        return words.take(encoded.indices)
    if pa.types.is_nested(kind):
        return pa.array(
            [
                None if one is None else json.dumps(one, ensure_ascii=False, default=_hex)
                for one in values.to_pylist()
            ],
            pa.string(),
        )
    return values


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
