"""Tables of a bcc ``BPF`` object as bpfnb's frames: read by descriptor, in batches and whole buffers.

bcc gives its maps the program's types (BTF), so columns have the meaning that the C text gave them, typedefs and
enumerations included. The frames hold descriptors of their own: they stay readable after the ``BPF`` object is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from bpfnb.bcc.find import module
from bpfnb.bcc.hook import BccWarning, counts, hooked
from bpfnb.bcc.losses import hidden_name
from bpfnb.btf import Btf, Composite, Modifier
from bpfnb.errors import BadValue, MapError
from bpfnb.frames import pump
from bpfnb.frames.layout import Layout
from bpfnb.frames.mapframe import MapFrame
from bpfnb.frames.stream import Stream
from bpfnb.kernel import maps, syscall
from bpfnb.kernel.backend import MapInfo
from bpfnb.kernel.load import Opened
from bpfnb.kernel.local import LocalObject
from bpfnb.kernel.perfbuf import PerfReader

__all__ = ["counter_of", "event_types", "frame_of", "map_info", "of_program", "program_btf", "stream_types"]

_STREAMS = frozenset({"ringbuf", "perf_event_array"})
_BTF_GET_FD_BY_ID = 19
_ATTRIBUTE = "_bpfnb_frames"  # on the BPF object, by name: a buffer can have one reader only


def frame_of(table: Any, *, pages: int | None = None) -> MapFrame | Stream:
    """The frame of one table of a bcc ``BPF`` object (``b["counts"]``): a MapFrame, or a Stream of a buffer.

    The same table gives the same frame again. Of a perf or ring buffer bpfnb is then the only reader, until the stream
    is closed: ``open_perf_buffer`` and ``open_ring_buffer`` raise MapError until then. Records whose struct bcc does
    not describe come as bytes. *pages* is the size of a perf buffer for each CPU, a power of two (128 unless given;
    ``page_cnt`` of ``open_perf_buffer``).

    Raises BadValue for what is no table of bcc's, and for other *pages*; MapError for a buffer that bcc reads.
    """
    if not (hasattr(table, "map_fd") and hasattr(table, "bpf") and hasattr(table, "map_id")):
        raise BadValue(f"This is no table of a bcc BPF object: {type(table).__name__}.")
    name = _name(table)
    frames: dict[str, MapFrame | Stream] = table.bpf.__dict__.setdefault(_ATTRIBUTE, {})
    known = frames.get(name)
    if known is None or (isinstance(known, Stream) and known.closed):
        known = frames[name] = _make(table, pages)
    return known


def _refuse_second_reader(table: Any, stream: Stream) -> None:
    """From now on bcc's own ways to read a buffer say who reads it."""
    for way in ("open_perf_buffer", "open_ring_buffer"):
        original = getattr(table, way, None)
        if original is None:
            continue

        def refuse(*args: Any, way: str = way, original: Any = original, **options: Any) -> Any:
            if stream.closed:
                return original(*args, **options)
            raise MapError(
                f"{way}: bpfnb reads '{stream.name}' since its frame was taken, and a buffer has one reader",
                map=stream.name,
                hints=["use the frame's .on(callback), or close() the frame first"],
            )

        setattr(table, way, refuse)


