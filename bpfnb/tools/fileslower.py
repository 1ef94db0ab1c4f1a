"""Reads, writes and syncs of files that take long, with the file's path.

A row for each read, write and their kin, fsync and fdatasync of a regular file that took ``min_ms`` or longer (10);
0 shows all. ``lat`` is the time of the whole call as the process waits for it: page cache, locks, file system and disk.
``fs`` is the type of its file system. What goes through mmap, sendfile or io_uring is not seen. Linux 5.17.
"""

from bpfnb.tools.tool import Option, Tool


class FileSlower(Tool):
    family = "files"
    options = (Option("min_ms", int, "only those that took at least this long (10)", "MS"),)
    columns = ("time", "comm", "pid", "tid", "uid", "op", "bytes", "err", "lat", "fs", "path")
