"""bcc's names of functions as sections, sections as types of programs, and operands of USDT arguments as C."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bpfnb.bcc import programs
from bpfnb.bcc.programs import attach_name, kind_name, section_kind, section_of
from bpfnb.bcc.usdt import arm64_operand, x86_operand
from bpfnb.errors import BadValue
from bpfnb.kernel import system
from bpfnb.kernel.binaries import Site
from bpfnb.kernel.system import syscall_function


@pytest.fixture(autouse=True)
def tracefs(tmp_path, monkeypatch):
    """A tracefs with a few tracepoints, two of which have names that could be split in another way."""
    for name in ("sched/sched_switch", "syscalls/sys_enter_openat", "a__b/c", "iwl__x/y__z"):
        (tmp_path / "events" / name).mkdir(parents=True)
    monkeypatch.setattr(programs, "mount_tracefs", lambda: tmp_path)


@pytest.mark.parametrize(
    ("function", "section"),
    [
        ("kprobe__vfs_read", "kprobe/vfs_read"),
        ("kprobe____do_page_fault", "kprobe/__do_page_fault"),
        ("kretprobe__vfs_read", "kretprobe/vfs_read"),
        ("tracepoint__sched__sched_switch", "tracepoint/sched/sched_switch"),
        ("tracepoint__syscalls__sys_enter_openat", "tracepoint/syscalls/sys_enter_openat"),
        ("tracepoint__a__b__c", "tracepoint/a__b/c"),
        ("tracepoint__iwl__x__y__z", "tracepoint/iwl__x/y__z"),
        ("tracepoint__no__such", "tracepoint/no/such"),
        ("tracepoint__nosuch", "tracepoint/nosuch"),
        ("raw_tracepoint__sched_switch", "raw_tp/sched_switch"),
        ("kfunc__vfs_read", "fentry/vfs_read"),
        ("kretfunc__vfs_read", "fexit/vfs_read"),
        ("kmod_ret__security_file_open", "fmod_ret/security_file_open"),
        ("lsm__file_open", "lsm/file_open"),
        ("bpf_iter__task", "iter/task"),
        ("do_entry", None),
        ("kprobe__", None),
        ("kprobe", None),
        ("my_kprobe__vfs_read", None),
    ],
)
def test_names_mean_sections(function, section):
    assert section_of(function) == section


@pytest.mark.parametrize(
    ("machine", "expected"), [("x86_64", "__x64_sys_"), ("aarch64", "__arm64_sys_"), ("ppc64le", "sys_")]
)
def test_system_calls_are_this_machines_functions(monkeypatch, machine, expected):
    monkeypatch.setattr(system.platform, "machine", lambda: machine)
    for name in ("sys_clone", "__x64_sys_clone", "__arm64_sys_clone"):
        assert section_of(f"kprobe__{name}") == f"kprobe/{expected}clone"
        assert section_of(f"kretprobe__{name}") == f"kretprobe/{expected}clone"
    assert syscall_function("openat") == f"{expected}openat"
    assert section_of("kprobe__ksys_read") == "kprobe/ksys_read"


@pytest.mark.parametrize(
    ("section", "kind", "attach"),
    [
        ("kprobe/vfs_read", "kprobe", None),
        ("uprobe/libc.so.6:strlen", "kprobe", None),
        ("uretprobe", "kprobe", None),
        ("usdt/python3:python:gc__start", "kprobe", None),
        ("uprobe.multi/libc:str*", "kprobe", "trace_uprobe_multi"),
        ("tracepoint/sched/sched_switch", "tracepoint", None),
        ("tracepoint", "tracepoint", None),
        ("raw_tp/sched_switch", "raw_tracepoint", None),
        ("perf_event", "perf_event", None),
        ("fentry/vfs_read", "tracing", "trace_fentry"),
        ("fexit/vfs_read", "tracing", "trace_fexit"),
        ("fmod_ret/x", "tracing", "modify_return"),
        ("iter/task", "tracing", "trace_iter"),
        ("lsm/file_open", "lsm", "lsm_mac"),
        ("xdp", "xdp", "xdp"),
        ("tc", "sched_cls", None),
        ("tcx/egress", "sched_cls", "tcx_egress"),
        ("netkit/peer", "sched_cls", "netkit_peer"),
        ("socket", "socket_filter", None),
        ("sk_msg", "sk_msg", "sk_msg_verdict"),
        ("sk_skb/stream_parser", "sk_skb", "sk_skb_stream_parser"),
        ("sockops", "sock_ops", "cgroup_sock_ops"),
        ("cgroup_skb/egress", "cgroup_skb", "cgroup_inet_egress"),
        ("cgroup/connect6", "cgroup_sock_addr", "cgroup_inet6_connect"),
        ("cgroup/getsockopt", "cgroup_sockopt", "cgroup_getsockopt"),
        ("cgroup/sysctl", "cgroup_sysctl", "cgroup_sysctl"),
        ("sk_lookup", "sk_lookup", "sk_lookup"),
        ("netfilter", "netfilter", "netfilter"),
        ("lwt_in", "lwt_in", None),
    ],
)
def test_sections_have_types(section, kind, attach):
    assert kind_name(section) == kind
    # where programs have no expected attach type, its number is zero, which has a name of its own
    assert attach_name(section) == (attach or "cgroup_inet_ingress")


@pytest.mark.parametrize(
    ("section", "message", "hint"),
    [
        ("tp_btf/sched_switch", "cannot be in section 'tp_btf/sched_switch'", "use raw_tp"),
        ("struct_ops/init", "cannot be in section", "libbpf's dialect"),
        ("freplace/x", "cannot be in section", "libbpf's dialect"),
        ("syscall", "cannot be in section", "libbpf's dialect"),
        ("xdp.frags", "no program flags", "use 'xdp'"),
        ("uprobe.s/libc:strlen", "no program flags", "use 'uprobe/libc:strlen'"),
        ("lsm.s/file_open", "no program flags", "use 'lsm/file_open'"),
        ("xpd", "there is no section 'xpd'", "xdp"),
        ("tracepont", "there is no section 'tracepont'", "tracepoint"),
    ],
)
def test_sections_that_programs_of_bcc_cannot_have(section, message, hint):
    with pytest.raises(BadValue, match=message) as caught:
        section_kind(section)
    assert hint in caught.value.hints[0]


SITE = Site(offset=0x1000, address=0x401000, semaphore=0, arguments="")
FILE = SimpleNamespace(address={"counter": 0x404010, "_ZN1x1yE": 0x403000}.get)


@pytest.mark.parametrize(
    ("operand", "place", "in_memory"),
    [
        ("$-7", "-7LL", False),
        ("$0x10", "16LL", False),
        ("%rdi", "ctx->di", False),
        ("%edi", "ctx->di", False),
        ("%dil", "ctx->di", False),
        ("%al", "ctx->ax", False),
        ("%bx", "ctx->bx", False),
        ("%r11d", "ctx->r11", False),
        ("(%rax)", "ctx->ax", True),
        ("-24(%rbp)", "ctx->bp + (-24LL)", True),
        ("0x10(%rsp)", "ctx->sp + (16LL)", True),
        ("(%rdi,%rsi)", "ctx->di + ctx->si * 1", True),
        ("8(%rdi,%rsi,4)", "ctx->di + ctx->si * 4 + (8LL)", True),
        ("(,%rsi,8)", "ctx->si * 8", True),
        ("counter(%rip)", "ctx->ip + (12304LL)", True),
        ("counter+8(%rip)", "ctx->ip + (12312LL)", True),
        ("8+counter(%rip)", "ctx->ip + (12312LL)", True),
        ("_ZN1x1yE-4(%rip)", "ctx->ip + (8188LL)", True),
    ],
)
def test_operands_of_x86(operand, place, in_memory):
    assert x86_operand(operand, FILE, SITE) == (place, in_memory)


@pytest.mark.parametrize(
    "operand", ["%xmm0", "%ah", "nosuch(%rip)", "counter", "$counter", "%fs:8", "(%xmm0)", ""]
)
def test_operands_of_x86_that_no_program_can_read(operand):
    assert x86_operand(operand, FILE, SITE) is None


@pytest.mark.parametrize(
    ("operand", "place", "in_memory"),
    [
        ("12", "12LL", False),
        ("-1", "-1LL", False),
        ("x0", "ctx->regs[0]", False),
        ("w19", "ctx->regs[19]", False),
        ("sp", "ctx->sp", False),
        ("xzr", "0", False),
        ("[x1]", "ctx->regs[1]", True),
        ("[sp, 24]", "ctx->sp + (24LL)", True),
        ("[x29, #-8]", "ctx->regs[29] + (-8LL)", True),
        ("[x0, x1]", "ctx->regs[0] + ctx->regs[1]", True),
    ],
)
def test_operands_of_arm64(operand, place, in_memory):
    assert arm64_operand(operand, FILE, SITE) == (place, in_memory)


@pytest.mark.parametrize("operand", ["d0", "[x0, x1, lsl #3]", "x31", "counter", ""])
def test_operands_of_arm64_that_no_program_can_read(operand):
    assert arm64_operand(operand, FILE, SITE) is None
