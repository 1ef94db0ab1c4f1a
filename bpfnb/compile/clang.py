"""Find a clang that has the BPF back end, and run it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfnb.compile.cache import cache_dir, identity, replace
from bpfnb.errors import MissingDependency

__all__ = ["Clang", "find_clang", "system_includes", "target_arch"]

_OLDEST_PREFERRED = 15  # an older one on the PATH gives way to the ziglang wheel

_ARCHES = {
    "x86_64": "x86",
    "i686": "x86",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "s390x": "s390",
    "ppc64le": "powerpc",
    "ppc64": "powerpc",
    "riscv64": "riscv",
    "loongarch64": "loongarch",
    "mips": "mips",
    "mips64": "mips",
}


@dataclass(frozen=True, slots=True)
class Clang:
    """A compiler: ``path`` with ``args`` before all others, its ``version``, and where it came from.

    ``origin`` is "BPFNB_CLANG", "PATH" or "ziglang".
    """

    path: Path
    args: tuple[str, ...]
    version: tuple[int, ...]
    origin: str

    @property
    def description(self) -> str:
        """For people and for provenance: ``clang 22.1.8 (ziglang)``."""
        return f"clang {'.'.join(map(str, self.version))} ({self.origin})"

    @property
    def identity(self) -> str:
        """Changes when the program does."""
        return " ".join([identity(self.path), *self.args])

    def run(self, args: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run with *args*; never raises for what clang itself reports."""
        return subprocess.run(
            [str(self.path), *self.args, *args],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            # Diagnostics are parsed, so they have to be in English; CPATH and its kin would add include
            # directories that no cache key knows of.
            env={k: v for k, v in os.environ.items() if k not in _HIDDEN} | {"LC_ALL": "C.UTF-8"},
            check=False,
        )


_HIDDEN = {"CPATH", "C_INCLUDE_PATH", "LANGUAGE", "LC_MESSAGES", "CCC_OVERRIDE_OPTIONS", "SOURCE_DATE_EPOCH"}


def find_clang() -> Clang:
    """``$BPFNB_CLANG``, else the newest clang on the PATH, else the one inside the ``ziglang`` wheel.

    One on the PATH that is older than clang 15 gives way to the wheel's. A clang without the BPF target is passed
    over. Raises MissingDependency where none is left.
    """
    if chosen := os.environ.get("BPFNB_CLANG"):
        path = _resolve(chosen)
        clang = _probe(path, _zig_args(path), "BPFNB_CLANG") if path else None
        if clang is None:
            raise MissingDependency(
                f"BPFNB_CLANG names {chosen!r}, which is not a clang that can compile for BPF",
                hints=["unset BPFNB_CLANG to let bpfnb look for one on the PATH", *_REMEDIES],
            )
        return clang
    found = [clang for path in _on_path(os.environ.get("PATH", "")) if (clang := _probe(path, (), "PATH"))]
    best = max(found, key=lambda clang: clang.version, default=None)
    if best is None or best.version < (_OLDEST_PREFERRED,):
        best = _wheel() or best
    if best is None:
        raise MissingDependency("no clang with the BPF target was found", hints=_REMEDIES)
    return best


_REMEDIES = ("pip install ziglang   (needs no system package)", "apt install clang")


@functools.lru_cache(maxsize=4)
def _wheel_folders(search: tuple[str, ...]) -> tuple[str, ...]:
    del search  # sys.path, where the wheel would be found
    spec = importlib.util.find_spec("ziglang")
    return tuple(spec.submodule_search_locations or ()) if spec else ()


def _wheel() -> Clang | None:
    for folder in _wheel_folders(tuple(sys.path)):
        path = Path(folder) / "zig"
        # zig's own driver looks for clang's builtin headers (stddef.h ...) in another place than where they are.
        if path.is_file() and (clang := _probe(path, _zig_args(path), "ziglang")):
            return clang
    return None


@functools.lru_cache(maxsize=4)
def _zig_args(path: Path) -> tuple[str, ...]:
    if path.name != "zig":
        return ()
    return ("clang", "-resource-dir", str(path.resolve().parent / "lib"))


def _resolve(name: str) -> Path | None:
    candidates = [Path(name)] if "/" in name else [Path(d) / name for d in os.get_exec_path()]
    return next((path.absolute() for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)


@functools.lru_cache(maxsize=8)
def _listing(search: str, stamps: tuple[int, ...]) -> tuple[Path, ...]:
    del stamps  # only there to forget the listing when a directory changes
    paths = []
    for folder in dict.fromkeys(search.split(":")):
        with contextlib.suppress(OSError):
            found = (path for path in Path(folder).iterdir() if re.fullmatch(r"clang(-\d+)?", path.name))
            paths += sorted(path.absolute() for path in found)
    return tuple(dict.fromkeys(path for path in paths if os.access(path, os.X_OK)))


def _on_path(search: str) -> tuple[Path, ...]:
    stamps = []
    for folder in search.split(":"):
        try:
            stamps.append(Path(folder).stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return _listing(search, tuple(stamps))


_probed: dict[str, tuple[int, ...] | None] = {}


def _probe(path: Path, args: tuple[str, ...], origin: str) -> Clang | None:
    """The compiler at *path*, or ``None`` if it cannot compile for BPF. Each version of a file is tried once."""
    key = " ".join([identity(path), *args])
    if key not in _probed:
        record = cache_dir() / "clang.json"
        known: dict[str, list[int] | None] = {}
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(record.read_text())
        if key not in known:
            version = _try(path, args)
            known[key] = list(version) if version else None
            with contextlib.suppress(OSError), replace(record) as temporary:
                temporary.write_text(json.dumps(known))
        answer = known[key]
        _probed[key] = tuple(answer) if answer else None
    found = _probed[key]
    return Clang(path, args, found, origin) if found else None


def _try(path: Path, args: tuple[str, ...]) -> tuple[int, ...] | None:
    command = [str(path), *args]
    test = ["-target", "bpf", "-x", "c", "-c", os.devnull, "-o", os.devnull]
    try:
        version = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=60, check=True
        )
        subprocess.run([*command, *test], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"clang version (\d+)\.(\d+)(?:\.(\d+))?", version.stdout)
    return tuple(int(part) for part in match.groups() if part) if match else None


def target_arch(machine: str | None = None) -> str | None:
    """``x`` of ``__TARGET_ARCH_x``, which libbpf's bpf_tracing.h asks for; ``None`` for an unknown machine."""
    machine = machine or platform.machine()
    return _ARCHES.get(machine) or ("arm" if machine.startswith("arm") else None)


def system_includes(clang: Clang) -> Iterator[Path]:
    """Directories of the C library's and the kernel's user-space headers that ``-target bpf`` does not search.

    Debian keeps ``<asm/types.h>``, which every ``<linux/*.h>`` needs, in a directory of the host's architecture. Where
    the machine has no such headers the ziglang wheel's copies of the kernel's serve.
    """
    for folder in (Path(f"/usr/include/{platform.machine()}-linux-gnu"), Path("/usr/include")):
        if folder.is_dir():
            yield folder
    if clang.args:
        libc = clang.path.parent / "lib/libc/include"
        arch = {"x86_64": "x86", "ppc64le": "powerpc", "riscv64": "riscv"}.get(
            platform.machine(), platform.machine()
        )
        for folder in (libc / f"{arch}-linux-any", libc / "any-linux-any"):
            if folder.is_dir():
                yield folder
