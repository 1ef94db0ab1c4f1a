"""Source lines and inlined functions of a library of this very process."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfnb.errors import MissingDependency
from bpfnb.symbols import Inlined, Symbolizer

SOURCE = """\
volatile int sink;
static inline __attribute__((always_inline)) void innermost(int x)
{
    sink = x;  // line 4
}
static inline __attribute__((always_inline)) void between(int x)
{
    innermost(x);  // line 8
}
int outermost(int x)
{
    between(x);  // line 12
    return x + 1;
}
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int, int]:
    """The file, and where outermost() begins and ends."""
    pytest.importorskip("symbolic")
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "lib.c").write_text(SOURCE)
    path = tmp_path / "lib.so"
    subprocess.run(["gcc", "-g", "-O2", "-shared", "-fPIC", "-o", path, tmp_path / "lib.c"], check=True)
    start = ctypes.cast(ctypes.CDLL(str(path)).outermost, ctypes.c_void_p).value
    frames = Symbolizer().resolve(range(start, start + 256), os.getpid())
    return path, start, start + sum(frame.function == "outermost" for frame in frames)


def test_each_address_has_its_functions_and_lines(library):
    path, start, end = library
    frames = Symbolizer(lines=True).resolve(range(start, end), os.getpid())
    source = str(path.with_suffix(".c"))
    assert {(f.function, f.file, f.module) for f in frames} == {("outermost", source, str(path))}
    assert [f.offset for f in frames] == list(range(end - start))
    put_in = [f for f in frames if f.inlined]
    assert put_in
    assert {f.inlined for f in put_in} == {(Inlined("between", source, 8), Inlined("innermost", source, 4))}
    assert {f.line for f in put_in} == {12}
    assert put_in[0].names == ["outermost", "between_[i]", "innermost_[i]"]
    assert {f.line for f in frames if not f.inlined} & {11, 13, 14}


def test_nobody_waits_who_does_not_want_to(library):
    _, start, _ = library
    symbolizer = Symbolizer(lines=True)
    before = symbolizer.version
    [frame] = symbolizer.resolve([start], os.getpid(), wait=0)
    assert (frame.function, frame.line) == ("outermost", None)
    [frame] = symbolizer.resolve([start], os.getpid())
    assert frame.line is not None
    assert symbolizer.version > before


def test_reading_takes_no_longer_than_it_may(library):
    _, start, _ = library
    [frame] = Symbolizer(lines=True, seconds=0).resolve([start], os.getpid())
    assert (frame.function, frame.line, frame.inlined) == ("outermost", None, ())


def test_what_was_read_is_kept_for_other_processes(library, monkeypatch):
    _, start, _ = library
    wanted = Symbolizer(lines=True).resolve([start], os.getpid())
    monkeypatch.setattr("bpfnb.symbols.lines.subprocess.run", None)
    assert Symbolizer(lines=True).resolve([start], os.getpid()) == wanted


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr("bpfnb.symbols.lines.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="symbolic"):
        Symbolizer(lines=True)
