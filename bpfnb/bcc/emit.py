"""Kernel types as C with true offsets: whole, or cut down to the members that a program names.

What is left out becomes padding, so that every member that is there lies where BTF says, whatever the compiler
would have done: members that are not packed by nature carry their alignment along, and each type's size is
asserted in the text itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bpfnb.bcc.alignment import Alignment
from bpfnb.bcc.kernel import Found, Kernel
from bpfnb.bcc.modules import alike
from bpfnb.bcc.scan import Definitions
from bpfnb.btf import Array, Btf, Composite, Enum, FuncProto, Fwd, Member, Modifier, Pointer

__all__ = ["Emitter"]

WHOLE = 256
"""Types of at most this many bytes keep all members: they serve as keys and values, which are shown in full."""


class Emitter:
    """Collects the types that are asked for, and those that they need, in an order in which C can read them.

    *members* are the names that the program uses, None for all. Types in *before* were defined by a header that is
    read earlier, those in *after* will be by one that is read later (the program's own win).
    """

    def __init__(
        self,
        kernel: Kernel,
        members: frozenset[str] | None,
        before: Definitions,
        after: Definitions,
    ) -> None:
        self.kernel = kernel
        self._members = members
        self._before = before
        self._after = after
        self._taken = before.names | before.macros | after.names | after.macros | {"__builtin_va_list"}
        self._lines: list[str] = []
        self._owners: dict[str, list[Found]] = {}  # tag -> the types that share it, in order of appearance
        self._declared: set[str] = set()
        self._complete: set[str] = set()
        self._enumerators: set[str] = set()
        self._queue: list[Found] = []
        self._queued: set[Found] = set()
        self._pads = 0
        self.emitted: dict[str, Found] = {}
        """What was emitted, by its C name: ``struct task_struct`` -> where it stands in BTF."""
        self.unknown: set[tuple[str, str]] = set()
        """Kind and name of what members that the program names point to, and the kernel only declares."""

    def want(self, found: Found) -> None:
        """A type in full, so that values of it can be declared."""
        self._need(*found, complete=True)
        while self._queue:
            self._need(*self._queue.pop(), complete=True)

    def declare(self, kind: str, name: str) -> None:
        """``struct name;`` for pointers to it."""
        self._forward(f"{kind} {name}")

    def take(self) -> str:
        """The text since the last call."""
        lines, self._lines = self._lines, []
        return "".join(f"{line}\n" for line in lines)

    # Which types must stand before which.

    def _need(self, btf: Btf, number: int, *, complete: bool) -> None:
        found = btf[number]
        match found:
            case Modifier() if found.kind == "typedef":
                self._typedef(btf, found, complete=complete)
            case Modifier():
                self._need(btf, found.target, complete=complete)
            case Pointer():
                self._need(btf, found.target, complete=False)
            case Array():
                self._need(btf, found.element, complete=True)
            case Enum() if found.name:
                self._enum(btf, found)
            case Enum():
                if complete:
                    self._enum(btf, found)
            case Composite() if found.name:
                if complete:
                    self._composite(btf, found)
                else:
                    self._forward(self._tag(btf, found))
                    self._later(btf, found)
            case Fwd():
                kind = "union" if found.union else "struct"
                self._forward(f"{kind} {found.name}")
                if (elsewhere := self.kernel.tag(kind, found.name)) is not None:  # in another module
                    whole = elsewhere[0][elsewhere[1]]
                    assert isinstance(whole, Composite)
                    self._later(elsewhere[0], whole)

    def _later(self, btf: Btf, found: Composite) -> None:
        """Define what a pointer points to, where the program names a member of it."""
        if self._members is None or (btf, found.id) in self._queued:
            return
        self._queued.add((btf, found.id))
        if self._names_any(btf, found):
            self._queue.append((btf, found.id))

    def _names_any(self, btf: Btf, found: Composite) -> bool:
        assert self._members is not None
        for member in found.members:
            if member.name in self._members:
                return True
            inner = btf[member.type] if not member.name else None
            if isinstance(inner, Composite) and self._names_any(btf, inner):
                return True
        return False

    def claim(self, found: Found) -> None:
        """The plain name is this type's, where the kernel has several types of the name."""
        named = found[0][found[1]]
        assert isinstance(named, Composite | Enum)
        self._tag(found[0], named)

    def _tag(self, btf: Btf, found: Composite | Enum) -> str:
        """``struct name``; a second, different type of a name gets a name of its own, as in libbpf's dumps."""
        kind = "enum" if isinstance(found, Enum) else found.kind
        owners = self._owners.setdefault(found.name, [])  # C has one name space for tags of all kinds
        this = (btf, found.id)
        at = next((number for number, owner in enumerate(owners) if alike(owner, this)), None)
        if at is None:
            # Whoever asks by name means the first of its name.
            first = self.kernel.tag(kind, found.name)
            if not owners and first and not alike(first, this):
                owners.append(first)
            owners.append(this)
            at = len(owners) - 1
        return f"{kind} {found.name}___{at + 1}" if at else f"{kind} {found.name}"

    def _forward(self, tag: str) -> None:
        if tag not in self._declared and tag not in self._before.tags:
            self._declared.add(tag)
            self._lines.append(f"{tag};")

    def _foreign(self, tag: str) -> bool:
        return tag in self._before.tags or tag in self._after.tags

    # Definitions.

    def _typedef(self, btf: Btf, found: Modifier, *, complete: bool) -> None:
        if found.name not in self._taken and f"typedef {found.name}" not in self._complete:
            self._complete.add(f"typedef {found.name}")
            self._need(btf, found.target, complete=False)
            self._lines.append(f"typedef {self._spell(btf, found.target, found.name)};")
            self.emitted[found.name] = (btf, found.id)
        if complete:
            self._need(btf, found.target, complete=True)

    def _enum(self, btf: Btf, found: Enum) -> None:
        tag = self._tag(btf, found) if found.name else f"enum #{id(found)}"
        if tag in self._complete or self._foreign(tag):
            return
        self._complete.add(tag)
        rows = self._values(found)
        if not found.name and not rows:
            return
        if not rows:
            rows = [f"__none_{found.name} = 0"]
        packed = " __attribute__((packed))" if found.size < 4 else ""
        name = tag if found.name else "enum"
        self._lines.append(f"{name} {{ {', '.join(rows)} }}{packed};")

    def _values(self, found: Enum) -> list[str]:
        fresh = [
            (name, value)
            for name, value in found.values
            if name not in self._taken and name not in self._enumerators
        ]
        self._enumerators.update(name for name, _ in fresh)
        suffix = "LL" if found.size == 8 else ""
        return [f"{name} = {_number(value, suffix)}" for name, value in fresh]

    def _composite(self, btf: Btf, found: Composite) -> None:
        tag = self._tag(btf, found)
        if tag in self._complete or self._foreign(tag):
            return
        self._complete.add(tag)
        keep = self._chosen(btf, found)
        body = self._body(btf, found, keep)
        self._declared.add(tag)
        self._lines.append(f"{tag} {body};")
        if self._members is not None:
            self._lines.append(f'_Static_assert(sizeof({tag}) == {found.size}, "{tag}");')
        self.emitted[tag] = (btf, found.id)

    def _chosen(self, btf: Btf, found: Composite) -> Callable[[Member], bool]:
        if self._members is None or found.size <= WHOLE:
            return _all
        names = self._members
        # A run of bit fields is loaded as one unit: with one of them goes the run, so that loads stay as wide.
        kept: set[int] = set()
        run: list[Member] = []
        for member in (*found.members, None):
            if member is not None and member.bit_size:
                run.append(member)
                continue
            if any(field.name in names for field in run):
                kept.update(field.bit_offset for field in run)
            run = []

        def keep(member: Member) -> bool:
            if member.bit_size:
                return member.bit_offset in kept
            if member.name:
                return member.name in names
            inner = btf[member.type]
            return isinstance(inner, Composite) and self._names_any(btf, inner)

        return keep

    def _body(self, btf: Btf, found: Composite, keep: Callable[[Member], bool]) -> str:
        """``{ members } attributes`` of a struct or union."""
        packed = Alignment.of(btf).packed(found)
        rows = _Rows(self._pad_name, packed, found.kind == "union")
        for member in found.members:
            if keep(member) and self._available(btf, member.type):
                self._member(btf, member, rows)
        align = Alignment.of(btf).bytes(found)
        rows.finish(8 * found.size, 8 * align)
        attributes = ["packed"] if packed else []
        if rows.align < align or (packed and align > 1):
            attributes.append(f"aligned({align})")
        tail = f" __attribute__(({', '.join(attributes)}))" if attributes else ""
        return f"{{ {' '.join(rows.lines)} }}{tail}"

    def _member(self, btf: Btf, member: Member, rows: _Rows) -> None:
        self._need(btf, member.type, complete=True)
        if self._members is not None and member.name in self._members:
            self._note_unknown(btf, member.type)
        text = self._spell(btf, member.type, member.name)
        if member.bit_size:
            rows.bits(text, member.bit_offset, member.bit_size, Alignment.of(btf).bytes(member.type))
            return
        rows.add(text, member.bit_offset, 8 * btf.size(member.type), Alignment.of(btf).bytes(member.type))

    def _note_unknown(self, btf: Btf, number: int) -> None:
        found = btf.resolve(number)
        while isinstance(found, Pointer | Array):
            found = btf.resolve(found.target if isinstance(found, Pointer) else found.element)
        if isinstance(found, Fwd):
            kind = "union" if found.union else "struct"
            if self.kernel.tag(kind, found.name) is None:
                self.unknown.add((kind, found.name))

    def _available(self, btf: Btf, number: int) -> bool:
        """Whether values of the type can be declared here: not where another text defines it."""
        found = btf.resolve(number)
        while isinstance(found, Array):
            found = btf.resolve(found.element)
        return not (isinstance(found, Composite) and found.name and self._foreign(self._tag(btf, found)))

    def _pad_name(self) -> str:
        self._pads += 1
        return f"__p{self._pads}"

    # Spelling.

    def _spell(self, btf: Btf, number: int, declarator: str) -> str:
        found = btf[number]
        match found:
            case Pointer():
                target = btf[found.target]
                while isinstance(target, Modifier) and target.kind == "type_tag":
                    target = btf[target.target]
                inner = f"(*{declarator})" if isinstance(target, Array | FuncProto) else f"*{declarator}"
                return self._spell(btf, target.id, inner)
            case Array():
                return self._spell(btf, found.element, f"{declarator}[{found.count}]")
            case FuncProto():
                return f"void {declarator}(void)"  # its address is all that a program can use
            case Modifier() if found.kind == "typedef":
                if found.name in self._after.names or found.name in self._after.macros:
                    return self._spell(btf, found.target, declarator)
                return f"{found.name} {declarator}"
            case Modifier() if found.kind == "type_tag":
                return self._spell(btf, found.target, declarator)
            case Modifier():
                if isinstance(btf[found.target], Pointer):
                    return self._spell(btf, found.target, f"{found.kind} {declarator}")
                text = self._spell(btf, found.target, declarator)
                return text if text.startswith(f"{found.kind} ") else f"{found.kind} {text}"
            case Composite() if found.name:
                return f"{self._tag(btf, found)} {declarator}"
            case Composite():
                keep = self._chosen(btf, found)
                return f"{found.kind} {self._body(btf, found, keep)} {declarator}"
            case Enum():
                if found.name and self._tag(btf, found) not in self._after.tags:
                    return f"{self._tag(btf, found)} {declarator}"
                return f"{_integer(found)} {declarator}"
            case Fwd():
                return f"{'union' if found.union else 'struct'} {found.name} {declarator}"
        return f"{found.name} {declarator}"


@dataclass
class _Rows:
    """A struct's members as they are written, with the bit that C has come to."""

    pad_name: Callable[[], str]
    packed: bool
    union: bool
    lines: list[str] = field(default_factory=list)
    at: int = 0
    align: int = 1  # of the members so far, in bytes
    end: int = 0  # a union's largest member

    def add(self, text: str, offset: int, size: int, align: int) -> None:
        natural = 8 * (1 if self.packed else align)
        if not self.union and _up(self.at, natural) != offset:
            self.reach(offset)
        self.lines.append(f"{text};")
        self._took(offset, size, align)

    def bits(self, text: str, offset: int, size: int, align: int) -> None:
        self.reach(offset)
        self.lines.append(f"{text}:{size};")
        self._took(offset, size, align)

    def _took(self, offset: int, size: int, align: int) -> None:
        self.at = 0 if self.union else offset + size
        self.end = max(self.end, offset + size)
        self.align = max(self.align, 1 if self.packed else align)

    def finish(self, size: int, align: int) -> None:
        if _up(self.end, 8 if self.packed else align) != size:
            self.reach(size)

    def reach(self, offset: int) -> None:
        """Padding up to a bit: bit fields to the next byte, bytes, bit fields again."""
        if self.at % 8 and offset > self.at:
            self._gap(min(8 - self.at % 8, offset - self.at))
        if offset - self.at >= 8:
            count = (offset - self.at) // 8
            self.lines.append(f"char {self.pad_name()}[{count}];")
            self.at += 8 * count
        if offset > self.at:
            self._gap(offset - self.at)

    def _gap(self, bits: int) -> None:
        self.lines.append(f"unsigned char :{bits};")
        self.at += bits


def _up(bit: int, align: int) -> int:
    return -(-bit // align) * align


def _all(_: Member) -> bool:
    return True


def _integer(enum: Enum) -> str:
    signed = enum.signed or any(value < 0 for _, value in enum.values)
    name = {1: "char", 2: "short", 4: "int", 8: "long long"}[enum.size]
    return f"{'signed' if signed else 'unsigned'} {name}"


def _number(value: int, suffix: str) -> str:
    if suffix and value >= 1 << 63:
        return f"{value}ULL"
    if value == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    return f"{value}{suffix}"
