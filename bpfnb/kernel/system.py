"""Facts of the running system that loading and attaching need: capabilities, mounts, CPUs, cgroups."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

from bpfnb.errors import AttachError, NotPermitted
from bpfnb.kernel.syscall import libc

__all__ = [
    "OtherSystem",
    "capable",
    "cgroup_root",
    "cpu_list",
    "folders",
    "interfaces",
    "known_once",
    "lockdown",
    "meaning",
    "meant",
    "missing_capabilities",
    "mount_bpffs",
    "mount_tracefs",
    "online_cpus",
    "open_fd",
    "path",
    "possible_cpus",
    "readable",
    "release",
    "syscall_function",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_BPFFS_MAGIC = 0xCAFE4A11
_CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}


class OtherSystem(Protocol):
    """A system other than this process's, such as a guest's."""

    @property
    def release(self) -> str: ...

    def path(self, name: str) -> Any:
        """What can be asked as a :class:`pathlib.Path` about a file there."""

    def open(self, path: str, flags: int = 0) -> int: ...

    def possible_cpus(self) -> int: ...

    def btf(self) -> Any:
        """Its kernel's types, a :class:`bpfnb.btf.Btf`."""

    def offers(self) -> Mapping[str, bool]:
        """Kinds of hooks, as :attr:`bpfnb.kernel.features.Features.attach` names them, and whether it has them."""

    def find_binary(self, name: str, pid: int | None = None) -> Any:
        """As :func:`bpfnb.kernel.binaries.find_binary`, there."""

    def readable(self, path: Any) -> Path:
        """Where this process can read one of its files."""

    def folders(self, path: str) -> Iterator[tuple[str, int]]:
        """As :func:`folders`."""

    def inside(self, namespace: Any, read: Callable[[], list[Any]]) -> list[Any]:
        """What *read* gives while that network namespace is the one that is asked; nothing where it has gone."""

    def objects(self, kind: str) -> Iterator[int]:
        """A descriptor of each BPF object of a kind, as :mod:`bpfnb.kernel.ids` names it."""


_meant: ContextVar[OtherSystem | None] = ContextVar("bpfnb_system", default=None)


@contextlib.contextmanager
def meaning(other: OtherSystem | None) -> Iterator[None]:
    """Facts that are asked for within are those of *other* (None: of this process's system)."""
    token = _meant.set(other)
    try:
        yield
    finally:
        _meant.reset(token)


def known_once(find_out: Callable[_P, _T]) -> Callable[_P, _T]:
    """Caches what is found out, for each system that is meant."""
    here: Callable[..., _T] = cache(find_out)
    elsewhere: WeakKeyDictionary[OtherSystem, Callable[..., _T]] = WeakKeyDictionary()

    @wraps(find_out)
    def known(*args: _P.args, **options: _P.kwargs) -> _T:
        other = meant()
        found = here if other is None else elsewhere.setdefault(other, cache(find_out))
        return found(*args, **options)

    return known


def meant() -> OtherSystem | None:
    """The system whose facts are wanted; None for this process's."""
    return _meant.get()


def release() -> str:
    """The kernel's version, as ``uname -r`` has it."""
    other = _meant.get()
    return os.uname().release if other is None else other.release


def readable(file: Path) -> Path:
    """Where this process can read a file of the system that is meant."""
    other = _meant.get()
    return file if other is None else other.readable(file)


def folders(root: Path) -> Iterator[tuple[str, int]]:
    """Path and inode of *root* and of every directory below it."""
    other = _meant.get()
    if other is not None:
        yield from other.folders(str(root))
        return
    for folder, _, _ in os.walk(root):
        with contextlib.suppress(OSError):  # removed meanwhile
            yield folder, os.stat(folder).st_ino  # noqa: PTH116 (thousands of them)


def path(name: str) -> Path:
    """A file of the system that is meant."""
    other = _meant.get()
    if other is None:
        return Path(name)
    found: Path = other.path(name)
    return found


def open_fd(file: Path, flags: int = 0) -> int:
    """A descriptor of a file of the system that is meant."""
    other = _meant.get()
    return (
        os.open(file, flags | os.O_RDONLY | os.O_CLOEXEC) if other is None else other.open(str(file), flags)
    )


_SYSCALLS = {
    "x86_64": "__x64_sys_",
    "aarch64": "__arm64_sys_",
    "s390x": "__s390x_sys_",
    "riscv64": "__riscv_sys_",
}


