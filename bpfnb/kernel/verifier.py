"""Why the verifier refused a program: where in the cell, what the registers held, and what to write instead.

``explain`` turns the raw log of a failed load into a VerifierError that a reader of C understands: the log is read by
:mod:`bpfnb.kernel.verifier_log`, its closing lines are looked up in :mod:`bpfnb.kernel.rejections`, and the column (on
kernels before 6.9 also the line) comes from the object's own line table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from string import Template
from typing import TYPE_CHECKING

from bpfnb.errors import Location, VerifierError
from bpfnb.kernel.lineinfo import Line, LineTable
from bpfnb.kernel.names import MAP_TYPES, name_of
from bpfnb.kernel.registers import words
from bpfnb.kernel.rejections import Rejection, match
from bpfnb.kernel.verifier_log import CALL, WINDOW, WRITE, Step, VerifierLog

if TYPE_CHECKING:
    from bpfnb.compile import BpfElf

__all__ = ["Diagnosis", "diagnose", "explain"]

_REGISTER_NAME = re.compile(r"\bR(\d+)\b")
_OPERAND = re.compile(r"\b[rw](\d+)\b")
_BACKWARD = re.compile(r"goto pc-\d+")
_PROGRAM = re.compile(r"prog '([^']+)': (?:BPF program load failed|failed to|-- BEGIN)")
_FORGOTTEN = re.compile(r"invalid mem access '(?:scalar|inv)'|type=(?:scalar|inv) expected=")
_UNTELLING = re.compile(r"^failed to load|^prog '.*failed to load|ulimit")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out about one rejection. ``rejection`` is an id of the catalogue, empty where it has none."""

    program: str
    section: str
    instruction: int | None
    where: Location | None
    reason: str
    registers: Mapping[str, str]
    rejection: str
    title: str
    hints: tuple[str, ...]


def explain(error: VerifierError, elf: BpfElf) -> VerifierError:
    """*error* with the place in the source, the registers in words, and hints; ``log`` and ``errno`` stay.

    Where the log says nothing that the catalogue knows, the verifier's own reason is the message.
    """
    found = diagnose(
        error.log, elf, program=error.program, section=error.section, errno=error.errno, message=error.message
    )
    section = f" ({found.section})" if found.section else ""
    subject = (
        f"The verifier refused program {found.program!r}{section}" if found.program else "The load failed"
    )
    return VerifierError(
        f"{subject}: {found.title or found.reason or error.message}.".replace("..", "."),
        where=found.where,
        source=elf.source.text or error.source,
        hints=found.hints or error.hints,
        log=error.log,
        errno=error.errno,
        program=found.program,
        section=found.section,
        instruction=found.instruction,
        reason=found.reason,
        registers=found.registers,
    )


def diagnose(
    log: str, elf: BpfElf, *, program: str = "", section: str = "", errno: int = 0, message: str = ""
) -> Diagnosis:
    """Read *log* (the verifier's alone, or all that libbpf printed) of a failed load of *elf*."""
    program = program or _last(_PROGRAM, log) or (elf.programs[0][0] if len(elf.programs) == 1 else "")
    section = section or dict(elf.programs).get(program, "")
    return _Reader(VerifierLog.of(log), elf, program, section, errno, message).diagnosis()


