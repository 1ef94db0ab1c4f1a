"""syscount and syslat on the live kernel: exact numbers of a worker's calls and of their errors."""

from __future__ import annotations

import os
from pwd import getpwuid

import pytest
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.errors import BadValue, UnknownName

FAILING = """
for _ in range(50):
    try:
        os.open("/nonexistent/file", os.O_RDONLY)
    except FileNotFoundError:
        pass
"""


def test_counts_and_errors_are_exact():
    with (
        Worker() as worker,
        Worker() as other,
        tools.syscount(pid=worker.pid) as calls,
        tools.syscount(pid=worker.pid, by="process") as processes,
        tools.syscount(pid=[worker.pid, other.pid], by="both") as both,
        tools.syscount(pid=worker.pid, failed=True) as failed,
        tools.syscount(pid=worker.pid, errno="ENOENT") as absent,
        tools.syscount(pid=worker.pid, errno=13) as denied,
    ):
        held = object_ids(calls.object.loaded)
        worker.run("getppid(1000)")
        worker.run(FAILING)
        other.run("getppid(300)")
        await_true(lambda: len(both.df))
        frame = calls.df.set_index("syscall")
        assert frame.loc["getppid"].to_dict() == {"count": 1000, "errors": 0}
        assert frame.loc["openat"].to_dict() == {"count": 50, "errors": 50}
        assert [*calls.df] == ["syscall", "count", "errors"]
        assert calls.df["count"].is_monotonic_decreasing
        assert failed.df.set_index("syscall")["count"].to_dict() == {"openat": 50}
        assert absent.df.equals(failed.df)
        assert len(denied.df) == 0
        with pytest.raises(UnknownName, match="no error 'ENOENTT'"):
            tools.syscount(errno="ENOENTT")
        one = processes.df
        assert one[["comm", "pid"]].to_numpy().tolist() == [["python", worker.pid]]
        assert one["errors"].tolist() == [50]
        assert one["count"].iloc[0] >= 1050
        pairs = both.df.set_index(["pid", "syscall"])["count"]
        assert (pairs[worker.pid, "getppid"], pairs[other.pid, "getppid"]) == (1000, 300)
        assert "tp_btf/sys_enter" not in calls.used  # half the cost
        assert frame.attrs["bpfnb"]["lost"] == 0
        with pytest.raises(BadValue, match="not of processes"):
            tools.syscount(add=["user"])
    assert left_over(held) == {}


def test_threads_and_what_they_run_count_for_their_process():
    code = "ts = [threading.Thread(target=getppid, args=(100,)) for _ in range(5)]\n[t.start() for t in ts]\n[t.join() for t in ts]"
    with Worker() as worker, tools.syscount(pid=worker.pid, by="both", latency=True, add=["user"]) as calls:
        worker.run(code)
        frame = calls.df.set_index("syscall")
    row = frame.loc["getppid"]
    assert (row["comm"], row["pid"], row["count"], row["user"]) == (
        "python",
        worker.pid,
        500,
        getpwuid(os.getuid()).pw_name,
    )
    assert row["mean"] == row["total"] // 500


def test_latencies_are_those_of_the_sleeps():
    with (
        Worker() as worker,
        tools.syscount(pid=worker.pid, latency=True) as calls,
        tools.syslat(pid=worker.pid) as slots,
    ):
        worker.run("import select\n[select.poll().poll(20) for _ in range(10)]")  # from the call on
        took = worker.call(
            "(lambda began: (getppid(200), time.monotonic_ns() - began)[1])(time.monotonic_ns())"
        )
        frame, distribution, totals = (
            calls.df.set_index("syscall"),
            slots.df,
            slots.totals.set_index("syscall"),
        )
        picture = slots.view()
        poll = "poll" if "poll" in frame.index else "ppoll"  # the only one on arm64
        assert {poll, "getppid"} <= {*picture.groups}
    sleep = frame.loc[poll]
    assert sleep["count"] == 10
    assert sleep["total"] >= 10 * 20_000_000
    assert frame.loc["getppid", "total"] <= took
    sleeps = distribution[distribution["syscall"] == poll]
    assert sleeps["low"].min() >= 2**24  # 16.8 to 33.6 ms, or later where the CPU was taken
    assert sleeps["count"].sum() == 10
    assert totals.loc["getppid", "count"] == 200
    assert abs(int(totals.loc[poll, "total"]) - int(sleep["total"])) < 10_000_000


def test_only_the_calls_that_were_asked_for():
    with Worker() as worker, tools.syslat(pid=worker.pid, syscall=["getppid", "39"]) as slots:
        worker.run("getppid(20)")
        worker.run("[os.getpid() for _ in range(30)]\ntime.sleep(0)")
        assert slots.totals.set_index("syscall")["count"].to_dict() == {"getpid": 30, "getppid": 20}
        assert [*slots.df] == ["syscall", "low", "high", "count", "total"]
        assert slots.heatmap(every=0.1).to_plotly() is not None
    with pytest.raises(UnknownName, match="no system call 'getpppid'") as caught:
        tools.syslat(syscall="getpppid")
    assert "getppid" in str(caught.value)
    with pytest.raises(BadValue, match="at most 16"):
        tools.syslat(syscall=[*range(17)])


def test_a_thread_that_ends_within_a_call_leaves_nothing():
    with Worker() as worker, tools.syslat(pid=worker.pid) as slots:
        worker.run("child = os.fork()\nif not child: os.execv('/bin/true', ['true'])\nos.waitpid(child, 0)")
        assert "exit_group" not in {*slots.df["syscall"]}
        assert slots.df.attrs["bpfnb"]["complete"]
