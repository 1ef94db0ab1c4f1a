"""Processes that end: how long they lived, with what code, or by which signal.

A row when the last thread of a process has ended; with ``threads`` one for each thread when that has. The first has
the number of the process as its ``tid``; a thread that starts a program takes that over. ``signal`` is
empty where it ended by itself, else the one that ended it, ``core`` whether a core dump was written. With ``failed``
only what ended with another code than 0. Linux 5.11.
"""

from bpfnb.tools.tool import Option, Tool


class ExitSnoop(Tool):
    family = "processes"
    options = (
        Option("threads", bool, "each thread by itself"),
        Option("failed", bool, "only what ended with a code other than 0, or by a signal"),
    )
    columns = ("time", "comm", "pid", "ppid", "tid", "uid", "duration", "exit_code", "signal", "core")