@dataclass
class _Reader:
    log: VerifierLog
    elf: BpfElf
    program: str
    section: str
    errno: int
    message: str
    _table: LineTable | None = field(default=None, init=False)

    def diagnosis(self) -> Diagnosis:
        reason = self.log.reason
        steps = self.log.steps
        text = "\n".join(reason) or self._fallback()
        step = steps[-1] if steps else None
        names = _REGISTER_NAME.findall(text)
        register = int(names[0]) if names else None
        origin = self.log.origin(len(steps) - 1, register) if step and register is not None else None
        acquired = re.search(r"alloc_insn=(\d+)", text)
        maker = self._step_of(int(acquired[1])) if acquired else origin
        now = self.log.state(len(steps) - 1, register) if step and register is not None else None
        found = match(text, f"{maker.text} {_joined(maker.after)} now={now or ''}" if maker else "")
        number = step.number if step else None
        if found is not None:
            named = found[1].groupdict()
            number = int(named.get("insn") or named.get("insn2") or (number if number is not None else -1))
            step = step if step is None or step.number == number else self._step_of(number)
            if found[0].id in ("too-large", "too-many-instructions"):
                step = self._loop() or step
                number = step.number if step else number
        where = self._where(number if number is not None and number >= 0 else None, step)
        fields = self._fields(found, where, maker, step)
        lines = text.splitlines()
        return Diagnosis(
            program=self.program,
            section=self.section,
            instruction=number if number is not None and number >= 0 else None,
            where=where,
            reason=_short(found[1], lines) if found else (lines[-1] if lines else ""),
            registers=self._registers(step, len(steps) - 1, names, text),
            rejection=found[0].id if found else "",
            title=_fill(found[0].title, fields) if found else "",
            hints=self._hints(found[0], fields) if found else (),
        )

    def _fallback(self) -> str:
        """libbpf's own words, where the verifier said nothing."""
        lines = [line.removeprefix("libbpf: ") for line in self.log.outside.splitlines()]
        known = [line for line in lines if match(line) and "BPF program load failed" not in line]
        if known:
            return known[0]
        if self.errno == 7:
            return (
                "BPF program is too large. Processed 1000001 insn"
                if self.log.steps
                else "Argument list too long"
            )
        lines = [re.sub(r"^prog '.*?': BPF program load failed: ", "", line) for line in lines]
        telling = [line for line in lines if line and not _UNTELLING.search(line)]
        return telling[-1] if telling else self.message

    # Where.

    @property
    def table(self) -> LineTable:
        if self._table is None:
            self._table = LineTable(self.elf.data)
        return self._table

    def _step_of(self, number: int) -> Step | None:
        return next((s for s in reversed(self.log.steps) if s.number == number), None)

    def _where(self, number: int | None, step: Step | None) -> Location | None:
        """The place of instruction *number* in the user's own source, or where that led into a header."""
        line = self.table.at(self.program, number or 0)
        logged = step.source if step else None
        if logged is not None and logged.line:
            place = Location(logged.file, logged.line, _column(line, logged))
        elif line is not None:
            place = Location(line.file, line.line, line.column if number is not None else 0)
        else:
            return None
        return self._own(place, number) or place

    def _own(self, place: Location, number: int | None) -> Location | None:
        """*place* if it is in the cell; else the cell's last line before it, from where the header's code came."""
        name = self.elf.source.file
        if PurePath(place.file).name == name:
            return Location(self.elf.source.name, place.line, place.column)
        before = [
            line
            for at, line in self.table.lines(self.program)
            if number is not None and at <= number and PurePath(line.file).name == name
        ]
        if before:
            return Location(self.elf.source.name, before[-1].line, before[-1].column)
        return None

    def _loop(self) -> Step | None:
        """The backward jump that the verifier took last: the loop in which it gave up."""
        return next((s for s in reversed(self.log.steps) if _BACKWARD.search(s.text)), None)

    # Registers.

    def _registers(self, step: Step | None, last: int, names: list[str], reason: str) -> dict[str, str]:
        if step is None or last < 0 or step is not self.log.steps[last]:
            return {}
        write = WRITE.match(step.text)
        source = step.text[write.end() :] if write and write[0].endswith(" =") else step.text
        used = names or _OPERAND.findall(source)
        # The verifier has already forgotten what a released record or a stale packet pointer was.
        dead = _FORGOTTEN.search(reason) is not None
        out = {}
        for name in dict.fromkeys(used):
            if name == "10" and len(used) > 1:
                continue
            state = self.log.state(last, int(name))
            text = words(state) if state else "never written on this path"
            if state and dead and "number" not in text:
                text = f"no longer {text}"
            origin = self.log.origin(last, int(name)) if state else None
            out[f"R{name}"] = text + (self._from(origin) if origin else "")
        return out

    def _from(self, step: Step) -> str:
        place = self._where(step.number, step)
        line = f" (line {place.line})" if place and place.line else ""
        called = CALL.match(step.text)
        return f", from {called[1]}{line}" if called and not called[1].startswith("pc") else ""

    # Words.

    def _fields(
        self,
        found: tuple[Rejection, re.Match[str]] | None,
        where: Location | None,
        maker: Step | None,
        step: Step | None,
    ) -> dict[str, str]:
        named = {key: value for key, value in (found[1].groupdict() if found else {}).items() if value}
        for key, value in list(named.items()):
            named.setdefault(key.rstrip("2"), value)
        fields = {
            "program": self.program,
            "section": self.section,
            "made": "acquired earlier",
            "loop": "",
            **named,
        }
        if maker is not None:
            place = self._where(maker.number, maker)
            called = CALL.match(maker.text)
            line = f" in line {place.line}" if place and place.line else ""
            fields["made"] = f"{called[1] if called else 'acquired'}{line}"
        if where is not None and step is not None and _BACKWARD.search(step.text):
            fields["loop"] = f" in the loop of line {where.line}"
        if "off" in fields and "size" in fields:
            fields["end"] = (
                str(int(fields["off"]) + int(fields["size"])) if fields["off"].lstrip("-").isdigit() else ""
            )
        if "want" in named and step is not None:
            called = CALL.match(step.text)
            fields |= {"argument": named["reg"][1:], "callee": called[1] if called else "the function"}
            fields["wanted"] = _wanted(named["want"])
        if "type" in named and "helper" in named:
            fields["maptype"] = name_of(MAP_TYPES, int(named["type"]))
        if found and found[0].id == "helper-unavailable":
            fields["offered"] = _offered(fields["helper"])
        if found and found[0].id == "core-relocation":
            fields["what"] = named.get("what", "").strip() or self._relocation()
        return fields

    def _relocation(self) -> str:
        """The field or type of a failed CO-RE relocation, from libbpf's own lines."""
        text = self.log.body + self.log.outside
        found = re.search(
            r"CO-RE relocat\w+ (?:against |<\w+> )?\[\d+\] ((?:struct|union|enum)? ?[\w.:]+)", text
        )
        return found[1].strip() if found else "a field or type that the program uses"

    @staticmethod
    def _hints(entry: Rejection, fields: Mapping[str, str]) -> tuple[str, ...]:
        first, *rest = (_fill(text, fields) for text in entry.remedy)
        return (f"{_fill(entry.explanation, fields)}\n{first}", *rest)


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.findall(text[-WINDOW:])
    return str(found[-1]) if found else ""


