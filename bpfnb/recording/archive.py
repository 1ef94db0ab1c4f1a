"""The file of a recording as it is read: whatever it holds, only what it surely is comes out of here.

The directory at the end is believed where it is consistent: entries stored, within the file, not over each other, no
name twice, none that leaves its folder. Where it is missing or is not, because writing was cut short, the entries are
found by their own headers, one after the other, up to the first that is not whole.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bpfnb.errors import BadRecording
from bpfnb.recording.container import CENTRAL, END, LOCAL, LOCATOR, ZIP64_END, Entry

__all__ = ["MAX_ENTRIES", "MAX_ENTRY", "Archive"]

MAX_ENTRIES: Final = 200_000
MAX_ENTRY: Final = 1 << 30
MAX_NAME: Final = 1024
_WIDE: Final = 0xFFFFFFFF
_STREAMED, _UTF8 = 1 << 3, 1 << 11  # the flags that an entry may have: UTF-8 only
_NOT_ZIP: Final = "give a file that bpfnb.record wrote"


class _Torn(Exception):
    """The directory is not there, or says what cannot be."""


class Archive:
    """The entries of a file, by name. Raises BadRecording; an entry's bytes are compared with its CRC when read.

    *opened* is a descriptor of the file, which is copied: so it is the same file, whatever has its name now.
    """

    def __init__(self, path: Path, opened: int = -1) -> None:
        self.path = path
        self._left: dict[str, Entry] = {}  # what a directory that was read before had, and the file still has
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            self._fd = os.open(path, flags) if opened < 0 else os.dup(opened)
        except OSError as error:
            raise BadRecording(f"{path} cannot be read: {error.strerror}", hints=[_NOT_ZIP]) from None
        try:
            self.size = _plain_size(self._fd, path)
            try:
                self._entries = self._directory()
                self.recovered = False
                """Whether writing was cut short, so that entries were found by their own headers."""
            except _Torn as torn:
                self._entries = self._scan(torn)
                self.recovered = True
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise

    def again(self) -> Archive:
        """The same, opened once more; by its path where this one was closed."""
        return Archive(self.path, self._fd)

    @property
    def entries(self) -> Mapping[str, Entry]:
        return MappingProxyType(self._entries)

    def read(self, name: str, limit: int = MAX_ENTRY) -> bytes:
        """An entry's bytes. BadRecording where there is none of that name, it is longer than *limit*, or damaged."""
        if self._fd < 0:
            raise BadRecording(f"the recording {self.path} was closed")
        data = self._whole(name, limit)
        if data is None and self._again():  # what a flush writes anew has another place when it goes on
            data = self._whole(name, limit)
        if data is None:
            raise BadRecording(f"{name} in {self.path} is damaged", hints=["copy the recording again"])
        return data

    def _whole(self, name: str, limit: int) -> bytes | None:
        """An entry's bytes; None where their sum is wrong."""
        entry = self._entries.get(name) or self._left.get(name)
        if entry is None:
            raise BadRecording(f"{self.path} has no {name}", hints=[_NOT_ZIP])
        if entry.size > limit:
            raise BadRecording(f"{name} in {self.path} has {entry.size:,} bytes; {limit:,} are the most")
        data = self._at(entry.start, entry.size)
        return data if len(data) == entry.size and zlib.crc32(data) == entry.crc else None

    def _again(self) -> bool:
        """Read the directory of a file that has changed since; whether it had."""
        before, self.size = self._entries, _plain_size(self._fd, self.path)
        try:
            self._entries = self._directory()
        except _Torn:
            return False
        self._left |= {name: entry for name, entry in before.items() if name not in self._entries}
        return self._entries != before

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _at(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0:
            part = os.pread(self._fd, min(size, 1 << 30), offset)
            if not part:
                break
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # The directory

    def _directory(self) -> dict[str, Entry]:
        count, size, offset = self._end()
        if count > MAX_ENTRIES or size > count * (CENTRAL.size + MAX_NAME + 64):
            raise _Torn(f"{count:,} entries")
        if offset + size > self.size:
            raise _Torn("the directory lies beyond the file's end")
        data = self._at(offset, size)
        found: dict[str, Entry] = {}
        at = 0
        for _ in range(count):
            if at + CENTRAL.size > len(data):
                raise _Torn("the directory ends early")
            entry, at = self._central(data, at)
            if entry.name in found:
                raise _Torn(f"'{entry.name}' is there twice")
            found[entry.name] = entry
        end = 0
        for entry in sorted(found.values(), key=lambda one: one.offset):
            if entry.offset < end or entry.start + entry.size > offset:
                raise _Torn(f"'{entry.name}' lies over another entry")
            end = entry.start + entry.size
        return found

    def _end(self) -> tuple[int, int, int]:
        """Number of entries, size and offset of the directory."""
        at = self.size - END.size
        if at < 0:
            raise _Torn("too short")
        mark, disk, first, here, count, size, offset, comment = END.unpack(self._at(at, END.size))
        if mark != b"PK\5\6" or disk or first or here != count or comment:
            raise _Torn("no end of a directory")
        if count == 0xFFFF or size == _WIDE or offset == _WIDE:
            where = at - LOCATOR.size
            locator = self._at(where, LOCATOR.size) if where >= 0 else b""
            if len(locator) != LOCATOR.size or locator[:4] != b"PK\6\7":
                raise _Torn("no Zip64 locator")
            wide = (
                self._at(LOCATOR.unpack(locator)[2], ZIP64_END.size)
                if LOCATOR.unpack(locator)[2] < at
                else b""
            )
            if len(wide) != ZIP64_END.size or wide[:4] != b"PK\6\6":
                raise _Torn("no Zip64 end")
            *_, count, size, offset = ZIP64_END.unpack(wide)
        return count, size, offset

    def _central(self, data: bytes, at: int) -> tuple[Entry, int]:
        (mark, _, _, flags, method, _, _, crc, packed, size, names, extras, comments, disk, _, _, offset) = (
            CENTRAL.unpack_from(data, at)
        )
        end = at + CENTRAL.size + names + extras + comments
        if mark != b"PK\1\2" or end > len(data) or disk:
            raise _Torn("no directory")
        name = self._name(data[at + CENTRAL.size : at + CENTRAL.size + names])
        extra = data[at + CENTRAL.size + names : at + CENTRAL.size + names + extras]
        if offset == _WIDE and extra[:4] == struct.pack("<2H", 1, 8) and len(extra) >= 12:
            (offset,) = struct.unpack_from("<Q", extra, 4)
        if method or packed != size or flags & ~_UTF8:
            raise BadRecording(
                f"'{name}' in {self.path} is compressed or encrypted; a recording's entries are stored",
                hints=["pack the files again with zip -0"],
            )
        head = self._at(offset, LOCAL.size) if offset < self.size else b""
        if len(head) != LOCAL.size or head[:4] != b"PK\3\4":
            raise _Torn(f"'{name}' has no header")
        *_, own, more = LOCAL.unpack(head)
        start = offset + LOCAL.size + own + more
        if (
            own != names
            or self._at(offset + LOCAL.size, own) != data[at + CENTRAL.size : at + CENTRAL.size + names]
        ):
            raise _Torn(f"'{name}' has another name in its header")
        return Entry(name, offset, start, size, crc), end

    def _name(self, encoded: bytes) -> str:
        """BadRecording for a name that no recording has: it might lead somewhere else where it is unpacked."""
        try:
            name = encoded.decode()
        except UnicodeDecodeError:
            name = ""
        parts = name.split("/")
        bad = len(encoded) > MAX_NAME or "\\" in name or not name.isprintable()
        if bad or any(part in ("", ".", "..") for part in parts):
            raise BadRecording(f"{self.path} has an entry named {encoded[:80]!r}", hints=[_NOT_ZIP])
        return name

    # Without a directory

    def _scan(self, torn: _Torn) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        at = 0
        while len(found) < MAX_ENTRIES:
            head = self._at(at, LOCAL.size)
            if len(head) < LOCAL.size or head[:4] != b"PK\3\4":
                break
            _, _, flags, method, _, _, crc, packed, size, names, extras = LOCAL.unpack(head)
            start = at + LOCAL.size + names + extras
            if flags & ~_UTF8 or method or packed != size or size > MAX_ENTRY or start + size > self.size:
                break
            name = self._name(self._at(at + LOCAL.size, names))
            if zlib.crc32(self._at(start, size)) != crc:
                break
            found[name] = Entry(name, at, start, size, crc)  # of several manifests the last
            at = start + size
        if not found:
            what = "is empty" if not self.size else f"is no recording: {torn}"
            raise BadRecording(f"{self.path} {what}", hints=[_NOT_ZIP])
        return found


def _plain_size(fd: int, path: Path) -> int:
    import stat

    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise BadRecording(f"{path} is no file", hints=[_NOT_ZIP])
    return status.st_size
