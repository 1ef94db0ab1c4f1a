"""The options of a ``%%bpf`` line: argparse, nothing of our own, and their translation to :func:`bpfnb.load`."""

from __future__ import annotations

import argparse
import keyword
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfnb.cli import assignment
from bpfnb.commandline import Parser, UsageProblem
from bpfnb.loading import ENGINES
from bpfnb.variables import literal

__all__ = ["ATTACH", "CellOptions", "cell_parser", "parse_cell", "words"]

EXAMPLES = """\
The cell is eBPF C. Without an #include it gets the kernel's types, the helpers and a licence.
Or it is in bcc's dialect (BPF_HASH, TRACEPOINT_PROBE ...) and goes through the real bcc, without kernel headers.
NAME is bound in the notebook: NAME.events is a stream, NAME.counts a map, NAME.vars.limit a variable.
Running the cell again replaces the object. In Python: bpfnb.load(source, name="NAME", ...).

examples:
  %%bpf io
  %%bpf io --set min_us=50 --rows 100000
  %%bpf filter --interface eth0 --mode generic
  %%bpf malloc --binary libc.so.6 --symbol malloc --pid 4242
  %%bpf prof --option sample:frequency=99 --watchdog off
  %%bpf calls --attach count=uprobe/libc.so.6:strlen --pid 4242      a function count() in bcc's dialect
  %%bpf kprobes --on 6.12                                            in a disposable kernel: %bpf help vm
  %%bpf stacks --attach sample=perf_event --frequency 99
"""

# Options that go to every program whose section takes them: (name, type, metavar, help).
ATTACH: tuple[tuple[str, Any, str, str], ...] = (
    ("interface", str, "IF", "network interface, for xdp and tc"),
    ("mode", str, "MODE", "xdp: native, generic or offload"),
    ("direction", str, "DIR", "tc: ingress or egress"),
    ("cgroup", str, "PATH", "cgroup directory, for cgroup and sockops programs (the root)"),
    ("pid", int, "PID", "only this process, for uprobe, usdt and perf_event"),
    ("cpu", int, "CPU", "only this CPU, for perf_event"),
    ("frequency", int, "HZ", "samples a second, for perf_event"),
    ("period", int, "N", "one sample every N events, for perf_event"),
    ("event", str, "EVENT", "perf_event: cpu-clock, page-faults, cycles ..."),
    ("binary", str, "FILE", "executable or library, for uprobe and usdt"),
    ("symbol", str, "NAME", "function in the binary, for uprobe"),
    ("offset", str, "N", "offset in the binary or from the symbol, for uprobe"),
    ("netns", str, "PATH", "network namespace, as a path or a pid"),
)
_CHOICES = {"mode": ("native", "generic", "offload"), "direction": ("ingress", "egress")}


@dataclass(frozen=True)
class CellOptions:
    """A parsed line: the name to bind, and keywords of :func:`bpfnb.load`."""

    name: str
    load: dict[str, Any]


def cell_parser() -> Parser:
    parser = Parser(
        "%%bpf",
        usage="%%%%bpf NAME [options]",
        description="Compile the cell's eBPF C, load and attach it, and bind the object to NAME.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="a Python name for the object")
    add(
        "--attach",
        action="append",
        default=[],
        metavar="FUNC=SECTION",
        help="bcc's dialect: where a function is attached, as SEC() says in libbpf C; may be repeated",
    )
    add("--engine", choices=ENGINES, help="bcc or clang, where the cell should not be recognised by itself")
    add(
        "--on",
        metavar="VM",
        help="trace a virtual machine instead: its name, or its kernel's version (%%bpf help vm)",
    )
    add("--no-attach", action="store_true", help="load only; attach with %%bpf attach NAME or NAME.attach()")
    add(
        "--set",
        action="append",
        default=[],
        metavar="VAR=VALUE",
        help="value of a global variable, also a const one",
    )
    add(
        "--max-entries",
        action="append",
        default=[],
        metavar="MAP=N",
        help="size of a map instead of the cell's",
    )
    add(
        "--pin", action="append", default=[], metavar="MAP=PATH", help="share a map through a BPF file system"
    )
    add("-D", action="append", default=[], dest="define", metavar="NAME[=V]", help="macro for the compiler")
    add(
        "-I",
        action="append",
        default=[],
        dest="include",
        metavar="DIR",
        help="where else to look for headers",
    )
    add("--cflags", default="", metavar="FLAGS", help="more flags for the compiler, in quotes")
    add("--rows", type=int, metavar="N", help="rows that each stream keeps")
    add(
        "--watchdog",
        metavar="SHARE",
        help="share of a CPU (0.2, 20%%) above which the object is stopped, or off",
    )
    group = parser.add_argument_group("where to attach (for every program whose section takes it)")
    for name, kind, metavar, text in ATTACH:
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=text, choices=_CHOICES.get(name))
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="PROGRAM:KEY=VALUE",
        help="such an option for one program only",
    )
    return parser


