"""The sections of a 64-bit little-endian ELF file and the symbols in them, no more than BTF needs.

The format is that of the System V ABI's chapters 4 and 5 (``Elf64_Ehdr``, ``Elf64_Shdr``, ``Elf64_Sym``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np

from bpfnb.errors import BpfnbError

__all__ = ["Section", "read_sections"]

# Name, type, flags, address, offset, size, link, info, alignment, entry size.
_SECTION: Final = np.dtype("<u4,<u4,<u8,<u8,<u8,<u8,<u4,<u4,<u8,<u8")
_SYMBOL: Final = np.dtype("<u4,u1,u1,<u2,<u8,<u8")  # name, info, other, section, value, size
SHT_SYMTAB: Final = 2
SHT_NOBITS: Final = 8


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its bytes (empty for .bss), its ``size`` and the offsets of the ``symbols`` in it."""

    data: bytes
    size: int
    symbols: dict[str, int]


@lru_cache(maxsize=4)  # one load asks for types, programs and variables of the same object
def read_sections(elf: bytes) -> Mapping[str, Section]:
    """All named sections of an ELF file. Raises BpfnbError where it is not 64-bit little-endian ELF."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise BpfnbError("This is not a compiled BPF object: it is no 64-bit little-endian ELF file.")
    start = int.from_bytes(elf[40:48], "little")
    count, names_at = (int.from_bytes(elf[at : at + 2], "little") for at in (60, 62))
    try:
        headers = np.frombuffer(elf, _SECTION, count, start).tolist()
        contents = [b"" if h[1] == SHT_NOBITS else elf[h[4] : h[4] + h[5]] for h in headers]
        symbols: list[dict[str, int]] = [{} for _ in headers]
        for header, content in zip(headers, contents, strict=True):
            if header[1] == SHT_SYMTAB:
                for name, _info, _other, section, value, _size in np.frombuffer(content, _SYMBOL).tolist():
                    if name and section < count:
                        symbols[section][_string(contents[header[6]], name)] = value
        named = [_string(contents[names_at], header[0]) for header in headers]
    except (ValueError, IndexError):
        raise BpfnbError("This ELF file is damaged.") from None
    rows = zip(named, contents, headers, symbols, strict=True)
    return MappingProxyType(
        {name: Section(data, header[5], offsets) for name, data, header, offsets in rows if name}
    )


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode(errors="replace")
