"""The files behind mappings, each read once for all processes, with the separate debug files that belong to them."""

from __future__ import annotations

import os
import stat
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from bpfnb.symbols.demangle import demangle
from bpfnb.symbols.elf import Elf
from bpfnb.symbols.maps import Mapping
from bpfnb.symbols.table import Table

__all__ = ["DEBUG", "Binaries", "Binary"]

DEBUG = ("/usr/lib/debug",)
"""Where distributions put separate debug files."""

_KEPT = 512  # files; a machine's processes share most of theirs

Key = tuple[int, int, int, int]


class OpenFile:
    """A descriptor that ends with the object."""

    def __init__(self, path: str | Path) -> None:
        """Raises OSError where *path* is no regular file, or cannot be opened."""
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.about = os.fstat(self.number)
        if not stat.S_ISREG(self.about.st_mode):
            self.close()
            raise OSError(f"{path} is no regular file")

    @property
    def key(self) -> Key:
        about = self.about
        return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size

    @property
    def unchanged(self) -> bool:
        """Whether it is, to all appearances, what it was when it was opened."""
        now = os.fstat(self.number)
        return (now.st_mtime_ns, now.st_size) == self.key[2:]

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    def __del__(self) -> None:
        if hasattr(self, "number"):
            self.close()


class Binary:
    """One ELF file. It stays open, so that one that was deleted can still be read."""

    def __init__(self, elf: Elf, file: OpenFile | None = None, debug: Iterable[Path] = ()) -> None:
        """*debug* are files that may be the separate debug file, the likely ones first; looked at when needed."""
        self.elf = elf
        self.file = file
        self._candidates = debug
        self._lock = threading.Lock()

    @cached_property
    def _debug(self) -> tuple[Elf, OpenFile] | None:
        for path in self._candidates:
            try:
                file = OpenFile(path)
                elf = Elf(file.number)
            except (OSError, ValueError):
                continue
            if self._belongs(elf, file):
                return elf, file
        return None

    def _belongs(self, elf: Elf, file: OpenFile) -> bool:
        if self.elf.build_id and elf.build_id:
            return self.elf.build_id == elf.build_id
        link = self.elf.debug_link
        return link is not None and _checksum(file) == link[1]

    @cached_property
    def _functions(self) -> Table:
        pieces = self.elf.functions()
        if not self.elf.has_symbols and self._debug is not None:
            pieces = [*self._debug[0].functions(), *pieces]
        return Table(pieces)

    @property
    def functions(self) -> Table:
        """Its functions, read when first asked for."""
        with self._lock:
            return self._functions

    @property
    def lines(self) -> OpenFile | None:
        """The open file that holds its DWARF; None where none is found."""
        with self._lock:
            if self.elf.has_lines:
                return self.file
            return self._debug[1] if self._debug is not None and self._debug[0].has_lines else None

    def names(self, addresses: npt.NDArray[np.uint64]) -> list[tuple[str, int] | None]:
        """(demangled name, bytes from its start) of the function at each address as the file was linked."""
        table = self.functions
        at = table.find(addresses)
        names = {number: demangle(table.name(number)) for number in np.unique(at[at >= 0]).tolist()}
        starts = table.starts[at] if len(table) else addresses
        return [
            (names[number], address - start) if number >= 0 else None
            for number, address, start in zip(at.tolist(), addresses.tolist(), starts.tolist(), strict=True)
        ]


