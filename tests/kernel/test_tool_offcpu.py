"""offcputime, offwaketime and wakeuptime on the live kernel: waits of known length, with their stacks and wakers."""

from __future__ import annotations

import subprocess
import time

import pandas as pd
import pytest
from test_symbols_live import built
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.errors import UnknownName

# Sleeps of a known function; how long they took in all, in s, as the sleeper saw it.
SLEEPS = """
result = 0
for length in {lengths}:
    began = time.monotonic()
    time.sleep(length)
    result += time.monotonic() - began
"""


def sleeping(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["kernel_stack"].astype(object).fillna("").str.contains("nanosleep")]


def seconds(frame: pd.DataFrame) -> float:
    return frame["blocked"].sum() / 1e9


def test_a_sleeper_is_off_cpu_as_long_as_it_sleeps_and_no_other_is_seen():
    with Worker() as worker, Worker() as other, tools.offcputime(pid=worker.pid) as waits:
        held = object_ids(waits.object.loaded)
        other.start(SLEEPS.format(lengths=[0.2]))
        slept = worker.run(SLEEPS.format(lengths=[0.02] * 50))
        other.finish()
        waits.stop()
        frame = waits.df
        view = waits.view()
        assert view.tree.total == frame["blocked"].sum()
    assert left_over(held) == {}
    assert set(frame["pid"]) == {worker.pid}
    own = sleeping(frame)
    assert seconds(own) == pytest.approx(slept, rel=0.05)
    told = frame.attrs["bpfnb"]
    missed = told["lost_by"].get("missed", 0)  # some machines do not tell of each switch
    assert 48 <= own["count"].sum() <= 50
    assert told["complete"] == (missed == 0)
    assert 0.02e9 <= own["longest"].max() < 0.5e9
    assert set(own["state"]) == {"interruptible"}
    assert frame["blocked"].is_monotonic_decreasing
    assert list(frame.columns) == list(tools.offcputime.columns)
    assert own["kernel_stack"].str.endswith("schedule_[k];__schedule_[k]").all()  # without the frames of BPF
    assert waits.df.equals(frame)


def test_waits_too_short_or_too_long_are_not_counted():
    with (
        Worker() as worker,
        tools.offcputime(pid=worker.pid, min_block=100_000) as long,
        tools.offcputime(pid=worker.pid, max_block=100_000) as short,
    ):
        worker.run(SLEEPS.format(lengths=[0.01, 0.01, 0.01, 0.2, 0.2]))
        assert sleeping(long.df)["count"].sum() == 2
        assert sleeping(short.df)["count"].sum() == 3


def test_a_wait_that_does_not_end_counts_with_what_it_has_lasted():
    with Worker() as worker, tools.offcputime(pid=worker.pid, ongoing=True) as waits:
        worker.start("time.sleep(600)")
        await_true(lambda: seconds(sleeping(waits.df)) > 0.2)
        before = seconds(sleeping(waits.df))
        await_true(lambda: seconds(sleeping(waits.df)) > before + 0.1)
        waits.stop()
        after = seconds(sleeping(waits.df))
        await_true(lambda: waits.frames.frame() is not None)
        assert seconds(sleeping(waits.df)) == pytest.approx(after, abs=0.001)  # it stands still
        assert set(sleeping(waits.df)["count"]) == {1}


