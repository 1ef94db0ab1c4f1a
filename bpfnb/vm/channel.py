"""The host's end of the wire to a guest's agent: requests and their answers, and what streams push.

A thread of its own reads the socket, so that a stream's records are taken while a request waits for its answer. The
frames are described in agent.c.

What comes is not trusted: who is root in a guest may have taken the agent's place. Sizes and counts are compared with
what was asked for, and what no agent sends ends the connection (:meth:`Channel.distrust`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.errors import BpfnbError

__all__ = ["ERRORS", "Channel", "GuestGone", "Parts"]

HELLO, CALL, LOAD, STREAM, ACK, FETCH, STOP, RUN, SIGNAL, INPUT = range(10)
_HEAD = struct.Struct("<III")
_PUSHED = 1 << 31
PATIENCE = 60.0
"""Seconds without an answer, or in which nothing of a request is taken, after which a guest is said to hang. Emulated,
a large program takes some to verify."""
_LARGEST_FRAME = 1 << 28
"""Bytes. What a guest claims beyond it is no frame of the agent's: whole maps come 8 MB at a time."""
ERRORS = 4096
"""errno is below it."""

Frame = npt.NDArray[np.uint8]
OnFrame = Callable[[int, Frame], bool]
"""What is done with a frame's status and contents; true: it was the stream's last."""


class GuestGone(BpfnbError):
    """The guest's kernel panicked, hangs, or was stopped: nothing of it can be reached any more."""


