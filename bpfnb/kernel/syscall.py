"""bpf(2) by hand: the commands that maps, links and statistics need, on plain descriptors.

Each function is one system call. Failures raise ``OSError`` with the kernel's errno. The layouts are those of
``union bpf_attr`` in the Linux UAPI header ``linux/bpf.h``. ctypes releases the interpreter's lock during a call.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from bpfnb.kernel.backend import Bytes2D

__all__ = [
    "ENOTSUPP",
    "OBJ_LINK",
    "OBJ_MAP",
    "OBJ_PROGRAM",
    "RemoteFd",
    "bpf",
    "buffer_address",
    "close",
    "dup",
    "enable_stats",
    "fd_by_id",
    "info",
    "iter_create",
    "libc",
    "link_create",
    "link_update",
    "map_contains",
    "map_delete",
    "map_lookup",
    "map_lookup_and_delete",
    "map_lookup_batch",
    "map_memory",
    "map_next_key",
    "map_update",
    "next_id",
    "open_beside",
    "perf_event_open",
    "pidfd_open",
    "prog_attach",
    "prog_detach",
    "prog_test_run",
    "raw_tracepoint_open",
    "read_all",
    "unmap_memory",
]

ENOTSUPP = 524
"""The kernel's own "not supported", which has no name in user space."""

libc = ctypes.CDLL(None, use_errno=True)

_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361}
_syscall = libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)
_number = _NUMBER.get(platform.machine(), 280)

_PERF_NUMBER = {"x86_64": 298, "s390x": 331, "ppc64le": 319}.get(platform.machine(), 241)
_PERF_CLOEXEC = 8
_perf_event_open = ctypes.CDLL(None, use_errno=True).syscall
_perf_event_open.restype = ctypes.c_long
_perf_event_open.argtypes = (
    ctypes.c_long,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_ulong,
)

_ELEM = struct.Struct("=I4xQQQ")
_BATCH = struct.Struct("=QQQQIIQQ")

OBJ_PROGRAM, OBJ_MAP, OBJ_LINK = "program", "map", "link"
_GET_NEXT_ID = {OBJ_PROGRAM: 11, OBJ_MAP: 12, OBJ_LINK: 31}
_GET_FD_BY_ID = {OBJ_PROGRAM: 13, OBJ_MAP: 14, OBJ_LINK: 30}


class RemoteFd(int):
    """A descriptor in another kernel. ``kernel`` has methods of the names of this module's functions, and the
    functions that are given such a descriptor first are carried out there.
    """

    kernel: Any

    def __new__(cls, number: int, kernel: Any) -> Self:
        made = super().__new__(cls, number)
        made.kernel = kernel
        return made


_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


def _where_it_is(
    function: Callable[Concatenate[int, _Args], _Result],
) -> Callable[Concatenate[int, _Args], _Result]:
    name = function.__name__

    @functools.wraps(function)
    def call(fd: int, /, *args: _Args.args, **options: _Args.kwargs) -> _Result:
        if isinstance(fd, RemoteFd):
            result: _Result = getattr(fd.kernel, name)(fd, *args, **options)
            return result
        return function(fd, *args, **options)

    return call


@_where_it_is
def close(fd: int) -> None:
    os.close(fd)


@_where_it_is
def read(fd: int, size: int) -> bytes:
    return os.read(fd, size)


@_where_it_is
def read_all(fd: int) -> bytes:
    """Everything from the descriptor's position to its end."""
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


@_where_it_is
def dup(fd: int) -> int:
    return os.dup(fd)


