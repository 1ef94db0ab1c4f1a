"""Lines of the text that bcc compiles, back to lines of the text that it was given.

bcc puts the readers of USDT arguments in front of the text and, before clang checks it, the struct of a tracepoint's
fields in front of each function that takes one. Before code is generated, its rewriter adds ten lines in front of
everything, one in front of each function, and one behind the opening brace of each that is a program.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from bpfnb.bcc.scan import scan
from bpfnb.errors import Diagnostic
from bpfnb.kernel.system import mount_tracefs

__all__ = ["Lines", "functions_in", "shifted"]

PREAMBLE = 10

_PROBE = re.compile(r"\bTRACEPOINT_PROBE\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)|\bstruct\s+tracepoint__(\w+)\s*\*")
_FIELD = re.compile(r"\tfield:([^;]*);\toffset:(\d+);\tsize:(\d+);")
_STATIC = re.compile(r"\bstatic\b|\b__always_inline\b")


@dataclass(frozen=True)
class Lines:
    """*text* is the user's, *prefix* what was put in front of it before bcc saw it."""

    text: str
    prefix: str = ""

    def of_checked(self, number: int, excerpt: str | None = None) -> int:
        """The user's line of one that clang names while it checks; *excerpt* is that line as clang prints it."""
        return self._corrected(_at(self._checked, number), excerpt)

    def of_generated(self, number: int, excerpt: str | None = None) -> int:
        """The user's line of one that the code generator or the verifier names."""
        return self._corrected(_at(self._generated, number), excerpt)

    def _corrected(self, line: int, excerpt: str | None) -> int:
        """A line that does not read as it should moves to the nearest that does."""
        if excerpt is None or self._says(line, excerpt):
            return line
        # What the preprocessor leaves out, or a field that a newer kernel describes in a new way, was misreckoned.
        same = [at for at in range(1, len(self._lines) + 1) if self._says(at, excerpt)]
        return min(same, key=lambda at: abs(at - line), default=line)

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    def _says(self, line: int, excerpt: str) -> bool:
        return 1 <= line <= len(self._lines) and self._lines[line - 1].strip() == excerpt.strip()

    @cached_property
    def _checked(self) -> list[int]:
        return self._rows(rewritten=False)

    @cached_property
    def _generated(self) -> list[int]:
        return self._rows(rewritten=True)

    def _rows(self, *, rewritten: bool) -> list[int]:
        """The user's line of each line that bcc compiles, in order; lines of the prefix count as the first."""
        code = scan(self.prefix + self.text).code  # braces in strings are none
        before: Counter[int] = Counter()
        behind: Counter[int] = Counter()
        for start, head, brace in functions_in(code):
            line = code.count("\n", 0, start) + 1
            if probe := _PROBE.search(head):
                before[line] += _struct_length(probe)
            if rewritten:
                before[line] += 1
                behind[code.count("\n", 0, brace) + 1] += not _STATIC.search(head)
        skipped = self.prefix.count("\n")
        rows = [1] * PREAMBLE if rewritten else []
        for number in range(1, code.count("\n") + 2):
            rows += [max(1, number - skipped)] * (before[number] + 1 + behind[number])
        return rows


def _at(rows: list[int], number: int) -> int:
    return rows[min(max(number, 1), len(rows)) - 1]


def functions_in(code: str) -> Iterator[tuple[int, str, int]]:
    """(start, head, position of the opening brace) of each function's definition."""
    depth, start = 0, 0
    for match in re.finditer(r"[{};]|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", code, re.M):
        mark = match[0]
        if mark == "{":
            head = code[start : match.start()]
            if depth == 0 and head.rstrip().endswith(")"):
                yield start + len(head) - len(head.lstrip()), head, match.start()
            depth += 1
        elif mark == "}":
            depth = max(0, depth - 1)
        if depth == 0:
            start = match.end()


def _struct_length(probe: re.Match[str]) -> int:
    """How many lines bcc writes for a tracepoint's struct."""
    if probe[1]:
        return _described(probe[1], probe[2])
    parts = probe[3].split("__")
    ways = [("__".join(parts[:at]), "__".join(parts[at:])) for at in range(1, len(parts))]
    return next((length for way in ways if (length := _described(*way))), 0)


def _described(category: str, event: str) -> int:
    """How many lines the struct of a tracepoint's fields takes; 0 where there is no such tracepoint.

    Three lines around them, one a field of its own, and one a byte (``char __pad_12;``) of each gap between two.
    """
    try:
        text = (mount_tracefs() / "events" / category / event / "format").read_text()
    except OSError:
        return 0
    lines, end = 3, 8
    for name, offset, size in _FIELD.findall(text):
        if not re.search(r"\bcommon_\w+$", name):
            lines += 1 + max(0, int(offset) - end)
            end = int(offset) + int(size)
    return lines


def shifted(found: Sequence[Diagnostic], prefix: int) -> list[Diagnostic]:
    """Lines counted in the text with what bcc put in front, as lines of the user's."""
    out = []
    for one in found:
        where = one.where and type(one.where)(
            one.where.file, max(1, one.where.line - prefix), one.where.column
        )
        out.append(Diagnostic(one.severity, one.message, where))
    return out
