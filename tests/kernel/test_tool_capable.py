"""capable on the live kernel: a check for each thing that a process may do, with the answer it got."""

from __future__ import annotations

import os

from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools

DROP = "os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)"
TRY = """
def attempt(call):
    try: call()
    except PermissionError: pass
"""


def test_what_is_denied_and_what_is_granted():
    with Worker() as worker, tools.capable(pid=worker.pid) as checks:
        held = object_ids(checks.object.loaded)
        worker.run(TRY + "attempt(lambda: os.chroot('/'))")
        assert checks.wait(1, 30)
        granted = checks.df
        assert ("CAP_SYS_CHROOT", "0") in granted[["cap", "ret"]].to_records(index=False).tolist()
        worker.run(DROP)
        worker.run("attempt(lambda: os.chroot('/'))")
        await_true(lambda: "EPERM" in set(checks.df["ret"]))
        frame = checks.df
    denied = frame[(frame["cap"] == "CAP_SYS_CHROOT") & (frame["ret"] == "EPERM")]
    assert denied[["pid", "uid"]].to_records(index=False).tolist() == [(worker.pid, 54321)]
    assert set(frame["pid"]) == {worker.pid}
    assert set(frame["userns"]) == {os.stat("/proc/self/ns/user").st_ino}
    assert {"CAP_SETUID", "CAP_SETGID"} <= set(frame["cap"])
    assert left_over(held) == {}


def test_only_what_failed_and_each_once():
    with (
        Worker() as worker,
        tools.capable(pid=worker.pid, denied=True) as denied,
        tools.capable(pid=worker.pid, denied=True, unique=True) as once,
    ):
        worker.run(TRY + "attempt(lambda: os.chroot('/'))")
        worker.run(DROP)
        worker.run("for _ in range(5): attempt(lambda: os.chroot('/'))")
        assert denied.wait(5, 30)
        assert once.wait(1, 30)
        assert denied.df["cap"].tolist() == ["CAP_SYS_CHROOT"] * 5
        assert once.df["cap"].tolist() == ["CAP_SYS_CHROOT"]
        once.frames.drain()
        assert once.frames.total == 1
