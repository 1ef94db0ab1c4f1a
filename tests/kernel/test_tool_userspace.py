"""usdt, pycalls, funccount, funclatency and mallocs on the live kernel: each call of a known program, by the number."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tooling import Doer
from workloads import Worker, await_true, left_over, object_ids, probe_library

import bpfnb
from bpfnb import tools
from bpfnb.cli import main
from bpfnb.errors import BadValue, MissingDependency, UnknownName
from bpfnb.kernel.binaries import Binary
from bpfnb.tools import places

PYTHON = Path("/usr/bin/python3")


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as made:
        made.run(f"lib = ctypes.CDLL({str(probe_library())!r})")
        yield made


# usdt


def test_a_probe_with_its_arguments_and_its_semaphore(worker):
    semaphore = "ctypes.c_ushort.in_dll(lib, 'bpfnb_tick_semaphore').value"
    with (
        tools.usdt(f"{probe_library()}:bpfnb:tick", pid=worker.pid, filter="arg1 != 3") as ticks,
        Worker() as other,
    ):
        held = object_ids(ticks.object.loaded)
        other.run(f"ctypes.CDLL({str(probe_library())!r}).work(5)")
        assert worker.call(semaphore) == 1
        worker.run("lib.work(5)")
        assert ticks.wait(4, 30)
        frame = ticks.df
    assert frame["arg1"].tolist() == [0, 1, 2, 4]
    assert str(frame["arg1"].dtype) == "Int32"
    assert set(frame["pid"]) == {worker.pid}
    assert frame.attrs["bpfnb"]["complete"]
    assert worker.call(semaphore) == 0
    assert left_over(held) == {}


def test_probes_are_listed_by_file_and_by_process(worker, capsys):
    library = probe_library()
    found = tools.usdt.list(library)
    assert found.to_dict("records") == [
        {
            "binary": str(library),
            "provider": "bpfnb",
            "name": "tick",
            "places": 1,
            "args": "-4",
            "semaphore": True,
        }
    ]
    mapped = tools.usdt.list(worker.pid)
    assert mapped[mapped["binary"] == str(library)]["name"].tolist() == ["tick"]
    main(["tool", "usdt", str(library), "--list"])
    assert "bpfnb     tick" in capsys.readouterr().out
    with tools.usdt("bpfnb:t*", pid=worker.pid, args="step") as ticks:
        worker.run("lib.work(2)")
        assert ticks.wait(2, 30)
        assert ticks.df["step"].tolist() == [0, 1]


def test_probes_of_cpython_know_their_texts():
    if not PYTHON.exists() or not len(tools.usdt.list(PYTHON)):
        pytest.skip("this machine's python3 was built without USDT probes")
    only = "module ~ 'json*' && comm ~ 'python*' && module != 'json.scanner' && module != 'json.encoder'"
    with tools.usdt(f"{PYTHON}:python:import__find__load__*", filter=only) as imports:
        process = subprocess.run([PYTHON, "-c", "import os, json; print(os.getpid())"], capture_output=True)
        assert imports.wait(4, 30)
        frame = imports.df.loc[lambda frame: frame["pid"] == int(process.stdout)]
    assert frame["module"].tolist() == ["json", "json.decoder", "json.decoder", "json"]
    assert frame["probe"].tolist() == [
        f"python:import__find__load__{at}" for at in ("start", "start", "done", "done")
    ]
    assert frame["found"].isna().tolist() == [True, True, False, False]
    assert frame["found"].dropna().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"binary": "/bin/true", "probe": "a:b"}, UnknownName, "/bin/true has no USDT probes"),
        ({"probe": "bpfnb:tock"}, UnknownName, "did you mean bpfnb:tick"),
        ({"probe": "bpfnb:tick", "args": "a, b"}, BadValue, "has 1 arguments"),
        ({"probe": "bpfnb:tick", "filter": "arg2 == 1"}, UnknownName, "bpfnb:tick has no field 'arg2'"),
        ({"probe": "tick", "binary": "/etc/passwd"}, BadValue, "ELF"),
    ],
)
def test_mistakes_of_probes(options, error, message):
    with pytest.raises(error, match=message):
        tools.usdt(**{"binary": str(probe_library()), **options})


# pycalls

SCRIPT = """
import sys
def leaf(x): return x + 1
def outer(n):
    for i in range(n): leaf(i)
