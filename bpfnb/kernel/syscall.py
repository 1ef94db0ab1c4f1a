"""bpf(2) by hand: the commands that maps, links and statistics need, on plain descriptors.

Each function is one system call. Failures raise ``OSError`` with the kernel's errno. The layouts are those of
``union bpf_attr`` in the Linux UAPI header ``linux/bpf.h``. ctypes releases the interpreter's lock during a call.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

__all__ = [
    "ENOTSUPP",
    "OBJ_LINK",
    "OBJ_MAP",
    "OBJ_PROGRAM",
    "bpf",
    "buffer_address",
    "enable_stats",
    "fd_by_id",
    "info",
    "iter_create",
    "libc",
    "link_create",
    "link_update",
    "map_delete",
    "map_lookup",
    "map_lookup_and_delete",
    "map_lookup_batch",
    "map_memory",
    "map_next_key",
    "map_update",
    "next_id",
    "prog_attach",
    "prog_detach",
    "prog_test_run",
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

_ELEM = struct.Struct("=I4xQQQ")
_BATCH = struct.Struct("=QQQQIIQQ")

OBJ_PROGRAM, OBJ_MAP, OBJ_LINK = "program", "map", "link"
_GET_NEXT_ID = {OBJ_PROGRAM: 11, OBJ_MAP: 12, OBJ_LINK: 31}
_GET_FD_BY_ID = {OBJ_PROGRAM: 13, OBJ_MAP: 14, OBJ_LINK: 30}


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


def map_lookup(fd: int, key: bytes, size: int, flags: int = 0) -> bytes | None:
    """The value of *key* (*size* bytes), or None where the map has no such key."""
    return _value(1, fd, key, size, flags)


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


def map_update(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    key_at, keep = buffer_address(key)
    value_at, keep2 = buffer_address(value)
    bpf(2, _ELEM.pack(fd, key_at, value_at, flags))
    del keep, keep2


def map_delete(fd: int, key: bytes) -> bool:
    address, keep = buffer_address(key)
    try:
        bpf(3, _ELEM.pack(fd, address, 0, 0))
    except FileNotFoundError:
        return False
    del keep
    return True


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


def map_lookup_batch(
    fd: int, token_in: int, token_out: int, keys: int, values: int, count: int
) -> tuple[int, int]:
    """BPF_MAP_LOOKUP_BATCH at the given addresses: (entries written, errno; 0 when more may follow). Linux 5.6."""
    attr = ctypes.create_string_buffer(
        _BATCH.pack(token_in, token_out, keys, values, count, fd, 0, 0), _BATCH.size
    )
    result = _syscall(_number, 24, ctypes.addressof(attr), _BATCH.size)
    code = ctypes.get_errno() if result < 0 else 0
    return int.from_bytes(attr.raw[32:36], "little"), code


# Objects by descriptor and by id


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


def link_create(prog_fd: int, target: int, attach_type: int, flags: int = 0, extra: bytes = b"") -> int:
    """BPF_LINK_CREATE; *extra* is the part of the attribute that depends on the type. Linux 5.7."""
    return bpf(28, struct.pack("=IIII", prog_fd, target, attach_type, flags) + extra.ljust(48, b"\0"))[0]


def link_update(link_fd: int, new_prog_fd: int) -> None:
    """BPF_LINK_UPDATE: another program takes the place of the link's, without a gap. Linux 5.7."""
    bpf(29, struct.pack("=IIII", link_fd, new_prog_fd, 0, 0))


def prog_attach(prog_fd: int, target: int, attach_type: int, flags: int = 0) -> None:
    bpf(8, struct.pack("=IIIII", target, prog_fd, attach_type, flags, 0))


def prog_detach(prog_fd: int, target: int, attach_type: int) -> None:
    bpf(9, struct.pack("=IIIII", target, prog_fd, attach_type, 0, 0))


def iter_create(link_fd: int) -> int:
    """A descriptor whose reading runs the iterator of an ``iter`` link. Linux 5.8."""
    return bpf(33, struct.pack("=II", link_fd, 0))[0]


def enable_stats() -> int:
    """A descriptor that keeps the kernel's run statistics on until it is closed. Linux 5.8, CAP_SYS_ADMIN."""
    return bpf(32, struct.pack("=I", 0))[0]


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
