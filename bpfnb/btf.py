"""BTF, the kernel's own type information, parsed lazily.

One pass over the type section finds where each type starts (about 50 ms for a kernel's 120,000 types); a type
becomes an object when it is asked for. The format: the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bpfnb import btf_elf, btf_text
from bpfnb.btf_strings import Strings
from bpfnb.btf_types import (
    KINDS,
    Array,
    Composite,
    DataSec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Modifier,
    Pointer,
    Type,
    Var,
    Void,
    parse,
)
from bpfnb.errors import BpfnbError, MissingDependency, UnknownName, nearest

__all__ = [
    "Array",
    "Btf",
    "Composite",
    "DataSec",
    "DeclTag",
    "Enum",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "Int",
    "Member",
    "Modifier",
    "Pointer",
    "Type",
    "Var",
    "Void",
    "fields",
    "format_struct",
    "member_path",
]

SYSFS: Final = Path("/sys/kernel/btf")
POINTER_SIZE: Final = 8
# What a bare name means when several types have it: C's struct tags first, as a reader of kernel code would.
PREFERENCE: Final = (
    "struct", "union", "enum", "enum64", "typedef", "int", "float", "func", "var", "datasec", "fwd"
)  # fmt: skip
# A type's length in 32-bit words, by its kind: that of the type itself, and of each of its vlen entries.
_LENGTHS = np.full(32, 1 << 30, np.int32)  # of kinds that are unknown
_LENGTHS[: len(KINDS)] = [3 + {"int": 1, "array": 3, "var": 1, "decl_tag": 1}.get(kind, 0) for kind in KINDS]
_ENTRIES = {"struct": 3, "union": 3, "enum": 2, "func_proto": 2, "datasec": 3, "enum64": 3}
_EACH = np.array([_ENTRIES.get(kind, 0) for kind in (*KINDS, *[""] * (32 - len(KINDS)))], np.int32)

format_struct = btf_text.format_struct


class Btf:
    """All types of one BTF blob; with *base*, of a kernel module's split BTF on top of its kernel's.

    ``btf[id]`` is a type, ``len(btf)`` counts them (``void``, id 0, and the base's included). Raises
    BpfnbError where *data* is not little-endian BTF of version 1.
    """

    def __init__(self, data: bytes, base: Btf | None = None) -> None:
        if len(data) < 24 or data[:2] != b"\x9f\xeb":
            raise BpfnbError(
                "This BTF is big-endian; bpfnb reads little-endian BTF only."
                if data[:2] == b"\xeb\x9f"
                else "This is not BTF: its first two bytes are not the format's mark (0xeb9f)."
            )
        version, _flags, header, types_at, types_size, strings_at, strings_size = struct.unpack_from(
            "<BBIIIII", data, 2
        )
        if version != 1 or header + max(types_at + types_size, strings_at + strings_size) > len(data):
            raise BpfnbError(
                f"This BTF (version {version}, {len(data)} bytes) is damaged or of an unknown version."
            )
        self.data = data
        self.base = base
        self._types = data[header + types_at : header + types_at + types_size]
        start = header + strings_at
        self.strings: Strings = Strings(data[start : start + strings_size], base.strings if base else None)
        self._words = memoryview(self._types).cast("I")
        self._first_id = len(base) if base else 1
        self._starts = self._index()
        self._cache: dict[int, Type] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        # Section name -> (size, {variable: offset}); compilers leave both to the loader, see from_elf.
        self._sections: dict[str, tuple[int, dict[str, int]]] = {}

    @staticmethod
    def kernel(module: str | None = None) -> Btf:
        """The running kernel's types, or those of one loaded *module* on top of them (read once per process).
        Where another system is meant (:func:`bpfnb.kernel.system.meaning`), its kernel's.

        Raises MissingDependency where the kernel has no BTF, UnknownName where no such module has any.
        """
        from bpfnb.kernel.system import meant

        if (other := meant()) is not None:
            types: Btf = other.btf()
            return types
        return Btf._kernel(module)

    @staticmethod
    @lru_cache(maxsize=8)
    def _kernel(module: str | None) -> Btf:
        try:
            data = (SYSFS / (module or "vmlinux")).read_bytes()
        except FileNotFoundError:
            if module and SYSFS.is_dir():
                known = sorted(path.name for path in SYSFS.iterdir())
                raise UnknownName(
                    f"No loaded module named {module!r} has BTF.",
                    hints=[f"Did you mean {near}?" for near in nearest(module, known, 1)],
                ) from None
            raise MissingDependency(
                "This kernel carries no type information (BTF).",
                hints=[f"{SYSFS}/vmlinux is missing: use a kernel built with CONFIG_DEBUG_INFO_BTF=y."],
            ) from None
        return Btf(data, Btf.kernel() if module else None)

    @classmethod
    def from_elf(cls, elf: bytes) -> Btf:
        """The types of a compiled BPF object: its ``.BTF`` section.

        Sizes of data sections and offsets of their variables come from the ELF symbols, since compilers leave
        them empty in BTF. Raises BpfnbError where the object has no BTF.
        """
        sections = btf_elf.read_sections(elf)
        if ".BTF" not in sections:
            raise BpfnbError(
                "This object has no type information (BTF).", hints=["Compile it with clang's option -g."]
            )
        btf = cls(sections[".BTF"].data)
        btf._sections = {name: (section.size, section.symbols) for name, section in sections.items()}
        return btf

    def __len__(self) -> int:
        return self._first_id + len(self._starts)

    def __getitem__(self, id: int) -> Type:  # noqa: A002
        if id < self._first_id:
            if self.base:
                return self.base[id]
            if id == 0:
                return Void(0, "void", "void")
        found = self._cache.get(id)
        if found is None:
            if not 0 < id < len(self):
                raise IndexError(f"type {id} of {len(self)}")
            found = self._cache[id] = self._parse(id)
        return found

    def __iter__(self) -> Iterator[Type]:
        return map(self.__getitem__, range(len(self)))

    def __repr__(self) -> str:
        return f"<Btf of {len(self) - 1} types, {len(self.data)} bytes>"

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the blob, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    # Finding by name.

    def get(self, name: str, kind: str | None = None) -> Type | None:
        """The type called *name*, or None. A bare name prefers structs, then unions, enums, typedefs ...

        *name* may say its kind as C does: ``struct task_struct``.
        """
        kind, name = _kind_and_name(kind, name)
        ids = self._ids(name)
        for wanted in _KIND_ALIASES.get(kind, (kind,)) if kind else PREFERENCE:
            for index in ids:
                if KINDS[self._kinds[index]] == wanted:
                    return self[index + self._first_id]
        return self.base.get(name, kind) if self.base else None

    def find(self, name: str, kind: str | None = None) -> Type:
        """Like :meth:`get`; raises UnknownName that names the nearest known types where there is none."""
        found = self.get(name, kind)
        if found is not None:
            return found
        kind, name = _kind_and_name(kind, name)
        kinds = _KIND_ALIASES.get(kind, (kind,)) if kind else ("struct", "union", "enum", "typedef")
        known = {n for k in kinds if k in KINDS for btf in (self, self.base) if btf for n in btf.names(k)}
        # Spelling distance over all names would take seconds: first those that share a beginning or an end.
        likely = [
            n for n in known if abs(len(n) - len(name)) < 4 and (n[:3] == name[:3] or n[-4:] == name[-4:])
        ]
        what = f"{kind} {name}" if kind else name
        raise UnknownName(
            f"There is no type {what!r} here.",
            hints=[f"Did you mean {' or '.join(near)}?"] if (near := nearest(name, likely)) else (),
        )

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of all types of one kind (``"func"``, ``"struct"`` ...), without the base's."""
        if kind not in self._names:
            offsets = self._name_offsets[self._of_kind(kind)]
            self._names[kind] = tuple(self.strings.many(offsets[offsets > 0]))
        return self._names[kind]

    def named(self, kind: str) -> dict[str, int]:
        """The id of the first type of one kind by its name, without the base's."""
        indices = self._of_kind(kind)
        indices = indices[self._name_offsets[indices] > 0]
        return self._first(self._name_offsets[indices], indices)

    def enumerators(self) -> dict[str, int]:
        """The id of the first enumeration that has an enumerator of a name, without the base's."""
        words, starts = np.frombuffer(self._types, "<u4"), self._places
        found: dict[str, int] = {}
        for kind in ("enum64", "enum"):
            indices = self._of_kind(kind)
            counts = (words[starts[indices] + 1] & np.uint32(0xFFFF)).astype(np.intp)
            before = np.cumsum(counts) - counts
            rows = np.arange(counts.sum()) - np.repeat(before, counts)
            places = np.repeat(starts[indices] + 3, counts) + _ENTRIES[kind] * rows
            found |= self._first(words[places], np.repeat(indices, counts))
        return found

    def _first(self, offsets: npt.NDArray[np.uint32], indices: npt.NDArray[np.intp]) -> dict[str, int]:
        """Name -> id; of equal names the first stays."""
        ids: list[int] = (indices + self._first_id).tolist()
        return dict(zip(reversed(self.strings.many(offsets)), reversed(ids), strict=True))

    def all_named(self, kind: str, name: str) -> list[int]:
        """Ids of the types of one kind that have a name, without the base's."""
        return [index + self._first_id for index in self._ids(name) if KINDS[self._kinds[index]] == kind]

    def ids(self, kind: str) -> list[int]:
        """Ids of all types of one kind, without the base's."""
        ids: list[int] = (self._of_kind(kind) + self._first_id).tolist()
        return ids

    # What one asks about a type.

    def resolve(self, type: int | Type) -> Type:  # noqa: A002
        """The type under all typedefs, const, volatile, restrict and type tags."""
        found = self[type] if isinstance(type, int) else type
        while isinstance(found, Modifier):
            found = self[found.target]
        return found

    def size(self, type: int | Type) -> int:  # noqa: A002
        """Bytes that a value of the type takes; 0 for void, functions and forward declarations."""
        found = self.resolve(type)
        if isinstance(found, Int | Float | Composite | Enum | DataSec):
            return found.size
        if isinstance(found, Pointer):
            return POINTER_SIZE
        if isinstance(found, Array):
            return found.count * self.size(found.element)
        return self.size(found.type) if isinstance(found, Var) else 0

    def tags(self, type_id: int, component: int = -1) -> tuple[str, ...]:
        """Declaration tags on a type, variable or function, or on its member or parameter *component*."""
        own = self._tags.get((type_id, component), ())
        return self.base.tags(type_id, component) + own if self.base else own

    def describe(self, type: int | Type) -> str:  # noqa: A002
        """The type as C spells it: ``struct event *``, ``char[16]``, ``const u32``."""
        return btf_text.declare(self, type)

    # The format.

    def _index(self) -> list[int]:
        """Where each type starts, in words. How far it is to the next is worked out for every word beforehand."""
        kinds = np.frombuffer(self._types, "u1")[7::4] & np.uint8(31)
        counts = np.frombuffer(self._types, "<u2")[2::2]
        steps = memoryview(_LENGTHS[kinds] + _EACH[kinds] * counts)
        starts, at, end = [], 0, len(self._words)
        try:
            while at < end:
                starts.append(at)
                at += steps[at]
        except IndexError:
            at = end + 1
        if starts and (kinds[starts[-1] : starts[-1] + 1] >= len(KINDS)).any():
            raise BpfnbError(f"BTF type {len(starts)} is damaged or of a kind newer than bpfnb knows.")
        if at != end:
            raise BpfnbError("This BTF is damaged: its last type is cut off.")
        return starts

    @cached_property
    def _places(self) -> npt.NDArray[np.intp]:
        return np.asarray(self._starts, np.intp)

    @cached_property
    def _name_offsets(self) -> npt.NDArray[np.uint32]:
        return np.frombuffer(self._types, "<u4")[self._places]

    @cached_property
    def _kinds(self) -> npt.NDArray[np.uint32]:
        infos = np.frombuffer(self._types, "<u4")[self._places + 1]
        return infos >> np.uint32(24) & np.uint32(31)

    def _of_kind(self, kind: str) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self._kinds == KINDS.index(kind))

    @cached_property
    def _tags(self) -> dict[tuple[int, int], tuple[str, ...]]:
        tags: dict[tuple[int, int], tuple[str, ...]] = {}
        for tag_id in self.ids("decl_tag"):
            tag = self[tag_id]
            assert isinstance(tag, DeclTag)
            place = (tag.target, tag.component)
            tags[place] = (*tags.get(place, ()), tag.name)
        return tags

    def _ids(self, name: str) -> list[int]:
        offsets = self.strings.offsets_of(name) if name else []
        found: list[int] = np.flatnonzero(np.isin(self._name_offsets, offsets)).tolist() if offsets else []
        return found

    def _parse(self, id: int) -> Type:  # noqa: A002
        words, index = self._words, id - self._first_id
        at = self._starts[index]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else len(words)
        more = words[at + 3 : end].tolist()
        found = parse(id, words[at], words[at + 1], words[at + 2], more, self.strings.__getitem__)
        return self._placed(found) if isinstance(found, DataSec) else found

    def _placed(self, section: DataSec) -> DataSec:
        """A data section with what the ELF file knows of it."""
        size, symbols = self._sections.get(section.name, (section.size, {}))
        rows = []
        for var_id, offset, var_size in section.variables:
            var = self[var_id]
            known = isinstance(var, Var) and var.linkage != "static"  # static ones carry their offset already
            rows.append((var_id, symbols.get(var.name, offset) if known else offset, var_size))
        return replace(section, size=size, variables=tuple(sorted(rows, key=lambda row: row[1])))


