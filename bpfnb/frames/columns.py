"""Columns as people read them: from decoded numbers and bytes to pandas and Arrow.

:mod:`bpfnb.frames.layout` takes kernel bytes apart into columns of plain values. Here they get their names, clocks
and addresses: an enumeration's value its name, a time since boot its date, four bytes their ``10.0.0.1``.
"""

from __future__ import annotations

import errno
import json
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bpfnb.annotations import Annotations
from bpfnb.frames.syscalls import syscall_names

__all__ = [
    "ERRORS",
    "Column",
    "Decoded",
    "clock_offset",
    "ip_text",
    "present",
    "to_arrow",
    "to_pandas",
    "without",
    "without_arrow",
]

Decoded = Mapping[str, Any]
"""Decoded columns by name: numpy arrays of numbers, pyarrow arrays of text, bytes and lists; one length."""

PANDAS_3: Final = int(pd.__version__.split(".")[0]) >= 3
# pandas 3 infers this dtype for text; pandas 2 has the same storage under another name.
TEXT: Final[Any] = pd.StringDtype("pyarrow", na_value=np.nan) if PANDAS_3 else pd.StringDtype("pyarrow")
pd.array([""], dtype=TEXT)  # the first text loads more of pyarrow: now, not while somebody waits for a frame

# Results that the kernel uses inside and user space never sees (include/linux/errno.h).
INTERNAL_ERRORS: Final = {
    512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK", 517: "EPROBE_DEFER", 518: "EOPENSTALE", 519: "ENOPARAM", 524: "ENOTSUPP",
}  # fmt: skip
ERRORS: Final[Mapping[int, str]] = {**errno.errorcode, **INTERNAL_ERRORS}
"""Error number -> name, the kernel's internal ones included."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where a column's values stand in a record, and what they are.

    ``kind`` is ``int``, ``bool``, ``float``, ``enum``, ``pointer``, ``text``, ``bytes`` or ``list``; ``dtype`` is
    NumPy's for the bytes as they stand (``<u8``, ``S16``, ``V6``, ``(100,)<u4``). ``offset`` and ``size`` are
    the bytes that hold it. A bit field has ``bits`` = (first bit, number of bits), from the record's start.
    """

    name: str
    kind: str
    dtype: str
    offset: int
    size: int
    type: str
    annotations: Annotations
    bits: tuple[int, int] | None = None
    values: tuple[tuple[str, int], ...] = ()

    @property
    def moment(self) -> bool:
        """Whether it holds the nanoseconds since boot at which something happened, 0 where nobody said."""
        return self.annotations.format == "timestamp" and self.size == 8 and not self.bits


@cache
def clock_offset() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC in ns: add it to ``bpf_ktime_get_ns()`` to get time since 1970.

    Measured once per process, so that a record's time is the same in every frame: the realtime clock is read between
    two readings of the monotonic one, and the tightest of 64 tries counts (a bracket of well under 1 us).
    """
    tries = []
    for _ in range(64):
        before = time.monotonic_ns()
        now = time.time_ns()
        after = time.monotonic_ns()
        tries.append((after - before, now - (before + after) // 2))
    return min(tries)[1]


def to_pandas(
    columns: Sequence[Column],
    decoded: Decoded,
    *,
    raw: bool = False,
    hidden: bool = False,
    clock: int | None = None,
    copy: bool = True,
) -> pd.DataFrame:
    """A frame; with *copy* it shares no memory with *decoded*: see :meth:`bpfnb.frames.layout.Layout.frame`."""
    shown = _shown(columns, raw or hidden)
    series = {c.name: _series(decoded[c.name] if raw else present(c, decoded[c.name], clock)) for c in shown}
    rows = len(next(iter(decoded.values()), ()))
    frame = pd.DataFrame(series, index=pd.RangeIndex(rows), copy=copy)  # one copy, into blocks of one dtype
    frame.attrs["bpfnb_columns"] = {c.name: stated for c in shown if (stated := c.annotations.to_dict())}
    return frame


def to_arrow(
    columns: Sequence[Column],
    decoded: Decoded,
    *,
    raw: bool = False,
    hidden: bool = False,
    clock: int | None = None,
) -> Any:
    """The same columns as a pyarrow.RecordBatch; numbers share memory with *decoded*."""
    fields, arrays = [], []
    for column in _shown(columns, raw or hidden):
        values = decoded[column.name] if raw else present(column, decoded[column.name], clock)
        array = pa.array(values) if isinstance(values, np.ndarray) else values
        if isinstance(values, np.ndarray) and values.dtype.kind == "M":
            array = array.cast(pa.timestamp("ns", "UTC"))
        stated = column.annotations.to_dict()
        meta = {key: text if isinstance(text, str) else json.dumps(text) for key, text in stated.items()}
        fields.append(pa.field(column.name, array.type, metadata=meta or None))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def without(frame: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    """*frame* with no values in the columns *names*; numbers that have none are floats."""
    for name in frame.columns.intersection(list(names)):
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):  # booleans too
            frame[name] = np.full(len(frame), np.nan)
        else:
            frame[name] = column.where(np.zeros(len(frame), bool))
    return frame


def without_arrow(table: pa.Table, names: Collection[str]) -> pa.Table:
    """*table* with nulls in the columns *names*."""
    for name in set(names).intersection(table.column_names):
        at = table.column_names.index(name)
        field = table.schema.field(at)
        table = table.set_column(at, field, pa.nulls(len(table), field.type))
    return table


def _shown(columns: Sequence[Column], hidden: bool) -> list[Column]:
    return [column for column in columns if hidden or not column.annotations.hidden]


def _series(values: Any) -> Any:
    """What pandas keeps for a presented column, without a copy where it can."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "M":
            return pd.DatetimeIndex(values).tz_localize("UTC")
        return values
    if isinstance(values, pa.DictionaryArray):
        names = pd.Index(TEXT.__from_arrow__(values.dictionary))
        return pd.Categorical.from_codes(values.indices.to_numpy(), categories=names)
    if pa.types.is_string(values.type):
        return TEXT.__from_arrow__(values)
    return pd.arrays.ArrowExtensionArray(values)


