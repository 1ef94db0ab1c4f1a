"""The kernel that headers are made for: its types by name, its configuration, its version."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path

from bpfnb import btf as btf_module
from bpfnb.bcc.kept import kept
from bpfnb.bcc.modules import Modules, alike, loaded
from bpfnb.btf import SYSFS, Btf
from bpfnb.errors import MissingDependency

__all__ = ["Found", "Kernel", "read_config", "version_code"]

Found = tuple[Btf, int]
"""A type: the BTF that has it and its id there."""

_CONFIG_LINE = re.compile(r"^(CONFIG_\w+)=(.*)$", re.M)
_KINDS: Mapping[str, tuple[str, ...]] = {"enum": ("enum", "enum64")}
# What bcc's helpers refuse to do without, where a kernel does not say how it was configured.
_LEAST = {"CONFIG_BPF_SYSCALL": "y", "CONFIG_ARCH_HAS_SYSCALL_WRAPPER": "y", "CONFIG_64BIT": "y"}


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel's types (``btf``), release, machine and configuration.

    ``modules`` are all its modules; ``reached`` those whose types are found here beside the kernel's own, which
    :meth:`reaching` chooses.
    ``version`` is LINUX_VERSION_CODE. ``config`` maps ``CONFIG_X`` to what stands behind its ``=``; where
    ``config_known`` is false it is the least that bcc needs.
    """

    btf: Btf
    release: str
    machine: str
    version: int
    config: Mapping[str, str]
    config_known: bool = True
    modules: Modules | None = None
    reached: tuple[Btf, ...] = field(default=())

    @classmethod
    def running(cls) -> Kernel:
        """The kernel of this machine, read again when modules come or go. Raises MissingDependency: it has no BTF."""
        return _running(loaded())

    @classmethod
    def of(
        cls,
        btf: Btf,
        *,
        release: str,
        version: int | None = None,
        machine: str = "",
        config: str | None = None,
        modules: Mapping[str, Callable[[], bytes]] | None = None,
    ) -> Kernel:
        """Another kernel: *btf* is its types, *config* the text of its configuration file.

        *modules* read the split BTF of its modules: the ``.BTF`` section of each module's file.
        """
        known = read_config(config) if config is not None else _LEAST
        number = version_code(release) if version is None else version
        own = Modules(btf, modules)
        return cls(btf, release, machine or os.uname().machine, number, known, config is not None, own)

    def reaching(self, names: Iterable[tuple[str, str]], functions: frozenset[str] = frozenset()) -> Kernel:
        """This kernel with the modules that have types of such (kind, name) which it lacks itself.

        A kind is struct, union, enum, typedef, or ``value``, an enumerator. Where several modules have a type of a
        name and not the same, all of them are reached; first comes the one that has most of *functions*, then the
        one of the most similar name.
        """
        chosen = list(self.reached)
        for kind, name in sorted(set(names)):
            if self.modules is None or _lookup(self.btf, kind, name) is not None:
                continue
            kept = [found for btf in chosen if (found := _lookup(btf, kind, name)) is not None]
            for btf in self.modules.having(_KINDS.get(kind, (kind,)), name, functions):
                found = _lookup(btf, kind, name)
                if found is not None and not any(alike(found, one) for one in kept):
                    kept.append(found)
                    chosen.append(btf)
        return self if len(chosen) == len(self.reached) else _reached(self, tuple(chosen))

    def resembles_module(self, name: str) -> bool:
        """Whether a type's name begins with that of a module: kvm_vcpu, ext4_inode_info."""
        return self.modules is not None and bool(self.modules.called_like(name))

    def complete(self) -> Kernel:
        """This kernel with all its modules reached."""
        return self if self.modules is None else _reached(self, self.modules.all())

    @cached_property
    def identity(self) -> str:
        """Changes when anything that the headers depend on does."""
        settings = hashlib.sha256(repr(sorted(self.config.items())).encode()).hexdigest()[:20]
        blobs = "+".join(btf.hash[:20] for btf in (self.btf, *self.reached))
        return f"{blobs} {self.release} {self.version} {self.machine} {settings}"

    def tag(self, kind: str, name: str) -> Found | None:
        """``struct name``, ``union name`` or ``enum name``, defined in full."""
        return self._first(kind, name)

    def variants(self, kind: str, name: str) -> list[Found]:
        """The different types of that name, the one that is taken first."""
        kinds = _KINDS.get(kind, (kind,))
        different = [(self.btf, number) for one in kinds for number in self.btf.all_named(one, name)]
        for btf in self.reached:
            found = _lookup(btf, kind, name)
            if found is not None and not any(alike(found, one) for one in different):
                different.append(found)
        return different

    def module_of(self, found: Found) -> str:
        """The module that a type is of, empty where it is the kernel's own."""
        return self.modules.name_of(found[0]) if self.modules else ""

    def typedef(self, name: str) -> Found | None:
        return self._first("typedef", name)

    def enumerator(self, name: str) -> Found | None:
        """The enumeration that has an enumerator of that name."""
        return self._first("value", name)

    def _first(self, kind: str, name: str) -> Found | None:
        found = (_lookup(btf, kind, name) for btf in (self.btf, *self.reached))
        return next((one for one in found if one is not None), None)


