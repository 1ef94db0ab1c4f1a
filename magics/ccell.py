"""What a cell's own C says about names: maps, structs, and the types of variables. Patterns, not a parser.

Completion works on text that does not compile yet, so this reads what it recognises and passes over the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Field", "declared", "maps", "structs", "words"]

_COMMENT = re.compile(r"//[^\n]*|/\*.*?(\*/|$)", re.DOTALL)
_MAP = re.compile(r'\}\s*(\w+)\s*(?:SEC\("\.maps"\)|__weak\s+SEC\("\.maps"\))')
_STRUCT = re.compile(r"\b(struct|union)\s+(\w+)\s*\{")
_VARIABLE = re.compile(r"\b(?:struct|union)\s+(\w+)\s*(?:\*\s*|\s)(?:const\s+|\*)*(\w+)\s*(?=[;,)=\[]|$)")
_DECLARATOR = re.compile(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?::\s*\w+\s*)?$")
_WORD = re.compile(r"[A-Za-z_]\w{2,}")
_ANNOTATION = re.compile(r"\b(?:UNIT|FORMAT|DESCRIPTION|VIEW)\s*\([^)]*\)|\bHIDDEN\b")


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a struct that the cell defines; ``struct`` names its type where that is one."""

    name: str
    type: str
    struct: str = ""


def without_comments(text: str) -> str:
    return _COMMENT.sub(" ", text)


def maps(text: str) -> list[str]:
    """Names of the maps that the text defines, in order."""
    return _MAP.findall(without_comments(text))


def words(text: str) -> list[str]:
    """Every identifier of the text, each once."""
    return list(dict.fromkeys(_WORD.findall(without_comments(text))))


def structs(text: str) -> dict[str, list[Field]]:
    """The members of each struct or union that the text defines; members of anonymous ones are the outer's."""
    clean = _ANNOTATION.sub(" ", without_comments(text))
    return {match[2]: list(_fields(_body(clean, match.end()))) for match in _STRUCT.finditer(clean)}


def declared(text: str) -> dict[str, str]:
    """The struct of each variable and parameter that the text declares, the last declaration winning."""
    return {name: struct for struct, name in _VARIABLE.findall(without_comments(text))}


def _body(text: str, start: int) -> str:
    """From after an opening brace to the one that closes it, or to the end of the text."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[start:at]
    return text[start:]


def _fields(body: str) -> Iterator[Field]:
    """Split at the semicolons outside of braces; an inner ``struct { ... }`` without a name lends its members."""
    start = depth = 0
    for at, letter in enumerate(body):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == ";" and depth == 0:
            yield from _declaration(body[start:at])
            start = at + 1


def _declaration(text: str) -> Iterator[Field]:
    if "{" in text:
        inner = text[text.index("{") + 1 : text.rindex("}")]
        name = text[text.rindex("}") + 1 :].strip()
        if not name:
            yield from _fields(inner)
            return
        text = "struct {...} " + name
    head, *more = text.split(",")
    first = _DECLARATOR.search(head.strip())
    if first is None:
        return
    kind = head.strip()[: first.start()].strip()
    of = re.search(r"\b(?:struct|union)\s+(\w+)", kind)
    for declarator in (first[0], *more):
        named = _DECLARATOR.search(declarator.strip())
        if named is not None:
            yield Field(named[1], kind, of[1] if of else "")
