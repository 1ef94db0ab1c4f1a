"""opensnoop and statsnoop on the live kernel: each call of a worker with its path, in order, and nobody else's."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pandas as pd
import pytest
from workloads import Worker, await_true

from bpfnb import tools
from bpfnb.errors import UnknownName


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def seen(tool: tools.tool.Tool, rows: int) -> pd.DataFrame:
    """The frame once *rows* rows are there and the ring is empty; no more may come."""
    assert tool.wait(rows, 30)
    await_true(lambda: tool.frames.fill == 0)
    frame = tool.df
    assert frame.attrs["bpfnb"]["complete"]
    assert len(frame) == rows
    return frame


def test_fifty_opens_in_order_with_descriptors_and_errors(worker, tmp_path):
    for number in range(25):
        (tmp_path / f"file-{number}").touch()
    with Worker() as other, tools.opensnoop(pid=worker.pid) as snoop:
        worker.start(
            f"""
result = []
for i in range(50):
    try:
        fd = os.open(f"{tmp_path}/file-{{i // 2 if i % 2 else 'no'}}", os.O_RDWR if i % 4 == 1 else os.O_RDONLY)
        os.close(fd)
        result.append(fd)
    except FileNotFoundError:
        result.append(-1)
"""
        )
        other.run(f"opens({str(tmp_path / 'file-0')!r}, 20)")
        descriptors = worker.finish()
        frame = seen(snoop, 50)
    assert frame["path"].tolist() == [f"{tmp_path}/file-{i // 2 if i % 2 else 'no'}" for i in range(50)]
    assert frame["fd"].tolist() == descriptors
    assert frame["err"].tolist() == ["0" if i % 2 else "ENOENT" for i in range(50)]
    assert frame["flags"].tolist() == [
        "O_RDWR|O_CLOEXEC" if i % 4 == 1 else "O_RDONLY|O_CLOEXEC" for i in range(50)
    ]
    assert set(frame["pid"]) == {worker.pid}
    assert set(frame["comm"]) == {Path(f"/proc/{worker.pid}/comm").read_text().strip()}
    assert frame["time"].is_monotonic_increasing
    assert frame["flags"].dtype == "category"


def test_a_path_that_is_not_in_memory_when_the_call_begins(worker, tmp_path):
    (tmp_path / "page").write_bytes(b"/nosuch/path in a page".ljust(8192, b"\0"))
    with tools.opensnoop(pid=worker.pid, path="^/nosuch") as snoop:
        worker.run(
            f"""
fd = os.open("{tmp_path}/page", os.O_RDWR)
os.fsync(fd)
page = mmap.mmap(fd, 8192)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
page.madvise(mmap.MADV_DONTNEED)
assert libc.open(ctypes.c_void_p(address), 0) == -1
os.close(fd)
"""
        )
        assert seen(snoop, 1)["path"].tolist() == ["/nosuch/path in a page"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="open and creat are x86's")
def test_all_calls_that_open(worker, tmp_path):
    with tools.opensnoop(pid=worker.pid) as snoop:
        worker.run(
            f"""
path = ctypes.c_char_p(b"{tmp_path}/new")
how = (ctypes.c_uint64 * 3)(os.O_RDWR | os.O_APPEND, 0, 0)
for number, *rest in (2, os.O_WRONLY | os.O_CREAT, 0o600), (85, 0o600), (257, os.O_DIRECTORY):
    first = [-100] if number == 257 else []
    fd = libc.syscall(number, *first, path, *rest)
    fd < 0 or os.close(fd)
os.close(libc.syscall(437, -100, path, how, 24))
"""
        )
        frame = seen(snoop, 4)
    assert frame["flags"].tolist() == [
        "O_WRONLY|O_CREAT",
        "O_WRONLY|O_CREAT|O_TRUNC",
        "O_RDONLY|O_DIRECTORY",
        "O_RDWR|O_APPEND",
    ]
    assert frame["err"].tolist() == ["0", "0", "ENOTDIR", "0"]
    assert set(frame["path"]) == {f"{tmp_path}/new"}


def test_options_choose_in_the_kernel_and_find_whole_paths(worker, tmp_path):
    work = f"""
