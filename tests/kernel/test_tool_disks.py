"""biosnoop, biolatency, biotop and bitesize on the live kernel: each request of a direct-I/O run on a disk of its own."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from loops import loop_device
from workloads import Worker, await_true

from bpfnb import tools
from bpfnb.errors import KernelFeatureMissing, UnknownName
from bpfnb.tools import disks

RUN = """
import random
chance = random.Random({seed})
disk = os.open("{disk}", os.O_RDWR | os.O_DIRECT)
memory = mmap.mmap(-1, 65536)
result = []
for i in range({n}):
    size, offset = 4096 << chance.randrange(5), 65536 * chance.randrange(200)
    write = chance.randrange(3) == 0
    view = [memoryview(memory)[:size]]
    assert (os.pwritev if write else os.preadv)(disk, view, offset) == size
    result.append(["write" if write else "read", offset // 512, size])
os.close(disk)
"""
"""Reads and writes of 4 to 64 KiB at random places, one after the other; each is one request."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with loop_device(tmp_path_factory.mktemp("image")) as disk:
        yield disk


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def test_each_request_of_a_direct_run_in_order(disk, worker):
    with (
        Worker() as other,
        tools.biosnoop(pid=worker.pid, disk=disk.name) as snoop,
        tools.biosnoop(disk=disk.name, uid=54321) as nobody,
    ):
        worker.start(RUN.format(seed=1, disk=disk, n=300))
        other.run(RUN.format(seed=2, disk=disk, n=50))
        done = worker.finish()
        assert snoop.wait(300, 30)
        await_true(lambda: snoop.frames.fill == 0)
        frame = snoop.df
        assert len(nobody.df) == 0
    assert frame[["type", "sector", "bytes"]].to_records(index=False).tolist() == [tuple(row) for row in done]
    assert set(frame["disk"]) == {disk.name}
    assert set(frame["pid"]) == {worker.pid}
    assert set(frame["comm"]) == {Path(f"/proc/{worker.pid}/comm").read_text().strip()}
    assert set(frame["uid"]) == {os.getuid()}
    assert set(frame["err"]) == {"0"}
    assert (frame["lat"] > 0).all()
    times = frame["time"].astype("int64")
    spans = frame["queue"] + frame["lat"]
    assert (times.diff().iloc[1:] >= spans.iloc[1:]).all(), "one is made after the one before was complete"
    assert frame.attrs["bpfnb"]["complete"]


def test_counts_and_sizes_of_a_direct_run(disk, worker):
    with (
        tools.biolatency(pid=worker.pid) as plain,
        tools.biolatency(pid=worker.pid, queued=True, disks=True, types=True) as queued,
        tools.biolatency(pid=worker.pid, flags=True, disk=disk) as flags,
        tools.biolatency(pid=worker.pid, disk=0xFFFFF) as elsewhere,
        tools.biotop(pid=worker.pid) as top,
        tools.bitesize(pid=worker.pid, by="type") as sizes,
        tools.bitesize(comm="nosuchcomm") as nobody,
    ):
        done = worker.run(RUN.format(seed=3, disk=disk, n=400))
        await_true(lambda: plain.df["count"].sum() == 400)
        latency, with_queue, by_flags = plain.df, queued.totals, flags.totals
        table, spread, picture = top.df, sizes.df, sizes.view().histogram
        assert len(elsewhere.df) == len(nobody.df) == 0
    kinds = Counter(kind for kind, _, _ in done)
    bytes_of = {kind: sum(size for k, _, size in done if k == kind) for kind in kinds}
    assert (latency["low"] * latency["count"] <= latency["total"]).all()
    assert (latency["total"] < latency["high"] * latency["count"]).all()
    assert with_queue.set_index(["disk", "type"])["count"].to_dict() == {
        (disk.name, kind): n for kind, n in kinds.items()
    }
    assert with_queue["total"].sum() >= latency["total"].sum()
    assert by_flags["count"].sum() == 400
    assert all("sync" in text for text in by_flags["flags"])
    assert table.set_index("type")["io"].to_dict() == kinds
    assert table.set_index("type")["kbytes"].to_dict() == {
        kind: size / 1024 for kind, size in bytes_of.items()
    }
    assert set(table["pid"]) == {worker.pid}
    assert set(table["disk"]) == {disk.name}
    assert (table["avg_ms"] > 0).all()
    assert spread.set_index(["type", "low"])["count"].to_dict() == Counter(
        (kind, size) for kind, _, size in done
    )
    assert spread["total"].sum() == sum(bytes_of.values())
    assert (picture.total, picture.unit) == (400, "bytes")
    assert all(frame.attrs["bpfnb"]["complete"] for frame in (latency, table, spread))


def test_a_flush_is_a_request_without_data(disk, worker):
    with tools.biosnoop(pid=worker.pid, disk=disk) as snoop:
        worker.run(
            f"""
fd = os.open("{disk}", os.O_RDWR | os.O_DIRECT)
os.pwritev(fd, [mmap.mmap(-1, 4096)], 8192)
os.fsync(fd)
os.close(fd)
"""
        )
        assert snoop.wait(2, 30)
        frame = snoop.df
    assert frame[["type", "bytes"]].to_records(index=False).tolist() == [("write", 4096), ("flush", 0)]
    assert frame["sector"].iloc[0] == 16


def test_nothing_is_left_of_requests_that_have_ended(disk, worker):
    with tools.biosnoop(pid=worker.pid) as snoop:
        worker.run(RUN.format(seed=4, disk=disk, n=100))
        assert snoop.wait(100, 30)
        await_true(lambda: len(snoop.object.maps["requests"].df) == 0)


def test_without_the_hook_that_tells_the_maker_it_is_who_hands_it_over(disk, worker, monkeypatch):
    monkeypatch.setattr(disks, "check_section", lambda section: KernelFeatureMissing(f"no {section}"))
    with tools.biosnoop(pid=worker.pid) as snoop:
        assert "tp_btf/block_io_start" not in snoop.used
        done = worker.run(RUN.format(seed=5, disk=disk, n=50))
        assert snoop.wait(50, 30)
        frame = snoop.df
    assert frame[["type", "sector", "bytes"]].to_records(index=False).tolist() == [tuple(row) for row in done]


def test_a_disk_that_there_is_not():
    with pytest.raises(UnknownName, match="there is no disk 'vdzz' here"):
        tools.biosnoop(disk="/dev/vdzz")
