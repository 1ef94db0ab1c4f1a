"""Processes that a signal ends: which, why, at which address, and where in the program.

A row for each process that a signal whose default is a core dump ends (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL,
SIGTRAP, SIGSYS, SIGQUIT ...), as soon as it has ended; with ``every`` also for SIGTERM, SIGKILL and the like.
``si_code`` is the kernel's reason (``SEGV_MAPERR``: nothing is mapped at ``address``), or how another process sent it,
then with its ``sender``. ``exit_code`` is what a shell reports; ``core``: a core dump was written.

``user_stack`` is that of the thread, ``outermost;...;innermost``: functions, or file and offset (for addr2line) where
the file has no symbols. The mappings that its frames lie in are noted with it, so that they have names though nobody
looked while the process lived; a file that cannot be opened afterwards, as in a container, stands with the offset.
Stacks follow frame pointers, so a library without them (most C libraries: ``abort`` is in one) ends the way.
Linux 5.17.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.frames import Stream
from bpfnb.symbols import Frame
from bpfnb.symbols.maps import Mapping
from bpfnb.tools.tool import Option, Tool

# si_code above 0 by signal, and those of all signals (siginfo.h, asm-generic).
CODES: dict[tuple[str, int], str] = {
    (signal, number): name
    for signal, names in {
        "SIGSEGV": "SEGV_MAPERR SEGV_ACCERR SEGV_BNDERR SEGV_PKUERR SEGV_ACCADI SEGV_ADIDERR SEGV_ADIPERR SEGV_MTEAERR "
        "SEGV_MTESERR SEGV_CPERR",
        "SIGBUS": "BUS_ADRALN BUS_ADRERR BUS_OBJERR BUS_MCEERR_AR BUS_MCEERR_AO",
        "SIGFPE": "FPE_INTDIV FPE_INTOVF FPE_FLTDIV FPE_FLTOVF FPE_FLTUND FPE_FLTRES FPE_FLTINV FPE_FLTSUB",
        "SIGILL": "ILL_ILLOPC ILL_ILLOPN ILL_ILLADR ILL_ILLTRP ILL_PRVOPC ILL_PRVREG ILL_COPROC ILL_BADSTK",
        "SIGTRAP": "TRAP_BRKPT TRAP_TRACE TRAP_BRANCH TRAP_HWBKPT TRAP_UNK TRAP_PERF",
        "SIGSYS": "SYS_SECCOMP SYS_USER_DISPATCH",
    }.items()
    for number, name in enumerate(names.split(), 1)
}
OF_ALL = {0: "SI_USER", 0x80: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ", -6: "SI_TKILL"}
NOT_KNOWN = 0x7FFFFFFF  # as in the program
TICKS = os.sysconf("SC_CLK_TCK")


class Crash(Tool):
    family = "processes"
    options = (Option("every", bool, "also signals that ask a process to end: SIGTERM, SIGKILL ..."),)
    columns = (
        *("time", "comm", "pid", "tid", "uid", "signal", "si_code", "address", "sender", "exit_code", "core"),
        "user_stack",
    )

    def __init__(self, **given: Any) -> None:
        self._texts: dict[tuple[int, int, bytes], str] = {}
        self._naming = threading.Lock()
        self._taken = 0
        super().__init__(**given)
        self._unwatch = self.object.streams["mappings"].on(lambda _: self._take())

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        self._take()
        hidden = self._raw(raw)
        stacks = [
            self._text(pid, started, np.asarray(stack, np.uint64))
            for pid, started, stack in zip(hidden["pid"], hidden["started"], hidden["stack"], strict=True)
        ]
        signals = raw["signal"].astype(str)
        codes = [
            None if code == NOT_KNOWN else CODES.get((signal, code)) or OF_ALL.get(code, str(code))
            for signal, code in zip(signals, raw["code"].tolist(), strict=True)
        ]
        made = raw["code"].gt(0)
        addresses = pd.Series(
            [f"0x{address:x}" for address in raw["address"].tolist()], raw.index, dtype=object
        )
        frame = raw.assign(
            si_code=pd.Categorical(codes),
            address=addresses.where(made & raw["code"].ne(0x80)),
            sender=raw["sender"].astype("UInt32").mask(made | raw["sender"].eq(0)),
            user_stack=pd.Categorical(stacks),
        )
        return frame[list(self.columns)]

    def _raw(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows with their hidden columns too."""
        frames = self.frames
        assert isinstance(frames, Stream)
        if not len(frame):
            return frames.slice(0, 0, raw=True)
        return frames.slice(frame.index[0], frame.index[-1] + 1, raw=True)

    def _take(self) -> None:
        """Give the symbolizer the mappings that were noted since."""
        stream = self.object.streams["mappings"]
        with self._naming:
            stream.drain()
            first, upto = stream.span()
            rows = stream.slice(max(self._taken, first), upto)
            self._taken = upto
            of: dict[tuple[int, int], list[Mapping]] = {}
            records: list[dict[Any, Any]] = rows.to_dict("records")
            for row in records:
                of.setdefault((row["pid"], row["started"]), []).append(_mapping(row))
            for (pid, started), mappings in of.items():
                self.symbols.remember(pid, mappings, started * TICKS // 10**9)

    def _text(self, pid: int, started: int, stack: np.ndarray[Any, np.dtype[np.uint64]]) -> str:
        key = pid, started, stack.tobytes()
        if key not in self._texts:
            used = stack[: np.argmin(stack)] if (stack == 0).any() else stack
            found = self.symbols.resolve(used, pid, returns=np.arange(len(used)) > 0)
            names = [name.replace(";", ":") for frame in _whole(found) for name in _names(frame)]
            self._texts[key] = ";".join(names[::-1])
        return self._texts[key]


def _whole(frames: list[Frame]) -> list[Frame]:
    """*frames*, innermost first, to where they leave what is mapped: a caller without a frame pointer ends the way."""
    wild = (at for at, frame in enumerate(frames) if frame.function is None and frame.module is None)
    return frames[: next(wild, len(frames)) + 1]


def _mapping(row: dict[Any, Any]) -> Mapping:
    device = row["device"]
    return Mapping(
        row["begin"],
        row["end"],
        row["offset"],
        f"{device >> 20:02x}:{device & 0xFFFFF:02x}",
        row["inode"],
        row["path"],
        False,
    )


def _names(frame: Frame) -> list[str]:
    if frame.function is None and frame.module is not None and frame.offset is not None:
        return [f"{frame.module.rpartition('/')[2]}+0x{frame.offset:x}"]
    return frame.names[::-1]
