"""Disposable kernels: hooks of two kernels that fire, an LSM that denies, errors at the cell's lines, maps, buffers."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

import bpfnb
import bpfnb.vm
from bpfnb.errors import AttachError, BadValue, MapFull, MissingDependency, UnknownName, VerifierError

KERNELS = ("6.1", "6.12")

HOOKS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct event { u64 ts; u32 pid; u32 hook; u32 parent; char comm[16]; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 18);
    __type(value, struct event);
} events SEC(".maps");
const volatile u32 deny = 0;
u64 seen = 0;

static void emit(u32 hook)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    __sync_fetch_and_add(&seen, 1);
    if (!e)
        return;
    struct task_struct *task = (void *)bpf_get_current_task();
    e->ts = bpf_ktime_get_ns();
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->hook = hook;
    e->parent = BPF_CORE_READ(task, real_parent, tgid);
    bpf_get_current_comm(e->comm, 16);
    bpf_ringbuf_submit(e, 0);
}

SEC("kprobe/do_unlinkat") int BPF_KPROBE(on_kprobe) { emit(1); return 0; }
SEC("kretprobe/do_unlinkat") int BPF_KRETPROBE(on_kretprobe) { emit(2); return 0; }
SEC("fentry/vfs_unlink") int BPF_PROG(on_fentry) { emit(3); return 0; }
SEC("fexit/vfs_unlink") int BPF_PROG(on_fexit) { emit(4); return 0; }
SEC("tracepoint/syscalls/sys_enter_unlink") int on_tracepoint(void *ctx) { emit(6); return 0; }
SEC("tp_btf/sched_process_exec") int BPF_PROG(on_exec) { emit(7); return 0; }
SEC("lsm/inode_unlink") int BPF_PROG(on_lsm)
{
    emit(5);
    return deny ? -13 : 0;
}
char LICENSE[] SEC("license") = "GPL";
"""

