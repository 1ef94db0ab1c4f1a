"""Programs in bcc's dialect as ordinary objects: each with the values that a known workload gives."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_magics_kernel import Notebook
from workloads import Worker, await_true, left_over, probe_library

import bpfnb
from bpfnb import views
from bpfnb.bcc import hook
from bpfnb.errors import (
    AttachError,
    BadValue,
    CompileError,
    KernelFeatureMissing,
    MissingDependency,
    UnknownName,
    VerifierError,
)
from bpfnb.kernel.features import check_section
from bpfnb.kernel.local import LocalBackend

pytestmark = [
    pytest.mark.usefixtures("bcc_installed"),
    pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning"),  # bcc's, of itself
]

N = 50
MINE = "#define MINE (bpf_get_current_pid_tgid() >> 32 == WANTED)\n"
CALLS = (
    MINE
    + """BPF_ARRAY(calls, u64, 1);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) { int zero = 0; if (MINE) calls.increment(zero); return 0; }
"""
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


def load(text: str, worker: Worker | None = None, **options: Any) -> bpfnb.BpfObject:
    """A cell in which MINE tells the worker's calls from others'."""
    pid = worker.pid if worker else os.getpid()
    return bpfnb.load(MINE + text, defines=[f"WANTED={pid}"], name=options.pop("name", "t_bcc"), **options)


def held(obj: bpfnb.BpfObject) -> dict[str, list[int]]:
    return {
        "link": obj.loaded.link_ids(),  # type: ignore[attr-defined]
        "program": [program.info.id for program in obj.programs.values()],
        "map": [info.id for info in obj.loaded.maps.values()],
    }


def descriptors() -> set[str]:
    """Descriptors of this process that are BPF's or a perf event's."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if ("bpf" in target and "bpf-stats" not in target) or "perf_event" in target:
                found.add(f"{name} {target}")
    return found


# Programs and their tables


def test_a_tracepoints_fields_in_a_hash_of_structs(worker, tmp_path):
    text = """
    struct key_t { u32 fd; u64 size; };
    BPF_HASH(sizes, struct key_t);
    TRACEPOINT_PROBE(syscalls, sys_enter_write) {
        struct key_t key = {};
        key.fd = args->fd;
        key.size = args->count;
        if (MINE && args->fd > 2) sizes.increment(key);
        return 0;
    }
    """
    with load(text, worker) as obj:
        worker.run(f"writes({str(tmp_path / 'f')!r}, [1, 7, 1, 4096, 1])")
        frame = obj.sizes.df
    assert dict(zip(frame["size"], frame["value"], strict=True)) == {1: 3, 7: 1, 4096: 1}
    assert frame["fd"].nunique() == 1
    assert obj.elf.compiler.startswith("bcc 0.")
    assert (
        obj.programs["tracepoint__syscalls__sys_enter_write"].section == "tracepoint/syscalls/sys_enter_write"
    )


def test_a_raw_tracepoint(worker):
    text = """
    BPF_HASH(calls, u64);
    RAW_TRACEPOINT_PROBE(sys_enter) {
        u64 number = ctx->args[1];
        if (MINE && number == NUMBER) calls.increment(number);
        return 0;
    }
    """
    number = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
    with bpfnb.load(MINE + text, name="t_bcc", defines=[f"WANTED={worker.pid}", f"NUMBER={number}"]) as obj:
        worker.run(f"getppid({N})")
        assert obj.calls.items() == [(number, N)]


