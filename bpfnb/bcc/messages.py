"""What bcc's compiler and the verifier print, as bpfnb's errors and warnings at the lines of the program."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bpfnb.bcc.advice import advice, global_variable
from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.lines import Lines
from bpfnb.compile.diagnostics import parse, summary
from bpfnb.compile.elf import BpfElf
from bpfnb.compile.source import Source
from bpfnb.doctor import permitted
from bpfnb.errors import CompileError, Diagnostic, Location, NotPermitted, VerifierError
from bpfnb.kernel.verifier import explain

__all__ = ["Unit", "compile_error", "looks_like_clang", "verifier_error", "warnings"]

_MAIN = "/virtual/main.c"
_PLACE = re.compile(rf"{re.escape(_MAIN)}:(\d+):(\d+)(?=: (?:fatal )?(?:error|warning|note):)")
_GENERATED = re.compile(
    rf"^((?:error|warning|note): )?{re.escape(_MAIN)}:(\d+):(\d+): in function (\w+) [^\n]*?: ", re.M
)
_REFUSED_TABLE = re.compile(r"could not open bpf map: (\w+), error: ([^\n]+)")
_GIVEN_UP = re.compile(r"^LLVM ERROR: (.*)$")
_LOGGED = re.compile(r"^;(?P<text>.*) @ (?:/virtual/)?main\.c:(?P<line>\d+)$", re.M)
_CLANG = re.compile(r"^(?:\S+:\d+:\d+: )?(?:fatal )?(?:error|warning|note): |^\d+ (?:error|warning)s? ", re.M)
_OURS = (Path("include"), Path("/virtual"))
_READER = re.compile(r"\b_bpf_readarg_\w+_\d+\(")
_HINT = re.compile(r"^HINT: (.*)$", re.M)


@dataclass(frozen=True)
class Unit:
    """One program that bcc compiles: the user's own ``text``, the ``prefix`` before it, and its ``name``."""

    text: str
    prefix: str = ""
    name: str = "cell"
    kernel: Kernel | None = None

    @cached_property
    def source(self) -> Source:
        return Source(self.text, self.name)

    @cached_property
    def lines(self) -> Lines:
        return Lines(self.text, self.prefix)


def looks_like_clang(log: str) -> bool:
    return bool(_CLANG.search(log))


def compile_error(log: str, unit: Unit) -> CompileError | NotPermitted:
    """The error for a program that bcc did not compile; *log* is what was printed meanwhile."""
    if refused := _REFUSED_TABLE.search(log):
        return _refused_table(refused[1], refused[2], unit, log)
    diagnostics = parse(_in_users_lines(log, unit), unit.source, _OURS)
    errors = [found for found in diagnostics if found.severity == "error"]
    if not errors:
        last = [line for line in log.strip().splitlines() if line.strip()][-1:]
        reason = last[0] if last else "it gave no reason"
        return CompileError(f"bcc refused the program: {reason}", source=unit.text, log=log)
    message = summary(diagnostics, unit.source)
    first = next((found.where for found in errors if found.where), None)
    hints = tuple(
        dict.fromkeys(hint for error in errors if (hint := advice(error, unit.source, unit.kernel)))
    )
    return CompileError(
        message, where=first, source=unit.text, diagnostics=diagnostics, hints=hints[:4], log=log
    )


def _refused_table(table: str, why: str, unit: Unit, log: str) -> CompileError | NotPermitted:
    """bcc makes the tables while it compiles."""
    if why == os.strerror(errno.EPERM) and (error := permitted()):
        return error
    code = unit.source.code
    found = re.search(rf"\b{re.escape(table)}\b", code)
    line = found and code.count("\n", 0, found.start()) + 1
    return CompileError(
        f"the kernel refused to make table '{table}': {why}",
        where=Location(unit.source.name, line) if line else None,
        source=unit.text,
        hints=["its kind, its size and the sizes of its key and value have to be such as the kernel takes"]
        if why == os.strerror(errno.EINVAL)
        else (),
        log=log,
    )