def present(column: Column, values: Any, clock: int | None = None) -> Any:
    """A column's values as people read them: NumPy numbers and times, or pyarrow text and dictionaries."""
    if column.kind == "enum":
        return _named(values, column.values, every=True)
    if column.kind in ("list", "text"):
        return values
    match column.annotations.format:
        case "timestamp" if column.moment:
            dates = values.astype(np.int64) + np.int64(clock_offset() if clock is None else clock)
            dates = dates.view("M8[ns]")
            dates[values == 0] = np.datetime64("NaT")  # a field that the program never set
            return dates
        case "errno":
            return _named(values, _ERRNO, every=False)
        case "signal":
            return _named(values, _SIGNALS, every=False)
        case "syscall":
            return _named(values, _syscalls(), every=False)
        case "port_be" if column.size == 2:
            return values.byteswap()
        case "ipv4" if column.size == 4:
            return _ipv4(values)
        case "ipv6" if column.size == 16:
            return _spelled(values, lambda address: socket.inet_ntop(socket.AF_INET6, address))
        case "ip" if column.size == 16:
            return _spelled(values, ip_text)
        case "mac" if column.size == 6:
            return _spelled(values, lambda address: address.hex(":"))
    return values


_ERRNO: Final = (("0", 0), *((name, sign * number) for number, name in ERRORS.items() for sign in (1, -1)))


_SIGNALS: Final = (("", 0), *((one.name, int(one)) for one in signal.Signals))


@cache
def _syscalls() -> tuple[tuple[str, int], ...]:
    return tuple((name, number) for number, name in syscall_names().items())


@cache
def _dictionary(
    known: tuple[tuple[str, int], ...], dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The values among *known* that *dtype* can hold, and their names; of several names the first declared."""
    limits = np.iinfo(dtype)
    first: dict[int, str] = {}
    for name, value in known:
        if limits.min <= value <= limits.max:
            first.setdefault(value, name)
    return np.array(list(first), dtype), np.array(list(first.values()), object)


def _named(codes: npt.NDArray[Any], known: tuple[tuple[str, int], ...], *, every: bool) -> Any:
    """Codes as a dictionary array of names, unknown ones by their digits.

    With *every*, the dictionary begins with all known names in their order; else it holds only what occurs.
    """
    values, names = _dictionary(known, codes.dtype)
    index = _positions(codes, values)
    unknown = index < 0
    if unknown.any():
        extra, where = np.unique(codes[unknown], return_inverse=True)
        index[unknown] = len(names) + where
        names = np.concatenate([names, extra.astype(str).astype(object)])
    if not every:
        used = np.bincount(index, minlength=len(names)) > 0
        places, names = pd.factorize(names[used])  # one name for both signs of an error
        index = places.astype(np.int32)[(np.cumsum(used) - 1)[index]]
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(names, pa.string()))


def _positions(codes: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Where each code stands in *values*; -1 where it does not."""
    if not len(values):
        return np.full(len(codes), -1, np.int32)
    low, span = values.min(), int(values.max()) - int(values.min()) + 1
    if span <= 1 << 16:  # a table, with one more place for all that is out of range
        table = np.full(span + 1, -1, np.int32)
        unsigned = np.dtype(f"u{codes.dtype.itemsize}")
        table[(values - low).view(unsigned)] = np.arange(len(values))
        distance = (codes - low).view(unsigned)  # wraps round below the lowest
        top = np.array(min(span, np.iinfo(unsigned).max), unsigned)
        positions: npt.NDArray[np.int32] = table[np.minimum(distance, top)]
        return positions
    order = np.argsort(values)
    at = np.minimum(np.searchsorted(values, codes, sorter=order), len(values) - 1)
    found = order[at].astype(np.int32)
    found[values[found] != codes] = -1
    return found


def _ipv4(values: npt.NDArray[Any]) -> Any:
    octets = values.view(np.uint8).reshape(-1, 4)
    digits = pa.array([str(number) for number in range(256)])
    return pc.binary_join_element_wise(*(digits.take(pa.array(octets[:, i])) for i in range(4)), ".")


def ip_text(address: bytes) -> str:
    """An address of either family as it is written: IPv4, which comes as ``::ffff:10.0.0.1``, without the prefix."""
    mapped = address[:12] == bytes(10) + b"\xff\xff"
    return socket.inet_ntop(socket.AF_INET if mapped else socket.AF_INET6, address[12 * mapped :])


def _spelled(values: Any, spell: Any) -> Any:
    """Bytes as text, spelling each distinct value once."""
    encoded = values.dictionary_encode()
    words = pa.array([spell(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return words.take(encoded.indices)
