"""Tables of bcc objects as frames: the values that were put in, with the types of the C text."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bpfnb
import bpfnb.bcc
from bpfnb import frames
from bpfnb.bcc.find import module
from bpfnb.bcc.headers import static_tree
from bpfnb.bcc.hook import BccWarning
from bpfnb.bcc.kernel import Kernel
from bpfnb.errors import BadValue, MapError
from bpfnb.frames import MapFrame, Stream
from bpfnb.kernel import syscall

pytestmark = pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning")  # bcc's, of itself

TEXT = r"""
#include <linux/sched.h>
struct key_t { pid_t pid; u32 low:3, high:5; char comm[TASK_COMM_LEN]; enum pid_type kind; };
struct data_t { u64 ts; pid_t pid; char comm[TASK_COMM_LEN]; u32 number; u16 few[3]; };
typedef struct { u32 answer; u64 question; } other_t;
BPF_HASH(counts, struct key_t, u64);
BPF_PERCPU_ARRAY(percpu, u64, 2);
BPF_HISTOGRAM(dist);
BPF_ARRAY(calls, u64, 1);
BPF_PERF_OUTPUT(events);
BPF_RINGBUF_OUTPUT(ring, 16);
BPF_PERF_OUTPUT(others);
BPF_STACK_TRACE(stacks, 64);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if ((u32)bpf_get_current_pid_tgid() != MY_TID) return 0;
    struct data_t d = {};
    struct key_t k = {};
    int zero = 0;
    u64 *call = calls.lookup(&zero);
    if (!call) return 0;
    d.number = *call;
    d.ts = bpf_ktime_get_ns();
    d.pid = bpf_get_current_pid_tgid() >> 32;
    d.few[1] = 7 + *call;
    bpf_get_current_comm(&d.comm, sizeof(d.comm));
    events.perf_submit(args, &d, sizeof(d));
    ring.ringbuf_output(&d, sizeof(d), 0);
    other_t o = {};
    o.answer = 42;
    o.question = 1ULL << 63;
    others.perf_submit(args, &o, sizeof(o));
    k.pid = d.pid;
    k.low = 5;
    k.high = 17;
    k.kind = PIDTYPE_SID;
    __builtin_memcpy(&k.comm, &d.comm, sizeof(k.comm));
    counts.increment(k);
    dist.increment(bpf_log2l(*call + 1));
    percpu.increment(1, 3);
    stacks.get_stackid(args, 0);
    *call += 1;
    return 0;
}
"""
CALLS = 5


@pytest.fixture(scope="module")
def program(bcc_installed: None) -> Iterator[Any]:
    """A BPF object whose tables were turned into frames before its program ran five times."""
    made = bpfnb.bcc.compile(TEXT, cflags=[f"-DMY_TID={threading.get_native_id()}"])
    for name in ("events", "ring", "others"):
        frames.of(made[name])
    for _ in range(CALLS):
        ctypes.CDLL(None).getppid()
    yield made
    made.cleanup()
    bpfnb.bcc.disable()


def drained(table: Any) -> Stream:
    stream = frames.of(table)
    assert isinstance(stream, Stream)
    stream.drain()
    return stream


@pytest.mark.parametrize("name", ["events", "ring"])
def test_records_of_perf_and_ring_buffers(program: Any, name: str) -> None:
    frame = drained(program[name]).df
    assert list(frame.columns) == ["ts", "pid", "comm", "number", "few.0", "few.1", "few.2"]
    assert frame["number"].tolist() == list(range(CALLS))
    assert frame["few.1"].tolist() == [7 + number for number in range(CALLS)]
    assert set(frame["pid"]) == {os.getpid()}
    assert frame["pid"].dtype == "int32"
    assert frame["ts"].is_monotonic_increasing
    comm = Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip()
    assert set(frame["comm"]) == {comm}


def test_records_of_a_typedef_without_a_tag(program: Any) -> None:
    frame = drained(program["others"]).df
    assert frame["answer"].tolist() == [42] * CALLS
    assert frame["question"].tolist() == [1 << 63] * CALLS


def test_maps_have_the_programs_types(program: Any) -> None:
    frame = frames.of(program["counts"]).df
    (row,) = frame.to_dict("records")
    comm = row.pop("comm")
    assert row == {"pid": os.getpid(), "low": 5, "high": 17, "kind": "PIDTYPE_SID", "value": CALLS}
    assert comm == drained(program["events"]).df["comm"].iloc[0]
    assert frame["value"].iloc[0] == next(iter(program["counts"].values())).value


def test_arrays_histograms_and_per_cpu_maps(program: Any) -> None:
    assert frames.of(program["calls"]).df["value"].tolist() == [CALLS]
    dist = frames.of(program["dist"]).df["value"]
    assert {slot: count for slot, count in dist.items() if count} == {1: 1, 2: 2, 3: 2}
    percpu = frames.of(program["percpu"])
    assert isinstance(percpu, MapFrame)
    assert percpu.df["value"].tolist() == [0, 3 * CALLS]
    assert percpu.percpu.df["value"].sum() == 3 * CALLS


def test_stack_traces_are_lists_of_addresses(program: Any) -> None:
    frame = frames.of(program["stacks"]).df
    assert len(frame) >= 1
    ours = list(program["stacks"].walk(int(frame["stack_id"].iloc[0])))
    assert list(frame["frames"].iloc[0]) == ours


def test_the_same_table_gives_the_same_frame(program: Any) -> None:
    assert frames.of(program["counts"]) is frames.of(program["counts"])
    assert frames.of(program["ring"]) is frames.of(program["ring"])


def test_entries_written_through_one_side_are_seen_by_the_other(program: Any) -> None:
    calls = frames.of(program["calls"])
    assert isinstance(calls, MapFrame)
    before = calls[0]
    calls[0] = 77
    assert program["calls"][ctypes.c_int(0)].value == 77
    program["calls"][ctypes.c_int(0)] = ctypes.c_ulonglong(before)
    assert calls[0] == before


def test_frames_outlive_the_object() -> None:
    made = bpfnb.bcc.compile("BPF_HASH(h, u32, u64);")
    made["h"][ctypes.c_uint32(4)] = ctypes.c_uint64(44)
    frame = frames.of(made["h"])
    made.cleanup()
    del made
    assert frame.df.to_dict("records") == [{"key": 4, "value": 44}]


def test_an_object_that_was_made_without_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its maps are typed; the records of its buffers, whose struct its BTF lacks, are bytes."""
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(static_tree(Kernel.running())))
    bpfnb.bcc.disable()
    made = module().BPF(text=TEXT.encode(), cflags=[f"-DMY_TID={threading.get_native_id()}"])
    with pytest.warns(BccWarning, match=r"the records of 'ring' are bytes: .* before bpfnb.bcc.enable"):
        stream = drained(made["ring"])
    ctypes.CDLL(None).getppid()
    stream.drain()
    assert stream.df.attrs["bpfnb"]["uncounted"] == ["program"]
    counts = frames.of(made["counts"]).df
    assert counts["kind"].tolist() == ["PIDTYPE_SID"]
    data = stream.df["data"]
    assert [int.from_bytes(record[8:12], "little") for record in data] == [os.getpid()]
    made.cleanup()