def test_kinds_of_tables(worker):
    text = """
    struct route_t { u32 prefixlen; u32 address; };
    BPF_PERCPU_ARRAY(percpu, u64, 2);
    BPF_PERCPU_HASH(by_pid, u32);
    BPF_TABLE("lru_hash", u32, u64, recent, 64);
    BPF_LPM_TRIE(routes, struct route_t, u64, 8);
    BPF_QUEUE(queue, u64, 1024);
    BPF_STACK(stack, u64, 1024);
    BPF_STACK_TRACE(traces, 64);
    BPF_HASH(stacks, int);
    BPF_ARRAY(call, u64, 1);
    TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
        int zero = 0, one = 1;
        u64 *count = call.lookup(&zero);
        if (!MINE || !count) return 0;
        u64 number = ++*count;
        u32 key = number, pid = WANTED;
        struct route_t to = {.prefixlen = 32, .address = bpf_htonl(0x0a010203)};
        percpu.increment(one, 3);
        u64 none = 0, *mine = by_pid.lookup_or_try_init(&pid, &none);
        if (mine) (*mine)++;
        recent.update(&key, &number);
        u64 *route = routes.lookup(&to);
        if (route) (*route)++;
        queue.push(&number, 0);
        stack.push(&number, 0);
        int id = traces.get_stackid(args, BPF_F_USER_STACK);
        stacks.increment(id);
        return 0;
    }
    """
    with load(text.replace("bpf_htonl", "__builtin_bswap32"), worker) as obj:
        obj.routes["10.0.0.0/8"] = 0
        obj.routes["10.1.0.0/16"] = 100
        obj.routes["192.168.0.0/16"] = 0
        worker.run(f"getppid({N})")
        assert obj.percpu.df["value"].tolist() == [0, 3 * N]
        assert obj.by_pid[worker.pid] == N
        assert obj.recent[N] == N
        assert set(obj.recent.keys()) <= set(range(1, N + 1))
        assert sorted(obj.routes.df["value"]) == [0, 0, 100 + N]
        assert [obj.queue.pop() for _ in range(N)] == list(range(1, N + 1))
        assert [obj.stack.pop() for _ in range(N)] == list(range(N, 0, -1))
        with pytest.raises(IndexError):
            obj.queue.pop()
        (stack,) = {int(key) for key in obj.stacks}
        assert obj.stacks[stack] == N
        assert len(obj.traces[stack]) > 1
    kinds = {name: frame.kind for name, frame in obj.maps.items()}
    assert kinds == {
        "percpu": "percpu_array",
        "by_pid": "percpu_hash",
        "recent": "lru_hash",
        "routes": "lpm_trie",
        "queue": "queue",
        "stack": "stack",
        "traces": "stack_trace",
        "stacks": "hash",
        "call": "array",
    }


def test_an_increment_that_does_nothing_is_remarked():
    text = "BPF_PERCPU_HASH(by_pid, u32);\nTRACEPOINT_PROBE(syscalls, sys_enter_getppid) {{ u32 pid = 1; {} return 0; }}"
    with bpfnb.load(text.format("by_pid.increment(pid);"), name="t_bcc") as obj:
        os.getppid()
        assert len(obj.by_pid.df) == 0
        (warning,) = obj.warnings
    assert "by_pid.lookup_or_try_init" in warning.message
    assert warning.where is not None
    assert warning.where.line == 2


def test_perf_and_ring_buffers_are_streams(worker):
    text = """
    struct data_t { u64 ts; pid_t pid; u32 number; char comm[16]; };
    BPF_PERF_OUTPUT(perf);
    BPF_RINGBUF_OUTPUT(ring, 8);
    BPF_RINGBUF_OUTPUT(reserved, 8);
    BPF_ARRAY(call, u32, 1);
    TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
        int zero = 0;
        u32 *count = call.lookup(&zero);
        if (!MINE || !count) return 0;
        struct data_t data = {.ts = bpf_ktime_get_ns(), .pid = WANTED, .number = (*count)++};
        bpf_get_current_comm(&data.comm, sizeof(data.comm));
        perf.perf_submit(args, &data, sizeof(data));
        ring.ringbuf_output(&data, sizeof(data), 0);
        struct data_t *room = reserved.ringbuf_reserve(sizeof(struct data_t));
        if (!room) return 0;
        __builtin_memcpy(room, &data, sizeof(data));
        reserved.ringbuf_submit(room, 0);
        return 0;
    }
    """
    with load(text, worker) as obj:
        worker.run(f"getppid({N})")
        assert list(obj.streams) == ["perf", "ring", "reserved"]
        for stream in obj.streams.values():
            stream.drain()
            frame = stream.df
            assert list(frame.columns) == ["ts", "pid", "number", "comm"], stream.name
            assert frame["number"].tolist() == list(range(N))
            assert set(frame["pid"]) == {worker.pid}
            assert frame["ts"].is_monotonic_increasing
            assert frame.attrs["bpfnb"]["lost"] == 0
            assert frame.attrs["bpfnb"]["compiler"].startswith("bcc ")
            assert frame.attrs["bpfnb"]["source"] == obj.elf.key


