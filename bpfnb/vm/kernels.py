"""Kernels to boot: Debian's by version, and the user's own by path. Unpacked once into the user's cache.

A folder of the cache holds the ELF ``vmlinux``, its types ``vmlinux.btf``, its ``config`` and the few modules that a
guest needs, uncompressed.
"""

from __future__ import annotations

import contextlib
import lzma
import re
import shutil
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bpfnb.compile.cache import cache_dir
from bpfnb.errors import BadValue, MissingDependency, UnknownName, nearest
from bpfnb.vm import apt
from bpfnb.vm.image import btf_of, release_of, vmlinux_of

__all__ = ["Kernel", "cached", "find", "kept", "matches", "offered", "order"]

_PACKAGE = re.compile(r"linux-(?:image|binary)-(\d+\.\d+\.\d+\S*)-amd64")
_VARIANTS = ("-cloud", "-rt", "-unsigned")
# What a guest needs, in the order in which it loads them; what they need comes before them. A kernel that has one of
# them built in or not at all goes without.
BOOT_MODULES = ("virtio_pci", "virtio_console", "virtio_rng")
LATER_MODULES = ("9p", "9pnet_virtio", "veth", "dummy", "sch_ingress", "cls_bpf")
SHARING_MODULES = frozenset({"9p", "9pnet_virtio", "9pnet", "netfs", "fscache"})
"""Those which only a guest needs that is given folders, with what only they need."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: its ``release`` as in ``uname -r``, the ``folder`` of its files, and the ``source`` of one of
    the user's own.
    """

    release: str
    folder: Path
    source: Path | None = None

    @property
    def wanted(self) -> str:
        """By which :func:`find` finds it again, where it was changed or removed from the cache meanwhile, too."""
        return self.release if self.source is None else str(self.source)

    @property
    def vmlinux(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def btf(self) -> Path:
        """The kernel's types, in the form of /sys/kernel/btf/vmlinux."""
        return self.folder / "vmlinux.btf"

    @property
    def version(self) -> tuple[int, int]:
        major, minor = self.release.split(".")[:2]
        return int(major), int(re.match(r"\d+", minor)[0])  # type: ignore[index]

    def modules(self) -> list[Path]:
        """Modules in the order in which they are to be loaded."""
        order = self.folder / "modules" / "order"
        return (
            [self.folder / "modules" / name for name in order.read_text().split()] if order.exists() else []
        )


def _home() -> Path:
    return cache_dir() / "vm" / "kernels"


def find(wanted: str | Path | None = None) -> Kernel:
    """A kernel by version (``"6.12"``, ``"6.12.43+deb12-amd64"``, ``"newest"``) or by path of a vmlinux or bzImage.

    None is the newest in the cache, else 6.12. Of a version the cached one is taken, else the newest of the mirror's.
    Raises UnknownName, BadValue, MissingDependency.
    """
    if isinstance(wanted, Path) or (wanted and "/" in wanted):
        return _own(Path(wanted).expanduser().absolute())
    if wanted is None:
        return max(cached(), key=lambda kernel: kernel.version, default=None) or find("6.12")
    if (kernel := kept(wanted)) is not None:
        return kernel
    try:
        known = offered()
    except MissingDependency as error:
        versions = ", ".join(_version(kernel.release) for kernel in cached())
        error.hints = (*([f"in the cache there are: {versions}"] if versions else []), *error.hints)
        raise
    found = [release for release in known if wanted == "newest" or matches(wanted, release)]
    if not found:
        raise _unknown(wanted, list(dict.fromkeys(map(_version, known))))
    return _fetch(max(found, key=order))


def _unknown(wanted: str, versions: list[str]) -> UnknownName:
    """With the nearest versions: those of the same digits first."""
    names = [*versions, "newest"]
    close = list(dict.fromkeys([*(n for n in names if sorted(n) == sorted(wanted)), *nearest(wanted, names)]))
    hint = f"did you mean {', '.join(close[:3])}?" if close else f"there are: {', '.join(names)}"
    return UnknownName(f"the mirror has no kernel {wanted}", hints=[hint])


def _version(release: str) -> str:
    return ".".join(release.split(".")[:2])


def cached() -> list[Kernel]:
    """The kernels in the cache, oldest version first."""
    with contextlib.suppress(OSError):
        made = [Kernel(path.name, path) for path in _home().iterdir() if (path / "vmlinux.btf").exists()]
        return sorted(made, key=lambda kernel: order(kernel.release))
    return []


def kept(wanted: str) -> Kernel | None:
    """The newest of this version that is in the cache."""
    return next((kernel for kernel in reversed(cached()) if matches(wanted, kernel.release)), None)


def offered() -> list[str]:
    """Releases that the configured mirror has, oldest first. Raises MissingDependency."""
    found = set()
    for name in apt.names("^linux-(image|binary)-[0-9]"):
        match = _PACKAGE.fullmatch(name)
        if match and not any(variant in name for variant in _VARIANTS):
            found.add(f"{match[1]}-amd64")
    return sorted(found, key=order)


def order(release: str) -> list[int]:
    """Sorts releases."""
    return [int(number) for number in re.findall(r"\d+", release.replace("amd64", ""))]


def matches(wanted: str, release: str) -> bool:
    """Whether *release* is what a version (``"6.12"``, ``"6.12.43"``) means."""
    return release == wanted or release.startswith((f"{wanted}.", f"{wanted}-", f"{wanted}+"))


def _fetch(release: str) -> Kernel:
    """Download, check, unpack. The packages themselves are not kept."""
    target = _home() / release
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
        root = Path(scratch) / "root"
        packages = [f"linux-image-{release}"]
        if apt.names(f"^linux-binary-{re.escape(release)}$"):  # since 6.19 the image only names its two parts
            packages = [f"linux-binary-{release}", f"linux-modules-{release}"]
        for name in packages:
            part = Path(scratch) / name
            apt.unpack(apt.file_of(name, Path(scratch)), part)
            shutil.copytree(part, root, dirs_exist_ok=True, symlinks=True)
            shutil.rmtree(part)
        image = next(path for path in root.rglob("vmlinuz*") if path.is_file())
        tree = next((path for path in root.rglob("modules/*") if path.name == release), None)
        made = Path(scratch) / "made"
        configs = (*root.rglob("boot/config-*"), *root.rglob(f"{release}/config"))
        _keep(image, tree, next(iter(configs), None), made)
        with contextlib.suppress(OSError):  # another process was first
            made.rename(target)
    return Kernel(release, target)


def _keep(image: Path, modules: Path | None, config: Path | None, target: Path) -> str:
    """Write what a guest needs to *target*; the kernel's release."""
    vmlinux = vmlinux_of(image.read_bytes())
    target.mkdir(parents=True)
    (target / "vmlinux").write_bytes(vmlinux)
    (target / "vmlinux.btf").write_bytes(btf_of(vmlinux))
    if config:
        shutil.copyfile(config, target / "config")
    folder = target / "modules"
    folder.mkdir()
    if modules:
        order = []
        for name, data in _with_needed(modules, (*BOOT_MODULES, *LATER_MODULES)):
            (folder / f"{name}.ko").write_bytes(data)
            order.append(f"{name}.ko")
        (folder / "order").write_text("\n".join(order))
    return release_of(vmlinux)


def _with_needed(folder: Path, wanted: Iterable[str]) -> list[tuple[str, bytes]]:
    """Modules, each after those that it needs. A module names them in its section .modinfo."""
    files = {path.name.split(".")[0].replace("-", "_"): path for path in folder.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}

    def add(name: str) -> None:
        name = name.replace("-", "_")
        path = files.get(name)
        if path is None or name in loaded:
            return
        data = path.read_bytes()
        data = lzma.decompress(data) if path.suffix == ".xz" else data
        needed = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in needed[1].decode().split(",") if needed and needed[1] else ():
            add(other)
        loaded[name] = data

    for name in wanted:
        add(name)
    return list(loaded.items())


def _own(path: Path) -> Kernel:
    """The user's kernel; modules from ``/lib/modules/RELEASE`` or a folder ``modules`` beside it."""
    try:
        status = path.stat()
        image = path.read_bytes()
    except OSError as error:
        raise BadValue(f"cannot read the kernel '{path}': {error.strerror}") from None
    release = release_of(vmlinux_of(image))
    key = struct.pack("<QQ", status.st_size, status.st_mtime_ns).hex()[:24]
    target = cache_dir() / "vm" / "own" / f"{release}-{key}"
    if not (target / "vmlinux.btf").exists():
        beside = [path.parent / "modules", Path("/lib/modules") / release, Path("/usr/lib/modules") / release]
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / "made"
            _keep(path, next((folder for folder in beside if folder.is_dir()), None), None, made)
            with contextlib.suppress(OSError):
                made.rename(target)
    return Kernel(release, target, path)
