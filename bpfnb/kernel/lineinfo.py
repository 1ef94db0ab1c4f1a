"""From an instruction of a loaded program back to the line and column of its source.

The verifier counts instructions of the program that libbpf put together: the program itself, then each function
it calls, in the order of first call, depth first. The compiler's line table (``.BTF.ext``) counts bytes inside ELF
sections. This module joins the two. Format: Documentation/bpf/btf.rst of Linux, ".BTF.ext" and "line_info".
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

__all__ = ["Line", "LineTable"]

_CALL = 0x85
_LOAD_IMM64 = 0x18
_PSEUDO_CALL = 1  # src_reg of a call to a function of the object
_PSEUDO_FUNC = 4  # src_reg of a load of a function's address (callbacks)
_EXECUTABLE = 0x4


@dataclass(frozen=True, slots=True)
class Line:
    """One record of the line table: ``file`` as the compiler wrote it, ``text`` where it embedded the line."""

    file: str
    line: int
    column: int
    text: str
    function: str


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    section: int
    start: int  # instructions from the section's start
    count: int


class LineTable:
    """The line table of a compiled object. One without (compiled without ``-g``) yields no lines."""

    def __init__(self, elf: bytes) -> None:
        self._functions: dict[tuple[int, int], _Function] = {}
        self._code: dict[int, bytes] = {}
        # (section, instruction) that a relocation changes -> (section, instruction) of its symbol
        self._targets: dict[tuple[int, int], tuple[int, int]] = {}
        self._records: dict[int, list[tuple[int, int, int, int]]] = {}
        self._strings = b""
        try:
            self._read(ELFFile(io.BytesIO(elf)))
        except (ELFError, struct.error):
            self._functions.clear()

    def at(self, program: str, instruction: int) -> Line | None:
        """The source line of what the verifier calls *instruction* while it checks *program*."""
        for function, start in self._layout(program):
            if start <= instruction < start + function.count:
                return self._line(function, instruction - start)
        return None

    def lines(self, program: str) -> list[tuple[int, Line]]:
        """Every record of *program* and its callees as (instruction, line), in program order."""
        out = []
        for function, start in self._layout(program):
            for record in self._records.get(function.section, ()):
                index = record[0] - function.start
                if 0 <= index < function.count:
                    out.append((start + index, self._make(record, function)))
        return out

    def _layout(self, program: str) -> list[tuple[_Function, int]]:
        """The program's functions with their first instruction, as libbpf lays them out."""
        main = next((f for f in self._functions.values() if f.name == program), None)
        if main is None:
            return []
        placed: dict[_Function, int] = {main: 0}
        total = main.count

        def follow(function: _Function) -> None:
            nonlocal total
            code = self._code[function.section]
            for index in range(function.start, function.start + function.count):
                callee = self._callee(function.section, index, code)
                if callee is not None and callee not in placed:
                    placed[callee] = total
                    total += callee.count
                    follow(callee)

        follow(main)
        return list(placed.items())

    def _callee(self, section: int, index: int, code: bytes) -> _Function | None:
        opcode, registers, _offset, imm = struct.unpack_from("<BBhi", code, index * 8)
        pseudo = registers >> 4
        if opcode == _CALL and pseudo == _PSEUDO_CALL:
            where, base = self._targets.get((section, index), (section, index))
            return self._functions.get((where, base + imm + 1))
        if opcode == _LOAD_IMM64 and (section, index) in self._targets:
            where, base = self._targets[section, index]
            return self._functions.get((where, base + imm // 8))
        return None

    def _line(self, function: _Function, offset: int) -> Line | None:
        records = self._records.get(function.section, [])
        at = bisect_right(records, function.start + offset, key=lambda record: record[0]) - 1
        return self._make(records[at], function) if at >= 0 else None

    def _make(self, record: tuple[int, int, int, int], function: _Function) -> Line:
        _, file, text, place = record
        return Line(self._string(file), place >> 10, place & 0x3FF, self._string(text), function.name)

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        return self._strings[offset:end].decode(errors="replace")

    def _read(self, elf: ELFFile) -> None:
        names = {section.name: index for index, section in enumerate(elf.iter_sections())}
        symbols: Any = elf.get_section_by_name(".symtab")
        for index, section in enumerate(elf.iter_sections()):
            if section["sh_flags"] & _EXECUTABLE:
                self._code[index] = section.data()
            if isinstance(section, RelocationSection) and symbols is not None:
                target = section["sh_info"]
                for relocation in section.iter_relocations():
                    symbol = symbols.get_symbol(relocation["r_info_sym"])
                    if isinstance(symbol["st_shndx"], int):
                        key = (target, relocation["r_offset"] // 8)
                        self._targets[key] = (symbol["st_shndx"], symbol["st_value"] // 8)
        for symbol in symbols.iter_symbols() if symbols is not None else ():
            where = symbol["st_shndx"]
            if symbol["st_info"]["type"] == "STT_FUNC" and where in self._code:
                start = symbol["st_value"] // 8
                self._functions[where, start] = _Function(symbol.name, where, start, symbol["st_size"] // 8)
        btf, ext = elf.get_section_by_name(".BTF"), elf.get_section_by_name(".BTF.ext")
        if btf is not None and ext is not None:
            self._read_lines(btf.data(), ext.data(), names)

    def _read_lines(self, btf: bytes, ext: bytes, names: dict[str, int]) -> None:
        header, _, _, strings, length = struct.unpack_from("<IIIII", btf, 4)
        self._strings = btf[header + strings : header + strings + length]
        header, _, _, offset, length = struct.unpack_from("<IIIII", ext, 4)
        at, end = header + offset, header + offset + length
        (record_size,) = struct.unpack_from("<I", ext, at)
        at += 4
        while at < end:
            name, count = struct.unpack_from("<II", ext, at)
            at += 8
            rows = [struct.unpack_from("<IIII", ext, at + i * record_size) for i in range(count)]
            at += count * record_size
            section = names.get(self._string(name), -1)
            self._records[section] = sorted((row[0] // 8, row[1], row[2], row[3]) for row in rows)
