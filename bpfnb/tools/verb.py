"""The verb ``tool`` of ``%bpf`` and of the ``bpfnb`` command: the list, a tool's help, its source, and starting it."""

from __future__ import annotations

import argparse
import contextlib
import functools
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bpfnb import guest, tools
from bpfnb.commandline import Parser, UsageProblem
from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames import Stream
from bpfnb.tools.filters import FILTERS
from bpfnb.tools.options import COMMON, Option
from bpfnb.tools.tool import Tool
from bpfnb.views import humanize
from bpfnb.views.plain import Table

__all__ = ["in_notebook", "in_terminal", "list_of_tools", "parser_of"]


FAMILIES = ("processes", "CPU", "memory", "files", "disks", "network", "locks", "user space", "kernel")
"""As the list has them, one after the other."""


def list_of_tools(find: str = "") -> Table:
    """The tools by family: one row each whose name or text has all words of *find*, or a whole family by its name."""
    words = [] if _is_family(find) else find.lower().split()
    rows = []
    last = -1
    for family, name, tool in sorted(map(_placed, tools.names()), key=lambda placed: placed[:2]):
        text = f"{name} {tool.summary} {tool.more}".lower()
        if all(word in text for word in words) and (words or find.lower() in ("", tool.family.lower())):
            rows.append((tool.family if family != last else "", name, _read(tool.summary)))
            last = family
    footer = "%bpf tool NAME starts one; --help tells its options, --source puts its C into a cell"
    empty = f"no tool has to do with '{find}'"
    return Table(("about", "tool", "what it shows"), rows, empty=empty, footer=footer)


def _read(text: str) -> str:
    """A docstring's text for people to read: literals in single quotes of code, as everywhere on the screen."""
    return text.replace("``", "`")


def _placed(name: str) -> tuple[int, str, type[Tool]]:
    tool = tools.find(name)
    return FAMILIES.index(tool.family), name, tool


def _is_family(name: str) -> bool:
    return name.lower() in map(str.lower, FAMILIES) and name not in tools.names()


def parser_of(tool: type[Tool], prog: str) -> Parser:
    """The options of one tool as a command line."""
    parser = Parser(f"{prog} tool {tool.name}", description=_read(f"{tool.summary}\n\n{tool.more}".strip()))
    _add(parser, tool.options)
    group = parser.add_argument_group("filters, in the kernel; may be repeated")
    for one in FILTERS.values():
        group.add_argument(f"--{one.name}", metavar=one.metavar, help=one.help, action="append")
    _add(parser.add_argument_group("of every tool"), COMMON)
    return parser


def _add(parser: Any, options: Sequence[Option]) -> None:
    keywords: dict[str, Any]
    for option in options:
        flag = "--" + option.name.replace("_", "-")
        if option.positional:
            often = "*" if option.several else "?"
            keywords = {"nargs": often, "type": _reader(option), "metavar": option.metavar}
            parser.add_argument(option.name, help=option.help, **keywords)
        elif option.type is bool:
            parser.add_argument(flag, dest=option.name, help=option.help, action="store_true", default=None)
        elif option.several:
            parser.add_argument(
                flag, dest=option.name, help=option.help, metavar=option.metavar, action="append"
            )
        else:
            keywords = {"type": _reader(option), "metavar": option.metavar}
            parser.add_argument(flag, dest=option.name, help=option.help, **keywords)


def _reader(option: Option) -> Any:
    """The option's type, whose own word of what is wrong argparse leaves as it is."""

    @functools.wraps(option.type)
    def read(text: str) -> Any:
        try:
            return option.type(text)
        except BadValue as error:
            raise argparse.ArgumentTypeError("; ".join([error.message, *error.hints])) from None

    return read


