"""What a C text names and what it defines itself, read off its tokens.

This is no C parser. It over-approximates what a program may need (every identifier) and recognises the few forms
in which C of this kind defines things: tags, typedefs, enumerators, macros and functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from bpfnb.compile.source import Source

__all__ = ["Definitions", "Text", "scan"]

_WORD = re.compile(r"\b[A-Za-z_]\w*")
_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
_TAG = re.compile(r"\b(struct|union|enum)\s+(?:__attribute__\s*\(\([^;{}]*\)\)\s*)?([A-Za-z_]\w*)\s*\{")
_ENUM_BODY = re.compile(r"\benum\b\s*\w*\s*\{([^{}]*)\}")
_TYPEDEF = re.compile(r"\btypedef\b")
_ARGUMENTS = r"\([^;{}()]*(?:\([^;{}()]*\)[^;{}()]*)*\)"
_FUNCTION = re.compile(rf"\b([A-Za-z_]\w*)\s*{_ARGUMENTS}\s*(?:__\w+\s*(?:\(\([^;{{}}]*\)\)\s*)?)*\{{")
_NOT_FUNCTIONS = {"if", "while", "for", "switch", "sizeof", "defined", "TRACEPOINT_PROBE"}
# BPF_HASH(name, ...), and BPF_TABLE(kind, key, leaf, name, ...).
_TABLE = re.compile(r"\bBPF_(?!TABLE)[A-Z_]+\s*\(\s*([A-Za-z_]\w*)")
_LONG_TABLE = re.compile(r"\bBPF_(?:F_)?TABLE\w*\s*\(([^;]*?)\)\s*;")
_TRACEPOINT = re.compile(r"\bTRACEPOINT_PROBE\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)")
_TRACEPOINT_NAME = re.compile(r"\btracepoint__(\w+)")
_CONDITION = re.compile(r"^(ifdef|ifndef|if|elif)$")


@dataclass(frozen=True, slots=True)
class Definitions:
    """Names that a text defines: C's tags (``struct x``), its ordinary names, and macros."""

    tags: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    macros: frozenset[str] = frozenset()

    def __or__(self, other: Definitions) -> Definitions:
        return Definitions(self.tags | other.tags, self.names | other.names, self.macros | other.macros)


