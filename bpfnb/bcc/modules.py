"""The types of a kernel's modules: split BTF on the kernel's own, read only when a program names such a type.

A machine has hundreds of modules loaded and a program seldom names a type that only one of them has. So modules are
searched by their bytes for the names that the kernel lacks, and only those that have one are parsed.
"""

from __future__ import annotations

import gzip
import lzma
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from bpfnb.btf import SYSFS, Btf, Composite, Enum
from bpfnb.btf_elf import read_sections
from bpfnb.errors import BpfnbError

__all__ = ["Modules", "alike", "installed_with", "loaded"]

LIBRARY = Path("/lib/modules")
_OPENERS: Mapping[str, Callable[[bytes], bytes]] = {
    ".ko": bytes,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}
_LOOKED_AT = 16  # files of modules that are not loaded, those of the likeliest names


class Modules:
    """Split BTF on top of *base*; *readers* give the bytes of each module's, by the module's name.

    A module whose BTF cannot be read has no types here; ``unreadable`` tells the reason, once it was tried.
    """

    def __init__(self, base: Btf, readers: Mapping[str, Callable[[], bytes]] | None = None) -> None:
        self._base = base
        self._readers = dict(sorted((readers or {}).items()))
        self._data: dict[str, bytes] = {}
        self._parsed: dict[str, Btf] = {}
        self.unreadable: dict[str, str] = {}

    def name_of(self, btf: Btf) -> str:
        """The module whose types these are, empty where it is none of them."""
        return next((name for name, one in self._parsed.items() if one is btf), "")

    def all(self) -> tuple[Btf, ...]:
        """Every module's types, which takes a second where hundreds are loaded."""
        return tuple(btf for name in self._readers if (btf := self._btf(name)) is not None)

    def having(self, kinds: Iterable[str], name: str, functions: frozenset[str]) -> list[Btf]:
        """Those that have a type (or an enumerator, of kind ``value``) of that name, the likeliest first.

        That is the module with most of *functions*, then the one whose own name begins most like the type's.
        """
        offsets = self._base.strings.offsets_of(name)
        found = []
        for module in sorted(self._readers, key=lambda one: -_kinship(one, name)):
            btf = self._btf(module) if self._may_have(module, name, offsets) else None
            if btf is not None and any(name in _names(btf, kind) for kind in kinds):
                found.append(btf)
        return (
            sorted(found, key=lambda btf: -len(functions & _names(btf, "func"))) if len(found) > 1 else found
        )

    def called_like(self, name: str) -> list[str]:
        """Modules that a type's name begins with: kvm for kvm_vcpu, ext4 for ext4_inode_info."""
        return [one for one in self._readers if name == one or name.startswith(f"{one}_")]

    def _may_have(self, module: str, name: str, offsets: list[int]) -> bool:
        """Whether the module's BTF has the name among its strings, or refers to the kernel's string of that name."""
        data = self._bytes(module)
        return name.encode() + b"\0" in data or any(struct.pack("<I", at) in data for at in offsets)

    def _bytes(self, module: str) -> bytes:
        if module not in self._data:
            self._data[module] = b""
            try:
                self._data[module] = self._readers[module]()
            except (OSError, BpfnbError) as error:
                self.unreadable[module] = str(error)
        return self._data[module]

    def _btf(self, module: str) -> Btf | None:
        if module not in self._parsed and (data := self._bytes(module)):
            try:
                self._parsed[module] = Btf(data, self._base)
            except BpfnbError as error:
                self._data[module] = b""
                self.unreadable[module] = error.message
        return self._parsed.get(module)


def _kinship(module: str, name: str) -> int:
    """How many letters they begin with alike."""
    return next(
        (at for at, pair in enumerate(zip(module, name, strict=False)) if len(set(pair)) > 1), len(module)
    )


@cache
def _names(btf: Btf, kind: str) -> frozenset[str]:
    return frozenset(btf.enumerators() if kind == "value" else btf.names(kind))


def loaded() -> tuple[tuple[str, int], ...]:
    """The modules of this machine that have BTF, each with a number that is another when it is loaded anew."""
    try:
        found = [(entry.name, entry.inode()) for entry in os.scandir(SYSFS)]
    except FileNotFoundError:
        return ()
    return tuple(sorted(one for one in found if one[0] != "vmlinux"))


def alike(one: tuple[Btf, int], other: tuple[Btf, int]) -> bool:
    """Whether types of two modules are the same: each that uses a type of another's has a copy of its own.

    They are where they have the same members of the same types at the same places.
    """
    return one[0][one[1]] is other[0][other[1]] or (
        _home(*one) is not _home(*other) and _shape(*one) == _shape(*other)
    )


def _home(btf: Btf, number: int) -> Btf:
    return btf.base if btf.base is not None and number < len(btf.base) else btf


def _shape(btf: Btf, number: int) -> object:
    found = btf[number]
    if isinstance(found, Enum):
        return found.values
    if not isinstance(found, Composite):
        return btf.describe(number)
    rows = []
    for member in found.members:
        inner = btf[member.type]
        nested = isinstance(inner, Composite) and not inner.name
        what = _shape(btf, member.type) if nested else btf.describe(member.type)
        rows.append((member.name, member.bit_offset, member.bit_size, what))
    return found.kind, found.size, rows


def installed_with(release: str, name: str) -> str:
    """The module of a kernel, as a file, that has a type of that name; empty where none is found.

    Only modules of which the name begins as the type's are looked into.
    """
    try:
        lines = (LIBRARY / release / "modules.dep").read_text().splitlines()
    except OSError:
        return ""
    paths = [LIBRARY / release / line.split(":")[0] for line in lines]
    beginning = name.split("_")[0][:3]
    near = [path for path in paths if _module_of(path).startswith(beginning)]
    for path in sorted(near, key=lambda path: -_kinship(_module_of(path), name))[:_LOOKED_AT]:
        try:
            opener = _OPENERS[path.suffix]
            section = read_sections(opener(path.read_bytes())).get(".BTF")
        except (KeyError, OSError, EOFError, lzma.LZMAError, BpfnbError):
            continue  # .ko.zst among them, which Python reads from 3.14 on
        if section is not None and b"\0" + name.encode() + b"\0" in section.data:
            return _module_of(path)
    return ""


def _module_of(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")
