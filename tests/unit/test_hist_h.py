"""bpfnb_log2 of the C headers, compiled for this machine, against Python's integers."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import bpfnb.bpf
from hypothesis import given
from hypothesis import strategies as st


def _library(folder: Path) -> ctypes.CDLL:
    header = Path(bpfnb.bpf.__file__).parent / "include/bpfnb/hist.h"
    source = folder / "log2.c"
    source.write_text(
        f'#include "{header}"\nunsigned int log2_of(unsigned long long v) {{ return bpfnb_log2(v); }}\n'
    )
    built = folder / "log2.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", str(source), "-o", str(built)], check=True)
    return ctypes.CDLL(str(built))


def test_log2_is_the_position_of_the_highest_bit(tmp_path):
    log2_of = _library(tmp_path).log2_of
    log2_of.argtypes = [ctypes.c_uint64]

    @given(
        st.integers(0, 2**64 - 1)
        | st.integers(0, 63).map(lambda n: 2**n)
        | st.integers(1, 64).map(lambda n: 2**n - 1)
    )
    def check(value: int) -> None:
        assert log2_of(value) == max(0, value.bit_length() - 1)

    check()
