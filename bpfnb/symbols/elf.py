"""ELF files for symbols: segments, sections, the notes that lead to separate debug files, tables of functions.

Formats: System V ABI, chapters 4 and 5 ("gABI"); ``NT_GNU_BUILD_ID``, ``.gnu_debuglink`` and ``.gnu_debugdata``
(MiniDebugInfo: a small ELF file, compressed by xz) as GDB's manual describes them under "Separate Debug Files".
"""

from __future__ import annotations

import lzma
import os
import struct
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bpfnb.symbols.table import Piece

__all__ = ["Elf", "Section", "Segment"]

_PT_LOAD, _PT_NOTE, _PF_X = 1, 4, 1
_SHT_NOBITS, _SHF_EXECINSTR, _SHF_COMPRESSED = 8, 4, 0x800
_STT_NOTYPE, _STT_FUNC, _STT_GNU_IFUNC = 0, 2, 10
_NT_GNU_BUILD_ID = 3
_LAST = (1 << 64) - 1
_MOST = 1 << 29  # bytes of one table or of a file inside another: beyond them a file is broken or hostile

_SECTION64, _SECTION32 = struct.Struct("<IIQQQQI"), struct.Struct("<7I")
_SYMBOL64 = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_SYMBOL32 = np.dtype(
    [("name", "<u4"), ("value", "<u4"), ("size", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2")]
)

Words = npt.NDArray[np.uint64]


class Segment(NamedTuple):
    """A PT_LOAD that is executable: *size* bytes at *offset* of the file are at *address* as the file was linked."""

    offset: int
    address: int
    size: int


class Section(NamedTuple):
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


class Elf:
    """One little-endian ELF file of either class: an open *source*, which stays the caller's, or its bytes.

    It is read, not mapped: a mapped file that another truncates would end this process. Raises ValueError for what is
    no such file, OSError where it cannot be read.
    """

    def __init__(self, source: int | bytes) -> None:
        self._source = source
        head = self._read(0, 64)
        if head[:4] != b"\x7fELF" or head[5:6] != b"\x01" or head[4:5] not in (b"\1", b"\2"):
            raise ValueError("no little-endian ELF file")
        self.wide = head[4] == 2
        try:
            self._headers(head)
        except struct.error as error:
            raise ValueError(f"broken ELF file: {error}") from None

    def _headers(self, head: bytes) -> None:
        if self.wide:
            segments_at, sections_at = struct.unpack_from("<QQ", head, 32)
            counts = struct.unpack_from("<HHHHH", head, 54)
        else:
            segments_at, sections_at = struct.unpack_from("<II", head, 28)
            counts = struct.unpack_from("<HHHHH", head, 42)
        segment_size, segment_count, section_size, section_count, names_index = counts
        self.machine: int = struct.unpack_from("<H", head, 18)[0]
        self.segments: list[Segment] = []
        starts: list[int] = []
        self._note_ranges: list[tuple[int, int]] = []
        table = self._read(segments_at, segment_size * segment_count)
        for at in range(0, len(table), segment_size or 1):
            if self.wide:
                kind, flags, offset, address, _, size = struct.unpack_from("<IIQQQQ", table, at)
            else:
                kind, offset, address, _, size, _, flags = struct.unpack_from("<7I", table, at)
            if kind == _PT_LOAD:
                starts.append(address)
            if kind == _PT_LOAD and flags & _PF_X:
                self.segments.append(Segment(offset, address, size))
            elif kind == _PT_NOTE:
                self._note_ranges.append((offset, size))
        self.base = min(starts, default=0)
        """The lowest address of the file as it was linked: 0 for what can be loaded anywhere."""
        self._section_table = sections_at, section_size, section_count, names_index

    @cached_property
    def sections(self) -> list[Section]:
        """Read when first asked for: most files of most processes are never looked into. None where they are broken."""
        at, size, count, names_index = self._section_table
        form, width = (_SECTION64, 8) if self.wide else (_SECTION32, 4)
        try:
            table = self._read(at, size * count)
            rows = [form.unpack_from(table, start) for start in range(0, len(table), size or width)]
        except (struct.error, OSError):
            return []
        names = self._read(rows[names_index][4], rows[names_index][5]) if names_index < len(rows) else b""
        return [Section(_text(names, row[0]), *row[1:]) for row in rows]

    def _read(self, offset: int, size: int) -> bytes:
        if size > _MOST or offset >= 1 << 62:
            return b""
        if isinstance(self._source, bytes):
            return self._source[offset : offset + size]
        out = b""
        while len(out) < size:
            more = os.pread(self._source, size - len(out), offset + len(out))
            if not more:
                break
            out += more
        return out

    def contents(self, name: str) -> bytes | None:
        """The bytes of a section; None where there is none of that name, or it has none (in a separate debug file)."""
        found = self._section(name)
        if found is None or found.kind == _SHT_NOBITS or found.flags & _SHF_COMPRESSED:
            return None
        return self._read(found.offset, found.size)

    def _section(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)

    @cached_property
    def build_id(self) -> str | None:
        """The build id in hex; None where the file has none."""
        segments = (self._read(offset, size) for offset, size in self._note_ranges if size < 1 << 16)
        found = next((found for data in segments if (found := _build_id(data)) is not None), None)
        return found or _build_id(self.contents(".note.gnu.build-id") or b"")

    @cached_property
    def debug_link(self) -> tuple[str, int] | None:
        """Name and CRC-32 of the separate debug file, of ``.gnu_debuglink``."""
        data = self.contents(".gnu_debuglink")
        end = data.find(b"\0") if data else -1
        if data is None or end <= 0 or len(data) < (end + 4 & ~3) + 4:
            return None
        name = data[:end].decode(errors="replace")
        return None if "/" in name else (name, struct.unpack_from("<I", data, end + 4 & ~3)[0])

    @property
    def has_lines(self) -> bool:
        """Whether DWARF of source lines is in this very file."""
        return any(
            section.kind != _SHT_NOBITS
            for section in self.sections
            if section.name in (".debug_info", ".zdebug_info")
        )

    @property
    def has_symbols(self) -> bool:
        """Whether the whole symbol table is in this very file, not only what the dynamic linker needs."""
        return any(s.name == ".symtab" and s.kind != _SHT_NOBITS for s in self.sections)

    def addresses_of(self, offsets: Words) -> Words:
        """The addresses, as the file was linked, of file offsets; 0 for those in no executable segment."""
        out = np.zeros(len(offsets), np.uint64)
        for segment in self.segments:
            into = offsets - np.uint64(segment.offset)
            inside = (offsets >= segment.offset) & (into < segment.size)
            out[inside] = into[inside] + np.uint64(segment.address)
        return out

    def functions(self) -> list[Piece]:
        """The functions of the symbol tables: the whole one, else the dynamic one and that of MiniDebugInfo.

        Stubs that call other files' functions are named ``puts@plt``.
        """
        tables = self._functions(".symtab") or self._functions(".dynsym"), self._stubs()
        out = [piece for piece in tables if piece is not None]
        packed = None if self.has_symbols else self.contents(".gnu_debugdata")
        if packed:
            try:
                plain = lzma.LZMADecompressor(memlimit=1 << 28).decompress(packed, _MOST)
                out += Elf(plain).functions()
            except (lzma.LZMAError, ValueError):
                pass  # what the dynamic linker needs remains
        return out

    def _functions(self, name: str) -> Piece | None:
        table = self._section(name)
        if table is None or table.kind == _SHT_NOBITS or table.link >= len(self.sections):
            return None
        data = self.contents(name) or b""
        form = _SYMBOL64 if self.wide else _SYMBOL32
        symbols = np.frombuffer(data[: len(data) - len(data) % form.itemsize], form)
        link = self.sections[table.link]
        strings = self._read(link.offset, link.size) + b"\0"
        kind, section = symbols["info"] & 15, symbols["section"]
        limits = np.zeros(1 << 16, np.uint64)  # where a section that holds code ends, by its number
        for number, each in enumerate(self.sections[: 1 << 16]):
            if each.flags & _SHF_EXECINSTR:
                limits[number] = min(each.address + each.size, _LAST)
        code = limits[section] > 0
        label = (kind == _STT_NOTYPE) & (symbols["name"] > 0)
        chosen = code & ((kind == _STT_FUNC) | (kind == _STT_GNU_IFUNC) | label)
        chosen &= symbols["name"] < len(strings)
        symbols, kind = symbols[chosen], kind[chosen]
        names = symbols["name"].astype(np.int64)
        letters = np.frombuffer(strings, np.uint8)
        first = letters[names]
        second = letters[np.minimum(names + 1, len(letters) - 1)]
        binding = symbols["info"] >> 4  # 0 local, 1 global, 2 weak, 10 unique
        underscores = (first == ord("_")).astype(np.uint8) * (1 + (second == ord("_")))
        rank = 16 * (kind == _STT_NOTYPE) + 8 * (binding == 0) + 2 * underscores + (binding == 2)
        marks = (kind == _STT_NOTYPE) & (
            (first == ord("$")) | (first == ord("."))
        )  # "$x", ".L1": the assembler's
        keep = ~marks & (first != 0)
        return Piece(
            symbols["value"][keep].astype(np.uint64),
            symbols["size"][keep].astype(np.uint64),
            limits[section[chosen]][keep],
            rank[keep].astype(np.uint8),
            names[keep],
            strings,
        )

    def _stubs(self) -> Piece | None:
        """The procedure linkage table of x86-64 as functions ``name@plt``, which no symbol table has.

        An entry takes 16 bytes; those of ``.plt.sec`` stand in the order of the relocations, as do those of ``.plt``
        behind its first one (System V ABI, AMD64 supplement, 5.2).
        """
        relocations, dynamic = self.contents(".rela.plt"), self.contents(".dynsym")
        section = self._section(".plt.sec") or self._section(".plt")
        names = self.contents(".dynstr")
        if not (relocations and dynamic and section and names) or self.machine != 62 or not self.wide:
            return None
        skip = section.name == ".plt"
        infos = np.frombuffer(relocations[: len(relocations) // 24 * 24], "<u8").reshape(-1, 3)[:, 1] >> 32
        symbols = np.frombuffer(dynamic[: len(dynamic) // 24 * 24], _SYMBOL64)
        infos = infos[: max(section.size // 16 - skip, 0)]
        infos = infos[infos < len(symbols)]
        names += b"\0"
        places = [at if at < len(names) else -1 for at in symbols["name"][infos.astype(np.int64)].tolist()]
        texts = [names[at : names.index(b"\0", at)] + b"@plt\0" for at in places]
        strings = b"".join(texts) + b"\0"
        lengths = [len(text) for text in texts]
        starts = section.address + 16 * (np.arange(len(texts), dtype=np.uint64) + np.uint64(skip))
        return Piece(
            starts.astype(np.uint64),
            np.full(len(texts), 16, np.uint64),
            np.full(len(texts), section.address + section.size, np.uint64),
            np.full(len(texts), 64, np.uint8),
            np.cumsum([0, *lengths[:-1]]) if texts else np.empty(0, np.int64),
            strings,
        )


def _build_id(notes: bytes) -> str | None:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        body = at + 12 + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[at + 12 : at + 16] == b"GNU\0" and 4 <= size <= 64:
            return notes[body : body + size].hex()
        at = body + (size + 3 & ~3)
    return None


def _text(strings: bytes, at: int) -> str:
    end = strings.find(b"\0", at)
    return strings[at : end if end >= 0 else len(strings)].decode(errors="replace")
