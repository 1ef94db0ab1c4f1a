"""execsnoop on the live kernel: every program once, with its arguments in order, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from workloads import Worker, await_true, left_over, move_to, new_cgroup, object_ids

import bpfnb
from bpfnb import tools
from bpfnb.cli import main

TRUE = "/bin/true"


def run(*arguments: str, cgroup: Path | None = None) -> int:
    """Runs /bin/true with these arguments; its pid."""
    process = subprocess.Popen([TRUE, *arguments], preexec_fn=(lambda: move_to(cgroup)) if cgroup else None)
    process.wait()
    return process.pid


def settle(tool: tools.tool.Tool, rows: int) -> None:
    """All rows that were sent before have arrived: they are in order, and the ring is empty."""
    assert tool.wait(rows, 30)
    await_true(lambda: tool.frames.fill == 0)


def test_fifty_commands_with_their_arguments_in_order_and_no_other():
    with tools.execsnoop(ppid=os.getpid(), add="user,parent") as snoop:
        pids = [run(f"--number={number}", "two words", "last") for number in range(50)]
        with Worker() as other:  # its children are not this process's
            other.run("import subprocess; subprocess.run(['/bin/true'])")
        settle(snoop, 50)
        frame = snoop.df
        snoop.stop()
    mine = frame[frame["path"] == TRUE]
    assert mine["args"].tolist() == [f"{TRUE} --number={number} two words last" for number in range(50)]
    assert mine["pid"].tolist() == pids
    assert set(frame["pid"]) - set(pids) == {other.pid}  # the worker itself is a child
    assert set(frame["ppid"]) == {os.getpid()}
    assert set(mine["comm"]) == {"true"}
    assert set(mine["ret"]) == {"0"}
    assert set(frame["uid"]) == {os.getuid()}
    assert frame["time"].is_monotonic_increasing
    assert frame["user"].dtype == "category"
    assert set(frame["user"]) == {"root"}
    assert set(frame["parent"]) == {Path("/proc/self/comm").read_text().strip()}
    assert frame.attrs["bpfnb"]["complete"]
    assert list(frame.columns) == [*tools.execsnoop.columns, "user", "parent"]


@pytest.mark.parametrize("failed", [True, False])
def test_a_program_that_cannot_be_started_has_its_error(failed, tmp_path):
    locked = tmp_path / "locked"
    locked.write_text("#!/bin/sh\n")
    with tools.execsnoop(ppid=os.getpid(), failed=failed) as snoop:
        for path in ("/nosuch/program", str(locked)):
            with pytest.raises(OSError):
                subprocess.run([path, "one", "two"])
        run()
        settle(snoop, 3 if failed else 1)
        frame = snoop.df
    wrong = [("/nosuch/program", "ENOENT"), (str(locked), "EACCES")] if failed else []
    expected = [(path, error, f"{path} one two") for path, error in wrong]
    assert frame[["path", "ret", "args"]].to_records(index=False).tolist() == [*expected, (TRUE, "0", TRUE)]


def test_arguments_longer_than_the_limit_end_with_three_dots():
    with tools.execsnoop(ppid=os.getpid(), max_bytes=20, failed=True) as snoop:
        run("x" * 8)  # 10 + 9 bytes with their NULs
        run("x" * 9)
        run("x" * 10)
        run("x" * 100_000)
        with pytest.raises(OSError):
            subprocess.run(["/nosuch", "y" * 50])
        settle(snoop, 5)
        args = snoop.df["args"].tolist()
    assert args[:2] == [f"{TRUE} {'x' * 8}", f"{TRUE} {'x' * 9}"]
    assert args[2:4] == [f"{TRUE} {'x' * 10} ...", f"{TRUE} {'x' * 10} ..."]
    assert args[4] == f"/nosuch {'y' * 12} ..."


def test_long_argument_lists_are_whole_by_default():
    words = [f"argument-{number}" for number in range(200)]
    with tools.execsnoop(ppid=os.getpid()) as snoop:
        run(*words)
        settle(snoop, 1)
        assert snoop.df["args"].tolist() == [" ".join([TRUE, *words])]


def sent(tool: tools.tool.Tool) -> int:
    """Records that reached the ring buffer: what the kernel let through."""
    tool.frames.drain()
    return tool.frames.total


def test_filters_run_in_the_kernel():
    """What is filtered out never reaches the ring buffer."""
    with new_cgroup() as group:
        inner = group / "inner"
        inner.mkdir()
        netns = os.stat("/proc/self/ns/net").st_ino
        with (
            tools.execsnoop(comm="nosuchcomm") as nobody,
            tools.execsnoop(comm=["true", "nosuchcomm"], ppid=os.getpid()) as comm,
            tools.execsnoop(uid=[54321]) as user,
            tools.execsnoop(uid=0, ppid=os.getpid()) as root,
            tools.execsnoop(cgroup=group) as cgroup,
            tools.execsnoop(cgroup=group, comm="nosuchcomm") as both,
            tools.execsnoop(netns=netns, ppid=os.getpid()) as net,
            tools.execsnoop(netns=1, ppid=os.getpid()) as no_net,
        ):
            run()
            run(cgroup=group)
            run(cgroup=inner)
            subprocess.run(["/bin/echo"], check=True, stdout=subprocess.DEVNULL)
            settle(root, 4)
            seen = [sent(tool) for tool in (nobody, comm, user, root, cgroup, both, net, no_net)]
            paths = cgroup.frame_with("cgroup")["cgroup"].tolist()
        inner.rmdir()
    assert seen == [0, 3, 0, 4, 2, 0, 4, 0]
    assert paths == [f"/{group.name}", f"/{group.name}/inner"]


def test_a_pid_that_executes_is_found_by_its_number():
    code = "import os, sys; sys.stdin.read(1); os.execv('/bin/true', ['/bin/true', 'now'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    with tools.execsnoop(pid=[process.pid, 4_000_000]) as snoop:
        run()
        process.communicate(b"x")
        settle(snoop, 1)
        assert snoop.df[["pid", "args"]].to_records(index=False).tolist() == [(process.pid, f"{TRUE} now")]


def test_two_at_once_have_names_of_their_own_and_leave_nothing():
    with tools.execsnoop(ppid=os.getpid()) as one, tools.execsnoop(ppid=os.getpid()) as two:
        assert (one.object.name, two.object.name) == ("execsnoop", "execsnoop_2")
        held = [object_ids(tool.object.loaded) for tool in (one, two)]
        run("both")
        settle(one, 1), settle(two, 1)
        one.stop()
        run("second")
        settle(two, 2)
        assert (len(one.df), len(two.df)) == (1, 2)
        assert repr(one) == "<execsnoop stopped: 1 rows>"
    assert len(two.df) == 2  # what was seen stays
    assert not {"execsnoop", "execsnoop_2"} & set(bpfnb.objects)
    assert [left_over(ids) for ids in held] == [{}, {}]


def test_a_duration_ends_it():
    tool = tools.execsnoop(duration=0.05)
    await_true(lambda: tool.object.state == "stopped")
    tool.close()


def test_the_source_is_a_cell_that_runs():
    from bpfnb.tools.verb import source_cell

    line, text = source_cell(tools.execsnoop, {"comm": ["true"], "max_bytes": 12}).split("\n", 1)
    assert line == "%%bpf execsnoop --set max_bytes=12 --set filter_comm=true"
    with bpfnb.load(text, name="mine", globals={"max_bytes": 12, "filter_comm": "true"}) as mine:
        run("a", "b")
        await_true(lambda: "/bin/true a ..." in mine.events.df["args"].tolist())


def test_the_terminal_prints_rows_as_they_come(capsys):
    child = subprocess.Popen(["sh", "-c", f"while sleep 0.1; do {TRUE} row 1; done"])  # however late it looks
    try:
        assert main(["tool", "execsnoop", "--duration", "1", "--comm", "true", "--ppid", str(child.pid)]) == 0
    finally:
        child.kill()
        child.wait()
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["TIME", "COMM", "PID", "PPID", "UID", "RET", "PATH", "ARGS"]
    assert rows
    for row in rows:
        assert row[head.index("COMM") :].startswith("true ")
        assert row[head.index("ARGS") :].startswith(f"{TRUE} row ")


def test_the_picture_of_a_tool_that_the_watchdog_stopped_says_so():
    with tools.execsnoop() as snoop:
        view = snoop.view()
        assert "watchdog" not in view.html()
        snoop.object.too_costly(0.5)
        assert view.state == "done"
        assert "stopped by the watchdog: its programs took 50% of a CPU" in view.html()