MAPS = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u64); __uint(max_entries, 100000); } h SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u64); __uint(max_entries, 2); } tiny SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __type(value, u32); __uint(max_entries, 4); } q SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, u32); __type(value, u64); __uint(max_entries, 3); } p SEC(".maps");
u64 number = 7;
static long fill(u32 i, void *ctx) { u64 v = (u64)i * i; bpf_map_update_elem(&h, &i, &v, 0); return 0; }
SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx) { bpf_loop(50000, fill, 0, 0); number++; return 0; }
"""


@pytest.fixture(scope="module", params=KERNELS)
def vm(request: pytest.FixtureRequest) -> Iterator[bpfnb.vm.Vm]:
    try:
        machine = bpfnb.vm.start(request.param)
    except MissingDependency as error:
        pytest.skip(str(error))
    with machine:
        yield machine


def function_address(vm) -> int:
    return next(
        int(line.split()[0], 16)
        for line in vm.read("/proc/kallsyms").decode().splitlines()
        if line.endswith(" T vfs_unlink")
    )


def rows(stream, count: int):
    deadline = time.monotonic() + 30
    while len(frame := stream.frame()) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return frame


def test_every_kind_of_hook_fires_in_the_guest(vm):
    with bpfnb.load(HOOKS, name="hooks", on=vm) as hooks:
        done = vm.run("touch /tmp/a; sh -c 'echo $$ > /tmp/pid; exec rm /tmp/a'; ls /tmp", check=True)
        assert done.stdout.split() == ["pid"]
        pid = int(vm.read("/tmp/pid"))
        frame = rows(hooks.events, 7)
        of_rm = frame[(frame.pid == pid) & (frame.hook != 7)]
        assert sorted(of_rm.hook) == [1, 2, 3, 4, 5, 6]
        assert set(of_rm.comm) == {"rm"}
        assert hooks.vars.seen == len(frame)
        assert abs(int(frame.ts.iloc[-1]) + vm.backend.clock_offset - time.time_ns()) < 60e9
        assert hooks.events.provenance["kernel"] == f"{vm.kernel.release} (virtual machine)"
    vm.run("rm /tmp/pid", check=True)


def test_core_relocation_reads_the_guests_task(vm):
    with bpfnb.load(HOOKS, name="hooks", on=vm) as hooks:
        vm.run("sh -c 'echo $$ > /tmp/parent; touch /tmp/a; rm /tmp/a; true'", check=True)
        parent = int(vm.read("/tmp/parent"))
        frame = rows(hooks.events, 6)
        assert set(frame[(frame.hook == 1)].parent) == {parent}
    vm.run("rm /tmp/parent", check=True)


def test_an_lsm_program_denies_in_the_guest_alone(vm, tmp_path):
    (tmp_path / "kept").write_text("")
    with bpfnb.load(HOOKS, name="denying", on=vm, globals={"deny": 1}):
        done = vm.run("touch /tmp/kept; rm /tmp/kept")
        assert done.returncode == 1
        assert "Permission denied" in done.stderr
        (tmp_path / "kept").unlink()
    assert vm.run("rm /tmp/kept").returncode == 0


def test_the_verifier_of_the_guest_is_explained_at_the_cells_line(vm):
    source = HOOKS.replace("e->ts = bpf_ktime_get_ns();", "e->ts = *(u64 *)bpf_get_current_task();")
    with pytest.raises(VerifierError) as caught:
        bpfnb.load(source, name="refused", on=vm)
    assert caught.value.where.line == source[: source.index("e->ts =")].count("\n") + 1


def test_what_an_lsm_program_may_return_is_said(vm):
    if vm.kernel.version < (6, 12):
        pytest.skip("its verifier lets LSM programs return anything")
    with pytest.raises(
        VerifierError, match=r"not in the range \[-4095, 0\] that an LSM program may return"
    ) as caught:
        bpfnb.load(HOOKS.replace("deny ? -13 : 0", "1"), name="refused", on=vm)
    assert "return denied ? -13 : 0;" in str(caught.value.hints)
    assert "return 1" not in str(caught.value.hints)


def test_a_function_that_the_guest_lacks_is_named_with_its_nearest(vm):
    source = HOOKS.replace("fentry/vfs_unlink", "fentry/vfs_unlinck")
    with pytest.raises(AttachError, match="no function 'vfs_unlinck'") as caught:
        bpfnb.load(source, name="absent", on=vm)
    assert "vfs_unlink" in str(caught.value.hints)
    assert caught.value.where.line == source[: source.index("vfs_unlinck")].count("\n") + 1
    source = HOOKS.replace("kprobe/do_unlinkat", "kprobe/do_unlinkatt")
    with pytest.raises(AttachError, match="no kernel function 'do_unlinkatt'"):
        bpfnb.load(source, name="absent", on=vm)
    source = HOOKS.replace("sys_enter_unlink", "sys_enter_unlinkk")
    with pytest.raises(AttachError, match="no tracepoint"):
        bpfnb.load(source, name="absent", on=vm)


def test_maps_and_globals_of_the_guest(vm):
    with bpfnb.load(MAPS, name="maps", on=vm) as maps:
        assert maps.vars.number == 7
        maps.vars.number = 41
        vm._remote.call("getpgid", 0)
        assert maps.vars.number == 42
        keys, values = maps.loaded.read_all("h")
        assert len(keys) == 50000
        numbers = keys.view(np.uint32).ravel().astype(np.uint64)
        assert (values.view(np.uint64).ravel() == numbers * numbers).all()
        h = maps.loaded
        assert h.lookup("h", (7).to_bytes(4, "little")) == (49).to_bytes(8, "little")
        assert h.lookup("h", (70000).to_bytes(4, "little")) is None
        assert h.delete("h", (7).to_bytes(4, "little")) is True
        assert h.delete("h", (7).to_bytes(4, "little")) is False
        for number in (1, 2):
            h.update("q", b"", number.to_bytes(4, "little"))
            h.update("tiny", number.to_bytes(4, "little"), bytes(8))
        with pytest.raises(MapFull):
            h.update("tiny", (3).to_bytes(4, "little"), bytes(8))
        assert [h.pop("q"), h.pop("q"), h.pop("q")] == [b"\1\0\0\0", b"\2\0\0\0", None]
        keys, values = h.read_all("p")
        assert keys.shape == (3, 4)
        assert values.shape == (3, 8 * h.maps["p"].cpus)


def test_statistics_are_the_guests(vm):
    with bpfnb.load(MAPS, name="maps", on=vm) as maps, maps.statistics():
        before = maps.loaded.stats()["go"].run_count
        vm._remote.call("getpgid", 0)
        assert maps.loaded.stats()["go"].run_count == before + 1


def test_a_perf_buffer_of_the_guest(vm):
    source = """
