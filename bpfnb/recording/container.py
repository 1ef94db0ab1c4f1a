"""The file of a recording as it is written: a zip whose entries are stored, whole after every commit.

A commit writes, in one call, what is new, the entries that are replaced each time (the manifest), a directory of all
entries and its end. The next one begins where those replaced entries stood: so a file grows by what is new, and
whoever opens it between two commits sees a complete zip. Where a commit was cut short, the entries before it and the
whole ones of it can be found by their own headers: see :mod:`bpfnb.recording.archive`.

Format: PKWARE's APPNOTE.TXT 6.3.9; entries beyond 4 GiB and more than 65,535 of them take Zip64 records.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bpfnb.errors import BpfnbError

__all__ = ["CENTRAL", "END", "LOCAL", "LOCATOR", "ZIP64_END", "Container", "Entry", "folder_of"]

LOCAL: Final = struct.Struct("<4s5H3L2H")
CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
END: Final = struct.Struct("<4s4H2LH")
ZIP64_END: Final = struct.Struct("<4sQ2H2L4Q")
LOCATOR: Final = struct.Struct("<4sLQL")
_UTF8: Final = 1 << 11
_WIDE: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored file: its name, where its local header begins and its bytes begin, how many they are, their CRC-32."""

    name: str
    offset: int
    start: int
    size: int
    crc: int


def folder_of(*names: str) -> str:
    """A path in the file, of names that may hold any character."""
    return "/".join(
        quote(name, safe=" +=,()#@") if name.strip(".") else name.replace(".", "%2E") for name in names
    )


class Container:
    """A zip that grows. One thread at a time. Raises BpfnbError where *path* exists and *overwrite* is not given."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        if path.exists() and not path.is_file():
            what = "a folder: name a file in it" if path.is_dir() else "no file that could be replaced"
            raise BpfnbError(f"{path} is {what}")
        try:
            if overwrite:
                path.unlink(missing_ok=True)  # who reads the old file keeps it
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise BpfnbError(
                f"{path} exists",
                hints=["give overwrite=True (--overwrite) to replace it, or another name"],
            ) from None
        except OSError as error:
            raise BpfnbError(f"{path} cannot be written: {error.strerror}") from error
        when = time.localtime()
        self._stamp = (
            when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec // 2,
            max(0, when.tm_year - 1980) << 9 | when.tm_mon << 5 | when.tm_mday,
        )
        self.entries: dict[str, Entry] = {}
        self._kept = 0  # bytes before the entries that the next commit replaces
        self._new: list[bytes] = []
        self._passing: set[str] = set()  # names of the entries that the next commit replaces
        self.left = 0
        """How many entries are in the file and not in its directory."""
        self.nbytes = 0
        """The file's size after the last commit, and what was added since."""

    def add(self, name: str, data: bytes) -> None:
        """An entry that stays; it reaches the file with the next commit."""
        self._kept += self._put(name, data, self._kept, self._new)
        self.nbytes += len(data)

    def leave(self, name: str) -> None:
        """Take an entry out of the directory. Its bytes stay where they are."""
        del self.entries[name]
        self.left += 1

    def commit(self, replaced: Mapping[str, bytes]) -> None:
        """Write what was added, then *replaced*, which the next commit writes anew."""
        begin = self._kept - sum(map(len, self._new))
        for name in self._passing - replaced.keys():
            del self.entries[name]
        self._passing = set(replaced)
        blocks, at = self._new, self._kept
        for name, data in replaced.items():
            at += self._put(name, data, at, blocks)
        directory = [self._central(entry) for entry in self.entries.values()]
        size = sum(map(len, directory))
        blocks += [*directory, _end(len(directory), size, at)]
        data = b"".join(blocks)
        view, place = memoryview(data), begin
        while view:
            done = os.pwrite(self._fd, view, place)
            view, place = view[done:], place + done
        os.ftruncate(self._fd, begin + len(data))
        self._new = []
        self.nbytes = begin + len(data)

    def close(self, *, sync: bool = False) -> None:
        if self._fd >= 0:
            if sync:
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _put(self, name: str, data: bytes, at: int, blocks: list[bytes]) -> int:
        encoded = name.encode()
        crc = zlib.crc32(data)
        head = LOCAL.pack(b"PK\3\4", 20, _UTF8, 0, *self._stamp, crc, len(data), len(data), len(encoded), 0)
        blocks += [head, encoded, data]
        start = at + len(head) + len(encoded)
        self.entries.pop(name, None)  # the directory keeps the order of the file
        self.entries[name] = Entry(name, at, start, len(data), crc)
        return start + len(data) - at

    def _central(self, entry: Entry) -> bytes:
        name = entry.name.encode()
        wide = struct.pack("<2HQ", 1, 8, entry.offset) if entry.offset >= _WIDE else b""
        head = CENTRAL.pack(
            *(b"PK\1\2", 3 << 8 | 45, 45 if wide else 20, _UTF8, 0, *self._stamp),
            *(entry.crc, entry.size, entry.size, len(name), len(wide), 0, 0, 0),
            *(0o100644 << 16, min(entry.offset, _WIDE)),
        )
        return head + name + wide


def _end(count: int, size: int, offset: int) -> bytes:
    small = END.pack(
        b"PK\5\6", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), min(size, _WIDE), min(offset, _WIDE), 0
    )
    if count < 0xFFFF and offset < _WIDE and size < _WIDE:
        return small
    wide = ZIP64_END.pack(b"PK\6\6", 44, 3 << 8 | 45, 45, 0, 0, count, count, size, offset)
    return wide + LOCATOR.pack(b"PK\6\7", 0, offset + size, 1) + small
