"""The kinds of BTF types, one immutable class for each. Ids refer to the Btf that they came from.

The binary format is described in the kernel's Documentation/bpf/btf.rst and ``include/uapi/linux/btf.h``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = [
    "KINDS",
    "Array",
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
    "parse",
]

KINDS = (
    "void", "int", "ptr", "array", "struct", "union", "enum", "fwd", "typedef", "volatile", "const",
    "restrict", "func", "func_proto", "var", "datasec", "float", "decl_tag", "type_tag", "enum64",
)  # fmt: skip
"""The kinds by their number in the format; every :class:`Type` names its own in ``kind``."""


@dataclass(frozen=True, slots=True)
class Type:
    """What all types have: ``id`` in their BTF, ``name`` (empty if anonymous), ``kind`` (one of KINDS)."""

    id: int
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Void(Type):
    """Id 0: what a ``void *`` points to, what a function without result returns."""


@dataclass(frozen=True, slots=True)
class Int(Type):
    """An integer of ``size`` bytes; old compilers' bit fields use ``bits`` from bit ``offset`` on."""

    size: int
    bits: int
    offset: int
    signed: bool
    char: bool
    bool: bool


@dataclass(frozen=True, slots=True)
class Float(Type):
    """A floating-point number of ``size`` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Pointer(Type):
    target: int


@dataclass(frozen=True, slots=True)
class Array(Type):
    """``count`` times ``element``, indexed by type ``index``. Flexible arrays have ``count`` 0."""

    element: int
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a struct or union; ``bit_size`` is 0 where it is no bit field. Offsets count from bit 0."""

    name: str
    type: int
    bit_offset: int
    bit_size: int


@dataclass(frozen=True, slots=True)
class Composite(Type):
    """A struct or union (``kind`` says which) of ``size`` bytes, members in order of declaration."""

    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Enum(Type):
    """An enumeration of ``size`` bytes (kinds ``enum`` and ``enum64``), names and values as declared."""

    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Fwd(Type):
    """A struct or union that is declared and not defined."""

    union: bool


@dataclass(frozen=True, slots=True)
class Modifier(Type):
    """A typedef, const, volatile, restrict or type_tag over ``target``."""

    target: int


@dataclass(frozen=True, slots=True)
class Func(Type):
    """A function; ``proto`` is its FuncProto's id, ``linkage`` is static, global or extern."""

    proto: int
    linkage: str


@dataclass(frozen=True, slots=True)
class FuncProto(Type):
    """A function's type. ``params`` are (name, type id); a last one of type 0 stands for ``...``."""

    returns: int
    params: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Var(Type):
    """A global variable; ``linkage`` is static, global or extern."""

    type: int
    linkage: str


@dataclass(frozen=True, slots=True)
class DataSec(Type):
    """A section of ``size`` bytes and its ``variables`` as (type id of the Var, offset, size)."""

    size: int
    variables: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class DeclTag(Type):
    """The tag ``name`` on declaration ``target``; ``component`` is a member's or parameter's index, or -1."""

    target: int
    component: int


LINKAGE = ("static", "global", "extern")


def parse(
    id: int,  # noqa: A002
    name_at: int,
    info: int,
    size: int,
    more: Sequence[int],
    string: Callable[[int], str],
) -> Type:
    """A type from its words: ``struct btf_type`` and *more*, the words behind it. *string* reads a name.

    *size* is the id of the type's target in the kinds that have one.
    """
    name, kind = string(name_at), KINDS[info >> 24 & 31]
    count, flag = info & 0xFFFF, bool(info >> 31)
    pairs = zip(more[::2], more[1::2], strict=False)
    triples = zip(more[::3], more[1::3], more[2::3], strict=False)
    match kind:
        case "int":
            bits, offset, code = more[0] & 0xFF, more[0] >> 16 & 0xFF, more[0] >> 24
            char = bool(code & 2) or name == "char"  # compilers leave the flag out
            return Int(id, name, kind, size, bits, offset, bool(code & 1), char, bool(code & 4))
        case "float":
            return Float(id, name, kind, size)
        case "ptr":
            return Pointer(id, name, kind, size)
        case "array":
            return Array(id, name, kind, *more)
        case "struct" | "union":
            split = (lambda where: (where & 0xFFFFFF, where >> 24)) if flag else (lambda where: (where, 0))
            members = tuple(Member(string(n), member, *split(where)) for n, member, where in triples)
            return Composite(id, name, kind, size, members)
        case "enum":
            wrap = 1 << 31 if flag else 0
            return Enum(id, name, kind, size, flag, tuple((string(n), (v ^ wrap) - wrap) for n, v in pairs))
        case "enum64":
            wrap = 1 << 63 if flag else 0
            values = tuple((string(n), ((high << 32 | low) ^ wrap) - wrap) for n, low, high in triples)
            return Enum(id, name, kind, size, flag, values)
        case "fwd":
            return Fwd(id, name, kind, flag)
        case "func":
            return Func(id, name, kind, size, LINKAGE[min(count, 2)])
        case "func_proto":
            return FuncProto(id, name, kind, size, tuple((string(n), param) for n, param in pairs))
        case "var":
            return Var(id, name, kind, size, LINKAGE[min(more[0], 2)])
        case "datasec":
            return DataSec(id, name, kind, size, tuple(triples))
        case "decl_tag":
            return DeclTag(id, name, kind, size, -1 if more[0] == 0xFFFFFFFF else more[0])
    return Modifier(id, name, kind, size)
