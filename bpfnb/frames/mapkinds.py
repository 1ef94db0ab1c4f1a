"""What the kinds of maps do to keys and values: their types and column names, CPUs, stacks, references."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bpfnb.annotations import NONE, Annotations, of
from bpfnb.btf import Btf
from bpfnb.errors import MapTypeError
from bpfnb.frames.layout import Layout
from bpfnb.frames.untyped import Untyped
from bpfnb.kernel.backend import Bytes2D, MapInfo

__all__ = [
    "MapTypes",
    "added",
    "first_of",
    "kernel_value",
    "per_cpu_rows",
    "stack_lists",
    "summed",
]

_REFERENCES = {"array_of_maps": "map_id", "hash_of_maps": "map_id", "prog_array": "prog_id"}
_OF_MAPS = frozenset({"array_of_maps", "hash_of_maps"})
_OF_DESCRIPTORS = _OF_MAPS | {
    "prog_array", "cgroup_array", "perf_event_array", "perf_array", "sockmap", "sockhash",
}  # fmt: skip
_OWNED = frozenset({"task_storage", "cgrp_storage", "sk_storage", "inode_storage"})
_BUILD_ID = 1 << 5  # BPF_F_STACK_BUILD_ID
_BUILD_ID_SIZE, _BUILD_ID_VALID = 32, 1


class MapTypes:
    """The layouts of a map's key and value, and the names of their columns in the map's frame."""

    def __init__(self, info: MapInfo, btf: Btf, clock: int | None = None) -> None:
        self.info = info
        variable = btf.get(info.name, "var") if info.name else None
        self.annotations: Annotations = of(btf, variable.id) if variable else NONE
        reference = info.kind in _REFERENCES
        self.percpu = info.kind.startswith(("percpu_", "lru_percpu_"))
        self.stacks = info.kind == "stack_trace"
        self.build_ids = bool(info.flags & _BUILD_ID)
        each = Annotations(sensitive=self.annotations.sensitive)
        self.key = _layout(btf, info.key_type, info.key_size, each, clock)
        if self.stacks:
            self.value: Layout = Untyped(0)
        else:
            value_type = 0 if reference else info.value_type
            self.value = _layout(btf, value_type, info.value_size, self.annotations, clock)
        self.additive = all(c.kind in ("int", "float") and not _is_time(c) for c in self.value.columns)
        keys = [column.name for column in self.key.columns]
        values = [column.name for column in self.value.columns]
        plain = (
            {"": "stack_id" if info.kind == "stack_trace" else "key"},
            {"": _REFERENCES.get(info.kind, "value")},
        )
        both = {plain[0].get(n, n) for n in keys} & {plain[1].get(n, n) for n in values}
        self.names = (
            {n: f"key_{name}" if (name := plain[0].get(n, n)) in both else name for n in keys},
            {n: f"value_{name}" if (name := plain[1].get(n, n)) in both else name for n in values},
        )

    def encode_key(self, key: object) -> bytes:
        """A key's bytes. An LPM trie of addresses also takes ``"10.0.0.0/8"``; storages take their owner."""
        kind = self.info.kind
        if kind in _OWNED:
            return _owner(kind, key)
        if kind == "lpm_trie" and isinstance(key, str) and "/" in key:
            network = ipaddress.ip_network(key, strict=False)
            data = struct.pack("=I", network.prefixlen) + network.network_address.packed
            if len(data) == self.info.key_size:
                return data
        return self._named(self.key, key, "key")

    def encode_value(self, value: object) -> bytes:
        return self._named(self.value, value, "value")

    def _named(self, layout: Layout, value: object, what: str) -> bytes:
        try:
            return layout.encode(value)
        except MapTypeError as error:
            message = f"{what} of '{self.info.name}': {error.message}"
            raise MapTypeError(message, map=self.info.name, hints=error.hints) from None

    def inner_types(self, info: MapInfo) -> MapInfo:
        """*info* of an inner map with the types that the object declares for inner maps."""
        declared = self.info.inner
        if declared is None:
            return info
        return replace(info, key_type=declared.key_type, value_type=declared.value_type)


def _layout(btf: Btf, type_id: int, size: int, stated: Annotations, clock: int | None) -> Layout:
    if type_id:
        stated = replace(stated, view=None, description="", hidden=False)
        layout = Layout.of(btf, type_id, stated, clock=clock)
        if layout.size == size:
            return layout
    return Untyped(size)


def _is_time(column: Any) -> bool:
    return bool(column.annotations.format == "timestamp")


