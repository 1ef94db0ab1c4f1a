"""Section names of libbpf's loader, with what each attaches to and the first kernel version that has it."""

from __future__ import annotations

__all__ = ["SECTIONS"]

_TABLE = """
tracepoint/|tracepoint: CATEGORY/NAME; the record's fields as context (Linux 4.7)
tp/|short for tracepoint/
raw_tp/|raw tracepoint: NAME; arguments as numbers (4.17)
raw_tracepoint/|the same as raw_tp/
raw_tp.w/|raw tracepoint whose buffer may be written (5.2)
raw_tracepoint.w/|the same as raw_tp.w/
tp_btf/|raw tracepoint: NAME; arguments with their types, kernel memory can be read directly (5.5)
kprobe/|kernel function: NAME or NAME+OFFSET (4.1)
kretprobe/|return of a kernel function (4.1)
ksyscall/|system call: NAME, on any architecture
kretsyscall/|return of a system call: NAME
kprobe.multi/|many kernel functions by pattern (5.18)
kretprobe.multi/|return of many kernel functions (5.18)
kprobe.session/|entry and return of many kernel functions (6.10)
fentry/|kernel function with typed arguments: NAME (5.5)
fentry.s/|fentry that may sleep (5.10)
fexit/|return of a kernel function, with arguments and result (5.5)
fexit.s/|fexit that may sleep (5.10)
fmod_ret/|change the return value of a function that allows it (5.7)
fmod_ret.s/|fmod_ret that may sleep (5.10)
lsm/|security hook: NAME; may deny (5.7)
lsm.s/|security hook that may sleep (5.11)
lsm_cgroup/|security hook for one cgroup (6.0)
uprobe/|function of a program or library: PATH:FUNCTION[+OFFSET] (4.1)
uprobe.s/|uprobe that may sleep (6.0)
uretprobe/|return of a function of a program or library
uretprobe.s/|uretprobe that may sleep (6.0)
uprobe.multi/|many functions of a program: PATH:PATTERN (6.6)
uretprobe.multi/|return of many functions of a program (6.6)
uprobe.session/|entry and return of functions of a program (6.13)
usdt/|static probe of a program: PATH:PROVIDER:NAME
usdt.s/|static probe whose program may sleep
perf_event|sampling by time or by a hardware or software event (4.9)
iter/|walk kernel objects: task, task_file, tcp, bpf_map ... (5.8)
iter.s/|iterator that may sleep (5.19)
syscall|a program that user space runs itself, with bpf_sys_bpf (5.14)
xdp|packets as the driver receives them (4.8)
xdp.frags|XDP for packets in several fragments (5.18)
xdp/cpumap|XDP behind a redirect to a CPU (5.9)
xdp/devmap|XDP behind a redirect to a device (5.8)
tc|packets at an interface's traffic control (4.1)
tc/ingress|the same on the way in
tc/egress|the same on the way out
tcx/ingress|packets on the way in, as a link (6.6)
tcx/egress|packets on the way out, as a link (6.6)
netkit/primary|packets of a netkit device (6.7)
netkit/peer|packets of a netkit device's peer (6.7)
classifier|old name of tc
action|traffic control action
netfilter|packets at a netfilter hook (6.4)
socket|filter of one socket's packets (3.19)
sk_reuseport|choice among sockets of one port (4.19)
sk_reuseport/migrate|the same, also for sockets that move (5.14)
sk_lookup|choice of the listening socket (5.9)
flow_dissector|how packets are taken apart into flows (4.20)
sk_skb|stream parser of a sockmap (4.14)
sk_skb/stream_parser|finds messages in a stream of a sockmap (4.14)
sk_skb/stream_verdict|decides on messages of a sockmap (4.14)
sk_skb/verdict|decides on packets of a sockmap (5.13)
sk_msg|messages sent on sockets of a sockmap (4.17)
sockops|events of TCP connections in a cgroup (4.13)
lwt_in|lightweight tunnel, input (4.10)
lwt_out|lightweight tunnel, output (4.10)
lwt_xmit|lightweight tunnel, transmit (4.10)
lwt_seg6local|IPv6 segment routing (4.18)
cgroup_skb/ingress|packets received in a cgroup (4.10)
cgroup_skb/egress|packets sent from a cgroup (4.10)
cgroup/skb|packets of a cgroup
cgroup/sock|sockets made in a cgroup (4.10)
cgroup/sock_create|sockets made in a cgroup
cgroup/sock_release|sockets closed in a cgroup (5.9)
cgroup/bind4|bind of IPv4 sockets in a cgroup (4.17)
cgroup/bind6|bind of IPv6 sockets
cgroup/post_bind4|after bind of IPv4 sockets (4.17)
cgroup/post_bind6|after bind of IPv6 sockets
cgroup/connect4|connect of IPv4 sockets; may deny or redirect (4.17)
cgroup/connect6|connect of IPv6 sockets
cgroup/connect_unix|connect of Unix sockets (6.7)
cgroup/sendmsg4|sendto of IPv4 UDP sockets (4.18)
cgroup/sendmsg6|sendto of IPv6 UDP sockets
cgroup/sendmsg_unix|sendto of Unix sockets (6.7)
cgroup/recvmsg4|recvfrom of IPv4 UDP sockets (5.2)
cgroup/recvmsg6|recvfrom of IPv6 UDP sockets
cgroup/recvmsg_unix|recvfrom of Unix sockets (6.7)
cgroup/getpeername4|getpeername of IPv4 sockets (5.8)
cgroup/getpeername6|getpeername of IPv6 sockets
cgroup/getpeername_unix|getpeername of Unix sockets (6.7)
cgroup/getsockname4|getsockname of IPv4 sockets (5.8)
cgroup/getsockname6|getsockname of IPv6 sockets
cgroup/getsockname_unix|getsockname of Unix sockets (6.7)
cgroup/getsockopt|getsockopt in a cgroup (5.3)
cgroup/setsockopt|setsockopt in a cgroup (5.3)
cgroup/sysctl|reads and writes of /proc/sys in a cgroup (5.2)
cgroup/dev|use of devices in a cgroup (4.15)
struct_ops/|callback of a kernel structure: TCP congestion control, scheduler ... (5.6)
struct_ops.s/|callback that may sleep (6.6)
.struct_ops|a structure of callbacks, registered when attached (5.6)
.struct_ops.link|the same, as a link (6.4)
freplace/|replaces a function of another loaded program (5.6)
lirc_mode2|infrared receivers (4.18)
license|the licence of the code, as text
.maps|map definitions
"""

SECTIONS: dict[str, str] = {
    prefix: meaning for prefix, _, meaning in (line.partition("|") for line in _TABLE.strip().splitlines())
}
"""Prefix (with ``/`` where a target follows) -> what it attaches to."""
