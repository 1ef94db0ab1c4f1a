"""Where headers come from, and the precompiled header that makes them cost nothing.

vmlinux.h and libbpf's four headers are 3 MB of C. Precompiled once for each kernel, compiler and set of options, a
cell that uses them compiles in tens of milliseconds. Each header guards itself, so that a later ``#include`` of one
is free.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bpfnb.compile.cache import cache_dir, identity, replace, trim
from bpfnb.compile.clang import Clang, system_includes, target_arch
from bpfnb.compile.source import Source
from bpfnb.compile.vmlinux import vmlinux_h
from bpfnb.errors import CompileError, MissingDependency

__all__ = [
    "INCLUDE",
    "Headers",
    "base_flags",
    "find_headers",
    "may_use_precompiled",
    "need_libbpf",
    "precompiled",
]

# By name: the folder stands at the top of the repository and is bpfnb.bpf only once installed, which type checkers
# cannot follow.
INCLUDE: Path = importlib.import_module("bpfnb.bpf").INCLUDE

_PCH_BYTES = 160 << 20  # about ten precompiled headers
_LIBBPF = ("bpf_helpers.h", "bpf_helper_defs.h", "bpf_tracing.h", "bpf_core_read.h", "bpf_endian.h")
_PLACES = (Path("/usr/local/include"), Path("/usr/include"))


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers that a compile uses, with an identity that changes when any of them does.

    ``libbpf`` is the directory above ``bpf/bpf_helpers.h``, ``None`` where libbpf's headers are not installed.
    """

    kernel_btf: Path
    vmlinux: Path
    libbpf: Path | None
    identity: str

    @property
    def flags(self) -> list[str]:
        """As system headers: their own warnings are nobody's business."""
        return [f"-isystem{self.vmlinux.parent}", f"-isystem{INCLUDE}"]


def find_headers(kernel_btf: Path) -> Headers:
    """The running kernel's vmlinux.h, libbpf's headers and bpfnb's own."""
    libbpf = next((p for p in _PLACES if _has_libbpf(p)), None)
    parts = [identity(path) for path in _files(libbpf)] if libbpf else ["no libbpf"]
    vmlinux = vmlinux_h(kernel_btf)
    return Headers(kernel_btf, vmlinux, libbpf, _digest(*parts, str(vmlinux.parent.name)))


@functools.cache
def _files(libbpf: Path) -> list[Path]:
    return [*(libbpf / "bpf" / name for name in _LIBBPF), *sorted((INCLUDE / "bpfnb").glob("*.h"))]


def need_libbpf(headers: Headers) -> None:
    """Raise MissingDependency where libbpf's headers are not installed."""
    if headers.libbpf is None:
        raise MissingDependency(
            "libbpf's headers (bpf/bpf_helpers.h ...) are not installed", hints=["apt install libbpf-dev"]
        )


def _has_libbpf(folder: Path) -> bool:
    return (folder / "bpf" / "bpf_helpers.h").is_file()


def base_flags(clang: Clang, cpu: str, macros: tuple[str, ...]) -> list[str]:
    """The options of every compile, those that a precompiled header has to share with its users."""
    flags = ["-target", "bpf", f"-mcpu={cpu}", "-O2", "-g", "-x", "c"]
    # clang before 16 only warns, and the object then fails to load with a message about an unknown symbol.
    flags += ["-Werror=implicit-function-declaration", "-Wno-static-local-in-inline"]
    if clang.version >= (21,):  # BPF_CORE_READ makes variables of the fields' types, const or not
        flags.append("-Wno-default-const-init-var-unsafe")
    # A relative directory keeps the object the same wherever it was compiled.
    flags += ["-fdebug-compilation-dir=.", "-fno-color-diagnostics", "-ferror-limit=50"]
    if (arch := target_arch()) and not any(macro.startswith("__TARGET_ARCH_") for macro in macros):
        flags.append(f"-D__TARGET_ARCH_{arch}")
    for folder in system_includes(clang):
        flags += ["-idirafter", str(folder)]
    return flags


def precompiled(clang: Clang, headers: Headers, flags: list[str]) -> Path | None:
    """The path of a precompiled <bpfnb/kernel.h> for these *flags*; ``None`` where it cannot be made."""
    key = _digest(clang.identity, headers.identity, *flags)
    path = cache_dir() / "pch" / f"{key}.pch"
    if path.exists():
        with contextlib.suppress(OSError):
            os.utime(path)
        return path
    flags = ["c-header" if flag == "c" else flag for flag in flags]
    try:
        with replace(path) as temporary:
            header = str(INCLUDE / "bpfnb" / "kernel.h")
            done = clang.run([*flags, *headers.flags, header, "-o", str(temporary)], cwd=path.parent)
            if done.returncode:
                raise CompileError("the precompiled header does not compile", log=done.stderr)
        trim(path.parent, _PCH_BYTES)
    except (OSError, CompileError):
        return None  # plain compiles work, if slower, and report what is wrong where it matters
    return path


def may_use_precompiled(source: Source, headers: Headers) -> bool:
    """Whether the headers mean for *source* what they meant when they were precompiled.

    No options but warnings; no macro whose name any of the headers mentions; no copy of these headers in the
    source's own directories; and the source starts with them (or with the prelude, which does).
    """
    if headers.libbpf is None or any(not flag.startswith("-W") for flag in source.flags):
        return False
    if not source.takes_prelude and not source.begins_with_vmlinux:
        return False
    folders = [*source.search, *([source.directory] if source.directory else [])]
    if any((folder / "vmlinux.h").exists() or _has_libbpf(folder) for folder in folders):
        return False
    names = {re.split(r"[=(]", macro)[0] for macro in source.macros}
    return not names & _words(headers) if names else True


@functools.lru_cache(maxsize=2)
def _words(headers: Headers) -> frozenset[str]:
    assert headers.libbpf is not None
    paths = [headers.vmlinux, *(headers.libbpf / "bpf" / name for name in _LIBBPF)]
    words: set[str] = set()
    for path in paths:
        words.update(re.findall(r"[A-Za-z_]\w*", path.read_text()))
    return frozenset(words)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
