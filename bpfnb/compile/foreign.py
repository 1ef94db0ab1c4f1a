"""Record types of objects without <bpfnb/count.h>'s marks: from the code itself and from debug information.

A call that sends a record names its buffer by a relocation and, mostly, its size by a constant. Among the variables
of the function (DWARF) the one of that size is the record. Best effort: where the code is less plain the record's
type stays unknown.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from bpfnb.btf import Btf, Composite
from bpfnb.compile.dwarf import Dwarf, Local
from bpfnb.compile.events import Event, event

__all__ = ["events", "functions", "producer"]

# Helper number -> registers of its map and size arguments (enum bpf_func_id).
_SENDERS = {25: (2, 5), 111: (2, 5), 121: (2, 5), 130: (1, 3), 131: (1, 2), 198: (1, 2)}
_CALL, _LOAD, _MOV64, _MOV32, _MOV64_REG, _MOV32_REG = 0x85, 0x18, 0xB7, 0xB4, 0xBF, 0xBC
_INSTRUCTION = np.dtype([("code", "u1"), ("regs", "u1"), ("off", "<i2"), ("imm", "<i4")])
_REACH = 64  # how many instructions before a call its arguments are looked for
_LIKELY = re.compile(r"event|evt|data|msg|message|record|rec\b|info|sample|entry|log", re.I)


@dataclass(frozen=True, slots=True)
class _Send:
    function: str
    map: str
    size: int | None
    reserved: bool  # the record is what a pointer points to, not a variable itself


def events(
    elf: bytes, btf: Btf, kinds: Mapping[str, int], known: Mapping[str, tuple[Event, ...]]
) -> dict[str, tuple[Event, ...]]:
    """*known* with what the code tells about the buffers for which it has nothing."""
    found = {name: list(records) for name, records in known.items()}
    open_maps = {name for name, records in known.items() if not any(record.type_id for record in records)}
    if not open_maps:
        return dict(known)
    functions = _dwarf(elf).functions
    for send in _sends(elf):
        # A buffer that the code names by a parameter can be any; only one leaves no doubt.
        name = send.map if send.map in kinds else next(iter(open_maps)) if len(open_maps) == 1 else ""
        if name in open_maps:
            record = _record(send, functions, btf)
            if record not in found[name]:
                found[name].append(record)
    for records in found.values():
        if any(record.type_id for record in records):
            records[:] = [record for record in records if record.type_id]
    return {name: tuple(records) for name, records in found.items()}


@lru_cache(maxsize=1)  # reading it is slow, and one object asks twice
def _dwarf(elf: bytes) -> Dwarf:
    return Dwarf(elf)


def functions(elf: bytes) -> frozenset[str]:
    """The names of all functions in the symbol table, for objects without BTF."""
    sections = ELFFile(io.BytesIO(elf)).iter_sections()
    tables = (section for section in sections if isinstance(section, SymbolTableSection))
    return frozenset(
        s.name for table in tables for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"
    )


def producer(elf: bytes) -> str:
    """The compiler that made the object, as its debug information names it; empty where it does not."""
    match = re.search(r"clang version [\d.]+|GNU C\S* [\d.]+", _dwarf(elf).producer)
    return match[0].replace(" version", "") if match else ""


def _record(send: _Send, functions: Mapping[str, Sequence[Local]], btf: Btf) -> Event:
    if send.size is None:
        return Event(0, None, "")
    fitting = [
        local
        for local in functions.get(send.function, ())
        if local.size == send.size
        and (local.type.split(" ")[0] in ("struct", "union") or _typedef(local, btf, send))
    ]
    names = {local.type for local in fitting if local.pointer == send.reserved} or {
        local.type for local in fitting
    }
    if not names and not functions:  # stripped: what BTF has of that size
        kinds = ("struct", "union")
        names = {
            f"{kind} {n}" for kind in kinds for n in btf.names(kind) if n and _sized(btf, kind, n, send.size)
        }
        names = {name for name in names if _LIKELY.search(name)}
    if len(names) > 1:
        names = {name for name in names if _LIKELY.search(name)} or names
    if len(names) != 1:
        return Event(0, send.size, "")
    name = names.pop()
    found = btf.get(name)
    return event(btf, found.id, send.size) if found else Event(0, send.size, name)


def _typedef(local: Local, btf: Btf, send: _Send) -> bool:
    if local.size != send.size or not local.type or " " in local.type:
        return False
    found = btf.get(local.type, "typedef")
    # Where BTF lacks the typedef its name alone has to tell it from an integer's.
    return isinstance(btf.resolve(found), Composite) if found else local.size > 8


def _sized(btf: Btf, kind: str, name: str, size: int) -> bool:
    found = btf.get(name, kind)
    return isinstance(found, Composite) and found.size == size


def _sends(elf: bytes) -> Iterator[_Send]:
    """Every call of a helper that sends a record, in the order of the code."""
    try:
        file = ELFFile(io.BytesIO(elf))
        symbols = next((s for s in file.iter_sections() if isinstance(s, SymbolTableSection)), None)
        if symbols is None or file["e_machine"] != "EM_BPF":
            return
        table = list(symbols.iter_symbols())
        maps = next((i for i, s in enumerate(file.iter_sections()) if s.name == ".maps"), -1)
        placed = {s["st_value"]: s.name for s in table if s["st_shndx"] == maps and s.name}
        relocated: dict[int, dict[int, str]] = {}
        for section in file.iter_sections():
            if isinstance(section, RelocationSection):
                names = relocated.setdefault(section["sh_info"], {})
                for relocation in section.iter_relocations():
                    symbol = table[relocation["r_info_sym"]]
                    if symbol["st_shndx"] == maps:
                        names[relocation["r_offset"] // 8] = symbol.name or placed.get(symbol["st_value"], "")
        for index, section in enumerate(file.iter_sections()):
            if section["sh_flags"] & 4 and section["sh_size"]:  # SHF_EXECINSTR
                code = np.frombuffer(section.data(), _INSTRUCTION)
                starts = sorted(
                    (s["st_value"] // 8, s.name)
                    for s in table
                    if s["st_shndx"] == index and s["st_info"]["type"] == "STT_FUNC"
                )
                yield from _calls(code, starts, relocated.get(index, {}))
    except (ELFError, ValueError, KeyError):
        return


def _calls(code: Any, starts: Sequence[tuple[int, str]], maps: Mapping[int, str]) -> Iterator[_Send]:
    for place in np.flatnonzero((code["code"] == _CALL) & (code["regs"] >> 4 == 0)):
        registers = _SENDERS.get(int(code["imm"][place]))
        if registers is None:
            continue
        start, function = max((s for s in starts if s[0] <= place), default=(0, ""))
        where = _value(code, int(place), start, registers[0], maps)
        size = _value(code, int(place), start, registers[1], maps)
        yield _Send(
            function,
            where if isinstance(where, str) else "",
            size if isinstance(size, int) and size else None,
            reserved=int(code["imm"][place]) in (131, 198),
        )


def _value(code: Any, place: int, start: int, register: int, maps: Mapping[int, str]) -> int | str | None:
    """What a register holds before instruction *place*: a constant, a map's name, or None if that is not plain.

    Walks straight back; a branch that joins in between is not seen, which is why this is best effort.
    """
    for at in range(place - 1, max(start - 1, place - _REACH), -1):
        operation, target, origin = (
            int(x) for x in (code["code"][at], code["regs"][at] & 15, code["regs"][at] >> 4)
        )
        if at in maps and target == register:
            return maps[at]
        if operation == _CALL and register <= 5:
            return None
        writes = operation & 7 in (0, 1, 4, 7)  # LD, LDX, ALU, ALU64
        if not writes or target != register or (at - 1 >= start and code["code"][at - 1] == _LOAD):
            continue
        if operation in (_MOV64, _MOV32):
            return int(code["imm"][at])
        if operation in (_MOV64_REG, _MOV32_REG) and not code["off"][at]:
            return _value(code, at, start, origin, maps)
        return None
    return None
