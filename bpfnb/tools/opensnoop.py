"""Files that are opened: by whom, how, with which descriptor or error.

A row for each open, openat, openat2 and creat. ``path`` is as the caller wrote it, with ``full_path`` behind the
directory that it is relative to; ``fd`` is -1 and ``err`` tells why where it could not be opened. ``path="/etc"`` lets
paths through that contain this, ``path="^/etc"`` those that begin with it: in the kernel, like all filters.
Opens through io_uring are not seen. Linux 5.17.
"""

from __future__ import annotations

import os

import pandas as pd

from bpfnb.tools.flagnames import named, of_bits
from bpfnb.tools.tool import Option, Tool

_ACCESS = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR", 3: "O_ACCMODE"}
_LARGEFILE = 0o100000  # set by the C library of 32-bit programs; says nothing
_NAMES = (
    "SYNC",
    "DSYNC",
    "CREAT",
    "EXCL",
    "NOCTTY",
    "TRUNC",
    "APPEND",
    "NONBLOCK",
    "ASYNC",
    "DIRECT",
    "TMPFILE",
)
_MORE = ("DIRECTORY", "NOFOLLOW", "NOATIME", "CLOEXEC", "PATH")
OPEN_FLAGS = {f"O_{name}": getattr(os, f"O_{name}") for name in (*_NAMES, *_MORE)}


def open_flags(flags: int) -> str:
    """``O_WRONLY|O_CREAT|O_TRUNC``."""
    rest = of_bits(flags & ~3 & ~_LARGEFILE, OPEN_FLAGS)
    return f"{_ACCESS[flags & 3]}|{rest}" if rest else _ACCESS[flags & 3]


class OpenSnoop(Tool):
    family = "files"
    rowwise = True
    options = (
        Option("failed", bool, "only those that failed"),
        Option("path", str, "only paths that contain this; ^TEXT: that begin with it", "TEXT"),
        Option("full_path", bool, "relative paths behind the directory that they start from"),
    )
    columns = ("time", "comm", "pid", "uid", "fd", "err", "flags", "path")
    drawn = ("time", "comm", "pid", "fd", "err", "path")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        return raw[list(self.columns)].assign(flags=named(raw["flags"], open_flags))