def _asked(args: argparse.Namespace, prog: str) -> tuple[type[Tool], dict[str, Any], bool]:
    """The tool, its options, and whether only its source is wanted. Raises UsageProblem."""
    try:
        tool = tools.find(args.name)
    except UnknownName as error:
        hint = "; ".join(error.hints[:1]) if len(error.hints[0]) < 80 else f"{prog} tool lists them"
        raise UsageProblem(f"{prog} tool: {error.message}; {hint}") from None
    parser = parser_of(tool, prog)
    if prog == "%bpf":
        parser.add_argument("--source", action="store_true", help="put its C into a cell below, to change it")
    with _mistakes(tool, prog):  # of an option's own reader
        given = vars(parser.parse(args.options))
    source = given.pop("source", False)
    options = {name: value for name, value in given.items() if value is not None}
    options["add"] = [one for text in options.get("add", ()) for one in text.split(",")]
    return tool, options, source


def _made(tool: type[Tool], options: dict[str, Any], prog: str) -> Tool:
    """The running tool; values that make no sense are mistakes of the line."""
    with _mistakes(tool, prog):
        return tool(**options)


@contextlib.contextmanager
def _mistakes(tool: type[Tool], prog: str) -> Iterator[None]:
    try:
        yield
    except (BadValue, UnknownName) as error:
        if error.where is not None:
            raise  # of an expression, whose place it shows
        raise UsageProblem(
            "; ".join([f"{prog} tool {tool.name}: {error.message}", *error.hints[:1]])
        ) from None


def in_notebook(args: argparse.Namespace) -> Any:
    """``%bpf tool``: the list, or a tool that is bound to its name in the notebook and shown."""
    if args.name is None or _is_family(args.name):
        return list_of_tools(args.name or " ".join(args.find or ()))
    from IPython.core.getipython import get_ipython

    tool, options, source = _asked(args, "%bpf")
    shell: Any = get_ipython()
    if source:
        with _mistakes(tool, "%bpf"):
            cell = source_cell(tool, options)
        shell.set_next_input(cell, replace=False)
        return None
    with _mistakes(tool, "%bpf"):
        shown = tool.instead(options)
    if shown is not None:
        return shown
    names = shell.user_ns
    before = names.get(tool.name)
    if before is not None and not isinstance(before, Tool):
        raise UsageProblem(
            f"%bpf tool: '{tool.name}' is already a {type(before).__name__} here; "
            f"write t = bpfnb.tools.{tool.name}(...), or: del {tool.name}"
        )
    made = _made(tool, options, "%bpf")
    if before is not None:
        before.close()  # only now: a tool that cannot start leaves the one that runs
    names[tool.name] = made
    return made


def traced(args: argparse.Namespace, show: Callable[[argparse.Namespace], Any]) -> Any:
    """``trace EVENT ...``: the tool of this name, which *show* starts, or with ``--list`` the tracepoints there are."""
    words = [*[args.event] * bool(args.event), *args.options]
    if args.list or "--list" in words:
        from bpfnb.kernel.hooks import find
        from bpfnb.views.lists import hook_table

        pattern = next((word for word in words if not word.startswith("-")), "*").replace("/", ":")
        with guest.meaning():
            return hook_table(find(f"tracepoint/{pattern}"), pattern, 200)
    return show(argparse.Namespace(name="trace", options=words or ["--help"], find=None))


def source_cell(tool: type[Tool], options: dict[str, Any]) -> str:
    """A ``%%bpf`` cell with the tool's program, and what these options make of it on its first line."""
    text, load = tool.planned(**options)
    words = [("-D", name) for name in load.defines]
    words += [("--set", f"{name}={_literal(value)}") for name, value in load.globals.items()]
    for name, value in load.attach.items():
        if name == "options":
            words += [
                ("--option", f"{at}:{key}={one}") for at, keys in value.items() for key, one in keys.items()
            ]
        elif name == "max_entries":
            words += [("--max-entries", f"{at}={most}") for at, most in value.items()]
        elif not isinstance(value, list):
            words.append((f"--{name}", _literal(value)))
        elif len(value) == 1:
            words.append((f"--{name}", _literal(value[0])))
    return (
        " ".join([f"%%bpf {tool.name}", *(f"{word} {shlex.quote(one)}" for word, one in words)]) + "\n" + text
    )


