"""A hash map of a million entries to a DataFrame, against bcc's items() and the bare batch system calls."""

from __future__ import annotations

import ctypes
import statistics
import time

import numpy as np

import bpfnb
from bench.peers import bcc
from bench.report import line

ENTRIES = 1_000_000
MAP = f"""
struct {{ __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, {ENTRIES}); __type(key, u64); __type(value, u64); }} m SEC(".maps");
SEC("xdp") int touch(struct xdp_md *ctx) {{ u64 k = 0; return bpf_map_lookup_elem(&m, &k) ? 1 : 0; }}
"""


class _Batch(ctypes.Structure):
    _fields_ = [
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    ]


def _bpf(command: int, attr: _Batch) -> int:
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    return int(libc.syscall(number, command, ctypes.byref(attr), ctypes.sizeof(attr)))


def fill_map(fd: int) -> None:
    keys = np.arange(ENTRIES, dtype=np.uint64)
    values = keys * 3
    attr = _Batch(keys=keys.ctypes.data, values=values.ctypes.data, count=ENTRIES, map_fd=fd)
    if _bpf(26, attr) != 0 or attr.count != ENTRIES:
        raise SystemExit("bench: could not fill the map")


def _raw(fd: int) -> int:
    """BPF_MAP_LOOKUP_BATCH into two buffers of the right size, and nothing else."""
    keys, values = np.empty(ENTRIES, np.uint64), np.empty(ENTRIES, np.uint64)
    tokens = (ctypes.c_uint32 * 2)()
    got = 0
    attr = _Batch(out_batch=ctypes.addressof(tokens), map_fd=fd)
    while True:
        attr.keys, attr.values = keys.ctypes.data + 8 * got, values.ctypes.data + 8 * got
        attr.count = ENTRIES - got
        ended = _bpf(24, attr) != 0
        got += attr.count
        if ended or got == ENTRIES:
            return got
        attr.in_batch = ctypes.addressof(tokens)


def hash_map() -> None:
    """A hash of a million entries to a DataFrame."""
    with bpfnb.load(MAP, name="bench_map", attach=False, watchdog=None) as obj:
        fd = obj.loaded.maps["m"].fd
        fill_map(fd)
        ours, raw = [], []
        for _ in range(5):
            start = time.perf_counter()
            if _raw(fd) != ENTRIES:
                raise SystemExit("bench: the raw calls missed entries")
            raw.append(time.perf_counter() - start)
            start = time.perf_counter()
            df = obj.m.df
            ours.append(time.perf_counter() - start)
            if len(df) != ENTRIES or int(df.value.sum()) != 3 * ENTRIES * (ENTRIES - 1) // 2:
                raise SystemExit("bench: the frame is wrong")
            del df
    b = bcc().BPF(text=f"BPF_HASH(m, u64, u64, {ENTRIES}); int touch(struct xdp_md *ctx) {{ return 0; }}")
    fill_map(b["m"].map_fd)
    start = time.perf_counter()
    items = b["m"].items()
    theirs = time.perf_counter() - start
    if len(items) != ENTRIES:
        raise SystemExit(f"bench: bcc gave {len(items)} entries of {ENTRIES}")
    b.cleanup()
    mine, bare = statistics.median(ours), statistics.median(raw)
    line(
        "map of 1,000,000 to DataFrame",
        f"{mine * 1e3:.0f} ms",
        f"bcc items() {theirs * 1e3:.0f} ms",
        theirs / mine,
        20,
    )
    line(
        "  the same against bare batch calls",
        f"{mine * 1e3:.0f} ms",
        f"{bare * 1e3:.0f} ms",
        mine / bare,
        2,
        at_most=True,
    )