def _column(line: Line | None, logged: Location) -> int:
    """The table's column, if it speaks of the line that the log names."""
    same = (
        line is not None
        and line.line == logged.line
        and PurePath(line.file).name == PurePath(logged.file).name
    )
    return line.column if line is not None and same else 0


def _joined(state: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in state.items())


def _short(found: re.Match[str], lines: list[str]) -> str:
    """The reason's lines from the first that the catalogue's pattern touches, at most two."""
    at = found.string.count("\n", 0, found.start())
    text = "; ".join(lines[max(0, min(at, len(lines) - 2)) :][:2]) if len(lines) < 4 else lines[at]
    return text.removesuffix("'") if text.count("'") % 2 else text


def _fill(text: str, fields: Mapping[str, str]) -> str:
    return Template(text).safe_substitute({"offered": "", **fields})


def _wanted(kinds: str) -> str:
    """The verifier's list of register kinds (``fp, pkt, map_value``) as what a C programmer passes."""
    first = kinds.split(",")[0].strip()
    if "," in kinds:
        return "the address of a variable or of other memory"
    return {
        "map_ptr": "the address of a map",
        "fp": "the address of a variable on the stack",
        "map_value": "the address of something inside a map's value",
        "ringbuf_mem": "what bpf_ringbuf_reserve returned",
        "alloc_mem": "what bpf_ringbuf_reserve returned",
        "ctx": "the program's own context",
        "scalar": "a number",
    }.get(first, f"a {first.strip('_')}")


def _offered(helper: str) -> str:
    """Which program types have *helper* on this kernel, found by trying."""
    from bpfnb.kernel.features import helper_programs

    kinds = helper_programs(helper)
    return f" {helper} can be called from programs of type {', '.join(kinds)}." if kinds else ""
