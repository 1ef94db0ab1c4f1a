"""Whatever happens to a cell or its process, nothing stays in the kernel; and nothing falls between two versions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable

import pytest
from workloads import Worker

import bpfnb
from bpfnb.errors import AttachError, CompileError, VerifierError
from bpfnb.kernel.ids import programs

COUNT = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } hits SEC(".maps");
volatile u32 wanted = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u32 zero = 0;
    u64 *n = bpf_map_lookup_elem(&hits, &zero);
    if (n && (!wanted || bpf_get_current_pid_tgid() >> 32 == wanted))
        __sync_fetch_and_add(n, 1);
    return 0;
}
"""


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Await a condition of the kernel, which frees programs and links only after a grace period."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        threading.Event().wait(0.01)


def ids(obj: bpfnb.BpfObject) -> set[int]:
    return {program.info.id for program in obj.programs.values()}


def gone(numbers: Iterable[int]) -> None:
    numbers = set(numbers)
    assert numbers
    until(lambda: not numbers & program_ids())


def program_ids() -> set[int]:
    return {info.id for info in programs()}


def named(name: str) -> set[int]:
    return {info.id for info in programs() if info.name == name}


def test_ten_thousand_calls_give_ten_thousand():
    with bpfnb.load(COUNT, name="t_exact") as obj:
        obj.vars.wanted = os.getpid()
        for _ in range(10_000):
            os.getppid()
        assert obj.hits[0] == 10_000
        mine = ids(obj)
        assert mine <= program_ids()
    gone(mine)


def test_stop_keeps_the_maps_and_close_removes_everything():
    obj = bpfnb.load(COUNT, name="t_stop")
    obj.vars.wanted = os.getpid()
    os.getppid()
    obj.stop()
    os.getppid()
    assert obj.state == "stopped"
    assert obj.hits.df.value.to_list() == [1]
    mine = ids(obj)
    obj.close()
    obj.close()
    assert obj.state == "closed"
    assert "t_stop" not in bpfnb.objects
    gone(mine)


def test_pause_and_resume():
    with bpfnb.load(COUNT, name="t_pause") as obj:
        obj.vars.wanted = os.getpid()
        os.getppid()
        obj.pause()
        os.getppid()
        assert (obj.state, obj.hits[0]) == ("paused", 1)
        obj.resume()
        os.getppid()
        assert (obj.state, obj.hits[0]) == ("attached", 2)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ('SEC("tp_btf/sys_enter") int lc_compile(void *ctx) { return missing; }', CompileError),
        ('SEC("tp_btf/sys_enter") int lc_verify(void *ctx) { return *(int *)0; }', VerifierError),
        (
            'SEC("tp_btf/sys_exit") int lc_first(void *ctx) { return 0; }\n'
            'SEC("tracepoint/syscalls/no_such_call") int lc_attach(void *ctx) { return 0; }',
            AttachError,
        ),
    ],
)
def test_a_failure_leaves_nothing_and_keeps_the_old_object(source, error):
    old = bpfnb.load(COUNT, name="t_keep")
    try:
        old.vars.wanted = os.getpid()
        with pytest.raises(error):
            bpfnb.load(source, name="t_keep")
        assert bpfnb.objects["t_keep"] is old
        os.getppid()
        assert old.hits[0] == 1
        until(lambda: not (named("lc_compile") | named("lc_verify") | named("lc_first") | named("lc_attach")))
    finally:
        old.close()


def test_a_reload_has_no_gap(tmp_path):
    """Every call is counted by the old object, the new one, or (while both are attached) by both."""
    counts, enough = [], tmp_path / "enough"
    with Worker() as worker:
        options = {"name": "t_swap", "globals": {"wanted": worker.pid}, "watchdog": None}
        obj = bpfnb.load(COUNT, **options)
        try:
            worker.start(f"result = until({str(enough)!r}, getppid)")
            for _ in range(3):
                until(lambda obj=obj: obj.hits[0] > 0)
                seen, previous = threading.Event(), obj
                close = previous.loaded.close

                def closing(close=close, previous=previous, seen=seen):
                    counts.append(previous.hits[0])
                    seen.set()
                    close()

                previous.loaded.close = closing
                obj = bpfnb.load(COUNT, **options)
                assert seen.is_set()
            until(lambda: obj.hits[0] > 0)
            enough.touch()
            made = worker.finish()
            counts.append(obj.hits[0])
        finally:
            bpfnb.objects["t_swap"].close()
    assert len(counts) == 4
    assert sum(counts) >= made > 0


