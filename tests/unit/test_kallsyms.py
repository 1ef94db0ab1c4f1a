"""Kernel addresses to names, by the text of /proc/kallsyms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpfnb.symbols.kallsyms import Kallsyms, KernelNames, is_kernel

TEXT = b"""\
ffffffff81000000 T _stext
ffffffff81000000 T startup_64
ffffffff81000100 t __pfx_do_syscall_64
ffffffff81000110 t do_syscall_64
ffffffff81000110 T x64_sys_entry
ffffffff81000400 W weak_one
ffffffff81000500 D some_data
ffffffff81000600 t last_in_core
ffffffffc0a01000 t nf_hook\t[nf_tables]
ffffffffc0b00000 t bpf_prog_1234_sample\t[bpf]
"""


def test_an_address_is_in_the_function_that_begins_before_it():
    symbols = Kallsyms(TEXT)
    addresses = [0xFFFFFFFF81000000, 0xFFFFFFFF81000111, 0xFFFFFFFF810003FF, 0xFFFFFFFF81000400]
    assert symbols.names(addresses) == ["startup_64", "x64_sys_entry", "x64_sys_entry", "weak_one"]


def test_modules_and_programs_are_named():
    symbols = Kallsyms(TEXT)
    assert symbols.names([0xFFFFFFFFC0A01010, 0xFFFFFFFFC0B00001]) == [
        "nf_hook [nf_tables]",
        "bpf_prog_1234_sample",
    ]


def test_what_is_in_no_function_has_no_name():
    symbols = Kallsyms(TEXT)
    below, data, far, user, top = (
        0xFFFFFFFF80000000,
        0xFFFFFFFF81000501,
        0xFFFFFFFFC0D00000,
        0x401000,
        2**64 - 1,
    )
    assert symbols.names([below, data, far, user, top]) == [None] * 5


def test_a_global_name_wins_over_a_local_one_and_padding_over_none():
    symbols = Kallsyms(b"ffffffff81000000 t __pfx_a\nffffffff81000000 t a\nffffffff81000010 t __pfx_b\n")
    assert symbols.names([0xFFFFFFFF81000001, 0xFFFFFFFF81000011]) == ["a", "__pfx_b"]


@pytest.mark.parametrize("text", [b"", b"0000000000000000 T _text\n0000000000000000 T do_syscall_64\n"])
def test_hidden_addresses_are_said_and_name_nothing(text):
    symbols = Kallsyms(text)
    assert symbols.hidden
    assert len(symbols) == 0
    assert symbols.names([0xFFFFFFFF81000000, 0]) == [None, None]


def test_a_file_that_cannot_be_read_hides_all(tmp_path):
    assert Kallsyms.load(tmp_path / "absent").hidden


def test_an_address_that_is_new_has_the_symbols_read_again(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("bpfnb.symbols.kallsyms.time.monotonic", lambda: clock[0])
    texts = iter([TEXT, TEXT + b"ffffffffc0f00000 t new_module\t[new]\n"])
    kernel = KernelNames(lambda: Kallsyms(next(texts)))
    address = [0xFFFFFFFFC0F00004]
    assert kernel.names(address) == [None]
    clock[0] += 1  # not again at once: what has no name never gets one, mostly
    assert kernel.names(address) == [None]
    clock[0] += 10
    assert kernel.names(address) == ["new_module [new]"]


def test_the_upper_end_is_the_kernels():
    """Of x86-64 with four and five levels of page tables, of arm64 and riscv64; what lies below is no address."""
    starts = [0xFFFF_8000_0000_0000, 0xFF00_0000_0000_0000, 0xFFF0_0000_0000_0000, 2**64 - 1]
    assert is_kernel(np.array(starts, np.uint64)).all()
    below = [0, 0x7FFF_FFFF_FFFF, 1 << 63, 0xBE55_2274_C085_4800]
    assert not is_kernel(np.array(below, np.uint64)).any()


def test_this_machines_kernel():
    symbols = Kallsyms.load()
    if symbols.hidden:
        pytest.skip("this process is not shown kernel addresses")
    assert len(symbols) > 1000
    lines = Path("/proc/kallsyms").read_text().splitlines()
    address = next(line.split()[0] for line in lines if line.split()[2] == "do_syscall_64")
    assert symbols.names([int(address, 16) + 5]) == ["do_syscall_64"]
