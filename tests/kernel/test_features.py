"""What is found by trying agrees with what loading and attaching do; the probing leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bpfnb.compile import Source, compile
from bpfnb.errors import BpfnbError, KernelFeatureMissing
from bpfnb.kernel import features as module
from bpfnb.kernel.features import (
    attach_kind,
    capabilities,
    check_section,
    features,
    helper_programs,
    missing_hook_hint,
)
from bpfnb.kernel.hooks import raw_tracepoints, tracepoints
from bpfnb.kernel.local import LocalBackend
from bpfnb.kernel.replacements import REPLACEMENTS
from bpfnb.kernel.system import cgroup_root


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No outcome cached, in memory or on disk."""
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path))
    module._features.cache_clear()
    return tmp_path


def test_probing_is_cached_on_disk_and_leaves_nothing(fresh: Path, monkeypatch: pytest.MonkeyPatch):
    found = features()
    (saved,) = fresh.glob("features-*.json")
    assert json.loads(saved.read_text())["release"] == os.uname().release
    module._features.cache_clear()
    monkeypatch.setattr(module, "_try_all", lambda: pytest.fail("the kernel was asked again"))
    assert features() == found
    assert not list(cgroup_root().glob(f"bpfnb-trial-{os.getpid()}-*"))


def test_a_damaged_cache_file_is_made_anew(fresh: Path):
    found = features()
    (saved,) = fresh.glob("features-*.json")
    saved.write_text('{"release": 1')
    module._features.cache_clear()
    assert features() == found
    assert json.loads(saved.read_text())["release"] == os.uname().release


def test_everything_was_tried_and_the_basics_work():
    found = features()
    assert found.release == os.uname().release
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", found.libbpf)
    for kind in (
        "tracepoint",
        "raw_tracepoint",
        "xdp",
        "sched_cls",
        "tracing",
        "perf_event",
        "socket_filter",
    ):
        assert found.program_types[kind].ok is True
    for kind in (
        "hash",
        "array",
        "percpu_hash",
        "lru_hash",
        "ringbuf",
        "stack_trace",
        "hash_of_maps",
        "task_storage",
    ):
        assert found.map_types[kind].ok is True
    for kind in (
        "tracepoint",
        "raw_tp",
        "tp_btf",
        "uprobe",
        "usdt",
        "iter",
        "perf_event software",
        "cgroup",
        "xdp",
    ):
        assert found.attach[kind].ok is True
    for kind in ("run statistics", "map batches", "BTF declaration tags"):
        assert found.attach[kind].ok is True
    for trial in (*found.program_types.values(), *found.map_types.values(), *found.attach.values()):
        assert bool(trial.reason) == (trial.ok is not True)


SECTIONS = {
    "kprobe": "kprobe/bpf_fentry_test1",
    "kretprobe": "kretprobe/bpf_fentry_test1",
    "fentry": "fentry/bpf_fentry_test1",
    "fexit": "fexit/bpf_fentry_test1",
    "lsm": "lsm/quota_on",
    "raw_tp": "raw_tp/sched_process_exec",
    "tp_btf": "tp_btf/sched_process_exec",
    "tracepoint": "tracepoint/sched/sched_process_exec",
    "iter": "iter/task",
}


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_finding_is_what_loading_and_attaching_do(kind: str):
    elf = compile(Source(f'SEC("{SECTIONS[kind]}")\nint p(void *ctx)\n{{\n    return 0;\n}}\n'))
    attached = True
    try:
        loaded = LocalBackend().load(elf.data)
    except BpfnbError:
        attached = False
    else:
        try:
            loaded.detach(loaded.attach("p"))
        except BpfnbError:
            attached = False
        finally:
            loaded.close()
    assert features().attach[kind].ok is attached
    missing = check_section(SECTIONS[kind])
    assert (missing is None) is attached
    if missing is not None:
        assert missing.feature == kind
        assert SECTIONS[kind] in missing.message


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("tp/sched/sched_switch", "tracepoint"),
        ("kprobe.multi/tcp_*", "kprobe.multi"),
        ("lsm.s/file_open", "lsm"),
        ("uprobe.s//bin/sh:main", "uprobe"),
        ("xdp.frags", "xdp"),
        ("tc/ingress", "tc"),
        ("tcx/egress", "tcx"),
        ("cgroup/connect4", "cgroup"),
        ("sockops", "cgroup"),
        ("struct_ops/cong_avoid", "struct_ops"),
        ("nonsense/x", ""),
    ],
)
def test_sections_need_these_kinds(section: str, kind: str):
    assert attach_kind(section) == kind