def test_kill_9_leaves_nothing():
    code = (
        "import bpfnb, sys, time\n"
        f"obj = bpfnb.load({COUNT!r}, name='t_killed')\n"
        "print(*(p.info.id for p in obj.programs.values()), flush=True)\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        numbers = {int(word) for word in child.stdout.readline().split()}
        assert numbers
        assert numbers <= program_ids()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    gone(numbers)


def test_exit_without_closing_leaves_nothing():
    code = f"import bpfnb\nobj = bpfnb.load({COUNT!r}, name='t_exit')\nprint(*(p.info.id for p in obj.programs.values()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    gone(int(word) for word in done.stdout.split())


def test_two_processes_with_one_name_do_not_disturb_each_other():
    code = (
        "import bpfnb, os, sys\n"
        f"obj = bpfnb.load({COUNT!r}, name='t_shared', globals={{'wanted': os.getpid()}})\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "[os.getppid() for _ in range(700)]\n"
        "print(obj.hits[0], flush=True)\n"
        "sys.stdin.readline()\n"
    )
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    )
    try:
        assert first.stdout.readline() == "ready\n"
        assert second.stdout.readline() == "ready\n"
        second.kill()
        second.wait()
        first.stdin.write("go\n")
        first.stdin.flush()
        assert first.stdout.readline() == "700\n"
    finally:
        for child in (first, second):
            child.kill()
            child.wait()


def test_the_watchdog_stops_what_costs_too_much():
    source = """
    volatile u64 sink;
    static long spin(u32 i, void *ctx) { sink += bpf_ktime_get_ns(); return 0; }
    SEC("tracepoint/syscalls/sys_enter_getppid") int burn(void *ctx) { bpf_loop(20000, spin, 0, 0); return 0; }
    """
    obj = bpfnb.load(source, name="t_watchdog", watchdog=0.2)
    mine = ids(obj)
    deadline = time.monotonic() + 30
    try:
        while obj.state == "attached" and time.monotonic() < deadline:
            os.getppid()
        assert obj.state == "stopped"
        assert "watchdog" in obj.note
        assert "20%" in obj.note
        assert not any(program.attached for program in obj.programs.values())
        before = obj.vars.sink
        os.getppid()
        assert obj.vars.sink == before, "the program still runs"
    finally:
        obj.close()
    gone(mine)


def test_a_cheap_program_is_left_alone_and_its_cost_is_shown():
    with bpfnb.load(COUNT, name="t_cheap") as obj:
        obj.stats()
        stop = time.monotonic() + 2
        while time.monotonic() < stop:
            os.getppid()
        stats = obj.stats().loc["count"]
        assert obj.state == "attached"
        assert stats.run_count > 1000
        assert 5 < stats.avg_ns < 20_000
        assert stats.run_time_ns == pytest.approx(stats.run_count * stats.avg_ns)


def test_interrupt_and_restart_of_a_notebook_kernel():
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:

        def run(code: str) -> str:
            out: list[str] = []
            client.execute_interactive(
                code,
                timeout=60,
                store_history=False,
                output_hook=lambda m: out.append(
                    m["content"].get("text", "") or str(m["content"].get("ename", ""))
                ),
            )
            return "".join(out)

        run("%load_ext bpfnb")
        run(f"%%bpf io\n{COUNT}")
        numbers = {int(word) for word in run("print(*(p.info.id for p in io.programs.values()))").split()}
        assert numbers <= program_ids()
        message = client.execute(
            "print('waiting', flush=True)\nimport time; time.sleep(600)", stop_on_error=False
        )
        while client.get_iopub_msg(timeout=30)["content"].get("text") != "waiting\n":
            pass
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=30)
        assert reply["parent_header"]["msg_id"] == message
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert run("print(io.state)") == "attached\n"
        assert numbers <= program_ids()
        manager.restart_kernel(now=True)
        gone(numbers)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_an_interrupt_while_replacing_leaves_nothing():
    source = COUNT.replace("int count(", "int lc_interrupt(")
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    interrupted = 0
    try:
        bpfnb.load(source, name="t_interrupt").close()
        for step in range(1, 61):
            bpfnb.load(source, name="t_interrupt")
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0007 * step)
                    bpfnb.load(source, name="t_interrupt")
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)  # it may come just before this, too
            except KeyboardInterrupt:
                interrupted += 1
            bpfnb.objects["t_interrupt"].close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    until(lambda: not named("lc_interrupt"))
