"""Checks of capabilities: which process was asked for which one, and whether it had it.

A row for each check; with ``denied`` only those that failed, with ``unique`` each process, capability and answer once.
``ret`` is 0 where it has the capability, in the user namespace ``userns``. The tracepoint capability:cap_capable of
Linux 6.14 tells, before that the function cap_capable(), where functions can be traced. Linux 5.11.
"""

from bpfnb.kernel.hooks import raw_tracepoints
from bpfnb.tools.tool import Load, Option, Tool


class Capable(Tool):
    family = "processes"
    options = (
        Option("denied", bool, "only checks that failed"),
        Option("unique", bool, "each process, capability and answer once"),
    )
    columns = ("time", "comm", "pid", "tid", "uid", "cap", "ret", "userns")

    def prepare(self) -> Load:
        load = super().prepare()
        load.defines = () if "cap_capable" in raw_tracepoints() else ("BY_FUNCTION",)
        return load
