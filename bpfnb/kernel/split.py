"""Records of one size to an array a field, in one pass over the buffer and at the speed of memory.

NumPy needs a pass for the headers, one for the copy and one a field. Each pass over a buffer that is larger than the
cache costs about as much as libbpf's whole consumer, so this is a loop of C: thirty lines that the clang which
compiles the cells compiles once per machine and version. Where there is no compiler, or its output cannot be loaded,
:func:`library` is None and records take the way through NumPy, which is the same but for time.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.compile.cache import cache_dir, replace
from bpfnb.compile.clang import find_clang
from bpfnb.errors import BpfnbError

__all__ = ["FieldCells", "library", "split"]

FieldCells = list[npt.NDArray[np.uint8]]
"""For each field its bytes in all records: n times its size of ``uint8``, aligned."""

SOURCE = """
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct field { u64 offset, size; u8 *out; };
enum { BLOCK = 32 }; /* records that stay in the first cache while their fields are copied one by one */

#define COPY(type) \\
    for (u64 i = 0; i < good; i++, from += stride) \\
        ((type *)to)[i] = *(const type *)from

/* Copies records while the word before each says `word`: finished, kept, and of the size in question. */
u64 split(const u8 *at, u64 rows, u64 stride, u32 word, const struct field *fields, u64 count)
{
    for (u64 done = 0; done < rows; at += BLOCK * stride) {
        u64 most = rows - done < BLOCK ? rows - done : BLOCK, good = 0;
        /* Acquire: no payload is read before its header said that it is finished. */
        while (good < most && __atomic_load_n((const u32 *)(at + good * stride), __ATOMIC_ACQUIRE) == word)
            good++;
        for (const struct field *f = fields; f < fields + count; f++) {
            const u8 *from = at + 8 + f->offset;
            u8 *to = f->out + done * f->size;
            if (f->size == 8) COPY(u64);
            else if (f->size == 4) COPY(u32);
            else if (f->size == 2) COPY(u16);
            else
                for (u64 i = 0; i < good; i++, from += stride) {
                    u64 b = 0;
                    for (; b + 8 <= f->size; b += 8, to += 8)
                        __builtin_memcpy(to, from + b, 8);
                    for (; b < f->size; b++)
                        *to++ = from[b];
                }
        }
        done += good;
        if (good < BLOCK)
            return done;
    }
    return rows;
}
"""
_FLAGS = ("-O3", "-shared", "-fPIC", "-nostdlib", "-fno-strict-aliasing", "-fno-builtin", "-x", "c")
_ALIGNED = 64


@cache
def library() -> Any:
    """The compiled loop as ctypes loads it, or None."""
    name = hashlib.sha256(f"{platform.machine()}{_FLAGS}{SOURCE}".encode()).hexdigest()[:20]
    path = cache_dir() / f"split-{name}.so"
    with contextlib.suppress(OSError, BpfnbError, subprocess.SubprocessError):
        if not path.exists():
            _build(path)
        loaded = ctypes.CDLL(str(path))  # its calls release the interpreter's lock
        loaded.split.restype = ctypes.c_uint64
        loaded.split.argtypes = (
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.c_uint64,
            ctypes.c_uint32,
            ctypes.c_void_p,
            ctypes.c_uint64,
        )
        return loaded
    return None


def _build(path: Path) -> None:
    clang = find_clang()
    # zig's driver has a linker; like clang's default, "baseline" runs on every machine that shares the cache.
    command = ("cc", "-mcpu=baseline") if clang.path.name == "zig" else clang.args
    with tempfile.TemporaryDirectory() as scratch, replace(path) as out:
        subprocess.run(
            [clang.path, *command, *_FLAGS, "-", "-o", out],
            input=SOURCE.encode(),
            capture_output=True,
            check=True,
            timeout=60,
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch},
        )


def split(
    data: npt.NDArray[np.uint8], start: int, rows: int, length: int, fields: Sequence[tuple[int, int]]
) -> tuple[int, FieldCells]:
    """Take the fields, (offset, size) each, of at most *rows* ring-buffer records of *length* bytes.

    The first record's header is *start* bytes into *data*. Returns how many were taken: up to the first that is
    busy, discarded or of another size. Needs :func:`library`.
    """
    places = [0]
    for _, size in fields:
        places.append((places[-1] + size * rows + _ALIGNED - 1) & -_ALIGNED)
    # One block for all: from 4 MB on NumPy asks for huge pages, and page faults are what memory costs most here.
    block = np.empty(places[-1], np.uint8)
    to = _address(block)
    plan = array("Q")
    for place, (offset, size) in zip(places, fields, strict=False):
        plan.extend((offset, size, to + place))
    stride = (length + 8 + 7) & ~7
    where, _ = plan.buffer_info()
    got = int(library().split(_address(data) + start, rows, stride, length, where, len(fields)))
    cells = [block[at : at + got * size] for at, (_, size) in zip(places, fields, strict=False)]
    return got, cells if got == rows else [cell.copy() for cell in cells]


def _address(memory: npt.NDArray[np.uint8]) -> int:
    return int(memory.__array_interface__["data"][0])
