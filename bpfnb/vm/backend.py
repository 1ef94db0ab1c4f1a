"""A guest's kernel as one more backend: objects are prepared here, loaded and attached there."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import mmap
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bpfnb.errors import MapError
from bpfnb.kernel import ids, load_errors, maps
from bpfnb.kernel.attach import named
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.backend import LoadSettings, MapInfo, ProgramInfo, Reader
from bpfnb.kernel.libbpf import capture, library
from bpfnb.kernel.load import Opened, initial_values, open_object, settle, understood
from bpfnb.kernel.local import LocalObject
from bpfnb.kernel.names import ATTACH_TYPES, PROGRAM_TYPES, name_of
from bpfnb.kernel.syscall import RemoteFd
from bpfnb.kernel.system import meaning
from bpfnb.vm.attach import GuestProgram
from bpfnb.vm.channel import LOAD, GuestGone, Parts, blob
from bpfnb.vm.readers import GuestPerf, GuestRing
from bpfnb.vm.remote import Buffer
from bpfnb.vm.symbols import GuestSymbols
from bpfnb.vm.system import GuestSystem

__all__ = ["GuestBackend", "GuestObject"]


_PROGRAM_INFO, _MAP_INFO = 8, 96
"""Bytes of it in the answer to LOAD, as in agent.c."""


class GuestBackend:
    """Loads objects into a guest's kernel. ``release`` is the guest's, marked as such: it is in all provenance."""

    def __init__(self, system: GuestSystem, clock_offset: int) -> None:
        self.system = system
        self.release = f"{system.kernel.release} (virtual machine)"
        self.clock_offset: int | None = clock_offset
        """CLOCK_REALTIME minus CLOCK_MONOTONIC of the guest, in ns: its times since boot as dates."""
        self.origin = f"virtual machine, Linux {system.kernel.release}; its times are emulated"
        self.symbols = GuestSymbols(system)
        self._statistics = _Statistics(system)

    @property
    def kernel_btf(self) -> Path:
        return self.system.kernel.btf

    def load(self, elf: bytes, settings: LoadSettings | None = None) -> GuestObject:
        """As :meth:`bpfnb.kernel.local.LocalBackend.load`. Also GuestGone."""
        with meaning(self.system):
            return GuestObject(_load(self.system, elf, settings or LoadSettings()), self.system)

    def features(self) -> Mapping[str, Any]:
        """What this kernel offers, found by trying."""
        from bpfnb.vm.features import features

        return features(self.system)

    def statistics(self) -> _Statistics:
        return self._statistics


class _Statistics:
    """The guest's run statistics, on while entered; nested and from several threads, too."""

    def __init__(self, system: GuestSystem) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._users = 0
        self._fd: RemoteFd | None = None

    def __enter__(self) -> Self:
        with self._lock:
            self._users += 1
            if self._fd is None:
                self._fd = self._system.remote.enable_stats()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock, contextlib.suppress(GuestGone):
            self._users -= 1
            if not self._users and self._fd is not None:
                fd, self._fd = self._fd, None
                self._system.remote.close(fd)


@dataclass(slots=True)
class _Loaded(Opened):
    """What the guest's libbpf holds: pointers are addresses there. ``memory``: address and size there."""

    fds: dict[str, RemoteFd] = field(default_factory=dict)
    system: GuestSystem | None = None

    def close(self) -> None:
        assert self.system is not None
        with contextlib.suppress(GuestGone):
            for address, size in self.memory.values():
                self.system.remote.call("munmap", address, size)
            self.system.remote.call("bpf_object__close", self.pointer)


