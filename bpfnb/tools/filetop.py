"""Files by reads and writes: which process moves how much through which file.

A row for each file and process, what moved most first. ``path`` is where the file was when it was first seen. Regular
files; with ``special`` also pipes, sockets and devices (those without a path have their file system's name). Counted
are read, write and their kin, not what goes through mmap, sendfile, splice or io_uring. Linux 5.17.
"""

from __future__ import annotations

import stat

import pandas as pd

from bpfnb.tools.flagnames import named
from bpfnb.tools.tool import Option, Tool

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "disk",
}


class FileTop(Tool):
    family = "files"
    options = (Option("special", bool, "also pipes, sockets and devices"),)
    stream = "files"
    columns = ("comm", "pid", "uid", "reads", "writes", "r_kb", "w_kb", "type", "path")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        weight = (raw["read_bytes"] + raw["write_bytes"]).sort_values(ascending=False, kind="stable")
        frame = raw.loc[weight.index]
        frame = frame.assign(r_kb=frame["read_bytes"] / 1024, w_kb=frame["write_bytes"] / 1024)
        frame["type"] = named(frame["type"], lambda kind: KINDS.get(kind, "other"))
        return frame[list(self.columns)]
