"""Every section that attaches to the kernel itself fires, with exact counts; what this kernel refuses says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from workloads import Worker, await_true, left_over, load, object_ids, u64

from bpfnb.errors import AttachError, KernelFeatureMissing
from bpfnb.kernel import ids
from bpfnb.kernel.system import online_cpus

N = 1000

COUNT = """
const volatile u32 wanted;
u64 seen;
static int count(void)
{{
    if (bpf_get_current_pid_tgid() >> 32 == wanted)
        __sync_fetch_and_add(&seen, 1);
    return 0;
}}
{program}
"""


def counter(program: str, pid: int, **settings):
    return load(COUNT.format(program=program), wanted=pid, **settings)


def seen(obj) -> int:
    return u64(obj.read_bytes(".bss", 0, 8))


@pytest.fixture
def worker():
    with Worker() as made:
        yield made


SYSCALLS = {
    "tracepoint": 'SEC("tracepoint/syscalls/sys_enter_getppid") int prog(void *ctx) { return count(); }',
    "tp": 'SEC("tp/syscalls/sys_exit_getppid") int prog(void *ctx) { return count(); }',
    "raw_tracepoint": """SEC("raw_tracepoint/sys_enter")
        int prog(struct bpf_raw_tracepoint_args *ctx) { return ctx->args[1] == 110 ? count() : 0; }""",
    "raw_tp": """SEC("raw_tp/sys_enter")
        int prog(struct bpf_raw_tracepoint_args *ctx) { return ctx->args[1] == 110 ? count() : 0; }""",
    "raw_tp.w": """SEC("raw_tp.w/sys_enter")
        int prog(struct bpf_raw_tracepoint_args *ctx) { return ctx->args[1] == 110 ? count() : 0; }""",
    "tp_btf": """SEC("tp_btf/sys_enter")
        int BPF_PROG(prog, struct pt_regs *regs, long id) { return id == 110 ? count() : 0; }""",
}


@pytest.mark.parametrize("section", SYSCALLS)
def test_fires_once_a_call(worker, section):
    with counter(SYSCALLS[section], worker.pid) as obj:
        assert obj.programs["prog"].auto_attach
        link = obj.attach("prog")
        worker.run(f"getppid({N})")
        assert seen(obj) == N
        obj.detach(link)
        worker.run(f"getppid({N})")
        assert seen(obj) == N


@pytest.mark.parametrize(
    ("section", "target"),
    [
        ("tp", "syscalls:sys_enter_getppid"),
        ("raw_tp", "sched_switch"),
        ("raw_tracepoint", "sched:sched_switch"),
    ],
)
def test_the_tracepoint_may_come_as_an_option(worker, section, target):
    with counter(f'SEC("{section}") int prog(void *ctx) {{ return count(); }}', worker.pid) as obj:
        assert not obj.programs["prog"].auto_attach
        with pytest.raises(AttachError, match="tracepoint"):
            obj.attach("prog")
        obj.attach("prog", tracepoint=target)
        worker.run(f"getppid({N})\nfor _ in range(5): time.sleep(0.001)")
        assert seen(obj) == N if section == "tp" else seen(obj) >= 5


def test_cookie_tells_attachments_apart(worker):
    source = """
    const volatile u32 wanted;
    u64 cookies;
    SEC("tp") int prog(void *ctx)
    {
        if (bpf_get_current_pid_tgid() >> 32 == wanted)
            __sync_fetch_and_add(&cookies, bpf_get_attach_cookie(ctx));
        return 0;
    }
    """
    with load(source, wanted=worker.pid) as obj:
        obj.attach("prog", tracepoint="syscalls:sys_enter_getppid", cookie=1)
        obj.attach("prog", tracepoint="syscalls:sys_exit_getppid", cookie=1000)
        worker.run("getppid(7)")
        assert u64(obj.read_bytes(".bss", 0, 8)) == 7007


def test_perf_event_counts_page_faults(worker):
    program = 'SEC("perf_event") int prog(struct bpf_perf_event_data *ctx) { return count(); }'
    with counter(program, worker.pid) as obj:
        worker.run("faults(8)")
        obj.attach("prog", event="page-faults", period=1, pid=worker.pid)
        worker.run("before = open('/proc/self/stat').read().split()[9:12:2]")
        start = seen(obj)
        worker.run("faults(1000)")
        grown = seen(obj) - start
        assert 1000 <= grown <= 1040  # besides the pages asked for, the interpreter touches a few of its own


def test_perf_event_samples_on_every_cpu(worker):
    program = 'SEC("perf_event") int prog(struct bpf_perf_event_data *ctx) { return count(); }'
    with counter(program, worker.pid) as obj:
        link = obj.attach("prog", frequency=499)
        cpus = len(obj.link_ids(link))
        assert cpus == len(online_cpus())
        worker.start("burn(30)")
        await_true(lambda: seen(obj) >= 20)
        held = object_ids(obj)
        obj.detach(link)
        assert not left_over({"link": held["link"]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": "cpu-clok"}, "cpu-clock"),
        ({"frequency": 10, "period": 10}, "exclude"),
        ({"frequency": 0}, "positive"),
        ({"pid": 2**22 + 1}, "no process"),
        ({"interface": "lo"}, "takes no option"),
    ],
)
def test_perf_event_errors(options, message):
    with load('SEC("perf_event") int prog(void *ctx) { return 0; }') as obj:
        with pytest.raises(AttachError, match=message) as caught:
            obj.attach("prog", **options)
        assert caught.value.program == "prog"
        assert obj.link_ids() == []


def test_hardware_events_where_there_are_none():
    if Path("/sys/bus/event_source/devices/cpu").exists():
        pytest.skip("this machine has hardware counters")
    with load('SEC("perf_event") int prog(void *ctx) { return 0; }') as obj:
        with pytest.raises(KernelFeatureMissing, match="hardware") as caught:
            obj.attach("prog", event="cycles")
        assert "cycles" in caught.value.feature
        assert obj.link_ids() == []


def has_kprobes() -> bool:
    return Path("/sys/bus/event_source/devices/kprobe").exists()


@pytest.mark.parametrize(
    "section",
    ["kprobe/do_sys_openat2", "kretprobe/do_sys_openat2", "ksyscall/getppid", "kretsyscall/getppid"],
)
def test_kprobe_fires_or_says_that_the_kernel_has_none(worker, section):
    obj = counter(f'SEC("{section}") int prog(void *ctx) {{ return count(); }}', worker.pid)
    with obj:
        if has_kprobes():
            obj.attach("prog")
            worker.run(f"opens('/dev/null', {N}); getppid({N})")
            assert seen(obj) >= N
            return
        with pytest.raises(KernelFeatureMissing) as caught:
            obj.attach("prog")
        assert caught.value.feature == section.split("/")[0]
        assert caught.value.hints
        assert obj.link_ids() == []
        held = object_ids(obj)
    assert not left_over(held)


def test_kprobe_multi_is_missing_with_kprobes(worker):
    with counter(
        'SEC("kprobe.multi/do_sys_open*") int prog(void *ctx) { return count(); }', worker.pid
    ) as obj:
        if has_kprobes():
            obj.attach("prog")
            return
        with pytest.raises(KernelFeatureMissing) as caught:
            obj.attach("prog")
        assert caught.value.feature == "kprobe.multi"


@pytest.mark.parametrize(
    ("section", "arguments"),
    [
        ("fentry/do_sys_openat2", ""),
        ("fexit/do_sys_openat2", ""),
        ("fmod_ret/__x64_sys_getpgid", ""),
        ("lsm/file_open", ", struct file *file"),
    ],
)
def test_trampolines_fire_or_are_refused_at_load(worker, section, arguments):
    before = {program.id for program in ids.programs()}
    program = f'SEC("{section}") int BPF_PROG(trampoline_t{arguments}) {{ return count(); }}'
    missing = None
    try:
        obj = counter(program, worker.pid)
    except KernelFeatureMissing as error:
        missing = error
    if missing is None:
        with obj:
            obj.attach("trampoline_t")
            worker.run(f"opens('/dev/null', {N})")
            assert seen(obj) >= N
        return
    assert (missing.feature, missing.program, missing.section) == (
        section.split("/")[0],
        "trampoline_t",
        section,
    )
    assert missing.hints
    assert "ulimit" not in str(missing) + missing.log
    assert not [p for p in ids.programs() if p.id not in before and p.name == "trampoline_t"]


ITER = """
SEC("iter/task") int prog(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    if (task)
        BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d\\n", task->tgid, task->pid);
    return 0;
}
"""


def test_iter_task_lists_every_task(worker):
    with load(ITER) as obj:
        assert not obj.programs["prog"].auto_attach
        rows = [line.split() for line in obj.run_iter("prog").decode().splitlines()]
        assert [str(worker.pid)] * 2 in rows
        assert [str(os.getpid())] * 2 in rows
        assert obj.link_ids() == []


def test_iter_task_of_one_process(worker):
    worker.run("stop = threading.Event(); threads = [threading.Thread(target=stop.wait) for _ in range(3)]")
    worker.run("for t in threads: t.start()")
    with load(ITER) as obj:
        rows = [line.split() for line in obj.run_iter("prog", pid=worker.pid).decode().splitlines()]
        assert len(rows) == 4
        assert {tgid for tgid, _ in rows} == {str(worker.pid)}
        one = obj.run_iter("prog", tid=int(rows[-1][1])).decode().split()
        assert one == rows[-1]
    worker.run("stop.set()")


def test_iter_over_a_map():
    source = """
    struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u64); __uint(max_entries, 8); }
        squares SEC(".maps");
    SEC("iter/bpf_map_elem") int prog(struct bpf_iter__bpf_map_elem *ctx)
    {
        u32 *key = ctx->key; u64 *value = ctx->value;
        if (key && value)
            BPF_SEQ_PRINTF(ctx->meta->seq, "%d=%llu\\n", *key, *value);
        return 0;
    }
    """
    with load(source) as obj:
        for k in range(5):
            obj.update("squares", k.to_bytes(4, "little"), (k * k).to_bytes(8, "little"))
        assert set(obj.run_iter("prog", map="squares").decode().split()) == {
            "0=0",
            "1=1",
            "2=4",
            "3=9",
            "4=16",
        }
        with pytest.raises(AttachError, match="option 'map'"):
            obj.run_iter("prog")
        with pytest.raises(AttachError, match="squares"):
            obj.run_iter("prog", map="square")


def test_iter_writes_more_than_one_buffer():
    source = """
    SEC("iter/task") int prog(struct bpf_iter__task *ctx)
    {
        static const char row[1024] = "x";
        if (ctx->task)
            bpf_seq_write(ctx->meta->seq, row, sizeof(row));
        return 0;
    }
    """
    with load(source) as obj:
        data = obj.run_iter("prog")
        assert len(data) % 1024 == 0
        assert len(data) // 1024 >= 2


STRUCT_OPS = """
u64 seen;
SEC("struct_ops/bpfnb_ssthresh") u32 BPF_PROG(bpfnb_ssthresh, struct sock *sk) { return 2; }
SEC("struct_ops/bpfnb_undo") u32 BPF_PROG(bpfnb_undo, struct sock *sk) { return 2; }
SEC("struct_ops/bpfnb_init") void BPF_PROG(bpfnb_init, struct sock *sk) { __sync_fetch_and_add(&seen, 1); }
SEC("struct_ops/bpfnb_avoid") void BPF_PROG(bpfnb_avoid, struct sock *sk, u32 ack, u32 acked) {}
SEC("SECTION") struct tcp_congestion_ops bpfnb_cc = {
    .ssthresh = (void *)bpfnb_ssthresh,
    .undo_cwnd = (void *)bpfnb_undo,
    .init = (void *)bpfnb_init,
    .cong_avoid = (void *)bpfnb_avoid,
    .name = "bpfnb_test",
};
"""


@pytest.mark.parametrize("section", [".struct_ops", ".struct_ops.link"])
def test_struct_ops_registers_and_ends(worker, section):
    available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
    with load(STRUCT_OPS.replace("SECTION", section)) as obj:
        auto = [name for name, program in obj.programs.items() if program.auto_attach]
        assert len(auto) == 1  # one attachment registers the whole struct
        obj.attach(auto[0])
        assert "bpfnb_test" in available.read_text().split()
        use = "s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, 13, b'bpfnb_test'); s.close()"
        worker.run(f"for _ in range(10): {use}")
        held = object_ids(obj)
    await_true(lambda: "bpfnb_test" not in available.read_text().split())
    assert not left_over(held)


def test_syscall_program_runs_by_hand():
    source = """
    struct args { u64 a; u64 b; u64 sum; };
    SEC("syscall") int prog(struct args *ctx) { ctx->sum = ctx->a + ctx->b; return 7; }
    """
    with load(source) as obj:
        out = obj.test_run("prog", ctx=b"".join(n.to_bytes(8, "little") for n in (40, 2, 0)))
        assert out[0] == 7
        assert u64(out[1][16:24]) == 42
        with pytest.raises(AttachError, match="test_run"):
            obj.attach("prog")


def test_raw_tracepoint_test_run():
    source = """
    u64 sum;
    SEC("raw_tp/sys_enter") int prog(struct bpf_raw_tracepoint_args *ctx)
    { sum = ctx->args[0] + ctx->args[1]; return 5; }
    """
    with load(source) as obj:
        assert obj.test_run("prog", ctx=(30).to_bytes(8, "little") + (3).to_bytes(8, "little"))[0] == 5
        assert u64(obj.read_bytes(".bss", 0, 8)) == 33


def test_packet_test_run_repeats():
    source = """
    u64 runs;
    SEC("xdp") int prog(struct xdp_md *ctx)
    {
        void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
        __sync_fetch_and_add(&runs, 1);
        if (data + 14 <= end) *(u8 *)data = 0xaa;
        return XDP_DROP;
    }
    """
    with load(source) as obj:
        retval, out, nanoseconds = obj.test_run("prog", bytes(64), repeat=1000)
        assert (retval, len(out), out[0]) == (1, 64, 0xAA)
        assert nanoseconds < 100_000
        assert u64(obj.read_bytes(".bss", 0, 8)) == 1000
        with pytest.raises(AttachError, match="14 bytes"):
            obj.test_run("prog", b"short")
