"""libbpf's names of the kernel's numbers: map types, program types, attach types, link types.

The lists are ``enum bpf_map_type`` and so on of the Linux UAPI header in lower case, up to Linux 6.18. They are here
because an older libbpf does not know the newer names, and because a name costs no call.
"""

# ruff: noqa: SIM905  words in a row read better than a list of quotes

from __future__ import annotations

__all__ = [
    "ATTACH_TYPES",
    "LINK_TYPES",
    "MAP_TYPES",
    "PER_CPU",
    "PROGRAM_TYPES",
    "attach_type",
    "name_of",
    "program_type",
]

MAP_TYPES = tuple(
    """unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash
    lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage
    reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage
    task_storage bloom_filter user_ringbuf cgrp_storage arena insn_array""".split()
)

PROGRAM_TYPES = tuple(
    """unspec socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb cgroup_sock lwt_in
    lwt_out lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint cgroup_sock_addr lwt_seg6local lirc_mode2
    sk_reuseport flow_dissector cgroup_sysctl raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm
    sk_lookup syscall netfilter""".split()
)

ATTACH_TYPES = tuple(
    """cgroup_inet_ingress cgroup_inet_egress cgroup_inet_sock_create cgroup_sock_ops sk_skb_stream_parser
    sk_skb_stream_verdict cgroup_device sk_msg_verdict cgroup_inet4_bind cgroup_inet6_bind cgroup_inet4_connect
    cgroup_inet6_connect cgroup_inet4_post_bind cgroup_inet6_post_bind cgroup_udp4_sendmsg cgroup_udp6_sendmsg
    lirc_mode2 flow_dissector cgroup_sysctl cgroup_udp4_recvmsg cgroup_udp6_recvmsg cgroup_getsockopt
    cgroup_setsockopt trace_raw_tp trace_fentry trace_fexit modify_return lsm_mac trace_iter
    cgroup_inet4_getpeername cgroup_inet6_getpeername cgroup_inet4_getsockname cgroup_inet6_getsockname xdp_devmap
    cgroup_inet_sock_release xdp_cpumap sk_lookup xdp sk_skb_verdict sk_reuseport_select
    sk_reuseport_select_or_migrate perf_event trace_kprobe_multi lsm_cgroup struct_ops netfilter tcx_ingress
    tcx_egress trace_uprobe_multi cgroup_unix_connect cgroup_unix_sendmsg cgroup_unix_recvmsg
    cgroup_unix_getpeername cgroup_unix_getsockname netkit_primary netkit_peer trace_kprobe_session
    trace_uprobe_session""".split()
)

LINK_TYPES = tuple(
    """unspec raw_tracepoint tracing cgroup iter netns xdp perf_event kprobe_multi struct_ops netfilter tcx
    uprobe_multi netkit sockmap""".split()
)

PER_CPU = frozenset({"percpu_hash", "lru_percpu_hash", "percpu_array", "percpu_cgroup_storage"})
"""Map kinds that hold one value a possible CPU for each key."""


def name_of(names: tuple[str, ...], number: int) -> str:
    """The name of *number*, or the number itself where it is newer than the list."""
    return names[number] if number < len(names) else str(number)


def program_type(name: str) -> int:
    return PROGRAM_TYPES.index(name)


def attach_type(name: str) -> int:
    return ATTACH_TYPES.index(name)