def test_a_full_ring_and_a_full_map_are_counted(worker):
    text = """
    struct data_t { u64 number; };
    BPF_RINGBUF_OUTPUT(ring, 1);
    BPF_HASH(few, u64, u64, 16);
    BPF_ARRAY(call, u64, 1);
    TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
        int zero = 0;
        u64 *count = call.lookup(&zero);
        if (!MINE || !count) return 0;
        struct data_t data = {.number = (*count)++};
        ring.ringbuf_output(&data, sizeof(data), BPF_RB_NO_WAKEUP);
        few.increment(data.number);
        return 0;
    }
    """
    with load(text, worker) as obj:
        worker.run("getppid(20000)")
        obj.ring.drain()
        assert list(obj.maps) == ["few", "call"]
        assert len(obj.ring.df) + obj.ring.lost == 20000
        assert obj.few.lost == 20000 - 16


# Places


def test_a_uprobe_and_its_return_by_option(worker):
    text = """
    #include <uapi/linux/ptrace.h>
    BPF_HASH(arguments, int);
    BPF_HASH(results, int);
    int entered(struct pt_regs *ctx) { int i = PT_REGS_PARM1(ctx); arguments.increment(i); return 0; }
    int left(struct pt_regs *ctx) { int i = PT_REGS_RC(ctx); results.increment(i); return 0; }
    """
    library = probe_library()
    places = {
        "entered": [f"uprobe/{library}:bpfnb_step", f"uprobe/{library}:bpfnb_stride"],
        "left": f"uretprobe/{library}:bpfnb_step",
    }
    with load(text, attach=places, pid=worker.pid) as obj:
        assert list(obj.programs) == ["entered", "entered#2", "left"]
        worker.run(f"ctypes.CDLL({str(library)!r}).work(10)")
        assert dict(obj.arguments.items()) == dict.fromkeys(range(10), 2)
        assert dict(obj.results.items()) == {3 * i: 1 for i in range(10)}
        assert [program.attached for program in obj.programs.values()] == [True] * 3


def test_options_of_a_function_go_to_all_of_its_places(worker):
    text = """
    BPF_HASH(arguments, int);
    int entered(struct pt_regs *ctx) { int i = PT_REGS_PARM1(ctx); arguments.increment(i); return 0; }
    """
    library = probe_library()
    places = {"entered": [f"uprobe/{library}:bpfnb_step", "uprobe"]}
    options = {
        "entered": {"pid": worker.pid},
        "entered#2": {"binary": str(library), "symbol": "bpfnb_stride"},
    }
    with Worker() as stranger, load(text, attach=places, options=options) as obj:
        assert obj.programs["entered#2"].options == {"pid": worker.pid, **options["entered#2"]}
        for one in (worker, stranger):
            one.run(f"ctypes.CDLL({str(library)!r}).work(10)")
        assert dict(obj.arguments.items()) == dict.fromkeys(range(10), 2)


def test_a_usdt_probe_with_its_argument(worker):
    text = """
    BPF_HASH(ticks, int);
    int tick(struct pt_regs *ctx) { int i = 0; bpf_usdt_readarg(1, ctx, &i); ticks.increment(i); return 0; }
    """
    library = probe_library()
    with load(text, attach={"tick": f"usdt/{library}:bpfnb:tick"}, pid=worker.pid) as obj:
        worker.run(f"ctypes.CDLL({str(library)!r}).work({N})")
        assert dict(obj.ticks.items()) == dict.fromkeys(range(N), 1)


def test_a_perf_event_with_options_for_one_function(worker):
    text = """
    BPF_ARRAY(faults, u64, 1);
    int fault(struct bpf_perf_event_data *ctx) { int zero = 0; faults.increment(zero); return 0; }
    """
    options = {"fault": {"event": "page-faults", "period": 1, "pid": worker.pid}}
    with load(text, attach={"fault": "perf_event"}, options=options) as obj:
        before = obj.faults[0]
        worker.run(f"faults({N})")
        taken = obj.faults[0] - before
    assert N <= taken < N + 50  # the interpreter takes a few itself


def test_xdp_on_an_interface():
    text = """
    #include <uapi/linux/if_ether.h>
    BPF_ARRAY(seen, u64, 1);
    int filter(struct xdp_md *ctx) {
        void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
        struct ethhdr *eth = data;
        int zero = 0;
        if (data + sizeof(*eth) <= end && eth->h_proto == __builtin_bswap16(0x88B5)) seen.increment(zero);
        return XDP_PASS;
    }
    """
    with Worker(netns=True) as worker:
        worker.run("veth('bnbc0', 'bnbc1')")
        with load(text, attach={"filter": "xdp"}) as obj:
            assert obj.state == "loaded"
            with worker.netns():
                obj.programs["filter"].attach(interface="bnbc1", mode="generic")
            worker.run(f"packets('bnbc0', {N})")
            await_true(lambda: obj.seen[0] >= N)
            obj.pause()
            worker.run(f"packets('bnbc0', {N})")
            assert obj.seen[0] == N


