"""ELF files by value: against binutils where it is there, and broken ones, which must not harm."""

from __future__ import annotations

import lzma
import os
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bpfnb.symbols import Symbolizer
from bpfnb.symbols.binary import Binary
from bpfnb.symbols.elf import Elf
from bpfnb.symbols.maps import Mappings
from bpfnb.symbols.table import Table

SOURCE = """
#include <stdio.h>
__attribute__((noinline)) static int hidden(int x) { return x * 3 + 1; }
__attribute__((noinline)) int shown(int x) { return hidden(x) + puts("x"); }
__attribute__((weak, alias("shown"))) int _shown(int x);
int main(int argc, char **argv) { return shown(argc); }
"""


def tool(*command) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "a.c").write_text(SOURCE)
    tool("gcc", "-O1", "-g", "-rdynamic", "-Wl,--build-id=sha1", "-o", folder / "a", folder / "a.c")
    return folder / "a"


def named(elf: Elf) -> dict[str, int]:
    table = Table(elf.functions())
    return {table.name(i): int(start) for i, start in enumerate(table.starts.tolist())}


def test_functions_are_those_of_nm(program):
    rows = [line.split() for line in tool("nm", program).splitlines()]
    wanted = {row[2]: int(row[0], 16) for row in rows if len(row) == 3 and row[1] in "tTwW"}
    found = named(Elf(program.read_bytes()))
    assert found["main"] == wanted["main"]
    assert found["hidden"] == wanted["hidden"]
    assert found["shown"] == wanted["shown"]
    assert "_shown" not in found  # the same address, and nobody's name for it
    assert all(wanted[name] == start for name, start in found.items() if not name.endswith("@plt"))


def test_stubs_of_other_files_functions_are_named(program):
    stubs = {name: start for name, start in named(Elf(program.read_bytes())).items() if name.endswith("@plt")}
    lines = [line.split() for line in tool("objdump", "-d", "--no-show-raw-insn", program).splitlines()]
    wanted = {w[1].strip("<>:"): int(w[0], 16) for w in lines if len(w) == 2 and w[1].endswith("@plt>:")}
    assert stubs.items() <= wanted.items()
    assert "puts@plt" in stubs


def test_build_id_segments_and_debug_link(program, tmp_path):
    elf = Elf(program.read_bytes())
    assert f"Build ID: {elf.build_id}" in tool("readelf", "-n", program)
    assert elf.has_lines
    assert elf.debug_link is None
    copy = tmp_path / "b"
    tool("objcopy", "--only-keep-debug", program, tmp_path / "b.debug")
    tool("objcopy", "--strip-debug", f"--add-gnu-debuglink={tmp_path / 'b.debug'}", program, copy)
    stripped = Elf(copy.read_bytes())
    assert not stripped.has_lines
    assert stripped.build_id == elf.build_id
    assert stripped.debug_link is not None
    assert stripped.debug_link[0] == "b.debug"
    debug = Elf((tmp_path / "b.debug").read_bytes())
    assert debug.has_lines
    assert debug.has_symbols
    assert {"main", "hidden", "shown"} <= named(debug).keys()


def test_offsets_in_executable_segments_have_addresses(program):
    elf = Elf(program.read_bytes())
    start = named(elf)["main"]
    segment = next(s for s in elf.segments if s.address <= start < s.address + s.size)
    offset = start - segment.address + segment.offset
    assert elf.addresses_of(np.array([offset, 0], np.uint64)).tolist() == [start, 0]


