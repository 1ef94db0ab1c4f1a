"""forks on the live kernel: the tree that a test makes, with its ends and lifetimes, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from workloads import await_true, left_over, object_ids

from bpfnb import tools

# A parent, two children, one grandchild that executes cat and waits; prints the three pids.
TREE = """
import os, sys, time
first = os.fork()
if not first:
    os._exit(7)
os.waitpid(first, 0)
near, far = os.pipe()
second = os.fork()
if not second:
    third = os.fork()
    if not third:
        os.execv("/bin/cat", ["cat"])
    os.write(far, str(third).encode())
    time.sleep(3600)
print(first, second, os.read(near, 20).decode(), flush=True)
sys.stdin.read(0)
time.sleep(3600)
"""


def test_the_tree_is_the_one_that_was_made():
    root = subprocess.Popen(
        [sys.executable, "-c", f"input()\n{TREE}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with tools.forks(pid=root.pid) as forks:
        held = object_ids(forks.object.loaded)
        began = time.monotonic_ns()
        root.stdin.write(b"\n")
        root.stdin.flush()
        first, second, third = map(int, root.stdout.readline().split())
        await_true(lambda: Path(f"/proc/{third}/comm").read_text() == "cat\n")
        frame = forks.df.set_index("pid")
        lived = time.monotonic_ns() - began
        assert frame["ppid"].to_dict() == {first: root.pid, second: root.pid, third: second}
        assert frame["lives"].to_dict() == {first: False, second: True, third: True}
        assert frame["exit_code"].to_dict() == {first: 7, second: 0, third: 0}
        assert frame["comm"][third] == "cat"
        assert frame["comm"][second] == frame["parent"][third] == frame["parent"][first]
        assert (frame["duration"] <= lived).all()
        assert frame["duration"][second] >= frame["duration"][third]
        os.kill(third, signal.SIGKILL)
        os.kill(second, signal.SIGTERM)
        await_true(lambda: not forks.df["lives"].any())
        ended = forks.df.set_index("pid")
        picture = forks.view()
        assert picture.to_plotly() is not None
        assert "cat" in picture.svg()
        assert picture.state == "live"
        forks.stop()
        assert picture.state == "done"  # and shows what was seen
        assert "cat" in picture.svg()
    assert ended["signal"].to_dict() == {first: "", second: "SIGTERM", third: "SIGKILL"}
    assert forks.df["pid"].tolist() == [first, second, third]  # readable after close, oldest first
    assert left_over(held) == {}
    root.kill()
    root.communicate()


def test_durations_are_lifetimes():
    before = time.monotonic_ns()
    with tools.forks(pid=os.getpid()) as forks:
        child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
        started = ending = time.monotonic_ns()
        child.communicate(b"")
        ended = time.monotonic_ns()
        frame = forks.df.set_index("pid")
    assert ending - started <= frame["duration"][child.pid] <= ended - before
    assert frame.loc[child.pid, ["ppid", "lives", "exit_code"]].tolist() == [os.getpid(), False, 0]
    assert frame.attrs["bpfnb"]["complete"]