def test_a_tail_call_through_a_program_array(worker):
    text = """
    BPF_PROG_ARRAY(progs, 4);
    BPF_ARRAY(counts, u64, 3);
    static void count(int slot) { counts.increment(slot); }
    int tail(void *ctx) { count(1); return 0; }
    TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
        if (!MINE) return 0;
        count(0);
        progs.call(args, 2);
        count(2);
        return 0;
    }
    """
    with load(text, worker, attach={"tail": "tracepoint"}) as obj:
        assert obj.warnings == ()
        assert not obj.programs["tail"].attached
        worker.run("getppid(3)")
        obj.progs[2] = obj.programs["tail"]
        assert obj.progs.df["prog_id"].tolist() == [obj.programs["tail"].info.id]
        worker.run(f"getppid({N})")
        assert obj.counts.df["value"].tolist() == [N + 3, N, 3]
        del obj.progs[2]
        worker.run("getppid(1)")
        assert obj.counts.df["value"].tolist() == [N + 4, N, 4]


def test_a_tail_call_in_libbpf_c(worker):
    text = """
    struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, u32); __type(value, u32); }
        progs SEC(".maps");
    u64 first, second;
    const volatile u32 wanted;
    SEC("tracepoint") int tail(void *ctx) { second++; return 0; }
    SEC("tracepoint/syscalls/sys_enter_getppid") int head(void *ctx) {
        if (bpf_get_current_pid_tgid() >> 32 != wanted) return 0;
        first++;
        bpf_tail_call(ctx, &progs, 1);
        return 0;
    }
    """
    with bpfnb.load(text, name="t_tail", globals={"wanted": worker.pid}) as obj:
        obj.progs[1] = obj.programs["tail"]
        worker.run(f"getppid({N})")
        assert (obj.vars.first, obj.vars.second) == (N, N)


def test_a_pinned_table_outlives_its_object(worker):
    path = Path(f"/sys/fs/bpf/bpfnb-test-{os.getpid()}")
    text = f"""
    BPF_TABLE_PINNED("hash", u32, u64, shared, 64, "{path}");
    TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {{ u32 one = 1; if (MINE) shared.increment(one); return 0; }}
    """
    try:
        for rounds in (1, 2):
            with load(text, worker) as obj:
                worker.run(f"getppid({N})")
                assert obj.shared.items() == [(1, rounds * N)]
    finally:
        path.unlink()


def test_an_iterator_and_its_rows():
    text = """
    struct row_t { u32 tgid; char comm[16]; };
    BPF_ITER(task) {
        struct task_struct *task = (void *)ctx->task;
        struct row_t row = {};
        if (!task || task->tgid != task->pid) return 0;
        row.tgid = task->tgid;
        bpf_probe_read_kernel_str(&row.comm, sizeof(row.comm), task->comm);
        bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
        return 0;
    }
    """
    with load(text) as obj:
        frame = obj.programs["bpf_iter__task"].frame("struct row_t")
    (comm,) = frame.loc[frame["tgid"] == os.getpid(), "comm"]
    assert comm == Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert frame["tgid"].is_unique


def test_what_has_no_place_is_said_at_its_line():
    text = """BPF_ARRAY(calls, u64, 1);
    static int inner(int x) { return x; }
    static inline int called(int x) { return inner(x); }
    int hello(void *ctx) { return called(1); }
    TRACEPOINT_PROBE(syscalls, sys_enter_getppid) { int zero = 0; calls.increment(zero); return 0; }
    """
    with load(text) as obj:
        (warning,) = obj.warnings
        assert "--attach hello=SECTION" in warning.message
        assert warning.where is not None
        assert warning.where.line == 5  # MINE is the first
        assert list(obj.programs) == ["tracepoint__syscalls__sys_enter_getppid"]
    with pytest.raises(AttachError, match="'hello' has no place") as caught:
        load("int hello(struct pt_regs *ctx) { return 0; }")
    assert caught.value.where is not None
    assert caught.value.where.line == 2
    assert "--attach hello=SECTION" in caught.value.hints[0]


