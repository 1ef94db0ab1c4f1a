"""The verb ``replay`` of ``%bpf`` and of the ``bpfnb`` command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bpfnb.commandline import UsageProblem
from bpfnb.errors import BadValue, UnknownName
from bpfnb.object import BpfObject, objects
from bpfnb.recording import session
from bpfnb.recording.parts import opened
from bpfnb.recording.replay import ReplayedObject, replay
from bpfnb.tools.tool import Tool
from bpfnb.views.lists import object_table
from bpfnb.views.plain import Preformatted

__all__ = ["in_notebook", "in_terminal"]


def in_notebook(args: argparse.Namespace) -> Any:
    """Bind a recording's objects to their names and show them; a folder: bind its recordings to cells from now on."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if args.what is None:
        return _state()
    if args.what == "off" or Path(args.what).is_dir():
        session.replay_from(None if args.what == "off" else args.what)
        if args.what == "off":
            return Preformatted("cells, bpfnb.load and tools load what they say again", "replay")
        return _state()
    shell: Any = get_ipython()
    made = {}
    for name in _names(args):
        before = shell.user_ns.get(name)
        if before is not None and not isinstance(before, BpfObject | Tool):
            raise UsageProblem(
                f"%bpf replay: '{name}' is already a {type(before).__name__} here; write r = bpfnb.replay(...)"
            )
        made[name] = _replayed(args, name, "%bpf")
    shell.user_ns.update(made)
    if len(made) == 1:
        return next(iter(made.values()))
    display(*made.values())
    return None


def in_terminal(args: argparse.Namespace) -> int:
    """Print what a recording holds: a tool's rows, at the asked speed, an object's programs, streams and maps."""
    from bpfnb.tools.verb import Rows

    if args.what is None:
        raise UsageProblem("bpfnb replay: give a recording: bpfnb replay incident.bpfnb")
    for name in _names(args):
        made = _replayed(args, name, "bpfnb")
        obj = made.object if isinstance(made, Tool) else made
        assert isinstance(obj, ReplayedObject)
        print(f"{obj.name}: {obj.origin}")
        try:
            if isinstance(made, Tool):
                printer = Rows(made, print)
                while made.grows and not obj.replay.wait_for(0.1):
                    printer.more()
                obj.replay.wait_for()
                printer.more()
            else:
                obj.replay.wait_for()
                print(obj)
        except KeyboardInterrupt:
            return 130
        finally:
            made.close()
    return 0


def _names(args: argparse.Namespace) -> list[str]:
    with opened(args.what) as recording:
        known = list(recording.objects)
    if args.object is None:
        return known
    if args.object not in known:
        raise UnknownName.among(known, args.object, f"{args.what} has no '{args.object}'")
    return [args.object]


def _replayed(args: argparse.Namespace, name: str, prog: str) -> Any:
    try:
        return replay(args.what, speed=args.speed, object=name)
    except BadValue as error:
        raise UsageProblem("; ".join([f"{prog} replay: {error.message}", *error.hints])) from None


def _state() -> Any:
    where = session.folder()
    if where is not None:
        return Preformatted(f"cells, bpfnb.load and tools are bound to the recordings in {where}", "replay")
    replayed = [obj for obj in objects.values() if isinstance(obj, ReplayedObject)]
    if replayed:
        return object_table(replayed)
    return Preformatted("nothing is replayed; %bpf replay FILE, or %bpf replay DIR", "replay")