struct event { u32 pid; u32 number; };
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(value, struct event); } events SEC(".maps");
u32 number = 0;
SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx)
{
    struct event e = { bpf_get_current_pid_tgid() >> 32, number++ };
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));
    return 0;
}
"""
    with bpfnb.load(source, name="perf", on=vm) as perf:
        for _ in range(20):
            vm._remote.call("getpgid", 0)
        frame = rows(perf.events, 20)
        assert list(frame.number) == list(range(20))
        assert set(frame.pid) == {1}


BURST = """
struct event { ktime_ns_t when; u64 number; pid_t pid; stack_id_t stack; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct event); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u64); __uint(max_entries, 8); } sums SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); __uint(value_size, 127 * 8); __uint(max_entries, 64);
} stacks SEC(".maps");
u64 tried = 0, burst = 1;
static long emit(u32 i, s32 *stack)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    tried++;
    if (!e)
        return 0;
    e->when = bpf_ktime_get_ns();
    e->number = tried;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->stack = *stack;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx)
{
    u32 key = 7;
    s32 stack = bpf_get_stackid(ctx, &stacks, 0);
    bpf_loop(burst, emit, &stack, 0);
    bpf_map_update_elem(&sums, &key, &tried, 0);
    return 0;
}
"""


def test_what_a_full_buffer_of_the_guest_has_no_room_for_is_counted(vm):
    """All in one system call: the agent cannot empty the buffer meanwhile, which holds 102 records of 40 bytes."""
    with bpfnb.load(BURST, name="losing", on=vm) as losing:
        losing.vars.burst = 5000
        for called in (1, 2):
            vm._remote.call("getpgid", 0)
            rows(losing.events, 100 * called)
        frame = losing.events.frame()
        numbers = [*range(1, 101), *range(5001, 5101)]
        assert [number for number in frame.number if number in numbers] == numbers
        assert losing.events.lost > 9000
        assert len(frame) + losing.events.lost == losing.vars.tried == 10000


LARGE = """
struct event { u64 number; u8 more[248]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 24); __type(value, struct event); } events SEC(".maps");
u64 number = 0;
static long emit(u32 i, void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 1;
    e->number = number++;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx) { bpf_loop(60000, emit, 0, 0); return 0; }
"""


def test_what_the_guests_buffer_holds_is_in_the_frame_and_stays_when_it_is_closed(vm):
    """Nothing is waited for here: 15 MB are there after one system call, more than are sent without being taken."""
    large = bpfnb.load(LARGE, name="large", on=vm)
    vm._remote.call("getpgid", 0)
    assert list(large.events.frame().number) == list(range(60000))
    vm._remote.call("getpgid", 0)
    large.close()
    assert large.events.total == 120000
    assert large.events.lost == 0


def test_a_recording_of_a_guest_is_the_guests(vm, tmp_path):
    with bpfnb.load(BURST, name="burst", on=vm) as burst:
        with bpfnb.record(burst, tmp_path / "guest.bpfnb") as recorder:
            for _ in range(5):
                vm._remote.call("getpgid", 0)
            before = rows(burst.events, 5)
            sums = burst.sums.df
        assert recorder.rows == 5
        with (
            bpfnb.load("u64 n;", name="here", attach=False) as here,
            pytest.raises(BadValue, match="a recording is of one kernel"),
        ):
            bpfnb.record([burst, here], tmp_path / "both.bpfnb")
        with pytest.raises(BadValue, match="facts are told of this machine"):
            bpfnb.record(burst, tmp_path / "facts.bpfnb", facts=["hostname"])
    with bpfnb.replay(tmp_path / "guest.bpfnb") as again:
        pd.testing.assert_frame_equal(again.events.df, before)
        pd.testing.assert_frame_equal(again.sums.df, sums)
        assert abs(again.events.df.when.iloc[-1].timestamp() - time.time()) < 60
        assert again.origin.endswith(f"on kernel {vm.kernel.release} (virtual machine)")
        assert again.events.provenance["kernel"] == f"{vm.kernel.release} (virtual machine)"
    with zipfile.ZipFile(tmp_path / "guest.bpfnb") as archive:
        assert "processes.parquet" not in archive.namelist()  # this machine's of those numbers are others
        if vm.kernel.version < (6, 12):  # 6.1 gives no stack at a system call's tracepoint
            return
        symbols = pd.read_parquet(io.BytesIO(archive.read("symbols.parquet")))
    assert "do_syscall_64" in set(symbols["name"])
    kernel = symbols[symbols["kind"] == "kernel"]
    named = vm.backend.symbols.names([[address] for address in kernel["address"]], -1)
    assert [name for (name,) in named] == [f"{name}_[k]" for name in kernel["name"]]


def test_xdp_and_cgroup_in_the_guest(vm):
    source = """