@pytest.mark.parametrize(
    ("section", "offered"),
    [
        ("kprobe/tcp_connect", "tracepoint/sock/inet_sock_set_state"),
        ("kprobe/tcp_v4_connect", "tracepoint/sock/inet_sock_set_state"),
        ("fentry/vfs_read", "tracepoint/syscalls/sys_exit_read"),
        ("kprobe/finish_task_switch", "tp_btf/sched_switch"),
        ("kprobe/finish_task_switch.isra.0", "tp_btf/sched_switch"),
        ("kprobe/do_sys_openat2", "tracepoint/syscalls/sys_enter_openat"),
        ("lsm/file_open", "tracepoint/syscalls/sys_enter_openat"),
        ("fentry/security_file_open", "tracepoint/syscalls/sys_enter_openat"),
        ("kprobe/tcp_sendmsg", "tracepoint/sock/sock_send_length"),
        ("kprobe/tcp_cleanup_rbuf", "tracepoint/sock/sock_recv_length"),
        ("kprobe/tcp_drop", "tracepoint/skb/kfree_skb"),
        ("kprobe/kfree_skb", "tracepoint/skb/kfree_skb"),
        ("kprobe/blk_account_io_start", "tracepoint/block/block_io_start"),
        ("kprobe/submit_bio", "tracepoint/block/block_bio_queue"),
        ("kprobe/__x64_sys_execve", "tracepoint/syscalls/sys_enter_execve"),
        ("kretprobe/__x64_sys_openat", "tracepoint/syscalls/sys_exit_openat"),
        ("ksyscall/openat", "tracepoint/syscalls/sys_enter_openat"),
        ("fentry/mutex_lock", "tracepoint/lock/contention_begin"),
        ("kprobe/try_to_wake_up", "tp_btf/sched_wakeup"),
        ("kprobe/ext4_sync_file", "tracepoint/ext4/ext4_sync_file_enter"),
        ("perf_event", ""),
        ("xdp", ""),
    ],
)
def test_a_hook_that_serves_instead_is_named(section: str, offered: str):
    hint = missing_hook_hint(section)
    assert (f'SEC("{offered}")' in hint) if offered else hint == ""
    known = {f"tracepoint/{name.replace(':', '/')}" for name in tracepoints()}
    known |= {f"tp_btf/{name}" for name in raw_tracepoints()}
    for named in re.findall(r'SEC\("((?:tracepoint|tp_btf)/[^"]+)"\)', hint):
        assert named in known


def test_most_replacements_exist_on_this_kernel():
    wanted = {section for entry in REPLACEMENTS for section in entry.sections if "\\" not in section}
    known = {f"tracepoint/{name.replace(':', '/')}" for name in tracepoints()}
    known |= {f"tp_btf/{name}" for name in raw_tracepoints()}
    stable = {section for section in wanted if section.startswith(("tracepoint/", "tp_btf/"))}
    assert len(stable & known) / len(stable) > 0.9


@pytest.mark.parametrize(
    ("section", "nearest"),
    [
        ("tracepoint/sched/sched_swich", 'SEC("tracepoint/sched/sched_switch")'),
        ("tp/syscalls/sys_enter_opent", 'SEC("tp/syscalls/sys_enter_openat")'),
        ("tp_btf/sched_swtch", 'SEC("tp_btf/sched_switch")'),
        ("iter/tsk", 'SEC("iter/task")'),
    ],
)
def test_a_target_that_does_not_exist_is_named_before_loading(section: str, nearest: str):
    missing = check_section(section)
    assert isinstance(missing, KernelFeatureMissing)
    assert missing.message.startswith("This kernel has no ")
    assert nearest in missing.hints[0]


@pytest.mark.parametrize(
    "section", ["tracepoint/sched/sched_switch", "xdp", "usdt", "raw_tp/sys_enter", "nonsense/x", "?kprobe/f"]
)
def test_what_works_or_is_unknown_is_left_to_loading(section: str):
    assert check_section(section) is None


def test_a_missing_kind_comes_with_the_hook_instead():
    absent = [kind for kind in ("kprobe", "fentry", "lsm") if features().attach[kind].ok is False]
    for kind in absent:
        target = "file_open" if kind == "lsm" else "vfs_read"
        missing = check_section(f"{kind}/{target}")
        assert missing is not None
        assert (missing.feature, missing.section) == (kind, f"{kind}/{target}")
        assert "tracepoint/syscalls/" in missing.hints[0]
    # Where everything can be attached there is nothing to say.
    assert absent or check_section("kprobe/vfs_read") is None


def test_helpers_are_offered_by_the_types_that_have_them():
    assert "xdp" in helper_programs("bpf_xdp_adjust_head")
    assert helper_programs("bpf_xdp_adjust_head") == ("xdp",)
    assert {"sched_cls", "socket_filter"} <= set(helper_programs("bpf_skb_load_bytes"))
    assert "xdp" not in helper_programs("bpf_skb_load_bytes")
    assert len(helper_programs("bpf_map_lookup_elem")) > 20
    assert helper_programs("bpf_no_such_helper") == ()


def test_without_the_privilege_nothing_is_called_missing():
    code = (
        "import ctypes, os; "
        "assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()) == 0; "
        "from bpfnb.kernel.features import capabilities, check_section; "
        "print(capabilities(), check_section('kprobe/vfs_read'), check_section('xdp'))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "() None None\n"


def test_capabilities_have_their_names():
    assert {"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"} <= set(capabilities())