def syscall_function(name: str) -> str:
    """The kernel's function of a system call, by its name or by its function's on any machine: ``openat``,
    ``sys_openat`` and ``__arm64_sys_openat`` are ``__x64_sys_openat`` on x86-64. Linux 4.17.
    """
    for prefix in ("sys_", *_SYSCALLS.values()):
        name = name.removeprefix(prefix)
    return _SYSCALLS.get(platform.machine(), "sys_") + name


def cpu_list(text: str) -> list[int]:
    """The CPUs of a kernel list such as ``0-3,8``."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def possible_cpus() -> int:
    """How many values the kernel copies for one entry of a per-CPU map."""
    other = _meant.get()
    return _possible_cpus() if other is None else other.possible_cpus()


@cache
def _possible_cpus() -> int:
    return len(cpu_list(Path("/sys/devices/system/cpu/possible").read_text()))


def online_cpus() -> list[int]:
    return cpu_list(path("/sys/devices/system/cpu/online").read_text())


def interfaces() -> dict[int, str]:
    """Network interfaces: names by index."""
    if _meant.get() is None:
        return dict(socket.if_nameindex())
    return {int((entry / "ifindex").read_text()): entry.name for entry in path("/sys/class/net").iterdir()}


def capable(name: str) -> bool:
    """Whether this thread has the capability, one of those that are asked for here."""
    status = Path("/proc/thread-self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) >> _CAPABILITIES[name] & 1)


def missing_capabilities(network: bool = False, tracing: bool = False) -> list[str]:
    """What this thread lacks to load BPF programs. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (Linux 5.8)."""
    if _meant.get() is not None:
        return []
    needed = ["CAP_BPF", *(["CAP_PERFMON"] if tracing else []), *(["CAP_NET_ADMIN"] if network else [])]
    admin = capable("CAP_SYS_ADMIN")
    return [name for name in needed if not capable(name) and not (admin and name != "CAP_NET_ADMIN")]


def lockdown() -> str:
    """The kernel's lockdown mode: "none", "integrity", "confidentiality", or "" where it cannot be read."""
    try:
        text = path("/sys/kernel/security/lockdown").read_text()
    except OSError:
        return ""
    return text[text.find("[") + 1 : text.find("]")]


def _mounts(kind: str) -> list[Path]:
    """Mount points of a file system type, as this process sees them."""
    found = []
    for line in path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] == kind:
            found.append(path(left.split()[4].encode().decode("unicode_escape")))
    return found


def cgroup_root() -> Path:
    """Where cgroup v2 is mounted, in unified and in hybrid layouts. Raises AttachError."""
    mounts = _mounts("cgroup2")
    if not mounts:
        raise AttachError(
            "no cgroup v2 file system is mounted, which cgroup programs attach to",
            hints=["mount one: `mount -t cgroup2 none /sys/fs/cgroup/unified`"],
        )
    return min(mounts, key=lambda place: len(place.parts))


def _mount(kind: str, where: str) -> bool:
    made = libc.mount(kind.encode(), where.encode(), kind.encode(), ctypes.c_ulong(0), None) == 0
    return made or ctypes.get_errno() == 16  # EBUSY: mounted meanwhile


def mount_tracefs() -> Path:
    """Where tracefs is, mounted if need be; libbpf looks up tracepoints there. Raises AttachError."""
    for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        if path(f"{place}/events").is_dir():
            return path(place)
    if _mount("tracefs", "/sys/kernel/tracing") and Path("/sys/kernel/tracing/events").is_dir():
        return Path("/sys/kernel/tracing")
    raise AttachError(
        "tracefs is not mounted, and this process may not mount it; tracepoints are found there",
        hints=["as root: `mount -t tracefs nodev /sys/kernel/tracing`"],
    )


def mount_bpffs(path: Path) -> None:
    """Make *path*'s directory, inside a BPF file system, mounting the usual one if need be. Raises NotPermitted."""
    if _meant.get() is not None:  # a guest has one there
        return
    root = Path("/sys/fs/bpf")
    if path.is_relative_to(root) and not _is_bpffs(root):
        _mount("bpf", str(root))
    existing = next(parent for parent in path.parents if parent.exists())
    if not _is_bpffs(existing):
        raise NotPermitted(
            f"'{path}' is not in a BPF file system, and only there can a map be pinned",
            hints=["pin below /sys/fs/bpf; as root: `mount -t bpf bpf /sys/fs/bpf`"],
        )
    path.parent.mkdir(parents=True, exist_ok=True)


def _is_bpffs(path: Path) -> bool:
    buffer = ctypes.create_string_buffer(256)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return int.from_bytes(buffer.raw[:8], "little") == _BPFFS_MAGIC
