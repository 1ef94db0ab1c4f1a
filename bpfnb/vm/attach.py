"""Programs of a guest about to be attached: libbpf's functions are called there, with this machine's arguments."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.links import Link
from bpfnb.kernel.names import attach_type
from bpfnb.vm.channel import GuestGone
from bpfnb.vm.remote import Buffer, Remote
from bpfnb.vm.system import GuestSystem

__all__ = ["GuestProgram", "link_of"]


@dataclass(frozen=True, slots=True)
class GuestProgram(Program):
    """``pointer`` and ``map_pointers`` are addresses in the guest's agent; ``programs`` by name, too."""

    system: GuestSystem

    @property
    def attach_type(self) -> int:
        return attach_type(self.info.attach_type)

    def link(self, function: str, *arguments: Any) -> Link:
        remote = self.system.remote
        result = remote.call(function, self.pointer, *(_there(argument) for argument in arguments))
        self.said.append(result.said)
        if not result.value:
            raise OSError(result.errno, os.strerror(result.errno))
        return link_of(remote, result.value, result.fd)

    def call(self, function: str, *structures: ctypes.Structure) -> int:
        buffers = [Buffer(bytes(structure), back=True) for structure in structures]
        result = self.system.remote.call(function, *buffers)
        self.said.append(result.said)
        for structure, data in zip(structures, result.buffers, strict=True):
            ctypes.memmove(ctypes.addressof(structure), data, len(data))
        return ctypes.c_int(result.value).value

    def perf_event_open(self, attr: bytes, pid: int, cpu: int) -> int:
        return self.system.remote.perf_event_open(attr, pid, cpu)

    def readable(self, path: Path) -> Path:
        return self.system.readable(path)


def link_of(remote: Remote, pointer: int, fd: int) -> Link:
    """A link that the guest's libbpf made."""

    def destroy() -> None:
        try:
            remote.call("bpf_link__destroy", pointer)
        except GuestGone:
            return  # and the attachment with it

    return Link([remote.fd(fd)] if fd >= 0 else [], owned=False, release=destroy)


def _there(argument: Any) -> int | Buffer | None:
    """A function's argument as the guest is to have it."""
    if isinstance(argument, bytes):
        return Buffer(argument + b"\0")
    if argument is None or isinstance(argument, int):
        return argument
    return Buffer(bytes(argument._obj))  # what byref() was given: options without pointers