def words(line: str) -> list[str]:
    """The words of a line, quotes and backslashes read as a shell reads them."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageProblem(f"cannot split the line: {str(error).lower()}") from None


def parse_cell(line: str) -> CellOptions:
    """:raises UsageProblem: with one sentence. :raises bpfnb.commandline.HelpWanted: for --help."""
    args = cell_parser().parse(words(line))
    if not args.name.isidentifier() or keyword.iskeyword(args.name):
        raise UsageProblem(f"%%bpf: '{args.name}' cannot be a Python name, so nothing can be bound to it")
    load: dict[str, Any] = {
        "attach": not args.no_attach,
        "globals": dict(map(assignment, args.set)),
        "max_entries": dict(_count(text) for text in args.max_entries),
        "pins": dict(_text_pair(text) for text in args.pin),
        "defines": tuple(args.define),
        "include_dirs": tuple(Path(directory).expanduser() for directory in args.include),
        "flags": tuple(words(args.cflags)),
        "options": _program_options(args.option),
    }
    if args.on is not None:
        load["on"] = args.on
    if args.engine is not None:
        load["engine"] = args.engine
    if args.attach:
        load["sections"] = _sections(args.attach)
    if args.rows is not None:
        if args.rows < 1:
            raise UsageProblem(f"--rows must be at least 1, not {args.rows}")
        load["rows"] = args.rows
    if args.watchdog is not None:
        load["watchdog"] = _share(args.watchdog)
    load.update(_attach_options(args))
    return CellOptions(args.name, load)


def _attach_options(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name) for name, *_ in ATTACH if getattr(args, name) is not None}
    for name in ("offset", "netns"):
        if name in given:
            given[name] = literal(given[name])
    if "offset" in given and not isinstance(given["offset"], int):
        raise UsageProblem(f"--offset must be a whole number, not '{given['offset']}'")
    return given


def _sections(texts: Iterable[str]) -> dict[str, list[str]]:
    """``count=uprobe/libc.so.6:strlen`` as ``{"count": ["uprobe/libc.so.6:strlen"]}``."""
    found: dict[str, list[str]] = {}
    for text in texts:
        function, equals, section = text.partition("=")
        if not equals or not function.isidentifier() or not section:
            raise UsageProblem(f"--attach '{text}' must read FUNC=SECTION, for example count=perf_event")
        found.setdefault(function, []).append(section)
    return found


def _program_options(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``sample:frequency=99`` as ``{"sample": {"frequency": 99}}``."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        program, colon, pair = text.partition(":")
        if not colon or "=" not in pair or not program:
            raise UsageProblem(f"--option '{text}' must read PROGRAM:KEY=VALUE")
        key, value = assignment(pair)
        found.setdefault(program, {})[key] = value
    return found


def _count(text: str) -> tuple[str, int]:
    name, value = assignment(text)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageProblem(f"--max-entries '{text}' must read MAP=N with N at least 1")
    return name, value


def _text_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageProblem(f"--pin '{text}' must read MAP=PATH")
    return name, value


def _share(text: str) -> float | None:
    if text == "off":
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise UsageProblem(f"--watchdog '{text}' must be a share of a CPU such as 0.2 or 20%, or off")
    return value
