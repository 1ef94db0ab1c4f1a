"""Facts of the running system that loading and attaching need: capabilities, mounts, CPUs, cgroups."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from bpfnb.errors import AttachError, NotPermitted
from bpfnb.kernel.syscall import libc

__all__ = [
    "cgroup_root",
    "cpu_list",
    "lockdown",
    "missing_capabilities",
    "mount_bpffs",
    "mount_tracefs",
    "online_cpus",
    "possible_cpus",
]

_BPFFS_MAGIC = 0xCAFE4A11
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def cpu_list(text: str) -> list[int]:
    """The CPUs of a kernel list such as ``0-3,8``."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


@cache
def possible_cpus() -> int:
    """How many values the kernel copies for one entry of a per-CPU map."""
    return len(cpu_list(Path("/sys/devices/system/cpu/possible").read_text()))


def online_cpus() -> list[int]:
    return cpu_list(Path("/sys/devices/system/cpu/online").read_text())


def missing_capabilities(network: bool = False, tracing: bool = False) -> list[str]:
    """What this thread lacks to load BPF programs. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (Linux 5.8)."""
    status = Path("/proc/thread-self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)

    def has(name: str) -> bool:
        return bool(effective >> _CAPABILITIES[name] & 1)

    needed = ["CAP_BPF", *(["CAP_PERFMON"] if tracing else []), *(["CAP_NET_ADMIN"] if network else [])]
    admin = has("CAP_SYS_ADMIN")
    return [name for name in needed if not has(name) and not (admin and name != "CAP_NET_ADMIN")]


def lockdown() -> str:
    """The kernel's lockdown mode: "none", "integrity", "confidentiality", or "" where it cannot be read."""
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except OSError:
        return ""
    return text[text.find("[") + 1 : text.find("]")]


def _mounts(kind: str) -> list[Path]:
    """Mount points of a file system type, as this process sees them."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] == kind:
            found.append(Path(left.split()[4].encode().decode("unicode_escape")))
    return found


def cgroup_root() -> Path:
    """Where cgroup v2 is mounted, in unified and in hybrid layouts. Raises AttachError."""
    mounts = _mounts("cgroup2")
    if not mounts:
        raise AttachError(
            "no cgroup v2 file system is mounted, which cgroup programs attach to",
            hints=["mount one: `mount -t cgroup2 none /sys/fs/cgroup/unified`"],
        )
    return min(mounts, key=lambda path: len(path.parts))


def _mount(kind: str, where: str) -> bool:
    made = libc.mount(kind.encode(), where.encode(), kind.encode(), ctypes.c_ulong(0), None) == 0
    return made or ctypes.get_errno() == 16  # EBUSY: mounted meanwhile


def mount_tracefs() -> Path:
    """Where tracefs is, mounted if need be; libbpf looks up tracepoints there. Raises AttachError."""
    for path in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        if Path(path, "events").is_dir():
            return Path(path)
    if _mount("tracefs", "/sys/kernel/tracing") and Path("/sys/kernel/tracing/events").is_dir():
        return Path("/sys/kernel/tracing")
    raise AttachError(
        "tracefs is not mounted, and this process may not mount it; tracepoints are found there",
        hints=["as root: `mount -t tracefs nodev /sys/kernel/tracing`"],
    )


def mount_bpffs(path: Path) -> None:
    """Make *path*'s directory, inside a BPF file system, mounting the usual one if need be. Raises NotPermitted."""
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
