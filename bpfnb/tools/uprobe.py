"""Calls of any function of a program or library, with arguments, what it returned, and how long it took.

``FUNCTION`` is ``BINARY:FUNCTION``, or a function of the process of ``pid``; several by commas or a pattern:
``app:handle_*``. Where the binary has debug information (``-g``, or its separate debug file) each argument is a column
of its type, ``ret`` what was returned, ``duration`` the time between; ``columns`` chooses others, members of structs by
path among them: ``--columns "req->method, conn->fd, name, ret->len"``. ``--filter "size > 100 && name ~ '/api/*'"``
lets through only some calls, decided in the kernel; it is written as in ``trace``, over the same paths, ``duration``,
``comm``, ``pid``, ``tid`` and ``uid``; enumerations' values have their names. A value that cannot be read meets no
condition. Without debug information there are ``arg1`` to ``arg6`` and ``ret`` as they are in registers:
``--columns "arg1, arg2:str"``, or all with ``--args``.

What probes cannot read is left out and named in ``t.left_out``: floating-point registers, parameters that the compiler
optimised away. A probe costs one or two microseconds, many more where the function's first instruction has to be
stepped through (such as ``lea``; ``push`` and ``endbr`` need not be), most of all in virtual machines. Linux 5.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.bpf import TOOLS
from bpfnb.tools.calls import Calls
from bpfnb.tools.probed import LeavesOut, one_pid
from bpfnb.tools.targets import Target, split, words
from bpfnb.tools.tool import Load, Option

if TYPE_CHECKING:
    from bpfnb.views import View


class Uprobe(LeavesOut):
    family = "user space"
    rowwise = True
    options = (
        Option("function", str, "what to trace", "BINARY:FUNCTION", variable=False, positional=True),
        Option(
            "binary", str, "the program or library, where FUNCTION does not name it", "FILE", variable=False
        ),
        Option(
            "columns", str, "values to show, by path: req->method, argv[1], ret", "PATH,...", variable=False
        ),
        Option("filter", str, "only calls for which this is true: size > 100", "EXPR", variable=False),
        Option("args", bool, "arg1 to arg6 as they are in registers", variable=False),
        Option("entry", bool, "calls only, no returns: no ret and duration, half the cost", variable=False),
        Option("max_string", int, "bytes of a text to keep (64)", "BYTES", variable=False),
    )

    def prepare(self) -> Load:
        binary, pattern = split(str(self.given.get("function", "")))
        pid = one_pid(self.filters)
        target = Target(str(self.given.get("binary", binary)), pid)
        self.calls = Calls(
            target,
            words(f"{binary}:{pattern}" if binary and "binary" in self.given else pattern),
            columns=words(str(self.given.get("columns", ""))),
            expression=self.given.get("filter"),
            raw=bool(self.given.get("args")),
            entry=bool(self.given.get("entry")),
            room=int(self.given.get("max_string", 64)),
        )
        self.left_out = self.calls.left_out
        return Load(attach={"pid": pid} if pid else {})

    def text(self) -> str:
        return self.calls.text((TOOLS / "uprobe.bpf.c").read_text())

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        return self.calls.frame(raw)

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import table

        return table(data, **{"title": self.object.name, **options})
