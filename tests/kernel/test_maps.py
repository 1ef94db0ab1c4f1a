"""Every map type's contents, exactly: written by programs or from outside, read whole and singly."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from workloads import Worker, load, new_cgroup, u64

from bpfnb.errors import MapError, MapFull, MapTypeError, ObjectClosed, UnknownName
from bpfnb.kernel.system import possible_cpus


def k32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def k64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def one_map(kind: str, extra: str = "", key: str = "u32", value: str = "u64", entries: int = 16):
    """An object with one map ``m`` and a program that uses it, as libbpf leaves out maps that none uses."""
    types = (f"__type(key, {key}); " if key else "") + (f"__type(value, {value});" if value else "")
    return load(
        f"struct {{ __uint(type, BPF_MAP_TYPE_{kind}); {types} __uint(max_entries, {entries}); {extra} }}"
        f' m SEC(".maps");\nSEC("tp/syscalls/sys_enter_getppid") int prog(void *ctx) {{ return &m == 0; }}'
    )


def contents(obj, name: str = "m") -> dict[bytes, bytes]:
    keys, values = obj.read_all(name)
    assert len(keys) == len(values)
    found = {k.tobytes(): v.tobytes() for k, v in zip(keys, values, strict=True)}
    assert len(found) == len(keys)  # each key once
    return found


@pytest.mark.parametrize("extra", ["", "__uint(map_flags, BPF_F_NO_PREALLOC);"])
@pytest.mark.parametrize("kind", ["HASH", "LRU_HASH"])
def test_hash(kind, extra):
    if kind == "LRU_HASH" and extra:
        extra = "__uint(map_flags, BPF_F_NO_COMMON_LRU);"
    with one_map(kind, extra, entries=1000) as obj:
        assert contents(obj) == {}
        expected = {k32(n): k64(n * n) for n in range(0, 300, 3)}
        for key, value in expected.items():
            obj.update("m", key, value)
        assert contents(obj) == expected
        assert obj.lookup("m", k32(9)) == k64(81)
        assert obj.lookup("m", k32(10)) is None
        assert obj.delete("m", k32(9))
        assert not obj.delete("m", k32(9))
        assert obj.lookup("m", k32(9)) is None
        assert len(contents(obj)) == len(expected) - 1


def test_hash_of_odd_sizes():
    with one_map("HASH", key="char[13]", value="char[3]", entries=100) as obj:
        expected = {bytes([n]) * 13: bytes([n, 0, n]) for n in range(100)}
        for key, value in expected.items():
            obj.update("m", key, value)
        assert contents(obj) == expected


def test_hash_full_exists_missing():
    with one_map("HASH", entries=4) as obj:
        for n in range(4):
            obj.update("m", k32(n), k64(n), flags=1)
        with pytest.raises(MapFull, match="max_entries = 4") as full:
            obj.update("m", k32(4), k64(4))
        assert full.value.map == "m"
        assert full.value.hints
        with pytest.raises(MapError, match="exists already"):
            obj.update("m", k32(0), k64(0), flags=1)
        with pytest.raises(MapError, match="does not exist"):
            obj.update("m", k32(9), k64(0), flags=2)
        obj.update("m", k32(3), k64(33))
        assert obj.lookup("m", k32(3)) == k64(33)


def test_sizes_are_checked():
    with one_map("HASH") as obj:
        with pytest.raises(MapTypeError, match="key of 'm' has 4 bytes, not 8"):
            obj.update("m", k64(1), k64(1))
        with pytest.raises(MapTypeError, match="value of 'm' has 8 bytes, not 4"):
            obj.update("m", k32(1), k32(1))
        with pytest.raises(MapTypeError):
            obj.lookup("m", b"")
        with pytest.raises(UnknownName, match="'mm'"):
            obj.lookup("mm", k32(1))
        assert contents(obj) == {}


@pytest.mark.parametrize("kind", ["PERCPU_HASH", "LRU_PERCPU_HASH"])
@pytest.mark.parametrize("value", ["u64", "u32"])
def test_percpu_hash(kind, value):
    cpus = possible_cpus()
    with one_map(kind, value=value, entries=64) as obj:
        assert obj.maps["m"].cpus == cpus
        size = 8 if value == "u64" else 4
        assert obj.maps["m"].value_size == size
        each = [n + 5 for n in range(cpus)]
        obj.update("m", k32(7), b"".join(k64(n) for n in each))
        assert contents(obj) == {k32(7): b"".join(k64(n) for n in each)}
        _, values = obj.read_all("m")
        assert values.view(np.uint64).tolist() == [each]
        with pytest.raises(MapTypeError, match=f"{cpus} values"):
            obj.update("m", k32(7), bytes(size + 8 * cpus))


def test_percpu_hash_counts_on_every_cpu():
    source = """
    const volatile u32 wanted;
    struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __type(key, u32); __type(value, u64);
             __uint(max_entries, 8); } m SEC(".maps");
    SEC("tp/syscalls/sys_enter_getppid") int prog(void *ctx)
    {
        u32 key = 1; u64 one = 1, *seen;
        if (bpf_get_current_pid_tgid() >> 32 != wanted) return 0;
        seen = bpf_map_lookup_elem(&m, &key);
        if (seen) ++*seen; else bpf_map_update_elem(&m, &key, &one, BPF_NOEXIST);
        return 0;
    }
    """
    with Worker() as worker, load(source, wanted=worker.pid) as obj:
        obj.attach("prog")
        for cpu in os.sched_getaffinity(0):
            worker.run(f"os.sched_setaffinity(0, [{cpu}]); getppid(1000)")
        _, values = obj.read_all("m")
        per_cpu = values.view(np.uint64)[0]
        assert per_cpu.sum() == 1000 * len(os.sched_getaffinity(0))
        assert all(per_cpu[cpu] == 1000 for cpu in os.sched_getaffinity(0))


@pytest.mark.parametrize("extra", ["", "__uint(map_flags, BPF_F_MMAPABLE);"])
@pytest.mark.parametrize(("value", "size"), [("u64", 8), ("char[12]", 12)])
def test_array(extra, value, size):
    with one_map("ARRAY", extra, value=value, entries=600) as obj:
        expected = {k32(n): bytes(size) for n in range(600)}
        for n in (0, 5, 599):
            expected[k32(n)] = bytes([n % 256]) * size
            obj.update("m", k32(n), expected[k32(n)])
        assert contents(obj) == expected
        with pytest.raises(MapError, match="0 to 599"):
            obj.update("m", k32(600), bytes(size))
        assert obj.lookup("m", k32(600)) is None


def test_percpu_array():
    cpus = possible_cpus()
    with one_map("PERCPU_ARRAY", value="u32", entries=5) as obj:
        obj.update("m", k32(3), b"".join(k64(n + 1) for n in range(cpus)))
        found = contents(obj)
        assert list(found) == [k32(n) for n in range(5)]
        assert found[k32(3)] == b"".join(k64(n + 1) for n in range(cpus))
        assert found[k32(4)] == bytes(8 * cpus)


def test_lpm_trie_matches_the_longest_prefix():
    source = """
    struct prefix { u32 length; u8 address[4]; };
    struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __type(key, struct prefix); __type(value, u32);
             __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 64); } m SEC(".maps");
    SEC("tp/syscalls/sys_enter_getppid") int prog(void *ctx) { return &m == 0; }
    """
    with load(source) as obj:
        nets = {"10.0.0.0/8": 1, "10.1.0.0/16": 2, "10.1.2.0/24": 3, "0.0.0.0/0": 4, "192.168.1.1/32": 5}
        expected = {}
        for net, number in nets.items():
            address, _, length = net.partition("/")
            expected[k32(int(length)) + socket.inet_aton(address)] = k32(number)
        for key, value in expected.items():
            obj.update("m", key, value)
        assert contents(obj) == expected
        for address, number in {
            "10.1.2.9": 3,
            "10.1.9.9": 2,
            "10.9.9.9": 1,
            "8.8.8.8": 4,
            "192.168.1.1": 5,
        }.items():
            assert obj.lookup("m", k32(32) + socket.inet_aton(address)) == k32(number)


def test_stack_trace_holds_the_stacks_of_its_ids():
    source = """
    const volatile u32 wanted;
    s64 id;
    struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); __uint(value_size, 127 * 8);
             __uint(max_entries, 256); } m SEC(".maps");
    SEC("tp/syscalls/sys_enter_getppid") int prog(void *ctx)
    {
        if (bpf_get_current_pid_tgid() >> 32 == wanted)
            id = bpf_get_stackid(ctx, &m, BPF_F_USER_STACK);
        return 0;
    }
    """
    with Worker() as worker, load(source, wanted=worker.pid) as obj:
        obj.attach("prog")
        worker.run("getppid(3)")
        found = contents(obj)
        stack_id = u64(obj.read_bytes(".bss", 0, 8))
        assert k32(stack_id) in found
        stack = np.frombuffer(found[k32(stack_id)], np.uint64)
        assert len(stack) == 127
        low, high = next(
            (int(line.split("-")[0], 16), int(line.split("-")[1].split()[0], 16))
            for line in Path(f"/proc/{worker.pid}/maps").read_text().splitlines()
            if "libc.so" in line and "r-xp" in line
        )
        assert low <= int(stack[0]) < high  # the system call is made in the C library
        assert obj.delete("m", k32(stack_id))


@pytest.mark.parametrize(("kind", "order"), [("QUEUE", [1, 2, 3]), ("STACK", [3, 2, 1])])
def test_queue_and_stack(kind, order):
    with one_map(kind, key="", entries=3) as obj:
        assert obj.pop("m") is None
        assert obj.read_all("m")[1].shape == (0, 8)
        for n in (1, 2, 3):
            obj.update("m", b"", k64(n))
        with pytest.raises(MapFull):
            obj.update("m", b"", k64(4))
        keys, values = obj.read_all("m")  # the head alone: more cannot be seen without taking it
        assert keys.shape == (1, 0)
        assert values.tobytes() == k64(order[0])
        assert obj.lookup("m", b"") == k64(order[0])
        assert [u64(obj.pop("m")) for _ in range(3)] == order
        assert obj.pop("m") is None


def test_bloom_filter_knows_members_only():
    with one_map("BLOOM_FILTER", key="", entries=1000) as obj:
        for n in range(100):
            obj.update("m", b"", k64(n))
        assert all(obj.lookup("m", k64(n)) == k64(n) for n in range(100))
        false_positives = sum(obj.lookup("m", k64(n)) is not None for n in range(1000, 2000))
        assert false_positives < 300
        with pytest.raises(MapError, match="no entries that can be listed"):
            obj.read_all("m")
        with pytest.raises(MapTypeError):
            obj.lookup("m", k32(1))


OUTER = """
struct inner { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u64); __uint(max_entries, 4); };
struct inner first SEC(".maps"), second SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_%s); __uint(max_entries, 4); __type(key, u32);
         __array(values, struct inner); } outer SEC(".maps") = { .values = { [0] = &first, [2] = &second } };
