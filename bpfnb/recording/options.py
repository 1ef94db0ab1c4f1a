"""The options of the verb ``record``, as the command line has them. Imports nothing of what they are for."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Final

__all__ = ["OPTIONS", "size"]

_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(text: str) -> int:
    """Bytes as people write them: ``300M``, ``2G``, ``1048576``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no size: 300M, 2G")
    return int(float(found[1]) * _UNITS[found[2]])


def _option(name: str, help: str, **more: Any) -> tuple[tuple[str], dict[str, Any]]:  # noqa: A002
    return (name,), {"help": help, **more}


def _repeated(name: str, metavar: str, help: str) -> tuple[tuple[str], dict[str, Any]]:  # noqa: A002
    return _option(name, f"{help}. Repeatable", metavar=metavar, action="append", default=[])


OPTIONS: Final = (
    _option("--to", "the recording that is written: incident.bpfnb", metavar="FILE", type=Path),
    _repeated(
        *("--redact", "COLUMN=WHAT"),
        "drop, hash or mask a column before it is written: raddr=mask, events.comm=hash",
    ),
    _repeated(
        *("--include", "COLUMN"),
        "record a column that is left out unasked: command lines, payloads, what is SENSITIVE",
    ),
    _option(
        "--redact-key", "the key of hashes, which then agree between recordings", metavar="FILE", type=Path
    ),
    _option("--max-bytes", "end at this size (1G)", metavar="SIZE", type=size, default=1 << 30),
    _option("--max-seconds", "end after so long", metavar="S", type=float),
    _option("--rotate", "go on in a new file when one is full, and keep N older ones", metavar="N", type=int),
    _option("--flush", "seconds between writes (1)", metavar="S", type=float, default=1.0),
    _option(
        "--facts",
        "of the machine, beside its kernel: hostname, user, os, cpu, memory, timezone, boot",
        metavar="A,B",
        default="",
    ),
    _option("--overwrite", "replace the file where it exists", action="store_true"),
)