def bpf(command: int, attr: bytes | bytearray) -> tuple[int, bytes]:
    """The result of ``bpf(command, attr)`` and *attr* as the kernel left it."""
    buffer = ctypes.create_string_buffer(bytes(attr), len(attr))
    result = _syscall(_number, command, ctypes.addressof(buffer), len(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def buffer_address(data: bytes | bytearray) -> tuple[int, object]:
    """The address of a copy of *data*, and what keeps it alive. Address 0 for no data."""
    if not data:
        return 0, None
    buffer = ctypes.create_string_buffer(bytes(data), len(data))
    return ctypes.addressof(buffer), buffer


libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

# Maps


def map_memory(fd: int, size: int, *, writable: bool) -> int:
    """The address at which the memory of an mmapable array is mapped, shared with the kernel. Linux 5.5."""
    address: int = libc.mmap(None, size, 3 if writable else 1, 1, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return address


def unmap_memory(address: int, size: int) -> None:
    libc.munmap(address, size)


@_where_it_is
def map_lookup(fd: int, key: bytes, size: int, flags: int = 0) -> bytes | None:
    """The value of *key* (*size* bytes), or None where the map has no such key."""
    return _value(1, fd, key, size, flags)


@_where_it_is
def map_lookup_and_delete(fd: int, key: bytes, size: int) -> bytes | None:
    return _value(21, fd, key, size, 0)


def _value(command: int, fd: int, key: bytes, size: int, flags: int) -> bytes | None:
    address, keep = buffer_address(key)
    value = ctypes.create_string_buffer(size)
    try:
        bpf(command, _ELEM.pack(fd, address, ctypes.addressof(value), flags))
    except FileNotFoundError:
        return None
    del keep
    return value.raw


@_where_it_is
def map_update(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    key_at, keep = buffer_address(key)
    value_at, keep2 = buffer_address(value)
    bpf(2, _ELEM.pack(fd, key_at, value_at, flags))
    del keep, keep2


@_where_it_is
def map_delete(fd: int, key: bytes) -> bool:
    address, keep = buffer_address(key)
    try:
        bpf(3, _ELEM.pack(fd, address, 0, 0))
    except FileNotFoundError:
        return False
    del keep
    return True


@_where_it_is
def map_contains(fd: int, value: bytes) -> bool:
    """Whether a bloom filter may hold *value*: its look-up reads the value instead of writing it."""
    address, keep = buffer_address(value)
    try:
        bpf(1, _ELEM.pack(fd, 0, address, 0))
    except FileNotFoundError:
        return False
    del keep
    return True


@_where_it_is
def pidfd_open(fd: int, pid: int) -> int:
    """A descriptor of a process in the kernel that *fd* is of."""
    del fd
    return os.pidfd_open(pid)


@_where_it_is
def open_beside(fd: int, path: bytes) -> int:
    """A descriptor of a file in the system that *fd* is of."""
    del fd
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@_where_it_is
def map_next_key(fd: int, key: bytes | None, size: int) -> bytes | None:
    """The key after *key*, the first for None; None at the end. A deleted *key* starts again at the first."""
    address, keep = buffer_address(key or b"")
    out = ctypes.create_string_buffer(size)
    try:
        bpf(4, _ELEM.pack(fd, address, ctypes.addressof(out), 0))
    except FileNotFoundError:
        return None
    del keep
    return out.raw


@_where_it_is
def map_lookup_batch(
    fd: int, token: Bytes2D, started: bool, keys: Bytes2D, values: Bytes2D
) -> tuple[int, int]:
    """BPF_MAP_LOOKUP_BATCH: (entries written, errno; 0 when more may follow). Linux 5.6.

    *keys* and *values* have a contiguous row for each entry that may come, of the size of the map's. *token* (max(8,
    key_size) bytes) is where the next call goes on; it is not looked at before *started*.
    """
    place = token.ctypes.data
    attr = ctypes.create_string_buffer(
        _BATCH.pack(
            place if started else 0, place, keys.ctypes.data, values.ctypes.data, len(keys), fd, 0, 0
        ),
        _BATCH.size,
    )
    result = _syscall(_number, 24, ctypes.addressof(attr), _BATCH.size)
    code = ctypes.get_errno() if result < 0 else 0
    return int.from_bytes(attr.raw[32:36], "little"), code


# Objects by descriptor and by id


@_where_it_is
def info(fd: int, size: int = 256) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: the kernel's ``struct bpf_{prog,map,link}_info``, zero-filled to *size*. Linux 4.13."""
    out = ctypes.create_string_buffer(size)
    bpf(15, struct.pack("=IIQ", fd, size, ctypes.addressof(out)))
    return out.raw


def next_id(kind: str, after: int) -> int | None:
    """The smallest id above *after* of a program, map or link; None at the end. Needs CAP_SYS_ADMIN."""
    try:
        _, attr = bpf(_GET_NEXT_ID[kind], struct.pack("=III", after, 0, 0))
    except FileNotFoundError:
        return None
    return int(struct.unpack_from("=I", attr, 4)[0])


def fd_by_id(kind: str, number: int) -> int:
    """A descriptor of the object with that id; FileNotFoundError when it is gone."""
    return bpf(_GET_FD_BY_ID[kind], struct.pack("=III", number, 0, 0))[0]


# Links and attachment


@_where_it_is
def link_create(
    prog_fd: int,
    target: int,
    attach_type: int,
    flags: int = 0,
    extra: bytes = b"",
    pointers: Sequence[tuple[int, bytes]] = (),
) -> int:
    """BPF_LINK_CREATE; *extra* is the part of the attribute that depends on the type, with the addresses of
    *pointers*, each (offset in *extra*, bytes). Linux 5.7.
    """
    attr = bytearray(struct.pack("=IIII", prog_fd, target, attach_type, flags) + extra.ljust(48, b"\0"))
    kept = []
    for offset, data in pointers:
        address, keep = buffer_address(data)
        kept.append(keep)
        struct.pack_into("=Q", attr, 16 + offset, address)
    return bpf(28, attr)[0]


def raw_tracepoint_open(prog_fd: int, name: bytes | None) -> int:
    """A link of a raw tracepoint; without *name* of what a tracing or lsm program was loaded for. Linux 4.17."""
    address, keep = buffer_address(name + b"\0" if name is not None else b"")
    try:
        return bpf(17, struct.pack("=QI4x", address, prog_fd))[0]
    finally:
        del keep


def perf_event_open(attr: bytes, pid: int, cpu: int) -> int:
    """perf_event_open(2) of a ``struct perf_event_attr``; the descriptor closes on exec."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    fd: int = _perf_event_open(_PERF_NUMBER, ctypes.addressof(buffer), pid, cpu, -1, _PERF_CLOEXEC)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


@_where_it_is
def link_update(link_fd: int, new_prog_fd: int) -> None:
    """BPF_LINK_UPDATE: another program takes the place of the link's, without a gap. Linux 5.7."""
    bpf(29, struct.pack("=IIII", link_fd, new_prog_fd, 0, 0))


@_where_it_is
def prog_attach(prog_fd: int, target: int, attach_type: int, flags: int = 0) -> None:
    bpf(8, struct.pack("=IIIII", target, prog_fd, attach_type, flags, 0))


@_where_it_is
def prog_detach(prog_fd: int, target: int, attach_type: int) -> None:
    bpf(9, struct.pack("=IIIII", target, prog_fd, attach_type, 0, 0))


@_where_it_is
def iter_create(link_fd: int) -> int:
    """A descriptor whose reading runs the iterator of an ``iter`` link. Linux 5.8."""
    return bpf(33, struct.pack("=II", link_fd, 0))[0]


def enable_stats() -> int:
    """A descriptor that keeps the kernel's run statistics on until it is closed. Linux 5.8, CAP_SYS_ADMIN."""
    return bpf(32, struct.pack("=I", 0))[0]


@_where_it_is
def prog_test_run(
    prog_fd: int, data: bytes, out_size: int, ctx: bytes, repeat: int, flags: int, cpu: int
) -> tuple[int, bytes, bytes, int]:
    """BPF_PROG_TEST_RUN: (return value, data out, context as the program left it, mean duration in ns)."""
    data_at, keep = buffer_address(data)
    context = ctypes.create_string_buffer(ctx, max(len(ctx), 1))
    out = ctypes.create_string_buffer(max(out_size, 1))
    context_at, out_at = (ctypes.addressof(context) if ctx else 0), (ctypes.addressof(out) if out_size else 0)
    # prog, retval, data sizes; data; repeat, duration, context sizes; contexts; flags, cpu, batch size
    attr = struct.pack(
        "=IIIIQQIIIIQQIII4x",
        *(prog_fd, 0, len(data), out_size, data_at, out_at),
        *(repeat, 0, len(ctx), 0, context_at, 0, flags, cpu, 0),
    )
    _, back = bpf(10, attr)
    del keep
    retval, _, written, _, _, _, duration = struct.unpack_from("=IIIQQII", back, 4)
    return retval, out.raw[:written] if out_size else b"", context.raw[: len(ctx)], duration
