"""Maps as mappings and as DataFrames.

``m.df`` has the key's columns, then the value's: a scalar key is ``key``, a scalar value ``value``, fields of structs
keep their names, with ``key_`` and ``value_`` in front only where both have the name. By kind of map:

- arrays have ``key`` as the index;
- per-CPU maps are summed over the CPUs: numbers added, timestamps the latest, text and enumerations from the first
  CPU whose value is not all zero. ``m.percpu`` keeps them apart, with a ``cpu`` column;
- stack traces have ``stack_id`` and ``frames``, the list of addresses from the innermost on; with
  BPF_F_STACK_BUILD_ID of texts, the file's build id and the offset in it (``5a8e...+0xf7540``);
- maps of maps have ``map_id`` (``m.inner(key)`` is the inner map), program arrays ``prog_id``;
- a queue or stack shows its head only, since reading more would take it out: ``m.pop()``, ``m.push(value)``;
- a bloom filter answers ``value in m`` (maybe, or surely not) and takes ``m.push(value)``;
- storages are looked up by their owner: ``m[pid]``, ``m["/sys/fs/cgroup/..."]``, ``m[socket]``.

``m[key]`` and ``m[key] = value`` take and give Python values (dicts for structs).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.btf import Btf
from bpfnb.errors import MapError, MapFull, MapTypeError
from bpfnb.frames import completeness
from bpfnb.frames.columns import without, without_arrow
from bpfnb.frames.drawn import Drawn
from bpfnb.frames.mapkinds import MapTypes, added, first_of, kernel_value, per_cpu_rows, stack_lists, summed
from bpfnb.kernel.backend import Bytes2D, LoadedObject, MapInfo

__all__ = ["MapFrame", "PerCpuFrame"]

INDEXED = frozenset({"array", "percpu_array", "array_of_maps"})
QUEUES = frozenset({"queue", "stack"})
WRITTEN_ONLY = QUEUES | {"bloom_filter", "user_ringbuf"}
COUNTED = frozenset(
    {"hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "lpm_trie", "hash_of_maps", "sockhash"}
) | {
    "devmap_hash",
    "stack_trace",
}
"""Kinds for which the share of ``max_entries`` in use means something."""
_FILLABLE = QUEUES | {"hash", "percpu_hash", "lpm_trie", "hash_of_maps"}

_MISSING = object()


class MapFrame(Drawn):
    """One map of a loaded object. Raises ObjectClosed once the object is closed.

    *lost* counts the updates that failed in the program because the map was full. Where that is None nobody counts,
    and no frame of a map that can be full says that it is complete. *view* is what it is drawn as where
    it has no annotation, *clock* what makes times since boot dates where *loaded* is not of this machine's kernel.
    """

    def __init__(
        self,
        name: str,
        loaded: LoadedObject,
        info: MapInfo,
        btf: Btf,
        *,
        provenance: Mapping[str, Any] | None = None,
        lost: Callable[[], int] | None = lambda: 0,
        view: tuple[str, ...] | None = None,
        clock: int | None = None,
    ) -> None:
        self.name = name
        self.info = info
        self._clock = clock
        self._view = view
        self.provenance = dict(provenance or {})
        self._loaded = loaded
        self._btf = btf
        self._lost = lost
        self._known = (float("-inf"), 0.0, 0)  # when entries were counted, how long it took, how many

    @cached_property
    def _types(self) -> MapTypes:
        return MapTypes(
            self.info, self._btf, self._clock
        )  # when first asked: loading a cell does not wait for it

    @property
    def kind(self) -> str:
        """The kind of map, as libbpf names it."""
        return self.info.kind

    @property
    def view(self) -> tuple[str, ...] | None:
        """What the map's VIEW annotation asks for, e.g. ``("hist", "log2", "ns")``; else *view*, its makers' choice."""
        return self._types.annotations.view or self._view

    # Values

    @property
    def df(self) -> pd.DataFrame:
        """All entries now, each key once, as a DataFrame that nothing changes afterwards."""
        return self.frame()

    @property
    def percpu(self) -> PerCpuFrame:
        """The map with the values of each CPU apart."""
        if not self._types.percpu:
            raise MapError(f"'{self.name}' is a {self.kind}: it has one value for all CPUs", map=self.name)
        return PerCpuFrame(self)

    def frame(self, *, percpu: bool = False, raw: bool = False) -> pd.DataFrame:
        """As :attr:`df`; *percpu* keeps CPUs apart, *raw* leaves integers as the kernel has them."""
        keys, values, window = self._read()
        cpus: Any = None
        if percpu and self._types.percpu:
            keys, values, cpus = per_cpu_rows(keys, values, self.info.cpus)
        key_names, value_names = self._types.names
        left = self._types.key.frame(self._types.key.decode(keys), raw=raw, copy=False)
        right = self._types.value.frame(self._decode_values(values, cpus is not None), raw=raw, copy=False)
        notes = {
            name: note
            for frame, names in ((left, key_names), (right, value_names))
            for column, note in frame.attrs.pop("bpfnb_columns", {}).items()
            if (name := names.get(column))
        }
        left.columns = pd.Index([key_names[c] for c in left.columns])
        right.columns = pd.Index([value_names[c] for c in right.columns])
        if cpus is not None:
            left["cpu"] = cpus
        out = pd.concat([left, right], axis=1)
        if self._types.stacks:
            out["frames"] = pd.arrays.ArrowExtensionArray(stack_lists(values, self._types.build_ids))
        if self.kind in INDEXED:
            out = out.set_index(key_names[""])
        if self.gone:
            out = without(out, self.gone)
        out.attrs["bpfnb_columns"] = notes
        out.attrs[completeness.ATTR] = self._attrs(window, len(keys))
        return out

    def arrow(self) -> pa.Table:
        """All entries as a pyarrow.Table; ``bpfnb`` in its metadata is what ``df.attrs`` holds, as JSON."""
        keys, values, window = self._read()
        metadata = {completeness.ATTR: json.dumps(self._attrs(window, len(keys)))}
        table = pa.table(self.columns(keys, values)).replace_schema_metadata(metadata)
        return without_arrow(table, self.gone)

    def columns(self, keys: Bytes2D, values: Bytes2D) -> dict[str, Any]:
        """The columns of :meth:`arrow`, of entries that were read before."""
        key_names, value_names = self._types.names
        left = self._types.key.arrow(self._types.key.decode(keys))
        right = self._types.value.arrow(self._decode_values(values, False))
        arrays = {key_names[n]: left.column(n) for n in left.schema.names}
        arrays |= {value_names[n]: right.column(n) for n in right.schema.names}
        if self._types.stacks:
            arrays["frames"] = stack_lists(values, self._types.build_ids)
        return arrays

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def _read(self) -> tuple[Bytes2D, Bytes2D, tuple[float, float]]:
        began, clock = time.time(), time.monotonic()
        keys, values = self._loaded.read_all(self.name)
        now = time.monotonic()
        self._known = (now, now - clock, len(keys))
        return keys, values, (began, began + now - clock)

    def _decode_values(self, values: Bytes2D, apart: bool) -> dict[str, Any]:
        if self._types.percpu and not apart:
            return summed(self._types.value, values, self.info.cpus)
        return self._types.value.decode(values)

    def _attrs(self, window: tuple[float, float], entries: int) -> dict[str, Any]:
        limit = self.info.max_entries
        attrs = completeness.describe(
            self.name,
            self.kind,
            window,
            entries,
            {"full": self.lost},
            self.provenance,
            entries=entries,
            max_entries=limit,
            fill=entries / limit if self.kind in COUNTED and limit else None,
        )
        return attrs | ({} if self.counted else {"complete": False, "uncounted": ["full"]})

    # How full

    @property
    def counted(self) -> bool:
        """Whether refused updates are counted, where a map can be full at all."""
        return self._lost is not None or self.kind not in _FILLABLE

    @property
    def fill(self) -> float | None:
        """Entries as a share of ``max_entries``; None for kinds where that says nothing.

        Counting reads the map; one that takes long to read is counted again only after ten times as long.
        """
        if self.kind not in COUNTED or not self.info.max_entries:
            return None
        when, cost, _ = self._known
        if time.monotonic() - when > max(0.05, 10 * cost):
            self._read()
        return self._known[2] / self.info.max_entries

    @property
    def lost(self) -> int:
        """Updates by the program that failed because the map was full."""
        return self._lost() if self._lost else 0

    def __len__(self) -> int:
        return len(self._read()[0])

    # Single entries

    def __getitem__(self, key: object) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def get(self, key: object, default: Any = None) -> Any:
        """The value of *key*, or *default*."""
        data = self._loaded.lookup(self.name, self._types.encode_key(key))
        return default if data is None else self._value(data)

    def stack(self, number: int) -> npt.NDArray[np.uint64] | None:
        """The addresses of one stack, innermost first, of a map of stacks; None where it has none of that number."""
        data = self._loaded.lookup(self.name, number.to_bytes(4, sys.byteorder))
        if data is None:
            return None
        words = np.frombuffer(data, np.uint64)
        empty = np.flatnonzero(words == 0)
        return words[: empty[0]] if len(empty) else words

    def _value(self, data: bytes) -> Any:
        if self._types.percpu:
            values = [self._types.value.decode_one(part) for part in self._parts(data)]
            return added(values) if self._types.additive else first_of(values, self._parts(data))
        if self._types.stacks:
            row = np.frombuffer(data, np.uint8).reshape(1, -1)
            return stack_lists(row, self._types.build_ids)[0].as_py()
        return self._types.value.decode_one(data)

    def _parts(self, data: bytes) -> list[bytes]:
        size = len(data) // self.info.cpus
        return [data[at : at + size] for at in range(0, len(data), size)]

    def __setitem__(self, key: object, value: object) -> None:
        """Write one entry. A per-CPU map takes a list of one value a CPU, or one value: the sum, kept on CPU 0.

        Maps of maps take a :class:`MapFrame`, program arrays a :class:`~bpfnb.program.Program`, these and maps of
        sockets also a descriptor. Raises MapFull, MapTypeError, MapError.
        """
        self._loaded.update(self.name, self._types.encode_key(key), self._encode_value(value))

    def _encode_value(self, value: object) -> bytes:
        reference = kernel_value(self.kind, value)
        if reference is not None:
            return reference
        if not self._types.percpu:
            return self._types.encode_value(value)
        size = -(-self.info.value_size // 8) * 8
        each = value if isinstance(value, list) else [value]
        if len(each) not in (1, self.info.cpus):
            raise MapTypeError(
                f"'{self.name}' has {self.info.cpus} CPUs, not {len(each)}",
                map=self.name,
                hints=["give a list of one value a CPU, or the value itself"],
            )
        data = b"".join(self._types.encode_value(one).ljust(size, b"\0") for one in each)
        return data.ljust(size * self.info.cpus, b"\0")

    def __delitem__(self, key: object) -> None:
        if not self._loaded.delete(self.name, self._types.encode_key(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if self.kind == "bloom_filter":
            return self._loaded.lookup(self.name, self._types.encode_value(key)) is not None
        return self._loaded.lookup(self.name, self._types.encode_key(key)) is not None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def keys(self) -> list[Any]:
        """All keys, as Python values."""
        return [self._types.key.decode_one(row.tobytes()) for row in self._read()[0]]

    def items(self) -> list[tuple[Any, Any]]:
        """All entries, as Python values. For many, :attr:`df` is a hundred times faster."""
        keys, values, _ = self._read()
        return [
            (self._types.key.decode_one(key.tobytes()), self._value(value.tobytes()))
            for key, value in zip(keys, values, strict=True)
        ]

    def values(self) -> list[Any]:
        """All values, as Python values."""
        return [value for _, value in self.items()]

    def update(self, entries: Mapping[Any, Any]) -> None:
        """Write all of *entries*, one by one."""
        for key, value in entries.items():
            self[key] = value

    def clear(self) -> None:
        """Delete all entries; an array's are set to zero."""
        if self.kind in QUEUES:
            while self._loaded.pop(self.name) is not None:
                pass
            return
        keys, values, _ = self._read()
        zero = bytes(values.shape[1])
        for row in keys:
            if self.kind in ("array", "percpu_array"):
                self._loaded.update(self.name, row.tobytes(), zero)
            else:
                self._loaded.delete(self.name, row.tobytes())

    def pop(self, key: object = _MISSING, default: Any = _MISSING) -> Any:
        """Take out and return the head of a queue or stack (IndexError when empty), else the value of *key*."""
        if self.kind in QUEUES:
            data = self._loaded.pop(self.name)
            if data is None:
                raise IndexError(f"'{self.name}' is empty")
            return self._value(data)
        if key is _MISSING:
            raise TypeError(f"'{self.name}' is a {self.kind}: pop(key)")
        value = self.get(key, default)
        if value is _MISSING:
            raise KeyError(key)
        self._loaded.delete(self.name, self._types.encode_key(key))
        return value

    def push(self, value: object) -> None:
        """Put *value* into a queue, stack, bloom filter or user ring buffer. Raises MapFull."""
        if self.kind not in WRITTEN_ONLY:
            raise MapError(f"'{self.name}' is a {self.kind}: write m[key] = value", map=self.name)
        if self.kind != "user_ringbuf":
            self._loaded.update(self.name, b"", self._types.encode_value(value))
            return
        record = value if isinstance(value, bytes) else self._types.encode_value(value)
        if not self._loaded.write_user_ring(self.name, [record]):
            raise MapFull(f"'{self.name}' is full: its program has not read what was written", map=self.name)

    def inner(self, key: object) -> MapFrame:
        """The map that a map of maps holds at *key*. KeyError where it holds none."""
        outer = {"array_of_maps", "hash_of_maps"}
        open_map = getattr(self._loaded, "open_map", None)
        if self.kind not in outer or open_map is None:
            raise MapError(f"'{self.name}' is a {self.kind}: it holds no maps", map=self.name)
        name = open_map(self[key])
        info: MapInfo = self._loaded.map_info(name)  # type: ignore[attr-defined]
        types = self._types.inner_types(info)
        return MapFrame(name, self._loaded, types, self._btf, provenance=self.provenance, clock=self._clock)

    # Display

    def _ipython_display_(self) -> None:
        from bpfnb.views.objectpanel import display_frame

        display_frame(self)

    def _ipython_key_completions_(self) -> list[Any]:
        return self.keys()[:100]

    def __repr__(self) -> str:
        return f"<MapFrame {self.name}: {self.kind}, max_entries {self.info.max_entries:,}>"

    def _repr_html_(self) -> str:
        try:
            frame = self.df
        except MapError as error:
            return f"<p>{self.name}: {error.message}</p>"
        note = completeness.line(frame.attrs[completeness.ATTR])
        return f"{frame.head(10).to_html(border=0)}<p><small>{note}</small></p>"


class PerCpuFrame:
    """A per-CPU map with the CPUs apart: frames have a ``cpu`` column, items are lists of one value a CPU."""

    def __init__(self, frame: MapFrame) -> None:
        self._map = frame

    @property
    def df(self) -> pd.DataFrame:
        return self.frame()

    def frame(self, *, raw: bool = False) -> pd.DataFrame:
        return self._map.frame(percpu=True, raw=raw)

    def __getitem__(self, key: object) -> list[Any]:
        data = self._map._loaded.lookup(self._map.name, self._map._types.encode_key(key))
        if data is None:
            raise KeyError(key)
        return [self._map._types.value.decode_one(part) for part in self._map._parts(data)]

    def __repr__(self) -> str:
        return f"<{self._map.name}, CPUs apart>"

    def _repr_html_(self) -> str:
        return self.df.head(20).to_html(border=0)
