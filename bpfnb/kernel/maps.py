"""Maps as bytes: whole maps into NumPy buffers, single entries, queues, and the memory of global variables.

Every function takes a :class:`~bpfnb.kernel.backend.MapInfo` and works on its descriptor alone, so it serves any
process that was handed one. Keys and values are exactly the kernel's bytes:

=====================================  ==========================================================================
hash, lru_hash, array, lpm_trie        key_size bytes; value_size bytes
percpu_* and lru_percpu_hash           value: ``cpus`` values, each padded to 8 bytes
stack_trace                            key: stack id (u32); value: up to depth u64 addresses, the rest zero
array_of_maps, hash_of_maps            value: id of the inner map (u32); write: a descriptor of a map
prog_array                             value: id of the program (u32); write: a descriptor of a program
queue, stack                           no key (b""); lookup shows the head, :func:`pop` takes it
bloom_filter                           no key: ``update(b"", value)``; ``lookup(value)`` tells whether it may be in it
task_storage                           key: a process id (u32)
cgrp_storage                           key: cgroup id (u64), or descriptor (u32) or path of a cgroup directory
sk_storage, inode_storage              key: a descriptor (u32) of a socket, of a file (or the file's path)
sockmap, sockhash                      value: socket cookie (u64) where value_size is 8; write: a socket's descriptor
=====================================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator
from functools import cache

import numpy as np

from bpfnb.errors import MapError, MapFull, MapTypeError
from bpfnb.kernel import syscall
from bpfnb.kernel.backend import Bytes2D, MapInfo
from bpfnb.kernel.names import MAP_TYPES, PER_CPU, name_of
from bpfnb.kernel.system import possible_cpus

__all__ = [
    "delete",
    "info_from",
    "info_of",
    "lookup",
    "map_array",
    "pop",
    "read_all",
    "stored_size",
    "update",
]

MMAPABLE = 1 << 10  # BPF_F_MMAPABLE
_OWNED = frozenset({"task_storage", "cgrp_storage", "sk_storage", "inode_storage"})
_QUEUES = frozenset({"queue", "stack"})
_KEYLESS = _QUEUES | {"bloom_filter"}
_HASHES = frozenset({"hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "hash_of_maps"})
_ARRAYS = frozenset({"array", "percpu_array", "array_of_maps"})
_UNREADABLE = frozenset(
    {"perf_event_array", "perf_array", "cgroup_array", "ringbuf", "user_ringbuf", "arena", "struct_ops"}
)
_NO_BATCH = frozenset({errno.EINVAL, errno.EOPNOTSUPP, syscall.ENOTSUPP, errno.EINTR, errno.ENOSPC})
"""After which the map is read key by key. EINTR: of a kind other than hash tables a key had no value, as empty slots of
array_of_maps have none (Linux 5.6 to 6.13). ENOSPC: a bucket of a guest's map is more than a frame."""
_LARGEST_BUFFER = 1 << 28  # bytes of address space to start with; more is taken only for entries that exist


def info_of(fd: int, name: str = "") -> MapInfo:
    """What the kernel knows of the map behind a descriptor (no type ids: those are the object's own)."""
    return info_from(syscall.info(fd, 96), fd, name)


def info_from(data: bytes, fd: int, name: str = "") -> MapInfo:
    """A ``struct bpf_map_info`` as MapInfo."""
    kind, number, key, value, entries, flags, kernel_name = struct.unpack_from("=IIIIII16s", data)
    return MapInfo(
        name=name or kernel_name.split(b"\0")[0].decode(errors="replace"),
        kind=(kind_name := name_of(MAP_TYPES, kind)),
        id=number,
        fd=fd,
        key_size=key,
        value_size=value,
        max_entries=entries,
        flags=flags,
        cpus=possible_cpus() if kind_name in PER_CPU else 1,
    )