class Shop:
    def visit(self): return leaf(1)
print("done", flush=True)
for line in sys.stdin:
    outer(int(line.split()[1])); Shop().visit(); print("done", flush=True)
"""


def trampolines() -> list[str]:
    """A CPython that can keep a perf map: this one, or one of pyenv's."""
    others = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python3"))
    for python in [Path(sys.executable), *others]:
        code = "import sys; assert sys.is_stack_trampoline_active()"
        if subprocess.run([python, "-X", "perf", "-c", code], capture_output=True).returncode == 0:
            return [str(python), "-X", "perf"]
    pytest.skip("no CPython 3.12 here")


@pytest.mark.parametrize("latency", [False, True])
def test_python_functions_are_counted_exactly(latency, tmp_path):
    script = tmp_path / "shop.py"
    script.write_text(SCRIPT)
    with Doer(*trampolines(), script) as doer:
        doer.process.stdout.readline()
        with tools.pycalls(pid=doer.pid, latency=latency) as calls:
            doer.do("outer", 100)
            doer.do("outer", 50)
            frame = calls.df
        Path(f"/tmp/perf-{doer.pid}.map").unlink(missing_ok=True)
    mine = frame[frame["file"] == str(script)].set_index("function")
    assert mine["count"].to_dict() == {"leaf": 152, "outer": 2, "Shop.visit": 2}
    assert frame.attrs["bpfnb"]["complete"]
    if latency:
        assert mine.loc[["outer", "Shop.visit"], "total"].sum() > mine.loc["leaf", "total"] > 0
        assert mine.loc["outer", "mean"] == mine.loc["outer", "total"] // 2
        assert frame["total"].is_monotonic_decreasing
    else:
        assert list(frame.columns) == ["comm", "pid", "function", "file", "count"]


def test_what_keeps_no_perf_map_is_told_so(worker):
    with pytest.raises(MissingDependency, match="python -X perf"):
        tools.pycalls(pid=worker.pid)
    with pytest.raises(BadValue, match="pid="):
        tools.pycalls()
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        with pytest.raises(BadValue, match="no CPython"):
            tools.pycalls(pid=sleeper.pid)
        sleeper.kill()


# Counts and times of library calls

RAND = "libc.so.6:lrand48,drand48,mrand48"


@pytest.mark.parametrize("multi", [True, False])
def test_library_calls_by_function_and_process(worker, multi, monkeypatch):
    with monkeypatch.context() as patched:
        if not multi:  # a kernel before 6.6: a link for each function
            known = places.features()
            absent = type(known.attach["uprobe.multi"])(ok=False)
            attach = {**known.attach, "uprobe.multi": absent}
            patched.setattr(places, "features", lambda: type("Older", (), {"attach": attach}))
        counts = tools.funccount(RAND, pid=worker.pid)
    with counts, Worker() as other:
        assert counts.used[0].partition("/")[0] == ("uprobe.multi" if multi else "uprobe")
        other.run("for _ in range(4): libc.lrand48()")
        worker.run("for _ in range(700): libc.lrand48()\nfor _ in range(50): libc.drand48()")
        frame = counts.df
        held = object_ids(counts.object.loaded)
    assert frame[["function", "count"]].values.tolist() == [["lrand48", 700], ["drand48", 50]]
    assert set(frame["pid"]) == {worker.pid}
    assert list(frame["function"].cat.categories) == ["lrand48", "drand48", "mrand48"]
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


@pytest.mark.parametrize("tool", [tools.funccount, tools.funclatency])
def test_the_source_as_a_cell_of_its_own_is_attached_to_the_functions(worker, tool):
    text, load = tool.planned(function="libc.so.6:labs", pid=worker.pid)
    with bpfnb.load(text, name="own", globals=load.globals, defines=load.defines) as own:
        worker.run("for _ in range(30): ctypes.CDLL('libc.so.6').labs(-3)")
        frame = own.maps["counts" if tool is tools.funccount else "slots"].df
    assert frame["value" if tool is tools.funccount else "count"].sum() == 30


def test_all_processes_are_counted_apart(worker):
    with tools.funccount("mrand48", binary="libc.so.6") as counts, Worker() as other:
        worker.run("for _ in range(7): libc.mrand48()")
        other.run("for _ in range(3): libc.mrand48()")
        found = counts.df.set_index("pid")["count"].to_dict()
    assert (found[worker.pid], found[other.pid]) == (7, 3)


