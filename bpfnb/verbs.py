"""The verbs of recordings, labs, sharing and disposable kernels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bpfnb.commandline import UsageProblem, Verb
from bpfnb.recording.options import OPTIONS

__all__ = ["NOTEBOOK", "TERMINAL"]


def _export(args: argparse.Namespace) -> Any:
    from bpfnb.exports.verb import exported

    return exported(args)


def _record(args: argparse.Namespace) -> Any:
    from bpfnb.recording import record_verb

    return record_verb.in_notebook(args)


def _record_in_terminal(args: argparse.Namespace) -> int:
    from bpfnb.recording import record_verb

    return record_verb.in_terminal(args)


def _recording(args: argparse.Namespace) -> Any:
    from bpfnb.recording import record_verb

    return record_verb.described(args)


def _replay(args: argparse.Namespace) -> Any:
    from bpfnb.recording import replay_verb

    return replay_verb.in_notebook(args)


def _replay_in_terminal(args: argparse.Namespace) -> int:
    from bpfnb.recording import replay_verb

    return replay_verb.in_terminal(args)


def _lab(args: argparse.Namespace) -> Any:
    from bpfnb.lab import grading

    if args.action == "list":
        return grading.lab_table()
    if not args.notebooks:
        raise UsageProblem("bpfnb lab grade: name the notebooks, for example handed-in/*.ipynb")
    grades = grading.grade(
        args.notebooks,
        replay=args.replay or args.recordings is not None,
        recordings=args.recordings,
        cell_timeout=args.cell_timeout,
        timeout=args.timeout,
    )
    if args.to is not None:
        grading.save(grades, args.to)
    print(grading.table(grades).text())
    return int(not all(one.passed for one in grades))


def _share(args: argparse.Namespace) -> Any:
    from bpfnb.share import shared

    return shared(args)


def _vm(args: argparse.Namespace) -> Any:
    from bpfnb.vm import verb

    return verb.in_notebook(args)


def _vm_in_terminal(args: argparse.Namespace) -> Any:
    from bpfnb.vm import verb

    return verb.in_terminal(args)


_EXPORT = Verb(
    "export",
    "a recording or a live object as HTML, Parquet, CSV, JSON, traces or profiles",
    _export,
    (
        (("what",), {"metavar": "WHAT", "help": "a recording, or in a notebook a live object"}),
        (
            ("--to",),
            {
                "action": "append",
                "required": True,
                "metavar": "FILE|FORMAT",
                "help": "x.html, x.parquet, x.csv, x.json, x.jsonl; or html, parquet, csv, json, jsonl, chrome-trace, "
                "perfetto, folded, pprof: a file beside the recording. Repeatable",
            },
        ),
        (("--stream",), {"metavar": "NAME", "help": "only this stream, map or frame"}),
        (("--overwrite",), {"action": "store_true", "help": "replace files that are there"}),
    ),
    ("incident.bpfnb --to incident.html", "incident.bpfnb --to perfetto --to pprof"),
)

_RECORD = (
    (
        ("names",),
        {"metavar": "NAME", "nargs": "*", "help": "live objects or tools; none: list what is recorded"},
    ),
    *OPTIONS,
    (("--stop",), {"action": "store_true", "help": "end the recordings of these, or of all"}),
)
_RECORD_TOOL = (
    (("name",), {"metavar": "TOOL", "nargs": "?", "help": "a tool; bpfnb tool lists them"}),
    *OPTIONS,
    (
        ("words",),
        {"nargs": argparse.REMAINDER, "metavar": "...", "help": "the tool's own options, and these"},
    ),
)
_RECORDING = Verb(
    "recording",
    "what a recording holds, and what it says of itself",
    _recording,
    ((("path",), {"type": Path, "metavar": "FILE", "help": "a recording"}),),
    ("incident.bpfnb",),
)

_REPLAY = (
    (
        ("what",),
        {
            "nargs": "?",
            "metavar": "FILE|DIR|off",
            "help": "a recording; in a notebook also a folder of them, to which cells and tools are bound from then on",
        },
    ),
    (
        ("--speed",),
        {"type": float, "metavar": "X", "help": "so many times as fast as recorded (all at once)"},
    ),
    (("--object",), {"metavar": "NAME", "help": "only this one of the recording"}),
)
_REPLAY_SUMMARY = "show a recording as if it were live"

_LAB = (
    (
        ("action",),
        {
            "nargs": "?",
            "choices": ("list", "grade"),
            "default": "list",
            "help": "list the labs (without any), or grade notebooks",
        },
    ),
    (("notebooks",), {"type": Path, "nargs": "*", "metavar": "NOTEBOOK", "help": "what students handed in"}),
    (("--replay",), {"action": "store_true", "help": "with the labs' recordings, without privileges"}),
    (
        ("--recordings",),
        {"type": Path, "metavar": "DIR", "help": "their folder, if not beside the notebooks"},
    ),
    (
        ("--cell-timeout",),
        {
            "type": float,
            "default": 60.0,
            "metavar": "S",
            "help": "seconds for a cell, then it is interrupted (60)",
        },
    ),
    (
        ("--timeout",),
        {"type": float, "default": 600.0, "metavar": "S", "help": "seconds for a notebook (600)"},
    ),
    (("--to",), {"type": Path, "metavar": "FILE", "help": "write the grades also as .csv or .json"}),
)

_SHARE = Verb(
    "share",
    "a notebook with its recordings in one file, refused where they hold what is sensitive",
    _share,
    (
        (
            ("notebook",),
            {"metavar": "NOTEBOOK", "type": Path, "help": "its outputs are made from the recordings"},
        ),
        (("--to",), {"type": Path, "metavar": "FILE", "help": "the bundle (NOTEBOOK.bundle.zip beside it)"}),
        (("--recordings",), {"type": Path, "metavar": "DIR", "help": "where they are (beside the notebook)"}),
        (
            ("--allow",),
            {
                "action": "append",
                "default": [],
                "metavar": "COLUMN",
                "help": "share this column though it is sensitive; also TABLE.COLUMN. Repeatable",
            },
        ),
        (("--as-is",), {"action": "store_true", "help": "keep the notebook's outputs, unchecked"}),
        (("--timeout",), {"type": int, "default": 600, "metavar": "S", "help": "of each cell (600)"}),
        (("--overwrite",), {"action": "store_true", "help": "replace a bundle that is there"}),
    ),
    ("incident.ipynb", "incident.ipynb --recordings recordings --to incident.zip"),
)

_VM = (
    (
        ("words",),
        {
            "nargs": argparse.REMAINDER,
            "metavar": "ACTION ...",
            "help": "start, sh, list, stop (in a notebook), kernels, prepare; each says more of itself with --help",
        },
    ),
)
_VM_SUMMARY = "throwaway kernels under qemu, which cells can trace instead of this one"

NOTEBOOK = (
    Verb(
        "vm",
        _VM_SUMMARY,
        _vm,
        _VM,
        ("start 6.12 --folder ~/project", "sh cat /proc/version", "stop", "kernels"),
    ),
    Verb(
        "record",
        "record live objects and tools to a file, list what is recorded, or end it",
        _record,
        _RECORD,
        ("io --to incident.bpfnb --redact raddr=mask", "io --stop", ""),
    ),
    _RECORDING,
    Verb(
        "replay",
        _REPLAY_SUMMARY,
        _replay,
        _REPLAY,
        ("incident.bpfnb --speed 10", "recordings/", "off"),
    ),
    _EXPORT,
    _SHARE,
)

TERMINAL = (
    _EXPORT,
    _SHARE,
    Verb(
        "record",
        "record a tool to a file",
        _record_in_terminal,
        _RECORD_TOOL,
        (
            "execsnoop --duration 10 --to incident.bpfnb",
            "flows --to flows.bpfnb --max-bytes 100M --rotate 5",
        ),
    ),
    Verb(
        "vm",
        _VM_SUMMARY,
        _vm_in_terminal,
        _VM,
        ("kernels", "sh 6.12", "sh 6.1 uname -a", "sh --help", "prepare 6.12 6.1"),
    ),
    _RECORDING,
    Verb("replay", _REPLAY_SUMMARY, _replay_in_terminal, _REPLAY, ("incident.bpfnb",)),
    Verb(
        "lab",
        "the labs of the course; and grading: run notebooks, and say which tasks are solved",
        _lab,
        _LAB,
        ("list", "grade handed-in/*.ipynb --to grades.csv", "grade --replay 01-hello-kernel.ipynb"),
    ),
)