SEC("tp/syscalls/sys_enter_getppid") int prog(void *ctx) { return &outer == 0; }
"""


@pytest.mark.parametrize("kind", ["ARRAY_OF_MAPS", "HASH_OF_MAPS"])
def test_maps_of_maps(kind):
    with load(OUTER % kind) as obj:
        info = obj.maps["outer"]
        assert info.inner is not None
        assert (info.inner.kind, info.inner.key_size, info.inner.value_size) == ("hash", 4, 8)
        found = contents(obj, "outer")
        assert found == {k32(0): k32(obj.maps["first"].id), k32(2): k32(obj.maps["second"].id)}
        obj.update("second", k32(1), k64(42))
        name = obj.open_map(obj.maps["second"].id)
        assert contents(obj, name) == {k32(1): k64(42)}
        assert obj.map_info(name).kind == "hash"
        obj.update("outer", k32(0), k32(obj.maps["second"].fd))
        assert contents(obj, "outer")[k32(0)] == k32(obj.maps["second"].id)
        with pytest.raises(MapError, match="no map with id"):
            obj.open_map(2**31)


def test_prog_array_holds_program_ids():
    source = """
    u64 seen;
    struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, u32);
             __array(values, int(void *)); } calls SEC(".maps");
    SEC("tc") int callee(struct __sk_buff *ctx) { seen++; return 9; }
    SEC("tc") int caller(struct __sk_buff *ctx) { bpf_tail_call(ctx, &calls, 2); return 1; }
    """
    with load(source) as obj:
        assert obj.test_run("caller", bytes(64))[0] == 1
        assert contents(obj, "calls") == {}
        fd = obj._program("callee", {}).fd
        obj.update("calls", k32(2), k32(fd))
        assert contents(obj, "calls") == {k32(2): k32(obj.programs["callee"].id)}
        assert obj.test_run("caller", bytes(64))[0] == 9
        assert u64(obj.read_bytes(".bss", 0, 8)) == 1
        assert obj.delete("calls", k32(2))


def test_prog_array_set_in_the_source():
    source = """
    SEC("tc") int callee(struct __sk_buff *ctx) { return 9; }
    struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, u32);
             __array(values, int(void *)); } calls SEC(".maps") = { .values = { [1] = (void *)&callee } };
    SEC("tc") int caller(struct __sk_buff *ctx) { bpf_tail_call(ctx, &calls, 1); return 1; }
    """
    with load(source) as obj:
        assert contents(obj, "calls") == {k32(1): k32(obj.programs["callee"].id)}
        assert obj.test_run("caller", bytes(64))[0] == 9


STORAGE = """
const volatile u32 wanted;
struct { __uint(type, BPF_MAP_TYPE_%s); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int);
         __type(value, u64); } m SEC(".maps");
