"""clang's messages as data: each with its place in the cell, or in another file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bpfnb.compile.source import Source
from bpfnb.errors import Diagnostic, Location

__all__ = ["included_at", "parse", "summary"]

# "io:3:9: error: text", "io:3: warning: text [-Wflag]" and, from the back end, "error: text" alone.
_MESSAGE = re.compile(
    r"^(?:(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? )?"
    r"(?:fatal )?(?P<severity>error|warning|note): (?P<text>.*)$"
)
# The back end's own position, before its message: "<unknown>:0:0: in function f i32 (ptr): text".
_BACKEND = re.compile(
    r"^(?:(?P<file>[^\s:]+):(?P<line>\d+):(?P<column>\d+): )?in function (?P<function>[\w.]+) [^:]*: "
)

# A position within the text, which is all that the back end of older versions gives.
_INSIDE = re.compile(r"\bat (?P<file>[^\s:]+):(?P<line>\d+):(?P<column>\d+)")


def parse(log: str, source: Source, ours: Sequence[Path] = ()) -> tuple[Diagnostic, ...]:
    """Every message of *log* in its order.

    Columns count characters, where clang counts bytes. Notes that point into *ours* (directories of headers that the
    user did not write) are left out, and so are warnings that such a note explains: that a cell defines again what
    the prelude defined is nothing to be warned of.
    """
    found: list[Diagnostic] = []
    lines = source.text.split("\n")
    for line in log.splitlines():
        match = _MESSAGE.match(line)
        if match is None or match["text"] == "":
            continue
        text, where = _tidy(match["text"]), _place(match, source, lines)
        if text.startswith(
            ("too many errors emitted", "include the header <", "could not determine the original")
        ):
            continue
        if backend := _BACKEND.match(text):
            text = text[backend.end() :]
            where = where or _place(backend, source, lines) or _function(backend["function"], source)
        if match["severity"] == "note" and where and _within(where.file, ours):
            if text.startswith("previous definition") and found and found[-1].severity == "warning":
                found.pop()
            continue
        if where is None and (inside := _INSIDE.search(text)):
            where = _place(inside, source, lines)
            text = " ".join((text[: inside.start()] + text[inside.end() :]).split())
        found.append(Diagnostic(match["severity"], text, where))
    return tuple(found)


def included_at(log: str, source: Source) -> Location | None:
    """The cell's ``#include`` through which the first message of another file came."""
    match = re.search(rf"^In file included from {re.escape(source.file)}:(\d+):", log, re.M)
    return Location(source.name, int(match[1])) if match else None


def summary(diagnostics: Sequence[Diagnostic], source: Source) -> str:
    """One sentence: ``2 errors in cell io: use of undeclared identifier 'foo'``."""
    errors = [d.message for d in diagnostics if d.severity == "error"]
    count = f"{len(errors)} errors" if len(errors) > 1 else "an error"
    what = re.sub(r" \[-W[^\]]*\]$", "", errors[0]) if errors else "clang failed"
    cell = source.name != "cell" and source.name.isidentifier()  # else "cell", or "program of tcplife"
    label = f"cell {source.name}" if cell else f"the {source.name}"
    if len(errors) <= 1:
        return f"{label[0].upper()}{label[1:]} does not compile: {what}"
    return f"{count} in {label}: {what}"


def _tidy(text: str) -> str:
    """Without what only compiler engineers read."""
    text = text.replace("; ISO C99 and later do not support implicit function declarations", "")
    text = text.replace(" [-Wimplicit-function-declaration]", "")
    text = re.sub(r"^(call to undeclared library function '\w+') with type .*", r"\1", text)
    text = re.sub(r"^error in backend: ", "", text)
    if match := re.match(r"Cannot select: 0x[0-9a-f]+: \w+ = (?:sdiv|srem) .*?, (\S+:\d+:\d+)$", text):
        return f"unsupported signed division at {match[1]}"
    return re.sub(r"0x[0-9a-f]{6,}: \w+ = GlobalAddress<ptr @(\w+)> 0, ", r"\1 at ", text)


def _place(match: re.Match[str], source: Source, lines: Sequence[str]) -> Location | None:
    if not match["file"] or match["file"] in ("<unknown>", "<stdin>") or match["line"] == "0":
        return None
    number, column = int(match["line"]), int(match["column"] or 0)
    if Path(match["file"]) != Path(source.file):
        return Location(match["file"], number, column)
    if column and number <= len(lines):
        column = len(lines[number - 1].encode()[: column - 1].decode(errors="replace")) + 1
    return Location(source.name, number, column)


def _function(name: str, source: Source) -> Location | None:
    """Where the cell defines a function, for messages that only name it."""
    # A definition has its name before a parenthesis, or inside BPF_PROG(name, ...), and no semicolon before the brace.
    match = re.search(rf"\b{re.escape(name)}\s*[(,][^;{{}}]*\{{", source.code)
    if not match:
        return None
    before = source.code[: match.start()]
    return Location(source.name, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _within(file: str, folders: Sequence[Path]) -> bool:
    path = Path(file)
    return any(folder in path.parents for folder in folders)
