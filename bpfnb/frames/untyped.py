"""Keys and values of maps whose types are not in BTF: unsigned numbers of 1, 2, 4 or 8 bytes, other sizes bytes."""

from __future__ import annotations

import sys
from typing import Any, cast

from bpfnb.annotations import NONE
from bpfnb.btf import Btf, Type
from bpfnb.errors import MapTypeError
from bpfnb.frames.columns import Column
from bpfnb.frames.layout import Layout

__all__ = ["Untyped"]


class Untyped(Layout):
    """One column named ``""`` of *size* bytes."""

    def __init__(self, size: int) -> None:
        number = size in (1, 2, 4, 8)
        name = f"u{8 * size}" if number else f"unsigned char[{size}]"
        column = Column(
            "", "int" if number else "bytes", f"u{size}" if number else f"V{size}", 0, size, name, NONE
        )
        super().__init__(cast("Btf", None), cast("Type", None), name, size, (column,) if size else ())

    def encode(self, value: object) -> bytes:
        """*value* as an int (where the size allows one) or as exactly ``size`` bytes."""
        if isinstance(value, bytes | bytearray | memoryview) and len(value) == self.size:
            return bytes(value)
        if isinstance(value, int) and self.columns and self.columns[0].kind == "int":
            if not 0 <= value < 1 << 8 * self.size:
                raise MapTypeError(f"{value} does not fit into {self.name}")
            return int(value).to_bytes(self.size, sys.byteorder)
        raise MapTypeError(
            f"{value!r} is not {self.size} bytes", hints=["the map's BTF does not say its type"]
        )

    def decode_one(self, data: bytes) -> Any:
        if self.columns and self.columns[0].kind == "int":
            return int.from_bytes(data[: self.size], sys.byteorder)
        return bytes(data[: self.size])