"""


def test_task_storage_by_process_id():
    source = (
        STORAGE % "TASK_STORAGE"
        + """
    SEC("tp_btf/sys_enter") int BPF_PROG(prog, struct pt_regs *regs, long id)
    {
        struct task_struct *task = bpf_get_current_task_btf();
        if (id != 110 || task->tgid != wanted) return 0;
        u64 *value = bpf_task_storage_get(&m, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
        if (value) ++*value;
        return 0;
    }
    """
    )
    with Worker() as worker, Worker() as other, load(source, wanted=worker.pid) as obj:
        obj.attach("prog")
        worker.run("getppid(250)")
        assert obj.lookup("m", k32(worker.pid)) == k64(250)
        assert obj.lookup("m", k32(other.pid)) is None
        obj.update("m", k32(other.pid), k64(5))
        assert obj.lookup("m", k32(other.pid)) == k64(5)
        assert obj.delete("m", k32(other.pid))
        with pytest.raises(MapError, match="no such process"):
            obj.lookup("m", k32(2**22 - 1))
        with pytest.raises(MapError, match="be listed"):
            obj.read_all("m")


def test_cgroup_storage_by_path_id_and_descriptor():
    source = (
        STORAGE % "CGRP_STORAGE"
        + """
    SEC("tp_btf/sys_enter") int BPF_PROG(prog, struct pt_regs *regs, long id)
    {
        struct task_struct *task = bpf_get_current_task_btf();
        if (id != 110 || task->tgid != wanted) return 0;
        u64 *value = bpf_cgrp_storage_get(&m, task->cgroups->dfl_cgrp, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
        if (value) ++*value;
        return 0;
    }
    """
    )
    with new_cgroup() as cgroup, Worker(cgroup=cgroup) as worker, load(source, wanted=worker.pid) as obj:
        obj.attach("prog")
        worker.run("getppid(120)")
        assert obj.lookup("m", os.fsencode(cgroup)) == k64(120)
        assert obj.lookup("m", k64(cgroup.stat().st_ino)) == k64(120)
        fd = os.open(cgroup, os.O_RDONLY)
        assert obj.lookup("m", k32(fd)) == k64(120)
        os.close(fd)
        assert obj.lookup("m", os.fsencode(cgroup.parent)) is None
        with pytest.raises(MapError, match="no such cgroup"):
            obj.lookup("m", k64(2**40))
        obj.detach(1)


def test_socket_storage_by_descriptor():
    source = (
        STORAGE % "SK_STORAGE"
        + """
    SEC("cgroup/connect4") int prog(struct bpf_sock_addr *ctx)
    {
        struct bpf_sock *sk = ctx->sk;
        if (bpf_get_current_pid_tgid() >> 32 != wanted || !sk) return 1;
        u64 *value = bpf_sk_storage_get(&m, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
        if (value) *value = ctx->user_port;
        return 1;
    }
    """
    )
    with load(source, wanted=os.getpid()) as obj, socket.create_server(("127.0.0.1", 0)) as server:
        obj.attach("prog")
        with socket.create_connection(server.getsockname()) as client:
            port = u64(obj.lookup("m", k32(client.fileno())))
            assert socket.ntohs(port) == server.getsockname()[1]
            assert obj.lookup("m", k32(server.fileno())) is None
        with pytest.raises(MapError, match="no descriptor of a socket"):
            obj.lookup("m", k32(10_000))


def test_inode_storage_by_path_and_descriptor(tmp_path):
    source = (
        STORAGE % "INODE_STORAGE"
        + """
    SEC("tp_btf/sys_enter") int BPF_PROG(prog, struct pt_regs *regs, long id) { return wanted == 1 && &m == 0; }
    """
    )
    path = tmp_path / "file"
    path.write_text("x")
    with load(source) as obj, path.open() as file:
        assert obj.lookup("m", os.fsencode(path)) is None
        try:
            obj.update("m", k32(file.fileno()), k64(77))
        except MapError as error:
            pytest.skip(f"this kernel keeps no storage on inodes: {error}")
        assert obj.lookup("m", k32(file.fileno())) == k64(77)
        assert obj.lookup("m", os.fsencode(path)) == k64(77)


@pytest.mark.parametrize("kind", ["CGROUP_STORAGE", "PERCPU_CGROUP_STORAGE"])
def test_attached_cgroup_storage(kind):
    source = f"""
    struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __type(key, struct bpf_cgroup_storage_key); __type(value, u64); }}
        m SEC(".maps");
    SEC("cgroup/sock_create") int prog(struct bpf_sock *ctx)
    {{
        u64 *value = bpf_get_local_storage(&m, 0);
        __sync_fetch_and_add(value, 1);
        return 1;
    }}
    """
    with new_cgroup() as cgroup, Worker(cgroup=cgroup) as worker, load(source) as obj:
        obj.attach("prog", cgroup=str(cgroup))
        worker.run("for _ in range(30): socket.socket().close()")
        found = contents(obj)
        (key, value), *rest = found.items()
        assert not rest
        assert u64(key[:8]) == cgroup.stat().st_ino
        assert np.frombuffer(value, np.uint64).sum() == 30


@pytest.mark.parametrize("kind", ["SOCKMAP", "SOCKHASH"])
def test_socket_maps(kind):
    with (
        one_map(kind, entries=8) as obj,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as peer,
    ):
        for index, member in enumerate((client, peer)):
            obj.update("m", k32(index), k64(member.fileno()))
        cookies = [s.getsockopt(socket.SOL_SOCKET, 57, 8) for s in (client, peer)]
        assert contents(obj) == {k32(0): cookies[0], k32(1): cookies[1]}
        assert obj.delete("m", k32(0))
        assert contents(obj) == {k32(1): cookies[1]}


@pytest.mark.parametrize("kind", ["DEVMAP", "DEVMAP_HASH", "CPUMAP"])
def test_redirection_maps(kind):
    entries = possible_cpus() if kind == "CPUMAP" else 8
    value = k32(256) if kind == "CPUMAP" else k32(socket.if_nametoindex("lo"))
    with one_map(kind, value="u32", entries=entries) as obj:
        assert contents(obj) == {} or set(contents(obj).values()) == {bytes(4)}
        obj.update("m", k32(1), value)
        assert contents(obj)[k32(1)] == value
        assert obj.lookup("m", k32(1)) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [("RINGBUF", ""), ("PERF_EVENT_ARRAY", "int"), ("XSKMAP", "u32"), ("CGROUP_ARRAY", "u32")],
)
def test_maps_without_readable_entries(kind, value):
    key = "" if kind == "RINGBUF" else "u32"
    with one_map(kind, key=key, value=value, entries=4096) as obj:
        assert obj.maps["m"].kind == kind.lower()
        assert obj.maps["m"].max_entries == 4096
        with pytest.raises(MapError, match=r"no entries that can be listed|does not offer"):
            obj.read_all("m")


def test_user_ring_buffer_and_ring_buffer_are_opened():
    source = """
    struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } down SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } up SEC(".maps");
    static long each(struct bpf_dynptr *record, void *ctx)
    {
        u64 value = 0;
        bpf_dynptr_read(&value, sizeof(value), record, 0, 0);
        value *= 2;
        bpf_ringbuf_output(&up, &value, sizeof(value), 0);
        return 0;
    }
    SEC("syscall") int prog(void *ctx) { return bpf_user_ringbuf_drain(&down, each, 0, 0); }
    """
    with load(source) as obj:
        assert obj.write_user_ring("down", [k64(n) for n in (1, 20, 300)]) == 3
        assert obj.test_run("prog")[0] == 3
        reader = obj.reader("up")
        records = [row.tobytes()[:8] for batch in reader.drain() for row in batch.data]
        reader.close()
        assert [u64(r) for r in records] == [2, 40, 600]
        with pytest.raises(MapError, match="not a ring or perf buffer"):
            obj.reader("down")
        with pytest.raises(MapError, match="not a user ring buffer"):
            obj.write_user_ring("up", [b"x"])


def test_global_variables_are_memory():
    source = """
    u64 counter = 5;
    char text[16] = "hello";
    u32 zero;
    const volatile u64 fixed = 7;
    SEC("syscall") int prog(void *ctx) { counter += fixed; zero = text[0]; return 0; }
    """
    with load(source) as obj:
        assert obj.maps[".data"].internal == ".data"
        offset = obj.read_bytes(".data", 0, obj.maps[".data"].value_size).index(b"hello")
        other = 0 if offset else 16
        assert u64(obj.read_bytes(".data", other, 8)) == 5
        obj.test_run("prog")
        assert u64(obj.read_bytes(".data", other, 8)) == 12
        obj.write_bytes(".data", other, k64(100))
        obj.write_bytes(".data", offset, b"J")
        obj.test_run("prog")
        assert u64(obj.read_bytes(".data", other, 8)) == 107
        assert u64(obj.read_bytes(".bss", 0, 4)) == ord("J")
        assert u64(obj.read_bytes(".rodata", 0, 8)) == 7
        with pytest.raises(MapError, match="read-only"):
            obj.write_bytes(".rodata", 0, k64(1))
        with pytest.raises(MapError, match="outside"):
            obj.read_bytes(".bss", 1, 8)


@pytest.mark.parametrize("extra", ["", "__uint(map_flags, BPF_F_MMAPABLE);"])
def test_bytes_of_an_array_with_one_entry(extra):
    with one_map("ARRAY", extra, value="char[32]", entries=1) as obj:
        obj.write_bytes("m", 8, b"abc")
        assert obj.read_bytes("m", 6, 8) == b"\0\0abc\0\0\0"
        assert obj.lookup("m", k32(0))[8:11] == b"abc"


def test_a_closed_object_says_so():
    obj = one_map("HASH")
    obj.close()
    obj.close()
    for call in (
        lambda: obj.read_all("m"),
        lambda: obj.lookup("m", k32(1)),
        lambda: obj.update("m", k32(1), k64(1)),
        lambda: obj.attach("prog"),
        lambda: obj.stats(),
        lambda: obj.test_run("prog"),
        lambda: obj.reader("m"),
        lambda: obj.read_bytes("m", 0, 1),
        lambda: obj.detach(1),
        lambda: obj.replace(1, obj, "prog"),
    ):
        with pytest.raises(ObjectClosed):
            call()
