"""faults, mmapsnoop, cachestat, reclaim and slabs on the live kernel, each with what a known process did."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from allocating import program
from tooling import Doer
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A folder of a file system whose pages can leave the cache."""
    with tempfile.TemporaryDirectory(prefix="bpfnb-test-", dir=Path(__file__).parent) as folder:
        yield Path(folder)


def test_faults_are_the_pages_that_were_touched(on_disk: Path) -> None:
    (on_disk / "data").write_bytes(os.urandom(50 * PAGE))
    os.sync()
    with Doer(program(), on_disk / "data") as toucher, Doer(program()) as other:
        toucher.do("touch", 1)
        with tools.faults(pid=toucher.pid) as faults:
            held = object_ids(faults.object.loaded)
            toucher.do("touch", 500)
            other.do("touch", 700)
            toucher.do("receive", 30)
            toucher.do("fetch", 50)
            frame = faults.df
            picture = faults.view().svg()
        assert "touch" in picture
        assert " faults in " in picture
    numbers = ["count", "major", "writes", "fetches", "kernel"]

    def of(function: str) -> list[int]:
        rows = frame[frame["user_stack"].str.contains(f";main;{function}", na=False)]
        return rows[numbers].sum().tolist()

    assert of("touch") == [500, 0, 500, 0, 0]
    assert of("syscall") == [30, 0, 30, 0, 30]  # it makes no frame of its own, so who called it is not seen
    assert of("fetch") == [50, 50, 0, 0, 0]
    assert set(frame["pid"]) == {toucher.pid}
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


def test_every_change_of_an_address_space_with_its_words() -> None:
    with Doer(program()) as changer, Doer(program()) as other:
        changer.do("change")
        with (
            tools.mmapsnoop(pid=changer.pid) as calls,
            tools.mmapsnoop(pid=changer.pid, failed=True) as failed,
        ):
            held = object_ids(calls.object.loaded)
            other.do("change")
            changer.do("change")
            assert calls.wait(8, 30)
            assert failed.wait(1, 30)
            frame, refused = calls.df, failed.df
    rows = (
        frame[["call", "length", "prot", "flags", "fd", "ret"]].astype(str).to_records(index=False).tolist()
    )
    assert rows == [
        ("mmap", "12288", "r--", "PRIVATE|ANONYMOUS", "-1", "0"),
        ("mprotect", "4096", "rw-", "", "-1", "0"),
        ("mprotect", "4096", "r--", "", "-1", "0"),
        ("mremap", "40960", "", "MAYMOVE", "-1", "0"),
        ("munmap", "40960", "", "", "-1", "0"),
        ("mmap", "0", "r--", "SHARED|POPULATE", "0", "EINVAL"),
        ("brk", "8192", "", "", "-1", "0"),
        ("brk", "-4096", "", "", "-1", "0"),
    ]
    where = frame["addr"].tolist()
    assert where[0] == where[1] == where[2]
    assert where[3] == where[4]
    assert int(where[6], 16) - int(where[7], 16) == 4096
    assert set(frame["pid"]) == {changer.pid}
    assert refused[["call", "ret"]].astype(str).to_records(index=False).tolist() == [("mmap", "EINVAL")]
    assert left_over(held) == {}


def test_pages_found_in_the_cache_and_pages_brought_in(on_disk: Path) -> None:
    path = on_disk / "data"
    path.write_bytes(bytes(64 * PAGE))
    os.sync()
    read = (
        f"file = os.open({str(path)!r}, os.O_RDONLY)\nwhile os.read(file, {8 * PAGE}): pass\nos.close(file)"
    )
    forget = (
        f"file = os.open({str(path)!r}, os.O_RDONLY)\nos.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)"
    )
    with Worker() as worker, Worker() as other, tools.cachestat(pid=worker.pid) as cache:
        held = object_ids(cache.object.loaded)
        if not any("mm_filemap_get_pages" in hook for hook in cache.used):
            pytest.skip("this kernel does not tell what was asked for")
        other.run(read)
        worker.run(forget)
        worker.run(read)
        first = cache.df
        worker.run(read)
        again = cache.df
        worker.run(f"writes({str(on_disk / 'new')!r}, [{PAGE}] * 32)")
        written = cache.df
        picture = cache.view()
        assert picture.svg()
    assert first["comm"].str.startswith("python").all()
    columns = ["comm", "pid", "hits", "misses", "ratio", "written"]
    assert first[columns[1:]].to_records(index=False).tolist() == [(worker.pid, 0, 64, 0.0, 0)]
    assert again[["hits", "misses", "ratio"]].to_records(index=False).tolist() == [(64, 64, 0.5)]
    assert written[["hits", "misses", "written"]].to_records(index=False).tolist() == [(64, 64, 32)]
    assert cache.df.equals(written)  # readable after close
    assert left_over(held) == {}


