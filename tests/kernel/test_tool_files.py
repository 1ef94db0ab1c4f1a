"""filelife, filetop, fileslower, fsdist, mounts and writeback on the live kernel, on file systems of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from loops import loop_device, make_ext4, own_mounts
from workloads import Worker, await_true

from bpfnb import tools

SHM = Path("/dev/shm")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A worker with an ext4 of its own at ``/DISK`` and a tmpfs at ``/MEMORY``, which nobody else sees."""
    folder = tmp_path_factory.mktemp("mounts")
    disk, memory = folder / "disk", folder / "memory"
    disk.mkdir(), memory.mkdir()
    with loop_device(tmp_path_factory.mktemp("image")) as device:
        make_ext4(device)
        with Worker() as worker:
            own_mounts(worker)
            worker.run(f"mount('{device}', '{disk}', 'ext4'); mount('none', '{memory}', 'tmpfs')")
            yield worker, disk, memory, device


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_lifetimes_of_files_by_whatever_way_they_go(place, where):
    worker, disk, memory, _ = place
    folder = disk if where == "disk" else memory
    with Worker() as other, tools.filelife(pid=worker.pid) as life:
        worker.run(
            f"""
def make(name):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
os.chdir("{folder}")
os.makedirs("a/b")
make("kept"); make("kept")                                   # the second time it is only opened
for i in range(20):
    make(f"short-{{i}}"); os.unlink(f"short-{{i}}")
make("a/same"); make("a/b/same"); make("same")
os.unlink("a/b/same"); os.unlink("{folder}/a/same")
make("old"); os.rename("old", "new"); os.unlink("a/../new")  # one file, renamed
make("target"); make("source"); os.rename("source", "target")  # the first target is gone, by a rename
held = os.open("held", os.O_CREAT | os.O_RDWR); os.unlink("held"); os.close(held)
long = "n" * 255
make(long); time.sleep(0.05); os.unlink(long)
for name in ("kept", "same", "target"):
    assert os.path.exists(name)
os.chdir("/")
"""
        )
        other.run("path = f'/dev/shm/bpfnb-{os.getpid()}'; open(path, 'w').close(); os.unlink(path)")
        expected = [f"{folder}/short-{i}" for i in range(20)]
        expected += [f"{folder}/a/b/same", f"{folder}/a/same", f"{folder}/a/../new", f"{folder}/target"]
        expected += [f"{folder}/held", f"{folder}/{'n' * 255}"]
        assert life.wait(len(expected), 30)
        await_true(lambda: life.frames.fill == 0)
        frame = life.df
    assert frame["path"].tolist() == expected
    assert frame.attrs["bpfnb"]["complete"]
    assert set(frame["pid"]) == set(frame["cpid"]) == {worker.pid}
    assert frame["age"].iloc[-1] >= 50_000_000
    assert (frame["age"] > 0).all()


def test_who_creates_and_who_removes_are_told_apart():
    path = SHM / f"bpfnb-test-{os.getpid()}"
    with Worker() as maker, Worker() as remover, tools.filelife(pid=maker.pid) as life:
        maker.run(f"open('{path}', 'w').close()")
        remover.run(f"os.unlink('{path}')")
        assert life.wait(1, 30)
        frame = life.df
        assert frame[["cpid", "pid", "path"]].to_records(index=False).tolist() == [
            (maker.pid, remover.pid, str(path))
        ]


def test_traffic_by_file_and_process(place):
    worker, disk, _, _ = place
    with tools.filetop(pid=worker.pid) as top, tools.filetop(pid=worker.pid, special=True) as every:
        worker.run(
            f"""
fd = os.open("{disk}/heavy", os.O_CREAT | os.O_RDWR)
for i in range(30):
    os.write(fd, b"x" * 4096)
for i in range(10):
    os.pread(fd, 1000, i * 1000)
os.preadv(fd, [bytearray(500), bytearray(24)], 0)
os.pwritev(fd, [b"y" * 500, b"y" * 24], 0)
os.close(fd)
fd = os.open("{disk}/light", os.O_CREAT | os.O_WRONLY)
os.write(fd, b"x" * 100)
os.close(fd)
fd = os.open("/dev/zero", os.O_RDONLY)
os.read(fd, 2048)
os.close(fd)
near, far = os.pipe()
os.write(far, b"x" * 1024)
os.read(near, 1024)
os.close(near); os.close(far)
"""
        )
        frame = top.df
        more = every.df.set_index("path")
    assert frame["path"].tolist() == [f"{disk}/heavy", f"{disk}/light"]  # most first
    assert frame[["reads", "writes", "r_kb", "w_kb", "type"]].to_records(index=False).tolist() == [
        (11, 31, (10_000 + 524) / 1024, (30 * 4096 + 524) / 1024, "file"),
        (0, 1, 0.0, 100 / 1024, "file"),
    ]
    assert set(frame["pid"]) == {worker.pid}
    assert more.loc["/dev/zero", ["reads", "r_kb", "type"]].tolist() == [1, 2.0, "device"]
    pipes = more[more["type"] == "pipe"]  # among them those that the worker is told what to do by
    assert set(pipes.index) == {"pipefs"}
    assert 1.0 in pipes["w_kb"].tolist()
    assert 1.0 in pipes["r_kb"].tolist()
    assert frame.attrs["bpfnb"]["complete"]


