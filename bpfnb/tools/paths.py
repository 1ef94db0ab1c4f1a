"""Values of a traced program by path, as C that reads them: ``req->method``, ``conn->peer``, ``argv[1]``, ``*out``.

A path begins with a parameter, or with ``ret``; ``->`` and ``.`` mean the same, members of unnamed structs and of base
classes are found. What each step costs is one read of the program's memory; a step through registers costs none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bpfnb.errors import BadValue, UnknownName
from bpfnb.symbols.calling import Place
from bpfnb.symbols.signatures import Member, Type

__all__ = ["Column", "Unavailable", "leaves", "plain", "read"]

_STEP = re.compile(r"\s*(?:(->|\.)\s*([A-Za-z_]\w*)|\[\s*(\d+)\s*\])")
_START = re.compile(r"\s*(\**)\s*([A-Za-z_]\w*)")


class Unavailable(BadValue):
    """A value that exists in the source, and that no probe can read."""


@dataclass(slots=True)
class Column:
    """One value: its path, its C type (``declare("x")`` is ``s32 x``), the statements that read it into ``e->FIELD``,
    and, where it reads memory, which may be absent.
    """

    path: str
    type: Type
    c: str
    suffix: str = ""
    reads: bool = False
    lines: list[str] = field(default_factory=list)
    annotation: str = ""

    @property
    def is_text(self) -> bool:
        return self.c == "char"

    @property
    def enumerators(self) -> Mapping[int, str]:
        return self.type.enumerators if self.type.kind == "enum" else {}

    def declare(self, name: str) -> str:
        private = " SENSITIVE" if self.is_text else ""  # a query, a password: text in a program's memory
        return f"{self.c} {name}{self.suffix}{self.annotation}{private};"


@dataclass(slots=True)
class _Value:
    """Where a step of a path stands: in *words* (C expressions of eight bytes each, from byte *offset* on), else at the
    *address* (a C expression).
    """

    type: Type
    words: Sequence[str | None] = ()
    address: str = ""
    offset: int = 0
    bits: tuple[int, int] | None = None


def plain(path: str) -> str:
    """The path as columns are compared by: without spaces, with ``.`` for ``->``."""
    return re.sub(r"\s+", "", path).replace("->", ".").removesuffix(":str")


def read(path: str, values: Mapping[str, tuple[Type, Place]], name: str, room: int) -> Column:
    """The column of *path*, its value to be put into ``e->NAME``; *room* are the bytes of a text.

    :raises UnknownName: a parameter or member that there is not. BadValue: a path that makes no sense.
        Unavailable: the value is where no probe reads.
    """
    start = _START.match(path)
    if start is None:
        raise BadValue(f"'{path}' is no path of a parameter", hints=["such as req->method or argv[1]"])
    stars, first = start.groups()
    if first not in values:
        raise UnknownName.among(values, first, f"there is no parameter '{first}'")
    kind, place = values[first]
    if place.reason:
        raise Unavailable(f"'{first}' cannot be read: {place.reason}")
    walk = _Walk(_Value(kind, place.words, place.address))
    at, as_text = start.end(), path.endswith(":str")
    while at < len(path.removesuffix(":str").rstrip()):
        step = _STEP.match(path, at)
        if step is None:
            raise BadValue(
                f"'{path[at:]}' of '{path}' is no step of a path", hints=["->MEMBER, .MEMBER, [NUMBER]"]
            )
        _, member, number = step.groups()
        walk.member(member, path) if member else walk.element(int(number), path)
        at = step.end()
    for _ in stars:
        walk.pointed(path)
    return walk.text(path, name, room) if as_text else walk.column(path, name, room)


class _Walk:
    """Follows a path, writing down the reads that it takes."""

    def __init__(self, value: _Value) -> None:
        self.value = value
        self.lines: list[str] = []
        self.conditions: list[str] = []
        self.pointers = 0

    def pointed(self, path: str) -> None:
        """To what the pointer that is here points to."""
        value = self.value
        if value.type.kind != "pointer":
            raise BadValue(f"'{path}': a value of the type '{value.type}' points to nothing")
        self.value = _Value(value.type.target, address=self._loaded())

    def _loaded(self) -> str:
        """The eight bytes that are here, as a C expression."""
        value = self.value
        if not value.address:
            return self._word(value)
        name = f"p{self.pointers}"
        self.pointers += 1
        self.conditions.append(f"get(&{name}, sizeof({name}), {_sum(value.address, value.offset)})")
        return name

    def _word(self, value: _Value) -> str:
        word = value.words[value.offset // 8] if value.offset // 8 < len(value.words) else None
        if word is None:
            raise Unavailable("it cannot be read: that part of it is in no integer register")
        shift = value.offset % 8 * 8
        return f"({word} >> {shift})" if shift else word

    def member(self, name: str, path: str) -> None:
        while self.value.type.kind == "pointer":
            self.pointed(path)
        found = _find(self.value.type, name)
        if found is None:
            members = [member.name for member, _ in _flat(self.value.type, 0) if member.name]
            if self.value.type.kind not in ("struct", "union"):
                raise BadValue(f"'{path}': a value of the type '{self.value.type}' has no members")
            known = members or ["none that are known here"]
            raise UnknownName.among(known, name, f"'{self.value.type}' has no member '{name}'")
        member, offset = found
        value = self.value
        self.value = _Value(member.type, value.words, value.address, value.offset + offset, member.bits)

    def element(self, number: int, path: str) -> None:
        kind = self.value.type
        if kind.kind == "pointer":
            self.pointed(path)
            self.value.offset += number * kind.target.size
            return
        if kind.kind != "array":
            raise BadValue(f"'{path}': a value of the type '{kind}' has no elements")
        if kind.count and number >= kind.count:
            raise BadValue(f"'{path}': the array has {kind.count} elements, 0 to {kind.count - 1}")
        value = self.value
        self.value = _Value(kind.target, value.words, value.address, value.offset + number * kind.target.size)

    def text(self, path: str, name: str, room: int) -> Column:
        """The text that what is here points to, whatever its type says."""
        target = f"e->{name}"
        read_text = f"get_text({target}, sizeof({target}), {self._loaded()})"
        return self._made(path, self.value.type, "char", f"[{room}]", [read_text])

    def _slice(self, path: str, name: str, room: int) -> Column:
        """Rust's &str: where its bytes are, and how many."""
        whole = self.value
        self.member("length", path)
        length = self._loaded()
        self.value = whole
        self.member("data_ptr", path)
        target = f"e->{name}"
        read_text = f"get_slice({target}, sizeof({target}), {self._loaded()}, {length})"
        return self._made(path, whole.type, "char", f"[{room}]", [read_text])

    def column(self, path: str, name: str, room: int) -> Column:
        """What is here, as a column."""
        if self.value.type.name == "&str":
            return self._slice(path, name, room)
        text = _std_string(self.value.type)
        if text:
            self.member(text[0], path)
            self.member(text[1], path)
        kind = self.value.type
        target = f"e->{name}"
        if kind.kind == "pointer" and (kind.is_text or text):
            return self.text(path, name, room)
        if kind.kind == "array" and kind.is_text and kind.count and self.value.address:
            size = min(kind.count, room)
            address = _sum(self.value.address, self.value.offset)
            return self._made(
                path, kind, "char", f"[{size}]", [f"get_text({target}, sizeof({target}), {address})"]
            )
        c = _scalar(kind)
        if not c:
            raise BadValue(
                f"'{path}' is a '{kind}', not one value",
                hints=[f"its members: {', '.join(m.name for m, _ in _flat(kind, 0) if m.name)}"]
                if kind.members
                else [],
            )
        if self.value.bits:
            return self._bit_field(path, kind, c, target)
        if self.value.address:
            address = _sum(self.value.address, self.value.offset)
            return self._made(path, kind, c, "", [f"get(&{target}, sizeof({target}), {address})"])
        word = self._word(self.value)
        cast = f"({c})" if c.endswith("*") else ""
        return self._made(path, kind, c, "", [], f"{target} = {cast}{word};")

    def _bit_field(self, path: str, kind: Type, c: str, target: str) -> Column:
        first, count = self.value.bits or (0, 0)
        size = (first + count + 7) // 8
        sign = "(s64)" if kind.signed else ""

        def cut(bits: str) -> str:
            return f"{target} = {sign}({bits} << {64 - first - count}) >> {64 - count};"

        if self.value.address:
            self.lines.append("u64 bits = 0;")
            read_bits = f"get(&bits, {size}, {_sum(self.value.address, self.value.offset)})"
            return self._made(path, kind, c, "", [read_bits], cut("bits"))
        return self._made(path, kind, c, "", [], cut(self._word(self.value)))

    def _made(self, path: str, kind: Type, c: str, suffix: str, reads: list[str], then: str = "") -> Column:
        lines = list(self.lines)
        if self.pointers:
            lines.insert(0, "u64 " + ", ".join(f"p{number} = 0" for number in range(self.pointers)) + ";")
        conditions = [*self.conditions, *reads]
        if conditions:
            lines.append(f"if ({' || '.join(conditions)})")
            lines.append("\te->missing |= @MISSING@;")
        if then:
            lines.append(then)
        return Column(path, kind, c, suffix, bool(conditions), lines)


