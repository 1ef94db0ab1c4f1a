"""What the program's text says of its output: the names of maps' keys, and the fields of printf's rows.

Patterns, not a parser: what they do not recognise stays text in one column.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Format", "code_of", "formats", "keys", "probes"]

_BLANK = re.compile(r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*\"""", re.S)
_MAP = re.compile(r"@\w*\[")
_PRINTF = re.compile(r"\bprintf\s*\(\s*(?=\")")
_SPEC = re.compile(r"%(?P<flags>[-+ #0]*)(?P<width>\d*)(?:\.\d+)?(?:hh?|ll?|j|z|t)?(?P<kind>[a-zA-Z%])")
_NUMBERS = {
    "d": r"[-+ ]?\d+",
    "i": r"[-+ ]?\d+",
    "u": r"\d+",
    "x": r"(?:0x)?[0-9a-f]+",
    "X": r"(?:0X)?[0-9A-F]+",
}


def code_of(text: str) -> str:
    """The text with comments as spaces, of the same length."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0][0] == '"' else re.sub(r"[^\n]", " ", match[0])

    return _BLANK.sub(blank, text)


def probes(text: str) -> list[tuple[str, int]]:
    """The probes that the text names, each with the line that it stands on, from 1."""
    code = re.sub(r'"(?:\\.|[^"\\\n])*"', lambda found: " " * len(found[0]), code_of(text))
    found = []
    for match in re.finditer(r"\b\w+:[^\s,{/]+|\b(?:BEGIN|END)\b", code):
        found.append((match[0], code.count("\n", 0, match.start()) + 1))
    return found


def _parts(code: str, start: int, closing: str) -> tuple[list[str], int]:
    """What stands between commas from *start* to the bracket that closes, and where that is."""
    parts, depth, at, begin = [], 0, start, start
    while at < len(code):
        letter = code[at]
        if letter == '"':
            end = re.compile(r'"(?:\\.|[^"\\\n])*"').match(code, at)
            at = end.end() if end else at + 1
            continue
        if not depth and (letter == closing or letter == ","):
            parts.append(code[begin:at].strip())
            begin = at + 1
            if letter == closing:
                return parts, at
        depth += (letter in "([") - (letter in ")]")
        at += 1
    return parts, at


def _named(expressions: list[str], otherwise: str) -> list[str]:
    """Columns' names of expressions: ``comm``, ``str(args->filename)`` is filename, others are numbered."""
    names: list[str] = []
    for number, expression in enumerate(expressions, 1):
        inner = re.sub(
            r"^(?:str|ntop|ksym|usym|cgroup_path|hex|kstack|ustack|buf|strftime)\s*\(\s*", "", expression
        )
        kind = re.match(r"(kstack|ustack)\b", expression)
        plain = re.fullmatch(r"[$@]?(?:\w+(?:->|\.))*(\w+)(?:\s*[,)].*)?", inner)
        name = kind[1] if kind else plain[1] if plain and not plain[1].isdigit() else f"{otherwise}{number}"
        names.append(name if name not in names else f"{name}{number}")
    return names


def keys(text: str) -> dict[str, list[str]]:
    """The columns of each map's key, by the map's name. Of the first place where it is used."""
    code = code_of(text)
    found: dict[str, list[str]] = {}
    for match in _MAP.finditer(code):
        parts, _ = _parts(code, match.end(), "]")
        found.setdefault(match[0][:-1], _named(parts, "key"))
    return found


@dataclass(frozen=True)
class Format:
    """One printf: what it prints, and its arguments' names."""

    text: str
    names: tuple[str, ...]

    @cached_property
    def _pattern(self) -> tuple[str, str]:
        """A regular expression that takes as much as it can for each text, and one that takes as little."""
        out, numbers = "", iter(range(len(self.names)))
        at = 0
        for spec in _SPEC.finditer(self.text):
            out += re.escape(self.text[at : spec.start()])
            at = spec.end()
            if spec["kind"] == "%":
                out += "%"
                continue
            next(numbers, None)
            body = _NUMBERS.get(spec["kind"], "(?:\\S(?:.\0\\S)\1|)" if spec["width"] else ".\0")
            out += rf" *({body}) *" if spec["width"] else f"({body})"
        out += re.escape(self.text[at:].rstrip("\n"))
        most = out.replace(".\0", ".*").replace("\1", "?")
        return most, out.replace(".\0", ".*?").replace("\1", "??")

    @property
    def whole(self) -> bool:
        """Whether it prints one line, so that a line can be known as its."""
        return self.text.endswith("\n") and self.text.count("\n") == 1 and bool(self.names)

    def values(self, line: str) -> tuple[object, ...] | None:
        """What stood for the arguments; None where the line is not of this format, or can be read in two ways."""
        most, least = (re.fullmatch(pattern, line) for pattern in self._pattern)
        if not most or not least or most.groups() != least.groups() or len(most.groups()) != len(self.names):
            return None
        kinds = [spec["kind"] for spec in _SPEC.finditer(self.text) if spec["kind"] != "%"]
        return tuple(_value(kind, text) for kind, text in zip(kinds, most.groups(), strict=True))


def _value(kind: str, text: str) -> object:
    if kind in "xX":
        return int(text, 16)
    return int(text) if kind in _NUMBERS else text


def formats(text: str) -> list[Format]:
    """The printfs of a program."""
    return list(_formats(code_of(text)))


def _formats(code: str) -> Iterator[Format]:
    for match in _PRINTF.finditer(code):
        parts, _ = _parts(code, match.end(), ")")
        try:
            template = "".join(
                ast.literal_eval(piece) for piece in re.findall(r'"(?:\\.|[^"\\\n])*"', parts[0])
            )
        except (SyntaxError, ValueError, IndexError):
            continue
        yield Format(template, tuple(_named(parts[1:], "arg")))
