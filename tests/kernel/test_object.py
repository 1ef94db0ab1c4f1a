"""A loaded object's names, variables, sources and sinks, with values the kernel must give."""

from __future__ import annotations

import os
import socket
import threading

import pytest

import bpfnb
from bpfnb.compile import Source, compile
from bpfnb.errors import AttachError, LoadError, MapTypeError, ObjectClosed, UnknownName
from bpfnb.variables import ReadOnlyVariable

GLOBALS = """
enum mode { QUIET = 0, LOUD = 7 };
struct limits { u32 low; s16 high; };
const volatile u32 wanted = 0;
volatile u64 seen = 0;
volatile s32 offset = -5;
volatile enum mode mode = LOUD;
volatile bool enabled = true;
volatile char label[8] = "abc";
volatile struct limits limits = { 1, -2 };
volatile u16 table[3] = { 1, 2, 3 };

SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    if (enabled && bpf_get_current_pid_tgid() >> 32 == wanted)
        seen += table[1];
    return 0;
}
"""


@pytest.fixture
def obj():
    with bpfnb.load(GLOBALS, name="t_vars", globals={"wanted": os.getpid()}) as made:
        yield made


def test_variables_have_their_initial_values(obj):
    assert obj.vars.wanted == os.getpid()
    assert obj.vars.seen == 0
    assert obj.vars.offset == -5
    assert obj.vars.enabled
    assert obj.vars.label == "abc"
    assert obj.vars.limits == {"low": 1, "high": -2}
    assert set(obj.vars) == {"wanted", "seen", "offset", "mode", "enabled", "label", "limits", "table"}


def test_writing_a_variable_steers_the_running_program(obj):
    os.getppid()
    assert obj.vars.seen == 2
    obj.vars.enabled = False
    os.getppid()
    assert obj.vars.seen == 2
    obj.vars["enabled"] = True
    obj.vars.seen = 100
    os.getppid()
    assert obj.vars.seen == 102


def test_a_constant_says_how_to_change_it(obj):
    with pytest.raises(ReadOnlyVariable, match="const") as caught:
        obj.vars.wanted = 1
    assert "--set wanted=1" in caught.value.hints[1]


def test_a_wrong_value_and_a_wrong_name_are_refused(obj):
    with pytest.raises(MapTypeError, match="offset"):
        obj.vars.offset = "text"
    with pytest.raises(MapTypeError):
        obj.vars.offset = 1 << 40
    assert obj.vars.offset == -5
    with pytest.raises(UnknownName) as caught:
        _ = obj.vars.enabeld
    assert "enabled" in caught.value.hints[0]
    with pytest.raises(UnknownName):
        bpfnb.load(GLOBALS, name="t_vars2", globals={"wnated": 1})
    assert "t_vars2" not in bpfnb.objects


