"""futex, mutexes and klocks on the live kernel: waits whose number and length a test knows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from allocating import program
from tooling import Doer
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools

REST = 40  # milliseconds for which a lock is kept
NS = 1_000_000


def rows_of(frame: Any, function: str) -> Any:
    """The rows whose stack has *function*."""
    return frame[frame["user_stack"].str.contains(f";{function}(?:;|$)", na=False)]


def test_futex_waits_are_as_long_as_the_lock_was_kept() -> None:
    with Doer(program()) as contender, Doer(program()) as other, tools.futex(pid=contender.pid) as futex:
        held = object_ids(futex.object.loaded)
        began = time.monotonic_ns()
        for _ in range(3):
            contender.do("contend", REST)
        took = time.monotonic_ns() - began
        other.do("contend", 1)
        await_true(lambda: rows_of(futex.df, "late")["count"].sum() == 3, 20)
        frame = futex.df
        assert "late" in futex.view().svg()
    late = rows_of(frame, "late")  # of the C library, which has no frame pointers, callers are missing
    assert late["failed"].sum() == 0
    assert late["lock"].nunique() == 1
    assert 3 * REST * NS <= late["wait"].sum() <= took
    assert (late["max_wait"] >= REST * NS).all()
    assert (late["avg_wait"] == late["wait"] // late["count"]).all()
    assert set(frame["pid"]) == {contender.pid}
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


def test_mutexes_waited_for_and_kept() -> None:
    with Doer(program()) as contender, Doer(program()) as other, tools.mutexes(pid=contender.pid) as mutexes:
        held = object_ids(mutexes.object.loaded)
        began = time.monotonic_ns()
        for _ in range(3):
            contender.do("contend", REST)
        took = time.monotonic_ns() - began
        began = time.monotonic_ns()
        contender.do("signal", REST)
        signalled = time.monotonic_ns() - began
        other.do("contend", 1)
        frame = mutexes.df
        assert "lock_late" in mutexes.view().svg()

    def of(function: str) -> Any:
        rows = rows_of(frame, function)
        return rows[["count", "contended", "wait", "hold"]].sum()

    first, late, waits = of("lock_first"), of("lock_late"), of("lock_condition")
    assert first[["count", "contended"]].tolist() == [3, 0]
    assert late[["count", "contended"]].tolist() == [3, 3]
    assert waits[["count", "contended"]].tolist() == [1, 0]
    rest = 3 * REST * NS
    assert rest <= late["wait"] <= took
    assert rest <= first["hold"] <= took
    assert max(first["wait"], late["hold"]) <= took - rest
    assert (
        waits["hold"] <= signalled - REST * NS
    )  # it did not have the mutex while it waited for the condition
    assert frame[frame["user_stack"].str.contains("lock_", na=False)]["mutex"].nunique() == 1
    assert set(frame["pid"]) == {contender.pid}
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


# A page that nobody has filled yet: whoever reads it sleeps until fill() is called, with the locks that it has.
# include/uapi/linux/userfaultfd.h
HOLD = """
import fcntl
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, 4096, 3, 0x22, -1, 0)
assert page not in (None, 2**64 - 1)
faults = libc.syscall(323, 0)
assert faults >= 0
fcntl.ioctl(faults, 0xC018AA3F, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
fcntl.ioctl(faults, 0xC020AA00, bytearray(struct.pack("=QQQQ", page, 4096, 1, 0)))
file = os.open(PATH, os.O_WRONLY | os.O_CREAT)

def state(thread):
    text = open(f"/proc/self/task/{thread.native_id}/stat").read()
    return text.rpartition(")")[2].split()[0]

def contended(ms):
    # one thread writes from the page and has the file's lock; another one wants it
    libc.madvise(ctypes.c_void_p(page), 4096, 4)  # empty again
    holder = threading.Thread(target=lambda: libc.pwrite(file, ctypes.c_void_p(page), 4096, 0))
    holder.start()
    assert os.read(faults, 32)[0] == 0x12  # it sleeps
    waiter = threading.Thread(target=lambda: libc.pwrite(file, b"x", 1, 0))
    began = time.monotonic_ns()
    waiter.start()
    while not waiter.native_id or state(waiter) != "D":
        time.sleep(0.001)
    time.sleep(ms / 1000)
    fcntl.ioctl(faults, 0xC020AA04, bytearray(struct.pack("=QQQq", page, 4096, 0, 0)))
    holder.join(), waiter.join()
    return time.monotonic_ns() - began
"""


def test_kernel_locks_by_kind_and_stack(tmp_path: Path) -> None:
    if not Path("/proc/sys/vm/unprivileged_userfaultfd").exists():
        pytest.skip("this kernel has no userfaultfd")
    with (
        Worker() as worker,
        Worker() as other,
        tools.klocks(pid=worker.pid) as locks,
        tools.klocks(pid=worker.pid, addresses=True) as single,
    ):
        held = object_ids(locks.object.loaded)
        for one, name in ((worker, "one"), (other, "other")):
            one.run(HOLD.replace("PATH", repr(str(tmp_path / name))))
        took = sum(worker.call(f"contended({REST})") for _ in range(2))
        other.call("contended(1)")
        frame, apart = locks.df, single.df
        assert "rwsem_down_write_slowpath" in locks.view().svg()
    waited = frame[frame["kernel_stack"].str.contains("rwsem_down_write_slowpath", na=False)]
    waited = waited[waited["max_wait"] >= REST * NS]
    assert waited["count"].sum() == 2
    assert set(waited["lock"]) == {"rwsem:W"}
    assert 2 * REST * NS <= waited["wait"].sum() <= took
    assert waited["kernel_stack"].str.contains("sys_pwrite64").all()
    assert set(frame["pid"]) == {worker.pid}
    long = apart[apart["max_wait"] >= REST * NS]
    assert long["count"].sum() == 2
    assert long["address"].nunique() == 1
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}