def _load(system: GuestSystem, elf: bytes, settings: LoadSettings) -> _Loaded:
    """Open and settle here, with this machine's libbpf, which is the guest's, too; load there."""
    elf = understood(elf)
    reuse, settings = settings.reuse, dataclasses.replace(settings, reuse={})
    with capture() as said, mmap.mmap(-1, mmap.PAGESIZE) as log:
        prepared = open_object(elf, settings.name, said, log)
        try:
            settle(prepared, elf, settings)
            request = blob(prepared.name.encode()) + blob(elf) + _plan(prepared, reuse)
            status, answer = system.remote.channel.request(LOAD, request)
            if status:
                text = answer.decode(errors="replace")
                raise load_errors.explain(-status, text, prepared.sections(), prepared.maps)
            return _read_back(system, prepared, Parts(answer, system.remote.channel), reuse)
        finally:
            library().bpf_object__close(prepared.pointer)


def _plan(prepared: Opened, reuse: Mapping[str, int]) -> bytes:
    """What was settled, in LOAD's form. libbpf's iteration gives programs and maps in the same order there."""
    lib = library()
    parts = [struct.pack("<I", len(prepared.program_pointers))]
    for pointer in prepared.program_pointers.values():
        parts.append(
            struct.pack(
                "<IIII",
                lib.bpf_program__autoload(pointer),
                lib.bpf_program__type(pointer),
                lib.bpf_program__expected_attach_type(pointer),
                lib.bpf_program__flags(pointer),
            )
        )
    parts.append(struct.pack("<I", len(prepared.map_pointers)))
    for name, pointer in prepared.map_pointers.items():
        address, size = initial_values(pointer)
        sizes = (
            lib.bpf_map__key_size(pointer),
            lib.bpf_map__value_size(pointer),
            lib.bpf_map__max_entries(pointer),
            lib.bpf_map__map_flags(pointer),
        )
        parts.append(struct.pack("<IIIIi", *sizes, reuse.get(name, -1)))
        parts.append(blob(lib.bpf_map__pin_path(pointer) or b""))
        parts.append(blob(ctypes.string_at(address, size) if address else b""))
    return b"".join(parts)


def _read_back(system: GuestSystem, prepared: Opened, answer: Parts, reuse: Mapping[str, int]) -> _Loaded:
    remote = system.remote
    made = _Loaded(pointer=answer.take("Q"), name=prepared.name, warnings=prepared.warnings, system=system)
    structs = False
    for name, section in prepared.sections().items():
        pointer, fd, kind, attach = answer.take("QiII")
        info = answer.blob(_PROGRAM_INFO)
        if fd < 0:
            continue
        made.program_pointers[name], made.fds[name] = pointer, remote.fd(fd)
        kind_name = name_of(PROGRAM_TYPES, kind)
        auto = named(section) and not (kind_name == "struct_ops" and structs)
        structs = structs or kind_name == "struct_ops"
        made.programs[name] = ProgramInfo(
            name=name,
            section=section,
            kind=kind_name,
            attach_type=name_of(ATTACH_TYPES, attach),
            id=int.from_bytes(info[4:8], "little"),
            auto_attach=auto,
        )
    for name in prepared.map_pointers:
        pointer, fd = answer.take("Qi")
        info = answer.blob(_MAP_INFO)
        if fd < 0:
            continue
        declared = prepared.maps[name]
        made.map_pointers[name] = pointer
        found = maps.info_from(info, remote.fd(fd), name)
        if name not in reuse and declared.kind != "struct_ops" and _form(found) != _form(declared):
            raise remote.channel.distrust(
                "made of the map '{}' ({}, keys of {} bytes, values of {}) another ({}, {}, {})".format(
                    name, *_form(declared), *_form(found)
                )
            )
        made.maps[name] = dataclasses.replace(
            found,
            key_type=declared.key_type,
            value_type=declared.value_type,
            internal=declared.internal,
            inner=declared.inner,
        )
    return made


def _form(info: MapInfo) -> tuple[str, int, int]:
    """What its frames and buffers are made by; libbpf decides it before it loads."""
    return info.kind, info.key_size, info.value_size