@dataclass(frozen=True)
class Text:
    """A C text without comments and string contents."""

    source: Source

    @cached_property
    def code(self) -> str:
        return _STRING.sub('""', self.source.code)

    @cached_property
    def words(self) -> frozenset[str]:
        """Every identifier, macros' bodies and conditions included."""
        return frozenset(_WORD.findall(self.code))

    @property
    def includes(self) -> tuple[str, ...]:
        return self.source.includes

    @cached_property
    def defines(self) -> frozenset[str]:
        """Names that the text ``#define``s without asking first whether someone else did."""
        guarded = {rest.split()[0] for kind, rest in self.source.directives if kind == "ifndef" and rest}
        names = (_WORD.match(rest) for kind, rest in self.source.directives if kind == "define")
        return frozenset(name[0] for name in names if name and name[0] not in guarded)

    @cached_property
    def bodies(self) -> dict[str, frozenset[str]]:
        """The identifiers in each macro's definition."""
        found: dict[str, frozenset[str]] = {}
        for kind, rest in self.source.directives:
            if kind == "define" and (name := _WORD.match(rest)):
                found[name[0]] = found.get(name[0], frozenset()) | frozenset(
                    _WORD.findall(rest[name.end() :])
                )
        return found

    @cached_property
    def conditions(self) -> tuple[tuple[str, int], ...]:
        """Names that ``#if``, ``#ifdef`` and their like ask for, each with its 1-based line."""
        found = []
        for number, line in enumerate(self.code.split("\n"), 1):
            match = re.match(r"[ \t]*#[ \t]*(\w+)\b(.*)", line)
            if match and _CONDITION.match(match[1]):
                rest = re.sub(r"\b\d\w*", " ", match[2])  # 0x10, 5ULL
                found += [(name, number) for name in _WORD.findall(rest) if name != "defined"]
        return tuple(found)

    @cached_property
    def definitions(self) -> Definitions:
        code = _without_directives(self.code)
        tags = frozenset(f"{kind} {name}" for kind, name in _TAG.findall(code))
        names = {name for name in _FUNCTION.findall(code) if name not in _NOT_FUNCTIONS}
        for body in _ENUM_BODY.findall(code):
            names.update(match[0] for part in body.split(",") if (match := _WORD.search(part)))
        names.update(_TABLE.findall(code))
        for arguments in _LONG_TABLE.findall(code):
            parts = arguments.split(",")
            names.update(part.strip() for part in parts[3:4])
        names.update(name for match in _TYPEDEF.finditer(code) if (name := _declared(code, match.end())))
        return Definitions(tags, frozenset(names), self.defines)

    @cached_property
    def tracepoints(self) -> frozenset[tuple[str, str]]:
        """(category, event) of each tracepoint that is named; ``a__b__c`` gives both ways to divide it."""
        found = set(_TRACEPOINT.findall(self.code))
        for name in _TRACEPOINT_NAME.findall(self.code):
            parts = name.split("__")
            found |= {("__".join(parts[:at]), "__".join(parts[at:])) for at in range(1, len(parts))}
        return frozenset(found)

    @cached_property
    def records(self) -> tuple[str, ...]:
        """The structs that the text defines, as C names them: ``struct data_t``, or a typedef of one without a tag."""
        code = _without_directives(self.code)
        found = {f"struct {name}": None for kind, name in _TAG.findall(code) if kind == "struct"}
        for match in re.finditer(r"\btypedef\s+struct\s*\{", code):
            if name := _declared(code, match.start() + len("typedef")):
                found[name] = None
        return tuple(found)

    def prime(self, known: Mapping[str, Any]) -> None:
        """Take *known*, which :meth:`priming` gave of an equal text, for what would be worked out."""
        vars(self).update(known, definitions=Definitions(*known["definitions"]))

    def priming(self) -> dict[str, Any]:
        """What takes long to work out of a long text, in plain types."""
        found = self.definitions
        return {
            "definitions": (found.tags, found.names, found.macros),
            "words": self.words,
            "bodies": self.bodies,
        }

    def first_line(self, word: str) -> int:
        """The 1-based line on which a word first stands, 0 where it does not."""
        match = re.search(rf"\b{re.escape(word)}\b", self.code)
        return self.code.count("\n", 0, match.start()) + 1 if match else 0

    def members(self, tag: str) -> tuple[str, ...]:
        """Names of a struct's members as far as they are declared simply, in the text's own definition of it."""
        kind, name = tag.split()
        match = re.search(rf"\b{kind}\s+{name}\s*\{{", self.code)
        if not match:
            return ()
        body = self.code[match.end() : _closing(self.code, match.end())]
        body = _without_directives(re.sub(r"\{[^{}]*\}", "", body))
        found = [
            re.fullmatch(r"[^(){}:,]*?\b(\w+)\s*(?:\[[^\]]*\]\s*)*", part.strip()) for part in body.split(";")
        ]
        return tuple(match[1] for match in found if match and len(match[0].split()) > 1)


@lru_cache(maxsize=64)
def scan(text: str) -> Text:
    return Text(Source(text))


def _without_directives(code: str) -> str:
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", code, flags=re.M)


def _closing(code: str, at: int) -> int:
    """Where the brace closes that was opened before *at*."""
    depth = 1
    for match in re.finditer(r"[{}]", code[at:]):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return at + match.start()
    return len(code)


def _declared(code: str, at: int) -> str:
    """The name that the typedef beginning before *at* declares."""
    brace, semicolon = code.find("{", at), code.find(";", at)
    if 0 <= brace < semicolon:
        at = _closing(code, brace + 1) + 1
        semicolon = code.find(";", at)
    if semicolon < 0:
        return ""
    text = code[at:semicolon]
    if match := re.search(r"\(\s*\*\s*(\w+)\s*\)\s*\(", text):
        return match[1]
    words = _WORD.findall(re.sub(r"\[[^\]]*\]|\([^()]*\)\s*$", " ", text))
    return words[-1] if words else ""