class Binaries:
    """Open binaries by what they are: a file by device, inode, size and change, copies of one by their build id."""

    def __init__(self, debug: Sequence[str | Path] = DEBUG) -> None:
        self._folders = [Path(folder) for folder in debug]
        self._known: OrderedDict[Key, Binary | None] = OrderedDict()
        self._built: OrderedDict[tuple[str, int], Binary] = OrderedDict()
        self._mapped: WeakValueDictionary[tuple[str, int], Binary] = WeakValueDictionary()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def nbytes(self) -> int:
        """Memory of the tables that were read, in bytes."""
        read = {id(b): b for b in [*self._built.values(), *self._known.values()] if b is not None}
        return sum(b.functions.nbytes for b in read.values() if "_functions" in vars(b))

    def of(self, pid: int, mapping: Mapping) -> Binary | None:
        """The binary behind one mapping of a process; None where it is no ELF file.

        Raises OSError where the file cannot be had: it was deleted, is out of reach, or may not be read.
        """
        place = mapping.device, mapping.inode
        seen = self._mapped.get(place)
        if seen is not None and seen.file is not None and seen.file.unchanged:
            return seen
        file = _opened(pid, mapping)
        with self._lock:
            if file.key not in self._known:
                self._known[file.key] = self._read(file, pid, mapping.path)
            self._known.move_to_end(file.key)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            found = self._known[file.key]
            if found is not None and found.file is file and _told_apart(file, mapping):
                self._mapped[place] = found  # while it is open, the inode is no other file's
            return found

    def vdso(self) -> Binary | None:
        """The kernel's page of functions in every process."""
        return _own_vdso()

    def at(self, path: str | Path) -> Binary | None:
        """The binary that is the file *path*, with what :attr:`Binary.lines` finds; None where it is no ELF file.

        Raises OSError where it cannot be read.
        """
        return self._read(OpenFile(path), os.getpid(), str(Path(path).resolve()))

    def _read(self, file: OpenFile, pid: int, path: str) -> Binary | None:
        try:
            elf = Elf(file.number)
        except (ValueError, OSError):
            return None
        if elf.build_id is None:
            return Binary(elf, file, self._debug_files(elf, pid, path))
        key = elf.build_id, file.about.st_size  # which tells a stripped one from others
        if key not in self._built:
            self._built[key] = Binary(elf, file, self._debug_files(elf, pid, path))
        self._built.move_to_end(key)
        if len(self._built) > _KEPT:
            self._built.popitem(last=False)
        return self._built[key]

    def _debug_files(self, elf: Elf, pid: int, path: str) -> Iterator[Path]:
        roots = [Path("/"), Path(f"/proc/{pid}/root")]
        if elf.build_id is not None:
            inside = Path(".build-id", elf.build_id[:2], f"{elf.build_id[2:]}.debug")
            yield from (root / str(f).lstrip("/") / inside for root in roots for f in self._folders)
            cache = os.environ.get("DEBUGINFOD_CACHE_PATH") or Path.home() / ".cache/debuginfod_client"
            yield Path(cache, elf.build_id, "debuginfo")
        if elf.debug_link is not None:
            name, folder = elf.debug_link[0], Path(path).parent
            near = [folder / name, folder / ".debug" / name]
            near += [global_ / str(folder).lstrip("/") / name for global_ in self._folders]
            yield from (root / str(one).lstrip("/") for root in reversed(roots) for one in near)


def _opened(pid: int, mapping: Mapping) -> OpenFile:
    """The very file that is mapped: also when it was deleted, or is in another mount namespace.

    /proc/PID/map_files leads to it (with CAP_CHECKPOINT_RESTORE, Linux 5.9, or CAP_SYS_ADMIN, 4.3). Paths serve others,
    as long as the inode there is the mapped one.
    """
    try:
        return OpenFile(f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}")
    except OSError as error:
        first = error
    for path in (f"/proc/{pid}/root{mapping.path}", f"/proc/{pid}/exe", mapping.path):
        try:
            file = OpenFile(path)
        except OSError:
            continue
        if file.about.st_ino == mapping.inode:
            return file
    raise first


def _told_apart(file: OpenFile, mapping: Mapping) -> bool:
    """Whether device and inode of /proc/PID/maps are the file's own.

    btrfs and overlayfs number inodes by subvolume or layer, each with a device of its own, of which that file tells
    nothing.
    """
    major, minor = (int(number, 16) for number in mapping.device.split(":"))
    return (os.makedev(major, minor), mapping.inode) == (file.about.st_dev, file.about.st_ino)


def _checksum(file: OpenFile) -> int:
    crc, at = 0, 0
    while block := os.pread(file.number, 1 << 20, at):
        crc = zlib.crc32(block, crc)
        at += len(block)
    return crc


@cache
def _own_vdso() -> Binary | None:
    """Read from this process's memory."""
    try:
        line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if "[vdso]" in line)
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            memory.seek(start)
            return Binary(Elf(memory.read(end - start)))
    except (StopIteration, OSError, ValueError):
        return None