deep = "d/" * 900 + "x" * 200  # 2000 bytes
os.chdir("{tmp_path}")
os.makedirs("inner", exist_ok=True)
directory = os.open("inner", os.O_DIRECTORY)
for path, start in ("inner/one", None), ("two", directory), ("/one/" + deep, None), (deep, None), ("../up", directory):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, dir_fd=start))
    except OSError:
        pass
os.close(directory)
os.chdir("/")
"""
    deep = "d/" * 900 + "x" * 200
    with (
        tools.opensnoop(pid=worker.pid) as plain,
        tools.opensnoop(pid=worker.pid, full_path=True) as full,
        tools.opensnoop(pid=worker.pid, failed=True) as failed,
        tools.opensnoop(pid=worker.pid, path="one") as contains,
        tools.opensnoop(pid=worker.pid, path="^one") as begins,
        tools.opensnoop(pid=worker.pid, path=f"^{tmp_path}/inner/t"[:63], full_path=True) as both,
        tools.opensnoop(comm="nosuchcomm") as nobody,
    ):
        worker.run(work)
        paths = seen(plain, 6)["path"].tolist()
        whole = seen(full, 6)["path"].tolist()
        wrong = seen(failed, 2)
        found = seen(contains, 2)["path"].tolist()
        counts = [len(tool.df) for tool in (begins, nobody)]
        longer = both.df["path"].tolist()
    assert paths == ["inner", "inner/one", "two", f"/one/{deep}", deep, "../up"]
    assert whole == [f"/one/{deep}" if p[0] == "/" else f"{tmp_path}/{p}" for p in paths[:2]] + [
        f"{tmp_path}/inner/two",
        f"/one/{deep}",
        f"{tmp_path}/{deep}",
        f"{tmp_path}/inner/../up",
    ]
    assert wrong["path"].tolist() == [f"/one/{deep}", deep]
    assert wrong["err"].tolist() == ["ENOENT", "ENOENT"]
    assert found == ["inner/one", f"/one/{deep}"]
    assert counts == [0, 0]
    assert f"{tmp_path}/inner/two" in longer


def test_two_questions_a_thousand_times_lose_nothing(worker):
    with tools.opensnoop(pid=worker.pid) as snoop, tools.statsnoop(pid=worker.pid) as asked:
        worker.run('opens("/dev/null", 5000)\nfor _ in range(5000): os.access("/etc", os.R_OK)')
        assert seen(snoop, 5000)["path"].nunique() == 1
        assert set(seen(asked, 5000)["path"]) == {"/etc"}


def test_questions_about_files(worker, tmp_path):
    (tmp_path / "here").touch()
    names = str(tmp_path / "here"), "/nosuch/file"
    with (
        Worker() as other,
        tools.statsnoop(pid=worker.pid, full_path=True) as snoop,
        tools.statsnoop(pid=worker.pid, failed=True) as failed,
    ):
        worker.run(
            f"""
libc.statx.argtypes = ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p
buffer = ctypes.create_string_buffer(256)
os.chdir("{tmp_path}")
directory = os.open("{tmp_path}", os.O_DIRECTORY)
for name in {names}:
    libc.statx(-100, name.encode(), 0, 0xfff, buffer)
    os.access(name, os.R_OK)
libc.faccessat(directory, b"here", 0, 0)
libc.statx(directory, b"", 0x1000, 0xfff, buffer)
libc.statx(-100, b"here", 0, 0xfff, buffer)
os.close(directory)
os.chdir("/")
"""
        )
        other.run('os.access("/nosuch/file", os.R_OK)')
        frame = seen(snoop, 7)
        wrong = seen(failed, 2)
    calls = frame["call"].tolist()
    here, missing = names
    assert [calls[i] for i in (0, 2, 5, 6)] == ["statx"] * 4
    assert all("access" in calls[i] for i in (1, 3, 4))
    assert frame["path"].tolist() == [here, here, missing, missing, here, str(tmp_path), here]
    assert frame["err"].tolist() == ["0", "0", "ENOENT", "ENOENT", "0", "0", "0"]
    assert [fd >= 0 for fd in frame["fd"]] == [False, False, False, False, True, True, False]
    assert set(wrong["path"]) == {missing}
    assert set(frame["uid"]) == {os.getuid()}


def test_options_that_make_no_sense_are_told():
    with pytest.raises(UnknownName, match="opensnoop has no option 'fulpath'"):
        tools.opensnoop(fulpath=True)