def _make(table: Any, pages: int | None) -> MapFrame | Stream:
    name = _name(table)
    if pages is not None and (not hasattr(table, "open_perf_buffer") or pages < 1 or pages & (pages - 1)):
        raise BadValue(f"pages= is a power of two, for a perf buffer; not {pages} for '{name}'")
    if getattr(table, "_cbs", None):
        way = "open_ring_buffer" if hasattr(table, "open_ring_buffer") else "open_perf_buffer"
        raise MapError(
            f"bcc reads '{name}' since {way} was called, and a buffer has one reader",
            map=name,
            hints=["take the frame instead of opening the buffer"],
        )
    fd = os.dup(table.map_fd)
    try:
        btf, info = map_info(table.bpf, fd, name)
    except BaseException:
        os.close(fd)
        raise
    found = {name: info}
    if counter := counter_of(table.bpf, name):
        found[counter.name] = counter
    loaded = LocalObject(_Table(pointer=0, name=name, maps=found))
    provenance = {"object": "bcc", "kernel": os.uname().release, "btf": btf.hash, "compiler": "bcc"}
    lost: Callable[[], int] | None = (lambda: 0) if counts(table.bpf) else None
    if info.kind not in _STREAMS:
        if counter:
            lost = partial(_count, loaded, counter.name)
        return MapFrame(name, loaded, info, btf, provenance=provenance, lost=lost)
    layouts = [Layout.of(btf, number) for number in stream_types(table.bpf, btf, name)]
    if not layouts and _fields(table.bpf, name) and not hooked(table.bpf):
        message = f"the records of '{name}' are bytes: the program was compiled before bpfnb.bcc.enable()"
        warnings.warn(message, BccWarning, stacklevel=4)
    reader = loaded.reader(name) if pages is None else PerfReader(info.fd, pages=pages)
    if counter:
        # What was sent to a perf buffer before it had a reader went nowhere; a ring kept what it could.
        before = _count(loaded, counter.name) if info.kind == "perf_event_array" else 0
        lost = partial(_count, loaded, counter.name, before)
    stream = Stream(name, reader, layouts, lost=lost, provenance=provenance, kind=info.kind)
    pump.add(stream)
    _refuse_second_reader(table, stream)
    return stream


def counter_of(bpf: Any, name: str) -> MapInfo | None:
    """The hidden map that counts what a table lost, with a descriptor of its own; None where nobody counts."""
    hidden = hidden_name(name)
    fd = module().lib.bpf_table_fd(bpf.module, hidden.encode())
    return maps.info_of(os.dup(fd), hidden) if fd >= 0 else None


def _count(loaded: LocalObject, counter: str, before: int = 0) -> int:
    return int.from_bytes(loaded.lookup(counter, bytes(4)) or b"", "little") - before


@dataclass
class _Table(Opened):
    """One map by its descriptor, where other objects have what libbpf opened."""

    def close(self) -> None:
        for info in self.maps.values():
            with contextlib.suppress(OSError):
                os.close(info.fd)


def _name(table: Any) -> str:
    for name, one in table.bpf.tables.items():
        if one is table:
            return str(name.decode() if isinstance(name, bytes) else name)
    name = getattr(table, "_name", b"") or b"table"
    return str(name.decode() if isinstance(name, bytes) else name)


# Types


def map_info(bpf: Any, fd: int, name: str) -> tuple[Btf, MapInfo]:
    """A map of a ``BPF`` object by its descriptor, and the program's BTF, in which its types are."""
    btf, key, value = _types(bpf, fd, name)
    info = replace(maps.info_of(fd, name), key_type=key, value_type=value)
    if info.kind == "perf_event_array" and "perf_read" in _declared(btf, name):
        info = replace(info, kind="perf_array")
    return btf, info


def _declared(btf: Btf, name: str) -> list[str]:
    """What bcc's macro gives the struct of a table: its key, leaf, and the methods of its kind."""
    found = btf.get(f"{name}_table_t", "struct")
    return [member.name for member in found.members] if isinstance(found, Composite) else []


def stream_types(bpf: Any, btf: Btf, name: str) -> list[int]:
    """Ids of the types of the records that a program sends through a buffer; none where bcc does not describe them."""
    return event_types(btf, _fields(bpf, name))


def _types(bpf: Any, fd: int, name: str) -> tuple[Btf, int, int]:
    """The program's BTF, and the ids of the map's key and value in it (0 where it says nothing)."""
    number, key, value = _map_types(fd)
    btf = program_btf(number) if number else of_program(bpf)
    # bcc gives the kernel no types of some kinds of maps, and has written them down all the same.
    noted = btf.get(f"____btf_map_{name}", "struct")
    if isinstance(noted, Composite):
        members = {member.name: member.type for member in noted.members}
        key, value = key or members.get("key", 0), value or members.get("value", 0)
    return btf, key, value