def warnings(log: str, unit: Unit) -> tuple[Diagnostic, ...]:
    """What clang had to remark of a program that does compile."""
    found = parse(_in_users_lines(log, unit), unit.source, _OURS)
    return tuple(
        one for one in found if one.severity != "note" and (one.where is None or one.where.file == unit.name)
    )


def verifier_error(log: str, unit: Unit, program: str, number: int) -> VerifierError | NotPermitted:
    """The error for a function that the kernel did not load; *log* is what bcc printed of it."""
    bare = re.sub(r"^bpf: Failed to load program: [^\n]*\n", "", log)

    def place(match: re.Match[str]) -> str:
        row = int(match["line"])
        line = unit.lines.of_generated(row, match["text"]) if row else 0
        return f";{match['text']} @ {unit.source.file}:{line}"

    if number == errno.EPERM and not bare.strip():
        return permitted() or NotPermitted("This process may not load BPF programs.", log=log)
    body = _HINT.sub("", _LOGGED.sub(place, bare)).rstrip() + "\n"
    raw = VerifierError(
        f"the kernel refused {program}", log=body, errno=number, program=program, section="bcc", source=unit.text,
        hints=_HINT.findall(log),
    )  # fmt: skip
    explained = explain(raw, BpfElf(b"", unit.source, "bcc", "", False))
    if "invalid mem access 'scalar'" in log and (name := global_variable(unit.source)):
        explained.hints = (f"bcc gives global variables no memory: keep {name} in BPF_ARRAY({name}, u64, 1)",)
    return explained


def _in_users_lines(log: str, unit: Unit) -> str:
    """clang's log with the user's lines and file name. The line below a message is the source line that it means."""
    rows = log.splitlines()
    out = []
    for number, row in enumerate(rows):
        below = rows[number + 1] if number + 1 < len(rows) else None

        def checked(match: re.Match[str], below: str | None = below) -> str:
            if _READER.search(below or ""):  # what the rewriter made of bpf_usdt_readarg
                return f"{unit.source.file}:{unit.lines.of_generated(int(match[1]))}:1"
            return f"{unit.source.file}:{unit.lines.of_checked(int(match[1]), below)}:{match[2]}"

        def generated(match: re.Match[str]) -> str:
            line = unit.lines.of_generated(int(match[2])) if int(match[2]) else _line_of(match[4], unit)
            return f"{unit.source.file}:{line}:{max(1, int(match[3]))}: {match[1] or 'error: '}"

        def given_up(match: re.Match[str]) -> str:
            what = _operation(match[1])
            if not (place := re.search(rf"{re.escape(_MAIN)}:(\d+):(\d+)", match[1])):
                return f"error: {what}"
            return f"{unit.source.file}:{unit.lines.of_generated(int(place[1]))}:{place[2]}: error: {what}"

        row = re.sub(r"args to 0x[0-9a-f]+: i64 = Constant<(\d+)>", r"args to helper number \1", row)
        row = _GIVEN_UP.sub(given_up, row)
        out.append(_PLACE.sub(checked, _GENERATED.sub(generated, row)))
    return "\n".join(out)


def _operation(text: str) -> str:
    """What LLVM has no BPF instruction for, from its dump of the operation."""
    found = re.match(r"Cannot select: 0x[0-9a-f]+: \S+ = (\w+)", text)
    if found is None:
        return text
    if found[1] in ("sdiv", "srem"):
        return "unsupported signed division: BPF divides unsigned numbers only"
    return f"LLVM has no BPF instruction for this ({found[1]})"


def _line_of(function: str, unit: Unit) -> int:
    """Where a function is defined, for messages that name no line; 1 where it is not found."""
    match = re.search(rf"\b{re.escape(function)}\s*\([^;{{}}]*\{{", unit.source.code)
    return unit.source.code.count("\n", 0, match.start()) + 1 if match else 1
