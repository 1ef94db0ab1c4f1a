"""The headers of Parquet's pages, which say how many bytes a page will hold once it is decompressed.

Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), of which
``PageHeader`` (parquet-format's ``parquet.thrift``) needs integers, booleans, bytes and structs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from bpfnb.errors import BadRecording

__all__ = ["Page", "Pages"]

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_DATA, _INDEX, _DICTIONARY, _DATA_V2 = range(4)
_ABOUT = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}  # fields of PageHeader
_MOST = 1 << 16  # bytes of one header: statistics are in it


@dataclass(frozen=True, slots=True)
class Page:
    data: bool
    """Whether it holds rows' values; else it is a dictionary."""
    values: int
    compressed: int
    uncompressed: int


class Pages:
    """The pages between *start* and *end* of a file. Raises BadRecording where they do not fill that place exactly."""

    def __init__(self, data: bytes, start: int, end: int, name: str) -> None:
        self._data = data
        self._at = start
        self._end = end
        self._name = name

    def __iter__(self) -> Iterator[Page]:
        while self._at < self._end:
            self._limit = min(self._end, self._at + _MOST)
            header = self._struct(0)
            kind, full, packed = header.get(1), header.get(2), header.get(3)
            about = header.get(
                {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(kind if isinstance(kind, int) else -1, 0)
            )
            values = about.get(1) if isinstance(about, dict) else None
            if not (isinstance(full, int) and isinstance(packed, int) and isinstance(values, int)):
                self._broken()
            if full < 0 or values < 0 or not 0 <= packed <= self._end - self._at:
                self._broken()
            self._at += packed
            yield Page(kind != _DICTIONARY, values, packed, full)

    def _broken(self) -> NoReturn:
        raise BadRecording(f"{self._name}: the header of a page is damaged")

    def _byte(self) -> int:
        if self._at >= self._limit:
            self._broken()
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
            shift += 7
            if shift > 63:
                self._broken()

    def _int(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)

    def _skip(self, size: int) -> None:
        if size > self._limit - self._at:
            self._broken()
        self._at += size

    def _struct(self, depth: int) -> dict[int, object]:
        if depth > 4:
            self._broken()
        found: dict[int, object] = {}
        number = 0
        while (head := self._byte()) != _STOP:
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._int()
            found[number] = self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> object:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._int()
        if kind == _STRUCT:
            return self._struct(depth + 1)
        if kind == _DOUBLE:
            self._skip(8)
        elif kind == _BINARY:
            self._skip(self._varint())
        else:
            self._broken()
        return None
