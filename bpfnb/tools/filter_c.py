"""A filter's tree (:mod:`bpfnb.tools.expression`) as C over a tool's values: checked, and made from nothing else."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from bpfnb.errors import BadValue, UnknownName, nearest
from bpfnb.tools.expression import (
    COMPARE,
    LOGIC,
    MATCH,
    Binary,
    Name,
    Node,
    Number,
    Text,
    Unary,
    parse,
    place,
)

__all__ = ["Compiled", "Operand", "compile_filter"]


@dataclass(frozen=True)
class Operand:
    """What a name in a filter stands for: a C expression; of text, of ``size`` bytes that end with a NUL or there.

    ``symbols`` are the names of its values. Numbers are 64 bits wide, ``signed`` or not. ``there`` is a condition in C
    of its having a value at all: no comparison with what is absent holds, nor does its opposite.
    """

    c: str
    size: int = 0
    signed: bool = True
    symbols: Mapping[str, int] = field(default_factory=dict)
    there: str = ""


@dataclass
class Compiled:
    """A filter as C: the condition, definitions that stand before the function, and the names it reads."""

    condition: str = ""
    definitions: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def compile_filter(
    expression: str, operands: Mapping[str, Operand], event: str, others: Iterable[str] = ()
) -> Compiled:
    """The filter as C over the *operands*, of which *event* has these, and *others* that this filter does not name.

    Raises BadValue and UnknownName, whose ``where`` is the column of what does not fit.
    """
    return _Compiler(expression, operands, event, others).compiled


@dataclass(frozen=True)
class _Value:
    """A number in C, and the operand that it is when nothing was done with it."""

    c: str
    signed: bool = True
    plain: Operand | None = None


class _Compiler:
    def __init__(
        self, expression: str, operands: Mapping[str, Operand], event: str, others: Iterable[str]
    ) -> None:
        self.expression = expression
        self.operands = operands
        self.event = event
        self.known = list(dict.fromkeys([*others, *operands]))
        self.compiled = Compiled()
        self.compiled.condition = self.truth(parse(expression))
        self.compiled.names = list(dict.fromkeys(self.compiled.names))

    def refuse(self, message: str, at: int, *hints: str) -> NoReturn:
        raise BadValue(f"filter: {message}", hints=hints, **place(self.expression, at))  # type: ignore[arg-type]

    def truth(self, node: Node, no: bool = False) -> str:
        """Where it holds, or where its opposite does (*no*): a negation goes down to what can be absent."""
        if isinstance(node, Binary) and node.sign in LOGIC:
            sign = {"&&": "||", "||": "&&"}[node.sign] if no else node.sign
            return f"({self.truth(node.left, no)} {sign} {self.truth(node.right, no)})"
        if isinstance(node, Unary) and node.sign == "!":
            return self.truth(node.of, not no)
        before = len(self.compiled.names)
        test = "!" * no + self.test(node)
        used = (self.operands[name].there for name in self.compiled.names[before:])
        there = dict.fromkeys(condition for condition in used if condition)
        return f"({' && '.join([*there, test])})" if there else test

    def test(self, node: Node) -> str:
        """A part of it that compares at most once."""
        if isinstance(node, Binary) and node.sign in MATCH:
            return self.matched(node)
        if isinstance(node, Binary) and node.sign in COMPARE:
            sides = [self.text(side) for side in (node.left, node.right)]
            if any(sides):
                return self.same(node, sides)
            return self.compared(node)
        if self.text(node):
            self.refuse("a text alone is neither true nor false", node.at, 'compare it: comm == "redis"')
        return f"({self.number(node).c} != 0)"

    # Texts

    def text(self, node: Node) -> Operand | None:
        """The field of text that *node* is, if it is one."""
        if not isinstance(node, Name) or node.value not in self.operands:
            return None
        operand = self.operands[node.value]
        return operand if operand.size else None

    def use(self, node: Node) -> None:
        assert isinstance(node, Name)
        self.compiled.names.append(node.value)

    def same(self, node: Binary, sides: list[Operand | None]) -> str:
        if node.sign not in ("==", "!="):
            self.refuse(f"texts have no '{node.sign}'", node.at, "they have == != ~ !~")
        no = "" if node.sign == "==" else "!"
        left, right = sides
        if left and right:
            self.use(node.left)
            self.use(node.right)
            return f"{no}bpfnb_same({left.c}, {right.c}, {min(left.size, right.size)})"
        operand, name, other = (left, node.left, node.right) if left else (right, node.right, node.left)
        assert operand
        if not isinstance(other, Text):
            self.refuse(f"'{name}' is a text and '{other}' is not", other.at, f'write {name} == "{other}"')
        self.use(name)
        data = other.value.encode()
        if len(data) > operand.size - (operand.size > 1):
            self.refuse(f"of '{name}' at most {operand.size - 1} bytes are kept", other.at)
        tests = [f"{operand.c}[{at}] == {_char(byte)}" for at, byte in enumerate([*data, 0][: operand.size])]
        return f"{no}({' && '.join(tests)})"

    def matched(self, node: Binary) -> str:
        operand = self.text(node.left)
        if operand is None:
            if isinstance(node.left, Name):
                self.named(node.left)  # which tells of one that there is not
            self.refuse(f"'{node.sign}' takes a field of text on its left", node.left.at)
        if not isinstance(node.right, Text):
            self.refuse(f"'{node.sign}' takes a pattern in quotes on its right", node.right.at)
        self.use(node.left)
        steps, stay, length = self.pattern(node.right)
        number = len(self.compiled.definitions)
        self.compiled.definitions.append(f"static const u64 bpfnb_step{number}[256] = {{{steps}}};")
        call = f"bpfnb_matches({operand.c}, {operand.size}, bpfnb_step{number}, {stay:#x}ULL, {1 << length:#x}ULL)"
        return call if node.sign == "~" else f"!{call}"

    def pattern(self, node: Text) -> tuple[str, int, int]:
        """A glob as an automaton: bit n of a state says that n characters of the pattern were matched.

        Which bits each byte moves on, which bits stay whatever comes (a star is there), and the length.
        """
        accepted: list[set[int]] = []
        stay = at = 0
        data = node.value.encode()
        while at < len(data):
            byte = data[at : at + 1]
            closing = data.find(b"]", at + 2)
            if byte == b"*":
                stay |= 1 << len(accepted)
            elif byte == b"?":
                accepted.append(set(range(1, 256)))
            elif byte == b"[" and closing > 0:
                accepted.append(_class(data[at + 1 : closing]))
                at = closing
            else:
                accepted.append({byte[0]})
            at += 1
        if len(accepted) > 62:
            self.refuse("a pattern has at most 62 characters", node.at)
        moves = [sum(1 << n for n, some in enumerate(accepted) if byte in some) for byte in range(256)]
        steps = ", ".join(f"[{byte}] = {bits:#x}ULL" for byte, bits in enumerate(moves) if bits)
        return steps, stay, len(accepted)

    # Numbers

    def number(self, node: Node) -> _Value:
        if isinstance(node, Number):
            return _literal(node.value)
        if isinstance(node, Name):
            return self.named(node)
        if isinstance(node, Text):
            self.refuse("a text stands where a number is needed", node.at)
        if node.sign in ("!", *LOGIC, *COMPARE, *MATCH):
            self.refuse("what is true or false is no number", node.at, "join conditions with && and ||")
        if isinstance(node, Unary):
            return _Value(f"({node.sign}(s64){self.number(node.of).c})")
        left, right = self.number(node.left), self.number(node.right)
        signed = left.signed and (right.signed or node.sign in ("<<", ">>"))
        if node.sign in ("<<", ">>"):
            return _Value(f"({left.c} {node.sign} ({right.c} & 63))", signed)
        kind = "s64" if signed else "u64"
        return _Value(f"(({kind}){left.c} {node.sign} ({kind}){right.c})", signed)

    def named(self, node: Name) -> _Value:
        if node.value in self.operands:
            operand = self.operands[node.value]
            if operand.size:
                self.refuse(f"'{node}' is a text, where a number is needed", node.at)
            self.use(node)
            return _Value(operand.c, operand.signed, operand)
        constant = _constant(node.value)
        if constant is not None:
            return _Value(f"{constant}LL")
        close = nearest(node.value, self.known)
        symbols = [name for operand in self.operands.values() for name in operand.symbols]
        if node.value in symbols:
            self.refuse(f"'{node}' stands beside another field than its own", node.at)
        hint = f"did you mean {', '.join(close)}?" if close else f"it has: {', '.join(self.known)}"
        message = f"{self.event} has no field '{node}'"
        raise UnknownName(message, hints=[hint], **place(self.expression, node.at))  # type: ignore[arg-type]

    def compared(self, node: Binary) -> str:
        if isinstance(node.right, Name):
            self.side(node.right, node.left)  # of what is wrong, an unknown name is said first
        left, right = self.side(node.left, node.right), self.side(node.right, node.left)
        sign = node.sign
        if left.signed == right.signed:
            kind = "s64" if left.signed else "u64"
            return f"(({kind}){left.c} {sign} ({kind}){right.c})"
        if right.signed:  # so that the unsigned one stands right
            left, right = right, left
            sign = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
        below = sign in ("<", "<=", "!=")
        test = f"(u64){left.c} {sign} (u64){right.c}"
        return f"((s64){left.c} < 0 || {test})" if below else f"((s64){left.c} >= 0 && {test})"

    def side(self, node: Node, other: Node) -> _Value:
        """One side of a comparison; a name or a text may be what the other side's field calls a value."""
        operand = self.operands.get(other.value) if isinstance(other, Name) else None
        if (
            operand is not None
            and isinstance(node, Name | Text)
            and not (isinstance(node, Name) and node.value in self.operands)
        ):
            if node.value in operand.symbols:
                return _literal(operand.symbols[node.value])
            if isinstance(node, Text):
                close = nearest(node.value, list(operand.symbols)) or list(operand.symbols)[:8]
                hints = [f"its values have the names {', '.join(close)}"] if close else []
                if len(node.value) == 1:
                    hints.append(f"quotes are of texts; the character's code is {ord(node.value)}")
                self.refuse(f"'{other}' is a number", node.at, *hints)
            if (
                operand.symbols
                and nearest(node.value, list(operand.symbols), 1)
                and not _constant(node.value)
            ):
                close = nearest(node.value, list(operand.symbols))
                message = f"'{other}' has no value '{node}'"
                raise UnknownName(
                    message,
                    hints=[f"did you mean {', '.join(close)}?"],
                    **place(self.expression, node.at),  # type: ignore[arg-type]
                )
        return self.number(node)


def _literal(value: int) -> _Value:
    signed = value < 1 << 63
    c = f"{value}LL" if signed and value > -(1 << 63) else f"{value & (1 << 64) - 1:#x}ULL"
    return _Value(c, signed)


def _constant(name: str) -> int | None:
    """The number of an error or a signal, and of true and false."""
    if name.lower() in ("true", "false"):
        return int(name.lower() == "true")
    if name in errno.errorcode.values():
        return int(getattr(errno, name))
    found = signal.Signals.__members__.get(name)
    return None if found is None else int(found)


def _class(body: bytes) -> set[int]:
    """The bytes of ``[a-z]``, or those that ``[!a-z]`` leaves."""
    inverse = body[:1] in (b"!", b"^")
    rest = body[inverse:]
    found: set[int] = set()
    at = 0
    while at < len(rest):
        if rest[at + 1 : at + 2] == b"-" and at + 2 < len(rest):
            found.update(range(rest[at], rest[at + 2] + 1))
            at += 3
        else:
            found.add(rest[at])
            at += 1
    return set(range(1, 256)) - found if inverse else found


def _char(byte: int) -> str:
    """A byte as a char of C, which is signed in BPF."""
    return str(byte - 256 if byte > 127 else byte)