_KIND_ALIASES = {"enum": ("enum", "enum64"), "struct": ("struct", "fwd"), "union": ("union", "fwd")}


def _kind_and_name(kind: str | None, name: str) -> tuple[str | None, str]:
    words = name.split()
    known = len(words) == 2 and words[0] in ("struct", "union", "enum")
    return (words[0], words[1]) if known and kind is None else (kind, name)


def fields(btf: Btf, type: int | Type) -> Iterator[Member]:  # noqa: A002
    """The members of a struct or union as C names them: those of anonymous members count as its own.

    Bit offsets are from the start of the outer type. Yields nothing for types without members.
    """
    found = btf.resolve(type)
    for member in found.members if isinstance(found, Composite) else ():
        if member.name:
            yield member
            continue
        for inner in fields(btf, member.type):
            yield Member(inner.name, inner.type, member.bit_offset + inner.bit_offset, inner.bit_size)


def member_path(btf: Btf, type: int | Type, path: str) -> Member:  # noqa: A002
    """The member that ``a.b.c`` reaches from a struct, through anonymous members too.

    Its bit offset is from the start of *type*, its name the whole path. Raises UnknownName.
    """
    offset, found = 0, btf.resolve(type)
    member = Member("", found.id, 0, 0)
    for name in path.split("."):
        known = {field.name: field for field in fields(btf, found)}
        if name not in known:
            raise UnknownName(
                f"{btf.describe(found)} has no member {name!r}.",
                hints=[f"Did you mean {' or '.join(near)}?"] if (near := nearest(name, list(known))) else (),
            )
        member = known[name]
        offset += member.bit_offset
        found = btf.resolve(member.type)
    return Member(path, member.type, offset, member.bit_size)