class GuestObject(LocalObject):
    """One object in a guest's kernel. All that :class:`LocalObject` does, but for user ring buffers."""

    _opened: _Loaded

    def __init__(self, opened: _Loaded, system: GuestSystem) -> None:
        self.system = system
        super().__init__(opened)

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        with super()._use(), meaning(self.system):
            yield

    def attach(self, program: str, **options: Any) -> int:
        with meaning(self.system):
            return super().attach(program, **options)

    def replace(self, link: int, other: LocalObject, program: str) -> int:
        with meaning(self.system):
            return super().replace(link, other, program)

    def _program(self, name: str, options: Mapping[str, Any]) -> Program:
        info = self._find(self.programs, name, "program")
        opened = self._opened
        return GuestProgram(
            info, opened.program_pointers[name], opened.fds[name], options, self.maps, opened.map_pointers, [],
            self.system,
        )  # fmt: skip

    def _forked(self) -> None:
        self._idle = threading.Condition(threading.RLock())
        self._links = {}

    def details(self) -> dict[str, ids.KernelProgram]:
        with self._use():
            return {name: ids.program_of(fd) for name, fd in self._opened.fds.items()}

    def open_map(self, number: int) -> str:
        with self._idle, self._use():
            name = f"#{number}"
            if name not in self._inner:
                try:
                    fd = self.system.remote.fd_by_id("map", number)
                except OSError as error:
                    raise MapError(
                        f"there is no map with id {number}", map=name, errno=error.errno or 0
                    ) from None
                self._inner[name] = maps.info_of(fd, name)
            return name

    # The memory of global variables

    def read_bytes(self, map_name: str, offset: int, size: int) -> bytes:
        with self._use():
            info, address = self._memory(map_name, offset, size)
            if not address:
                value = maps.lookup(info, bytes(info.key_size)) or b""
                return value[offset : offset + size]
            return self.system.remote.call("memcpy", Buffer(size=size, back=True), address, size).buffers[0]

    def write_bytes(self, map_name: str, offset: int, data: bytes) -> None:
        """Raises MapError for read-only sections and ranges outside the section."""
        with self._use():
            info, address = self._memory(map_name, offset, len(data))
            if info.internal.startswith((".rodata", ".kconfig")):
                raise MapError(f"'{map_name}' is read-only once loaded", map=map_name, errno=errno.EPERM)
            if address:
                self.system.remote.call("memcpy", address, Buffer(data), len(data))
            else:
                value = bytearray(maps.lookup(info, bytes(info.key_size)) or b"")
                value[offset : offset + len(data)] = data
                maps.update(info, bytes(info.key_size), bytes(value))

    def _memory(self, name: str, offset: int, size: int) -> tuple[MapInfo, int]:
        """The map, and an address in the guest: sections are mapped there when they are first looked at."""
        info = self._map(name)
        if info.flags & maps.MMAPABLE and name not in self._opened.memory:
            writable = not name.startswith((".rodata", ".kconfig"))
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            result = self.system.remote.libc(
                "mmap", 0, info.value_size, protection, mmap.MAP_SHARED, info.fd, 0
            )
            self._opened.memory[name] = result.value, info.value_size
        return super()._memory(name, offset, size)

    # Buffers

    def reader(self, map_name: str) -> Reader:
        with self._use():
            info, remote = self._map(map_name), self.system.remote
            if info.kind == "ringbuf":
                return GuestRing(remote.channel, info.fd, info.max_entries)
            if info.kind == "perf_event_array":
                return GuestPerf(remote, info.fd, self.system.cpus("online"))
            raise MapError(f"'{map_name}' is a {info.kind}, not a ring or perf buffer", map=map_name)

    def write_user_ring(self, map_name: str, records: Sequence[bytes]) -> int:  # noqa: ARG002
        raise MapError(
            "user ring buffers of virtual machines cannot be written", map=map_name, errno=errno.EOPNOTSUPP
        )
