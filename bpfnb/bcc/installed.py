"""Kernel headers that are installed, and whether they are those of the running kernel."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from bpfnb.bcc.kernel import Kernel
from bpfnb.btf import member_path
from bpfnb.errors import UnknownName

__all__ = ["matching", "mismatch"]

_MODULES = Path("/lib/modules")
# The kernel's build writes down some offsets for its assembly: #define TASK_x 16 /* offsetof(struct task, x) */
_OFFSET = re.compile(r"^#define \w+ (\d+) /\* offsetof\(struct (\w+), ([\w.]+)\)", re.M)


@lru_cache(maxsize=2)
def matching(kernel: Kernel) -> bool:
    """Whether bcc would find headers of its own that are exactly those of *kernel*."""
    folder = _MODULES / kernel.release
    trees = [folder / "build", folder / "source"]
    if not any((tree / "include/linux/kconfig.h").is_file() for tree in trees):
        return False
    return mismatch(folder / "build", kernel) is None


def mismatch(build: Path, kernel: Kernel) -> str | None:
    """What shows that the headers in *build* are another kernel's, None where nothing does.

    Compared are the release, and every offset that the build wrote down with what the kernel's BTF says. Headers
    without either are taken for another kernel's: wrong ones make programs read wrong values without an error.
    """
    generated = build / "include/generated"
    try:
        release = re.search(r'UTS_RELEASE "([^"]*)"', (generated / "utsrelease.h").read_text())
        offsets = _OFFSET.findall((generated / "asm-offsets.h").read_text())
    except OSError as error:
        return f"{error.filename} is missing"
    if release is None or release[1] != kernel.release:
        return f"they are of kernel {release[1] if release else 'unknown'}"
    compared = 0
    for value, struct, member in offsets:
        found = kernel.tag("struct", struct)
        if found is None:
            continue
        try:
            bit = member_path(*found, member).bit_offset
        except UnknownName:
            return f"struct {struct} has no member {member} in this kernel"
        if bit != 8 * int(value):
            return f"{struct}.{member} is at byte {value} there and at {bit // 8} in this kernel"
        compared += 1
    return None if compared else "none of their offsets could be compared"