def stored_size(info: MapInfo) -> int:
    """Bytes of one entry's value as system calls carry it: per-CPU maps have ``cpus`` values padded to 8."""
    if info.kind in PER_CPU:
        return info.cpus * (-(-info.value_size // 8) * 8)
    return info.value_size


def read_all(info: MapInfo) -> tuple[Bytes2D, Bytes2D]:
    """Keys (n, key_size) and values (n, stored_size), each key once, also while the map changes.

    Hash tables and arrays come in one system call where the kernel has BPF_MAP_LOOKUP_BATCH for them (Linux 5.6), an
    mmapable array as one copy of its memory, other kinds entry by entry. A queue or stack cannot be read without
    taking entries out: its head alone is given. Raises MapError for kinds whose entries cannot be listed.
    """
    if info.kind in _OWNED:
        raise MapError(
            f"'{info.name}' is a {info.kind}: each entry belongs to a {_owner(info)}, and none can be listed",
            map=info.name,
            hints=[f'look up one {_owner(info)}, or list them with an iterator program (SEC("iter/..."))'],
        )
    if info.kind in _UNREADABLE or info.kind == "bloom_filter":
        raise MapError(
            f"'{info.name}' is a {info.kind}, which holds no entries that can be listed", map=info.name
        )
    if info.kind in _QUEUES:
        head = lookup(info, b"")
        values = np.frombuffer(head or b"", np.uint8).reshape(-1, info.value_size)
        return np.empty((len(values), 0), np.uint8), values
    if info.kind == "array" and info.flags & MMAPABLE and not isinstance(info.fd, syscall.RemoteFd):
        return _indices(info.max_entries), _read_mapped(info)
    keys, values, code = _batch(info)
    if code in _NO_BATCH:
        return _walk(info)
    if code:
        raise _error(info, OSError(code, os.strerror(code)), "read")
    if info.kind in _HASHES or info.kind in _ARRAYS:
        return keys, values  # a key never leaves its bucket, and each bucket is read once
    return _once(keys, values)


def _batch(info: MapInfo) -> tuple[Bytes2D, Bytes2D, int]:
    """Everything through BPF_MAP_LOOKUP_BATCH: keys, values, errno (0: complete).

    Of a guest's map room is made only for entries that came: it may claim any number of them.
    """
    size, there = stored_size(info), isinstance(info.fd, syscall.RemoteFd)
    wanted = info.max_entries + (info.kind not in _ARRAYS)
    room = max(1, min(wanted, _LARGEST_BUFFER // max(1, info.key_size + size)))
    keys, values = np.empty((room, info.key_size), np.uint8), np.empty((room, size), np.uint8)
    token = np.zeros(max(info.key_size, 8), np.uint8)
    done, started = 0, False
    while True:
        count, code = syscall.map_lookup_batch(info.fd, token, started, keys[done:], values[done:])
        if code not in (0, errno.ENOENT) and (there or code != errno.ENOSPC):
            return keys[:0], values[:0], code
        done += count
        started = started or count > 0
        if code == errno.ENOENT or (info.kind in _ARRAYS and done >= info.max_entries):
            break
        if info.kind == "lpm_trie" and done > 2 * info.max_entries + 16:
            break  # deletions restarted it again and again; every key that stayed has come by
        _check_ends(info, done)
        more = len(keys) // 2 + 64
        if info.kind in _ARRAYS:
            more = min(more, info.max_entries - len(keys))
        if more and (code == errno.ENOSPC or len(keys) - done < len(keys) // 8 + 1):
            keys = np.concatenate([keys[:done], np.empty((len(keys) + more - done, info.key_size), np.uint8)])
            values = np.concatenate([values[:done], np.empty((len(values) + more - done, size), np.uint8)])
    if done < len(keys) // 2:  # do not let a few entries keep the whole buffer
        return keys[:done].copy(), values[:done].copy(), 0
    return keys[:done], values[:done], 0


def _walk(info: MapInfo) -> tuple[Bytes2D, Bytes2D]:
    """Key by key. Entries deleted meanwhile are left out; a walk that a deletion restarted goes on, keys once."""
    size, entries, key = stored_size(info), {}, syscall.map_next_key(info.fd, None, info.key_size)
    for _ in range(2 * info.max_entries + 16):
        if key is None:
            break
        try:
            value = syscall.map_lookup(info.fd, key, size)
        except OSError as error:
            raise _error(info, error, "read") from None
        if value is not None:
            entries[key] = value
            _check_holds(info, len(entries))
        key = syscall.map_next_key(info.fd, key, info.key_size)
    keys = np.frombuffer(b"".join(entries), np.uint8).reshape(-1, info.key_size)
    return keys.copy(), np.frombuffer(b"".join(entries.values()), np.uint8).reshape(-1, size).copy()


def _check_ends(info: MapInfo, entries: int) -> None:
    """Raises MapError, or what its kernel is refused with, where a map gives more entries than it can have: some come
    twice while it changes, but not for ever.
    """
    _check_holds(info, entries)
    if entries > 4 * info.max_entries + 1024:
        raise MapError(
            f"'{info.name}' gave {entries} entries and has not ended, though max_entries = {info.max_entries}",
            map=info.name,
            hints=["it changes faster than it is read, or its kernel is not to be trusted: read it again"],
        )


def _check_holds(info: MapInfo, entries: int) -> None:
    """Raises what a guest is refused with whose map has more than its memory. Indices are not stored."""
    if isinstance(info.fd, syscall.RemoteFd):
        keys = 0 if info.kind in _ARRAYS else info.key_size
        info.fd.kernel.check_holds(entries, keys + stored_size(info))


def _once(keys: Bytes2D, values: Bytes2D) -> tuple[Bytes2D, Bytes2D]:
    """The last value of each key. A batch that goes by "next key" starts again when its key is deleted meanwhile."""
    if len(keys) < 2:
        return keys, values
    whole = np.ascontiguousarray(keys[::-1]).view(f"V{keys.shape[1]}").ravel()
    _, first = np.unique(whole, return_index=True)
    if len(first) == len(keys):
        return keys, values
    rows = np.sort(len(keys) - 1 - first)
    return keys[rows], values[rows]


def _indices(count: int) -> Bytes2D:
    return np.arange(count, dtype=np.uint32).view(np.uint8).reshape(-1, 4)


def map_array(info: MapInfo) -> mmap.mmap:
    """The memory of an array made with BPF_F_MMAPABLE (Linux 5.5), shared with the kernel."""
    stride = -(-info.value_size // 8) * 8
    size = -(-stride * info.max_entries // mmap.PAGESIZE) * mmap.PAGESIZE
    try:
        return mmap.mmap(info.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    except PermissionError:  # frozen, or read-only to user space
        return mmap.mmap(info.fd, size, mmap.MAP_SHARED, mmap.PROT_READ)


def _read_mapped(info: MapInfo) -> Bytes2D:
    stride = -(-info.value_size // 8) * 8
    with map_array(info) as memory:
        rows = np.frombuffer(memory, np.uint8, info.max_entries * stride).reshape(-1, stride)
        values = rows[:, : info.value_size].copy()
        del rows  # a mapping with a view on it cannot be closed
    return values


def lookup(info: MapInfo, key: bytes) -> bytes | None:
    """The value of *key*, None where there is none. Raises MapTypeError for a key of the wrong size, MapError."""
    try:
        if info.kind == "bloom_filter":
            return _member(info, key)
        with _kernel_key(info, key) as kernel_key:
            return syscall.map_lookup(info.fd, kernel_key, stored_size(info))
    except OSError as error:
        raise _error(info, error, "read") from None


def update(info: MapInfo, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write one entry. *flags*: 0, or 1 (the key must be new), 2 (it must exist), 4 (take the value's spin lock).

    Raises MapFull, MapTypeError for sizes that do not fit, MapError.
    """
    size = 4 if info.kind in ("sockmap", "sockhash") and len(value) == 4 else stored_size(info)
    if len(value) != size:
        what = f" ({info.cpus} values padded to 8 bytes)" if info.kind in PER_CPU else ""
        raise MapTypeError(
            f"a value of '{info.name}' has {size} bytes{what}, not {len(value)}", map=info.name
        )
    try:
        with _kernel_key(info, key) as kernel_key:
            syscall.map_update(info.fd, kernel_key, value, flags)
    except OSError as error:
        raise _error(info, error, "write") from None


def delete(info: MapInfo, key: bytes) -> bool:
    """Remove *key*; whether it was there."""
    try:
        with _kernel_key(info, key) as kernel_key:
            return syscall.map_delete(info.fd, kernel_key)
    except OSError as error:
        raise _error(info, error, "delete from") from None


def pop(info: MapInfo) -> bytes | None:
    """Take the head of a queue or the top of a stack; None when it is empty. Linux 4.20."""
    if info.kind not in _QUEUES:
        raise MapError(
            f"'{info.name}' is a {info.kind}; only a queue or a stack can be popped", map=info.name
        )
    try:
        return syscall.map_lookup_and_delete(info.fd, b"", info.value_size)
    except OSError as error:
        raise _error(info, error, "pop from") from None


def _member(info: MapInfo, value: bytes) -> bytes | None:
    """A bloom filter's look-up reads the value instead of writing it."""
    if len(value) != info.value_size:
        raise MapTypeError(
            f"a value of '{info.name}' has {info.value_size} bytes, not {len(value)}", map=info.name
        )
    return value if syscall.map_contains(info.fd, value) else None


def _owner(info: MapInfo) -> str:
    return {"task_storage": "process", "cgrp_storage": "cgroup", "sk_storage": "socket"}.get(
        info.kind, "file"
    )


@contextlib.contextmanager
def _kernel_key(info: MapInfo, key: bytes) -> Iterator[bytes]:
    """The key that the kernel takes: storages of kernel objects are looked up by a descriptor of the object."""
    if info.kind not in _OWNED:
        size = 0 if info.kind in _KEYLESS else info.key_size
        if len(key) != size:
            raise MapTypeError(f"a key of '{info.name}' has {size} bytes, not {len(key)}", map=info.name)
        yield key
        return
    if info.kind == "task_storage" and len(key) == 4:
        opened = syscall.pidfd_open(info.fd, int.from_bytes(key, "little"))
    elif info.kind in ("cgrp_storage", "inode_storage") and key[:1] == b"/" and b"\0" not in key:
        opened = syscall.open_beside(info.fd, key)
    elif info.kind == "cgrp_storage" and len(key) == 8 and not isinstance(info.fd, syscall.RemoteFd):
        opened = _open_cgroup(int.from_bytes(key, "little"))
    elif len(key) == 4 and info.kind != "task_storage":
        yield key
        return
    else:
        raise MapTypeError(
            f"'{info.name}' is looked up by a {_owner(info)}, not by {len(key)} bytes", map=info.name
        )
    try:
        yield struct.pack("=i", opened)
    finally:
        syscall.close(opened)


@cache
def _cgroup_mount() -> int:
    from bpfnb.kernel.system import cgroup_root

    return os.open(cgroup_root(), os.O_RDONLY | os.O_CLOEXEC)


def _open_cgroup(number: int) -> int:
    """A descriptor of the cgroup with that id, by its kernfs file handle (type 0xfe)."""
    handle = ctypes.create_string_buffer(struct.pack("=IiQ", 8, 0xFE, number), 16)
    fd = syscall.libc.open_by_handle_at(_cgroup_mount(), handle, os.O_RDONLY | os.O_CLOEXEC)
    if fd < 0:
        raise FileNotFoundError(errno.ENOENT, f"no cgroup with id {number}")
    return int(fd)


def _error(info: MapInfo, error: OSError, verb: str) -> MapError:
    """The kernel's refusal in words."""
    code, name = error.errno or 0, info.name
    if code == errno.E2BIG and verb == "write":
        if info.kind in ("array", "percpu_array", "prog_array", "array_of_maps"):
            return MapError(
                f"'{name}' has the indices 0 to {info.max_entries - 1} only", map=name, errno=code
            )
        return MapFull(
            f"'{name}' is full: it holds max_entries = {info.max_entries} entries",
            map=name,
            errno=code,
            hints=["make it larger, delete entries, or use an LRU map, which drops the oldest"],
        )
    reasons = {
        errno.EEXIST: "the key exists already",
        errno.ENOENT: "the key does not exist"
        if info.kind not in _OWNED
        else f"there is no such {_owner(info)}",
        errno.ESRCH: f"there is no such {_owner(info)}",
        errno.EBADF: f"that is no descriptor of a {_owner(info)}"
        if info.kind in _OWNED
        else "the map is closed",
        errno.EPERM: "the map is read-only or frozen, or this process may not use BPF",
        errno.EINVAL: "the kernel does not allow this for the map's type, its flags or the key",
        errno.EOPNOTSUPP: f"the kernel does not offer this for a {info.kind}",
        syscall.ENOTSUPP: f"the kernel does not offer this for a {info.kind}",
        errno.ENOMEM: "the kernel has no memory for another entry",
        errno.ENOSPC: "the kernel shows sockets as cookies of 8 bytes, and its values are of 4"
        if info.kind in ("sockmap", "sockhash")
        else "the value does not fit",
        errno.EBUSY: "the entry is in use",
    }
    reason = reasons.get(code, os.strerror(code))
    return MapError(f"cannot {verb} '{name}' ({info.kind}): {reason}", map=name, errno=code)
