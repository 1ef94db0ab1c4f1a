"""The ``%%bpf`` cell and the ``%bpf`` line. Thin: the words are parsed, and one function of bpfnb is called."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from traitlets import Float, Int

import bpfnb
from bpfnb import cli, commandline
from bpfnb.bcc.dialect import check_places, recognise
from bpfnb.errors import BadValue, BpfnbError, Diagnostic, MissingRecording, UnknownName
from bpfnb.loading import WATCHDOG
from bpfnb.views.plain import Preformatted

from . import bpftracecell
from .options import cell_parser, parse_cell, words

__all__ = ["BpfMagics"]


@magics_class
class BpfMagics(Magics):
    rows = Int(None, allow_none=True, help="Rows that each stream keeps, where --rows is not given.").tag(
        config=True
    )
    watchdog = Float(
        WATCHDOG, allow_none=True, help="Share of a CPU above which an object is stopped; None for no limit."
    ).tag(config=True)

    @line_magic("bpf")  # type: ignore[arg-type]
    def line(self, line: str) -> Any:
        if _for_guest(line):
            return _usage(lambda: _in_guest(line))
        return _usage(lambda: commandline.run(words(line), cli.NOTEBOOK, "%bpf"))

    @cell_magic("bpf")  # type: ignore[arg-type]
    def cell(self, line: str, body: str) -> Any:
        if _for_guest(line):
            return _usage(lambda: _in_guest(line, body))
        return _usage(lambda: self._load(line, body))

    @cell_magic("bpftrace")  # type: ignore[arg-type]
    def bpftrace_cell(self, line: str, body: str) -> Any:
        if bpfnb.replaying():
            raise MissingRecording(
                "programs of bpftrace are not recorded, and recordings are replayed now",
                hints=["%bpf replay off runs it again"],
            )
        return _usage(lambda: bpftracecell.run_cell(line, body, self._bind_bpftrace))

    def _bind_bpftrace(self, name: str, made: object) -> None:
        self._names[name] = made

    def _load(self, line: str, body: str) -> bpfnb.BpfObject:
        options = parse_cell(line)
        name = options.name
        self._refuse_to_shadow(name)
        _check_sections(body, name, options.load)
        keywords = {"rows": self.rows, "watchdog": self.watchdog, "directory": Path.cwd(), **options.load}
        try:
            obj = bpfnb.load(body, name=name, **keywords)
        except BpfnbError as error:
            cli.failures[name] = error
            old = bpfnb.objects.get(name)
            if old is not None:
                error.hints = (*error.hints, f"the earlier '{name}' goes on ({old.state})")
            raise
        cli.failures.pop(name, None)
        self._names[name] = obj
        if obj.warnings:
            print(warnings_text(obj.warnings, body), file=sys.stderr)
        return obj

    @property
    def _names(self) -> dict[str, Any]:
        assert self.shell is not None
        names: dict[str, Any] = self.shell.user_ns
        return names

    def _refuse_to_shadow(self, name: str) -> None:
        taken = self._names.get(name, getattr(builtins, name, None))
        made = getattr(taken, "object", taken)  # a tool's program may be replaced by its changed text
        if taken is not None and not isinstance(made, bpfnb.BpfObject):
            raise commandline.UsageProblem(
                f"%%bpf: '{name}' is already a {type(taken).__name__} here; choose another name, or: del {name}"
            )


BpfMagics.line.__doc__ = commandline.overview(cli.NOTEBOOK, "%bpf")  # type: ignore[assignment]
BpfMagics.bpftrace_cell.__doc__ = bpftracecell.cell_parser().format_help()  # type: ignore[assignment]
BpfMagics.cell.__doc__ = cell_parser().format_help()  # type: ignore[assignment]


def _usage(call: Callable[[], Any]) -> Any:
    """Usage mistakes as exactly IPython's UsageError, which it shows in one line; subclasses get a stack."""
    try:
        return call()
    except commandline.HelpWanted as wanted:
        return Preformatted(str(wanted), "help")
    except commandline.UsageProblem as problem:
        raise UsageError(str(problem)) from None


def _for_guest(line: str) -> bool:
    """Whether it is commands of a guest's shell, which reads quotes and variables itself."""
    return line.split()[:2] == ["vm", "sh"]


def _in_guest(line: str, body: str = "") -> None:
    from bpfnb.vm.verb import in_guest

    in_guest(line, body)


def _check_sections(body: str, name: str, load: Mapping[str, Any]) -> None:
    """``--attach`` that no function or no section fits is a mistake of the line, not of the cell."""
    sections = load.get("sections")
    if not sections or (load.get("engine") or recognise(body, sections, name=name)) != "bcc":
        return
    try:
        check_places(body, sections)
    except (UnknownName, BadValue) as error:
        raise commandline.UsageProblem("; ".join([f"--attach: {error.message}", *error.hints[:1]])) from None


def warnings_text(warnings: Sequence[Diagnostic], source: str) -> str:
    """The compiler's warnings, each with the cell's line."""
    lines = source.splitlines()
    out = []
    for warning in warnings:
        where = warning.where
        out.append(f"{where}: {warning.severity}: {warning.message}" if where else warning.message)
        if where and 1 <= where.line <= len(lines):
            out.append(f"{where.line:5d} | {lines[where.line - 1]}")
    return "\n".join(out)