class Parts:
    """An answer's contents, taken one after another. Raises GuestGone where it has not what is taken."""

    def __init__(self, data: bytes, channel: Channel) -> None:
        self._data = data
        self._channel = channel
        self._at = 0

    def take(self, form: str) -> Any:
        values = struct.unpack(f"<{form}", self._bytes(struct.calcsize(f"<{form}")))
        return values[0] if len(values) == 1 else values

    def blob(self, size: int | None = None) -> bytes:
        """With *size*: of no other."""
        has = self.take("I")
        if size is not None and has != size:
            raise self._channel.distrust(f"answered with {has} bytes where {size} were asked for")
        return self._bytes(has)

    def text(self) -> str:
        return self.blob().decode(errors="replace")

    def _bytes(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise self._channel.distrust("answered with less than was asked for")
        return self._data[self._at - size : self._at]


def blob(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


class _Answer:
    __slots__ = ("came", "data", "status")

    def __init__(self) -> None:
        self.came = threading.Event()
        self.status = 0
        self.data: bytes | None = None


class Channel:
    """One connection. ``why`` says, once it has ended, what became of the guest, whose ``name`` errors tell."""

    def __init__(self, sock: socket.socket, why: Callable[[], GuestGone]) -> None:
        self.name = ""
        self.listed = False
        """Whether bpfnb.vm.get finds the guest by its name."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *_parts_of(PATIENCE)))
        self._socket = sock
        self._why = why
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Answer] = {}
        self._streams: dict[int, OnFrame] = {}
        self.ended = threading.Event()
        self._hung = ""  # until something comes
        self._broken = ""
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._read, name="bpfnb-vm", daemon=True)
        self._thread.start()

    # What is said of the guest

    @property
    def guest(self) -> str:
        return f"the guest '{self.name}'" if self.name else "the guest"

    @property
    def hints(self) -> tuple[str, ...]:
        if self.listed:
            return (f"stop it and start another: bpfnb.vm.get('{self.name}').stop()",)
        return ("start another: bpfnb.vm.start()",)

    def distrust(self, what: str) -> GuestGone:
        """End the connection, for what came is none of the agent's; the error that says so, as all later ones do."""
        self._broken = self._broken or f"{self.guest} {what}: it is not its agent that speaks"
        self.hang_up()
        return self._gone()

    # Requests

    def request(self, operation: int, data: bytes = b"", *, patience: float = 0.0) -> tuple[int, bytes]:
        """The status and contents of the answer, awaited for PATIENCE unless told otherwise. Raises GuestGone."""
        return self._ask(next(self._numbers), operation, data, patience)

    def open(self, operation: int, data: bytes, on_frame: OnFrame) -> tuple[int, int, bytes]:
        """A request whose number is then a stream's: (number, status, contents)."""
        number = next(self._numbers)
        self._streams[number] = on_frame
        try:
            return number, *self._ask(number, operation, data, 0.0)
        except BaseException:
            self.forget(number)
            raise

    def forget(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def tell(self, operation: int, data: bytes) -> None:
        """A request without an answer."""
        self._send(0, operation, data)

    def _ask(self, number: int, operation: int, data: bytes, patience: float) -> tuple[int, bytes]:
        answer = self._waiting[number] = _Answer()
        patience = patience or PATIENCE
        try:
            if self.ended.is_set():
                raise self._gone()
            if hung := self._hung:
                raise GuestGone(hung, hints=self.hints)
            self._send(number, operation, data)
            if not answer.came.wait(patience):
                self._hung = hung = f"{self.guest} has not answered for {patience:.0f} s: its kernel hangs"
                if not answer.came.is_set():
                    raise GuestGone(hung, hints=self.hints)
                self._hung = ""  # it came just now, and the reader may have cleared this before
        finally:
            del self._waiting[number]
        if answer.data is None:
            raise self._gone()
        if not -ERRORS < answer.status <= 0:
            raise self.distrust(f"answered with status {answer.status}")
        return answer.status, answer.data

    def _send(self, number: int, operation: int, data: bytes) -> None:
        if self._owner != os.getpid():
            raise GuestGone(f"{self.guest} belongs to process {self._owner}, which this one was forked from")
        try:
            with self._sending:
                self._send_whole(_HEAD.pack(len(data) + 8, number, operation) + data)
        except OSError:
            raise self._gone() from None

    def _send_whole(self, frame: bytes) -> None:
        """The agent ends at half a frame: an interrupt is raised when all of it was sent. A second one is raised at
        once, where the guest does not read, and ends the connection: with half a frame sent nothing can follow.
        """
        view = memoryview(frame)
        sent: list[int] = []  # by one call with send: no interrupt comes between that and its result
        interrupt: KeyboardInterrupt | None = None
        try:
            while True:
                try:
                    while (at := sum(sent)) < len(frame):
                        sent.extend(map(self._socket.send, (view[at:],)))
                    break
                except KeyboardInterrupt as error:
                    if interrupt is not None or not sent:
                        raise
                    interrupt = error
        except BlockingIOError:  # SO_SNDTIMEO is over
            hung = f"{self.guest} has taken nothing for {PATIENCE:.0f} s: its kernel hangs"
            if sent:
                self._broken = self._broken or hung
            raise GuestGone(hung, hints=self.hints) from None
        finally:
            if 0 < sum(sent) < len(frame):
                self.hang_up()
        if interrupt is not None:
            raise interrupt

    def _gone(self) -> GuestGone:
        return GuestGone(self._broken, hints=self.hints) if self._broken else self._why()

    # Answers

    def _read(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._read_frames()
        finally:
            self.ended.set()
            for answer in list(self._waiting.values()):
                answer.came.set()
            for on_frame in list(self._streams.values()):
                _told(on_frame, -1, np.empty(0, np.uint8))

    def _read_frames(self) -> None:
        while (head := self._exactly(12)) is not None:
            size, number, status = struct.unpack("<IIi", head.tobytes())
            if not 8 <= size <= _LARGEST_FRAME:
                self.distrust(f"sent a frame of {size} bytes")
                return
            body = self._exactly(size - 8)
            if body is None:
                return
            if number & _PUSHED:
                number &= ~_PUSHED
                if (on_frame := self._streams.get(number)) is not None and _told(on_frame, status, body):
                    self.forget(number)
            elif (answer := self._waiting.get(number)) is not None:
                answer.status, answer.data = status, body.tobytes()
                answer.came.set()
            self._hung = ""

    def _exactly(self, size: int) -> Frame | None:
        """The next bytes, at the beginning of memory whose size is twice a power of two (as a ring's mapping is)."""
        data = np.empty(2 << max(6, (size - 1).bit_length()), np.uint8)
        view, at = memoryview(data.data)[:size], 0
        while at < size:
            n = self._socket.recv_into(view[at:], 0, socket.MSG_WAITALL)
            if not n:
                return None
            at += n
        return data[:size]

    def wait_ready(self, seconds: float) -> bytes:
        """The answer to the first HELLO; asked again until somebody hears it. Raises GuestGone."""
        status, data = self.request(HELLO, patience=seconds)
        if status:
            raise self.distrust(f"answered its first request with error {-status}")
        return data

    def hang_up(self) -> None:
        """Nothing comes any more: whoever waits is told so."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        if self._thread is not threading.current_thread() and self._owner == os.getpid():
            self._thread.join(2.0)
        self._socket.close()


def _parts_of(seconds: float) -> tuple[int, int]:
    """As in struct timeval."""
    return int(seconds), int(seconds % 1 * 1e6)


def _told(on_frame: OnFrame, status: int, frame: Frame) -> bool:
    """What *on_frame* returns. Its mistake is reported as a thread's is, and does not end the connection."""
    try:
        return on_frame(status, frame)
    except Exception as error:
        report = (type(error), error, error.__traceback__, threading.current_thread())
        threading.excepthook(threading.ExceptHookArgs(report))
        return False