def _owner(kind: str, key: object) -> bytes:
    """What names the owner of a storage: a process id, a descriptor, a cgroup id, or a path."""
    if isinstance(key, int):
        wide = kind == "cgrp_storage"
        if key < 0 or key >= 1 << (64 if wide else 31):
            raise MapTypeError(f"{key} is no process id, descriptor or cgroup id")
        return struct.pack("=Q" if wide else "=I", key)
    if isinstance(key, bytes):
        return key
    if hasattr(key, "fileno"):
        return struct.pack("=I", key.fileno())
    if isinstance(key, str) or hasattr(key, "__fspath__"):
        return str(key).encode()
    raise MapTypeError(f"{key!r} does not name the owner of an entry: a process id, descriptor or path does")


def kernel_value(kind: str, value: object) -> bytes | None:
    """The descriptor that a map of maps, programs or sockets takes for *value*; None for other kinds of maps."""
    if kind not in _OF_DESCRIPTORS:
        return None
    info = getattr(value, "info", None)
    if isinstance(info, MapInfo):
        value = info.fd
    elif hasattr(value, "fileno"):
        value = value.fileno()
    if not isinstance(value, int):
        what = "map" if kind in _OF_MAPS else "program" if kind == "prog_array" else "socket"
        raise MapTypeError(f"a {kind} takes a {what} or its descriptor, not {value!r}")
    return struct.pack("=I", value)


# CPUs


def per_cpu_rows(
    keys: Bytes2D, values: Bytes2D, cpus: int
) -> tuple[Bytes2D, Bytes2D, npt.NDArray[np.uint32]]:
    """One row a key and CPU: keys repeated, values, CPU numbers."""
    count = len(values)
    numbers = np.tile(np.arange(cpus, dtype=np.uint32), count)
    return np.repeat(keys, cpus, axis=0), _each(values, cpus), numbers


def _each(values: Bytes2D, cpus: int) -> Bytes2D:
    """One row a CPU of rows that hold the values of all."""
    return values.reshape(len(values) * cpus, values.shape[1] // cpus)


def summed(layout: Layout, values: Bytes2D, cpus: int) -> dict[str, Any]:
    """Decoded columns of one value a row from rows of one value a CPU."""
    count = len(values)
    decoded = layout.decode(_each(values, cpus))
    out: dict[str, Any] = {}
    chosen: Any = None
    for column in layout.columns:
        data = decoded[column.name]
        if column.kind in ("int", "float") and isinstance(data, np.ndarray):
            each = data.reshape(count, cpus)
            if _is_time(column):
                out[column.name] = each.max(axis=1)
            else:
                wide = {"u": np.uint64, "i": np.int64}.get(data.dtype.kind, np.float64)
                out[column.name] = each.sum(axis=1, dtype=wide)
            continue
        if column.kind == "bool":
            out[column.name] = data.reshape(count, cpus).any(axis=1)
            continue
        if chosen is None:
            used = _each(values, cpus).any(axis=1).reshape(count, cpus)
            chosen = np.arange(count) * cpus + used.argmax(axis=1)
        out[column.name] = data[chosen] if isinstance(data, np.ndarray) else data.take(pa.array(chosen))
    return out


def added(values: list[Any]) -> Any:
    """The sum of numbers, or of dicts and lists of numbers by place."""
    first = values[0]
    if isinstance(first, dict):
        return {name: added([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [added(list(place)) for place in zip(*values, strict=True)]
    return sum(values)


def first_of(values: list[Any], parts: list[bytes], *, numbers: bool = False) -> Any:
    """Values with times, text or names in them: structs by field as in a frame, others from the first CPU used."""
    if isinstance(values[0], dict):
        return {name: first_of([value[name] for value in values], parts, numbers=True) for name in values[0]}
    if numbers and all(type(value) in (int, float) for value in values):
        return sum(values)
    used = next((i for i, part in enumerate(parts) if any(part)), 0)
    return values[used]


# Stacks


def stack_lists(values: Bytes2D, build_ids: bool) -> pa.Array:
    """The frames of each row up to the first that is empty: addresses as u64, or texts where they are *build_ids*."""
    words: Any = np.ascontiguousarray(values).view(f"V{_BUILD_ID_SIZE}" if build_ids else np.uint64)
    used = words.view("<i4").reshape(*words.shape, -1)[:, :, 0] != 0 if build_ids else words != 0
    valid = np.logical_and.accumulate(used, axis=1)
    offsets = np.zeros(len(words) + 1, np.int32)
    np.cumsum(valid.sum(axis=1), out=offsets[1:])
    found = words[valid]
    frames = (
        pa.array([_in_file(one.tobytes()) for one in found], pa.string()) if build_ids else pa.array(found)
    )
    return pa.ListArray.from_arrays(pa.array(offsets), frames)


def _in_file(data: bytes) -> str:
    """One ``struct bpf_stack_build_id`` {s32 status; u8 build_id[20]; u64 offset or ip}: ``5a8e...+0xf7540``.

    An address by itself where the kernel found no build id at once.
    """
    status, build_id, offset = struct.unpack("=i20sQ", data)
    return f"{build_id.hex()}+{offset:#x}" if status == _BUILD_ID_VALID else f"{offset:#x}"
