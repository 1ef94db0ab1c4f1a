"""Names of flags, as opensnoop, mounts and biolatency show them."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from bpfnb.tools.biolatency import FLAGS
from bpfnb.tools.flagnames import named, of_bits
from bpfnb.tools.mounts import flags_of
from bpfnb.tools.opensnoop import open_flags


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (os.O_RDONLY, "O_RDONLY"),
        (os.O_RDWR | os.O_SYNC, "O_RDWR|O_SYNC"),  # which has the bit of O_DSYNC too
        (os.O_WRONLY | os.O_DSYNC, "O_WRONLY|O_DSYNC"),
        (os.O_RDWR | os.O_TMPFILE, "O_RDWR|O_TMPFILE"),  # and that of O_DIRECTORY
        (os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, "O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC"),
        (0o100000, "O_RDONLY"),  # O_LARGEFILE
        (0x40000000, "O_RDONLY|0x40000000"),
    ],
)
def test_flags_of_open(flags, text):
    assert open_flags(flags) == text


@pytest.mark.parametrize(
    ("call", "flags", "text"),
    [
        ("mount", 0, ""),
        ("mount", 0xC0ED0001, "MS_RDONLY"),  # with the magic number of old programs
        ("mount", 1 << 18 | 1 << 14, "MS_REC|MS_PRIVATE"),
        ("mount", 1 << 25 | 1 << 21, "MS_RELATIME|MS_LAZYTIME"),
        ("umount", 2 | 8, "MNT_DETACH|UMOUNT_NOFOLLOW"),
        ("fsconfig", 6, "FSCONFIG_CMD_CREATE"),
        ("fsconfig", 99, "99"),
        ("pivot_root", 0, ""),
        ("mount_setattr", 0x100001, "MOUNT_ATTR_RDONLY|MOUNT_ATTR_IDMAP"),
    ],
)
def test_flags_of_mounts(call, flags, text):
    assert flags_of(call, flags) == text


def test_bits_without_a_name_and_no_bits():
    assert of_bits(1 | 2 | 1 << 20, FLAGS, "none") == "sync|meta|0x100000"
    assert of_bits(0, FLAGS, "none") == "none"


def test_a_column_of_names_keeps_rows_and_joins_equal_names():
    numbers = pd.Series([3, 1, 3, 2], index=[10, 11, 12, 13], name="type", dtype="uint32")
    column = named(numbers, lambda number: "odd" if number % 2 else "even")
    assert column.tolist() == ["odd", "odd", "odd", "even"]
    assert column.cat.categories.tolist() == ["odd", "even"]
    assert column.index.tolist() == [10, 11, 12, 13]
    assert column.name == "type"
    assert named(numbers.iloc[:0], str).tolist() == []
