"""profile on the live kernel: samples in proportion to CPU time, known chains, and exports that hold them all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_symbols_live import CHAIN_CPP, PYTHON, built, python_with_perf, running
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.cli import main
from bpfnb.errors import BadValue
from bpfnb.views import flamegraph

# By its own CPU clock it spends twice as long in `twice` as in `once`; what it says at the end is its CPU time in s.
TWINS = r"""
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
static double cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}
__attribute__((noinline)) static void spin(double seconds)
{
    double end = cpu() + seconds;
    while (cpu() < end)
        for (volatile int i = 0; i < 20000; i++);
}
__attribute__((noinline)) void once(void) { spin(0.05); __asm__ volatile(""); }
__attribute__((noinline)) void twice(void) { spin(0.1); __asm__ volatile(""); }
int main(void)
{
    struct rusage before, after;
    puts("ready"); fflush(stdout);
    getchar();
    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < 12; i++) { once(); twice(); }
    getrusage(RUSAGE_SELF, &after);
#define SECONDS(u) (u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6)
    printf("%f\n", SECONDS(after) - SECONDS(before));
}
"""
RATE = 499


def stacks_with(frame, *chain):
    """Which rows' user stacks hold *chain*, each called by the one before."""
    return frame["user_stack"].astype(object).fillna("").str.contains(re.escape(";".join(chain)))