def _lookup(btf: Btf, kind: str, name: str) -> Found | None:
    """The type of one BTF, without its base's, that has a name (of kind ``value``: has an enumerator of it)."""
    if kind == "value":
        number = _enumerators(btf).get(name)
        return None if number is None else (btf, number)
    tables = (_named(btf, one) for one in _KINDS.get(kind, (kind,)))
    return next(((btf, table[name]) for table in tables if name in table), None)


@lru_cache(maxsize=32)  # equal ones are one, for what is cached by kernel
def _reached(kernel: Kernel, chosen: tuple[Btf, ...]) -> Kernel:
    return replace(kernel, reached=chosen)


@lru_cache(maxsize=1)
def _running(modules: tuple[tuple[str, int], ...]) -> Kernel:
    btf = Btf.kernel()
    uname = os.uname()
    text = _config_text(uname.release)
    config = read_config(text) if text is not None else _LEAST
    readers = {name: (SYSFS / name).read_bytes for name, _ in modules}
    version = version_code(uname.release, f"{uname.version} {_signature()}")
    return Kernel(btf, uname.release, uname.machine, version, config, text is not None, Modules(btf, readers))


def _config_text(release: str) -> str | None:
    for path in (
        Path("/proc/config.gz"),
        Path(f"/boot/config-{release}"),
        Path(f"/lib/modules/{release}/config"),
    ):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")
    return None


def _signature() -> str:
    try:
        return Path("/proc/version_signature").read_text()
    except OSError:
        return ""


def read_config(text: str) -> dict[str, str]:
    """``CONFIG_X`` -> value, of a kernel's configuration file."""
    found = dict(_CONFIG_LINE.findall(text))
    if "CONFIG_ARM64_PAGE_SHIFT" in found:  # its name before Linux 6.9
        found.setdefault("CONFIG_PAGE_SHIFT", found["CONFIG_ARM64_PAGE_SHIFT"])
    return found


def version_code(release: str, build: str = "") -> int:
    """LINUX_VERSION_CODE. Debian and Ubuntu name the upstream version in the *build* text, not in the release."""
    upstream = re.search(r"\bDebian (\d+)\.(\d+)\.(\d+)", build) or re.search(
        r"\bUbuntu \S+ (\d+)\.(\d+)\.(\d+)", build
    )
    numbers = upstream.groups() if upstream else re.findall(r"\d+", release.split("-")[0])
    if not numbers:
        raise MissingDependency(f"The kernel's release {release!r} names no version.")
    major, minor, patch = ([int(number) for number in numbers] + [0, 0])[:3]
    return (major << 16) + (minor << 8) + min(patch, 255)


_BY_NAME = ("struct", "union", "enum", "enum64", "typedef")


# By identity of the Btf, which lives as long as the process where it is the kernel's.
@cache
def _named(btf: Btf, kind: str) -> dict[str, int]:
    return _names(btf)[kind] if kind in _BY_NAME and not btf.base else btf.named(kind)


@cache
def _enumerators(btf: Btf) -> dict[str, int]:
    return btf.enumerators() if btf.base else _names(btf)["value"]


@cache
def _names(btf: Btf) -> dict[str, dict[str, int]]:
    """All types of a kernel by kind and name: 60 ms of work, and the same for every process."""

    def make() -> dict[str, dict[str, int]]:
        return {kind: btf.named(kind) for kind in _BY_NAME} | {"value": btf.enumerators()}

    names: dict[str, dict[str, int]] = kept(f"names {btf.hash}", Path(btf_module.__file__), make)
    return names
