"""ELF section names: which newer ones an older libbpf must be told about, and which exist at all."""

from __future__ import annotations

import ctypes
from functools import cache

from bpfnb.kernel.libbpf import capture, library
from bpfnb.kernel.names import attach_type, program_type

__all__ = ["SLEEPABLE", "known_sections", "newer_section"]

SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE

# Section prefixes that libbpf learnt after 1.1: program type, expected attach type.
_NEWER: dict[str, tuple[str, str]] = {
    "tcx/ingress": ("sched_cls", "tcx_ingress"),
    "tcx/egress": ("sched_cls", "tcx_egress"),
    "tc/ingress": ("sched_cls", "tcx_ingress"),
    "tc/egress": ("sched_cls", "tcx_egress"),
    "netkit/primary": ("sched_cls", "netkit_primary"),
    "netkit/peer": ("sched_cls", "netkit_peer"),
    "netfilter": ("netfilter", "netfilter"),
    "uprobe.multi": ("kprobe", "trace_uprobe_multi"),
    "uretprobe.multi": ("kprobe", "trace_uprobe_multi"),
    "uprobe.session": ("kprobe", "trace_uprobe_session"),
    "kprobe.session": ("kprobe", "trace_kprobe_session"),
    "sk_skb/verdict": ("sk_skb", "sk_skb_verdict"),
    "struct_ops.s": ("struct_ops", "cgroup_inet_ingress"),
    "usdt.s": ("kprobe", "cgroup_inet_ingress"),
    "cgroup/connect_unix": ("cgroup_sock_addr", "cgroup_unix_connect"),
    "cgroup/sendmsg_unix": ("cgroup_sock_addr", "cgroup_unix_sendmsg"),
    "cgroup/recvmsg_unix": ("cgroup_sock_addr", "cgroup_unix_recvmsg"),
    "cgroup/getpeername_unix": ("cgroup_sock_addr", "cgroup_unix_getpeername"),
    "cgroup/getsockname_unix": ("cgroup_sock_addr", "cgroup_unix_getsockname"),
}


def newer_section(section: str) -> tuple[int, int, int] | None:
    """(program type, expected attach type, program flags) of a section that the loaded libbpf may not know."""
    for prefix, (kind, attach) in _NEWER.items():
        for name, flags in ((prefix, SLEEPABLE if prefix.endswith(".s") else 0), (prefix + ".s", SLEEPABLE)):
            if section == name or section.startswith(name + "/"):
                return program_type(kind), attach_type(attach), flags
    return None


@cache
def known_sections() -> tuple[str, ...]:
    """Every section prefix that can be loaded here: libbpf's own list and the newer ones."""
    kind, attach = ctypes.c_int(), ctypes.c_int()
    with capture(debug=True) as messages:
        library().libbpf_prog_type_by_name(b"?", ctypes.byref(kind), ctypes.byref(attach))
    said = next((m.split("are:")[1].split() for m in messages if "names are:" in m), [])
    return tuple(sorted({name.rstrip("+/") for name in said} | set(_NEWER)))
