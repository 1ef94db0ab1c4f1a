"""Parts of a recording's tables as replay takes them, each checked before it is believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bpfnb.errors import BadRecording
from bpfnb.frames.lane import Columns, Lane
from bpfnb.kernel.backend import Bytes2D
from bpfnb.recording.columns import ARRIVED, ROW, from_table

__all__ = ["Piece", "Snapshot", "integers", "number_of", "piece_of", "rows_of_bytes"]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows of one type of a stream, in the order of their arrival.

    ``numbers`` are the rows' numbers in the stream; None where they are ``first``, ``first`` + 1 and so on. ``arrived``
    is when each was drained, in s since 1970. ``columns`` is as :meth:`bpfnb.frames.lane.Lane.decode` makes it.
    """

    first: int
    rows: int
    numbers: npt.NDArray[np.int64] | None
    arrived: npt.NDArray[np.float64]
    columns: Columns


@dataclass(frozen=True, slots=True)
class Snapshot:
    """When the entries of a map were read: from ``time`` to ``until`` (s since 1970), how many there were.

    ``taken`` (ns since 1970) names the entries among :meth:`RecordedObject.entries` that were found; a map that had not
    changed has the ``taken`` of before. Where there were none, they are not there either.
    """

    time: float
    until: float
    entries: int
    taken: int


def piece_of(lane: Lane, table: pa.Table, first: int, clock: int, name: str) -> Piece:
    columns = from_table(lane, table, clock)
    rows = table.num_rows
    numbers = integers(table, ROW, name) if ROW in table.schema.names else None
    if numbers is not None:
        if numbers[0] < 0 or (np.diff(numbers) <= 0).any():
            raise BadRecording(f"{name}: the rows' numbers do not ascend")
        first = int(numbers[0])
        if int(numbers[-1]) - first + 1 == rows:
            numbers = None
    arrived = integers(table, ARRIVED, name) / 1e6 if ARRIVED in table.schema.names else np.zeros(rows)
    return Piece(first, rows, numbers, arrived, columns)


def integers(table: pa.Table, name: str, file: str) -> npt.NDArray[np.int64]:
    """A column of times or numbers, as int64."""
    if name not in table.schema.names:
        raise BadRecording(f"{file} has no column '{name}'")
    column = table.column(name)
    kind = column.type
    if column.null_count or not (pa.types.is_int64(kind) or pa.types.is_timestamp(kind)):
        raise BadRecording(f"the column '{name}' of {file} holds {kind}")
    found: npt.NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    return found


def rows_of_bytes(table: pa.Table, name: str, width: int, file: str) -> Bytes2D:
    if not width:
        return np.zeros((table.num_rows, 0), np.uint8)
    if name not in table.schema.names:
        raise BadRecording(f"{file} has no column '{name}'")
    column = table.column(name)
    if column.type != pa.binary(width) or column.null_count:
        raise BadRecording(f"the column '{name}' of {file} holds {column.type}, not {width} bytes each")
    array = column.combine_chunks()
    array = array if not isinstance(array, pa.ChunkedArray) else pa.concat_arrays(array.chunks)
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    start = array.offset * width
    return data[start : start + len(array) * width].reshape(-1, width)


def number_of(text: bytes, file: str) -> int:
    if not text.isdigit() or len(text) > 18:
        raise BadRecording(f"{file} begins with row {text[:40]!r}")
    return int(text)
