"""Maps of every kind as mappings and DataFrames, on the live kernel."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bpfnb.compile import BpfElf, Source
from bpfnb.compile import compile as compile_source
from bpfnb.errors import MapError, MapFull, MapTypeError, ObjectClosed
from bpfnb.frames import MapFrame
from bpfnb.kernel.backend import LoadSettings
from bpfnb.kernel.local import LocalBackend, LocalObject

CELL = r"""
enum mf_state { MF_IDLE, MF_BUSY, MF_GONE = 7 };
struct mf_pair { u32 pid; u32 cpu; };
struct mf_value { u64 count; u32 pid; enum mf_state state; char name[8]; ktime_ns_t last; };
struct mf_prefix { u32 prefixlen; u8 address[4]; };
struct mf_point { s32 x, y; };

#define MAP(kind, name, K, V, N) \
    struct { __uint(type, BPF_MAP_TYPE_##kind); __type(key, K); __type(value, V); __uint(max_entries, N); } name SEC(".maps")

MAP(HASH, numbers, u32, u64, 100);
MAP(LRU_HASH, recent, u64, s32, 64);
MAP(HASH, structs, struct mf_pair, struct mf_value, 100);
MAP(ARRAY, table, u32, struct mf_point, 5);
MAP(PERCPU_HASH, counts, u32, u32, 10);
MAP(PERCPU_ARRAY, slots, u32, struct mf_value, 3);
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __type(key, struct mf_prefix); __type(value, u32);
         __uint(max_entries, 16); __uint(map_flags, BPF_F_NO_PREALLOC); } routes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __type(value, u32); __uint(max_entries, 4); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK); __type(value, struct mf_point); __uint(max_entries, 4); } pile SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __type(value, u32); __uint(max_entries, 100); } bloom SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); __uint(value_size, 127 * 8);
         __uint(max_entries, 64); } stacks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(key_size, 4); __uint(value_size, 4);
         __uint(max_entries, 4); } jumps SEC(".maps");
struct mf_inner { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, struct mf_point);
               __uint(max_entries, 8); } inner_a SEC(".maps"), inner_b SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __type(key, u64); __uint(max_entries, 4);
         __array(values, struct mf_inner); } by_name SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __type(key, u32); __uint(max_entries, 2);
         __array(values, struct mf_inner); } by_index SEC(".maps") = { .values = { &inner_a } };
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __type(key, int); __type(value, u64);
         __uint(map_flags, BPF_F_NO_PREALLOC); } tasks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __type(key, int); __type(value, u64);
         __uint(map_flags, BPF_F_NO_PREALLOC); } sockets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(key_size, 3); __uint(value_size, 4); __uint(max_entries, 8); } untyped SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } commands SEC(".maps");

u64 drained = 0, sum = 0;

SEC("raw_tp/sys_enter") int fill(void *ctx)
{
    u32 key = 1, one = 1, *count = bpf_map_lookup_elem(&counts, &key);
    if (count) *count += 10;
    bpf_get_stackid(ctx, &stacks, 0);
    return 0;
}

static long each(struct bpf_dynptr *record, void *unused)
{
    u64 value;
    if (!bpf_dynptr_read(&value, 8, record, 0, 0)) { drained++; sum += value; }
    return 0;
}

