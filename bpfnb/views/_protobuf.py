"""Protocol buffers on the wire (protobuf.dev/programming-guides/encoding): numbers are varints, all else bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = ["double", "message", "number", "text", "varints"]


def varints(values: Iterable[int]) -> bytes:
    out = bytearray()
    for value in values:
        rest = value
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A whole number; negative ones as 64 bits of two's complement."""
    return varints([field << 3, value & 0xFFFF_FFFF_FFFF_FFFF])


def double(field: int, value: float) -> bytes:
    return varints([field << 3 | 1]) + struct.pack("<d", value)


def message(field: int, data: bytes) -> bytes:
    return varints([field << 3 | 2, len(data)]) + data


def text(field: int, value: str) -> bytes:
    return message(field, value.encode(errors="replace"))