@pytest.mark.parametrize(("pages", "room"), [(1, 4096 // 24), (4, 4 * 4096 // 24)])
def test_a_perf_buffer_of_as_many_pages_as_are_asked_for(program: Any, pages: int, room: int) -> None:
    """A record of 8 bytes takes 24: header, size, and what makes it a multiple of 8."""
    text = """
        BPF_PERF_OUTPUT(events);
        int fill(struct xdp_md *ctx) { u64 x = 1; events.perf_submit(ctx, &x, sizeof(x)); return 0; }
    """
    made = bpfnb.bcc.compile(text)
    fd = made.load_func("fill", made.XDP).fd
    with pytest.raises(BadValue, match="a power of two, for a perf buffer; not 3 for 'events'"):
        frames.of(made["events"], pages=3)
    stream = frames.of(made["events"], pages=pages)
    assert isinstance(stream, Stream)
    frames.pump.remove(stream)
    syscall.prog_test_run(fd, bytes(64), 0, b"", 400, 0, 0)
    assert stream.drain() == min(room, 400)
    assert stream.lost_by()["buffer"] == 400 - min(room, 400)
    stream.close()
    made.cleanup()


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(BadValue, match="no table of a bcc BPF object: dict"):
        frames.of({})


KINDS = r"""
enum color { RED, GREEN = 5, BLUE };
struct inner { u8 a; u32 b; };
union both { u32 word; u8 bytes[4]; };
struct key { u8 first; u64 second; char name[5]; struct inner in; u32 low:3, high:29; };
struct val { u64 n; enum color c; union both u; u16 tail; };
struct lpm { u32 prefixlen; u32 addr; };
struct each { u64 count; u32 cpu; };
typedef char name_t[8];
typedef struct { char disk[8]; u64 slot; } disk_key_t;
BPF_HASH(structs, struct key, struct val, 64);
BPF_HASH(texts, name_t, s64);
BPF_HASH(enums, enum color, u32);
BPF_HASH(unions, union both, u64);
BPF_ARRAY(array, struct val, 3);
BPF_HISTOGRAM(disks, disk_key_t);
BPF_PERCPU_ARRAY(percpu_array, struct each, 2);
BPF_PERCPU_HASH(percpu_hash, u32, u64);
BPF_TABLE("lru_hash", u32, u64, lru, 16);
BPF_TABLE("lru_percpu_hash", u32, u64, percpu_lru, 16);
BPF_LPM_TRIE(trie, struct lpm, u32);
BPF_QUEUE(queue, u64, 8);
BPF_STACK(stack, struct val, 8);
BPF_STACK_TRACE(stacks, 64);
BPF_STACK_TRACE_BUILDID(build_ids, 64);
BPF_PROG_ARRAY(progs, 4);
BPF_CGROUP_ARRAY(cgroups, 2);
BPF_DEVMAP(devices, 4);
BPF_CPUMAP(cpus, 4);
BPF_XSKMAP(sockets, 4);
BPF_ARRAY(small, u64, 4);
BPF_ARRAY_OF_MAPS(array_of_maps, "small", 2);
BPF_TABLE("hash", u32, u64, smaller, 8);
BPF_HASH_OF_MAPS(hash_of_maps, u32, "smaller", 4);
BPF_F_TABLE("hash", u32, u64, sparse, 8, BPF_F_NO_PREALLOC);
BPF_PERF_ARRAY(counters, 2);
int next_one(void *ctx) { return 0; }
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if ((u32)bpf_get_current_pid_tgid() != MY_TID) return 0;
    struct key k = { .first = 1, .second = 1ULL << 40, .in = { 3, 4 }, .low = 5, .high = 77 };
    __builtin_memcpy(k.name, "abcd", 5);
    struct val v = { .n = 9, .c = GREEN, .u = { 0x04030201 }, .tail = 12 };
    structs.update(&k, &v);
    name_t text = "hello";
    s64 negative = -4;
    texts.update(&text, &negative);
    enum color blue = BLUE;
    u32 two = 2;
    enums.update(&blue, &two);
    union both both = { 0x04030201 };
    u64 one = 1;
    unions.update(&both, &one);
    int last = 2, second = 1;
    array.update(&last, &v);
    disk_key_t disk = { .slot = bpf_log2l(100) };
    __builtin_memcpy(disk.disk, "vda", 4);
    disks.increment(disk);
    struct each *each = percpu_array.lookup(&second);
    if (each) each->count += 3;
    u32 eight = 8;
    u64 *found = percpu_hash.lookup_or_try_init(&eight, &one);
    if (found) *found += 4;
    lru.update(&eight, &one);
    percpu_lru.update(&eight, &one);
    sparse.update(&eight, &one);
    u64 call = 40 + v.n;
    queue.push(&one, 0);
    queue.push(&call, 0);
    stack.push(&v, 0);
    stacks.get_stackid(args, BPF_F_USER_STACK);
    build_ids.get_stackid(args, BPF_F_USER_STACK);
    return 0;
}
"""
VAL = {"n": 9, "c": "GREEN", "u.word": 0x04030201, "u": b"\x01\x02\x03\x04", "tail": 12}


@pytest.fixture(scope="module")
def kinds(bcc_installed: None) -> Iterator[Any]:
    """One table of each kind, after its program ran once."""
    made = bpfnb.bcc.compile(KINDS, cflags=[f"-DMY_TID={threading.get_native_id()}"])
    assert bpfnb.bcc.diagnostics(made) == ()
    ctypes.CDLL(None).getppid()
    yield made
    made.cleanup()
    bpfnb.bcc.disable()


KEY = {"first": 1, "second": 1 << 40, "name": "abcd", "in.a": 3, "in.b": 4, "low": 5, "high": 77}
ROWS: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("structs", "hash", [KEY | VAL]),  # without the padding, which is __p0 and so on in bcc's ctypes
    ("texts", "hash", [{"key": "hello", "value": -4}]),
    ("enums", "hash", [{"key": "BLUE", "value": 2}]),
    ("unions", "hash", [{"word": 0x04030201, "word|bytes": b"\x01\x02\x03\x04", "value": 1}]),
    ("disks", "hash", [{"disk": "vda", "slot": 7, "value": 1}]),
    ("percpu_hash", "percpu_hash", [{"key": 8, "value": 5}]),
    ("lru", "lru_hash", [{"key": 8, "value": 1}]),
    ("percpu_lru", "lru_percpu_hash", [{"key": 8, "value": 1}]),
    ("sparse", "hash", [{"key": 8, "value": 1}]),
    ("queue", "queue", [{"value": 1}]),  # its head: more would have to be taken out
    ("stack", "stack", [VAL]),
    ("progs", "prog_array", []),
    ("hash_of_maps", "hash_of_maps", []),
    ("devices", "devmap", []),
    ("cpus", "cpumap", []),
]


def frame_of_map(made: Any, name: str) -> MapFrame:
    frame = frames.of(made[name])
    assert isinstance(frame, MapFrame)
    return frame


@pytest.mark.parametrize(("name", "kind", "rows"), ROWS)
def test_entries_of_each_kind_of_table(kinds: Any, name: str, kind: str, rows: list[dict[str, Any]]) -> None:
    frame = frame_of_map(kinds, name)
    assert frame.kind == kind
    assert frame.df.to_dict("records") == rows
    assert frame.df.attrs["bpfnb"]["complete"]


def test_arrays_have_an_index(kinds: Any) -> None:
    frame = frame_of_map(kinds, "array").df
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.loc[2].to_dict() == VAL
    assert frame["n"].tolist() == [0, 0, 9]
    percpu = frame_of_map(kinds, "percpu_array")
    assert percpu.df["count"].tolist() == [0, 3]
    apart = percpu.percpu.df
    assert sorted(apart[apart.index == 1]["count"]) == [0] * (percpu.info.cpus - 1) + [3]


def test_tries_queues_and_maps_of_maps_from_both_sides(kinds: Any) -> None:
    trie = frame_of_map(kinds, "trie")
    trie["10.1.0.0/16"] = 7
    (found,) = kinds["trie"].items()
    assert (found[0].prefixlen, found[0].addr, found[1].value) == (16, 0x010A, 7)
    assert trie.df.to_dict("records") == [{"prefixlen": 16, "addr": 0x010A, "value": 7}]
    queue = frame_of_map(kinds, "queue")
    queue.push(6)
    assert [queue.pop() for _ in range(3)] == [1, 49, 6]
    outer = frame_of_map(kinds, "hash_of_maps")
    outer[5] = frame_of_map(kinds, "smaller")
    frame_of_map(kinds, "smaller")[3] = 33
    assert outer.df["key"].tolist() == [5]
    assert outer.df["map_id"].tolist() == [frame_of_map(kinds, "smaller").info.id]
    assert outer.inner(5)[3] == 33
    kinds["array_of_maps"][ctypes.c_int(1)] = ctypes.c_int(kinds["small"].map_fd)
    assert frame_of_map(kinds, "array_of_maps").df["map_id"].tolist() == [
        frame_of_map(kinds, "small").info.id
    ]


def test_programs_and_cgroups_put_into_arrays(kinds: Any) -> None:
    function = kinds.load_func("next_one", module().BPF.TRACEPOINT)
    kinds["progs"][ctypes.c_int(2)] = ctypes.c_int(function.fd)
    frame = frame_of_map(kinds, "progs").df
    assert frame["key"].tolist() == [2]
    assert frame["prog_id"].iloc[0] > 0
    with pytest.raises(MapError, match="'cgroups' is a cgroup_array, which holds no entries"):
        _ = frame_of_map(kinds, "cgroups").df
    with pytest.raises(MapError, match="sockets"):
        _ = frame_of_map(kinds, "sockets").df
    with pytest.raises(MapError, match="'counters' is a perf_array, which holds no entries"):
        _ = frame_of_map(kinds, "counters").df


def test_stacks_by_build_id_name_the_file_and_the_offset(kinds: Any) -> None:
    stacks = frame_of_map(kinds, "build_ids")
    (row,) = stacks.df.to_dict("records")
    addresses = frame_of_map(kinds, "stacks").df["frames"].iloc[0]
    start, path, offset = mapping(int(addresses[0]))
    build_id, _, at = row["frames"][0].partition("+")
    assert int(at, 16) == int(addresses[0]) - start + offset
    assert bytes.fromhex(build_id) in Path(path).read_bytes()[:4096]
    assert len(row["frames"]) == len(addresses)
    assert stacks[row["stack_id"]] == list(row["frames"])


def mapping(address: int) -> tuple[int, str, int]:
    """Where this process has mapped what is at an address: start, file, offset in the file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, *rest = line.split()
        low, high = (int(part, 16) for part in span.split("-"))
        if low <= address < high:
            return low, rest[-1], int(offset, 16)
    raise LookupError(hex(address))


def test_tables_that_bccs_python_does_not_know_are_read_in_an_object_of_bpfnbs() -> None:
    text = """BPF_SOCKMAP(socks, 4); BPF_SOCKHASH(hashed, u32, 4); BPF_TASK_STORAGE(tasks, u64);
        BPF_CGROUP_STORAGE(storage, u64); BPF_PERF_ARRAY(counters, 2);
        TRACEPOINT_PROBE(syscalls, sys_enter_getppid) { return 0; }"""
    with bpfnb.load(text, name="sockets") as made:
        kinds = {name: frame.kind for name, frame in made.maps.items()}
        assert kinds == {
            "socks": "sockmap", "hashed": "sockhash", "tasks": "task_storage", "storage": "cgroup_storage",
            "counters": "perf_array",
        }  # fmt: skip
        assert not made.streams
        assert [len(made.maps[name].df) for name in ("hashed", "storage")] == [0, 0]
        with pytest.raises(MapError, match="cookies of 8 bytes"):
            _ = made.socks.df
        with pytest.raises(MapError, match="each entry belongs to a process"):
            _ = made.tasks.df
        made.tasks[os.getpid()] = 5
        assert made.tasks[os.getpid()] == 5


def test_tables_that_two_objects_share() -> None:
    first = bpfnb.bcc.compile('BPF_TABLE_PUBLIC("hash", u32, u64, common, 8);')
    second = bpfnb.bcc.compile('BPF_TABLE("extern", u32, u64, common, 8);')
    first["common"][ctypes.c_uint32(1)] = ctypes.c_uint64(11)
    assert frames.of(second["common"]).df.to_dict("records") == [{"key": 1, "value": 11}]
    assert frame_of_map(first, "common").info.id == frame_of_map(second, "common").info.id
    first.cleanup()
    second.cleanup()


def test_tables_that_are_pinned(tmp_path: Path) -> None:
    path = Path("/sys/fs/bpf") / f"bpfnb-test-{os.getpid()}"
    if os.system(f"mountpoint -q {path.parent}"):
        pytest.skip("no BPF file system is mounted")
    text = f'BPF_TABLE_PINNED("hash", u32, u64, kept, 8, "{path}");'
    try:
        first = bpfnb.bcc.compile(text)
        first["kept"][ctypes.c_uint32(1)] = ctypes.c_uint64(12)
        first.cleanup()
        second = bpfnb.bcc.compile(text)
        assert frames.of(second["kept"]).df.to_dict("records") == [{"key": 1, "value": 12}]
        second.cleanup()
    finally:
        path.unlink(missing_ok=True)
