"""A command that runs in a guest: awaited, shown as it runs, or a shell in this terminal."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import queue
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Sequence

from bpfnb.errors import BadValue, BpfnbError
from bpfnb.vm.channel import HELLO, INPUT, RUN, SIGNAL, Channel, Frame, GuestGone, Parts, blob

__all__ = ["NO_INPUT", "PIPE", "TERMINAL", "Command", "CommandError", "shell", "shown"]

NO_INPUT, PIPE, TERMINAL = 0, 1, 2
"""What a command reads: nothing, what is written to it, what is typed."""

OUTPUT, ERRORS, _ENDED = 1, 2, 3
_AFTER_INTERRUPT = 2.0
_KEPT = 256 << 20
"""Bytes of output that may wait: for a command's end, or to be shown."""
_PIECE = 128
"""Bytes of memory that a piece of it takes besides its own."""
_SHELL = 'stty rows "$1" cols "$2"; TERM=$3 PS1=$4 exec sh -i'


class CommandError(BpfnbError, OSError):
    """A guest could not begin a command, or it wrote more than was taken. ``errno`` says why: EAGAIN, EFBIG ..."""

    def __init__(self, code: int, message: str, *, hints: Sequence[str] = ()) -> None:
        super().__init__(message, hints=hints)
        self.errno = code


class Command:
    """One command. ``pid`` is its process there. *sink* is given (1: output, 2: errors, 0: its end; bytes), and says
    whether that was too much: then the command is ended.

    Raises GuestGone, CommandError where the guest cannot begin it (no memory, no process left).
    """

    def __init__(
        self,
        channel: Channel,
        command: str | Sequence[str],
        *,
        input_kind: int = NO_INPUT,
        sink: Callable[[int, bytes], bool] | None = None,
    ) -> None:
        self.args = command
        self._channel = channel
        self._parts = {OUTPUT: bytearray(), ERRORS: bytearray()}
        self.too_much = False
        """Whether more came than is taken: nothing of it is heard any more, and :meth:`wait` kills it."""
        self._sink = sink or self._keep
        self._ended = threading.Event()
        self._status: int | None = None
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        request = struct.pack("<I", len(argv)) + b"".join(blob(os.fsencode(word)) for word in argv)
        request += blob(b"/root") + struct.pack("<I", input_kind)
        self._number, status, answer = channel.open(RUN, request, self._on_frame)
        if status:
            channel.forget(self._number)
            why = os.strerror(-status)
            raise CommandError(-status, f"{channel.guest} cannot begin {self._words()}: {why}")
        self.pid = int(Parts(answer, channel).take("I"))

    def _keep(self, kind: int, data: bytes) -> bool:
        if sum(map(len, self._parts.values())) + len(data) > _KEPT:
            return True
        if kind:
            self._parts[kind] += data
        return False

    def _on_frame(self, kind: int, frame: Frame) -> bool:
        if kind in (OUTPUT, ERRORS):
            if not self._sink(kind, frame.tobytes()):
                return False
            self.too_much = True  # this thread does not kill it: it must go on reading what the guest sends
        elif kind == _ENDED:
            if len(frame) != 4:
                self._channel.distrust(f"told of a command's end in {len(frame)} bytes")
            else:
                self._status = int(frame.view("<u4")[0])
        self._ended.set()
        self._sink(0, b"")
        return True

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Its output and exit code once it has ended; negative: the signal.

        Raises TimeoutExpired, GuestGone, CommandError (EFBIG) for more than 256 MiB of output: it is killed then.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self._words(), timeout or 0.0, bytes(self._parts[OUTPUT]))
        if self.too_much:
            with contextlib.suppress(GuestGone):
                self.kill()
            raise CommandError(
                errno.EFBIG,
                f"{self._words()} wrote {_KEPT >> 20} MiB more than was taken of it, and was killed",
                hints=["vm.popen(..., on_output=...) takes it as it comes"],
            )
        if self._status is None:
            self._channel.request(HELLO)  # says what became of the guest
            raise GuestGone(f"{self._channel.guest} has ended", hints=self._channel.hints)
        out, err = (self._parts[kind].decode(errors="replace") for kind in (OUTPUT, ERRORS))
        try:
            code = os.waitstatus_to_exitcode(self._status)
        except ValueError:
            raise self._channel.distrust(f"told of a command's end by status {self._status}") from None
        return subprocess.CompletedProcess(self._words(), code, out, err)

    def _words(self) -> str:
        return self.args if isinstance(self.args, str) else shlex.join(self.args)

    def write(self, data: bytes) -> None:
        """To its input, a pipe or a terminal. The guest's pipe takes 64 KB before the command reads it."""
        self._channel.tell(INPUT, struct.pack("<I", self._number) + blob(data))

    def end_input(self) -> None:
        self._channel.tell(INPUT, struct.pack("<I", self._number) + blob(b""))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """A signal to it and all that it began."""
        self._channel.tell(SIGNAL, struct.pack("<II", self._number, number))

    def abandon(self) -> None:
        """Kill it; what it still writes is not listened to."""
        self._channel.forget(self._number)
        self.kill()


