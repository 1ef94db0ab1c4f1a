"""What BPF objects the kernel holds, of every process: programs, maps and links by id, with the kernel's own facts."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bpfnb.kernel import syscall
from bpfnb.kernel.backend import MapInfo, ProgramStats
from bpfnb.kernel.maps import info_of
from bpfnb.kernel.names import LINK_TYPES, PROGRAM_TYPES, name_of
from bpfnb.kernel.system import meant

__all__ = [
    "KernelLink",
    "KernelProgram",
    "exists",
    "links",
    "maps",
    "program_of",
    "programs",
    "wait_gone",
]


@dataclass(frozen=True, slots=True)
class KernelProgram:
    """``struct bpf_prog_info``. Sizes in bytes; ``name`` is the kernel's, cut after 15 characters."""

    id: int
    name: str
    kind: str
    stats: ProgramStats
    xlated_size: int
    jited_size: int
    verified_instructions: int  # Linux 5.16
    map_count: int
    uid: int
    loaded_ns: int  # CLOCK_BOOTTIME


@dataclass(frozen=True, slots=True)
class KernelLink:
    """``struct bpf_link_info``: which program is attached by which mechanism."""

    id: int
    kind: str
    program: int


def program_of(fd: int) -> KernelProgram:
    """What the kernel knows of the program behind a descriptor."""
    data = syscall.info(fd)
    kind, number = struct.unpack_from("=II", data, 0)
    jited, xlated = struct.unpack_from("=II", data, 16)
    loaded, uid, maps_used = struct.unpack_from("=QII", data, 40)
    run_time, run_count, misses, verified = struct.unpack_from("=QQQI", data, 192)
    return KernelProgram(
        id=number,
        name=data[64:80].split(b"\0")[0].decode(errors="replace"),
        kind=name_of(PROGRAM_TYPES, kind),
        stats=ProgramStats(run_count, run_time, misses),
        xlated_size=xlated,
        jited_size=jited,
        verified_instructions=verified,
        map_count=maps_used,
        uid=uid,
        loaded_ns=loaded,
    )


def link_of(fd: int) -> KernelLink:
    kind, number, program = struct.unpack_from("=III", syscall.info(fd))
    return KernelLink(number, name_of(LINK_TYPES, kind), program)


def _each(kind: str) -> Iterator[int]:
    """A descriptor of each object of a kind, of the system that is meant; those that vanish meanwhile are left out."""
    other = meant()
    if other is not None:
        yield from other.objects(kind)
        return
    number: int | None = 0
    while (number := syscall.next_id(kind, number or 0)) is not None:
        try:
            fd = syscall.fd_by_id(kind, number)
        except FileNotFoundError:
            continue
        try:
            yield fd
        finally:
            os.close(fd)


def programs() -> list[KernelProgram]:
    """Every program in the kernel. Needs CAP_SYS_ADMIN (PermissionError)."""
    return [program_of(fd) for fd in _each(syscall.OBJ_PROGRAM)]


def maps() -> list[MapInfo]:
    """Every map in the kernel; their ``fd`` is -1. Needs CAP_SYS_ADMIN."""
    from dataclasses import replace

    return [replace(info_of(fd), fd=-1) for fd in _each(syscall.OBJ_MAP)]


def links() -> list[KernelLink]:
    """Every link in the kernel. Needs CAP_SYS_ADMIN."""
    return [link_of(fd) for fd in _each(syscall.OBJ_LINK)]


def exists(kind: str, number: int) -> bool:
    """Whether a program, map or link with that id is still in the kernel."""
    try:
        os.close(syscall.fd_by_id(kind, number))
    except FileNotFoundError:
        return False
    return True


def wait_gone(kind: str, numbers: list[int], timeout: float = 5.0) -> list[int]:
    """Those of *numbers* that are still there after *timeout* seconds: freeing waits for an RCU period."""
    import time

    deadline = time.monotonic() + timeout
    left = [n for n in numbers if exists(kind, n)]
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = [n for n in left if exists(kind, n)]
    return left
