"""The kernel of this machine, reached from this process."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from bpfnb.errors import MapError, ObjectClosed, UnknownName
from bpfnb.interrupts import held
from bpfnb.kernel import attach, attach_trace, ids, maps, syscall
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.backend import Bytes2D, LoadSettings, MapInfo, ProgramInfo, ProgramStats, Reader
from bpfnb.kernel.libbpf import capture, library
from bpfnb.kernel.links import Link, close_all
from bpfnb.kernel.load import Opened, load_object
from bpfnb.kernel.stats import Statistics, enable_stats

__all__ = ["LocalBackend", "LocalObject"]

_PACKET_KINDS = frozenset(
    {"xdp", "sched_cls", "sched_act", "socket_filter", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit"}
)
_WORDS: dict[int, type[ctypes.c_uint8 | ctypes.c_uint16 | ctypes.c_uint32 | ctypes.c_uint64]] = {
    1: ctypes.c_uint8,
    2: ctypes.c_uint16,
    4: ctypes.c_uint32,
    8: ctypes.c_uint64,
}

_live: weakref.WeakSet[LocalObject] = weakref.WeakSet()


class LocalBackend:
    """Loads objects into this machine's kernel with libbpf. Needs libbpf.so.1 only when it first loads."""

    clock_offset: int | None = None

    def __init__(self) -> None:
        self.release = os.uname().release

    def load(self, elf: bytes, settings: LoadSettings | None = None) -> LocalObject:
        """Load; nothing is attached yet. Errors: see :func:`bpfnb.kernel.load.load_object`."""
        return LocalObject(load_object(elf, settings or LoadSettings()))

    def features(self) -> Mapping[str, Any]:
        """What this kernel offers, found by trying."""
        from dataclasses import asdict

        from bpfnb.kernel.features import features

        return asdict(features())

    def statistics(self) -> Statistics:
        """A context manager that keeps the kernel's run statistics on."""
        return enable_stats()


