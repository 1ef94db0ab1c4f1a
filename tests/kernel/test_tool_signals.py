"""signals on the live kernel: sender, target and signal are those of the test, and nothing else is seen."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from workloads import Worker, left_over, object_ids

from bpfnb import tools
from bpfnb.errors import UnknownName


def rows(tool, *columns):
    return tool.df[list(columns)].to_records(index=False).tolist()


def test_sender_target_and_signal_are_those_of_the_test():
    comm = Path("/proc/self/comm").read_text().strip()
    target = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    with tools.signals(pid=os.getpid()) as seen:
        held = object_ids(seen.object.loaded)
        os.kill(target.pid, 0)  # only asks whether it could
        for number in (signal.SIGWINCH, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM):
            os.kill(target.pid, number)
        assert target.wait() == -signal.SIGTERM
        assert seen.wait(4, 30)
        frame = seen.df
        assert rows(seen, "comm", "pid", "uid", "sig", "tcomm", "tpid", "ttid", "result", "from_kernel") == [
            (comm, os.getpid(), 0, name, "cat", target.pid, target.pid, result, False)
            for name, result in (
                ("SIGWINCH", "ignored"),
                ("SIGSTOP", "delivered"),
                ("SIGCONT", "ignored"),
                ("SIGTERM", "delivered"),
            )
        ]
    assert frame.attrs["bpfnb"]["complete"]
    target.stdin.close()
    assert left_over(held) == {}


@pytest.mark.parametrize("failed", [True, False])
def test_a_call_that_sends_none_says_why(failed):
    nobody = 2**22 - 1  # above the largest pid there can be
    with Worker() as worker, tools.signals(pid=worker.pid, failed=failed) as seen:
        worker.run(f"assert libc.kill({nobody}, 15) == -1")
        worker.run(f"assert libc.tgkill({nobody}, {nobody - 1}, 10) == -1")
        worker.run("assert libc.kill(os.getpid(), 0) == 0")  # sends none either, and succeeds
        worker.run("signal.signal(signal.SIGUSR1, signal.SIG_IGN); os.kill(os.getpid(), signal.SIGUSR1)")
        assert seen.wait(3 if failed else 1, 30)
        wrong = [
            ("SIGTERM", nobody, nobody, "refused", "ESRCH"),
            ("SIGUSR1", nobody, nobody - 1, "refused", "ESRCH"),
        ]
        good = ("SIGUSR1", worker.pid, worker.pid, "ignored", "0")
        assert rows(seen, "sig", "tpid", "ttid", "result", "ret") == [*(wrong if failed else []), good]
        assert seen.object.maps["calls"].df.empty


def test_a_signal_to_a_thread_names_it():
    with Worker() as worker, tools.signals(pid=worker.pid, signal="usr1") as seen:
        worker.run("import signal; signal.signal(signal.SIGUSR1, lambda *_: None)")
        worker.run(
            "import threading; go = threading.Event(); t = threading.Thread(target=go.wait); t.start()\n"
            "libc.tgkill(os.getpid(), t.native_id, 10)\n"
            "thread = t.native_id; go.set(); t.join()"
        )
        assert seen.wait(1, 30)
        thread = worker.call("thread")
        assert rows(seen, "pid", "sig", "tpid", "ttid") == [(worker.pid, "SIGUSR1", worker.pid, thread)]


def test_one_pending_signal_is_enough():
    target = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    os.kill(target.pid, signal.SIGSTOP)
    with tools.signals(target=target.pid, signal=signal.SIGUSR1) as seen:
        os.kill(target.pid, signal.SIGUSR1)
        os.kill(target.pid, signal.SIGUSR1)
        os.kill(target.pid, signal.SIGUSR2)  # filtered out
        assert seen.wait(2, 30)
        assert rows(seen, "sig", "result") == [("SIGUSR1", "delivered"), ("SIGUSR1", "already_pending")]
        seen.frames.drain()
        assert seen.frames.total == 2
    target.kill()
    target.communicate()


@pytest.mark.parametrize("kernel", [True, False])
def test_the_kernels_own_signals_are_seen_where_asked(kernel):
    with Worker() as worker, tools.signals(pid=worker.pid, kernel=kernel) as seen:
        worker.run(
            "signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.signal(signal.SIGURG, signal.SIG_IGN)"
        )
        worker.run("pid = os.fork()\nif not pid: os.execv('/bin/true', ['true'])\nos.waitpid(pid, 0)")
        worker.run("os.kill(os.getpid(), signal.SIGURG)")
        assert seen.wait(1, 30)
        frame = seen.df
    own = frame[~frame["from_kernel"]]
    assert own["sig"].tolist() == ["SIGURG"]
    assert kernel or len(frame) == 1


def test_the_end_of_a_child_is_told_by_the_kernel():
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    with tools.signals(target=os.getpid(), signal="CHLD", kernel=True) as seen:
        child.communicate(b"")
        assert seen.wait(1, 30)
        assert (child.pid, "cat", "SIGCHLD", True) in rows(seen, "pid", "comm", "sig", "from_kernel")


def test_an_unknown_signal_names_the_nearest():
    with pytest.raises(UnknownName, match="SIGTERM"):
        tools.signals(signal="TREM")
