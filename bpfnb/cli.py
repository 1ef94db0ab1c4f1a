"""The verbs of ``%bpf`` and of the ``bpfnb`` command: one tree of arguments, each verb one call into bpfnb.

Verbs that act on live objects exist in a notebook only, where those objects are; ``demo`` only in a terminal.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bpfnb.errors import BpfnbError, UnknownName, nearest

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["NOTEBOOK", "TERMINAL", "HelpWanted", "Parser", "UsageProblem", "Verb", "failures", "main", "run"]

failures: dict[str, BpfnbError] = {}
"""Why the last ``%%bpf`` cell of a name failed; ``%bpf log`` shows it. Empty again when the cell succeeds."""


class UsageProblem(Exception):
    """The words of a command line do not fit."""


class HelpWanted(Exception):
    """``--help`` was given; the argument is the text."""


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise HelpWanted(parser.format_help())


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **keywords: Any) -> None:
        super().__init__(prog, **{**keywords, "width": 96, "max_help_position": 26})


class Parser(argparse.ArgumentParser):
    """argparse that never exits, never abbreviates, and names the nearest option."""

    def __init__(self, prog: str, **keywords: Any) -> None:
        super().__init__(
            prog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_Formatter,
            **keywords,
        )
        self.color = False  # argparse of Python 3.14 would colour what is shown elsewhere
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="show this text")

    @property
    def options(self) -> list[str]:
        """Every option's spelling, longest ones first by name."""
        return sorted(self._option_string_actions)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """:raises UsageProblem: for words that do not fit. :raises HelpWanted: for ``--help``."""
        known, extra = self.parse_known_args(list(words))
        if extra:
            wrong = next((word for word in extra if word.startswith("-")), extra[0]).split("=")[0]
            if not wrong.startswith("-"):
                raise UsageProblem(f"{self.prog}: '{wrong}' is one word too many")
            close = nearest(wrong, self.options, 1) or [o for o in self.options if o.startswith(wrong)][:1]
            tail = f"; did you mean {close[0]}?" if close else f"; {self.prog} --help lists the options"
            raise UsageProblem(f"{self.prog}: there is no option {wrong}{tail}")
        return known

    def error(self, message: str) -> NoReturn:
        raise UsageProblem(f"{self.prog}: {message}")


@dataclass(frozen=True)
class Verb:
    """One verb: what it does in a line, its arguments, and the function that does it."""

    name: str
    summary: str
    call: Callable[[argparse.Namespace], Any]
    arguments: Sequence[tuple[Sequence[str], dict[str, Any]]] = field(default=())
    examples: Sequence[str] = ()

    def parser(self, prog: str) -> Parser:
        lines = [f"  {prog} {self.name} {example}".rstrip() for example in self.examples]
        epilog = "\n".join(["examples:", *lines]) if lines else None
        parser = Parser(f"{prog} {self.name}", description=self.summary, epilog=epilog)
        for names, keywords in self.arguments:
            parser.add_argument(*names, **keywords)
        return parser


def run(words: Sequence[str], verbs: dict[str, Verb], prog: str) -> Any:
    """What the verb returns. :raises UsageProblem, HelpWanted, BpfnbError:"""
    if not words or words[0] in ("-h", "--help"):
        raise HelpWanted(overview(verbs, prog))
    if words[0] == "help":
        raise HelpWanted(help_text(words[1:], verbs, prog))
    verb = _verb(words[0], verbs, prog)
    return verb.call(verb.parser(prog).parse(words[1:]))


def overview(verbs: dict[str, Verb], prog: str) -> str:
    """All verbs with a line each."""
    width = max(map(len, verbs)) + 2
    lines = [f"  {name:{width}}{verb.summary}" for name, verb in verbs.items()]
    return (
        "\n".join([f"usage: {prog} VERB ...", "", *lines, "", f"{prog} help VERB says more of one."]) + "\n"
    )


def help_text(words: Sequence[str], verbs: dict[str, Verb], prog: str) -> str:
    return _verb(words[0], verbs, prog).parser(prog).format_help() if words else overview(verbs, prog)


