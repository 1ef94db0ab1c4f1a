"""What can go wrong, each with what happened, where in the cell, and what to do next.

Every error has the same four fields, so a notebook, a terminal and a program can each use them:

- ``message``: one sentence that says what happened;
- ``where``: a :class:`Location` in the user's source, or ``None``;
- ``hints``: what to do next, most useful first;
- ``log``: the complete text of the compiler, of libbpf or of the verifier.

In IPython they render without a Python stack (``_render_traceback_``), since the stack would show bpfnb's inside
and not the user's cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

__all__ = [
    "AttachError",
    "BadRecording",
    "BadValue",
    "BpfnbError",
    "CompileError",
    "Diagnostic",
    "KernelFeatureMissing",
    "LoadError",
    "Location",
    "MapError",
    "MapFull",
    "MapTypeError",
    "MissingDependency",
    "MissingRecording",
    "NotPermitted",
    "ObjectClosed",
    "UnknownName",
    "VerifierError",
    "nearest",
]


@dataclass(frozen=True, slots=True)
class Location:
    """A place in the user's source: 1-based line and column (0 where unknown)."""

    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" + (f", column {self.column}" if self.column else "")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message of the compiler or of the verifier."""

    severity: str  # "error", "warning" or "note"
    message: str
    where: Location | None = None


def nearest(name: str, known: Sequence[str], count: int = 3) -> list[str]:
    """The names of *known* that are spelled most like *name*, best first."""
    return get_close_matches(name, known, n=count, cutoff=0.6)


