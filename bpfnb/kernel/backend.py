"""The seam between bpfnb and a kernel: bytes and descriptors, never frames.

Everything above this module (frames, views, tools, recordings) sees a kernel only through these two protocols, so
the same code serves the kernel of this process, one behind a privileged broker, a virtual machine, another host, or
a recording. Types (BTF) and dtypes are applied above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = [
    "Backend",
    "Bytes2D",
    "ColumnReader",
    "DistantReader",
    "LoadSettings",
    "LoadedObject",
    "MapInfo",
    "ProgramInfo",
    "ProgramStats",
    "Reader",
    "Records",
]

Bytes2D = npt.NDArray[np.uint8]
"""``uint8`` of shape (n, size): n keys, values or records, one a row."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What is decided before an object is loaded.

    ``globals`` are bytes for variables of .rodata, .data and .bss, by name. ``max_entries`` resizes maps by name.
    ``pins`` maps a map's name to a path in a BPF file system. ``reuse`` maps a map's name to a descriptor of a map
    that exists. ``skip`` names programs not to load. ``ifindex`` binds device-bound programs (0: none).
    """

    name: str = ""
    globals: Mapping[str, bytes] = field(default_factory=dict)
    max_entries: Mapping[str, int] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    reuse: Mapping[str, int] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A loaded program. ``kind`` is libbpf's name of its type (``tracepoint``, ``xdp`` ...), ``id`` the kernel's."""

    name: str
    section: str
    kind: str
    attach_type: str
    id: int
    # Whether the section name alone tells where to attach. False for what needs options (xdp, tc, perf_event ...) or is
    # run rather than attached (iter, syscall); of a struct_ops' programs true for one, which registers them all.
    auto_attach: bool


@dataclass(frozen=True, slots=True)
class MapInfo:
    """A loaded map. Sizes in bytes; ``kind`` is the lower-case name (``percpu_hash``, ``ringbuf`` ...).

    ``value_size`` is of one value; a per-CPU map is read as ``cpus`` values each padded to 8 bytes.
    ``key_type`` and ``value_type`` are type ids in the object's own BTF, 0 where it says nothing.
    """

    name: str
    kind: str
    id: int
    fd: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key_type: int = 0
    value_type: int = 0
    cpus: int = 1
    internal: str = ""  # ".data", ".bss", ".rodata", ".kconfig" for global variables, else empty
    inner: MapInfo | None = None


@dataclass(frozen=True, slots=True)
class ProgramStats:
    """Cumulative cost of one program since it was loaded (while statistics were on). Linux 5.1."""

    run_count: int
    run_time_ns: int
    recursion_misses: int = 0


@dataclass(slots=True)
class Records:
    """n records of a ring or perf buffer, copied out as the kernel wrote them.

    ``data`` is (n, stride); row i holds ``lengths[i]`` valid bytes, the rest are zero. ``lengths`` is one number where
    all are equal. ``cpu`` is set for perf buffers (one number: a batch comes from one CPU).
    """

    data: Bytes2D
    lengths: npt.NDArray[np.uint32] | int
    cpu: int | None = None

    def __len__(self) -> int:
        return len(self.data)


class Reader(Protocol):
    """Consumes one ring buffer or perf event array. One thread at a time."""

    wakes: bool
    """Whether the descriptors poll readable as soon as there is a record, not only when there are many."""

    def drain(self, limit: int | None = None) -> list[Records]:
        """All records that are ready, oldest first, at most about *limit* bytes of them."""

    def lost(self) -> int:
        """Records that the kernel itself reports as lost since opening (perf buffers; 0 for ring buffers)."""

    def fill(self) -> float:
        """The share of the buffer that waits to be read, 0 to 1; for perf buffers the fullest CPU's."""

    def filenos(self) -> Sequence[int]:
        """Descriptors that poll readable when records wait."""

    def close(self) -> None: ...


@runtime_checkable
class ColumnReader(Reader, Protocol):
    """A reader that can also copy out the fields of many records one by one, without a copy of the records before."""

    def columns(
        self, length: int, fields: Sequence[tuple[int, int]], least: int = 1
    ) -> tuple[int, list[npt.NDArray[np.uint8]]]:
        """How many records of *length* bytes follow one another (0: fewer than *least*), and the bytes of *fields*,
        which are (offset, size) in a record, each in all records one behind the other.
        """

    def tailed(
        self, length: int, fields: Sequence[tuple[int, int]], least: int = 1
    ) -> tuple[int, list[npt.NDArray[np.uint8]], tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]] | None]:
        """As :meth:`columns`, of records of *length* bytes or more; also where the bytes behind each one's struct begin
        (n + 1 offsets), and these bytes.
        """


@runtime_checkable
class DistantReader(Reader, Protocol):
    """A reader of a buffer in another kernel, which sends what it holds in its own time."""

    def fetch(self) -> None:
        """What the buffer holds now is ready when this returns."""


class LoadedObject(Protocol):
    """One loaded BPF object. Every method but :meth:`close` raises ObjectClosed after close."""

    programs: Mapping[str, ProgramInfo]
    maps: Mapping[str, MapInfo]
    warnings: Sequence[str]  # what loading decided by itself, for example a size for a map that had none

    def attach(self, program: str, **options: Any) -> int:
        """Attach; returns a link number of this object's. Options: see :mod:`bpfnb.kernel.attach`."""

    def detach(self, *links: int) -> None:
        """End attachments; several at once take about the time of one."""

    def replace(self, link: int, other: Any, program: str) -> int:
        """Exchange the program at *link* for *other*'s in one step; the link is then *other*'s."""

    def stats(self) -> dict[str, ProgramStats]: ...

    def read_all(self, map_name: str) -> tuple[Bytes2D, Bytes2D]:
        """Keys (n, key_size) and values (n, value_size, or cpus * round_up(value_size, 8)); each key once."""

    def lookup(self, map_name: str, key: bytes) -> bytes | None: ...

    def update(self, map_name: str, key: bytes, value: bytes, flags: int = 0) -> None: ...

    def delete(self, map_name: str, key: bytes) -> bool: ...

    def pop(self, map_name: str) -> bytes | None: ...

    def read_bytes(self, map_name: str, offset: int, size: int) -> bytes:
        """Bytes of a global-variable section (or another array with one entry), without tearing of words."""

    def write_bytes(self, map_name: str, offset: int, data: bytes) -> None: ...

    def reader(self, map_name: str) -> Reader: ...

    def write_user_ring(self, map_name: str, records: Sequence[bytes]) -> int: ...

    def run_iter(self, program: str, **options: Any) -> bytes:
        """The whole output of an ``iter/*`` program."""

    def test_run(
        self, program: str, data: bytes = b"", repeat: int = 1, **options: Any
    ) -> tuple[int, bytes, int]:
        """BPF_PROG_TEST_RUN: (return value, data out, nanoseconds per run)."""

    def close(self) -> None:
        """Detach everything and release every descriptor. May be called twice."""


class Backend(Protocol):
    """One kernel that takes BPF objects."""

    release: str
    # What makes its times since boot dates (ns, see bpfnb.frames.layout.clock_offset); None: this machine's.
    clock_offset: int | None

    def load(self, elf: bytes, settings: LoadSettings) -> LoadedObject: ...

    def features(self) -> Mapping[str, Any]: ...

    def statistics(self) -> AbstractContextManager[object]:
        """Keeps the kernel's run statistics on while entered."""
