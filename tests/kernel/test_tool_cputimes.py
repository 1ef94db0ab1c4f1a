"""runqlat, runqlen, cpudist and timeline on the live kernel: hogs that share a CPU, spins and sleeps of known length."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from workloads import Worker, await_true, left_over, new_cgroup, object_ids

from bpfnb import tools
from bpfnb.errors import BadValue, UnknownName
from bpfnb.tools.tool import Load

MS = 10**6

# Sleeps and spins of 10 ms in turn, on the CPU that the test says; how long it ran is the kernel's own account.
TURNS = """
def turns(n):
    for _ in range(n):
        time.sleep(0.05)
        end = time.thread_time_ns() + 10_000_000
        while time.thread_time_ns() < end:
            pass
"""


def pin(worker: Worker, cpu: int) -> None:
    os.sched_setaffinity(worker.pid, {cpu})


def ran(pid: int) -> tuple[int, int]:
    """How long a process's first thread was on a CPU, and how long it waited for one, in ns."""
    on, waited, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
    return on, waited


@contextlib.contextmanager
def two(cgroup: Path) -> Iterator[tuple[Worker, Worker]]:
    """Two workers that are to share CPU 0."""
    with Worker(cgroup=cgroup) as one, Worker(cgroup=cgroup) as other:
        pin(one, 0)
        pin(other, 0)
        yield one, other


def burn(*workers: Worker) -> None:
    """All at once, for a second."""
    for worker in workers:
        worker.start("burn(1.0)")
    for worker in workers:
        worker.finish()


def test_two_hogs_on_one_cpu_wait_for_each_others_slices():
    with new_cgroup() as group, tools.runqlat(cgroup=group, by="pid") as waits:
        held = object_ids(waits.object.loaded)
        with two(group) as pair:
            burn(*pair)
            frame, totals = waits.df, waits.totals
            waited = {worker.pid: ran(worker.pid)[1] for worker in pair}  # since they are there, as the tool
        assert {*frame["pid"]} == {worker.pid for worker in pair}
        for worker in pair:
            of = frame[frame["pid"] == worker.pid]
            # Time is spent in waits of a slice's length: a tick to some (EEVDF's is 2.8 ms, HZ 100 to 1000).
            long = of[of["low"] >= 2**19]
            assert long["total"].sum() > 0.9 * of["total"].sum()
            mode = of.loc[of["total"].idxmax()]
            assert 2**19 <= mode["low"] <= 2**25
            total = int(totals.loc[totals["pid"] == worker.pid, "total"].iloc[0])
            assert total == pytest.approx(waited[worker.pid], rel=0.05, abs=20 * MS)
            assert total > 200 * MS  # of a second that two share
        assert frame.attrs["bpfnb"]["lost"] == 0
        waits.stop()
        picture = waits.view()
        assert picture.total == waits.df["count"].sum()
        assert {*picture.groups} == {" ".join(map(str, row)) for row in totals[["comm", "pid"]].to_numpy()}
        last = waits.df
    assert waits.df.equals(last)  # readable after it was closed
    assert left_over(held) == {}


def test_queues_are_as_long_as_there_are_hogs_beside_the_one_that_runs():
    with new_cgroup() as group, two(group) as pair, tools.runqlen(cgroup=group, frequency=499) as queues:
        burn(*pair)
        frame, occupancy = queues.df, queues.occupancy
        queues.stop()
        assert queues.view().total == queues.df["count"].sum()
    of_zero = frame[frame["cpu"] == 0].set_index("length")["count"]
    assert (
        of_zero.loc[1:].sum() > 0.8 * of_zero.sum()
    )  # but for the moments in which one began or ended alone
    assert of_zero.idxmax() >= 1
    assert occupancy[0] > 0.8
    with pytest.raises(BadValue, match="not of processes"):
        tools.runqlen(add=["user"])


