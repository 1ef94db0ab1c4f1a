"""The guest's file system: our agent as /init, libbpf with what it needs, busybox, and the kernel's modules.

The archive is cpio's "newc" (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed: an emulated
machine reads it faster than it would unpack it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bpfnb.compile.cache import cache_dir, identity, replace
from bpfnb.compile.clang import find_clang
from bpfnb.errors import BpfnbError, MissingDependency
from bpfnb.kernel.libbpf import library
from bpfnb.vm import apt
from bpfnb.vm.kernels import SHARING_MODULES, Kernel

__all__ = ["archive", "initramfs"]

_SOURCE = Path(__file__).parent / "agent.c"
_GLIBC = "2.31"  # of the agent where zig compiles it: no newer than that of any machine with libbpf 1.1
_FOLDERS = (
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
    "root",
    "mnt",
    "etc",
    "boot",
    "modules",
    "var",
    "guest",
    "guest/bin",
    "guest/lib",
)
# The guest's own programs have a folder of their own, so that /usr or /lib can be those of the host.
_LINKS = {"bin": "guest/bin", "sbin": "guest/bin", "lib": "guest/lib", "lib64": "guest/lib", "usr": "guest"}
_LINKS |= {"guest/sbin": "bin", "guest/lib64": "lib", "guest/lib/x86_64-linux-gnu": "."}
_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
}


def initramfs(kernel: Kernel, *, shares: bool) -> Path:
    """The path of a kernel's initramfs, made where it or a part of it is new. Raises MissingDependency.

    *shares*: for a guest that is given folders. The modules for that take an emulated one 0.3 s to load.
    """
    files = {"init": _agent(), **_libraries(), "guest/bin/busybox": _busybox()}
    modules = [path for path in kernel.modules() if shares or path.stem not in SHARING_MODULES]
    key = hashlib.sha256(
        "\0".join(
            [
                *(f"{name} {identity(path)}" for name, path in files.items()),
                *(path.name for path in modules),
                kernel.release,
                _key(),
            ]
        ).encode()
    ).hexdigest()[:24]
    target = cache_dir() / "vm" / "initramfs" / f"{kernel.release}-{key}.cpio"
    if not target.exists():
        content: dict[str, bytes] = {name: path.read_bytes() for name, path in files.items()}
        content |= {f"modules/{path.name}": path.read_bytes() for path in modules}
        content["modules/order"] = "\n".join(path.name for path in modules).encode()
        content |= {name: text.encode() for name, text in _ETC.items()}
        if (config := kernel.folder / "config").exists():
            content[f"boot/config-{kernel.release}"] = gzip.compress(config.read_bytes())
        links = _LINKS | {f"guest/bin/{applet}": "busybox" for applet in _applets(files["guest/bin/busybox"])}
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace(target) as temporary:
            Path(temporary).write_bytes(archive(_FOLDERS, content, links))
    return target


def _key() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def archive(folders: Iterable[str], files: dict[str, bytes], links: dict[str, str]) -> bytes:
    """A newc archive; every file is root's and may be run."""
    out = bytearray()

    def entry(name: str, mode: int, data: bytes, number: int) -> None:
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        out.extend(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        out.extend(bytes(-len(out) % 4))
        out.extend(data)
        out.extend(bytes(-len(out) % 4))

    entries = [
        *((name, 0o040755, b"") for name in folders),
        *((name, 0o100755, data) for name, data in files.items()),
        *((name, 0o120777, target.encode()) for name, target in links.items()),
    ]
    for number, (name, mode, data) in enumerate(entries, 1):
        entry(name, mode, data, number)
    entry("TRAILER!!!", 0, b"", 0)
    return bytes(out)


def _agent() -> Path:
    """The agent, compiled once for each version of its text."""
    text = _SOURCE.read_bytes()
    compilers = _compilers()
    key = hashlib.sha256(text + repr(compilers).encode()).hexdigest()[:20]
    target = cache_dir() / "vm" / f"agent-{key}"
    if target.exists():
        return target
    said = ""
    for command in compilers:
        with contextlib.suppress(OSError, subprocess.SubprocessError), replace(target) as temporary:
            done = subprocess.run(
                [*command, "-O2", "-x", "c", str(_SOURCE), "-o", temporary, "-ldl"],
                capture_output=True,
                text=True,
                timeout=300,
            )
            said += done.stderr
            done.check_returncode()
            Path(temporary).chmod(0o755)
        if target.exists():
            return target
    raise MissingDependency(
        "the agent of virtual machines cannot be compiled: no C compiler serves",
        hints=["pip install ziglang", "apt install gcc libc6-dev"],
        log=said,
    )


def _compilers() -> list[list[str]]:
    found = []
    with contextlib.suppress(BpfnbError):
        clang = find_clang()
        if clang.path.name == "zig":
            found.append([str(clang.path), "cc", "-target", f"x86_64-linux-gnu.{_GLIBC}"])
    return found + [[path] for name in ("gcc", "cc", "clang") if (path := shutil.which(name))]


def _libraries() -> dict[str, Path]:
    """libbpf, as this process has loaded it, and the libraries that it needs, as the dynamic linker finds them."""
    library()
    mapped = re.findall(r"\S*/libbpf\.so\S*", Path("/proc/self/maps").read_text())
    linker = Path("/lib64/ld-linux-x86-64.so.2")
    try:
        said = subprocess.run(
            [linker, "--list", mapped[0]], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingDependency(f"the libraries that libbpf needs cannot be found: {error}") from None
    found = {f"guest/lib/{name}": Path(path) for name, path in re.findall(r"(\S+) => (/\S+)", said)}
    return {
        "guest/lib/libbpf.so.1": Path(mapped[0]),
        "guest/lib/ld-linux-x86-64.so.2": linker,
        **found,
        **_dlopened(),
    }


def _dlopened() -> dict[str, Path]:
    """libdl of an older glibc, which the agent names and a newer one does not need."""
    path = Path("/lib/x86_64-linux-gnu/libdl.so.2")
    return {"guest/lib/libdl.so.2": path} if path.exists() else {}


def _busybox() -> Path:
    """A static busybox: the system's where it is one, else Debian's from the mirror."""
    here = shutil.which("busybox")
    if here and b"ld-linux" not in Path(here).read_bytes()[:4096]:
        return Path(os.path.realpath(here))
    return next(path for path in apt.unpacked("busybox-static").rglob("bin/busybox") if path.is_file())


def _applets(busybox: Path) -> list[str]:
    said = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=30).stdout
    return [name for name in said.split() if name != "busybox"]