u64 packets = 0, connects = 0;
SEC("xdp") int on_packet(struct xdp_md *ctx) { __sync_fetch_and_add(&packets, 1); return XDP_PASS; }
SEC("cgroup/connect4") int on_connect(struct bpf_sock_addr *ctx) { __sync_fetch_and_add(&connects, 1); return 1; }
"""
    with bpfnb.load(source, name="net", on=vm, interface="lo") as net:
        vm.run("ping -c 2 127.0.0.1", check=True)
        assert net.vars.packets == 4
        vm.run("nc -w 1 127.0.0.1 1")
        assert net.vars.connects == 1
        with pytest.raises(AttachError, match="there is no network interface 'eth7'"):
            net.programs["on_packet"].attach(interface="eth7")


def test_iterators_list_the_guests_tasks(vm):
    source = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
SEC("iter/task") int list(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    if (task && task->pid == task->tgid)
        BPF_SEQ_PRINTF(ctx->meta->seq, "%d %s\\n", task->pid, task->comm);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
    with bpfnb.load(source, name="tasks", on=vm) as tasks:
        lines = tasks.loaded.run_iter("list").decode().splitlines()
    assert "1 init" in lines
    assert f"{os.getpid()} " not in "\n".join(lines) or len(lines) < 200


def test_uprobe_on_a_file_that_was_put_there(vm):
    source = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
u64 calls = 0;
SEC("uprobe/libbpf.so.1:libbpf_version_string") int on_call(void *ctx) { calls++; return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
    with bpfnb.load(source, name="uprobe", on=vm) as probe:
        for _ in range(3):
            vm._remote.call("libbpf_version_string")
        assert probe.vars.calls == 3


def test_commands_have_output_input_exit_codes_and_a_time_limit(vm, tmp_path):
    assert vm.run("cat; echo no >&2; exit 3", input="words").stdout == "words"
    done = vm.run(["sh", "-c", "echo $0 $1; exit 3", "a b", "c"])
    assert (done.stdout, done.returncode) == ("a b c\n", 3)
    assert vm.run("kill -9 $$").returncode == -9
    assert len(vm.run("head -c 3000000 /dev/zero | tr '\\0' x").stdout) == 3000000
    with pytest.raises(Exception, match="timed out"):
        vm.run("sleep 1000", timeout=0.3)
    assert vm.run("pidof sleep").returncode == 1
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "script").write_text("#!/bin/sh\necho $((6 * 7))\n")
    (tmp_path / "folder" / "script").chmod(0o755)
    where = vm.put(tmp_path / "folder")
    assert vm.run([f"{where}/script"]).stdout == "42\n"


def test_features_tell_what_the_guests_kernel_has(vm):
    found = vm.features()
    assert found["release"] == vm.kernel.release
    assert found["attach"]["lsm"]
    assert found["attach"]["kprobe"]
    assert found["attach"]["tcx"] is (vm.kernel.version >= (6, 6))
    assert found["map_types"]["arena"] is False or vm.kernel.version >= (6, 9)
    assert found["program_types"]["tracing"] is True or found["program_types"]["kprobe"] is True


def test_a_guest_that_does_not_run_is_named():
    with pytest.raises(UnknownName, match="no virtual machine 'absent' runs"):
        bpfnb.load(MAPS, on="absent")


def test_a_ready_made_tool_traces_the_guest(vm):
    with bpfnb.tools.execsnoop(on=vm) as execs:
        vm.run("true; echo > /tmp/words", check=True)
        vm.run(["cat", "/tmp/words"], check=True)
        deadline = time.monotonic() + 30
        while "cat" not in set(execs.df["comm"]) and time.monotonic() < deadline:
            time.sleep(0.05)
        frame = execs.df
        assert "cat" in set(frame["comm"])
        assert "virtual machine" in execs.object.origin


def test_functions_of_the_guests_kernel_are_named(vm):
    address = function_address(vm)
    assert vm.backend.symbols.names([[address + 4, 0x1234]], -1, order="root") == [
        ["vfs_unlink_[k]", "0x1234"]
    ]
