"""uprobes, uretprobes, multi-uprobes and USDT probes fire once a call."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from workloads import Worker, load, probe_library, u64

from bpfnb.errors import AttachError
from bpfnb.kernel.binaries import Binary, find_binary

N = 500

PROBE = """
const volatile u32 wanted;
u64 seen, sum;
SEC("{section}") int BPF_KPROBE(prog, int i)
{{
    if (bpf_get_current_pid_tgid() >> 32 != wanted) return 0;
    __sync_fetch_and_add(&seen, 1);
    __sync_fetch_and_add(&sum, i);
    return 0;
}}
"""
RETURN = """
const volatile u32 wanted;
u64 seen, sum;
SEC("{section}") int BPF_KRETPROBE(prog, int ret)
{{
    if (bpf_get_current_pid_tgid() >> 32 != wanted) return 0;
    __sync_fetch_and_add(&seen, 1);
    __sync_fetch_and_add(&sum, ret);
    return 0;
}}
"""


@pytest.fixture(scope="module")
def library() -> Path:
    return probe_library()


@pytest.fixture
def worker(library):
    with Worker() as made:
        made.run(f"lib = ctypes.CDLL({str(library)!r})")
        yield made


def counts(obj) -> tuple[int, int]:
    return u64(obj.read_bytes(".bss", 0, 8)), u64(obj.read_bytes(".bss", 8, 8))


TOTAL = N * (N - 1) // 2


@pytest.mark.parametrize("section", ["uprobe", "uprobe.s", "uprobe.multi", "uprobe.session"])
def test_section_names_the_function(worker, library, section):
    with load(PROBE.format(section=f"{section}/{library}:bpfnb_step"), wanted=worker.pid) as obj:
        assert obj.programs["prog"].auto_attach
        link = obj.attach("prog")
        assert len(obj.link_ids(link)) == 1
        worker.run(f"lib.work({N})")
        runs = 2 if section == "uprobe.session" else 1  # a session runs at entry and at return
        assert counts(obj)[0] == N * runs
        if runs == 1:
            assert counts(obj)[1] == TOTAL
        obj.detach(link)
        worker.run(f"lib.work({N})")
        assert counts(obj)[0] == N * runs


@pytest.mark.parametrize("section", ["uretprobe", "uretprobe.multi"])
def test_return_values(worker, library, section):
    with load(RETURN.format(section=f"{section}/{library}:bpfnb_step"), wanted=worker.pid) as obj:
        obj.attach("prog")
        worker.run(f"lib.work({N})")
        assert counts(obj) == (N, 3 * TOTAL)


@pytest.mark.parametrize(
    "options",
    [
        {"symbol": "bpfnb_step"},
        {"symbol": "bpfnb_step", "pid": None},
        {"offset": None},
    ],
)
def test_options_name_the_function(worker, library, options):
    options = {"binary": str(library), **options}
    if "pid" in options:
        options["pid"] = worker.pid
    if "offset" in options:
        options["offset"] = Binary(library).offset("bpfnb_step")
    with load(PROBE.format(section="uprobe"), wanted=worker.pid) as obj:
        assert not obj.programs["prog"].auto_attach
        obj.attach("prog", **options)
        worker.run(f"lib.work({N})")
        assert counts(obj) == (N, TOTAL)


def test_a_library_is_found_among_a_process_mappings(worker):
    with load(PROBE.format(section="uprobe"), wanted=worker.pid) as obj:
        obj.attach("prog", binary="libbpfnbprobes", symbol="bpfnb_step", pid=worker.pid)
        worker.run(f"lib.work({N})")
        assert counts(obj) == (N, TOTAL)


def test_libc_by_its_bare_name(worker):
    with load(PROBE.format(section="uprobe/libc:lrand48"), wanted=worker.pid) as obj:
        obj.attach("prog")
        worker.run(f"for _ in range({N}): libc.lrand48()")
        assert counts(obj)[0] == N


def test_one_link_for_all_functions_of_a_pattern(worker, library):
    with load(PROBE.format(section=f"uprobe.multi/{library}:bpfnb_st*"), wanted=worker.pid) as obj:
        assert len(obj.link_ids(obj.attach("prog"))) == 1
        worker.run(f"lib.work({N})")
        assert counts(obj) == (2 * N, 2 * TOTAL)


USDT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>
char LICENSE[] SEC("license") = "GPL";
const volatile __u32 wanted;
__u64 seen, sum;
SEC("{section}") int BPF_USDT(prog, int i)
{{
    if (bpf_get_current_pid_tgid() >> 32 != wanted) return 0;
    __sync_fetch_and_add(&seen, 1);
    __sync_fetch_and_add(&sum, i);
    return 0;
}}
"""


@pytest.mark.parametrize("by_name", [True, False])
def test_usdt_probe_with_its_argument(worker, library, by_name):
    section = f"usdt/{library}:bpfnb:tick" if by_name else "usdt"
    options = {} if by_name else {"binary": str(library), "provider": "bpfnb", "probe": "tick"}
    with load(USDT.format(section=section), wanted=worker.pid) as obj:
        assert obj.programs["prog"].auto_attach == by_name
        link = obj.attach("prog", pid=worker.pid, **options)
        semaphore = "ctypes.c_ushort.in_dll(lib, 'bpfnb_tick_semaphore').value"
        assert worker.call(semaphore) == 1
        worker.run(f"lib.work({N})")
        assert counts(obj) == (N, TOTAL)
        obj.detach(link)
        assert worker.call(semaphore) == 0


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("uprobe", {"symbol": "bpfnb_stepp"}, "bpfnb_step"),
        ("uprobe", {"symbol": "bpfnb_step", "pid": 2**22 + 1}, "ended"),
        ("uprobe", {}, "needs the option 'symbol'"),
        ("uprobe", {"binary": "libnosuchthing", "symbol": "x"}, "no program or library 'libnosuchthing'"),
        ("uprobe", {"binary": "/etc/passwd", "symbol": "x"}, "ELF"),
        ("uprobe.multi", {"symbol": "nothing_like_*"}, "no function 'nothing_like_"),
    ],
)
def test_errors_name_the_nearest(library, section, options, message):
    with load(PROBE.format(section=section)) as obj:
        with pytest.raises(AttachError, match=message):
            obj.attach("prog", **{"binary": str(library), **options})
        assert obj.link_ids() == []


def test_unknown_usdt_probe_names_the_nearest(library):
    with load(USDT.format(section="usdt")) as obj, pytest.raises(AttachError, match="bpfnb:tick"):
        obj.attach("prog", binary=str(library), provider="bpfnb", probe="tock")


def test_binaries_are_found():
    libc = find_binary("libc")
    assert libc is not None
    assert libc.name == "libc.so.6"
    assert find_binary("libc.so.6") == libc
    assert find_binary(sys.executable) == Path(sys.executable)
    assert find_binary("python3") is not None
    assert find_binary("no-such-program") is None
    offsets = Binary(libc).matching("lrand4*")
    assert set(offsets) >= {"lrand48"}
    assert all(0 < offset < libc.stat().st_size for offset in offsets.values())