def test_twice_the_time_is_twice_the_samples_and_their_number_is_the_rate_times_cpu_time(tmp_path):
    program = built(tmp_path, TWINS, name="twins")
    with (
        Worker() as other,
        subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout.readline() == b"ready\n"
        with tools.profile(pid=process.pid, frequency=RATE) as profile:
            held = object_ids(profile.object.loaded)
            other.start("burn(0.5)")
            said, _ = process.communicate(b"\n")
            other.finish()
            profile.stop()
            program.unlink()  # the process has ended, and so has the file
            frame = profile.df
            view = profile.view()
            live = view.folded()
    seconds = float(said)
    assert left_over(held) == {}
    assert list(frame.columns) == list(tools.profile.columns)
    assert set(frame["pid"]) == set(frame["tid"]) == {process.pid}
    assert set(frame["comm"]) == {"twins"}
    assert set(frame["cpu"]) <= os.sched_getaffinity(0)
    assert frame["time"].is_monotonic_increasing
    assert len(frame) == pytest.approx(RATE * seconds, rel=0.1)
    once, twice = (stacks_with(frame, "main", name, "spin").sum() for name in ("once", "twice"))
    assert twice / once == pytest.approx(2, rel=0.1)
    assert once + twice > 0.95 * len(frame)
    attrs = frame.attrs["bpfnb"]
    assert attrs["complete"]
    assert "stacks_lost" not in attrs
    # The picture counts the same samples, live and afterwards.
    assert view.tree.total == len(frame)
    assert profile.df["user_stack"].tolist() == frame["user_stack"].tolist()
    assert sum(int(line.rpartition(" ")[2]) for line in live.splitlines()) == len(frame)
    assert view.search("twice") / view.search("once") == pytest.approx(2, rel=0.1)
    times = frame["time"]
    view.window = times.iloc[0], times.iloc[len(times) // 2]
    assert view.tree.total == len(times) // 2


def test_inlined_functions_stand_above_those_that_they_were_put_into(tmp_path):
    pytest.importorskip("symbolic", reason="inlined functions need bpfnb[lines]")
    source = TWINS.replace("((noinline)) static void spin", "((always_inline)) static inline void spin")
    program = built(tmp_path, source, "-g", name="inlined")
    with tools.profile(comm="inlined", frequency=RATE, inlined=True) as profile:
        subprocess.run([program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        profile.stop()
        frame = profile.df
        folded = profile.save(tmp_path / "x.folded").read_text()
    once, twice = (stacks_with(frame, "main", name, "spin_[i]").sum() for name in ("once", "twice"))
    assert twice / once == pytest.approx(2, rel=0.15)
    assert once + twice > 0.9 * len(frame)
    counts = [int(line.rpartition(" ")[2]) for line in folded.splitlines() if "twice;spin_[i]" in line]
    assert sum(counts) == twice


def test_a_process_that_ends_before_anyone_asks_has_names_and_only_that_command(tmp_path):
    program = built(tmp_path, TWINS, name="bpfnb-shorter")
    with tools.profile(comm="bpfnb-shorter", frequency=RATE) as profile:
        processes = [
            subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(2)
        ]
        assert [process.wait() for process in processes] == [0, 0]
        profile.stop()
        frame = profile.df
    assert set(frame["pid"]) == {process.pid for process in processes}
    assert set(frame["comm"]) == {"bpfnb-shorter"}
    for process in processes:
        own = frame[frame["pid"] == process.pid]
        assert (
            stacks_with(own, "main", "once", "spin") | stacks_with(own, "main", "twice", "spin")
        ).mean() > 0.9


def test_only_the_kernel_or_only_the_user():
    with Worker() as worker:
        with (
            tools.profile(pid=worker.pid, frequency=RATE, kernel_only=True) as kernel,
            tools.profile(pid=worker.pid, frequency=RATE, user_only=True) as user,
        ):
            worker.start("end = time.monotonic() + 20\nwhile time.monotonic() < end: os.listdir('/proc')")
            await_true(lambda: kernel.frames.total > 50 and user.frames.total > 50)
        frames = kernel.df, user.df
    assert frames[0]["user_stack"].isna().all()
    assert frames[0]["kernel_stack"].str.contains("do_syscall|el0_svc|asm_|ret_from|entry_").mean() > 0.9
    assert frames[1]["kernel_stack"].isna().all()
    assert frames[1]["user_stack"].notna().any()


def test_one_cpu_only():
    here = min(os.sched_getaffinity(0))
    with Worker() as worker, tools.profile(pid=worker.pid, frequency=RATE, cpu=here) as profile:
        worker.run(f"os.sched_setaffinity(0, [{here}]); burn(0.3)")
        assert profile.wait(20, 30)
        assert set(profile.df["cpu"]) == {here}


def test_a_chain_of_cpp_is_in_the_samples(tmp_path):
    program = built(tmp_path, CHAIN_CPP, compiler="g++", name="cpp")
    with running(program) as process, tools.profile(pid=process.pid, frequency=RATE) as profile:
        assert profile.wait(100, 60)
        chain = "main", "shop::fill(shop::Basket<long>&)", "shop::Basket<long>::add("
        assert stacks_with(profile.df, *chain).mean() > 0.9


def test_a_chain_of_python_is_in_the_samples(tmp_path):
    script = tmp_path / "busy.py"
    script.write_text(PYTHON)
    with running(python_with_perf(whole=True), "-X", "perf", script) as process:
        with tools.profile(pid=process.pid, frequency=RATE) as profile:
            assert profile.wait(100, 60)
            frame = profile.df
        Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)
    texts = frame["user_stack"].astype(object).fillna("")
    outer, inner = (re.escape(f"py::{name}:{script}") for name in ("outer", "inner"))
    assert texts.str.contains(f"{outer}.*;{inner}").mean() > 0.9


def test_files_for_other_programs_hold_all_samples(tmp_path, capsys):
    with Worker() as worker:
        worker.start("burn(20)")
        line = ["tool", "profile", "--pid", str(worker.pid), "--frequency", str(RATE), "--duration", "0.5"]
        assert main([*line, "--to", str(tmp_path / "cpu.folded")]) == 0
        printed = capsys.readouterr().out
        with tools.profile(pid=worker.pid, frequency=RATE) as profile:
            assert profile.wait(50, 30)
            profile.stop()
            total = len(profile.df)
            for name in ("x.folded", "x.speedscope.json", "x.pb.gz", "x.svg"):
                assert profile.save(tmp_path / name).stat().st_size
    lines = (tmp_path / "cpu.folded").read_text().splitlines()
    assert f"{sum(int(each.rpartition(' ')[2]) for each in lines)} samples" in printed
    assert f"{tmp_path / 'cpu.folded'} written" in printed
    folded = (tmp_path / "x.folded").read_text()
    assert flamegraph(folded).tree.total == total
    scope = json.loads((tmp_path / "x.speedscope.json").read_text())
    assert sum(scope["profiles"][0]["weights"]) == total
    assert f"{total}" in (tmp_path / "x.svg").read_text()
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no go tool pprof; the profile itself is read in the unit tests")
    text = subprocess.check_output([go, "tool", "pprof", "-raw", tmp_path / "x.pb.gz"], text=True)
    samples = text.partition("Samples:\n")[2].partition("Locations")[0]
    assert sum(int(count) for count in re.findall(r"^\s+(\d+): ", samples, re.M)) == total


def test_what_makes_no_sense_is_refused_before_anything_is_loaded():
    for options in ({"to": "x.gif"}, {"frequency": 0}, {"cpu": "x"}):
        with pytest.raises(BadValue):
            tools.profile(**options)
    assert sys.modules["bpfnb.object"].objects == {}
