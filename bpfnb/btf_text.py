"""BTF types as text: C declarations, and whole structs with their offsets, bit fields and holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfnb.btf_types import Array, Composite, Enum, Func, FuncProto, Fwd, Modifier, Pointer, Type, Var

if TYPE_CHECKING:
    from bpfnb.btf import Btf

__all__ = ["declare", "format_struct"]

INDENT = "    "


def declare(btf: Btf, type: int | Type, name: str = "") -> str:  # noqa: A002
    """The C declaration of *name*, ``char comm[16]`` or ``int (*fn)(void *)``; without a name, the type."""
    found = btf[type] if isinstance(type, int) else type
    match found:
        case Pointer():
            target = btf[found.target]
            while isinstance(target, Modifier) and target.kind == "type_tag":
                target = btf[target.target]
            inner = f"(*{name})" if isinstance(target, Array | FuncProto) else f"*{name}"
            return declare(btf, target, inner)
        case Array():
            return declare(btf, found.element, f"{name}[{found.count or ''}]")
        case FuncProto():
            params = ", ".join(declare(btf, t, n) if t else "..." for n, t in found.params)
            return declare(btf, found.returns, f"{name}({params or 'void'})")
        case Func():
            return declare(btf, found.proto, name or found.name)
        case Var():
            return declare(btf, found.type, name or found.name)
        case Modifier() if found.kind == "type_tag":
            return declare(btf, found.target, name)
        case Modifier() if found.kind != "typedef":
            if isinstance(btf[found.target], Pointer):  # `char *const p`: the qualifier is the pointer's own
                return declare(btf, found.target, _join(found.kind, name))
            return f"{found.kind} {declare(btf, found.target, name)}"
    return _join(_spelling(found), name)


def _spelling(type: Type) -> str:  # noqa: A002
    match type:
        case Composite():
            return f"{type.kind} {type.name or '{...}'}"
        case Enum():
            return f"enum {type.name or '{...}'}"
        case Fwd():
            return f"{'union' if type.union else 'struct'} {type.name}"
    return type.name


def _join(base: str, declarator: str) -> str:
    return base + declarator if not declarator or declarator[0] == "[" else f"{base} {declarator}"


def format_struct(btf: Btf, name: str) -> str:
    """A type as a person reads it: each member's offset and size in bytes (bits for bit fields), every hole.

    *name* is a struct, union, enum, typedef or function, with or without the keyword. Member types with a
    name are not opened, anonymous ones are. Raises UnknownName with the nearest names.
    """
    asked = btf.find(name)
    found = btf.resolve(asked)
    if isinstance(found, Func):
        return declare(btf, found) + ";"
    head = "typedef " if asked is not found else ""
    tail = f" {asked.name}" if asked is not found else ""
    if isinstance(found, Enum):
        rows = [f"{INDENT}{label} = {value}," for label, value in found.values]
        keyword = f"enum {found.name}".rstrip()
        return "\n".join([f"{head}{keyword} {{", *rows, f"}}{tail};  /* {found.size} bytes */"])
    if not isinstance(found, Composite):
        text = f"{head}{declare(btf, asked.target if isinstance(asked, Modifier) else asked, asked.name)};"
        return text if not head else f"{text}  /* {btf.size(asked)} bytes */"
    body = _Body(btf)
    body.members(found, 0, 1)
    lost = f", {body.lost // 8} bytes lost in {body.holes} holes" if body.lost >= 8 else ""
    keyword = f"{found.kind} {found.name}".rstrip()
    return "\n".join(
        [
            f"{head}{keyword} {{",
            f"{'offset':>8} {'size':>7}",
            *body.lines,
            f"}}{tail};  /* {found.size} bytes{lost} */",
        ]
    )


class _Body:
    """The lines of a struct's members, and what its holes add up to (in bits)."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.lines: list[str] = []
        self.holes = 0
        self.lost = 0

    def line(self, bit_offset: int, size: str, text: str, depth: int, *, bits: bool = False) -> None:
        where = f"{bit_offset // 8}:{bit_offset % 8}" if bits else f"{bit_offset // 8}"
        self.lines.append(f"{where:>8} {size:>7}  {INDENT * depth}{text}")

    def gap(self, bit_offset: int, bits: int, what: str, depth: int) -> None:
        if bits <= 0:
            return
        self.holes += 1
        self.lost += bits
        whole = bits % 8 == 0 and bit_offset % 8 == 0
        count, noun = (bits // 8, "byte") if whole else (bits, "bit")
        text = f"/* {what}: {count} {noun}{'' if count == 1 else 's'} */"
        self.line(bit_offset, "", text, depth, bits=not whole)

    def members(self, struct: Composite, base: int, depth: int) -> None:
        end = 0  # bit after the last member so far
        for member in struct.members:
            width = member.bit_size or 8 * self.btf.size(member.type)
            if struct.kind == "struct":
                self.gap(base + end, member.bit_offset - end, "hole", depth)
            self.member(member.name, member.type, base + member.bit_offset, member.bit_size, depth)
            end = max(end, member.bit_offset + width)
        if struct.kind == "struct" and struct.members:
            self.gap(base + end, 8 * struct.size - end, "padding", depth)

    def member(self, name: str, type_id: int, at: int, bits: int, depth: int) -> None:
        size = f"{bits} bit{'' if bits == 1 else 's'}" if bits else str(self.btf.size(type_id))
        opened, declarator = self.anonymous(type_id, name)
        if opened is None:
            text = declare(self.btf, type_id, name)
            self.line(at, size, f"{text} : {bits};" if bits else f"{text};", depth, bits=bool(bits))
            return
        if isinstance(opened, Enum):
            values = ", ".join(f"{label} = {value}" for label, value in opened.values)
            suffix = f" : {bits}" if bits else ""
            self.line(at, size, f"enum {{ {values} }} {declarator}{suffix};", depth, bits=bool(bits))
            return
        self.line(at, size, f"{opened.kind} {{", depth)
        self.members(opened, at, depth + 1)
        self.lines.append(f"{'':>8} {'':>7}  {INDENT * depth}}}{declarator and ' ' + declarator};")

    def anonymous(self, type_id: int, name: str) -> tuple[Composite | Enum | None, str]:
        """The unnamed struct, union or enum that a member is (an array of), and its declarator."""
        found, declarator = self.btf[type_id], name
        while isinstance(found, Array) or (isinstance(found, Modifier) and found.kind != "typedef"):
            if isinstance(found, Array):
                declarator += f"[{found.count or ''}]"
                found = self.btf[found.element]
            else:
                found = self.btf[found.target]
        if isinstance(found, Composite | Enum) and not found.name:
            return found, declarator
        return None, declarator