CHAIN = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
__attribute__((noinline)) void rest(void) { struct timespec t = {0, 200000000}; nanosleep(&t, 0); __asm__ volatile(""); }
__attribute__((noinline)) void middle(void) { rest(); __asm__ volatile(""); }
__attribute__((noinline)) void outer(void) { middle(); __asm__ volatile(""); }
int main(void)
{
    puts("ready"); fflush(stdout);
    getchar();
    outer();
    if (!vfork()) { usleep(200000); _exit(0); }  // the parent waits where no signal wakes it
    wait(0);
}
"""


def test_the_chain_of_a_c_program_and_an_uninterruptible_wait(tmp_path):
    program = built(tmp_path, CHAIN)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        with (
            tools.offcputime(pid=process.pid) as every,
            tools.offcputime(pid=process.pid, state="uninterruptible", min_block=100_000) as deep,
        ):
            began = time.monotonic()
            process.communicate(b"\n")
            took = time.monotonic() - began
            frames = every.df, deep.df
    slept = sleeping(frames[0])
    assert (
        slept["user_stack"].str.contains("main;outer;middle;").all()
    )  # a function's caller stands in its own frame
    assert (
        0.15 <= seconds(slept) <= took - 0.2
    )  # its clock ran when it left the CPU; the other wait is as long
    (row,) = frames[1].to_dict("records")
    assert (row["state"], row["count"]) == ("uninterruptible", 1)
    assert row["blocked"] >= 0.19e9
    assert "vfork" in row["kernel_stack"] or "kernel_clone" in row["kernel_stack"]


def test_states_that_there_are_not():
    with pytest.raises(UnknownName, match="uninterruptible"):
        tools.offcputime(state="uninterruptable")


# One thread waits for a pipe that the other writes into, at known moments.
PIPE = """
r, w = os.pipe()
waited = []
def wait():
    for _ in range(5):
        began = time.monotonic()
        os.read(r, 1)
        waited.append(time.monotonic() - began)
thread = threading.Thread(target=wait)
thread.start()
for _ in range(5):
    time.sleep(0.1)
    os.write(w, b"x")
thread.join()
result = sum(waited)
"""


def test_who_ends_a_wait(tmp_path):
    with (
        Worker() as worker,
        tools.offwaketime(pid=worker.pid, min_block=50_000) as both,
        tools.wakeuptime(pid=worker.pid, min_block=50_000) as wakers,
    ):
        waited = worker.run(PIPE)
        frames = both.df, wakers.df
        view = both.view()
        folded = view.folded()
        view.save(tmp_path / "x.pb.gz")
        assert wakers.view().tree.total == frames[1]["blocked"].sum()
    stacks = [
        column.astype(object).fillna("")
        for column in (frames[0]["kernel_stack"], frames[0]["waker_kernel_stack"])
    ]
    mine = frames[0][stacks[0].str.contains("pipe_read") & stacks[1].str.contains("pipe_write")]
    assert seconds(mine) == pytest.approx(waited, rel=0.05, abs=0.05)
    assert mine["count"].sum() == 5
    assert set(mine["pid"]) == set(mine["waker_pid"]) == {worker.pid}
    assert set(mine["waker_comm"]) == {mine["comm"].iloc[0]}
    # The picture: the waiter, then the wakeup, then the waker from the inside out.
    lines = [line for line in folded.splitlines() if "pipe_read" in line and "pipe_write" in line]
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == mine["blocked"].sum()
    for line in lines:
        waiter, meet, waker = line.rpartition(" ")[0].partition(";--;")
        assert meet
        assert "pipe_read" in waiter
        assert (
            waker.index("try_to_wake_up")
            < waker.index("pipe_write")
            < waker.index(mine["waker_comm"].iloc[0])
        )
    others = frames[1]
    mine = others[others["kernel_stack"].astype(object).fillna("").str.contains("pipe_write")]
    assert seconds(mine) == pytest.approx(waited, rel=0.05, abs=0.05)
    assert set(mine["pid"]) == {worker.pid}
    assert set(mine["target"]) == set(mine["comm"])


def test_a_timer_is_an_interrupt_whatever_it_interrupted():
    with (
        Worker() as worker,
        tools.offwaketime(pid=worker.pid, min_block=50_000) as both,
        tools.wakeuptime(pid=worker.pid, min_block=50_000) as wakers,
    ):
        slept = worker.run(SLEEPS.format(lengths=[0.1] * 4))
        frames = both.df, wakers.df
    (row,) = (
        sleeping(frames[0])
        .groupby(["waker_comm", "waker_pid"])[["blocked", "count"]]
        .sum()
        .reset_index()
        .to_dict("records")
    )
    assert (row["waker_comm"], row["waker_pid"], row["count"]) == ("[interrupt]", 0, 4)
    assert row["blocked"] / 1e9 == pytest.approx(slept, rel=0.05)
    of_timers = frames[1][frames[1]["kernel_stack"].astype(object).fillna("").str.contains("hrtimer")]
    assert set(of_timers["comm"]) == {"[interrupt]"}
    assert of_timers["user_stack"].isna().all()
    assert of_timers["count"].sum() == 4
    assert [frame["count"].dtype for frame in frames] == ["uint64", "uint64"]
