"""Programs that are started, with all their arguments.

A row for each program that began to run; with ``failed`` also for each that could not be started, ``ret`` being the
error then (a shell tries each directory of PATH in turn). ``path`` is the file as the caller named it, ``args`` what
the program was given, separated by spaces; what is longer than ``max_bytes`` ends with ``...``. Linux 5.11.
"""

from bpfnb.tools.tool import Option, Tool


class ExecSnoop(Tool):
    family = "processes"
    options = (
        Option("failed", bool, "also programs that could not be started"),
        Option("ppid", int, "only children of this process", "PID"),
        Option("max_bytes", int, "bytes of arguments to keep, up to 16384 (4096)"),
    )
    columns = ("time", "comm", "pid", "ppid", "uid", "ret", "path", "args")
    drawn = ("time", "comm", "pid", "ppid", "ret", "args")
