"""Filters over what a tool sees, from what people write to C: ``prev_pid == 42 && next_comm ~ "redis*"``.

A small grammar of its own, so that what is written is never pasted into a program: it is read into a tree, checked
against the fields, and the C is made from the tree. Loosest first::

    or        and ("||" and)*                  "or", "and" and "not" are the same in words
    and       not ("&&" not)*
    not       "!" not | compared
    compared  number (("==" "!=" "<" "<=" ">" ">=") number)? | text ("==" "!=" "~" "!~") text
    number    "|", "^", "&", "<<" ">>", "+" "-", "*", each looser than the next as in C; unary "-" "~"; parentheses
    atom      field | 42 | 0x2a | 'text' | "text" | ENOENT | SIGTERM | a name of one of the field's values
    field     "*"* name ("->" name | "." name | "[" 42 "]")*

Bits bind tighter than comparisons: ``flags & 4 == 4``, which C reads as ``flags & (4 == 4)``, has to be written with
parentheses. ``~`` matches a pattern with ``*``, ``?`` and ``[a-z]``. Numbers are compared by their values, whatever
their signs and widths are. Where a tool's values have members, steps lead to them: ``req->conn.peer``, ``argv[1]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from bpfnb.errors import BadValue, Location

__all__ = [
    "COMPARE",
    "LOGIC",
    "MATCH",
    "Binary",
    "Name",
    "Node",
    "Number",
    "Text",
    "Unary",
    "names",
    "parse",
    "place",
]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>0[xX][0-9a-fA-F]+|\d+)(?![\w.])
      | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<name>[A-Za-z_]\w*)
      | (?P<mark>&&|\|\||<<|>>|->|==|!=|<=|>=|!~|[-+*~!<>&|^().[\]])
      )""",
    re.X,
)
_WORDS = {"or": "||", "and": "&&", "not": "!"}
_STEPS = {"->", ".", "["}
LOGIC = {"||", "&&"}
COMPARE = {"==", "!=", "<", "<=", ">", ">="}
MATCH = {"~", "!~"}
_BITS = ({"|"}, {"^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*"})  # loosest first
_DEEPEST = 50  # parentheses and signs within each other


@dataclass(frozen=True)
class Number:
    value: int
    at: int = field(compare=False)

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Text:
    value: str
    at: int = field(compare=False)

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class Name:
    """A field; ``value`` with all steps, as they were written."""

    value: str
    at: int = field(compare=False)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Unary:
    sign: str
    of: Node
    at: int = field(compare=False)

    def __str__(self) -> str:
        return f"({self.sign} {self.of})"


@dataclass(frozen=True)
class Binary:
    sign: str
    left: Node
    right: Node
    at: int = field(compare=False)

    def __str__(self) -> str:
        return f"({self.left} {self.sign} {self.right})"


Node = Number | Text | Name | Unary | Binary
"""``at`` is where it begins in the expression, or its sign stands, from 0. ``str()`` has all parentheses."""


def place(expression: str, at: int) -> dict[str, object]:
    return {"where": Location("filter", 1, at + 1), "source": expression}