def test_a_32_bit_program(tmp_path):
    (tmp_path / "a.c").write_text("int f(int x) { return x + 1; }\nvoid _start(void) { for (;;) f(1); }\n")
    flags = ["-m32", "-O1", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-Wl,--build-id=sha1"]
    try:
        tool("gcc", *flags, "-o", tmp_path / "a", tmp_path / "a.c")
    except subprocess.CalledProcessError:
        pytest.skip("this compiler makes no 32-bit programs")
    rows = [line.split() for line in tool("nm", tmp_path / "a").splitlines()]
    elf = Elf((tmp_path / "a").read_bytes())
    assert named(elf) == {row[2]: int(row[0], 16) for row in rows if row[1] in "tT"}
    assert {"f", "_start"} <= named(elf).keys()
    assert f"Build ID: {elf.build_id}" in tool("readelf", "-n", tmp_path / "a")
    assert elf.base <= named(elf)["f"] - 0x1000 < elf.base + 0x10000
    segment = elf.segments[0]
    assert elf.addresses_of(np.array([segment.offset], np.uint64)).tolist() == [segment.address]


def test_mini_debug_information(program, tmp_path):
    """As Fedora makes it: hidden functions' symbols in a small file, compressed by xz, in a section of the stripped one."""
    mini, packed, out = tmp_path / "mini", tmp_path / "mini.xz", tmp_path / "out"
    tool("objcopy", "--only-keep-debug", "--strip-debug", program, mini)
    packed.write_bytes(lzma.compress(mini.read_bytes()))
    tool("strip", "--strip-all", "-o", out, program)
    assert "hidden" not in named(Elf(out.read_bytes()))
    tool("objcopy", f"--add-section=.gnu_debugdata={packed}", out)
    found = named(Elf(out.read_bytes()))
    assert found["hidden"] == named(Elf(program.read_bytes()))["hidden"]
    assert "puts@plt" in found


def test_broken_files_harm_nobody(program):
    """Any byte may be wrong, and the end missing: then symbols are missing, or the file is none."""
    whole = program.read_bytes()
    chance = random.Random(20)
    heads = [*range(64), *range(64, 64 + 56 * 13), *range(len(whole) - 64 * 40, len(whole))]
    for turn in range(400):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 10])):
            data[chance.choice(heads) if turn % 2 else chance.randrange(len(data))] = chance.randrange(256)
        if turn % 5 == 0:
            del data[chance.randrange(len(data)) :]
        try:
            binary = Binary(Elf(bytes(data)))
        except ValueError:
            continue
        names = binary.names(np.arange(0, 0x5000, 64, dtype=np.uint64))
        assert all(found is None or isinstance(found[0], str) for found in names)


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", b"#!/bin/sh\n" + b"x" * 100, bytes(64), b"\x7fELF\2\2" + bytes(58)]
)
def test_what_is_no_elf_file_is_said(data):
    with pytest.raises(ValueError, match="ELF file"):
        Elf(data)


# Mappings

MAPS = """\
55d000000000-55d000001000 r--p 00000000 fe:01 12 /usr/bin/a
55d000001000-55d000003000 r-xp 00001000 fe:01 12 /usr/bin/a
7f0000000000-7f0000002000 r-xp 00000000 fe:01 99 /tmp/with space (deleted)
7f0000003000-7f0000004000 rwxp 00000000 00:00 0
7fff00000000-7fff00001000 r-xp 00000000 00:00 0 [vdso]
"""


def test_executable_mappings_are_read():
    maps = Mappings.parse(MAPS)
    assert [(row.path, row.name, row.deleted) for row in maps.rows] == [
        ("/usr/bin/a", "a", False),
        ("/tmp/with space", "with space", True),
        ("", "", False),
        ("[vdso]", "vdso", False),
    ]
    wanted = [0x55D000001000, 0x55D000002FFF, 0x55D000003000, 0x55D000000000, 0x7F0000003800, 0]
    assert maps.find(np.array(wanted, np.uint64)).tolist() == [0, 0, -1, -1, 2, -1]


def test_what_was_unmapped_stays_known_until_another_comes_there():
    before = Mappings.parse(MAPS)
    less, changed = before.followed_by(Mappings.parse("".join(MAPS.splitlines(keepends=True)[:2])))
    assert ([row.name for row in less.rows], changed) == (["a", "with space"], False)
    other = "7f0000001000-7f0000005000 r-xp 00000000 fe:01 7 /usr/lib/b.so\n"
    after, changed = before.followed_by(Mappings.parse(other))
    assert changed
    assert [row.path for row in after.rows] == ["/usr/bin/a", "/usr/lib/b.so"]
    split = "55d000001000-55d000002000 r-xp 00001000 fe:01 12 /usr/bin/a\n"
    assert not before.followed_by(Mappings.parse(split))[1]  # a part of it, where it was


def test_a_process_that_never_was_and_addresses_of_nothing():
    symbolizer = Symbolizer()
    assert not symbolizer.watch(2**22 + 1)
    assert [f.names for f in symbolizer.resolve([0x1000], 2**22 + 1)] == [["[process has exited]"]]
    assert [f.names for f in symbolizer.resolve([0, 0x1000, 2**63 - 1], os.getpid())] == [["[unknown]"]] * 3
    assert symbolizer.resolve([], os.getpid()) == []
    assert symbolizer.names([-17, -14, -12, None, []], 1) == [
        ["[stack lost: stack map collision]"], [], ["[stack lost: stack map full]"], [], []
    ]  # fmt: skip