def _literal(value: Any) -> str:
    if isinstance(value, list | tuple | bytes):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


# Terminals


def started(name: str, words: Sequence[str]) -> Tool:
    """The running tool of a line: its name and its options. Raises UsageProblem, HelpWanted."""
    tool, options, _ = _asked(argparse.Namespace(name=name, options=list(words)), "bpfnb")
    return _made(tool, options, "bpfnb")


def in_terminal(args: argparse.Namespace) -> Any:
    """``bpfnb tool``: the list, or the rows of a tool as they come, until Ctrl-C or --duration."""
    if args.name is None or _is_family(args.name):
        return list_of_tools(args.name or " ".join(args.find or ()))
    tool, options, _ = _asked(args, "bpfnb")
    with _mistakes(tool, "bpfnb"):
        shown = tool.instead(options)
    if shown is not None:
        return shown
    with _made(tool, options, "bpfnb") as made:
        printer = Rows(made, print)
        if made.snapshot and "duration" not in made.shared:
            printer.more()
            return 0
        made.when_ended(printer.end)
        streams = isinstance(made.frames, Stream) and type(made).report is Tool.report
        try:
            while not printer.ended.wait(0.1) and not made.settled:
                if streams:
                    printer.more()
        except KeyboardInterrupt:
            made.stop()
        report = made.report()
        if report is None:
            printer.more()  # of a map, whose rows change, once what they were at the end
        else:
            print(report)
        seen = made.df
        lost = seen.attrs["bpfnb"].get("lost", 0)
    remark = made.remark()
    if remark:
        print(remark, file=sys.stderr)
    if lost:
        print(f"{lost:,} rows LOST", file=sys.stderr)
    return 0


class Rows:
    """Prints a tool's new rows as aligned text; columns grow as they must, the header comes once."""

    def __init__(self, tool: Tool, write: Callable[[str], object]) -> None:
        self.tool = tool
        self.write = write
        self.ended = threading.Event()
        self._written = 0
        self._widths: dict[str, int] = {}

    def end(self) -> None:
        self.ended.set()

    def more(self) -> None:
        """Write the rows that are new."""
        new = self.tool.new(self._written)
        self._written = int(new.attrs["bpfnb"].get("total", 0))
        names = [str(name) for name in new.columns if name not in self.tool.add]
        names[-1:-1] = self.tool.add  # the last column, often the longest, stays the last
        right = {name for name in names if pd.api.types.is_numeric_dtype(new[name])}
        if not self._widths:
            self._widths = {name: max(len(name), _width(new[name])) for name in names}
            self._line({name: name.upper() for name in names}, right)
        notes = new.attrs.get("bpfnb_columns", {})
        cells = {name: [_cell(value, notes.get(name, {})) for value in new[name]] for name in names}
        for name, texts in cells.items():
            self._widths[name] = min(max([self._widths[name], *map(len, texts)]), WIDEST)
        for row in zip(*cells.values(), strict=True):
            self._line(dict(zip(names, row, strict=True)), right)
        sys.stdout.flush()

    def _line(self, texts: dict[str, str], right: set[str]) -> None:
        padded = [
            text.rjust(self._widths[name]) if name in right else text.ljust(self._widths[name])
            for name, text in texts.items()
        ]
        self.write("  ".join(padded).rstrip())


WIDEST = 32  # columns of text are padded to; a longer cell moves its own line only


def _width(column: pd.Series[Any]) -> int:
    """How wide a column begins, so that few rows move it: a time, a pid, a command's name."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return 12
    return 7 if pd.api.types.is_numeric_dtype(column) else 10


def _cell(value: Any, notes: Mapping[str, Any]) -> str:
    if isinstance(value, pd.Timestamp):
        return value.tz_convert(None).strftime("%H:%M:%S.%f")[:-3] if value is not pd.NaT else "-"
    if (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or value is pd.NA
        or (isinstance(value, float) and value != value)
    ):
        return "-"
    if notes.get("format") in ("duration", "bytes"):
        return humanize(value, notes.get("unit"))
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)
