"""exitsnoop on the live kernel: codes, signals and lifetimes are those that were provoked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from workloads import await_true, left_over, move_to, new_cgroup, object_ids

from bpfnb import tools


def start(*words: str, cgroup=None) -> subprocess.Popen:
    return subprocess.Popen(
        words, preexec_fn=lambda: move_to(cgroup), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def test_codes_are_those_given():
    with (
        new_cgroup() as group,
        tools.exitsnoop(cgroup=group) as snoop,
        tools.exitsnoop(cgroup=group, failed=True) as bad,
    ):
        processes = [start("/bin/sh", "-c", f"exit {code}", cgroup=group) for code in (0, 1, 42, 255)]
        assert [process.wait() for process in processes] == [0, 1, 42, 255]
        assert snoop.wait(4, 30)
        frame = snoop.df.set_index("pid").loc[[process.pid for process in processes]]
        assert bad.wait(3, 30)
        await_true(lambda: bad.frames.fill == 0)
        assert sorted(bad.df["exit_code"]) == [1, 42, 255]
    assert frame["exit_code"].tolist() == [0, 1, 42, 255]
    assert frame["signal"].tolist() == [""] * 4
    assert set(frame["comm"]) == {"sh"}
    assert set(frame["ppid"]) == {os.getpid()}
    assert not frame["core"].any()
    assert frame.attrs["bpfnb"]["complete"]


def test_signals_are_those_that_ended_them():
    names = ["SIGKILL", "SIGTERM", "SIGUSR1", "SIGHUP"]
    with new_cgroup() as group, tools.exitsnoop(cgroup=group) as snoop:
        processes = [start("/bin/cat", cgroup=group) for _ in names]
        for process, name in zip(processes, names, strict=True):
            process.send_signal(signal.Signals[name])
        assert [-process.wait() for process in processes] == [signal.Signals[name] for name in names]
        assert snoop.wait(4, 30)
        frame = snoop.df.set_index("pid").loc[[process.pid for process in processes]]
    assert frame["signal"].tolist() == names
    assert frame["exit_code"].tolist() == [0] * 4


def test_the_duration_is_the_lifetime():
    with new_cgroup() as group, tools.exitsnoop(cgroup=group) as snoop:
        before = time.monotonic_ns()
        process = start("/bin/cat", cgroup=group)
        started = time.monotonic_ns()  # Popen returns once the program runs
        process.stdout, ending = None, time.monotonic_ns()
        process.communicate()
        ended = time.monotonic_ns()
        assert snoop.wait(1, 30)
        duration = int(snoop.df["duration"].iloc[0])
    assert ending - started <= duration <= ended - before


def test_threads_have_rows_of_their_own_where_asked():
    code = "import threading\nfor _ in range(5):\n t = threading.Thread(target=lambda: None); t.start(); t.join()"
    with (
        new_cgroup() as group,
        tools.exitsnoop(cgroup=group, threads=True) as each,
        tools.exitsnoop(cgroup=group) as whole,
    ):
        process = start(sys.executable, "-c", code, cgroup=group)
        process.wait()
        assert each.wait(6, 30)
        assert whole.wait(1, 30)
        threads, processes = each.df, whole.df
    assert len(threads) == 6
    assert set(threads["pid"]) == {process.pid}
    assert threads["tid"].nunique() == 6
    assert process.pid in set(
        threads["tid"]
    )  # mostly the last: a thread may end after who waited for its work
    assert processes["pid"].tolist() == [process.pid]


def test_a_process_whose_first_thread_goes_first_has_one_row_when_the_last_is_gone():
    code = """
import ctypes, threading, time, sys
def wait(): sys.stdin.read(); ctypes.CDLL(None).syscall(60, 7)  # exit of this thread alone
threading.Thread(target=wait, daemon=True).start()
ctypes.CDLL(None).syscall(60, 9)
"""
    with new_cgroup() as group, tools.exitsnoop(cgroup=group) as snoop:
        process = start(sys.executable, "-c", code, cgroup=group)
        state = Path("/proc", str(process.pid), "stat")
        await_true(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z")  # the first thread
        assert len(snoop.df) == 0
        process.stdin.close()
        code = process.wait()  # which thread's, the kernel decides
        assert snoop.wait(1, 30)
        assert snoop.df[["pid", "tid", "exit_code"]].to_records(index=False).tolist() == [
            (process.pid, process.pid, code)
        ]
    assert code in (7, 9)


def test_it_leaves_nothing():
    with tools.exitsnoop() as snoop:
        held = object_ids(snoop.object.loaded)
        assert snoop.used == ("tp_btf/sched_process_exit",)
    assert left_over(held) == {}
