"""C compiled for BPF, for tests that need real type information."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bpfnb.btf import Btf
from bpfnb.compile import find_clang

INCLUDE = files("bpfnb.bpf") / "include"


def compile_c(source: str, flags: Sequence[str] = ()) -> bytes:
    """The BPF object of a C source that may include bpfnb's headers; fails with clang's own message."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "x.c").write_text(source)
        given = ["-target", "bpf", "-O2", "-g", f"-I{INCLUDE}", *flags, "-c", "x.c", "-o", "x.o"]
        done = find_clang().run(given, scratch)
        assert done.returncode == 0, done.stderr
        return (scratch / "x.o").read_bytes()


def btf_of(source: str, flags: Sequence[str] = ()) -> Btf:
    return Btf.from_elf(compile_c(source, flags))
