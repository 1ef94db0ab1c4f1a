"""Executables and libraries: where a name's file is, where its functions and USDT probes are.

Formats: ELF (System V ABI), the loader's cache of libraries (ld.so.cache 1.1 of glibc 2.2 and newer), and the notes
``.note.stapsdt`` that systemtap's sys/sdt.h writes.
"""

from __future__ import annotations

import fnmatch
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpfnb.kernel.system import meant

__all__ = ["Binary", "Probe", "Site", "alike", "find_binary"]

_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_FUNC, _IFUNC = 2, 10
_NOBITS = 8  # what a separate debug file leaves out


def find_binary(name: str, pid: int | None = None) -> Path | None:
    """The file that *name* means: a path, a library ("libc", "libssl.so.3"), or a program on the PATH.

    With *pid*, what that process has mapped comes first, and paths are as it sees them (containers). A script on the
    PATH, such as a version manager's shim, is passed over. Where another system is meant, it is one of its files.
    """
    other = meant()
    if other is not None:
        found: Path | None = other.find_binary(name, pid)
        return found
    if "/" in name:
        inside = Path(f"/proc/{pid}/root{name}") if pid and pid > 0 else Path(name)
        return next((path for path in (inside, Path(name)) if _is_file(path)), None)
    if pid and pid > 0:
        for mapped in _mapped_files(pid):
            if _is_named(mapped.name, name):
                inside = Path(f"/proc/{pid}/root{mapped}")
                return inside if _is_file(inside) else mapped
    for library, path in _cached_libraries():
        if _is_named(library, name):
            return path
    for folder in ("/usr/local/lib", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib/ld-musl"):
        for path in sorted(Path(folder).glob(f"{name}.so*")):
            if _is_elf(path):
                return path
    for folder in os.get_exec_path():
        path = Path(folder, name)
        if _is_elf(path) and os.access(path, os.X_OK):
            return path
    own = Path(sys.executable).resolve()
    return own if own.name == name or name in ("python", "python3") else None


def _is_named(file: str, name: str) -> bool:
    """Whether a library's file name is meant by *name*: "libc", "libc.so" and "libc.so.6" mean libc.so.6."""
    return (
        file == name
        or file.startswith((f"{name}.so", f"{name}-"))
        or (".so" in name and file.startswith(f"{name}."))
    )


def _is_file(path: Path) -> bool:
    """Whether there is such a file; what may not be looked at, such as another's root, is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _mapped_files(pid: int) -> list[Path]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return []
    return list(
        dict.fromkeys(Path(line.split(None, 5)[5]) for line in lines if "/" in line and " r-xp " in line)
    )


def _cached_libraries() -> Iterator[tuple[str, Path]]:
    """(soname, file) of the loader's cache, 64-bit ones."""
    try:
        data = Path("/etc/ld.so.cache").read_bytes()
    except OSError:
        return
    start = data.find(b"glibc-ld.so.cache1.1")
    if start < 0:
        return
    count = struct.unpack_from("<I", data, start + 20)[0]
    for index in range(count):
        flags, key, value = struct.unpack_from("<iII", data, start + 48 + 24 * index)
        if flags & 0xFF00 in (0x0300, 0x0A00, 0x1000, 0x0500):  # x86-64, arm64, riscv64 double float, ppc64
            soname, path = (data[start + at : data.index(b"\0", start + at)].decode() for at in (key, value))
            yield soname, Path(path)


@dataclass(frozen=True, slots=True)
class Probe:
    """A USDT probe."""

    provider: str
    name: str


@dataclass(frozen=True, slots=True)
class Site:
    """One place of a USDT probe: the file offset of its instruction, its address as the file was linked, the file
    offset of its semaphore (0: it has none), and where its arguments are, in the assembler's words.
    """

    offset: int
    address: int
    semaphore: int
    arguments: str


def alike(sites: Sequence[Site]) -> bool:
    """Whether all places of a probe keep its arguments in the same way, so that nobody need know which it is."""
    texts = {site.arguments for site in sites}
    return len(sites) == 1 or (len(texts) == 1 and not any("%rip" in text for text in texts))


class Binary:
    """The functions of one ELF file, by file offset as uprobes want them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._data = np.memmap(file, np.uint8, "r")
        if bytes(self._data[:6]) != b"\x7fELF\x02\x01":
            raise ValueError(f"{path} is no 64-bit little-endian ELF file")
        head = bytes(self._data[:64])
        self._segments_at, self._sections_at = struct.unpack_from("<QQ", head, 32)
        self._segment_count, _, self._section_count, self._names_index = struct.unpack_from("<HHHH", head, 56)

    def offset(self, symbol: str) -> int | None:
        """File offset of a function, None where the file has no such symbol."""
        return next((offset for _, offset in self._named(symbol)), None)

    def matching(self, pattern: str) -> dict[str, int]:
        """File offsets of the functions whose names match a shell pattern."""
        if not any(c in pattern for c in "*?["):
            return dict(self._named(pattern))
        names = {name for name in self.functions() if fnmatch.fnmatchcase(name, pattern)}
        return {name: offset for name in sorted(names) if (offset := self.offset(name)) is not None}

    def indirect(self, symbol: str) -> bool:
        """Whether a function is an IFUNC: its code only chooses another, when the program is linked at its start."""
        for symbols, strings in self._tables:
            chosen = symbols[(symbols["info"] & 15) == _IFUNC]
            if any(_text(strings, int(at)) == symbol for at in chosen["name"]):
                return True
        return False

    def addresses(self) -> list[tuple[str, int]]:
        """Name and address, as the file was linked, of every function but IFUNCs, which only choose one."""
        found: dict[tuple[str, int], None] = {}
        for symbols, strings in self._tables:
            functions = symbols[((symbols["info"] & 15) == _FUNC) & (symbols["section"] != 0)]
            pairs = zip(functions["name"].tolist(), functions["value"].tolist(), strict=True)
            found.update(((_text(strings, name), value), None) for name, value in pairs)
        return list(found)

    def functions(self) -> list[str]:
        """The names of all functions."""
        found: dict[str, None] = {}
        for symbols, strings in self._tables:
            functions = symbols[_is_function(symbols)]
            found.update((_text(strings, int(at)), None) for at in functions["name"])
        return list(found)

    def probes(self) -> list[Probe]:
        """The USDT probes of the file."""
        return list(dict.fromkeys(Probe(*texts[:2]) for _, texts in self._probe_notes()))

    def sites(self, provider: str, name: str) -> list[Site]:
        """The places of a USDT probe, in the order of the file's notes; none where it has no such probe."""
        found = []
        for (address, base, semaphore), (*names, arguments) in self._probe_notes():
            if names == [provider, name]:
                # a prelinked file was moved after its notes were written; this section tells by how much
                now = self._sections.get(".stapsdt.base", (0,) * 6)[5]
                moved = now - base if now and base else 0
                address += moved
                counter = self.file_offset(semaphore + moved) if semaphore else 0
                found.append(Site(self.file_offset(address), address, counter, arguments))
        return found

    def address(self, symbol: str) -> int | None:
        """The address of a function or variable as the file was linked, None where it has no such symbol."""
        wanted = symbol.encode() + b"\0"
        for symbols, strings in self._tables:
            at = strings.find(wanted)
            while at >= 0:
                for value in symbols["value"][(symbols["name"] == at) & (symbols["section"] != 0)]:
                    return int(value)
                at = strings.find(wanted, at + 1)
        return None

    def _probe_notes(self) -> Iterator[tuple[tuple[int, int, int], list[str]]]:
        """(address, base, semaphore) and (provider, name, arguments) of each note of a USDT probe."""
        kind, at, size, *_ = self._sections.get(".note.stapsdt", (0, 0, 0))
        if kind == 7:
            for owner, body in _notes(bytes(self._data[at : at + size])):
                if owner == b"stapsdt":
                    yield (
                        struct.unpack_from("<QQQ", body),
                        [text.decode() for text in body[24:].split(b"\0")[:3]],
                    )

    def _named(self, symbol: str) -> Iterator[tuple[str, int]]:
        wanted = symbol.encode() + b"\0"
        for symbols, strings in self._tables:
            functions = symbols[_is_function(symbols)]
            at = strings.find(wanted)
            while at >= 0:  # names share their tails, so any position may be one
                for value in functions["value"][functions["name"] == at]:
                    yield symbol, self.file_offset(int(value))
                at = strings.find(wanted, at + 1)

    def file_offset(self, address: int) -> int:
        """Where in the file the byte is that is at *address* as the file was linked."""
        for index in range(self._segment_count):
            at = self._segments_at + 56 * index
            kind, _, offset, start, _, _, memory = struct.unpack(
                "<IIQQQQQ", self._data[at : at + 48].tobytes()
            )
            if kind == 1 and start <= address < start + memory:
                return address - int(start) + int(offset)
        return address

    @cached_property
    def _sections(self) -> dict[str, tuple[int, int, int, int, int, int]]:
        """name: (type, offset, size, link, index, address)"""
        table = self._data[self._sections_at : self._sections_at + 64 * self._section_count].tobytes()
        rows = [struct.unpack_from("<IIQQQQI", table, 64 * index) for index in range(self._section_count)]
        if not rows:
            return {}
        _, _, _, _, names_at, names_size, _ = rows[self._names_index]
        names = bytes(self._data[names_at : names_at + names_size])
        return {
            _text(names, row[0]): (row[1], row[4], row[5], row[6], index, row[3])
            for index, row in enumerate(rows)
        }

    @cached_property
    def _tables(self) -> list[tuple[npt.NDArray[np.void], bytes]]:
        """The symbol tables with their strings; the dynamic one first, which stripped files keep."""
        by_index = {index: (at, size) for _, at, size, _, index, _ in self._sections.values()}
        tables = []
        for name in (".dynsym", ".symtab"):
            if name in self._sections and self._sections[name][0] != _NOBITS:
                _, at, size, link, *_ = self._sections[name]
                strings_at, strings_size = by_index[link]
                symbols = np.frombuffer(self._data[at : at + size - size % 24].tobytes(), _SYMBOL)
                tables.append((symbols, bytes(self._data[strings_at : strings_at + strings_size])))
        return tables


def _is_function(symbols: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Those defined here: a program that is not position-independent has values of others' functions, too."""
    kind = symbols["info"] & 15
    defined = (symbols["value"] != 0) & (symbols["section"] != 0)
    found: npt.NDArray[np.bool_] = ((kind == _FUNC) | (kind == _IFUNC)) & defined
    return found


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode(errors="replace")


def _notes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 12 <= len(data):
        name_size, body_size, _ = struct.unpack_from("<III", data, at)
        name_at = at + 12
        body_at = name_at + -(-name_size // 4) * 4
        yield data[name_at : name_at + name_size].rstrip(b"\0"), data[body_at : body_at + body_size]
        at = body_at + -(-body_size // 4) * 4