def test_loaded_first_and_attached_later(worker):
    options: dict[str, Any] = {"defines": [f"WANTED={worker.pid}"], "backend": LocalBackend()}
    with bpfnb.load(CALLS, name="t_bcc", attach=False, **options) as obj:
        worker.run(f"getppid({N})")
        assert (obj.state, obj.calls[0], obj.loaded.link_ids()) == ("loaded", 0, [])
        obj.attach()
        worker.run(f"getppid({N})")
        assert (obj.state, obj.calls[0]) == ("attached", N)
        obj.pause()
        worker.run(f"getppid({N})")
        obj.resume()
        worker.run(f"getppid({N})")
        assert obj.calls[0] == 2 * N
        cost = obj.stats()
        assert cost["attached"].tolist() == [True]


def test_the_costs_of_its_programs_are_the_kernels(worker):
    with bpfnb.load(CALLS, name="t_bcc", defines=[f"WANTED={worker.pid}"]) as obj:
        with obj.statistics():
            before = obj.read_stats()["tracepoint__syscalls__sys_enter_getppid"].run_count
            worker.run(f"getppid({N})")
            after = obj.read_stats()["tracepoint__syscalls__sys_enter_getppid"].run_count
        assert after - before >= N


# Histograms


LINE = re.compile(r"^\s*(\d+) -> (\d+)\s*: (\d+)\s*\|", re.M)
LINEAR = re.compile(r"^\s*(\d+)\s*: (\d+)\s*\|", re.M)
HISTOGRAMS = """
struct key_t { u64 kind; u64 slot; };
BPF_HISTOGRAM(dist);
BPF_HISTOGRAM(direct);
BPF_HISTOGRAM(lengths);
BPF_HISTOGRAM(kinds, struct key_t);
TRACEPOINT_PROBE(syscalls, sys_enter_write) {
    if (!MINE || args->fd <= 2) return 0;
    u64 size = args->count;
    unsigned int slot = bpf_log2l(size);
    struct key_t key = {.kind = size & 1};
    dist.increment(slot);
    direct.increment(bpf_log2(size));
    lengths.increment(size > 40 ? 40 : size);
    key.slot = bpf_log2l(size);
    kinds.increment(key);
    return 0;
}
"""
SIZES = [0, 1, 1, 2, 3, 4, 5, 8, 15, 16, 31, 33, 100, 1000, 4096, 4097]


@pytest.fixture(scope="module")
def counted(worker, tmp_path_factory) -> Iterator[bpfnb.BpfObject]:
    path = tmp_path_factory.mktemp("sizes") / "f"
    with load(HISTOGRAMS, worker, name="t_hist") as obj:
        worker.run(f"writes({str(path)!r}, {SIZES})")
        yield obj