def leaves(name: str, kind: Type, place: Place) -> list[str]:
    """The paths that a parameter is shown by, where nobody chose: itself, or each value of a struct that it is."""
    if _std_string(kind) or kind.name == "&str" or kind.kind not in ("struct", "union"):
        return [name]
    found = []
    for member, _ in _flat(kind, 0):
        one = member.type
        if not member.name or not (_scalar(one) or _std_string(one) or (one.is_text and place.address)):
            continue
        found.append(f"{name}.{member.name}")
    return found


def _flat(kind: Type, offset: int) -> list[tuple[Member, int]]:
    """The members of a struct with their offsets, those of unnamed structs and base classes among them."""
    found: list[tuple[Member, int]] = []
    for member in kind.members if kind.kind in ("struct", "union") else ():
        if member.name:
            found.append((member, offset + member.offset))
        else:
            found += _flat(member.type, offset + member.offset)
    return found


def _find(kind: Type, name: str) -> tuple[Member, int] | None:
    return next(((member, offset) for member, offset in _flat(kind, 0) if member.name == name), None)


def _std_string(kind: Type) -> tuple[str, str] | None:
    """The members that lead to the text of a C++ string: libstdc++'s."""
    while kind.kind == "pointer":
        kind = kind.target
    is_string = kind.kind == "struct" and kind.name.startswith("basic_string<char")
    return ("_M_dataplus", "_M_p") if is_string and _find(kind, "_M_dataplus") else None


def _scalar(kind: Type) -> str:
    """The C type of a column for values of this type; empty where it takes several."""
    if kind.kind == "pointer":
        return "void *"
    if kind.kind == "bool":
        return "bool" if kind.size == 1 else ""
    if kind.kind in ("int", "enum") and kind.size in (1, 2, 4, 8):
        return f"{'s' if kind.signed else 'u'}{kind.size * 8}"
    if kind.kind == "float":
        return {4: "float", 8: "double"}.get(kind.size, "")
    return ""


def _sum(address: str, offset: int) -> str:
    return f"{address} + {offset}" if offset else address
