"""Small programs, maps and attachments that are made and dropped at once, to learn what a kernel allows.

A kernel's version says little: distributions leave things out, lockdown and containers forbid others. So each thing
is done once, on something harmless: functions that nothing else calls, this process, a cgroup and a network
namespace made for the purpose. A trial returns nothing and raises ``OSError`` where the kernel refuses, or
:class:`UntriedError` where it could not be asked.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator

import numpy as np

from bpfnb.btf import Btf
from bpfnb.errors import BpfnbError
from bpfnb.kernel import syscall
from bpfnb.kernel.names import ATTACH_TYPES, MAP_TYPES, PROGRAM_TYPES

__all__ = [
    "TRACED",
    "UntriedError",
    "any_program",
    "batch",
    "btf_id_of",
    "decl_tags",
    "program",
    "statistics",
    "try_helper",
    "try_map",
    "try_program",
]

_SLEEPABLE = 1 << 4
_CALL = 0x85


class UntriedError(Exception):
    """The question could not be put to the kernel (no tracefs, no network namespace ...)."""


def _return(value: int) -> bytes:
    return struct.pack("<BBhi", 0xB7, 0, 0, value) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@contextlib.contextmanager
def program(
    kind: str,
    attach: str = "",
    *,
    btf_id: int = 0,
    value: int = 0,
    flags: int = 0,
    code: bytes = b"",
    log: bytearray | None = None,
) -> Iterator[int]:
    """A loaded program that returns *value*, or runs *code*, as a descriptor. BPF_PROG_LOAD."""
    code = code or _return(value)
    code_at, keep = syscall.buffer_address(code)
    licence_at, keep_too = syscall.buffer_address(b"GPL\0")
    text = (ctypes.c_char * len(log)).from_buffer(log) if log is not None else None
    attr = struct.pack(
        "=IIQQIIQII16sIIIIQIIQIIII",
        PROGRAM_TYPES.index(kind),
        len(code) // 8,
        code_at,
        licence_at,
        1 if text is not None else 0,
        len(log) if log is not None else 0,
        ctypes.addressof(text) if text is not None else 0,
        0,
        flags,
        b"bpfnb_trial",
        0,
        ATTACH_TYPES.index(attach) if attach else 0,
        *(0,) * 7,
        btf_id,
        0,
        0,
    )
    fd, _ = syscall.bpf(5, attr)
    del keep, keep_too, text
    try:
        yield fd
    finally:
        os.close(fd)


def btf_id_of(name: str, kind: str) -> int:
    try:
        found = Btf.kernel().get(name, kind)
    except BpfnbError as error:
        raise UntriedError(error.message) from None
    if found is None:
        raise OSError(errno.ENOENT, f"this kernel's types have no {kind} {name}")
    return found.id


# Program types.

_PROGRAM_ATTACH = {
    "cgroup_sock_addr": "cgroup_inet4_connect",
    "cgroup_sockopt": "cgroup_getsockopt",
    "sk_lookup": "sk_lookup",
    "netfilter": "netfilter",
    "sk_reuseport": "sk_reuseport_select",
}
TRACED = "sched_process_exec"


def try_program(kind: str) -> None:
    if kind == "ext":
        _try_ext()
        return
    with any_program(kind):
        pass


@contextlib.contextmanager
def any_program(kind: str, code: bytes = b"", log: bytearray | None = None) -> Iterator[int]:
    """A minimal program of *kind*."""
    btf_id, attach, flags = 0, _PROGRAM_ATTACH.get(kind, ""), 0
    if kind == "tracing":
        btf_id, attach = btf_id_of(f"btf_trace_{TRACED}", "typedef"), "trace_raw_tp"
    elif kind == "lsm":
        btf_id, attach = btf_id_of("bpf_lsm_quota_on", "func"), "lsm_mac"
    elif kind == "struct_ops":
        btf_id = btf_id_of("tcp_congestion_ops", "struct")
    elif kind == "syscall":
        flags = _SLEEPABLE
    value = 1 if kind in ("netfilter", "sk_lookup") else 0
    with program(kind, attach, btf_id=btf_id, value=value, flags=flags, code=code, log=log) as fd:
        yield fd


def _try_ext() -> None:
    """Extensions need a program to extend; the kernel that knows them complains of its absence."""
    log = bytearray(4096)
    try:
        with program("ext", btf_id=1, log=log):
            pass
    except OSError:
        if b"Cannot replace kernel functions" not in log:
            raise


def try_helper(kind: str, number: int) -> bool:
    """Whether helper *number* may be called from programs of *kind*, by the verifier's answer to a call of it."""
    log = bytearray(65536)
    code = struct.pack("<BBhi", _CALL, 0, 0, number) + _return(0)
    try:
        with any_program(kind, code, log):
            return True
    except OSError:
        text = bytes(log)
    refused = (b"unknown func", b"cannot use helper", b"invalid func ", b"not allowed", b"might sleep")
    return bool(text.strip(b"\0")) and not any(words in text for words in refused)