SEC("syscall") int take_commands(void *ctx)
{
    bpf_user_ringbuf_drain(&commands, each, 0, 0);
    return 0;
}
"""


@pytest.fixture(scope="module")
def elf() -> BpfElf:
    return compile_source(Source(CELL, "maps"))


@pytest.fixture
def loaded(elf: BpfElf) -> Iterator[LocalObject]:
    with LocalBackend().load(elf.data, LoadSettings("maps")) as loaded:
        yield loaded


@pytest.fixture
def maps(elf: BpfElf, loaded: LocalObject) -> dict[str, MapFrame]:
    return {
        name: MapFrame(name, loaded, info, elf.btf, provenance={"object": "maps"})
        for name, info in loaded.maps.items()
        if not info.internal
    }


def test_a_hash_is_a_mapping_and_a_frame(maps: dict[str, MapFrame]) -> None:
    m = maps["numbers"]
    assert (len(m), m.fill) == (0, 0.0)
    assert list(m.df.columns) == ["key", "value"]
    m.update({n: n * n for n in range(1, 11)})
    m[3] = (1 << 64) - 1
    assert (m[3], m.get(4), m.get(99), m.get(99, "none"), 4 in m, 99 in m) == (
        2**64 - 1,
        16,
        None,
        "none",
        True,
        False,
    )
    df = m.df.sort_values("key", ignore_index=True)
    assert df["key"].dtype == np.uint32
    assert df["value"].dtype == np.uint64
    assert df["key"].tolist() == list(range(1, 11))
    assert df["value"].tolist() == [1, 4, 2**64 - 1, 16, 25, 36, 49, 64, 81, 100]
    assert dict(m.items()) == dict(zip(df["key"], df["value"], strict=True))
    assert sorted(m.keys()) == sorted(m) == list(range(1, 11))
    del m[3]
    with pytest.raises(KeyError):
        del m[3]
    with pytest.raises(KeyError):
        m[3]
    assert m.pop(4) == 16
    assert m.pop(4, None) is None
    assert len(m) == 8
    m.clear()
    assert len(m.df) == 0


def test_a_frame_of_a_map_says_how_complete_it_is(elf: BpfElf, loaded: LocalObject) -> None:
    m = MapFrame(
        "numbers", loaded, loaded.maps["numbers"], elf.btf, provenance={"object": "maps"}, lost=lambda: 3
    )
    m.update({n: n for n in range(25)})
    attrs = m.df.attrs["bpfnb"]
    assert {k: attrs[k] for k in ("object", "name", "kind", "rows", "entries", "max_entries", "fill", "lost")} == {
        "object": "maps", "name": "numbers", "kind": "hash", "rows": 25, "entries": 25, "max_entries": 100,
        "fill": 0.25, "lost": 3,
    }  # fmt: skip
    assert (attrs["lost_by"], attrs["complete"]) == ({"full": 3}, False)
    assert m.arrow().schema.metadata[b"bpfnb"]


def test_full_and_wrong_types_have_their_own_errors(maps: dict[str, MapFrame]) -> None:
    m = maps["numbers"]
    m.update(dict.fromkeys(range(100), 0))
    with pytest.raises(MapFull, match="100"):
        m[100] = 1
    for key, value in (("a", 1), (1, "b"), (-1, 1), (1, -1), (1 << 32, 1), (1, 1 << 64), (1, None)):
        with pytest.raises(MapTypeError, match="numbers"):
            m[key] = value
    with pytest.raises(MapTypeError, match="colour"):
        maps["structs"][(1, 1)] = {"colour": 1}
    with pytest.raises(MapError):
        maps["table"][5] = (0, 0)


def test_structs_as_keys_and_values(maps: dict[str, MapFrame]) -> None:
    m = maps["structs"]
    m[{"pid": 7, "cpu": 1}] = {"count": 5, "pid": 9, "state": "MF_BUSY", "name": "seven", "last": 0}
    m[8, 0] = {"count": 6, "state": 3}
    df = m.df.sort_values("count", ignore_index=True)
    assert list(df.columns) == ["key_pid", "cpu", "count", "value_pid", "state", "name", "last"]
    assert df["key_pid"].tolist() == [7, 8]
    assert df["value_pid"].tolist() == [9, 0]
    assert df["state"].tolist() == ["MF_BUSY", "3"]
    assert isinstance(df["state"].dtype, pd.CategoricalDtype)
    assert df["name"].tolist() == ["seven", ""]
    assert m[7, 1]["name"] == "seven"
    assert m.frame(raw=True).sort_values("count")["state"].tolist() == [1, 3]


def test_arrays_have_the_index_as_index(maps: dict[str, MapFrame]) -> None:
    m = maps["table"]
    m[3] = {"x": -1, "y": 2}
    df = m.df
    assert (df.index.name, df.index.tolist(), len(m)) == ("key", [0, 1, 2, 3, 4], 5)
    assert df.loc[3].tolist() == [-1, 2]
    assert df["x"].dtype == np.int32
    assert m.fill is None
    m.clear()
    assert not m.df.to_numpy().any()


def test_per_cpu_maps_are_summed_or_kept_apart(maps: dict[str, MapFrame], loaded: LocalObject) -> None:
    m = maps["counts"]
    cpus = loaded.maps["counts"].cpus
    each = [(1 << 31) + cpu for cpu in range(cpus)]
    m[1] = each
    m[2] = 5
    assert (m[1], m[2], m.percpu[1], m.percpu[2]) == (sum(each), 5, each, [5] + [0] * (cpus - 1))
    df = m.df.set_index("key")
    assert df["value"].to_dict() == {1: sum(each), 2: 5}
    apart = m.percpu.df
    assert list(apart.columns) == ["key", "cpu", "value"]
    assert apart[apart["key"] == 1]["value"].tolist() == each
    assert apart["cpu"].tolist() == list(range(cpus)) * 2
    with pytest.raises(MapTypeError, match="CPUs"):
        m[1] = [1] * (cpus + 1)
    with pytest.raises(MapError, match="all CPUs"):
        _ = maps["numbers"].percpu
    if cpus > 1:
        loaded.test_run("fill", flags=1, cpu=1)
        assert m.percpu[1] == [each[0], each[1] + 10, *each[2:]]


def test_per_cpu_structs_add_numbers_and_keep_names(maps: dict[str, MapFrame], loaded: LocalObject) -> None:
    m = maps["slots"]
    cpus = loaded.maps["slots"].cpus
    m[1] = [{"count": 0}] + [{"count": 10, "pid": 3, "state": "MF_GONE", "name": "cpu", "last": 5}] * (
        cpus - 1
    )
    row = m.df.loc[1]
    total = 10 * (cpus - 1)
    assert (row["count"], row["pid"]) == (total, 3 * (cpus - 1))
    if cpus > 1:
        assert (row["state"], row["name"]) == ("MF_GONE", "cpu")
        value = m[1]
        assert (value["count"], value["name"], value["state"]) == (total, "cpu", "MF_GONE")
    assert len(m.percpu.df) == 3 * cpus


def test_prefixes_queues_and_filters(maps: dict[str, MapFrame]) -> None:
    routes = maps["routes"]
    routes["10.0.0.0/8"] = 1
    routes[{"prefixlen": 16, "address": b"\x0a\x01\0\0"}] = 2
    assert (routes["10.9.9.9/32"], routes["10.1.2.3/32"], routes.get("11.0.0.1/32")) == (1, 2, None)
    assert sorted(routes.df["prefixlen"]) == [8, 16]

    queue, pile = maps["queue"], maps["pile"]
    for n in range(4):
        queue.push(n)
        pile.push((n, -n))
    with pytest.raises(MapFull):
        queue.push(9)
    assert queue.df["value"].tolist() == [0]
    assert [queue.pop() for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(IndexError, match="empty"):
        queue.pop()
    assert pile.pop() == {"x": 3, "y": -3}
    assert pile.df["x"].tolist() == [2]
    pile.clear()
    assert len(pile) == 0

    bloom = maps["bloom"]
    bloom.push(4711)
    assert 4711 in bloom
    assert sum(n in bloom for n in range(100)) < 30
    with pytest.raises(MapError, match="bloom"):
        _ = bloom.df
    with pytest.raises(MapError, match="numbers"):
        maps["numbers"].push(1)


def test_stack_traces(maps: dict[str, MapFrame], loaded: LocalObject) -> None:
    loaded.test_run("fill")
    df = maps["stacks"].df
    assert list(df.columns) == ["stack_id", "frames"]
    assert len(df) == 1
    frames = list(df["frames"][0])
    assert len(frames) >= 3
    assert all(address > 1 << 63 for address in frames)
    assert maps["stacks"][int(df["stack_id"][0])] == frames


def test_maps_of_maps(maps: dict[str, MapFrame], loaded: LocalObject) -> None:
    maps["inner_a"][1] = (10, 20)
    maps["by_name"][77] = maps["inner_b"]
    assert maps["by_name"].df["map_id"].tolist() == [loaded.maps["inner_b"].id]
    assert maps["by_index"].df["map_id"].iloc[0] == loaded.maps["inner_a"].id
    inner = maps["by_index"].inner(0)
    assert inner[1] == {"x": 10, "y": 20}
    assert inner.df.iloc[0].tolist() == [1, 10, 20]
    maps["by_name"].inner(77)[5] = {"x": 1, "y": 2}
    assert maps["inner_b"][5] == {"x": 1, "y": 2}
    with pytest.raises(KeyError):
        maps["by_name"].inner(78)
    with pytest.raises(MapTypeError, match="map"):
        maps["by_name"][1] = "inner"


def test_program_arrays_show_program_ids(maps: dict[str, MapFrame]) -> None:
    assert list(maps["jumps"].df.columns) == ["key", "prog_id"]
    assert len(maps["jumps"].df) == 0


def test_storages_by_owner(maps: dict[str, MapFrame]) -> None:
    tasks = maps["tasks"]
    assert tasks.get(os.getpid()) is None
    tasks[os.getpid()] = 12
    assert tasks[os.getpid()] == 12
    del tasks[os.getpid()]
    assert os.getpid() not in tasks
    with pytest.raises(MapError, match="be listed"):
        _ = tasks.df
    with socket.socket() as s:
        maps["sockets"][s] = 34
        assert maps["sockets"][s] == maps["sockets"][s.fileno()] == 34
    with pytest.raises(MapTypeError):
        _ = tasks[1.5]


def test_types_that_btf_does_not_know(maps: dict[str, MapFrame]) -> None:
    m = maps["untyped"]
    m[b"abc"] = 258
    assert m[b"abc"] == 258
    df = m.df
    assert (df["key"].tolist(), df["value"].tolist()) == ([b"abc"], [258])
    assert df["value"].dtype == np.uint32
    with pytest.raises(MapTypeError, match="untyped"):
        m[b"ab"] = 1


def test_user_ring_buffers_are_written(maps: dict[str, MapFrame], loaded: LocalObject) -> None:
    m = maps["commands"]
    rounds = 1000  # of 16 bytes each: around the ring several times
    for n in range(rounds):
        m.push(struct.pack("=Q", n))
        if n % 100 == 99:
            loaded.test_run("take_commands")
    bss = next(info.name for info in loaded.maps.values() if info.internal == ".bss")
    assert struct.unpack("=QQ", loaded.read_bytes(bss, 0, 16)) == (rounds, sum(range(rounds)))
    for _ in range(4096 // 16):
        m.push(bytes(8))
    with pytest.raises(MapFull, match="commands"):
        m.push(bytes(8))


def test_arrow_and_the_end(maps: dict[str, MapFrame], loaded: LocalObject) -> None:
    m = maps["recent"]
    m.update({n: -n for n in range(20)})
    table = pa.table(m)
    assert dict(zip(table["key"].to_pylist(), table["value"].to_pylist(), strict=True)) == {
        n: -n for n in range(20)
    }
    df = m.df
    df.loc[:, "value"] = 0
    assert m[5] == -5
    loaded.close()
    assert len(df) == 20
    with pytest.raises(ObjectClosed):
        _ = m.df