def printed(table: Any, how: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        getattr(table, how)()
    return said.getvalue()


def ranges(histogram: Any, group: str = "") -> dict[tuple[int, int], int]:
    """Bounds (both inside, as bcc prints them) and counts of the buckets that hold anything."""
    frame = histogram.counts
    if group:
        frame = frame[frame["group"] == group]
    rows = zip(frame["lower"], frame["upper"], frame["count"], strict=True)
    return {(int(low), int(high) - 1): int(count) for low, high, count in rows if count}


def test_powers_of_two_are_as_bcc_prints_them(counted):
    said = LINE.findall(printed(counted.loaded.bpf["dist"], "print_log2_hist"))
    theirs = {(int(low), int(high)): int(count) for low, high, count in said if count != "0"}
    assert ranges(counted.dist.hist()) == theirs
    assert sum(theirs.values()) == len(SIZES)
    assert theirs[0, 1] == 3
    assert theirs[4096, 8191] == 2


def test_slots_of_bpf_log2_begin_at_one(counted):
    """bcc prints these one power too low: its print_log2_hist is for bpf_log2l() only."""
    found = ranges(counted.direct.hist())
    assert found[0, 1] == 3
    assert found[4096, 8191] == 2


def test_linear_slots_are_as_bcc_prints_them(counted):
    said = LINEAR.findall(printed(counted.loaded.bpf["lengths"], "print_linear_hist"))
    theirs = {(int(value), int(value)): int(count) for value, count in said if count != "0"}
    assert ranges(counted.lengths.hist()) == theirs
    assert theirs[40, 40] == 4


def test_a_histogram_for_each_other_field_of_the_key(counted):
    blocks = printed(counted.loaded.bpf["kinds"], "print_log2_hist").split("Bucket ptr = ")[1:]
    histogram = counted.kinds.hist()
    assert sorted(histogram.groups) == ["0", "1"]
    for block in blocks:
        group = block.split("\n")[0].strip()
        theirs = {(int(a), int(b)): int(c) for a, b, c in LINE.findall(block) if c != "0"}
        assert ranges(histogram, group) == theirs
    assert len(blocks) == 2


def test_a_key_of_other_names_has_its_slot_second(worker, tmp_path):
    text = """
    struct inner_t { u32 a, b; };
    typedef struct { char comm[16]; u64 bucket; } comm_t;
    typedef struct { struct inner_t who; u64 slot; } nested_t;
    BPF_HISTOGRAM(comms, comm_t);
    BPF_HISTOGRAM(nested, nested_t);
    TRACEPOINT_PROBE(syscalls, sys_enter_write) {
        if (!MINE || args->fd <= 2) return 0;
        comm_t key = {};
        nested_t two = {};
        bpf_get_current_comm(&key.comm, sizeof(key.comm));
        two.slot = key.bucket = bpf_log2l(args->count);
        two.who.a = args->count & 1;
        comms.increment(key);
        nested.increment(two);
        return 0;
    }
    """
    with load(text, worker) as obj:
        worker.run(f"writes({str(tmp_path / 'f')!r}, {SIZES})")
        comm = Path(f"/proc/{worker.pid}/comm").read_text().strip()
        assert obj.comms.hist().groups == (comm,)
        assert ranges(obj.comms.hist(), comm)[4096, 8191] == 2
        assert ranges(obj.nested.hist()) == ranges(obj.comms.hist(), comm)


def test_the_object_draws_its_histograms(counted):
    assert counted.dist.view == ("hist", "log2", "first=-1")
    assert counted.kinds.view == ("hist", "log2", "first=-1", "column=slot", "by=kind")
    (dist, direct, lengths, kinds) = counted.views()
    assert ranges(dist) == ranges(counted.dist.hist())
    assert ranges(direct) == ranges(counted.direct.hist())
    assert ranges(lengths) == ranges(counted.lengths.hist())
    assert ranges(kinds, "1") == ranges(counted.kinds.hist(), "1")
    assert ranges(views.hist(counted.dist)) == ranges(dist)
    assert counted.dist.heatmap()._feed.asked.first == -1


# Life


def test_a_swap_has_no_gap(tmp_path):
    """Every call is counted by the old object, the new one, or (while both are attached) by both."""
    counts, enough = [], tmp_path / "enough"
    with Worker() as worker:
        options: dict[str, Any] = {"name": "t_swap", "defines": [f"WANTED={worker.pid}"], "watchdog": None}
        try:
            obj = bpfnb.load(CALLS, **options)
            worker.start(f"result = until({str(enough)!r}, getppid)")
            await_true(lambda: obj.calls[0] > 0)
            previous, close = obj, obj.loaded.close

            def closing() -> None:
                counts.append(previous.calls[0])
                close()

            obj.loaded.close = closing  # type: ignore[method-assign]
            obj = bpfnb.load(CALLS, **options)
            assert len(counts) == 1
            await_true(lambda: obj.calls[0] > 0)
            enough.touch()
            made = worker.finish()
            counts.append(obj.calls[0])
        finally:
            bpfnb.close_all()
    assert min(counts) > 0
    assert sum(counts) >= made


def test_a_failed_load_leaves_the_old_object_and_nothing_else(worker):
    bpfnb.close_all()
    before = descriptors()
    options = {"name": "t_old", "defines": [f"WANTED={worker.pid}"]}
    with bpfnb.load(CALLS, **options) as old:
        known = descriptors()
        bad = {
            CompileError: CALLS.replace("return 0;", "return nothing;"),
            VerifierError: CALLS.replace("return 0;", "return *(int *)bpf_ktime_get_ns();"),
            KernelFeatureMissing: CALLS.replace("sys_enter_getppid", "sys_enter_nothing"),
            AttachError: "BPF_HASH(x, u32);\nint f(struct pt_regs *ctx) { return 0; }",
        }
        for error, text in bad.items():
            with pytest.raises(error):
                bpfnb.load(text, **options)
            assert descriptors() == known, error
        with pytest.raises(AttachError, match="nope0"):
            load("int f(struct xdp_md *ctx) { return XDP_PASS; }", attach={"f": "xdp"}, interface="nope0")
        assert descriptors() == known
        assert bpfnb.objects["t_old"] is old
        worker.run(f"getppid({N})")
        assert old.calls[0] == N
        everything = held(old)
        assert all(everything.values())
    assert left_over(everything) == {}
    assert descriptors() == before


def test_an_interrupt_while_bcc_compiles_leaves_nothing(monkeypatch):
    options: dict[str, Any] = {"name": "t_interrupted", "defines": ["WANTED=1"]}
    bpfnb.load(CALLS, **options).close()  # from now on it is not rehearsed
    before, call = descriptors(), hook._call

    def interrupted(*arguments: Any) -> int | None:
        handle = call(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return handle

    monkeypatch.setattr(hook, "_call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bpfnb.load(CALLS, **options)
    assert descriptors() == before
    assert "t_interrupted" not in bpfnb.objects


def test_kill_9_leaves_nothing():
    code = (
        "import bpfnb, json, time\n"
        f"obj = bpfnb.load({CALLS!r}, name='t_killed', defines=['WANTED=1'])\n"
        "print(json.dumps({'link': obj.loaded.link_ids(), 'program': [p.info.id for p in obj.programs.values()],\n"
        "    'map': [info.id for info in obj.loaded.maps.values()]}), flush=True)\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        numbers = json.loads(child.stdout.readline())
        assert all(numbers.values())
    finally:
        child.kill()
        child.wait()
    assert left_over(numbers) == {}


def test_a_forked_child_keeps_nothing_attached(worker):
    with bpfnb.load(CALLS, name="t_fork", defines=[f"WANTED={worker.pid}"]) as obj:
        links = {"link": obj.loaded.link_ids()}
        child = os.fork()
        if not child:
            threading.Event().wait(60)
            os._exit(0)
    try:
        assert left_over(links) == {}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


# Errors


def test_errors_are_at_the_cells_lines():
    text = "BPF_HASH(a, u32);\nTRACEPOINT_PROBE(sched, sched_switch) {\n    u32 x = 0;\n    u64 *v = a.lookup(&x);\n    %s\n}"
    with pytest.raises(CompileError) as caught:
        bpfnb.load(text % "return y;", name="t_bcc")
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("t_bcc", 5)
    with pytest.raises(VerifierError, match=r"tracepoint/sched/sched_switch") as refused:
        bpfnb.load(text % "return *v;", name="t_bcc")
    assert refused.value.where is not None
    assert refused.value.where.line == 5
    with pytest.raises(AttachError) as nowhere:
        bpfnb.load(
            "\nint f(struct xdp_md *ctx) { return 2; }", name="t_bcc", attach={"f": "xdp"}, interface="nope0"
        )
    assert nowhere.value.where is not None
    assert nowhere.value.where.line == 2


def test_a_hook_that_this_kernel_lacks_is_said_before_anything_is_compiled(monkeypatch):
    if check_section("kprobe/vfs_read") is None:
        pytest.skip("this kernel has kprobes")
    monkeypatch.setattr("bpfnb.bcc.hook.compile", lambda *_, **__: pytest.fail("it was compiled"))
    with pytest.raises(KernelFeatureMissing, match="kprobe") as caught:
        bpfnb.load('int kprobe__sys_clone(void *ctx) { bpf_trace_printk("Hello"); return 0; }')
    assert any("TRACEPOINT_PROBE(syscalls, sys_enter_clone)" in hint for hint in caught.value.hints)
    assert caught.value.where is not None
    assert caught.value.where.line == 1


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ({"globals": {"x": 1}}, "-D NAME=VALUE"),
        ({"max_entries": {"calls": 5}}, "size in the macro"),
        ({"pins": {"calls": "/sys/fs/bpf/x"}}, "BPF_TABLE_PINNED"),
    ],
)
def test_what_bcc_cannot_is_refused_with_what_to_do_instead(option, instead):
    with pytest.raises(BadValue) as caught:
        bpfnb.load(CALLS, defines=["WANTED=1"], **option)
    assert instead in caught.value.hints[0]


def test_places_that_are_none():
    text = "BPF_HASH(x, u32);\nint count(struct pt_regs *ctx) { return 0; }"
    with pytest.raises(UnknownName, match="no function 'cuont'") as caught:
        bpfnb.load(text, attach={"cuont": "perf_event"})
    assert "count" in caught.value.hints[0]
    with pytest.raises(BadValue, match="'perf_evnt'") as caught_section:
        bpfnb.load(text, attach={"count": "perf_evnt"})
    assert "perf_event" in caught_section.value.hints[0]
    with pytest.raises(BadValue, match=r"section of 'f' is in the text") as caught_clang:
        bpfnb.load('SEC("xdp") int f(void *ctx) { return 2; }', attach={"f": "xdp"})
    assert 'SEC("xdp")' in caught_clang.value.hints[0]
    with pytest.raises(UnknownName, match="no engine 'gcc'"):
        bpfnb.load(text, engine="gcc")
    with pytest.raises(UnknownName, match="'cuont'"):
        bpfnb.load(text, attach={"count": "perf_event"}, options={"cuont": {"frequency": 9}})


def test_where_bcc_is_not_installed_the_remedy_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("bpfnb.bcc.find._ROOTS", (tmp_path,))
    for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("bpfnb.bcc.find.find_package.__defaults__", ((tmp_path,),))
    with pytest.raises(MissingDependency, match="bcc") as caught:
        bpfnb.load(CALLS, defines=["WANTED=1"])
    assert "python3-bpfcc" in caught.value.hints[0]


# In a notebook


@pytest.fixture(scope="module")
def notebook() -> Iterator[Notebook]:
    book = Notebook()
    try:
        assert book.run("%load_ext bpfnb\nimport os").reply["status"] == "ok"
        yield book
    finally:
        book.client.stop_channels()
        book.manager.shutdown_kernel(now=True)


COUNT = """BPF_HASH(calls, u32);
BPF_HISTOGRAM(dist);
int count(void *ctx) {
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    if (pid == WANTED) { calls.increment(pid); dist.increment(bpf_log2l(pid)); }
    return 0;
}
int nowhere(void *ctx) { return 0; }
"""
PLACE = "--attach count=tracepoint/syscalls/sys_enter_getsid -D WANTED={os.getpid()}"
SCRIPT = """
import ctypes, bpfnb.frames
from bcc import BPF
b = BPF(text='''BPF_HASH(calls, u32);
TRACEPOINT_PROBE(syscalls, sys_enter_getsid) {
    u32 pid = bpf_get_current_pid_tgid() >> 32; calls.increment(pid); return 0; }''')
for _ in range(5): os.getsid(0)
frame = bpfnb.frames.of(b["calls"])
print(frame[os.getpid()], b["calls"][ctypes.c_uint32(os.getpid())].value)
b.cleanup()
"""


def test_a_cell_and_its_verbs(notebook):
    outcome = notebook.run(f"%%bpf io {PLACE}\n{COUNT}")
    assert outcome.reply["status"] == "ok", outcome.traceback
    texts = [shown.get("text/plain", "") for shown in outcome.results]
    assert any(text.startswith("io: attached") for text in texts)
    assert "io, line 8: warning: 'nowhere' is attached nowhere" in outcome.stderr
    assert "    8 | int nowhere" in outcome.stderr
    assert notebook.run("for _ in range(7): os.getsid(0)\nprint(io.calls[os.getpid()])").stdout == "7\n"
    (maps,) = notebook.run("%bpf maps io").results
    assert "calls" in maps["text/plain"]
    assert "__bpfnb" not in maps["text/plain"]
    (log,) = notebook.run("%bpf log io").results
    assert "compiled by bcc 0." in log["text/plain"]
    notebook.run("%bpf pause io")
    notebook.run("os.getsid(0)")
    notebook.run("%bpf resume io")
    assert notebook.run("os.getsid(0)\nprint(io.calls[os.getpid()])").stdout == "8\n"
    outcome = notebook.run(f"%%bpf io {PLACE}\n{COUNT.replace('return 0', 'return nothing')}")
    assert outcome.reply["ename"] == "CompileError"
    assert "io, line 6" in outcome.traceback
    assert "the earlier 'io' goes on" in outcome.traceback
    assert ".py" not in outcome.traceback
    outcome = notebook.run(f"%%bpf io --set x=1 {PLACE}\n{COUNT}")
    assert "-D NAME=VALUE" in outcome.traceback
    assert notebook.run("os.getsid(0)\nprint(io.calls[os.getpid()])").stdout == "9\n"
    (closed,) = notebook.run("%bpf close io").results
    assert closed["text/plain"].splitlines()[1].split()[:2] == ["io", "closed"]


def test_bcc_itself_in_a_notebook(notebook):
    (said,) = notebook.run("%bpf bcc").results
    assert "from bcc import BPF" in said["text/plain"]
    assert "Kernel headers: " in said["text/plain"]
    outcome = notebook.run(SCRIPT)
    assert outcome.stdout == "5 5\n", outcome.traceback
    assert "looks for kernel headers itself" in notebook.run("%bpf bcc off").results[0]["text/plain"]
    assert notebook.run("import bpfnb.bcc\nprint(bpfnb.bcc.enabled())").stdout == "False\n"
    outcome = notebook.run("%bpf bcc maybe")
    assert "invalid choice" in outcome.traceback + outcome.stderr
