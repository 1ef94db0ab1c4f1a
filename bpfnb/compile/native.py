"""Loops of C for what NumPy needs many passes for: compiled once per machine and version, loaded with ctypes.

The clang which compiles the cells compiles them. Where there is no compiler, or its output cannot be loaded,
:func:`native` is None, and the caller goes the way through NumPy, which is the same but for time.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from pathlib import Path

from bpfnb.compile.cache import cache_dir, replace
from bpfnb.compile.clang import find_clang
from bpfnb.errors import BpfnbError

__all__ = ["native"]

_FLAGS = ("-O3", "-shared", "-fPIC", "-nostdlib", "-fno-strict-aliasing", "-fno-builtin", "-x", "c")
_TYPES = """
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
"""


def native(name: str, source: str) -> ctypes.CDLL | None:
    """*source* as a library, in which ``u8`` to ``u64`` and ``i8`` to ``i64`` are types; or None.

    Calls release the interpreter's lock.
    """
    source = _TYPES + source
    key = hashlib.sha256(f"{platform.machine()}{_FLAGS}{source}".encode()).hexdigest()[:20]
    path = cache_dir() / f"{name}-{key}.so"
    with contextlib.suppress(OSError, BpfnbError, subprocess.SubprocessError):
        if not path.exists():
            _build(path, source)
        return ctypes.CDLL(str(path))
    return None


def _build(path: Path, source: str) -> None:
    clang = find_clang()
    # zig's driver has a linker; like clang's default, "baseline" runs on every machine that shares the cache.
    command = ("cc", "-mcpu=baseline") if clang.path.name == "zig" else clang.args
    with tempfile.TemporaryDirectory() as scratch, replace(path) as out:
        subprocess.run(
            [clang.path, *command, *_FLAGS, "-", "-o", out],
            input=source.encode(),
            capture_output=True,
            check=True,
            timeout=60,
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch},
        )