MANY = """
struct event { u64 number; u32 pid; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, u64); __type(value, u32); } small SEC(".maps");
const volatile u32 wanted = 0;
volatile u64 number = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int emit(void *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct event *e;
    u64 key = number;

    if (pid != wanted)
        return 0;
    bpf_map_update_elem(&small, &key, &pid, BPF_ANY);
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->number = number++;
    e->pid = pid;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


def test_events_arrive_in_order_and_a_full_map_is_counted():
    with bpfnb.load(MANY, name="t_events", globals={"wanted": os.getpid()}) as obj:
        for _ in range(1000):
            os.getppid()
        obj.events.wait_for(rows=1000, timeout=10)
        df = obj.events.df
        assert df.number.to_list() == list(range(1000))
        assert set(df.pid) == {os.getpid()}
        about = df.attrs["bpfnb"]
        assert (about["object"], about["rows"], about["lost"], about["complete"]) == (
            "t_events",
            1000,
            0,
            True,
        )
        assert about["kernel"] == os.uname().release
        small = obj.small.df
        assert sorted(small.key) == [0, 1, 2, 3]
        assert small.attrs["bpfnb"]["lost"] == 996
        assert not small.attrs["bpfnb"]["complete"]
    assert obj.events.df.number.to_list() == list(range(1000)), "a closed object's streams stay readable"
    with pytest.raises(ObjectClosed):
        _ = obj.small.df


def test_a_full_ring_buffer_counts_what_it_drops():
    with bpfnb.load(
        MANY, name="t_drops", globals={"wanted": os.getpid()}, max_entries={"events": 4096}
    ) as obj:
        from bpfnb.frames import pump

        pump.remove(obj.events)
        for _ in range(1000):
            os.getppid()
        obj.events.drain()
        df = obj.events.df
        fit = 4096 // 24
        assert len(df) in (fit - 1, fit)
        assert df.attrs["bpfnb"]["lost"] == 1000 - len(df)
        assert not df.attrs["bpfnb"]["complete"]


def test_names_and_their_nearest():
    with bpfnb.load(MANY, name="t_names", attach=False) as obj:
        assert obj.state == "loaded"
        assert {"events", "small", "emit"} <= set(dir(obj))
        with pytest.raises(UnknownName, match="evnets") as caught:
            _ = obj.evnets
        assert "events" in caught.value.hints[0]


def test_sources_a_path_an_object_file_and_a_source(tmp_path):
    path = tmp_path / "hits.bpf.c"
    path.write_text('#include "limits.h"\n' + MANY.replace("1 << 16", "RING"))
    (tmp_path / "limits.h").write_text(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#define RING (1 << 14)\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    with bpfnb.load(path) as obj:
        assert obj.name == "hits"
        assert obj.loaded.maps["events"].max_entries == 1 << 14
        data = obj.elf.data
    built = tmp_path / "built.bpf.o"
    built.write_bytes(data)
    with bpfnb.load(built, globals={"wanted": os.getpid()}) as obj:
        assert obj.name == "built"
        os.getppid()
        obj.events.wait_for(rows=1, timeout=10)
        assert obj.events.df.pid.to_list() == [os.getpid()]
    elf = compile(Source(text=MANY, name="again"))
    with bpfnb.load(elf, max_entries={"small": 100}) as obj:
        assert obj.name == "again"
        assert obj.loaded.maps["small"].max_entries == 100


def test_an_iterator_reads_as_text_and_as_rows():
    source = """
    struct row { u32 pid; u32 threads; char comm[16]; };
    SEC("iter/task") int dump(struct bpf_iter__task *ctx)
    {
        struct task_struct *task = ctx->task;
        struct row row = {};
        if (!task || task->pid != task->tgid)
            return 0;
        row.pid = task->tgid;
        row.threads = BPF_CORE_READ(task, signal, nr_threads);
        bpf_probe_read_kernel_str(row.comm, sizeof(row.comm), task->comm);
        bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
        return 0;
    }
    SEC("iter/task") int names(struct bpf_iter__task *ctx)
    {
        struct task_struct *task = ctx->task;
        if (task)
            BPF_SEQ_PRINTF(ctx->meta->seq, "%d %s\\n", task->pid, task->comm);
        return 0;
    }
    """
    with bpfnb.load(source, name="t_iter") as obj:
        threads = [len(os.listdir("/proc/self/task"))]
        rows = obj.programs["dump"].frame("struct row")
        threads.append(len(os.listdir("/proc/self/task")))  # one may end meanwhile
        assert obj.programs["dump"].frame().columns.to_list() == ["pid", "threads", "comm"]
        mine = rows[rows.pid == os.getpid()].iloc[0]
        with open("/proc/self/comm") as comm:
            assert mine.comm == comm.read().strip()
        assert min(threads) <= mine.threads <= max(threads)
        assert any(line.startswith(f"{os.getpid()} ") for line in obj.programs["names"].text().splitlines())


def test_an_option_that_no_program_takes_is_refused():
    with pytest.raises(AttachError, match="interface"):
        bpfnb.load(MANY, name="t_option", interface="lo")
    assert "t_option" not in bpfnb.objects


XDP = """
volatile u64 packets = 0;
SEC("xdp") int pass(struct xdp_md *ctx) { packets += 1; return XDP_PASS; }
"""


def test_a_hook_for_one_program_is_exchanged_and_given_back_after_a_failure():
    first = bpfnb.load(XDP, name="t_xdp", interface="lo", mode="generic")
    try:
        second = bpfnb.load(XDP, name="t_xdp", interface="lo", mode="generic")
        assert (first.state, second.state) == ("closed", "attached")
        with pytest.raises(AttachError):
            bpfnb.load(
                XDP + 'SEC("tracepoint/syscalls/sys_enter_getppid") int again(void *ctx) { return 0; }\n'
                'SEC("uprobe") int lost(void *ctx) { return 0; }',
                name="t_xdp",
                interface="lo",
                mode="generic",
                options={"lost": {"binary": "/bin/true", "symbol": "no_such_function"}},
            )
        assert bpfnb.objects["t_xdp"] is second
        before = second.vars.packets
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(10):
                sender.sendto(b"x", ("127.0.0.1", 9))
        assert second.vars.packets >= before + 10
    finally:
        bpfnb.objects["t_xdp"].close()


def test_a_program_says_which_option_it_needs_and_a_wrong_section_shows_its_line():
    with bpfnb.load(XDP, name="t_needs") as obj:
        assert (obj.state, obj.programs["pass"].needs) == ("loaded", "interface")
        assert "no, needs interface" in str(obj)
        obj.programs["pass"].attach(interface="lo", mode="generic")
        assert obj.state == "attached"
    with pytest.raises(LoadError, match="xdpp") as caught:
        bpfnb.load("\n" + XDP.replace('"xdp"', '"xdpp"'), name="t_section")
    assert (caught.value.where.line, caught.value.where.column) == (4, 6)
    assert "did you mean xdp" in caught.value.hints[0]


def test_a_forked_child_may_close_and_the_parent_goes_on():
    with bpfnb.load(MANY, name="t_fork", globals={"wanted": os.getpid()}) as obj:
        child = os.fork()
        if child == 0:
            try:
                obj.stats()
                obj.close()
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.getppid()
        obj.events.wait_for(rows=1, timeout=10)
        assert obj.events.df.pid.to_list() == [os.getpid()]


def test_a_frame_counts_only_the_rows_it_holds():
    with bpfnb.load(MANY, name="t_moment", globals={"wanted": os.getpid()}) as obj:
        worker = threading.Thread(target=lambda: [os.getppid() for _ in range(300_000)])
        worker.start()
        try:
            while worker.is_alive():
                df = obj.events.df
                assert df.attrs["bpfnb"]["total"] == df.attrs["bpfnb"]["rows"] == len(df)
        finally:
            worker.join()