def _verb(name: str, verbs: dict[str, Verb], prog: str) -> Verb:
    if name in verbs:
        return verbs[name]
    if prog == "bpfnb" and name in NOTEBOOK:
        raise UsageProblem(f"bpfnb: '{name}' acts on the objects of a notebook; use %bpf {name} there")
    close = nearest(name, list(verbs), 1)
    hint = f"did you mean {close[0]}?" if close else f"{prog} help lists them"
    raise UsageProblem(f"{prog}: there is no verb '{name}'; {hint}")


# What the verbs do


def _objects(names: Iterable[str]) -> list[BpfObject]:
    from bpfnb import objects

    found = []
    for name in names:
        if name not in objects:
            close = nearest(name, list(objects), 1)
            live = f"live are: {', '.join(objects)}" if objects else "nothing is loaded"
            raise UnknownName(
                f"there is no live object '{name}'", hints=[f"did you mean {close[0]}?" if close else live]
            )
        found.append(objects[name])
    return found


def _list(_: argparse.Namespace) -> Any:
    from bpfnb import objects
    from bpfnb.views.lists import object_table

    return object_table(list(objects.values()))


def _show(args: argparse.Namespace) -> Any:
    return _objects([args.name])[0]


def _each(action: str) -> Callable[[argparse.Namespace], Any]:
    """A verb that calls one method of each named object and shows what became of them."""

    def call(args: argparse.Namespace) -> Any:
        from bpfnb import objects
        from bpfnb.views.lists import object_table

        if not args.names and not getattr(args, "all", False):
            raise UsageProblem(f"%bpf {action}: name an object, or --all")
        chosen = list(objects.values()) if getattr(args, "all", False) else _objects(args.names)
        for obj in chosen:
            getattr(obj, action)()
        return object_table(chosen)

    return call


def _maps(args: argparse.Namespace) -> Any:
    from bpfnb import objects
    from bpfnb.views.lists import map_table

    return map_table(_objects(args.names) if args.names else list(objects.values()))


def _vars(args: argparse.Namespace) -> Any:
    from bpfnb.views.lists import variable_table

    (obj,) = _objects([args.name])
    for name, value in map(assignment, args.values):
        obj.vars[name] = value
    return variable_table(obj)


def _log(args: argparse.Namespace) -> Any:
    from bpfnb.views.table import Preformatted

    if args.name in failures:
        return Preformatted(failures[args.name].log or str(failures[args.name]), f"log of {args.name}")
    (obj,) = _objects([args.name])
    lines = [
        f"{obj.name}: {obj.state}, compiled by {obj.elf.compiler}{' (cached)' if obj.elf.cached else ''}"
    ]
    lines += [obj.note] * bool(obj.note)
    lines += [f"{w.where or obj.name}: {w.severity}: {w.message}" for w in obj.warnings]
    return Preformatted("\n".join(lines), f"log of {args.name}")


def _find(args: argparse.Namespace) -> Any:
    from bpfnb.kernel.hooks import find
    from bpfnb.views.lists import hook_table

    return hook_table(find(args.pattern), args.pattern, args.limit)


def _struct(args: argparse.Namespace) -> Any:
    from bpfnb.btf import Btf, format_struct
    from bpfnb.views.table import Preformatted

    return Preformatted(format_struct(Btf.kernel(), " ".join(args.name)), " ".join(args.name))


def _features(_: argparse.Namespace) -> Any:
    from bpfnb.kernel.features import features
    from bpfnb.views.lists import feature_table

    return feature_table(features())


def _doctor(_: argparse.Namespace) -> Any:
    from bpfnb.doctor import report

    return report()


def _demo(args: argparse.Namespace) -> int:
    from bpfnb.demo import main as demo

    return demo(args.directory)


