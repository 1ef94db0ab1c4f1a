"""The pump's waking under stress: no record waits for a look around, whatever else happens to the streams."""

from __future__ import annotations

import os
import random
import threading

import pytest
from workloads import Worker, await_true

import bpfnb
from bpfnb.frames import pump

CELL = """
const volatile u32 wanted[2];
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } small SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } large SEC(".maps");
struct call { u32 pid; };

SEC("tp/syscalls/sys_enter_getppid") int called(void *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct call *call;

    if (pid != wanted[0] && pid != wanted[1])
        return 0;
    if ((call = bpf_ringbuf_reserve(&small, sizeof(*call), 0))) {
        call->pid = pid;
        bpf_ringbuf_submit(call, 0);
    }
    if ((call = bpf_ringbuf_reserve(&large, sizeof(*call), 0))) {
        call->pid = pid;
        bpf_ringbuf_submit(call, 0);
    }
    return 0;
}
"""


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> pump._Pump:
    """A pump that never looks around by itself, and never rests: it lives by being woken."""
    monkeypatch.setattr(pump, "QUIET", 600)
    monkeypatch.setattr(pump, "_SILENCE", -1)
    monkeypatch.setattr(pump, "LONG_REST", 0)
    monkeypatch.setattr(pump, "_pump", made := pump._Pump())
    return made


@pytest.mark.timeout(400)  # each of 300 bursts is waited for
def test_every_burst_wakes_though_others_drain_and_streams_come_and_go(sleeper: pump._Pump) -> None:
    """One ring overflows again and again, in the other all find room; two processes write at once."""
    chance = random.Random(1)
    over = threading.Event()
    woken: list[bool] = []

    def drain(stream: bpfnb.Stream) -> None:
        while not over.wait(chance.random() / 100):
            stream.drain()

    def come_and_go(name: str) -> None:
        while not over.is_set():
            with bpfnb.load(CELL, name=name, globals={"wanted": [os.getpid(), 0]}) as passing:
                os.getppid()
                woken.append(passing.large.wait_for(rows=1, timeout=60))

    with (
        Worker() as one,
        Worker() as other,
        bpfnb.load(CELL, name="stress", globals={"wanted": [one.pid, other.pid]}) as stress,
    ):
        threads = [threading.Thread(target=drain, args=(stress.small,))]
        threads += [threading.Thread(target=come_and_go, args=(f"passing_{n}",)) for n in range(2)]
        for thread in threads:
            thread.start()
        sent = 0
        try:
            for _ in range(300):
                burst = chance.choice([1, 1, 2, 7, 200, 600])
                for worker in (one, other):
                    worker.start(f"getppid({burst})")
                for worker in (one, other):
                    worker.finish()
                sent += 2 * burst
                assert stress.large.wait_for(rows=sent, timeout=60)
                await_true(lambda: stress.small.fill == 0)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert woken
        assert all(woken)
        assert stress.large.total == sent
        assert stress.large.lost == 0
        assert stress.small.total + stress.small.lost == sent
        thread = sleeper._thread
        assert thread is not None
    thread.join(60)
    assert not thread.is_alive()


QUIETLY = """
const volatile u32 wanted;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } calls SEC(".maps");
struct call { u32 pid; };

SEC("tp/syscalls/sys_enter_getppid") int called(void *ctx)
{
    struct call call = {bpf_get_current_pid_tgid() >> 32};

    if (call.pid == wanted)
        bpf_ringbuf_output(&calls, &call, sizeof(call), BPF_RB_NO_WAKEUP);
    return 0;
}
"""


def test_a_program_that_does_not_wake_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the pump has become quiet."""
    monkeypatch.setattr(pump, "_SILENCE", -1)
    with Worker() as worker, bpfnb.load(QUIETLY, name="quietly", globals={"wanted": worker.pid}) as quietly:
        for rows in (3, 6, 9):
            worker.run("getppid(3)")
            assert quietly.calls.wait_for(rows=rows, timeout=60)
        assert quietly.calls.total == 9


def test_a_fork_leaves_the_pumps_descriptors_to_its_parent() -> None:
    with Worker() as worker, bpfnb.load(QUIETLY, name="quietly", globals={"wanted": worker.pid}) as quietly:
        bell, epoll = pump._pump._bell, pump._pump._epoll
        assert epoll is not None
        place = epoll.fileno()
        child = os.fork()
        if not child:
            held = sum(os.path.exists(f"/proc/self/fd/{fd}") for fd in (bell, place))
            os._exit(held)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        worker.run("getppid(5)")
        assert quietly.calls.wait_for(rows=5, timeout=60)
