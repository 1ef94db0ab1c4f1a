"""Kernels of the distribution, unpacked and not installed: their types, configuration and headers.

Packages come through apt (``apt-get download``, for another architecture from a private apt directory) into the
user's cache, once. Nothing is installed and nothing runs.
"""

from __future__ import annotations

import functools
import lzma
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bpfnb.bcc.kernel import Kernel, version_code
from bpfnb.btf import Btf
from bpfnb.btf_elf import read_sections
from bpfnb.compile.cache import cache_dir
from bpfnb.errors import BpfnbError

__all__ = ["Unavailable", "bcc_tools", "image_btf", "image_root", "kernel", "merged_headers", "modules"]


class Unavailable(Exception):
    """The packages cannot be had here: no apt, or no network."""


@dataclass(frozen=True)
class Image:
    """An unpacked kernel package: its files, the release that it is named for, the version of the package."""

    root: Path
    release: str
    version: str


@functools.cache
def kernel(arch: str = "amd64") -> Kernel:
    """The types and configuration of Debian's standard kernel. Raises Unavailable."""
    image = _image(arch)
    btf = Btf(image_btf(image.root / "boot" / f"vmlinuz-{image.release}"))
    config = (image.root / "boot" / f"config-{image.release}").read_text()
    number = version_code(image.release, f"Debian {image.version}")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[arch]
    return Kernel.of(btf, release=image.release, version=number, machine=machine, config=config)


def image_root(arch: str = "amd64") -> Path:
    """Where that kernel's package is unpacked. Raises Unavailable."""
    return _image(arch).root


def modules(arch: str = "amd64") -> dict[str, Callable[[], bytes]]:
    """Readers of the split BTF of that kernel's modules, by the modules' names. Raises Unavailable."""
    files = image_root(arch).rglob("*.ko")
    return {path.stem.replace("-", "_"): functools.partial(_module_btf, path) for path in files}


def _module_btf(path: Path) -> bytes:
    section = read_sections(path.read_bytes()).get(".BTF")
    if section is None:
        raise BpfnbError(f"{path.name} has no BTF")
    return section.data


def bcc_tools() -> Path:
    """The directory of Debian's bcc tools. Raises Unavailable."""
    return _unpacked("bpfcc-tools") / "usr/sbin"


def merged_headers() -> Path:
    """Debian's two packages of headers for that kernel as the one tree that bcc wants. Raises Unavailable."""
    release = _image("amd64").release
    common = release.removesuffix("-amd64") + "-common"
    target = _home() / f"headers-{release}"
    if target.is_dir():
        return target
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    for name in (f"linux-headers-{common}", f"linux-headers-{release}"):
        source = _unpacked(name) / "usr/src" / name
        for folder in ("include", "arch/x86"):
            (part / folder).mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-rT", source / folder, part / folder], check=True)
    part.rename(target)
    return target


def image_btf(image: Path) -> bytes:
    """The BTF in a kernel image: a compressed one (gzip, xz), an uncompressed one, or an ELF file."""
    data = image.read_bytes()
    for found in (data, *_unpack(data)):
        for match in re.finditer(rb"\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00", found):
            at = match.start()
            size, strings, length = (
                int.from_bytes(found[at + i : at + i + 4], "little") for i in (12, 16, 20)
            )
            if strings == size and at + 24 + size + length <= len(found) and size > 100_000:
                return found[at : at + 24 + size + length]
    raise ValueError(f"{image} has no BTF in a form that is known here")


def _unpack(data: bytes) -> Iterator[bytes]:
    for match in re.finditer(rb"\xfd7zXZ\x00|\x1f\x8b\x08", data):
        opener = lzma.LZMADecompressor() if match[0][0] == 0xFD else zlib.decompressobj(31)
        try:
            yield opener.decompress(data[match.start() :])
        except (lzma.LZMAError, zlib.error):
            continue


def _home() -> Path:
    path = cache_dir() / "distribution"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


@functools.cache
def _image(arch: str) -> Image:
    meta = _apt(["apt-cache", "show", f"linux-image-{arch}:{arch}"], arch)
    match = re.search(r"Depends: linux-image-(\S+) \(= ([^)]+)\)", meta)
    if not match:
        raise Unavailable(f"apt knows no kernel for {arch}")
    return Image(_unpacked(f"linux-image-{match[1]}", arch), match[1], match[2])


def _unpacked(package: str, arch: str = "amd64") -> Path:
    target = _home() / f"{package}_{arch}"
    if target.is_dir():
        return target
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    _apt(["apt-get", "-q", "download", f"{package}:{arch}" if arch != "amd64" else package], arch, part)
    (deb,) = part.glob("*.deb")
    subprocess.run(["dpkg", "-x", deb, part], check=True)
    deb.unlink()
    part.rename(target)
    return target


def _apt(command: list[str], arch: str, directory: Path | None = None) -> str:
    options = [] if arch == "amd64" else _private_apt(arch)
    try:
        done = subprocess.run(
            [command[0], *options, *command[1:]], cwd=directory, capture_output=True, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    return done.stdout


@functools.cache
def _private_apt(arch: str) -> list[str]:
    """Options that make apt see another architecture without the system's dpkg being told of it."""
    home = _home() / f"apt-{arch}"
    for folder in ("lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "status").touch()
    options = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Sandbox::User": "root",
        "Dir::State::lists": str(home / "lists"),
        "Dir::State::status": str(home / "status"),
        "Dir::Cache": str(home / "cache"),
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    done = subprocess.run(["apt-get", *words, "-q", "update"], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Unavailable(done.stderr.strip()[-300:])
    return words
