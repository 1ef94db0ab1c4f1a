"""A running bpftrace: started without a shell, its output taken as it comes, its mistakes at the program's lines."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pandas as pd

from bpfnb import guest
from bpfnb.bpftrace import child
from bpfnb.bpftrace.results import MapResult, Results
from bpfnb.bpftrace.text import probes
from bpfnb.errors import (
    BadValue,
    BpfnbError,
    CompileError,
    Diagnostic,
    KernelFeatureMissing,
    Location,
    MissingDependency,
    NotPermitted,
)

__all__ = ["GRACE", "Bpftrace", "run", "running", "start"]

GRACE = 15.0
"""Seconds that bpftrace has after SIGINT to print its maps and end."""

_PLACE = re.compile(r"^stdin:(\d+)(?::(\d+))?(?:-(\d+))?(?::\d+)?: (ERROR|WARNING): (.*)$", re.M)
_NOISE = re.compile(
    r"couldn't set RLIMIT_MEMLOCK|Addrspace is not set"
)  # harmless since Linux 5.11; LLVM's own
_KINDS = {
    "kprobe": "kprobes",
    "kretprobe": "kprobes",
    "k": "kprobes",
    "kr": "kprobes",
    "kfunc": "fentry",
    "kretfunc": "fentry",
    "fentry": "fentry",
    "fexit": "fentry",
    "hardware": "hardware counters",
    "h": "hardware counters",
}

running: dict[str, Bpftrace] = {}
"""By name, those of this process that were started and not closed."""


class Bpftrace:
    """A bpftrace program that runs, or has run. Make one with :func:`run`.

    ``maps["@x"]`` is a map as it was printed last (``.df``) and over time (``.history``); ``df`` the lines that were
    printed; ``state`` is ``running`` or ``ended``; ``returncode`` None while it runs.
    """

    def __init__(
        self, text: str, name: str, command: Sequence[str], show: Callable[[str], object] | None
    ) -> None:
        self.name = name
        self.text = text
        self.note = ""
        self.results = Results(text)
        self._show = show
        self._attaching = threading.Event()
        self._ended = threading.Event()
        self._endings: list[Callable[[], object]] = []
        self._errors = b""
        self._pid = 0
        self._stopped = self._asked = False
        inherited, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-IS", child.__file__, str(inherited), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(inherited,),
                start_new_session=True,  # a notebook's interrupt is not bpftrace's: stop() is
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(inherited)
        self._mistakes = threading.Thread(
            target=self._read_errors, name=f"bpftrace-{name}-errors", daemon=True
        )
        self._reader = threading.Thread(target=self._read, name=f"bpftrace-{name}", daemon=True)
        self._mistakes.start()
        self._reader.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text.encode())
            self._process.stdin.close()

    # What came

    @property
    def maps(self) -> dict[str, MapResult]:
        """The maps that were printed, by name: when bpftrace ends it prints all."""
        return self.results.maps

    @property
    def df(self) -> pd.DataFrame:
        """The lines that were printed: ``time``, ``text``, and the arguments of printf where those are sure."""
        return self.results.frame()

    def view(self, **options: Any) -> Any:
        """The first map's picture; of a program that only prints lines, their table."""
        from bpfnb.views import table

        if self.maps:
            return next(iter(self.maps.values())).view(**options)
        return table(self, **{"title": self.name, **options})

    @property
    def closed(self) -> bool:
        """Whether no more will come."""
        return self._ended.is_set()

    @property
    def state(self) -> str:
        return "ended" if self.closed else "running"

    @property
    def returncode(self) -> int | None:
        return self._process.returncode if self.closed else None

    @property
    def pid(self) -> int:
        """bpftrace's own process; its process group is its parent's pid."""
        return self._pid

    @property
    def stderr(self) -> str:
        """What bpftrace said beside its output, without what is always said and means nothing."""
        lines = self._errors.decode(errors="replace").splitlines()
        return "\n".join(line for line in lines if not _NOISE.search(line))

    programs: dict[str, Any] = {}  # noqa: RUF012  as lists of objects ask for them
    streams: dict[str, Any] = {}  # noqa: RUF012

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call *callback* once no more will come."""
        self._endings.append(callback)
        if self.closed:
            callback()

    def wait(self, timeout: float | None = None) -> bool:
        """Until it has ended by itself; False if *timeout* seconds passed before. Raises what :func:`run` raises."""
        if not self._ended.wait(timeout):
            return False
        self._check()
        return True

    # Its end

    def stop(self) -> None:
        """What Ctrl-C does: it prints its maps and ends. Whatever of its process group is there after 15 seconds is
        killed.
        """
        self._stopped = True
        until = time.monotonic() + GRACE
        while not self.closed:
            # One that comes just before it begins to wait is forgotten; one that comes while it prints would end it.
            if not self._asked or self._waits():
                self._asked = True
                self._signal(signal.SIGINT)
            if not self._ended.wait(0.2) and time.monotonic() > until:
                self._signal(signal.SIGKILL)
                self._ended.wait(GRACE)
                break

    def _waits(self) -> bool:
        """Whether bpftrace waits for events: its probes are attached, and it does not end yet."""
        try:
            return "poll" in Path(f"/proc/{self._pid}/wchan").read_text()
        except OSError:  # it has just ended
            return False

    def stop_after(self, seconds: float) -> None:
        """:meth:`stop` it then, unless it has ended before."""
        timer = threading.Timer(seconds, self.stop)
        timer.daemon = True
        timer.start()
        self.when_ended(timer.cancel)

    def close(self, note: str = "") -> None:
        """As :meth:`stop`, and forget its name. What came stays readable."""
        self.stop()
        self.note = note or self.note
        if running.get(self.name) is self:
            del running[self.name]

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Its output

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                message = {"type": "text", "data": line.decode(errors="replace").rstrip("\n")}
                if not message["data"]:
                    continue
            if message["type"] == "pid":
                self._pid = message["data"]
            if message["type"] == "attached_probes":
                self._attaching.set()
            text = self.results.add(message)
            if text and self._show is not None:
                self._show(text)
        self._process.wait()
        self._mistakes.join(GRACE)
        self._process.stdout.close()
        os.close(self._lifeline)
        self.results.end()
        self._ended.set()
        self._attaching.set()
        for callback in self._endings:
            callback()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            for line in pipe:
                self._errors += line

    def await_start(self) -> None:
        """Until the probes are attached, or it has ended. Raises what was wrong with the program, see :func:`start`."""
        # It says when it begins to attach them, and waits for events when it has.
        self._attaching.wait()
        for _ in range(1000):  # some seconds: many probes take long
            if self._ended.wait(0.01):
                break
            if self._waits():
                break
        self._check()

    def _check(self) -> None:
        if self.closed and self._process.returncode and not self._stopped:
            raise _mistake(self.stderr, self.text, self.name, self._process.returncode)

    # Display

    def __repr__(self) -> str:
        return f"<bpftrace {self.name} {self.state}: {len(self.maps)} maps, {self.results.rows:,} rows>"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        shown = list(self.maps.values())
        if not shown:
            print(repr(self))
        for result in shown:
            display(result)


def run(text: str, **options: Any) -> Bpftrace:
    """Start bpftrace with a program; returns once its probes are attached, or it has ended. As :func:`start`."""
    made = start(text, **options)
    try:
        made.await_start()
    except BaseException:
        made.close()
        raise
    return made


def start(
    text: str,
    *,
    name: str = "bt",
    pid: int | None = None,
    command: str | None = None,
    unsafe: bool = False,
    arguments: Sequence[str] = (),
    show: Callable[[str], object] | None = None,
) -> Bpftrace:
    """Start bpftrace with a program; :meth:`Bpftrace.await_start` says what became of it.

    *pid* and *command* are bpftrace's ``-p`` and ``-c``, *unsafe* its ``--unsafe``, *arguments* what the program knows
    as ``$1`` and so on. *show* gets the printed text as it comes, on another thread. One that ran under the same name
    is closed.

    :raises CompileError: bpftrace refused the program; ``where`` is the line.
    :raises KernelFeatureMissing: this kernel has no such probes.
    :raises MissingDependency, NotPermitted: bpftrace is not installed; it needs root.
    :raises BadValue: the session is in a guest, which bpftrace does not trace.
    """
    if (vm := guest.wanted()) is not None:
        raise BadValue(
            f"bpftrace traces this machine, and this session is in a guest (Linux {vm})",
            hints=["bpfnb.guest.use(None) goes back to this machine's kernel"],
        )
    program = shutil.which("bpftrace") or shutil.which("bpftrace", path="/usr/local/bin:/usr/sbin:/usr/bin")
    if program is None:
        raise MissingDependency("bpftrace is not installed", hints=["apt-get install bpftrace"])
    if os.geteuid() != 0:
        raise NotPermitted("bpftrace only runs as root, which this process is not", missing=["root"])
    options = ["-B", "none", "-f", "json", *(["--unsafe"] if unsafe else [])]
    options += [] if pid is None else ["-p", str(pid)]
    if command is not None:
        first, _, rest = command.partition(" ")
        options += [
            "-c",
            f"{shutil.which(first) or first} {rest}".strip(),
        ]  # it wants one file, and /bin is /usr/bin
    if name in running:
        running[name].close()
    running[name] = Bpftrace(text, name, [program, *options, "-", *map(str, arguments)], show)
    return running[name]


def _mistake(said: str, text: str, name: str, code: int) -> BpfnbError:
    """bpftrace's own message, at the line of the program that it is about."""
    found = []
    for line, column, end, severity, message in _PLACE.findall(said):
        at = int(line) if column or not end else _line(text, int(line), int(end), message)
        where = Location(name, at, int(column or 0))
        found.append(Diagnostic(severity.lower(), message, where))
    wrong = [one for one in found if one.severity == "error"]
    plain = re.findall(r"^(?:ERROR|FATAL): (.*)$|^(.*(?:fatal error|error):.*)$", said, re.M)
    first = (
        wrong[0].message
        if wrong
        else next((a or b for a, b in plain), said.strip() or f"it ended with {code}")
    )
    missing = _missing(first, wrong, text, name, said)
    if missing is not None:
        return missing
    place = wrong[0].where if wrong else None
    return CompileError(f"bpftrace: {first}", diagnostics=wrong, where=place, source=text, log=said)


