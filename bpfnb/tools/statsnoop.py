"""Files that processes ask about by path: stat, access and their kin.

A row for each stat, lstat, newfstatat (``fstatat``), statx, access, faccessat and faccessat2. ``path`` is as the caller
wrote it, with ``full_path`` behind the directory that it is relative to; it is empty where a descriptor itself was
asked about (AT_EMPTY_PATH). ``path="/etc"`` lets paths through that contain this, ``path="^/etc"`` those that begin
with it: in the kernel, like all filters. Linux 5.17.
"""

from bpfnb.tools.tool import Option, Tool


class StatSnoop(Tool):
    family = "files"
    options = (
        Option("failed", bool, "only those that failed"),
        Option("path", str, "only paths that contain this; ^TEXT: that begin with it", "TEXT"),
        Option("full_path", bool, "relative paths behind the directory that they start from"),
    )
    columns = ("time", "comm", "pid", "uid", "call", "fd", "err", "path")