# Map types.

_PAGE = mmap.PAGESIZE
# Key size, value size, max_entries, flags, where they are not 4, 4, 1, 0.
_MAPS = {
    "stack_trace": (4, 8 * 127, 1, 0),
    "lpm_trie": (8, 8, 1, 1),
    "cgroup_storage": (16, 8, 0, 0),
    "percpu_cgroup_storage": (16, 8, 0, 0),
    "queue": (0, 8, 1, 0),
    "stack": (0, 8, 1, 0),
    "ringbuf": (0, 0, _PAGE, 0),
    "user_ringbuf": (0, 0, _PAGE, 0),
    "bloom_filter": (0, 8, 1, 0),
    "arena": (0, 0, 1, 1 << 10),
    "insn_array": (4, 16, 1, 0),
    **dict.fromkeys(("sk_storage", "inode_storage", "task_storage", "cgrp_storage"), (4, 4, 0, 1)),
}


def try_map(kind: str) -> None:
    with bpf_map(kind):
        pass


@contextlib.contextmanager
def bpf_map(kind: str) -> Iterator[int]:
    key, value, entries, flags = _MAPS.get(kind, (4, 4, 1, 0))
    with contextlib.ExitStack() as stack:
        btf, inner, ops = 0, 0, 0
        if kind.endswith("_storage") and "cgroup" not in kind:
            btf = stack.enter_context(_int_btf())
        elif kind.endswith("_of_maps"):
            inner = stack.enter_context(bpf_map("array"))
        elif kind == "struct_ops":
            found = Btf.kernel().get("bpf_struct_ops_tcp_congestion_ops", "struct")
            if found is None:
                raise OSError(
                    errno.ENOENT, "this kernel's types have no struct bpf_struct_ops_tcp_congestion_ops"
                )
            ops, value, btf = found.id, Btf.kernel().size(found), stack.enter_context(_int_btf())
        attr = struct.pack(
            "=IIIIIII16sIIIIIQ",
            *(MAP_TYPES.index(kind), key, value, entries, flags, inner, 0, b"bpfnb_trial", 0, btf),
            *((1, 1) if btf and not ops else (0, 0)),
            ops,
            0,
        )
        fd, _ = syscall.bpf(0, attr)
        try:
            yield fd
        finally:
            os.close(fd)


@contextlib.contextmanager
def _int_btf(tag: bool = False) -> Iterator[int]:
    """BTF of one int, with *tag* also a declaration tag on a typedef of it. BPF_BTF_LOAD."""
    types = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    if tag:
        types += struct.pack("<III", 5, 8 << 24, 1) + struct.pack("<IIIi", 5, 17 << 24, 2, -1)
    strings = b"\0int\0t\0"
    data = (
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings
    )
    address, keep = syscall.buffer_address(data)
    fd, _ = syscall.bpf(18, struct.pack("=QQIII", address, 0, len(data), 0, 0))
    del keep
    try:
        yield fd
    finally:
        os.close(fd)


def batch() -> None:
    with bpf_map("hash") as fd:
        token, key, value = np.zeros((3, 1, 16), np.uint8)
        _, code = syscall.map_lookup_batch(fd, token, False, key, value)
        if code not in (0, errno.ENOENT):
            raise OSError(code, os.strerror(code))


def decl_tags() -> None:
    with _int_btf(tag=True):
        pass


def statistics() -> None:
    os.close(syscall.enable_stats())