def _line(text: str, first: int, last: int, message: str) -> int:
    """The line that a message is about whose place are several: that with the longest word of the message."""
    lines = text.splitlines()
    for word in sorted(re.findall(r"[\w:]{3,}", message), key=len, reverse=True):
        for number in range(first, min(last, len(lines)) + 1):
            if word in lines[number - 1]:
                return number
    return first


def _missing(first: str, wrong: Sequence[Diagnostic], text: str, name: str, said: str) -> BpfnbError | None:
    """A kind of probe that this kernel does not have."""
    probe = re.search(r"attaching probe: '([^']+)'", first)
    absent = re.search(r"not available for your kernel|not supported", first)
    if not probe and not absent:
        return None
    stated = probes(text)
    line = wrong[0].where.line if wrong and wrong[0].where else 0
    if probe:
        line = next((at for stated_probe, at in stated if stated_probe == probe[1]), 0)
    named = probe[1] if probe else next((stated_probe for stated_probe, at in stated if at == line), "")
    kind, _, target = named.partition(":")
    hints = []
    if kind in _KINDS:
        from bpfnb.kernel.hooks import similar_tracepoints

        near = similar_tracepoints(target)
        hints = [f"use a tracepoint: {', '.join(f'tracepoint:{one}' for one in near)}"] if near else []
        hints.append("bpfnb features lists what this kernel lets attach")
    return KernelFeatureMissing(
        f"bpftrace: {first}",
        feature=_KINDS.get(kind, kind),
        where=Location(name, line) if line else None,
        source=text,
        hints=hints,
        log=said,
    )


@atexit.register
def _close_all() -> None:
    for one in list(running.values()):
        one._signal(signal.SIGKILL)


os.register_at_fork(after_in_child=running.clear)
