"""The verbs of ``%bpf`` and of the ``bpfnb`` command: one tree of arguments, each verb one call into bpfnb.

Verbs that act on live objects exist in a notebook only, where those objects are; ``demo`` only in a terminal.
"""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bpfnb import guest, verbs
from bpfnb.commandline import HelpWanted, UsageProblem, Verb, run
from bpfnb.errors import BpfnbError, UnknownName, nearest
from bpfnb.variables import literal

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["NOTEBOOK", "TERMINAL", "assignment", "failures", "leave", "main"]

failures: dict[str, BpfnbError] = {}
"""Why the last ``%%bpf`` cell of a name failed; ``%bpf log`` shows it. Empty again when the cell succeeds."""


# What the verbs do


def _objects(names: Iterable[str], known: Mapping[str, Any] | None = None) -> list[BpfObject]:
    import bpfnb

    objects: Mapping[str, Any] = bpfnb.objects if known is None else known
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
    from bpfnb.views.lists import object_table

    return object_table(list(_with_bpftrace().values()))


def _show(args: argparse.Namespace) -> Any:
    return _objects([args.name], _with_bpftrace())[0]


def _with_bpftrace() -> dict[str, Any]:
    """What can be listed, stopped and closed: the objects, and where that was used, programs of bpftrace."""
    from bpfnb import objects

    used = sys.modules.get("bpfnb.bpftrace")
    return {**objects, **(used.running if used else {})}


def _each(action: str) -> Callable[[argparse.Namespace], Any]:
    """A verb that calls one method of each named object and shows what became of them."""

    def call(args: argparse.Namespace) -> Any:
        from bpfnb import objects
        from bpfnb.views.lists import object_table

        known = _with_bpftrace() if action in ("stop", "close") else objects
        if not args.names and not getattr(args, "all", False):
            raise UsageProblem(f"%bpf {action}: name an object, or --all")
        chosen = list(known.values()) if getattr(args, "all", False) else _objects(args.names, known)
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
    from bpfnb.views.plain import Preformatted

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

    with guest.meaning():
        return hook_table(find(args.pattern), args.pattern, args.limit)


def _struct(args: argparse.Namespace) -> Any:
    from bpfnb.btf import Btf, format_struct
    from bpfnb.views.plain import Preformatted

    with guest.meaning():
        return Preformatted(format_struct(Btf.kernel(), " ".join(args.name)), " ".join(args.name))


def _features(_: argparse.Namespace) -> Any:
    from bpfnb.kernel.features import features
    from bpfnb.views.lists import feature_table

    return feature_table(features())


def _doctor(_: argparse.Namespace) -> Any:
    from bpfnb.doctor import report

    return report()


def _script(args: argparse.Namespace) -> NoReturn:
    from bpfnb.bcc.scripts import become_script

    become_script(args.path, _own_words(args))


def _script_in_cell(args: argparse.Namespace) -> None:
    from bpfnb.bcc.scripts import run_script
    from bpfnb.bcc.showing import show

    show(run_script(args.path, _own_words(args)))


def _own_words(args: argparse.Namespace) -> list[str]:
    """The tool's arguments, without the mark in front of them."""
    words: list[str] = args.arguments
    return words[words[:1] == ["--"] :]


def _bcc(args: argparse.Namespace) -> Any:
    from bpfnb.bcc.engine import switched
    from bpfnb.views.plain import Preformatted

    return Preformatted(switched(args.state == "on"), "bcc")


def _tool(args: argparse.Namespace) -> Any:
    from bpfnb.tools import verb

    return verb.in_notebook(args)


def _tool_in_terminal(args: argparse.Namespace) -> Any:
    from bpfnb.tools import verb

    return verb.in_terminal(args)


def _trace(args: argparse.Namespace) -> Any:
    from bpfnb.tools import verb

    return verb.traced(args, verb.in_notebook)


def _trace_in_terminal(args: argparse.Namespace) -> Any:
    from bpfnb.tools import verb

    return verb.traced(args, verb.in_terminal)


def _demo(args: argparse.Namespace) -> int:
    from bpfnb.demo import main as demo

    return demo(args.directory)