class LocalObject:
    """One loaded object. Methods may be called from several threads; :meth:`close` waits for those that run.

    ``warnings`` says what loading decided by itself. After a fork the object belongs to the parent: in the child
    every method raises ObjectClosed, and its copies of the links are closed there, so that a child that lives on
    does not keep the parent's programs attached.
    """

    def __init__(self, opened: Opened) -> None:
        self.programs: Mapping[str, ProgramInfo] = opened.programs
        self.maps: Mapping[str, MapInfo] = opened.maps
        self.warnings: Sequence[str] = tuple(opened.warnings)
        self.name = opened.name
        self._opened = opened
        self._links: dict[int, Link] = {}
        self._numbers = itertools.count(1)
        self._inner: dict[str, MapInfo] = {}
        self._owner = os.getpid()
        self._released = False
        self._idle = threading.Condition(threading.RLock())
        self._busy = 0
        _live.add(self)

    # Life

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        """Keeps the object open during a call without keeping other calls out."""
        with self._idle:
            self._check()
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                if not self._busy:
                    self._idle.notify_all()

    def _check(self) -> None:
        if not self._owner:
            raise ObjectClosed(f"'{self.name}' is closed", hints=["run its cell again to load it again"])
        if self._owner != os.getpid():
            raise ObjectClosed(
                f"'{self.name}' belongs to process {self._owner}, which this one was forked from"
            )

    @property
    def closed(self) -> bool:
        return self._owner != os.getpid()

    def close(self) -> None:
        """Detach everything, then release every descriptor. May be called twice; does nothing in a forked child."""
        with held(), self._idle:
            if self._released or self._owner not in (0, os.getpid()):
                return
            self._owner = 0
            close_all(list(self._links.values()))
            self._links.clear()
            while self._busy:
                self._idle.wait()
            for info in self._inner.values():
                syscall.close(info.fd)
            self._inner.clear()
            self._released = True
            self._opened.close()
        _live.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # An object nobody can reach any more must not stay attached; at exit the kernel sees to it.
        if getattr(self, "_owner", 0) and not sys.is_finalizing():
            self.close()

    def _forked(self) -> None:
        self._idle = threading.Condition(threading.RLock())
        for link in self._links.values():
            link.abandon()
        self._links = {}

    # Attachment

    def attach(self, program: str, **options: Any) -> int:
        """Attach; returns a link number. Options: :mod:`bpfnb.kernel.attach`.

        Raises AttachError, KernelFeatureMissing, NotPermitted, UnknownName.
        """
        with self._idle:
            self._check()
            link = attach.attach(self._program(program, options))
            return self._keep(link)

    def _keep(self, link: Link) -> int:
        number = next(self._numbers)
        self._links[number] = link
        return number

    def _program(self, name: str, options: Mapping[str, Any]) -> Program:
        info = self._find(self.programs, name, "program")
        pointer = self._opened.program_pointers[name]
        fd = library().bpf_program__fd(pointer)
        return Program(info, pointer, fd, options, self.maps, self._opened.map_pointers, [])

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program, this object's own."""
        with self._use():
            return self._program(name, {}).fd

    def _find(self, known: Mapping[str, Any], name: str, what: str) -> Any:
        if name in known:
            return known[name]
        raise UnknownName.among(known, name, f"'{self.name}' has no {what} '{name}'")

    def detach(self, *links: int) -> None:
        """End attachments, several at once in the time of one. Harmless for those that were ended before."""
        if self._owner not in (0, os.getpid()):
            return  # a forked child's copies are closed already, and the parent's are not its own
        with self._use():
            close_all([self._links[link] for link in links if link in self._links])
            for link in links:  # only now: what an interrupt leaves attached, close() ends
                self._links.pop(link, None)

    def replace(self, link: int, other: LocalObject, program: str) -> int:
        """Put *other*'s program in the place of this object's at *link*, without a gap (BPF_LINK_UPDATE, Linux 5.7).

        For xdp, tcx, cgroup, netns and iterator links. The link then belongs to *other*: its number there is
        returned. Raises AttachError where the kernel or the link's kind cannot; the old program then goes on.
        """
        with self._idle, other._idle:
            self._check()
            new = other._program(program, {})
            held = self._links.get(link)
            if held is None or not held.fds or not held.owned:
                raise new.fail("a link of this kind cannot change its program", errno.EOPNOTSUPP)
            try:
                for fd in held.fds:
                    syscall.link_update(fd, new.fd)
            except OSError as error:
                raise new.refused(error, "replacing a running program") from None
            del self._links[link]
            held.program = program
            return other._keep(held)

    def link_ids(self, link: int | None = None) -> list[int]:
        """The kernel's ids of one attachment's links, or of all. Attachments to sockets have none."""
        with self._use():
            links = list(self._links.values()) if link is None else [self._links[link]]
            found = []
            for fd in [fd for held in links for fd in held.fds]:
                with contextlib.suppress(OSError):
                    found.append(ids.link_of(fd).id)
            return found

    # Statistics

    def stats(self) -> dict[str, ProgramStats]:
        """Cumulative cost of each program while statistics were on (:meth:`LocalBackend.statistics`)."""
        return {name: details.stats for name, details in self.details().items()}

    def details(self) -> dict[str, ids.KernelProgram]:
        """The kernel's facts of each program: translated and compiled sizes, verified instructions, cost."""
        with self._use():
            lib = library()
            return {
                name: ids.program_of(lib.bpf_program__fd(self._opened.program_pointers[name]))
                for name in self.programs
            }

    # Maps. What keys and values are for each kind: bpfnb.kernel.maps.

    def _map(self, name: str) -> MapInfo:
        return self._inner[name] if name in self._inner else self._find(self.maps, name, "map")

    def open_map(self, number: int) -> str:
        """Open the map with that id (an inner map's, from the outer's value); the name by which to read it here."""
        with self._idle:
            self._check()
            name = f"#{number}"
            if name not in self._inner:
                try:
                    fd = syscall.fd_by_id(syscall.OBJ_MAP, number)
                except OSError as error:
                    raise MapError(
                        f"there is no map with id {number}", map=name, errno=error.errno or 0
                    ) from None
                self._inner[name] = maps.info_of(fd, name)
            return name

    def map_info(self, map_name: str) -> MapInfo:
        with self._use():
            return self._map(map_name)

    def read_all(self, map_name: str) -> tuple[Bytes2D, Bytes2D]:
        with self._use():
            return maps.read_all(self._map(map_name))

    def lookup(self, map_name: str, key: bytes) -> bytes | None:
        with self._use():
            return maps.lookup(self._map(map_name), key)

    def update(self, map_name: str, key: bytes, value: bytes, flags: int = 0) -> None:
        with self._use():
            maps.update(self._map(map_name), key, value, flags)

    def delete(self, map_name: str, key: bytes) -> bool:
        with self._use():
            return maps.delete(self._map(map_name), key)

    def pop(self, map_name: str) -> bytes | None:
        with self._use():
            return maps.pop(self._map(map_name))

    # The memory of global variables

    def read_bytes(self, map_name: str, offset: int, size: int) -> bytes:
        with self._use():
            info, address = self._memory(map_name, offset, size)
            if not address:
                value = maps.lookup(info, bytes(info.key_size)) or b""
                return value[offset : offset + size]
            if size in _WORDS:
                return _WORDS[size].from_address(address).value.to_bytes(size, "little")
            return ctypes.string_at(address, size)

    def write_bytes(self, map_name: str, offset: int, data: bytes) -> None:
        """Raises MapError for read-only sections and ranges outside the section."""
        with self._use():
            info, address = self._memory(map_name, offset, len(data))
            if info.internal.startswith((".rodata", ".kconfig")):
                raise MapError(f"'{map_name}' is read-only once loaded", map=map_name, errno=errno.EPERM)
            if not address:
                value = bytearray(maps.lookup(info, bytes(info.key_size)) or b"")
                value[offset : offset + len(data)] = data
                maps.update(info, bytes(info.key_size), bytes(value))
            elif len(data) in _WORDS:
                _WORDS[len(data)].from_address(address).value = int.from_bytes(data, "little")
            else:
                ctypes.memmove(address, data, len(data))

    def _memory(self, name: str, offset: int, size: int) -> tuple[MapInfo, int]:
        """The map, and the address of a range in it (0 where it is reached by system calls only)."""
        info = self._map(name)
        if not 0 <= offset <= offset + size <= info.value_size:
            raise MapError(
                f"bytes {offset} to {offset + size} are outside '{name}' ({info.value_size} bytes)",
                map=name,
                errno=errno.ERANGE,
            )
        address, _ = self._opened.memory.get(name, (0, 0))
        return info, address + offset if address else 0

    # Buffers

    def reader(self, map_name: str) -> Reader:
        """A reader of a ring buffer or of a perf event array. Raises MapError for other maps."""
        with self._use():
            info = self._map(map_name)
            if info.kind == "ringbuf":
                from bpfnb.kernel.ringbuf import RingReader

                return RingReader(info.fd, info.max_entries)
            if info.kind == "perf_event_array":
                from bpfnb.kernel.perfbuf import PerfReader

                return PerfReader(info.fd)
            raise MapError(f"'{map_name}' is a {info.kind}, not a ring or perf buffer", map=map_name)

    def write_user_ring(self, map_name: str, records: Sequence[bytes]) -> int:
        """Submit records to a user ring buffer; how many fitted. Linux 6.1."""
        with self._use():
            info = self._map(map_name)
            if info.kind != "user_ringbuf":
                raise MapError(f"'{map_name}' is a {info.kind}, not a user ring buffer", map=map_name)
            from bpfnb.kernel.ringbuf import UserRingWriter

            writer = UserRingWriter(info.fd, info.max_entries)
            try:
                return writer.write(records)
            finally:
                writer.close()

    # Running without attaching

    def run_iter(self, program: str, **options: Any) -> bytes:
        """The whole output of an ``iter/*`` program (Linux 5.8). Options: map, pid, tid, cgroup, order."""
        with self._use(), capture() as said:
            bound = replace(self._program(program, options), said=said)
            link = attach_trace.iterator_link(bound)
            try:
                fd = syscall.iter_create(link.fds[0])
                try:
                    return syscall.read_all(fd)
                finally:
                    syscall.close(fd)
            except OSError as error:
                raise bound.refused(error, "reading the iterator") from None
            finally:
                link.close()

    def test_run(
        self, program: str, data: bytes = b"", repeat: int = 1, **options: Any
    ) -> tuple[int, bytes, int]:
        """BPF_PROG_TEST_RUN: (return value, data out, ns per run). Options: ctx (bytes), cpu, flags. Linux 4.12.

        A raw_tp program takes its arguments as u64 in *ctx*; a syscall program's *ctx* comes back as data out.
        """
        unknown = set(options) - {"ctx", "cpu", "flags"}
        if unknown:
            raise UnknownName(
                f"test_run takes no option '{unknown.pop()}'", hints=["it takes: ctx, cpu, flags"]
            )
        with self._use():
            bound = self._program(program, {})
            ctx = options.get("ctx", b"")
            packets = bound.info.kind in _PACKET_KINDS
            try:
                retval, out, context, ns = syscall.prog_test_run(
                    bound.fd,
                    data,
                    len(data) + 4096 if packets else 0,
                    ctx,
                    repeat if packets or bound.info.kind in ("flow_dissector", "sk_lookup") else 0,
                    options.get("flags", 0),
                    options.get("cpu", 0),
                )
            except OSError as error:
                hints = ["packets have at least 14 bytes"] if packets and len(data) < 14 else []
                raise bound.refused(error, "test run", hints) from None
            return retval, context if bound.info.kind == "syscall" else out, ns


def _in_child() -> None:
    for obj in list(_live):
        obj._forked()


os.register_at_fork(after_in_child=_in_child)
