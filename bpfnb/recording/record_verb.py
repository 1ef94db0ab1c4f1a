"""The verbs ``record`` and ``recording`` of ``%bpf`` and of the ``bpfnb`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bpfnb.commandline import Parser, UsageProblem
from bpfnb.errors import BadValue, BpfnbError
from bpfnb.object import BpfObject, objects
from bpfnb.recording.chosen import record
from bpfnb.recording.options import OPTIONS
from bpfnb.recording.reader import Recording
from bpfnb.recording.recorder import Recorder, recorders
from bpfnb.tools import verb
from bpfnb.tools.tool import Tool
from bpfnb.views import humanize
from bpfnb.views.plain import Preformatted, Table

__all__ = ["described", "in_notebook", "in_terminal"]


def _started(what: Any, args: argparse.Namespace) -> Recorder:
    key = None
    if args.redact_key is not None:
        try:
            key = args.redact_key.read_bytes()
        except OSError as error:
            raise BadValue(f"the key {args.redact_key} cannot be read: {error.strerror}") from None
    return record(
        what,
        args.to,
        redact=args.redact,
        include=args.include,
        redact_key=key,
        max_bytes=args.max_bytes,
        max_seconds=args.max_seconds,
        rotate=args.rotate,
        flush=args.flush,
        facts=[word.strip() for word in args.facts.split(",") if word.strip()],
        overwrite=args.overwrite,
    )


# In a notebook


def in_notebook(args: argparse.Namespace) -> Any:
    """``%bpf record``: the recordings that go on; with names and ``--to`` one more; with ``--stop`` their end."""
    if args.stop:
        ending = [one for one in _going() if not args.names or set(args.names) & set(one.names)]
        if args.names and not ending:
            raise UsageProblem(f"%bpf record: nothing records {', '.join(args.names)}")
        for one in ending:
            try:
                one.stop()
            except BpfnbError:  # the list says why, this once
                recorders.discard(one)
        return _listed(ending)
    if not args.names:
        return _listed(_going())
    if args.to is None:
        raise UsageProblem(
            f"%bpf record: say where to: %bpf record {' '.join(args.names)} --to incident.bpfnb"
        )
    recorder = _started([_live(name) for name in args.names], args)
    _kept.append(recorder)
    return recorder


_kept: list[Recorder] = []
"""Those that the notebook began: nobody else holds them."""


def _going() -> list[Recorder]:
    """Those that go on, and those that failed until somebody ends them."""
    return sorted(
        (one for one in recorders if one.state in ("recording", "failed")), key=lambda one: one.began
    )


def _live(name: str) -> BpfObject | Tool | str:
    """A tool that the notebook knows by this name, else what is loaded under it."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    found = shell.user_ns.get(name) if shell is not None else None
    if isinstance(found, Tool) or (isinstance(found, BpfObject) and name not in objects):
        return found
    return name


def _listed(found: Sequence[Recorder]) -> Table:
    rows = [
        (
            ", ".join(one.names),
            str(one.path),
            f"{one.state}: {one.failure}" if one.error else one.state,
            f"{one.rows:,}",
            humanize(one.nbytes, "bytes"),
            _lost(one.lost),
        )
        for one in found
    ]
    return Table(
        ("what", "file", "state", "rows", "size", "lost"),
        rows,
        empty="nothing is recorded",
        footer="%bpf record NAME --stop ends one",
    )


def _lost(lost: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {where}" for where, count in lost.items()) or "nothing"


# In a terminal


def in_terminal(args: argparse.Namespace) -> int:
    """``bpfnb record TOOL [options] --to FILE``: until Ctrl-C, the tool's ``--duration``, or a limit."""
    if args.name is None:
        raise UsageProblem("bpfnb record: name a tool: bpfnb record execsnoop --to incident.bpfnb")
    parser = Parser("bpfnb record")
    for flags, settings in OPTIONS:
        parser.add_argument(*flags, **settings)
    given, options = parser.parse_known_args(args.words, args)  # the tool's own are left
    name = args.name
    if given.to is None:
        raise UsageProblem(f"bpfnb record: say where to: bpfnb record {name} --to incident.bpfnb")
    with verb.started(name, options) as tool:
        recorder = _started(tool, given)
        print(f"recording {name} to {given.to}; Ctrl-C ends it", file=sys.stderr)
        try:
            while not recorder.wait(0.5):
                pass
        except KeyboardInterrupt:
            tool.stop()
        recorder.stop()
    print(f"{recorder.path}: {recorder.state}, {recorder.rows:,} rows, {humanize(recorder.nbytes, 'bytes')}")
    if recorder.lost:
        print(f"LOST: {_lost(recorder.lost)}", file=sys.stderr)
    return 0


# What is in a file


def described(args: argparse.Namespace) -> Preformatted:
    """``recording FILE``: what it says of itself, and its tables."""
    with Recording(args.path) as recording:
        manifest, tables = recording.manifest, recording.tables()
    began, ended = (datetime.fromtimestamp(moment, UTC) for moment in manifest.window)
    told = {
        "made": f"{began:%Y-%m-%d %H:%M:%S} to {ended:%H:%M:%S} UTC by bpfnb {manifest.bpfnb}",
        "kernel": f"{manifest.host.kernel} {manifest.host.machine}, {manifest.host.cpus} CPUs",
        **manifest.host.facts,
        "ended": recording.stopped + (" (found without its directory)" if recording.recovered else ""),
        "complete": "yes" if recording.completeness["complete"] else f"no; lost: {_lost(manifest.lost)}",
        "cost": ", ".join(f"{what} {share:.1%} of a CPU" for what, share in manifest.overhead.items()),
    }
    for name, info in manifest.objects.items():
        told[name] = f"{info.kind}, {info.compiler}, {len(info.programs)} programs, {info.state}"
        if info.note:
            told[name] += f" ({info.note})"
    columns: Any = manifest.redaction.get("columns")
    if isinstance(columns, Mapping):
        told |= {f"{column}": f"redacted: {what}" for column, what in columns.items()}
    width = max(map(len, told))
    lines = [f"{_shown(name):{width}}  {_shown(text)}" for name, text in told.items()]
    body = tables.to_string(index=False, formatters={"rows": "{:,}".format, "bytes": "{:,}".format})
    return Preformatted("\n".join([*lines, "", *map(_shown, body.splitlines())]), f"recording {args.path}")


def _shown(text: str) -> str:
    """A file's own words, without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
