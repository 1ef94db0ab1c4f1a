"""qemu: the system's, or unpacked for this user; and whether it can use KVM."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfnb.compile.cache import cache_dir, identity, replace
from bpfnb.errors import MissingDependency
from bpfnb.vm import apt

__all__ = ["Emulator", "accelerator", "distrust_kvm", "emulator", "present"]

_NAME = "qemu-system-x86_64"
_PACKAGE = "qemu-system-x86"  # Debian's


@dataclass(frozen=True, slots=True)
class Emulator:
    """A qemu: its program, and the options and environment that one needs which was not installed."""

    path: Path
    options: tuple[str, ...] = ()
    libraries: str = ""
    modules: str = ""

    @property
    def identity(self) -> str:
        return " ".join([identity(self.path), *self.options])

    @property
    def environment(self) -> dict[str, str]:
        keep = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
        }
        own = {"LD_LIBRARY_PATH": self.libraries, "QEMU_MODULE_DIR": self.modules}
        return keep | {name: value for name, value in own.items() if value}


@functools.cache
def emulator() -> Emulator:
    """``$BPFNB_QEMU``, the system's, else Debian's unpacked into the user's cache. Raises MissingDependency."""
    found = _installed()
    if found and not os.access(found, os.X_OK):
        raise MissingDependency(f"BPFNB_QEMU={found} is no program", hints=[f"the path of a {_NAME}"])
    return Emulator(Path(found)) if found else _unpacked()


def _installed() -> str | None:
    return os.environ.get("BPFNB_QEMU") or shutil.which(_NAME)


def present() -> bool:
    """Whether there is a qemu without fetching one."""
    return bool(_installed()) or (cache_dir() / "vm/packages" / _PACKAGE).is_dir()


def _unpacked() -> Emulator:
    """Debian's package and the libraries that it needs beyond those of this machine, which are remembered."""
    root = apt.unpacked(_PACKAGE)
    program = root / "usr/bin" / _NAME
    share = apt.unpacked("qemu-system-data") / "usr/share"
    memory = cache_dir() / "vm" / "libraries.json"
    folders: list[Path] = []
    with contextlib.suppress(OSError, ValueError):
        folders = [Path(folder) for folder in json.loads(memory.read_text())]
    if _missing(program, folders):
        folders = _libraries(program)
        with replace(memory) as temporary:
            Path(temporary).write_text(json.dumps([str(folder) for folder in folders]))
    firmware = [share / "qemu", share / "seabios", apt.unpacked("seabios") / "usr/share/seabios"]
    options = [word for folder in firmware if folder.is_dir() for word in ("-L", str(folder))]
    accelerators = apt.unpacked("qemu-system-common")
    modules = next(accelerators.rglob("accel-tcg-x86_64.so"), program).parent
    return Emulator(program, tuple(options), ":".join(map(str, folders)), str(modules))


def _libraries(program: Path) -> list[Path]:
    """Folders of libraries from packages that *program* depends on. Raises MissingDependency."""
    folders: list[Path] = []
    for package in apt.library_packages(_PACKAGE):
        missing = _missing(program, folders)
        if not missing:
            break
        if package.startswith("lib") and not package.startswith(("libc6", "libgcc", "libstdc++")):
            files = apt.unpacked(package)
            folders += {path.parent for path in files.rglob("*.so.*") if path.name in missing}
    if missing := _missing(program, folders):
        raise MissingDependency(
            f"qemu lacks {', '.join(sorted(missing))}",
            hints=["apt install --no-install-recommends qemu-system-x86"],
        )
    return folders


def _missing(program: Path, folders: Sequence[Path]) -> set[str]:
    said = subprocess.run(
        ["/lib64/ld-linux-x86-64.so.2", "--library-path", ":".join(map(str, folders)), "--list", program]
        if folders
        else ["ldd", program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    text = said.stdout + said.stderr
    return set(re.findall(r"(\S+) => not found", text)) | set(re.findall(r"(\S+): cannot open shared", text))


def accelerator() -> str:
    """``kvm`` where it is there and no machine failed with it since the host booted, else ``tcg``.

    A device node says little: inside containers and virtual machines KVM often runs nothing, or a firmware and no
    kernel. So the first machine tries it, and where only emulation boots that is remembered (:func:`distrust_kvm`).
    """
    if chosen := os.environ.get("BPFNB_VM_ACCEL"):
        return chosen
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with contextlib.suppress(OSError):
        if _failed_with_kvm().read_text() == _host():
            return "tcg"
    return "kvm"


def distrust_kvm() -> None:
    """Emulate from now on: a machine that emulation boots did not boot with KVM."""
    memory = _failed_with_kvm()
    memory.parent.mkdir(parents=True, exist_ok=True)
    with replace(memory) as temporary:
        Path(temporary).write_text(_host())


def _failed_with_kvm() -> Path:
    return cache_dir() / "vm" / "kvm-failed"


def _host() -> str:
    """This qemu, and this boot of the host."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{emulator().identity} {boot}"