CALLS = """
for folder, times in {times}.items():
    for i in range(times):
        fd = os.open(f"{{folder}}/timed", os.O_CREAT | os.O_RDWR)
        os.write(fd, b"x" * 5000)
        os.pwrite(fd, b"y" * 100, 5000)
        os.fsync(fd)
        os.pread(fd, 4000, 0)
        os.close(fd)
    try:
        os.open(f"{{folder}}/nosuch", os.O_RDONLY)
    except FileNotFoundError:
        pass
"""


def test_filetop_does_not_take_a_new_file_for_the_one_whose_inode_it_got(place):
    worker, disk, _memory, _ = place
    with tools.filetop(pid=worker.pid) as top:
        inodes = worker.run(
            f"""
result = set()
for i in range(20):
    fd = os.open(f"{disk}/f{{i}}", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x" * (1 + i))
    result.add(os.fstat(fd).st_ino)
    os.close(fd); os.unlink(f"{disk}/f{{i}}")
result = len(result)
"""
        )
        frame = top.df
    assert inodes < 20, "ext4 gives out the first free one"
    assert frame["path"].tolist() == [f"{disk}/f{i}" for i in reversed(range(20))]
    assert (frame["w_kb"] * 1024).tolist() == [1 + i for i in reversed(range(20))]
    assert frame.attrs["bpfnb"]["complete"]


def test_times_by_file_system_are_of_all_calls(place):
    worker, disk, memory, _ = place
    with (
        Worker() as other,
        tools.fsdist(pid=worker.pid) as dist,
        tools.fsdist(pid=worker.pid, fs="tmpfs") as one,
    ):
        worker.run(CALLS.format(times={str(disk): 7, str(memory): 30}))
        other.run(CALLS.format(times={"/dev/shm": 1}) + "os.unlink('/dev/shm/timed')")
        frame, totals, only = dist.df, dist.totals, one.totals
        picture = dist.view()
        counts = picture.histogram
    wanted = {"open": 1, "write": 2, "fsync": 1, "read": 1}
    counted = totals.set_index(["fs", "op"])["count"].to_dict()
    assert counted == {
        (fs, op): n * times for fs, times in (("ext4", 7), ("tmpfs", 30)) for op, n in wanted.items()
    }
    assert only.set_index("op")["count"].to_dict() == {op: n * 30 for op, n in wanted.items()}
    assert frame["count"].sum() == sum(counted.values()) == counts.total
    assert (
        (frame["low"] * frame["count"] <= frame["total"]) & (frame["total"] < frame["high"] * frame["count"])
    ).all()
    assert (totals["mean"] > 0).all()
    assert frame.attrs["bpfnb"]["complete"]


def test_slow_calls_have_their_path_and_time(place):
    worker, disk, memory, _ = place
    with (
        tools.fileslower(pid=worker.pid, min_ms=0) as all_calls,
        tools.fileslower(pid=worker.pid, min_ms=60_000) as none,
    ):
        code = CALLS.format(times={str(memory): 1, str(disk): 1})
        took = worker.run(f"began = time.monotonic_ns()\n{code}\nresult = time.monotonic_ns() - began")
        assert all_calls.wait(8, 30)
        await_true(lambda: all_calls.frames.fill == 0)
        frame = all_calls.df
        assert len(none.df) == 0
    rows = frame[["op", "bytes", "err", "fs", "path"]].to_records(index=False).tolist()
    assert rows == [
        (op, size, "0", fs, f"{folder}/timed")
        for fs, folder in (("tmpfs", memory), ("ext4", disk))
        for op, size in (("write", 5000), ("write", 100), ("fsync", 0), ("read", 4000))
    ]
    assert (frame["lat"] > 0).all()
    assert frame["lat"].sum() < took
    assert frame.attrs["bpfnb"]["complete"]


