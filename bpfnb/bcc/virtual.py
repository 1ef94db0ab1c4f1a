"""bcc's own headers, as they stand in its library: they are compiled into every program, so their names count."""

from __future__ import annotations

import functools
import mmap
from pathlib import Path

from bpfnb.bcc.find import module
from bpfnb.compile.cache import identity

__all__ = ["identity_of_library", "library", "own_headers"]

# A header is a zero-terminated string of libbcc's read-only data, known by its guard.
_GUARDS = {
    "bcc/bpf.h": b"#ifndef _UAPI__LINUX_BPF_H__",
    "bcc/helpers.h": b"#ifndef __BPF_HELPERS_H",
    "bcc/proto.h": b"#ifndef __BCC_PROTO_H",
}


@functools.cache
def library() -> Path:
    """The libbcc that this process has loaded. Raises MissingDependency where bcc is not installed."""
    module()
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line[line.find("/") :] if "/" in line else ""
        if "/libbcc.so" in path:
            return Path(path.removesuffix(" (deleted)"))
    raise RuntimeError("libbcc is not loaded")


def identity_of_library() -> str:
    return identity(library())


def own_headers() -> dict[str, str]:
    """``{"bcc/bpf.h": text, ...}``; a header that this version of bcc does not have is absent."""
    return _read(identity_of_library())


@functools.lru_cache(maxsize=1)
def _read(_identity: str) -> dict[str, str]:
    found = {}
    with library().open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name, guard in _GUARDS.items():
            at = data.find(guard)
            if at >= 0:
                start, end = data.rfind(b"\0", 0, at) + 1, data.find(b"\0", at)
                found[name] = data[start:end].decode(errors="replace")
    return found
