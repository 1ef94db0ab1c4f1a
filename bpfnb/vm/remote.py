"""C functions and system calls in a guest, by name; and bpf(2) there with the interface of bpfnb.kernel.syscall.

A descriptor of a guest is a :class:`~bpfnb.kernel.syscall.RemoteFd`: a number that knows its kernel. The functions of
:mod:`bpfnb.kernel.syscall` that are given one are carried out by the methods of :class:`Remote`, so that maps, links
and statistics need no code of their own for guests.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpfnb.kernel.backend import Bytes2D
from bpfnb.kernel.syscall import RemoteFd
from bpfnb.vm.channel import CALL, ERRORS, Channel, Parts, blob

__all__ = ["Buffer", "Remote", "Result"]

_BPF = 321  # x86-64, which all guests are
_PERF_EVENT_OPEN = 298
_BATCH = struct.Struct("=QQQQIIQQ")
_BATCH_BYTES = 8 << 20  # of keys and values in one frame
_LARGEST_FILE = 1 << 30
_READ_SECONDS = 600.0


@dataclass(slots=True)
class Buffer:
    """Memory in the guest for one call: *data*, or *size* zero bytes; ``back``: wanted afterwards.

    ``pointers`` are (offset, buffer): places in it that hold another buffer's address.
    """

    data: bytes = b""
    size: int = 0
    back: bool = False
    pointers: Sequence[tuple[int, Buffer]] = ()


@dataclass(slots=True)
class Result:
    """What a function returned: as signed 64 bits, with errno, the descriptor of a link that it made (-1: none),
    libbpf's messages, and the buffers wanted back.
    """

    value: int
    errno: int
    fd: int
    said: str
    buffers: list[bytes]


class Remote:
    """Calls into one guest, which has *memory* bytes."""

    def __init__(self, channel: Channel, memory: int = 512 << 20) -> None:
        self.channel = channel
        self._memory = memory

    def call(self, function: str, *arguments: int | Buffer | None) -> Result:
        """Call a C function of libc or libbpf. Raises GuestGone."""
        buffers: list[Buffer] = []

        def number_of(buffer: Buffer) -> int:
            for number, known in enumerate(buffers):
                if known is buffer:
                    return number
            buffers.append(buffer)
            for _, other in buffer.pointers:
                number_of(other)
            return next(n for n, known in enumerate(buffers) if known is buffer)

        values = [
            (1, number_of(argument))
            if isinstance(argument, Buffer)
            else (0, int(argument or 0) & (1 << 64) - 1)
            for argument in arguments
        ]
        parts = [blob(function.encode()), struct.pack("<I", len(buffers))]
        for buffer in buffers:
            size = max(buffer.size, len(buffer.data))
            filled = bool(buffer.data)
            parts.append(struct.pack("<II", filled | buffer.back << 1, size))
            parts.append(buffer.data.ljust(size, b"\0") if filled else b"")
        pointers = [
            (number_of(buffer), offset, number_of(other))
            for buffer in buffers
            for offset, other in buffer.pointers
        ]
        parts.append(struct.pack("<I", len(pointers)))
        parts += [struct.pack("<III", *pointer) for pointer in pointers]
        parts.append(struct.pack("<I", len(values)))
        parts += [struct.pack("<IQ", *value) for value in values]
        status, data = self.channel.request(CALL, b"".join(parts))
        if status:
            raise OSError(-status, os.strerror(-status))
        answer = Parts(data, self.channel)
        value, code, fd = answer.take("qIi")
        if code >= ERRORS:
            raise self.channel.distrust(f"answered with errno {code}")
        said = answer.text()
        back = [answer.blob(max(len(b.data), b.size)) for b in buffers if b.back]
        return Result(value, code, fd, said, back)

    def libc(self, function: str, *arguments: int | Buffer | None) -> Result:
        """As :meth:`call`; raises OSError where it returns -1."""
        result = self.call(function, *arguments)
        if ctypes.c_int(result.value).value == -1:
            raise OSError(result.errno, os.strerror(result.errno))
        return result

    def fd(self, number: int) -> RemoteFd:
        """The descriptor that a function returned: an int, whatever stands above it in the register."""
        number = ctypes.c_int(number).value
        if number < 0:
            raise self.channel.distrust(f"answered with the descriptor {number}")
        return RemoteFd(number, self)

    def check_holds(self, entries: int, size: int) -> None:
        """Raises GuestGone where *entries* of a map, of *size* bytes each, have no room in the guest's memory."""
        if entries * size > self._memory:
            raise self.channel.distrust(
                f"gives {entries} entries of a map, of {size} bytes each, and no end, and has "
                f"{self._memory >> 20} MiB of memory"
            )

    # Files

    def open(self, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0o644) -> RemoteFd:
        name = os.fsencode(path)
        try:
            return self.fd(self.libc("open", Buffer(name + b"\0"), flags | os.O_CLOEXEC, mode).value)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fsdecode(path)) from None

    def read(self, fd: int, size: int = 1 << 20) -> bytes:
        result = self.libc("read", fd, buffer := Buffer(size=size, back=True), buffer.size)
        if not 0 <= result.value <= size:
            raise self.channel.distrust(f"read {result.value} bytes of a file where {size} were asked for")
        return result.buffers[0][: result.value]

    def read_all(self, fd: int) -> bytes:
        """A buffer comes back whole, and files of /proc fill no more than a page of it: larger ones for what fills.

        Raises OSError for what is larger than 1 GiB or does not end in 10 minutes.
        """
        parts, size, room, until = [], 1 << 13, _LARGEST_FILE, time.monotonic() + _READ_SECONDS
        while part := self.read(fd, size):
            parts.append(part)
            room -= len(part)
            if room < 0 or time.monotonic() > until:
                raise OSError(
                    errno.EFBIG,
                    f"{self.channel.guest} gives no end of a file: more than {_LARGEST_FILE >> 20} MiB, or for "
                    f"more than {_READ_SECONDS / 60:.0f} minutes; vm.run('head -c SIZE FILE') reads a part",
                )
            if len(part) == size:
                size = min(size << 3, 1 << 20)
        return b"".join(parts)

    def read_file(self, path: str) -> bytes:
        fd = self.open(path)
        try:
            return self.read_all(fd)
        finally:
            self.close(fd)

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            for at in range(0, len(data), 1 << 20):
                part = data[at : at + (1 << 20)]
                if self.libc("write", fd, Buffer(part), len(part)).value != len(part):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        finally:
            self.close(fd)

    def close(self, fd: int) -> None:
        self.call("close", fd)

    def dup(self, fd: int) -> RemoteFd:
        return self.fd(self.libc("fcntl", fd, fcntl.F_DUPFD_CLOEXEC, 0).value)

    # bpf(2): what bpfnb.kernel.syscall does here, done there

    def bpf(
        self, command: int, attr: bytes, pointers: Sequence[tuple[int, Buffer]] = ()
    ) -> tuple[int, bytes, Any]:
        """The result, *attr* as the kernel left it, and the buffers wanted back."""
        buffer = Buffer(attr, back=True, pointers=pointers)
        result = self.call("syscall", _BPF, command, buffer, len(attr))
        if result.value < 0:
            raise OSError(result.errno, os.strerror(result.errno))
        return result.value, result.buffers[0], result.buffers[1:]

    def map_lookup(self, fd: int, key: bytes, size: int, flags: int = 0, command: int = 1) -> bytes | None:
        pointers = [(16, Buffer(size=size, back=True)), *([(8, Buffer(key))] if key else [])]
        try:
            return bytes(self.bpf(command, struct.pack("=I4xQQQ", fd, 0, 0, flags), pointers)[2][0])
        except FileNotFoundError:
            return None

    def map_lookup_and_delete(self, fd: int, key: bytes, size: int) -> bytes | None:
        return self.map_lookup(fd, key, size, command=21)

    def map_update(self, fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
        pointers = [(offset, Buffer(data)) for offset, data in ((8, key), (16, value)) if data]
        self.bpf(2, struct.pack("=I4xQQQ", fd, 0, 0, flags), pointers)

    def map_delete(self, fd: int, key: bytes) -> bool:
        try:
            self.bpf(3, struct.pack("=I4xQQQ", fd, 0, 0, 0), [(8, Buffer(key))])
        except FileNotFoundError:
            return False
        return True

    def map_contains(self, fd: int, value: bytes) -> bool:
        try:
            self.bpf(1, struct.pack("=I4xQQQ", fd, 0, 0, 0), [(16, Buffer(value))])
        except FileNotFoundError:
            return False
        return True

    def pidfd_open(self, fd: int, pid: int) -> RemoteFd:
        del fd
        return self.fd(self.libc("syscall", 434, pid, 0).value)

    def open_beside(self, fd: int, path: bytes) -> RemoteFd:
        del fd
        return self.open(path)

    def map_next_key(self, fd: int, key: bytes | None, size: int) -> bytes | None:
        pointers = [(16, Buffer(size=size, back=True)), *([(8, Buffer(key))] if key else [])]
        try:
            return bytes(self.bpf(4, struct.pack("=I4xQQQ", fd, 0, 0, 0), pointers)[2][0])
        except FileNotFoundError:
            return None

    def map_lookup_batch(
        self, fd: int, token: Bytes2D, started: bool, keys: Bytes2D, values: Bytes2D
    ) -> tuple[int, int]:
        """As there, a frame's worth at a time. How large an entry is the arrays say, and not the guest."""
        count = min(len(keys), max(1, _BATCH_BYTES // (keys.shape[1] + values.shape[1])))
        keys, values = keys[:count], values[:count]
        out = [Buffer(size=rows.nbytes, back=True) for rows in (token, keys, values)]
        pointers = [(8, out[0]), (16, out[1]), (24, out[2])]
        if started:
            pointers.insert(0, (0, Buffer(token.tobytes())))
        attr = Buffer(_BATCH.pack(0, 0, 0, 0, count, fd, 0, 0), back=True, pointers=pointers)
        result = self.call("syscall", _BPF, 24, attr, _BATCH.size)
        back, token_data, key_data, value_data = result.buffers
        done = int.from_bytes(back[32:36], "little")
        code = result.errno if result.value < 0 else 0
        if done > count or (not done and code == 0):  # it would be asked for ever
            raise self.channel.distrust(f"gave {done} entries of a map where {count} were asked for")
        if code not in (0, errno.ENOENT):
            return 0, code
        token[:] = np.frombuffer(token_data, np.uint8)
        for rows, data in ((keys, key_data), (values, value_data)):
            rows[:done] = np.frombuffer(data, np.uint8).reshape(rows.shape)[:done]
        return done, code

    def info(self, fd: int, size: int = 256) -> bytes:
        return bytes(
            self.bpf(15, struct.pack("=IIQ", fd, size, 0), [(8, Buffer(size=size, back=True))])[2][0]
        )

    def fd_by_id(self, kind: str, number: int) -> RemoteFd:
        command = {"program": 13, "map": 14, "link": 30}[kind]
        return self.fd(self.bpf(command, struct.pack("=III", number, 0, 0))[0])

    def link_create(
        self, prog_fd: int, target: int, attach_type: int, flags: int = 0, extra: bytes = b"",
        pointers: Sequence[tuple[int, bytes]] = (),
    ) -> RemoteFd:  # fmt: skip
        attr = struct.pack("=IIII", prog_fd, target, attach_type, flags) + extra.ljust(48, b"\0")
        return self.fd(self.bpf(28, attr, [(16 + offset, Buffer(data)) for offset, data in pointers])[0])

    def link_update(self, link_fd: int, new_prog_fd: int) -> None:
        self.bpf(29, struct.pack("=IIII", link_fd, new_prog_fd, 0, 0))

    def prog_attach(self, prog_fd: int, target: int, attach_type: int, flags: int = 0) -> None:
        self.bpf(8, struct.pack("=IIIII", target, prog_fd, attach_type, flags, 0))

    def prog_detach(self, prog_fd: int, target: int, attach_type: int) -> None:
        self.bpf(9, struct.pack("=IIIII", target, prog_fd, attach_type, 0, 0))

    def iter_create(self, link_fd: int) -> RemoteFd:
        return self.fd(self.bpf(33, struct.pack("=II", link_fd, 0))[0])

    def enable_stats(self) -> RemoteFd:
        return self.fd(self.bpf(32, struct.pack("=I", 0))[0])

    def perf_event_open(self, attr: bytes, pid: int, cpu: int) -> RemoteFd:
        return self.fd(self.libc("syscall", _PERF_EVENT_OPEN, Buffer(attr), pid, cpu, -1, 8).value)

    def prog_test_run(
        self, prog_fd: int, data: bytes, out_size: int, ctx: bytes, repeat: int, flags: int, cpu: int
    ) -> tuple[int, bytes, bytes, int]:
        attr = struct.pack(
            "=IIIIQQIIIIQQIII4x",
            *(prog_fd, 0, len(data), out_size, 0, 0),
            *(repeat, 0, len(ctx), 0, 0, 0, flags, cpu, 0),
        )
        pointers = [(16, Buffer(data))] if data else []
        pointers += [(24, Buffer(size=out_size, back=True))] if out_size else []
        pointers += [(48, Buffer(ctx, back=True))] if ctx else []
        _, back, buffers = self.bpf(10, attr, pointers)
        retval, _, written, _, _, _, duration = struct.unpack_from("=IIIQQII", back, 4)
        out = buffers.pop(0)[:written] if out_size else b""
        return retval, out, buffers[0] if ctx else b"", duration