def test_mounts_in_a_namespace_of_their_own(tmp_path):
    target, bound = tmp_path / "target", tmp_path / "bound"
    target.mkdir(), bound.mkdir()
    with Worker() as worker:
        own_mounts(worker)
        namespace = os.stat(f"/proc/{worker.pid}/ns/mnt").st_ino
        with (
            Worker() as other,
            tools.mounts(pid=worker.pid) as mounts,
            tools.mounts(pid=other.pid) as others,
            tools.mounts(pid=worker.pid, failed=True) as failed,
        ):
            worker.run(
                f"""
def call(number, *arguments):
    found = libc.syscall(number, *(ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a or 0) for a in arguments))
    assert found >= 0, (number, ctypes.get_errno())
    return found
mount("none", "{target}", "tmpfs", 2 | 4 | 8, b"size=64k")
mount("{target}", "{bound}", None, 4096)
try:
    mount("none", "{tmp_path}/nosuch", "tmpfs")
except OSError as error:
    result = error.errno
libc.umount2(b"{bound}", 2)
libc.umount2(b"{target}", 0)
new = call(430, b"tmpfs", 1)                      # fsopen
call(431, new, 1, b"size", b"32k", 0)             # fsconfig FSCONFIG_SET_STRING
call(431, new, 1, b"source", b"bpfnb", 0)
call(431, new, 6, None, None, 0)                  # FSCONFIG_CMD_CREATE
made = call(432, new, 1, 0x2 | 0x8)               # fsmount
call(429, made, b"", -100, b"{bound}", 4)         # move_mount
assert os.statvfs("{bound}").f_blocks == 8
"""
            )
            assert mounts.wait(11, 30)
            assert failed.wait(1, 30)
            frame, wrong = mounts.df, failed.df
            assert len(others.df) == 0
    columns = ["call", "fs", "source", "target", "flags", "data", "err"]
    assert frame[columns].to_records(index=False).tolist() == [
        ("mount", "tmpfs", "none", str(target), "MS_NOSUID|MS_NODEV|MS_NOEXEC", "size=64k", "0"),
        ("mount", "", str(target), str(bound), "MS_BIND", "", "0"),
        ("mount", "tmpfs", "none", f"{tmp_path}/nosuch", "", "", "ENOENT"),
        ("umount", "", "", str(bound), "MNT_DETACH", "", "0"),
        ("umount", "", "", str(target), "", "", "0"),
        ("fsopen", "tmpfs", "", "", "FSOPEN_CLOEXEC", "", "0"),
        ("fsconfig", "tmpfs", "", "", "FSCONFIG_SET_STRING", "size=32k", "0"),
        ("fsconfig", "tmpfs", "", "", "FSCONFIG_SET_STRING", "source=bpfnb", "0"),
        ("fsconfig", "tmpfs", "", "", "FSCONFIG_CMD_CREATE", "", "0"),
        ("fsmount", "tmpfs", "", "", "MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOEXEC", "", "0"),
        ("move_mount", "tmpfs", "bpfnb", str(bound), "MOVE_MOUNT_F_EMPTY_PATH", "", "0"),
    ]
    assert set(frame["mntns"]) == {namespace}
    assert [fd >= 0 for fd in frame["fd"]] == [call in ("fsopen", "fsmount") for call in frame["call"]]
    assert wrong["target"].tolist() == [f"{tmp_path}/nosuch"]


def test_what_is_written_back_for_a_sync(place):
    worker, disk, _, device = place
    worker.run(f"fd = os.open('{disk}', os.O_RDONLY); libc.syncfs(fd); os.close(fd)")
    with tools.writeback() as writeback, tools.writeback(comm="nosuchcomm") as nobody:
        worker.run(
            f"""
fd = os.open("{disk}/dirty", os.O_CREAT | os.O_WRONLY)
os.write(fd, bytes(200 * 4096))
libc.syncfs(fd)
os.close(fd)
"""
        )

        def pages():
            frame = writeback.df
            return frame[(frame["device"] == device.name) & (frame["reason"] == "sync")]

        await_true(lambda: pages()["pages"].sum() >= 200)
        frame = pages()
        assert len(nobody.df) == 0
    assert 200 <= frame["pages"].sum() < 400, "the data, and what the file system notes about it"
    assert (frame["lat"] > 0).all()
    assert all(comm.startswith("kworker") for comm in frame["comm"])
