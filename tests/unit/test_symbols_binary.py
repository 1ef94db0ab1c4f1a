"""Files behind mappings: opened once for all processes, and again when they are others."""

from __future__ import annotations

import mmap
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bpfnb.symbols.binary import Binaries, OpenFile
from bpfnb.symbols.maps import Mapping, Mappings


@pytest.fixture
def program(tmp_path):
    """A program's file, of which the first page is mapped here as code."""
    path = tmp_path / "program"
    shutil.copy("/bin/true", path)
    with path.open("rb") as file:
        area = mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    yield path
    area.close()


def mapped(path: Path) -> Mapping:
    rows = Mappings.parse(Path("/proc/self/maps").read_text()).rows
    return next(row for row in rows if row.path == str(path))


def test_a_file_that_is_known_is_not_opened_again(program, monkeypatch):
    binaries = Binaries()
    first = binaries.of(os.getpid(), mapped(program))
    monkeypatch.setattr("bpfnb.symbols.binary._opened", lambda *_: pytest.fail("opened again"))
    assert binaries.of(os.getpid(), mapped(program)) is first
    assert first.elf.machine in (62, 183)  # x86-64, aarch64


def test_files_of_two_subvolumes_with_one_inode_number_are_told_apart(program, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copy(shutil.which("bash") or "/bin/sh", other)
    binaries = Binaries()
    row = replace(mapped(program), device="00:00")  # as btrfs shows the mappings of all its subvolumes
    first = binaries.of(os.getpid(), row)
    monkeypatch.setattr("bpfnb.symbols.binary._opened", lambda *_: OpenFile(other))
    second = binaries.of(os.getpid(), row)
    assert first.elf.build_id != second.elf.build_id
    assert second.file.about.st_ino == other.stat().st_ino


def test_a_file_that_was_written_to_is_read_again(program):
    binaries = Binaries()
    first = binaries.of(os.getpid(), mapped(program))
    program.write_bytes(b"no longer one")  # the same inode, of another size
    assert binaries.of(os.getpid(), mapped(program)) is None  # no ELF file any more
    assert first.elf.build_id  # what was read of it stays


def test_a_file_that_was_deleted_stays_known(program):
    binaries = Binaries()
    first = binaries.of(os.getpid(), mapped(program))
    program.unlink()
    gone = mapped(program)
    assert gone.deleted
    assert binaries.of(os.getpid(), gone) is first
