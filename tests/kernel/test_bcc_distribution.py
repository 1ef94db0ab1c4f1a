"""Headers from a distribution kernel's BTF: the code that its real headers give, and the layouts of arm64.

The kernels come from the distribution's packages, unpacked in the cache and not installed; offline these tests are
skipped. All programs of all tools: ``python -m bench.bcc_headers``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts import STRUCTS, check_offsets

from bench import distribution
from bench.bcc_headers import compare, identity
from bench.bcc_programs import record
from bpfnb.bcc.find import module
from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.pack import pack
from bpfnb.btf import Btf, Composite, fields
from bpfnb.errors import MissingDependency

SAMPLE = ["biosnoop", "execsnoop", "filetop", "offcputime", "opensnoop", "runqlat", "tcpconnect", "tcplife", "tcpstates", "virtiostat"]  # fmt: skip


@pytest.fixture(scope="module")
def tools() -> Path:
    try:
        module()
        distribution.merged_headers()
        return distribution.bcc_tools()
    except (distribution.Unavailable, MissingDependency) as error:
        pytest.skip(f"no packages: {error}")


@pytest.mark.timeout(400)
def test_a_sample_of_tools_compiles_to_the_same_bytes_as_with_real_headers(tools: Path) -> None:
    programs, without = record(tools, {name: [""] for name in SAMPLE})
    assert [program.name for program in programs] == SAMPLE, without
    same, total, lines = compare(programs, *identity(programs))
    assert lines == []
    assert same == total >= 15


def test_the_comparison_can_fail(tools: Path) -> None:
    """The same programs with the running kernel's types, which differ: so equal bytes are no accident."""
    from bench.bcc_headers import compile_against, compile_with

    programs, _ = record(tools, {"runqlat": ["-P"], "offcputime": [""]})
    theirs = compile_against(programs, distribution.merged_headers())
    same, total, lines = compare(programs, compile_with(programs, Kernel.running()), theirs)
    assert total > same
    assert lines


@pytest.mark.timeout(400)
def test_layouts_of_arm64(tmp_path: Path) -> None:
    """Every member of every emitted struct lies where the arm64 kernel's BTF has it, by clang's own account."""
    try:
        kernel = distribution.kernel("arm64")
    except distribution.Unavailable as error:
        pytest.skip(f"no packages: {error}")
    names = [*STRUCTS, "user_pt_regs", "cpuinfo_arm64"]
    assert check_offsets(kernel, names, None, tmp_path) > 1000
    assert (
        check_offsets(kernel, names, frozenset({"tgid", "comm", "sk_state", "cb", "regs", "pc"}), tmp_path)
        > 50
    )
    found = kernel.tag("struct", "pt_regs")
    assert found is not None
    assert {member.name for member in fields(*found)} > {"regs", "sp", "pc", "pstate"}
    assert isinstance(found[0], Btf)
    assert isinstance(found[0][found[1]], Composite)
    assert kernel.config["CONFIG_ARM64"] == "y"
    assert pack(kernel.machine)["PAGE_SHIFT"].text == "#define PAGE_SHIFT CONFIG_PAGE_SHIFT"
    assert kernel.config["CONFIG_PAGE_SHIFT"] == "12"