class _Parser:
    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens: list[tuple[str, str, int]] = []
        self.next = 0
        self.depth = 0
        self.enclosed: dict[int, Node] = {}  # what stands in parentheses, by id
        at = 0
        while expression[at:].strip():
            found = _TOKEN.match(expression, at)
            if not found:
                at += len(expression[at:]) - len(expression[at:].lstrip())
                self.refuse(_strange(expression[at:]), at)
            kind = found.lastgroup or ""
            text, start = found[kind], found.start(kind)
            before = self.tokens[-1][1] if self.tokens else ""
            if kind == "name" and text in _WORDS and before not in _STEPS:
                kind, text = "mark", _WORDS[text]
            self.tokens.append((kind, text, start))
            at = found.end()
        self.tokens.append(("end", "", len(expression.rstrip())))

    def refuse(self, message: str, at: int, *hints: str) -> NoReturn:
        raise BadValue(f"filter: {message}", hints=hints, **place(self.expression, at))  # type: ignore[arg-type]

    def sign(self, signs: set[str]) -> str | None:
        kind, text, _ = self.tokens[self.next]
        return text if kind == "mark" and text in signs else None

    def take(self) -> tuple[str, str, int]:
        token = self.tokens[self.next]
        self.next += 1
        return token

    def whole(self) -> Node:
        if len(self.tokens) == 1:
            self.refuse("it is empty", 0)
        tree = self.either()
        kind, text, at = self.tokens[self.next]
        if kind != "end":
            self.refuse(f"'{text}' is one too many here", at)
        return tree

    def either(self) -> Node:
        left = self.both()
        while self.sign({"||"}):
            _, sign, at = self.take()
            left = Binary(sign, left, self.both(), at)
        return left

    def both(self) -> Node:
        left = self.inverted()
        while self.sign({"&&"}):
            _, sign, at = self.take()
            left = Binary(sign, left, self.inverted(), at)
        return left

    def inverted(self) -> Node:
        if self.sign({"!"}):
            _, sign, at = self.take()
            return Unary(sign, self.deeper(self.inverted), at)
        return self.compared()

    def compared(self) -> Node:
        left = self.bits(0)
        if not self.sign(COMPARE | MATCH):
            return left
        _, sign, at = self.take()
        right = self.bits(0)
        for side in (left, right):
            if isinstance(side, Binary) and side.sign in ("|", "^", "&") and id(side) not in self.enclosed:
                self.refuse(
                    f"'{side.sign}' beside '{sign}' needs parentheses",
                    side.at,
                    f"C would compare first; write (a {side.sign} b) {sign} c",
                )
        if self.sign(COMPARE | MATCH):
            _, again, where = self.take()
            self.refuse(f"'{again}' follows '{sign}'", where, "join comparisons with &&")
        return Binary(sign, left, right, at)

    def bits(self, level: int) -> Node:
        if level == len(_BITS):
            return self.single()
        left = self.bits(level + 1)
        while self.sign(_BITS[level]):
            _, sign, at = self.take()
            left = Binary(sign, left, self.bits(level + 1), at)
        return left

    def single(self) -> Node:
        kind, text, at = self.take()
        if kind == "number":
            value = int(text, 0) if text[:2].lower() == "0x" else int(text)
            if value >= 1 << 64:
                self.refuse(f"{text} needs more than 64 bits", at)
            return Number(value, at)
        if kind == "text":
            return Text(_unquoted(text), at)
        if kind == "name":
            return Name(self.path(text), at)
        if text == "*":
            pointer = self.deeper(self.single)
            if not isinstance(pointer, Name):
                self.refuse("'*' stands before a field that points to something", at)
            return Name("*" + pointer.value, at)
        if text in ("-", "~"):
            return Unary(text, self.deeper(self.single), at)
        if text == "(":
            inner = self.deeper(self.either)
            _, closing, where = self.take()
            if closing != ")":
                self.refuse(f"the parenthesis of column {at + 1} is not closed", where)
            self.enclosed[id(inner)] = inner
            return inner
        before = f" before '{text}'" if text else ""
        return self.refuse(f"a field or a value is missing{before}", at)

    def path(self, name: str) -> str:
        """The name with the steps that follow it."""
        while self.sign(_STEPS):
            _, step, at = self.take()
            kind, part, _ = self.tokens[self.next]
            if kind != ("number" if step == "[" else "name"):
                what = "the number of an element" if step == "[" else "a member's name"
                self.refuse(f"'{step}' is followed by {what}", at)
            self.take()
            name += step + part
            if step == "[":
                if not self.sign({"]"}):
                    self.refuse(f"the bracket of column {at + 1} is not closed", self.tokens[self.next][2])
                name += self.take()[1]
        return name

    def deeper(self, part: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.refuse(f"more than {_DEEPEST} levels deep", self.tokens[self.next][2])
        node = part()
        self.depth -= 1
        return node


def _strange(rest: str) -> str:
    if rest[0] in "\"'":
        return f"the text that begins with {rest[0]} does not end"
    if rest[0] == "=":
        return "'=' is no comparison: write '=='"
    if rest[0].isdigit():
        return f"'{re.match(r'[0-9A-Za-z_.]+', rest)[0]}' is no whole number"  # type: ignore[index]
    return f"'{rest[0]}' has no meaning here"


def _unquoted(text: str) -> str:
    """What stands between the quotes: ``\\n``, ``\\t``, ``\\x41``; any other character behind a backslash is itself."""

    def one(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else {"n": "\n", "t": "\t"}.get(code, code)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", one, text[1:-1], flags=re.S)


def parse(expression: str) -> Node:
    """The tree of a filter. Raises BadValue, whose ``where`` is the column of what does not fit."""
    return _Parser(expression).whole()


def names(node: Node) -> list[Name]:
    """The names in a tree, each once, in the order in which they occur."""
    found: dict[str, Name] = {}

    def collect(part: Node) -> None:
        if isinstance(part, Name):
            found.setdefault(part.value, part)
        elif isinstance(part, Unary):
            collect(part.of)
        elif isinstance(part, Binary):
            collect(part.left)
            collect(part.right)

    collect(node)
    return list(found.values())
