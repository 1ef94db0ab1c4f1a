"""The ``%%bpftrace`` cell: bpftrace's own language, with what it prints as frames and pictures."""

from __future__ import annotations

import keyword
import sys
import time
from collections.abc import Callable
from typing import Any

from bpfnb import bpftrace
from bpfnb.commandline import Parser, UsageProblem
from bpfnb.views.display import Shown, in_notebook

from .options import words

__all__ = ["cell_parser", "run_cell"]

_EVERY = 0.5  # seconds between looks at maps while it runs

EXAMPLES = """\
The cell is a program in bpftrace's language, which the installed bpftrace runs. What it prints is shown as it comes; an
interrupt is its Ctrl-C: it prints its maps and ends. NAME is bound: NAME.maps["@x"].df, NAME.df (printf's lines).

examples:
  %%bpftrace
  %%bpftrace reads --duration 5
  %%bpftrace watch --background            goes on; %bpf stop watch ends it
"""


def cell_parser() -> Parser:
    parser = Parser(
        "%%bpftrace",
        usage="%%%%bpftrace [NAME] [options] [ARGUMENT ...]",
        description="Run the cell with bpftrace and bind what it prints to NAME.",
        epilog=EXAMPLES.replace("%", "%%"),
    )
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", default="bt", help="a Python name for the results (bt)")
    add("arguments", metavar="ARGUMENT", nargs="*", help="what the program knows as $1, $2 ...")
    add("--duration", type=float, metavar="SECONDS", help="end it after this time")
    add("--background", action="store_true", help="do not wait for its end; %%bpf stop NAME ends it")
    add("--pid", type=int, metavar="PID", help="bpftrace's -p: the process of USDT and uprobes")
    add("--command", metavar="CMD", help="bpftrace's -c: run it, and end when it ends")
    add("--unsafe", action="store_true", help="allow system() and the like")
    return parser


def run_cell(line: str, body: str, bind: Callable[[str, object], None]) -> Any:
    """Runs the cell; returns what it shows. Raises UsageProblem, and what :func:`bpfnb.bpftrace.run` raises."""
    args = cell_parser().parse(words(line))
    if not args.name.isidentifier() or keyword.iskeyword(args.name):
        raise UsageProblem(f"%%bpftrace: '{args.name}' cannot be a Python name")
    if args.duration is not None and not args.duration > 0:
        raise UsageProblem("%%bpftrace: --duration is more than 0")
    made = bpftrace.start(
        body,
        name=args.name,
        pid=args.pid,
        command=args.command,
        unsafe=args.unsafe,
        arguments=args.arguments,
        show=None if args.background else _write,
    )
    try:
        made.await_start()
        bind(args.name, made)
        if args.background:
            if args.duration is not None:
                made.stop_after(args.duration)
            return made
        _follow(made, args.duration)
    except KeyboardInterrupt:  # Ctrl-C: it prints what it has counted
        bind(args.name, made)
        made.stop()
    except BaseException:
        made.close()
        raise
    if made.stderr:
        print(made.stderr, file=sys.stderr)
    return made


def _follow(made: bpftrace.Bpftrace, duration: float | None) -> None:
    """Until it ends: in a notebook, maps that the program prints are shown as they are now, in one place."""
    end = None if duration is None else time.monotonic() + duration
    place, before = Shown(), 0
    try:
        while not made.wait(_EVERY if end is None else max(0.0, min(_EVERY, end - time.monotonic()))):
            if end is not None and time.monotonic() >= end:
                made.stop()
            prints = sum(one.prints for one in made.maps.values())
            if prints > before and in_notebook() and not made.closed:
                before = prints
                shown = [one.summary() for one in made.maps.values()]
                bundle = {kind: "\n".join(one[kind] for one in shown) for kind in ("text/plain", "text/html")}
                (place.replace if place else place.show)(bundle)
    finally:
        if place:  # the pictures of the end take its place
            place.replace({"text/plain": "", "text/html": ""})


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