def assignment(text: str) -> tuple[str, object]:
    """``NAME=VALUE`` with VALUE a whole number (also 0x..), a number, true, false, or text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageProblem(f"'{text}' must read NAME=VALUE")
    return name.strip(), literal(value.strip())


_NAME = (("name",), {"metavar": "NAME", "help": "a live object"})
_NAMES = (("names",), {"metavar": "NAME", "nargs": "+", "help": "live objects"})
_ANY = (("names",), {"metavar": "NAME", "nargs": "*", "help": "live objects"})
_ALL = (("--all",), {"action": "store_true", "help": "every live object"})
_LIMIT = (("--limit",), {"type": int, "default": 200, "metavar": "N", "help": "rows to show (200)"})
_PATTERN = (("pattern",), {"metavar": "PATTERN", "help": "a name with * and ?, for example 'sched:*'"})
_TYPE = (("name",), {"metavar": "NAME", "nargs": "+", "help": "a struct, union, enum, typedef or function"})

_SCRIPT = (
    (("path",), {"metavar": "TOOL", "help": "a path, or the name of a packaged tool: runqlat"}),
    (
        ("arguments",),
        {"metavar": "...", "nargs": argparse.REMAINDER, "help": "the tool's own arguments, after --"},
    ),
)
_SCRIPT_SUMMARY = "run one of bcc's tools, or another script that uses bcc, without kernel headers"
_SCRIPT_EXAMPLES = ("/usr/sbin/runqlat-bpfcc -- 1 5", "syscount -- -i 1 -d 5")

_TOOL = (
    (("--find",), {"nargs": "+", "metavar": "WORD", "help": "list only tools that have to do with this"}),
    (("name",), {"nargs": "?", "metavar": "NAME", "help": "a tool; without it, the list"}),
    (
        ("options",),
        {"nargs": argparse.REMAINDER, "metavar": "...", "help": "the tool's own; NAME --help lists them"},
    ),
)
_TOOL_SUMMARY = "ready-made probes: list them, or start one"
_TOOL_EXAMPLES = ("", "--find exec", "execsnoop --comm make", "execsnoop --help")

_TRACE = (
    (("--list",), {"action": "store_true", "help": "list tracepoints with their fields"}),
    (
        ("event",),
        {"nargs": "?", "default": "", "metavar": "EVENT", "help": "a tracepoint; without it, all options"},
    ),
    (
        ("options",),
        {
            "nargs": argparse.REMAINDER,
            "metavar": "...",
            "help": "more tracepoints and the options: --filter, --columns ...",
        },
    ),
)
_TRACE_SUMMARY = "any tracepoint as a table, filtered in the kernel"
_TRACE_EXAMPLES = (
    "sched:sched_switch --filter \"prev_pid == 42 && next_comm ~ 'redis*'\" --columns time,next_comm",
    "--list 'tcp:*'",
    "",
)

_SWITCH = (("state",), {"nargs": "?", "choices": ("on", "off"), "default": "on", "help": "on without it"})


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
        Verb("script", _SCRIPT_SUMMARY, _script_in_cell, _SCRIPT, _SCRIPT_EXAMPLES),
        Verb("tool", _TOOL_SUMMARY, _tool, _TOOL, (*_TOOL_EXAMPLES, "execsnoop --source")),
        Verb("trace", _TRACE_SUMMARY, _trace, _TRACE, _TRACE_EXAMPLES),
        Verb("bcc", "`from bcc import BPF` without kernel headers", _bcc, (_SWITCH,), ("", "off")),
        *verbs.NOTEBOOK,
        *_EVERYWHERE,
    )
}

TERMINAL: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        *_EVERYWHERE,
        Verb("script", _SCRIPT_SUMMARY, _script, _SCRIPT, _SCRIPT_EXAMPLES),
        Verb("tool", _TOOL_SUMMARY, _tool_in_terminal, _TOOL, (*_TOOL_EXAMPLES, "execsnoop --duration 10")),
        Verb("trace", _TRACE_SUMMARY, _trace_in_terminal, _TRACE, _TRACE_EXAMPLES),
        *verbs.TERMINAL,
        Verb(
            "demo",
            "run the quickstart notebook on this kernel and say what it measured",
            _demo,
            ((("directory",), {"nargs": "?", "type": Path, "help": "a clone of the repository (here)"}),),
        ),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """The ``bpfnb`` command. Exit codes: 0 done, 1 refused or nothing found, 2 usage.

    Without *argv* it is the process's: what systemd, timeout and docker send ends it as Ctrl-C does, and it ends here.
    """
    if argv is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        leave(_commanded(sys.argv[1:]))
    return _commanded(argv)


def leave(code: int) -> NoReturn:
    """End the process in order, but do not take pandas apart first, which takes longer than many a command."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as Python does it: threads that have to end, then
        atexit._run_exitfuncs()  # what was registered for the end
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:
        code = 130
    except OSError:  # nobody reads it any more
        code = code or 1
    os._exit(code)


def _commanded(words: Sequence[str]) -> int:
    if list(words) == ["--version"]:
        from bpfnb import __version__

        print(f"bpfnb {__version__}")
        return 0
    try:
        code = _ran(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # bpfnb find '*' | head; elsewhere with it, so that exit does not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _ran(words: Sequence[str]) -> int:
    try:
        result = run(words, TERMINAL, "bpfnb", NOTEBOOK)
    except HelpWanted as wanted:
        print(wanted)
        return 0 if words else 2
    except UsageProblem as problem:
        print(problem, file=sys.stderr)
        return 2
    except BpfnbError as error:
        print(error.render(color=sys.stderr.isatty()), file=sys.stderr)
        return 1
    if isinstance(result, int):
        return result
    print(result.text())
    return _exit_code(result)


def _exit_code(result: Any) -> int:
    """1 for a table without rows, and for a report of the doctor that has something missing."""
    rows = getattr(result, "rows", None)
    if rows is None:
        return 0
    return int(not rows or any(getattr(row, "ok", "") == "missing" for row in rows))
