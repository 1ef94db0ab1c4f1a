"""Signals: who sent which to whom, and what became of it (killsnoop).

A row for each signal that was made for a process: ``pid`` and ``comm`` sent ``sig`` to ``tpid`` and ``tcomm``.
``result`` is ``delivered`` (queued for it), ``ignored``, or ``already_pending``. With ``kernel`` also the signals that
nobody sent: faults, timers, SIGCHLD of children that ended; the sender is then who ran at that moment. Filters are of
the sender; ``target`` is a process that signals go to. With ``failed`` also the calls that sent none, whose ``result``
is ``refused`` and whose ``ret`` says why: EPERM, or ESRCH where there is no such process. Linux 5.11.
"""

from __future__ import annotations

import signal
from typing import Any

from bpfnb.errors import UnknownName
from bpfnb.tools.tool import Option, Tool


def _number(value: Any) -> int:
    """15, ``SIGTERM`` or ``term``."""
    text = str(value).upper()
    if text.isdigit() and 1 <= int(text) <= 64:
        return int(text)
    name = text if text.startswith("SIG") else f"SIG{text}"
    known = [one.name for one in signal.Signals]
    if name not in known:
        raise UnknownName.among(known, name, f"there is no signal '{value}'")
    return int(signal.Signals[name])


class Signals(Tool):
    family = "processes"
    options = (
        Option("signal", _number, "only this signal, by name or number", "SIGNAL"),
        Option("target", int, "only signals to this process", "PID"),
        Option("kernel", bool, "also those that the kernel sends: faults, timers, ended children"),
        Option("failed", bool, "also calls of kill, tkill and tgkill that sent none"),
    )
    columns = ("time", "comm", "pid", "uid", "sig", "tcomm", "tpid", "ttid", "result", "ret", "from_kernel")
