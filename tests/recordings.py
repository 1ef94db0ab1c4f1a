"""Recordings made without a kernel: of types that clang knows, with values of the test's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bpfnb.btf import Btf
from bpfnb.compile import Source
from bpfnb.compile import compile as compile_source
from bpfnb.frames.lane import Lane
from bpfnb.frames.layout import Layout
from bpfnb.recording.columns import to_table
from bpfnb.recording.container import Container
from bpfnb.recording.manifest import Host, LaneInfo, Manifest, MapEntry, ObjectInfo, StreamInfo
from bpfnb.recording.parquet import encode

__all__ = ["CLOCK", "lane_of", "made", "rows_of"]

CLOCK = 1_700_000_000_000_000_000

TYPES = r"""
enum way { READ, WRITE, };
struct event {
    ktime_ns_t when; u64 big; s8 small; u8 byte; errno_t error; signal_t signal; syscall_t call; enum way way;
    ipv4_t four; ipv6_t six; ip_t either; port_be_t port; port_t local; u8 mac[6] FORMAT(mac); u8 raw[5]; bool yes;
    char name[16]; u32 bit:3; s32 signed_bit:4; u16 many[70]; u16 grid[20][4] HIDDEN; void *where;
};
struct said { u64 when; char args[]; };
struct sent { u64 when; u8 data[]; };
struct event e = {}; struct said a = {}; struct sent b = {}; u64 number = 0;
SEC("socket") int f(void *ctx) { return e.byte + a.when + b.when + number; }
"""


@cache
def _btf() -> Btf:
    return compile_source(Source(TYPES)).btf


def lane_of(name: str) -> Lane:
    """``event``, ``said`` (a flexible text), ``sent`` (flexible bytes), ``number``, ``data`` (no type)."""
    if name == "data":
        return Lane(None)
    btf = _btf()
    if name == "number":
        return Lane(Layout.of(btf, btf.find("number", "var").id))
    return Lane(Layout.of(btf, btf.find(name, "struct").id))


def rows_of(lane: Lane, count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Records of random bytes."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, lane.size), np.uint8)


def made(
    path: Path,
    pieces: Sequence[pa.Table] | None = None,
    *,
    extra: Mapping[str, bytes] | None = None,
    rows: int = 50,
) -> Path:
    """A recording of one object ``io`` with a stream ``events`` and a map ``sums``."""
    lane = lane_of("event")
    if pieces is None:
        columns = lane.decode(rows_of(lane, rows), None)
        pieces = [to_table(lane, columns, 0, np.zeros(rows), CLOCK)]
    btf = _btf()
    snapshot = pa.table(
        {
            "snapshot": pa.array([1, 1], pa.timestamp("ns", "UTC")),
            "key": pa.array([1, 2], pa.uint32()),
            "value": pa.array([3, 4], pa.uint64()),
            "key@raw": pa.array([b"\1\0\0\0", b"\2\0\0\0"], pa.binary(4)),
            "value@raw": pa.array([b"\3" + bytes(7), b"\4" + bytes(7)], pa.binary(8)),
        }
    )
    info = ObjectInfo(
        "object",
        "objects/io",
        text=hashlib.sha256(TYPES.encode()).hexdigest(),
        maps=(MapEntry("sums", "hash", 4, 8, 10),),
        streams={
            "events": StreamInfo("ringbuf", (LaneInfo("event", btf.find("event", "struct").id, lane.size),))
        },
    )
    manifest = Manifest("0", "", Host("6.1"), CLOCK, stopped="stopped", complete=True, objects={"io": info})
    container = Container(path, overwrite=True)
    container.add("objects/io/source.c", TYPES.encode())
    container.add("objects/io/types.btf", btf.data)
    for number, piece in enumerate(pieces):
        container.add(f"objects/io/streams/events/event/{number:05}.parquet", encode(piece))
    container.add("objects/io/maps/sums/00000.parquet", encode(snapshot))
    for name, data in (extra or {}).items():
        container.add(name, data)
    container.commit({"manifest.json": manifest.to_json()})
    container.close()
    return path
