"""vmlinux.h: the running kernel's types as C, written from its BTF by libbpf's own dumper.

The same content as ``bpftool btf dump file /sys/kernel/btf/vmlinux format c``. libbpf's dumper prints through a
callback ``void (*)(void *ctx, const char *format, va_list)``; that is the signature of the C library's ``vfprintf``
with a ``FILE *`` as its context, so no Python runs for a line and the 130,000 lines take a fraction of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from bpfnb.compile.cache import cache_dir, replace
from bpfnb.errors import CompileError, MissingDependency

__all__ = ["KERNEL_BTF", "btf_hash", "vmlinux_h"]

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")

_KEPT = 6  # kernels whose headers stay in the cache: a machine boots few, a disposable-kernel user several

_BEGIN = b"""#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

"""
_END = b"""#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""


def btf_hash(kernel_btf: Path = KERNEL_BTF) -> str:
    """sha256 (hex) of a kernel's BTF; read once for each version of the file.

    Raises CompileError where the kernel has none (CONFIG_DEBUG_INFO_BTF=n).
    """
    try:
        status = kernel_btf.stat()
        return _hash(kernel_btf, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise CompileError(
            f"this kernel's types cannot be read from {kernel_btf}: {error.strerror}",
            hints=[
                "the kernel has to be built with CONFIG_DEBUG_INFO_BTF=y (Debian and Ubuntu kernels since 2020 are)",
                "in a container, mount /sys read-only from the host",
            ],
        ) from None


@functools.lru_cache(maxsize=16)
def _hash(path: Path, size: int, mtime: int) -> str:
    del size, mtime  # part of the key only
    return hashlib.sha256(path.read_bytes()).hexdigest()


def vmlinux_h(kernel_btf: Path = KERNEL_BTF) -> Path:
    """The path of a ``vmlinux.h`` with the types of *kernel_btf*, made on first use and kept by the BTF's hash.

    Raises CompileError where there is no BTF, MissingDependency where there is no libbpf.
    """
    path = cache_dir() / "kernels" / btf_hash(kernel_btf)[:32] / "vmlinux.h"
    if path.exists():
        with contextlib.suppress(OSError):
            os.utime(path.parent)
        return path
    with replace(path) as temporary:
        _dump(kernel_btf, temporary)
    _forget_old(path.parent.parent)
    return path


def _forget_old(folder: Path) -> None:
    with contextlib.suppress(OSError):
        kernels = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for old in kernels[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def _dump(kernel_btf: Path, target: Path) -> None:
    libbpf, libc = _libraries()
    btf = libbpf.btf__parse_raw(os.fsencode(kernel_btf))
    if _failed(libbpf, btf):
        raise CompileError(f"libbpf cannot parse the BTF in {kernel_btf}: {_why()}")
    try:
        stream = libc.fopen(os.fsencode(target), b"w")
        if not stream:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))
        try:
            libc.fwrite(_BEGIN, 1, len(_BEGIN), stream)
            _dump_types(libbpf, libc, btf, stream)
            libc.fwrite(_END, 1, len(_END), stream)
        finally:
            if libc.fclose(stream):
                raise OSError(errno.ENOSPC, "cannot write the kernel's types", str(target))
    finally:
        libbpf.btf__free(btf)
    # libbpf before 1.2 writes a function that takes nothing as `()`, which in C says nothing about its arguments.
    target.write_bytes(target.read_bytes().replace(b"()", b"(void)"))


def _dump_types(libbpf: ctypes.CDLL, libc: ctypes.CDLL, btf: int, stream: int) -> None:
    dump = libbpf.btf_dump__new(btf, ctypes.cast(libc.vfprintf, ctypes.c_void_p), stream, None)
    if _failed(libbpf, dump):
        raise CompileError(f"libbpf cannot write the kernel's types as C: {_why()}")
    try:
        dump_type = libbpf.btf_dump__dump_type
        for number in range(1, libbpf.btf__type_cnt(btf)):
            if dump_type(dump, number):
                raise CompileError(f"libbpf cannot write the kernel's type {number} as C: {_why()}")
    finally:
        libbpf.btf_dump__free(dump)


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    try:
        libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise MissingDependency(
            "libbpf 1.0 or newer is not installed", hints=["apt install libbpf1"]
        ) from error
    libc = ctypes.CDLL(None, use_errno=True)
    pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    signatures: tuple[tuple[Any, Any, list[Any]], ...] = (
        (libbpf.btf__parse_raw, pointer, [ctypes.c_char_p]),
        (libbpf.btf__free, None, [pointer]),
        (libbpf.btf__type_cnt, ctypes.c_uint, [pointer]),
        (libbpf.btf_dump__new, pointer, [pointer, pointer, pointer, pointer]),
        (libbpf.btf_dump__dump_type, integer, [pointer, ctypes.c_uint]),
        (libbpf.btf_dump__free, None, [pointer]),
        (libbpf.libbpf_get_error, ctypes.c_long, [pointer]),
        (libc.fopen, pointer, [ctypes.c_char_p, ctypes.c_char_p]),
        (libc.fwrite, size, [ctypes.c_char_p, size, size, pointer]),
        (libc.fclose, integer, [pointer]),
    )
    for function, returns, takes in signatures:
        function.restype = returns
        function.argtypes = takes
    return libbpf, libc


def _failed(libbpf: ctypes.CDLL, pointer: int | None) -> bool:
    return not pointer or bool(libbpf.libbpf_get_error(pointer))


def _why() -> str:
    return os.strerror(ctypes.get_errno()) if ctypes.get_errno() else "unknown reason"
