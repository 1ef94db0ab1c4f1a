"""A guest as a system that facts are asked of: its files, its kernel's types, what it offers.

Of a guest that has ended there are no facts: its files are answered for with an OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
import stat
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Self

from bpfnb.btf import Btf
from bpfnb.kernel.system import cpu_list
from bpfnb.vm.channel import GuestGone
from bpfnb.vm.features import offers
from bpfnb.vm.kernels import Kernel
from bpfnb.vm.remote import Buffer, Remote

__all__ = ["GuestPath", "GuestSystem"]

_STATX_BYTES = 256
_GETDENTS64 = 217
_ENTRY = struct.Struct("=QqHB")  # struct linux_dirent64, as far as its name
_ENTRIES, _FOLDERS = 1 << 20, 1 << 16
"""Of a folder and below one: a guest that tells of more is not believed."""
_FOLDER = 4  # DT_DIR
_NEWNET = 0x40000000
_NEXT_ID = {"program": 11, "map": 12, "link": 31}


@contextlib.contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except GuestGone as error:
        raise OSError(errno.ENOTCONN, str(error)) from None


# In the order of $PATH and of the dynamic linker; the guest's own where none that it was given has them.
_PROGRAMS = ("/guest/bin", "/bin", "/sbin", "/usr/bin", "/usr/sbin")
_LIBRARIES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib", "/guest/lib")


class GuestPath(PurePosixPath):
    """A file in a guest, with the methods of :class:`pathlib.Path` that read."""

    remote: Remote

    def at(self, remote: Remote) -> Self:
        self.remote = remote
        return self

    def __truediv__(self, other: object) -> GuestPath:
        return GuestPath(os.path.join(str(self), str(other))).at(self.remote)  # noqa: PTH118

    @property
    def parent(self) -> GuestPath:
        return GuestPath(super().parent).at(self.remote)

    def stat(self) -> os.stat_result:
        """As :meth:`pathlib.Path.stat`, times in whole seconds. Raises OSError."""
        name = Buffer(os.fsencode(self) + b"\0")
        with _asked():
            result = self.remote.libc("statx", -100, name, 0, 0x7FF, Buffer(size=_STATX_BYTES, back=True))
        data = result.buffers[0]
        links, uid, gid, mode = struct.unpack_from("=IIIH", data, 16)
        inode, size = struct.unpack_from("=QQ", data, 32)
        accessed, changed, modified = (struct.unpack_from("=q", data, at)[0] for at in (64, 96, 112))
        device = os.makedev(*struct.unpack_from("=II", data, 136))
        return os.stat_result((mode, inode, device, links, uid, gid, size, accessed, modified, changed))

    def _mode(self) -> int:
        """st_mode, 0 where there is no such file."""
        try:
            return self.stat().st_mode
        except OSError:
            return 0

    def exists(self) -> bool:
        return bool(self._mode())

    def is_dir(self) -> bool:
        return stat.S_ISDIR(self._mode())

    def is_file(self) -> bool:
        return stat.S_ISREG(self._mode())

    def resolve(self) -> GuestPath:
        """Where it leads. Raises OSError."""
        buffer = Buffer(size=4096, back=True)
        with _asked():
            found = self.remote.call("realpath", Buffer(os.fsencode(self) + b"\0"), buffer)
        if not found.value:
            raise OSError(found.errno, os.strerror(found.errno), str(self))
        return GuestPath(os.fsdecode(found.buffers[0].split(b"\0")[0])).at(self.remote)

    def read_bytes(self) -> bytes:
        with _asked():
            return self.remote.read_file(str(self))

    def read_text(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return self.read_bytes().decode(encoding, errors)

    def iterdir(self) -> Iterator[GuestPath]:
        return (self / name for name, _, _ in self.entries())

    def entries(self) -> list[tuple[str, int, bool]]:
        """Name, inode and whether it is a directory, of all that is in it. Raises OSError."""
        found: list[tuple[str, int, bool]] = []
        with _asked():
            fd = self.remote.open(str(self), os.O_DIRECTORY)
            try:
                while True:
                    buffer = Buffer(size=1 << 15, back=True)
                    result = self.remote.libc("syscall", _GETDENTS64, fd, buffer, buffer.size)
                    if not result.value:
                        return found
                    data, at = result.buffers[0], 0
                    while at < result.value:
                        if len(data) - at < _ENTRY.size or len(found) == _ENTRIES:
                            raise self.remote.channel.distrust(f"lists no end of {self}")
                        inode, _, size, kind = _ENTRY.unpack_from(data, at)
                        name = os.fsdecode(data[at + _ENTRY.size : at + size].split(b"\0")[0])
                        if name not in (".", ".."):
                            found.append((name, inode, kind == _FOLDER))
                        at += max(size, _ENTRY.size)
            finally:
                self.remote.close(fd)

    def glob(self, pattern: str) -> Iterator[GuestPath]:
        """As :meth:`pathlib.Path.glob`, without ``**``."""
        first, _, rest = pattern.partition("/")
        try:
            names = [name for name, _, _ in self.entries()] if re.search(r"[*?[]", first) else [first]
        except OSError:
            return
        for name in fnmatch.filter(names, first):
            found = self / name
            if rest:
                yield from found.glob(rest)
            elif found.exists():
                yield found


class GuestSystem:
    """A :class:`bpfnb.kernel.system.OtherSystem`."""

    def __init__(self, remote: Remote, kernel: Kernel) -> None:
        self.remote = remote
        self.kernel = kernel
        self._copying = threading.Lock()
        self._inside = threading.RLock()

    @property
    def release(self) -> str:
        return self.kernel.release

    def path(self, name: str) -> GuestPath | Path:
        if name == "/sys/kernel/btf/vmlinux":  # the same is here already
            return self.kernel.btf
        return self.guest_path(name)

    def guest_path(self, name: str) -> GuestPath:
        return GuestPath(name).at(self.remote)

    def open(self, path: str, flags: int = 0) -> int:
        return self.remote.open(path, flags)

    def possible_cpus(self) -> int:
        return self._possible_cpus

    @cached_property
    def _possible_cpus(self) -> int:
        return len(self.cpus("possible"))

    def cpus(self, kind: str) -> list[int]:
        """The CPUs that are ``possible`` or ``online``."""
        text = self.path(f"/sys/devices/system/cpu/{kind}").read_text()
        if not re.fullmatch(r"\d{1,4}(-\d{1,4})?\s*", text):  # before a range of millions is written out
            raise self.remote.channel.distrust(f"has the CPUs {text[:40].strip()}")
        return cpu_list(text)

    def btf(self) -> Btf:
        return self._types

    @cached_property
    def _types(self) -> Btf:
        return Btf(self.kernel.btf.read_bytes())

    def offers(self) -> Mapping[str, bool]:
        return self._offers

    @cached_property
    def _offers(self) -> dict[str, bool]:
        found = offers(self.kernel)
        found["lsm"] &= "bpf" in self.path("/sys/kernel/security/lsm").read_text().split(",")
        return found

    def folders(self, path: str) -> Iterator[tuple[str, int]]:
        """Path and inode of a directory and of all below it."""
        yield path, self.guest_path(path).stat().st_ino
        waiting, found = [path], 1
        while waiting:
            place = self.guest_path(waiting.pop())
            with contextlib.suppress(OSError):  # removed meanwhile
                below = [f"{place}/{name}" for name, _, folder in place.entries() if folder]
                found += len(below)
                if found > _FOLDERS:
                    raise self.remote.channel.distrust(f"lists no end of folders below {path}")
                for name in below:
                    with contextlib.suppress(OSError):
                        yield name, self.guest_path(name).stat().st_ino
                        waiting.append(name)

    def inside(self, namespace: PurePosixPath, read: Callable[[], list[Any]]) -> list[Any]:
        """What *read* gives while that network namespace is the agent's; nothing where it has gone.

        Whatever else is asked of the guest meanwhile is asked there, too: the agent is one thread.
        """
        with self._inside:  # else another's "own" could be the namespace that this one is in
            own = self.remote.open("/proc/self/ns/net")
            try:
                try:
                    other = self.remote.open(str(namespace))
                except FileNotFoundError:
                    return []
                try:
                    self.remote.libc("setns", other, _NEWNET)
                    return read()
                finally:
                    self.remote.libc("setns", own, _NEWNET)
                    self.remote.close(other)
            finally:
                self.remote.close(own)

    def objects(self, kind: str) -> Iterator[int]:
        """A descriptor of each BPF object of a kind; those that vanish meanwhile are left out."""
        number = 0
        while True:
            try:
                _, attr, _ = self.remote.bpf(_NEXT_ID[kind], struct.pack("=III", number, 0, 0))
            except FileNotFoundError:
                return
            after, number = number, int(struct.unpack_from("=I", attr, 4)[0])
            if number <= after:
                raise self.remote.channel.distrust(f"gave the {kind} {number} as the next one after {after}")
            try:
                fd = self.remote.fd_by_id(kind, number)
            except FileNotFoundError:
                continue
            try:
                yield fd
            finally:
                self.remote.close(fd)

    def find_binary(self, name: str, pid: int | None = None) -> GuestPath | None:
        """The file of a program or library by path or name; with *pid*, what that process has mapped comes first."""
        if "/" in name:
            found = GuestPath(name).at(self.remote)
            return found if found.is_file() else None
        for path in self._mapped(pid) if pid and pid > 0 else []:
            if path.name == name or path.name.startswith(f"{name}.so"):
                return path
        for folder in (*_PROGRAMS, *_LIBRARIES, "/root"):
            place = GuestPath(folder).at(self.remote)
            found = place / name
            if found.is_file():
                return found
            if folder in _LIBRARIES and (libraries := sorted(place.glob(f"{name}.so*"))):
                return libraries[0]
        return None

    def _mapped(self, pid: int) -> list[GuestPath]:
        try:
            text = self.path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return []
        names = dict.fromkeys(re.findall(r" r-xp .*?(/.*)$", text, re.MULTILINE))
        return [GuestPath(name).at(self.remote) for name in names]

    def readable(self, path: PurePath, called: str = "") -> Path:
        """A copy of one of its files on this machine, as it is now; removed with the guest. Raises OSError.

        *called*: the file's own name, where that of *path* is not.
        """
        about = GuestPath(path).at(self.remote).stat()
        name = f"{about.st_dev:x}-{about.st_ino}-{about.st_size}-{int(about.st_mtime)}-{called or path.name}"
        target = Path(self._copies.name) / name
        with self._copying:
            if not target.exists():
                with _asked():
                    target.write_bytes(self.remote.read_file(str(path)))
        return target

    @cached_property
    def _copies(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="bpfnb-vm-")

    def close(self) -> None:
        """Remove what was copied."""
        if "_copies" in vars(self):
            self._copies.cleanup()
