"""Processes that watch others: a tool of bpfnb that keeps its frame, or a program of a peer that prints.

``python -m bench.observers NAME OPTIONS`` (JSON) is ours: it says ``ready``, and at the next line of its input makes
the frame, says how many rows it has and how many were lost, and ends. A peer is interrupted, prints what it has, and
ends. The processor time of either is all that it takes from ready to its end: some name their stacks while they watch,
some afterwards. What is read before it is ready, as the kernel's symbols by ours, is of its start, like compiling.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from typing import Any, Self

from bpfnb.cli import leave

__all__ = ["Observer", "Ours", "Theirs"]

_SETTLED = 0.5  # seconds in which it takes hardly any time of a processor: it waits for events
_HARDLY = 0.01


class Observer:
    """A child process, ready to watch once it is entered, whose processor time is known."""

    command: Sequence[str]

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".txt")
        self._child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._settle()
        self._began = self._cpu()
        return self

    def output(self) -> str:
        return Path(self._log.name).read_text(errors="replace")

    def _cpu(self) -> float:
        """Seconds of a processor that it took so far, in user and kernel: /proc/PID/stat would count in ticks."""
        return time.clock_gettime(~self._child.pid << 3 | 2)  # as clock_getcpuclockid(3) makes it

    def _settle(self) -> None:
        """Waits until it has said something and does nothing any more."""
        deadline = time.monotonic() + 120
        spent, since = self._cpu(), time.monotonic()
        while time.monotonic() - since < _SETTLED or not self.said():
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"bench: {' '.join(self.command)}: {self.output()}")
            time.sleep(0.02)
            if (now := self._cpu()) - spent > _HARDLY:
                spent, since = now, time.monotonic()

    def said(self) -> bool:
        return bool(self.output())

    def end(self) -> None:
        """Let it give its result and end."""
        self._child.send_signal(signal.SIGINT)

    def spent(self) -> float:
        """Seconds of a processor from ready to its end, once it has dealt with all that it saw."""
        self._settle()
        self.end()
        patience = Timer(60, self._child.kill)
        patience.start()
        _, _, used = os.wait4(self._child.pid, 0)
        patience.cancel()
        self._child.returncode = 0  # it was waited for here
        return used.ru_utime + used.ru_stime - self._began

    def __exit__(self, *exception: object) -> None:
        if self._child.returncode is None:
            self._child.kill()
            self._child.wait()
        self._log.close()


class Ours(Observer):
    def __init__(self, tool: str, **options: Any) -> None:
        self.command = [sys.executable, "-m", "bench.observers", tool, json.dumps(options)]
        self.rows = self.lost = 0

    def end(self) -> None:
        assert self._child.stdin
        self._child.stdin.write("end\n")
        self._child.stdin.flush()

    def spent(self) -> float:
        found = super().spent()
        self.rows, self.lost = json.loads(self.output().splitlines()[1])
        return found


class Theirs(Observer):
    def __init__(self, *command: str) -> None:
        self.command = command


def _watch(name: str, options: dict[str, Any]) -> None:
    from bpfnb import tools

    with tools.find(name)(**options, watchdog="off") as tool:  # work back to back is more than it allows
        print("ready", flush=True)
        sys.stdin.readline()
        frame = tool.df
        print(json.dumps([len(frame), frame.attrs["bpfnb"].get("lost", 0)]), flush=True)


if __name__ == "__main__":
    _watch(sys.argv[1], json.loads(sys.argv[2]))
    leave(0)  # as the command `bpfnb tool` does