def assignment(text: str) -> tuple[str, object]:
    """``NAME=VALUE`` with VALUE a whole number (also 0x..), a number, true, false, or text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageProblem(f"'{text}' must read NAME=VALUE")
    return name.strip(), literal(value.strip())


def literal(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    for read in (lambda t: int(t, 0), float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


_NAME = (("name",), {"metavar": "NAME", "help": "a live object"})
_NAMES = (("names",), {"metavar": "NAME", "nargs": "+", "help": "live objects"})
_ANY = (("names",), {"metavar": "NAME", "nargs": "*", "help": "live objects"})
_ALL = (("--all",), {"action": "store_true", "help": "every live object"})
_LIMIT = (("--limit",), {"type": int, "default": 200, "metavar": "N", "help": "rows to show (200)"})
_PATTERN = (("pattern",), {"metavar": "PATTERN", "help": "a name with * and ?, for example 'sched:*'"})
_TYPE = (("name",), {"metavar": "NAME", "nargs": "+", "help": "a struct, union, enum, typedef or function"})

_EVERYWHERE = (
    Verb("features", "what this kernel lets this process load and attach, found by trying", _features),
    Verb("doctor", "what bpfnb needs on this machine, what is there, and the remedy for the rest", _doctor),
    Verb(
        "find",
        "tracepoints, functions, kfuncs, helpers and hooks of this kernel by name",
        _find,
        (_PATTERN, _LIMIT),
        ("'sched:*'", "tcp_retransmit*", "'bpf_get_*' --limit 20"),
    ),
    Verb("struct", "a kernel type with its offsets", _struct, (_TYPE,), ("task_struct", "union bpf_attr")),
)

NOTEBOOK: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("list", "the live objects", _list),
        Verb("show", "one object's panel", _show, (_NAME,), ("io",)),
        Verb("maps", "the maps of one or all objects", _maps, (_ANY,), ("", "io")),
        Verb(
            "vars",
            "an object's global variables, set first where values are given",
            _vars,
            (_NAME, (("values",), {"metavar": "VAR=VALUE", "nargs": "*", "help": "values to write"})),
            ("io", "io min_us=50"),
        ),
        Verb("log", "what the compiler and the verifier said of a cell", _log, (_NAME,), ("io",)),
        Verb(
            "attach", "attach objects that were loaded with --no-attach", _each("attach"), (_NAMES,), ("io",)
        ),
        Verb("pause", "detach until resumed; maps keep their contents", _each("pause"), (_NAMES,), ("io",)),
        Verb("resume", "attach again after pause", _each("resume"), (_NAMES,), ("io",)),
        Verb("stop", "detach for good; maps and frames stay readable", _each("stop"), (_ANY, _ALL), ("io",)),
        Verb(
            "close", "detach and free everything in the kernel", _each("close"), (_ANY, _ALL), ("io", "--all")
        ),
        *_EVERYWHERE,
    )
}

TERMINAL: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        *_EVERYWHERE,
        Verb(
            "demo",
            "run the quickstart notebook on this kernel and say what it measured",
            _demo,
            ((("directory",), {"nargs": "?", "type": Path, "help": "a clone of the repository (here)"}),),
        ),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """The ``bpfnb`` command. Exit codes: 0 done, 1 refused or nothing found, 2 usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        from bpfnb import __version__

        print(f"bpfnb {__version__}")
        return 0
    try:
        result = run(words, TERMINAL, "bpfnb")
        if isinstance(result, int):
            return result
        print(result.text(), flush=True)
        return _exit_code(result)
    except HelpWanted as wanted:
        print(wanted)
        return 0 if words else 2
    except UsageProblem as problem:
        print(problem, file=sys.stderr)
        return 2
    except BpfnbError as error:
        print(error.render(color=sys.stderr.isatty()), file=sys.stderr)
        return 1
    except (
        BrokenPipeError
    ):  # `bpfnb find '*' | head`; point stdout elsewhere so that exit does not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _exit_code(result: Any) -> int:
    """1 for a table without rows, and for a report of the doctor that has something missing."""
    rows = getattr(result, "rows", None)
    if rows is None:
        return 0
    return int(not rows or any(getattr(row, "ok", "") == "missing" for row in rows))
