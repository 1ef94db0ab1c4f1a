"""memleak and kmemleak on the live kernel: exactly what was not given back, by who asked for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from allocating import program
from tooling import Doer
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.errors import BadValue

LEAKS = {  # function: bytes of one call
    "leak_malloc": 1000,
    "leak_calloc": 300,
    "leak_realloc": 5000,
    "leak_from_nothing": 77,
    "leak_posix": 256,
    "leak_aligned": 640,
    "leak_big": 1 << 20,
    "leak_failed": 700,
    "leak_map": 8192,
}


def by_function(frame: Any) -> dict[str, tuple[int, int, int]]:
    """(bytes, count, allocations) by the innermost frame of the stack, where there is something left."""
    names = frame["user_stack"].astype(str).str.rpartition(";")[2]
    sums = frame.groupby(names)[["bytes", "count", "allocations"]].sum()
    return {name: tuple(row) for name, row in zip(sums.index, sums.to_numpy().tolist(), strict=True)}


def times(number: int) -> dict[str, tuple[int, int, int]]:
    return {name: (size * number, number, number) for name, size in LEAKS.items()}


def latest(tool: Any) -> int:
    """The outstanding bytes at the last moment of the history."""
    history = tool.history
    return int(history.loc[history["time"] == history["time"].max(), "bytes"].sum())


@pytest.mark.parametrize("static", [False, True])
def test_exactly_what_was_not_freed(static: bool) -> None:
    path = program(static=static)
    with Doer(path) as leaker, Doer(path) as other:
        leaker.do("warm")
        with tools.memleak(pid=leaker.pid, interval=0.05) as leaks:
            held = object_ids(leaks.object.loaded)
            leaker.do("leak", 3)
            other.do("leak", 5)
            leaker.do("leak", 4)
            frame = leaks.df
            found = by_function(frame)
            assert found == times(7)
            assert set(frame["pid"]) == {leaker.pid}
            assert set(frame["comm"]) == {path.name}
            assert frame["user_stack"].str.contains("main;leak;leak_").all()
            assert frame["bytes"].is_monotonic_decreasing
            assert frame.attrs["bpfnb"]["complete"]
            picture = leaks.view()
            assert "leak_big" in picture.svg()
            await_true(lambda: latest(leaks) == frame["bytes"].sum(), 20)
            leaker.do("drop")
            assert by_function(leaks.df) == {
                "leak_map": times(7)["leak_map"]
            }  # nobody can free it without its address
            await_true(lambda: latest(leaks) == 8192 * 7, 20)
            assert "leak_big" in leaks.growth().svg()
    assert by_function(leaks.df) == {"leak_map": times(7)["leak_map"]}  # readable after close
    assert left_over(held) == {}


def test_only_what_is_old_or_large_enough() -> None:
    path = program(static=True)
    options = {"object": str(path), "comm": path.name}  # all processes of this program, and no others
    with (
        Doer(path) as first,
        Doer(path) as second,
        tools.memleak(**options, older=0.05) as soon,
        tools.memleak(**options, min_size=640, max_size=1000) as middle,
    ):
        first.do("leak", 2)
        second.do("leak")
        assert middle.wait(3, 30)
        sizes = {"leak_malloc": 1000, "leak_aligned": 640, "leak_failed": 700}
        assert {n: row[:2] for n, row in by_function(middle.df).items()} == {
            n: (3 * s, 3) for n, s in sizes.items()
        }
        assert set(middle.df["pid"]) == {first.pid, second.pid}
        await_true(lambda: soon.df.loc[lambda frame: frame["user_stack"].notna()]["count"].sum() >= 27, 20)
        aged = by_function(soon.df)
        assert {name: aged[name][:2] for name in LEAKS} == {name: row[:2] for name, row in times(3).items()}
        soon.given["older"] = 3600.0
        assert soon.df.empty


def test_what_cannot_be_probed_is_told() -> None:
    with pytest.raises(BadValue, match="no function malloc"):
        tools.memleak(object="/bin/true")
    with pytest.raises(BadValue, match="there is no program or library"):
        tools.memleak(object="/nowhere/libmalloc.so")
    with pytest.raises(BadValue, match="older= is more than 0"):
        tools.memleak(older=0)


def test_the_kernels_objects_stay_until_they_are_freed(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with Worker() as worker, Worker() as other, tools.kmemleak(pid=worker.pid) as leaks:
        held = object_ids(leaks.object.loaded)

        def files() -> int:
            frame = leaks.df  # by the stack that opened; others are of what Python itself opens
            opened = frame["kernel_stack"].str.contains(r"alloc_empty_file_\[k\];kmem_cache_alloc", na=False)
            return int(frame[opened]["count"].max())

        code = f"files = [os.open({str(tmp_path / 'x')!r}, os.O_RDONLY) for _ in range(40)]"
        worker.run(code)
        other.run(code)
        assert files() == 40
        frame = leaks.df
        assert set(frame["pid"]) == {worker.pid}
        assert frame["kernel_stack"].str.startswith(("entry_", "asm_", "ret_from_fork")).all()
        worker.run("for file in files[:30]: os.close(file)")
        await_true(lambda: files() == 10, 20)
        assert leaks.df.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


def test_pages_are_those_that_were_touched() -> None:
    pages = 300
    size = os.sysconf("SC_PAGE_SIZE")
    with Doer(program()) as toucher:
        toucher.do("warm")
        with tools.kmemleak(pid=toucher.pid, pages=True) as leaks:
            toucher.do("touch", pages)
            frame = leaks.object.maps["leaks"].df
            assert pages <= frame["allocations"].sum() <= pages + 50  # and those of the page tables
            await_true(lambda: leaks.df["bytes"].sum() <= 50 * size)
