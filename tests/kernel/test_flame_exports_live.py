"""Samples of a program whose lines are known, as pprof and speedscope show them."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_symbols_live import SAMPLE, built, running
from workloads import await_true

import bpfnb
from bpfnb import tools
from bpfnb.symbols import Symbolizer

SOURCE = """\
#include <unistd.h>
static inline __attribute__((always_inline)) void spin(void)
{
    for (volatile long i = 0; i < 20000000; i++);  // line 4
}
static inline __attribute__((always_inline)) void between(void)
{
    spin();  // line 8
}
__attribute__((noinline)) void inner(void)
{
    between();  // line 12
    __asm__ volatile("");
}
int main(void)
{
    write(1, "\\n", 1);
    for (;;)
        inner();  // line 19
}
"""


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program and what was saved of its profile."""
    pytest.importorskip("symbolic")
    folder = tmp_path_factory.mktemp("profiled")
    program = built(folder, SOURCE, "-g", "-O2", "-Wl,--build-id=sha1")
    with running(program) as process, tools.profile(pid=process.pid, frequency=999, inlined=True) as profile:
        assert profile.wait(200, 60)
        profile.stop()
        for name in ("x.pb.gz", "x.speedscope.json", "x.folded"):
            profile.save(folder / name)
        return folder


def pprof(folder: Path, *options: str) -> str:
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no go tool pprof; profiles are read in the unit tests")
    return subprocess.check_output([go, "tool", "pprof", *options, folder / "x.pb.gz"], text=True)


def rows(text: str) -> dict[str, tuple[int, int]]:
    """What pprof -top lists: own and cumulative samples by function."""
    found = re.findall(r"^ +(\d+) +\S+ +\S+ +(\d+) +\S+ +(.+)$", text, re.M)
    return {name: (int(flat), int(total)) for flat, total, name in found}


def test_go_tool_pprof_has_lines_and_inlined_functions(profiled):
    total = sum(int(line.rpartition(" ")[2]) for line in (profiled / "x.folded").read_text().splitlines())
    source = profiled / "chain.c"
    found = rows(pprof(profiled, "-top", "-lines", "-nodefraction=0"))
    assert found[f"spin {source}:4 (inline)"][0] > 0.8 * total
    assert found[f"between {source}:8 (inline)"][1] > 0.8 * total
    assert found[f"inner {source}:12"][1] > 0.8 * total
    assert found[f"main {source}:19"][1] > 0.8 * total
    assert not any("_[i]" in name for name in found)


def test_go_tool_pprof_shows_the_source(profiled):
    listed = pprof(profiled, "-list=^spin$")
    assert f"ROUTINE ======================== spin in {profiled / 'chain.c'}" in listed
    ((own, total),) = re.findall(r"^ +(\d+) +(\d+) +4: .*// line 4$", listed, re.M)
    assert int(total) >= int(own) > 150
    ((own, total),) = re.findall(
        r"^ +(\.|\d+) +(\d+) +19: .*// line 19$", pprof(profiled, "-list=^main$"), re.M
    )
    assert (own, int(total) > 150) == (".", True)


def test_the_programs_mapping_is_its_segment_by_build_id(profiled):
    notes = subprocess.check_output(["readelf", "-n", profiled / "chain"], text=True)
    build_id = notes.partition("Build ID: ")[2].split()[0]
    segments = subprocess.check_output(["readelf", "-lW", profiled / "chain"], text=True)
    ((offset, address, size),) = re.findall(r"LOAD +(0x\w+) (0x\w+) 0x\w+ 0x\w+ (0x\w+) R E", segments)
    start, end = int(address, 16), int(address, 16) + int(size, 16)
    text = pprof(profiled, "-raw")
    mappings = text.partition("Mappings\n")[2]
    wanted = f"{start:#x}/{end:#x}/{int(offset, 16):#x} {profiled / 'chain'} {build_id} [FN][FL][LN][IN]"
    assert wanted in mappings
    number = mappings.partition(f": {wanted}")[0].splitlines()[-1]
    locations = re.findall(rf"^ +\d+: (0x\w+) M={number} (\w+)", text.partition("Locations\n")[2], re.M)
    nm = subprocess.check_output(["nm", "-S", profiled / "chain"], text=True)
    ((at, length),) = re.findall(r"^(\w+) (\w+) T inner$", nm, re.M)
    inside = range(int(at, 16), int(at, 16) + int(length, 16))
    places = [int(address, 16) for address, function in locations if function == "spin"]
    assert places
    assert all(address in inside for address in places)


def test_speedscope_has_the_lines(profiled):
    scope = json.loads((profiled / "x.speedscope.json").read_text())
    source = str(profiled / "chain.c")
    frames = {frame["name"]: (frame.get("file"), frame.get("line")) for frame in scope["shared"]["frames"]}
    assert frames["spin_[i]"] == (source, 4)
    assert frames["between_[i]"] == (source, 8)
    assert frames["inner"] == (source, 12)
    assert frames["main"] == (source, 19)


def test_without_dwarf_nothing_is_said_of_lines(tmp_path):
    program = built(tmp_path, SOURCE, "-O2")
    with running(program) as process, tools.profile(pid=process.pid, frequency=999) as profile:
        assert profile.wait(50, 60)
        profile.stop()
        profile.save(tmp_path / "x.pb.gz")
        scope = profile.view().speedscope()
    assert gzip.decompress((tmp_path / "x.pb.gz").read_bytes())
    assert not any("line" in frame for frame in scope["shared"]["frames"])
    text = pprof(tmp_path, "-raw")
    assert re.search(rf" {re.escape(str(program))} \w+ \[FN\]$", text.replace("  ", " "), re.M)
    assert rows(pprof(tmp_path, "-top", "-symbolize=none"))["inner"][0] > 40


def test_what_was_drawn_can_be_saved_when_the_object_is_closed(tmp_path):
    pytest.importorskip("symbolic")
    program = built(tmp_path, SOURCE, "-g", "-O2")
    with running(program) as process, bpfnb.load(SAMPLE, name="cpu", pid=process.pid, frequency=999) as cpu:
        view = cpu.samples.flamegraph(symbolize=Symbolizer(lines=True))
        await_true(lambda: view.tree.total >= 100)
    view.save(tmp_path / "x.pb.gz")
    total = view.tree.total
    found = rows(pprof(tmp_path, "-top", "-lines", "-nodefraction=0"))
    assert found[f"spin {tmp_path / 'chain.c'}:4 (inline)"][1] > 0.8 * total