class BpfnbError(Exception):
    """Base of all errors that bpfnb raises on purpose."""

    title = "bpfnb"

    def __init__(
        self,
        message: str,
        *,
        where: Location | None = None,
        source: str | None = None,
        hints: Sequence[str] = (),
        log: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.source = source
        self.hints = tuple(hints)
        self.log = log

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return "\n".join([f"{self.message}{place}", *(f"  hint: {hint}" for hint in self.hints)])

    def _places(self) -> list[tuple[Location, str, str]]:
        """The source lines to show: (location, severity, text to put under the line)."""
        return [(self.where, "error", "")] if self.where else []

    def render(self, *, color: bool = False) -> str:
        """The whole error as text: title, message, numbered C excerpts with carets, hints."""
        paint = _Paint(color)
        head = paint("red", f"{type(self).__name__}") + f": {self.message}"
        parts = [head]
        for where, severity, note in self._places():
            # The text at hand is the cell's: a place in a header that it includes is named without an excerpt.
            text = self.source if self.where is None or where.file == self.where.file else None
            parts.append(_excerpt(text, where, severity, note, paint))
        parts += [paint("cyan", "  hint: ") + hint.replace("\n", "\n        ") for hint in self.hints]
        if self.log:
            parts.append(paint("dim", "  The complete log is in the exception's `log`."))
        return "\n".join(parts)

    def _render_traceback_(self) -> list[str]:
        return self.render(color=True).split("\n")


class UnknownName(BpfnbError, AttributeError, KeyError):
    """No program, map, variable, section or annotation has that name; the hints name the nearest."""

    __str__ = BpfnbError.__str__

    @classmethod
    def among(cls, known: Iterable[str], name: str, message: str) -> UnknownName:
        """With the hint that follows from the names that there are."""
        names = list(known)
        close = nearest(name, names)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are: {', '.join(names) or 'none'}"
        return cls(message, hints=[hint])


class BadValue(BpfnbError, ValueError):
    """A value that makes no sense where it was given."""


class MissingRecording(BpfnbError, LookupError):
    """What is to be replayed was not recorded, or its recording is not there."""

    __str__ = BpfnbError.__str__


class BadRecording(BpfnbError, ValueError):
    """A file that is no recording, or a damaged one, or one that claims more than a recording may hold."""


class CompileError(BpfnbError):
    """clang refused the source. ``diagnostics`` holds every message with its place in the cell."""

    def __init__(self, message: str, *, diagnostics: Sequence[Diagnostic] = (), **kw: object) -> None:
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.diagnostics = tuple(diagnostics)

    def _places(self) -> list[tuple[Location, str, str]]:
        return [(d.where, d.severity, d.message) for d in self.diagnostics if d.where][:8]


class LoadError(BpfnbError):
    """The kernel or libbpf refused the object before any program was verified. ``errno`` is positive."""

    def __init__(self, message: str, *, errno: int = 0, **kw: object) -> None:
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.errno = errno


class VerifierError(LoadError):
    """The verifier refused a program.

    ``program`` and ``section`` name it; ``instruction`` is the index at which it stopped; ``reason`` is the
    verifier's own last line; ``registers`` says in words what the registers of that line held.
    """

    def __init__(
        self,
        message: str,
        *,
        program: str = "",
        section: str = "",
        instruction: int | None = None,
        reason: str = "",
        registers: Mapping[str, str] | None = None,
        **kw: object,
    ) -> None:
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.program = program
        self.section = section
        self.instruction = instruction
        self.reason = reason
        self.registers = dict(registers or {})

    def _places(self) -> list[tuple[Location, str, str]]:
        return [(self.where, "error", self.reason)] if self.where else []

    def render(self, *, color: bool = False) -> str:
        text = super().render(color=color)
        if not self.registers:
            return text
        lines = text.split("\n")
        at = next((i for i, line in enumerate(lines) if "hint: " in line), len(lines))
        lines[at:at] = [f"  {name}: {meaning}" for name, meaning in self.registers.items()]
        return "\n".join(lines)


class AttachError(BpfnbError):
    """A loaded program could not be attached. ``program``, ``section`` and ``errno`` say which and why."""

    def __init__(
        self, message: str, *, program: str = "", section: str = "", errno: int = 0, **kw: object
    ) -> None:
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.program = program
        self.section = section
        self.errno = errno


class KernelFeatureMissing(AttachError):
    """This kernel lacks what the program needs (kprobes, fentry, LSM ...); ``feature`` names it."""

    def __init__(self, message: str, *, feature: str = "", **kw: object) -> None:
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.feature = feature


class NotPermitted(BpfnbError):
    """This process may not use BPF; ``missing`` names the capabilities it lacks."""

    def __init__(self, message: str, *, missing: Sequence[str] = (), **kw: object) -> None:
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.missing = tuple(missing)


class MissingDependency(BpfnbError):
    """A program or library that bpfnb needs is absent; the hints name the package."""


class MapError(BpfnbError):
    """A map operation failed; ``map`` is its name."""

    def __init__(self, message: str, *, map: str = "", errno: int = 0, **kw: object) -> None:  # noqa: A002
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.map = map
        self.errno = errno


class MapFull(MapError):
    """The map holds ``max_entries`` entries and takes no more."""


class MapTypeError(MapError, TypeError):
    """A key or value does not fit the map's type."""


class ObjectClosed(BpfnbError):
    """The object was closed; its frames taken before remain."""


@dataclass(frozen=True, slots=True)
class _Paint:
    color: bool
    codes: Mapping[str, str] = field(
        default_factory=lambda: {"red": "1;31", "yellow": "1;33", "cyan": "36", "dim": "2", "blue": "34"}
    )

    def __call__(self, name: str, text: str) -> str:
        return f"\x1b[{self.codes[name]}m{text}\x1b[0m" if self.color else text


def _excerpt(source: str | None, where: Location, severity: str, note: str, paint: _Paint) -> str:
    """Three numbered lines around *where*, the middle one marked, *note* under it."""
    tone = "yellow" if severity == "warning" else "red" if severity == "error" else "blue"
    head = paint("dim", "  --> ") + str(where)
    lines = source.splitlines() if source else []
    if not 1 <= where.line <= len(lines):
        return head + (f"\n      {paint(tone, severity)}: {note}" if note else "")
    out = [head]
    for number in range(max(1, where.line - 1), min(len(lines), where.line + 1) + 1):
        text = lines[number - 1].expandtabs(4)
        here = number == where.line
        out.append(f"{paint(tone if here else 'dim', f'{number:5d} | ')}{text}")
        if here and (note or where.column):
            prefix = lines[number - 1][: max(0, where.column - 1)]
            pad = len(prefix.expandtabs(4)) if where.column else len(text) - len(text.lstrip())
            out.append("      | " + " " * pad + paint(tone, "^ " + note if note else "^"))
    return "\n".join(out)
