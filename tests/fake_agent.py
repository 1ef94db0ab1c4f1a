"""The other end of the wire to a guest: an agent that does what a test says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from bpfnb.vm.channel import blob

__all__ = ["Agent"]


class Agent:
    """The other end, which does what a test says."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rwb")

    def hear(self) -> tuple[int, bytes]:
        """A request's number and contents."""
        size, number, _ = struct.unpack("<III", self._file.read(12))
        return number, self._file.read(size - 8)

    def say(self, number: int, data: bytes = b"", status: int = 0) -> None:
        self._file.write(struct.pack("<IIi", len(data) + 8, number, status) + data)
        self._file.flush()

    def answer(self, data: bytes = b"") -> threading.Thread:
        """The next request, from a thread of its own."""
        thread = threading.Thread(target=lambda: self.say(self.hear()[0], data))
        thread.start()
        return thread

    def answers(self, answer: Callable[[str, list[int]], tuple[int, int, list[bytes]]]) -> None:
        """Every call from now on, until the connection ends: given the function's name and the sizes of the buffers
        that are wanted back, its result, errno, and their contents.
        """

        def serve() -> None:
            with contextlib.suppress(OSError, struct.error):
                while True:
                    number, data = self.hear()
                    value, code, back = answer(*_call(data))
                    self.say(number, struct.pack("<qIi", value, code, -1) + b"".join(map(blob, [b"", *back])))

        threading.Thread(target=serve, daemon=True).start()

    def raw(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _call(data: bytes) -> tuple[str, list[int]]:
    """Of a CALL, as agent.c describes it: the function, and the sizes of the buffers that are wanted back."""
    (size,) = struct.unpack_from("<I", data)
    name, at = data[4 : 4 + size].decode(), 4 + size
    (count,) = struct.unpack_from("<I", data, at)
    at += 4
    wanted = []
    for _ in range(count):
        flags, size = struct.unpack_from("<II", data, at)
        at += 8 + size * (flags & 1)
        wanted += [size] * (flags >> 1)
    return name, wanted