def test_slices_add_up_to_the_time_on_the_cpu():
    with Worker() as worker, Worker() as other:
        worker.run(TURNS)
        with (
            tools.cpudist(pid=worker.pid, by="tid") as on,
            tools.cpudist(pid=worker.pid, off=True) as off,
            tools.timeline(pid=worker.pid) as timeline,
        ):
            before = ran(worker.pid)[0]
            other.start("burn(0.3)")
            worker.run("turns(20)")
            other.finish()
            await_true(lambda: not Path(f"/proc/{worker.pid}/wchan").read_text().startswith("0"))
            took = ran(worker.pid)[0] - before
            slices, away = on.df, off.df
            timeline.stop()
            lane = timeline.df
    assert {*slices["tid"]} == {worker.pid}
    assert {*slices["comm"]} == {"python"}
    assert int(slices["total"].sum()) == pytest.approx(took, rel=0.03)
    assert took >= 200 * MS
    assert slices["count"].sum() >= 20
    long = away[away["low"] >= 2**25]  # 33 ms: the sleeps of 50 ms
    assert long["count"].sum() >= 15  # a sleep may begin with waiting for the CPU to begin it
    assert away["total"].sum() >= 20 * 49 * MS
    assert int(lane["duration"].sum()) == pytest.approx(took, rel=0.03)
    assert {*lane["pid"]} == {worker.pid}
    assert (lane["state"] == "sleeping").sum() >= 20
    assert abs(len(lane) - int(slices["count"].sum())) <= 2  # which ended a moment earlier
    assert lane.attrs["bpfnb"]["complete"]


def test_the_lanes_of_a_timeline_do_not_overlap_and_idle_fills_them():
    with Worker() as worker, tools.timeline(idle=True) as timeline:
        worker.run("[time.sleep(0.001) for _ in range(100)]")
        timeline.stop()
        frame = timeline.df
        picture = timeline.view()
        assert ">python<" in picture.svg()
    assert frame.attrs["bpfnb"]["lost"] == 0
    mine = frame[frame["pid"] == worker.pid]
    assert (mine["state"] == "sleeping").sum() >= 100
    for _, lane in frame.sort_values("time").groupby("cpu"):
        start = lane["time"].astype("int64").to_numpy()
        end = start + lane["duration"].to_numpy().astype("int64")
        assert (
            start[1:] == end[:-1]
        ).all()  # without a gap: nothing was lost or filtered, and idle times count


def test_why_a_task_left_is_told():
    with new_cgroup() as group, tools.timeline(cgroup=group) as timeline:
        with Worker(cgroup=group) as worker:
            worker.run("os.sched_yield()")
            await_true(lambda: len(timeline.df))
            os.kill(worker.pid, 19)  # SIGSTOP
            await_true(lambda: "stopped" in {*timeline.df["state"]})
        await_true(lambda: "ended" in {*timeline.df["state"]})
        assert {*timeline.df["pid"]} == {worker.pid}


def test_groups_are_those_that_were_asked_for():
    with tools.runqlat() as together, tools.runqlat(by="comm") as comms, tools.runqlat(by="cpu") as cpus:
        assert together.wait(1, 30)
        assert comms.wait(1, 30)
        assert cpus.wait(1, 30)
        assert [*together.df] == ["low", "high", "count", "total"]
        assert [*comms.df] == ["comm", "low", "high", "count", "total"]
        assert [*cpus.df] == ["cpu", "low", "high", "count", "total"]
        assert together.df.eval("low * count <= total < high * count").all()
        assert together.heatmap(every=0.1).to_plotly() is not None
        with pytest.raises(BadValue, match="not of processes"):
            tools.runqlat(add=["user"])
    with pytest.raises(UnknownName, match="none of together, comm"):
        tools.runqlat(by="com")


def test_beginnings_that_found_no_room_are_told(monkeypatch):
    small = Load({"off": True}, attach={"max_entries": {"away": 1}})
    monkeypatch.setattr(tools.cpudist, "prepare", lambda self: small)
    with Worker() as one, Worker() as other, tools.cpudist(pid=[one.pid, other.pid], off=True) as away:
        for worker in (one, other):
            worker.run("time.sleep(0.01)")  # and waits for its next work: two are away
        await_true(lambda: away.df.attrs["bpfnb"]["lost"])
        told = away.df.attrs["bpfnb"]
    assert [*told["lost_by"]] == ["away full"]
    assert not told["complete"]