LIMIT = 20 << 20


@contextmanager
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of LIMIT bytes, of v2 or, where that has no memory controller, of v1."""
    places = [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")]
    for root, limit in places:
        if not os.access(Path(root) / "cgroup.procs", os.W_OK):
            continue
        path = Path(tempfile.mkdtemp(prefix="bpfnb-test-", dir=root))
        try:
            if (path / limit).exists():
                (path / limit).write_text(str(LIMIT))
                yield path
                return
        finally:
            path.rmdir()
    pytest.skip("no memory controller")


def test_a_cgroup_at_its_limit_reclaims_what_does_not_fit(on_disk: Path) -> None:
    size = 3 * LIMIT
    (on_disk / "big").write_bytes(bytes(size))
    os.sync()
    read = f"file = open({str(on_disk / 'big')!r}, 'rb'); all(iter(lambda: file.read(1 << 20), b''))"
    code = f"open('/proc/self/comm', 'w').write('bpfnb-reclaim'); {read}"
    with small_cgroup() as group, tools.reclaim(comm="bpfnb-reclaim") as stalls:
        held = object_ids(stalls.object.loaded)
        file = os.open(on_disk / "big", os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )
        assert process.wait() == 0
        assert stalls.wait(1, 30)
        frame = stalls.df
    assert set(frame["pid"]) == {process.pid}
    assert set(frame["kind"]) == {"memcg"}
    assert (
        (size - LIMIT) // PAGE <= frame["reclaimed"].sum() <= 4 * size // PAGE
    )  # what is read ahead may go again unread
    assert (frame["latency"] > 0).all()
    assert frame["result"].isna().all()
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


def test_compaction_with_its_result() -> None:
    compact = Path("/proc/sys/vm/compact_memory")
    if not os.access(compact, os.W_OK):
        pytest.skip("this kernel has no compaction")
    with Worker() as worker, tools.reclaim(pid=worker.pid) as stalls:
        worker.run(f"open({str(compact)!r}, 'w').write('1')")
        assert stalls.wait(1, 30)
        frame = stalls.df
    assert set(frame["pid"]) == {worker.pid}
    assert set(frame["kind"]) == {"compaction"}
    assert frame["result"].notna().all()
    assert (frame["latency"] > 0).all()


def test_slabs_count_objects_by_cache_by_who_and_by_where(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with (
        Worker() as worker,
        Worker() as other,
        tools.slabs(pid=worker.pid) as slabs,
        tools.slabs(pid=worker.pid, by_site=True, by_process=True) as sites,
    ):
        held = object_ids(slabs.object.loaded)
        for one in (worker, other):
            one.run(f"opens({str(tmp_path / 'x')!r}, 100)")
        await_true(lambda: slabs.df.set_index("cache")["frees"].get("filp") == 100)
        frame = slabs.df.set_index("cache")
        where = sites.df
    files = frame.loc["filp"]
    size = files["bytes"] // 100
    assert files[["allocs", "bytes", "frees", "freed", "net"]].tolist() == [
        100,
        100 * size,
        100,
        100 * size,
        0,
    ]
    assert 184 <= size <= 512  # a struct file, aligned
    opened = where[(where["cache"] == "filp") & (where["allocs"] > 0)]
    assert opened[["site", "pid", "allocs"]].to_records(index=False).tolist() == [
        ("alloc_empty_file", worker.pid, 100)
    ]
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}