def test_patterns_and_what_matches_nothing():
    found, _ = tools.funccount.planned(function="libc.so.6:*rand48")
    assert re.search(r'SEC\("uprobe\.multi//\S*/libc\.so\.6:\*rand48"\)', found)
    for pattern, error, message in (
        ("lrand49", UnknownName, "did you mean"),
        ("strlen", BadValue, "IFUNC"),
        ("", BadValue, "which functions"),
    ):
        with pytest.raises(error, match=message):
            tools.funccount(binary="libc.so.6", function=pattern)
    with pytest.raises(UnknownName, match="no program or library"):
        tools.funccount("libnosuchthing.so:f")


def test_times_of_functions_are_told_apart(worker):
    with tools.funclatency("libc.so.6:usleep,lrand48", pid=worker.pid) as times:
        worker.run("for _ in range(10): libc.usleep(3000)\nfor _ in range(20): libc.lrand48()")
        await_true(lambda: times.df["count"].sum() == 30)
        frame, totals = times.df, times.totals.set_index("function")
    assert totals["count"].to_dict() == {"usleep": 10, "lrand48": 20}
    slept = frame[frame["function"] == "usleep"]
    assert slept["low"].min() >= 1 << 21  # 3 ms are between 2.1 and 4.2
    assert totals.loc["usleep", "total"] >= 30_000_000
    assert frame[frame["function"] == "lrand48"]["low"].min() < 1 << 21
    assert (frame["high"] == 2 * frame["low"].clip(lower=1)).all()


# mallocs


def test_sizes_of_malloc_and_its_kin(worker):
    code = """
libc.malloc.restype = libc.calloc.restype = libc.realloc.restype = libc.aligned_alloc.restype = ctypes.c_void_p
for i in range(10): libc.free(ctypes.c_void_p(libc.malloc(200_000_000 + i)))
for _ in range(4): libc.free(ctypes.c_void_p(libc.calloc(1000, 1_000_000)))
p = libc.malloc(70_000_000); p = libc.realloc(ctypes.c_void_p(p), 90_000_000); libc.free(ctypes.c_void_p(p))
for _ in range(3): libc.free(ctypes.c_void_p(libc.aligned_alloc(4096, 40_000_000)))
"""
    with tools.mallocs(pid=worker.pid) as sizes, Worker() as other:
        other.run(code)
        worker.run(code)
        sizes.stop()
        frame, totals = sizes.df, sizes.totals
    large = frame[frame["low"] >= 1 << 25]
    assert large[["low", "high", "count", "total"]].values.tolist() == [
        [1 << 25, 1 << 26, 3, 120_000_000],
        [1 << 26, 1 << 27, 2, 160_000_000],
        [1 << 27, 1 << 28, 10, 2_000_000_045],
        [1 << 29, 1 << 30, 4, 4_000_000_000],
    ]
    assert set(frame["pid"]) == {worker.pid}
    assert totals["count"].tolist() == [frame["count"].sum()]
    assert frame.attrs["bpfnb_columns"]["low"]["unit"] == "bytes"
    assert frame.attrs["bpfnb"]["complete"]


def test_a_program_that_only_takes_mallocs_address_has_none(tmp_path):
    """Not position-independent, as Debian's python3: its table of symbols has an address of malloc, of a stub."""
    source, program = tmp_path / "f.c", tmp_path / "f"
    source.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n"
        "int main(void) { void *(*volatile f)(size_t) = malloc; free(f(70000000)); return getchar() & 0; }"
    )
    flags = ["-no-pie", "-fno-pie", "-O0", "-o", str(program), str(source)]
    subprocess.run(["gcc", *flags], check=True)
    assert Binary(program).offset("malloc") is None
    assert Binary(program).offset("main") is not None
    child = subprocess.Popen([program], stdin=subprocess.PIPE)
    try:
        with tools.mallocs(pid=child.pid) as sizes:
            assert any("realloc" in section for section in sizes.used)  # of the C library
    finally:
        child.communicate()


def test_another_allocator_is_named(worker):
    with pytest.raises(BadValue, match="has no function malloc"):
        tools.mallocs(object=str(probe_library()), pid=worker.pid)