def _map_types(fd: int) -> tuple[int, int, int]:
    """btf_id, btf_key_type_id and btf_value_type_id of ``struct bpf_map_info``. Linux 4.18."""
    number, key, value = struct.unpack_from("=III", syscall.info(fd, 96), 64)
    return number, key, value


def of_program(bpf: Any, programs: Iterable[int] = ()) -> Btf:
    """The BTF of a ``BPF`` object, without types where the kernel has none of it.

    *programs* are descriptors of its functions beside those that it loaded itself.
    """
    number = next((number for fd in programs if (number := _btf_of_program(fd))), 0) or _btf_of(bpf)
    return program_btf(number) if number else _empty()


def _btf_of_program(fd: int) -> int:
    """btf_id of ``struct bpf_prog_info``. Linux 5.0."""
    return int(struct.unpack_from("=I", syscall.info(fd, 160), 128)[0])


def _btf_of(bpf: Any) -> int:
    """The id of a ``BPF`` object's BTF, by a program or another map of its; 0 where the kernel has none."""
    for function in bpf.funcs.values():
        if number := _btf_of_program(function.fd):
            return number
    lib, handle = module().lib, ctypes.c_void_p(bpf.module)  # bcc's Python declares no types of these two
    fds = (lib.bpf_table_fd_id(handle, ctypes.c_size_t(at)) for at in range(lib.bpf_num_tables(handle)))
    return next((number for fd in fds if fd >= 0 and (number := _map_types(fd)[0])), 0)


@lru_cache(maxsize=8)
def program_btf(number: int) -> Btf:
    """The BTF that the kernel holds under an id."""
    fd, _ = syscall.bpf(_BTF_GET_FD_BY_ID, struct.pack("=I", number))
    try:
        size = _btf_info(fd, 0, 0)
        buffer = ctypes.create_string_buffer(size)
        _btf_info(fd, ctypes.addressof(buffer), size)
        return Btf(buffer.raw)
    finally:
        os.close(fd)


def _btf_info(fd: int, address: int, size: int) -> int:
    """``struct bpf_btf_info``: where to copy the BTF to and how many bytes; returns how many there are."""
    about = ctypes.create_string_buffer(struct.pack("=QIIQII", address, size, 0, 0, 0, 0), 32)
    syscall.bpf(15, struct.pack("=IIQ", fd, 32, ctypes.addressof(about)))
    return int(struct.unpack_from("=I", about.raw, 8)[0])


def _empty() -> Btf:
    return Btf(struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0")


def _fields(bpf: Any, name: str) -> list[str]:
    """Names of the fields of the struct that a program sends through a buffer, as bcc's rewriter saw it."""
    lib, handle, buffer = module().lib, bpf.module, name.encode()
    count = lib.bpf_perf_event_fields(handle, buffer)
    return [lib.bpf_perf_event_field(handle, buffer, at).decode().split("#")[0] for at in range(count)]


def event_types(btf: Btf, names: list[str]) -> list[int]:
    """Ids of the types whose members have exactly these names, in this order; a typedef where there is one."""
    found = [number for number in _candidates(btf) if _members(btf, number) == names] if names else []
    sizes = {btf.size(number) for number in found}
    return found[:1] if len(sizes) == 1 else found


def _candidates(btf: Btf) -> Iterator[int]:
    for number in btf.ids("struct"):
        if btf[number].name and not btf[number].name.startswith("____"):
            yield number
    for number in btf.ids("typedef"):
        target = btf[number]
        assert isinstance(target, Modifier)
        if isinstance(btf[target.target], Composite) and not btf[target.target].name:
            yield number


def _members(btf: Btf, number: int) -> list[str]:
    found = btf.resolve(number)
    return [member.name for member in found.members] if isinstance(found, Composite) else []