def shown(channel: Channel, command: str | Sequence[str]) -> int:
    """Run *command* with its output on stdout and stderr as it comes, from the thread that asks for it.

    Its exit code; negative: the signal. An interrupt goes to the command, which is killed by a second one or where it
    falls silent without ending; then it is raised, also where the guest's kernel hangs and nothing ends. As a terminal
    does, it takes with it what came and was not shown yet.

    Raises CommandError (EFBIG) where 256 MiB wait to be shown: the command is killed then.
    """
    heard: queue.SimpleQueue[tuple[int, bytes, int]] = queue.SimpleQueue()
    came = taken = dropped = 0  # bytes, from the beginning

    def hear(kind: int, data: bytes) -> bool:
        nonlocal came
        came += len(data) + _PIECE
        heard.put((kind, data, came))
        return came - taken > _KEPT

    process = Command(channel, command, sink=hear)
    texts = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in (OUTPUT, ERRORS)}
    interrupted = killed = False
    while True:
        try:
            kind, data, taken = heard.get(timeout=_AFTER_INTERRUPT if interrupted else None)
            if not kind or process.too_much:
                break
            if taken <= dropped:
                continue
            file = sys.stdout if kind == OUTPUT else sys.stderr
            file.write(texts[kind].decode(data))
            file.flush()
        except KeyboardInterrupt:
            dropped = came
            process.kill(signal.SIGKILL if interrupted else signal.SIGINT)
            interrupted = True
        except queue.Empty:
            if killed:  # it does not end of that either: the guest's kernel hangs
                break
            process.kill()
            killed = True
    if interrupted:
        if process.too_much:
            process.kill()
        raise KeyboardInterrupt
    return process.wait().returncode


def shell(channel: Channel, label: str) -> int:
    """A shell in this terminal, whose keys all go to the guest; its exit code. Raises BadValue where there is none."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadValue(
            "a shell needs a terminal",
            hints=["bpfnb vm sh KERNEL in one", "in a notebook: %%bpf vm sh, or vm.run()"],
        )
    screen, keys = sys.stdout.fileno(), sys.stdin.fileno()
    woken, wake = os.pipe()

    def sink(kind: int, data: bytes) -> bool:
        if not kind:
            os.write(wake, b"e")
        while data:
            data = data[os.write(screen, data) :]
        return False

    columns, rows = os.get_terminal_size(screen)
    words = [str(rows), str(columns), os.environ.get("TERM", "linux"), f"({label}) \\w # "]
    before = termios.tcgetattr(keys)
    changed = signal.signal(signal.SIGWINCH, lambda *_: os.write(wake, b"s"))
    process: Command | None = None
    try:
        process = Command(channel, ["sh", "-c", _SHELL, "sh", *words], input_kind=TERMINAL, sink=sink)
        tty.setraw(keys)
        _typed(channel, process, keys, woken, screen)
        return process.wait(_AFTER_INTERRUPT).returncode
    finally:
        try:
            with contextlib.suppress(GuestGone, subprocess.TimeoutExpired):
                if process is not None:
                    process.kill()
                    process.wait(_AFTER_INTERRUPT)  # its end is the last that its sink is told
        finally:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
            signal.signal(signal.SIGWINCH, changed)
            os.close(woken)
            os.close(wake)


def _typed(channel: Channel, process: Command, keys: int, woken: int, screen: int) -> None:
    """Hand on what is typed, and the terminal's size when that changes, until the command ends."""
    while True:
        ready, _, _ = select.select([keys, woken], [], [])
        if woken in ready:
            if b"e" in os.read(woken, 64):
                return
            columns, rows = os.get_terminal_size(screen)
            with contextlib.suppress(subprocess.TimeoutExpired):
                size = f"stty rows {rows} cols {columns} < /proc/{process.pid}/fd/0"
                Command(channel, size).wait(_AFTER_INTERRUPT)
        if keys in ready:
            typed = os.read(keys, 1024)
            if not typed:  # the terminal was closed
                process.kill(signal.SIGHUP)
                return
            process.write(typed)
