"""Which section attaches how, and which options it takes.

======================================  ===============================================  ========================
section                                 options                                          without options
======================================  ===============================================  ========================
tracepoint, tp                          tracepoint ("category:name"), cookie             the section's tracepoint
raw_tp, raw_tracepoint                  tracepoint ("name")                              the section's tracepoint
tp_btf, fentry, fexit, fmod_ret         cookie                                           the section's target
lsm                                     none (lsm_cgroup: cgroup)                        the section's hook
kprobe, kretprobe, ksyscall,            symbol, offset, retprobe, cookie                 the section's function
kprobe.multi
uprobe, uretprobe                       binary, symbol, offset, retprobe, pid, cookie    the section's BINARY:FUNCTION
uprobe.multi, uretprobe.multi           binary, symbol (pattern), retprobe, pid, cookie, the section's BINARY:PATTERN
                                        offsets, cookies (sequences of equal length)
usdt                                    binary, provider, probe, pid, cookie             the section's probe
perf_event                              event, frequency, period, pid, cpu, cookie       needs one of them
xdp                                     interface, mode (native|generic|offload), flags, needs interface
                                        netns (where the interface is)
tc, tcx, classifier                     interface, direction (ingress|egress), flags     needs interface
netkit                                  interface                                        needs interface
cgroup/*, cgroup_skb, sockops           cgroup (path), direction (cgroup/skb), flags     the cgroup v2 root
sk_lookup, flow_dissector               netns (path or process id)                       this process's
sk_msg, sk_skb                          map (a sockmap)                                  the only sockmap
socket                                  socket, or interface                             needs one of them
sk_reuseport                            socket                                           needs socket
netfilter                               hook, pf (ipv4|ipv6), priority, flags            needs hook
iter                                    map, pid, tid, cgroup, order                     run, not attached, by itself
struct_ops                              map                                              all of the object's
======================================  ===============================================  ========================

``interface`` is a name or an index, ``binary`` a path, a library ("libc") or a program; ``cookie`` is what
bpf_get_attach_cookie() gives (Linux 5.15). A section's variants (``.s``, ``/ingress`` ...) are as the section.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace

from bpfnb.errors import BpfnbError
from bpfnb.kernel import attach_net, attach_perf, attach_trace, attach_user
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.libbpf import capture
from bpfnb.kernel.links import Link

__all__ = ["Family", "attach", "family", "named", "required", "takes"]


@dataclass(frozen=True, slots=True)
class Family:
    """Sections that attach alike. ``needs``: what must follow the prefix for the section alone to say where
    ("target": anything; "place": a binary and a function; "options": nothing can; "": nothing must).
    """

    prefixes: tuple[str, ...]
    attach: Callable[[Program], Link]
    options: frozenset[str]
    needs: str = ""


def _family(prefixes: str, attach: Callable[[Program], Link], options: str = "", needs: str = "") -> Family:
    return Family(tuple(prefixes.split()), attach, frozenset(options.split()), needs)


FAMILIES = (
    _family("tracepoint tp", attach_trace.tracepoint, "tracepoint cookie", "target"),
    _family("raw_tracepoint raw_tp", attach_trace.raw_tracepoint, "tracepoint", "target"),
    _family("tp_btf fentry fexit fmod_ret", attach_trace.tracing, "cookie", "target"),
    _family("lsm_cgroup", attach_net.cgroup, "cgroup flags", "target"),
    _family("lsm", attach_trace.tracing, "", "target"),
    _family(
        "kprobe kretprobe ksyscall kretsyscall",
        attach_trace.kprobe,
        "symbol offset retprobe cookie",
        "target",
    ),
    _family(
        "uprobe.multi uretprobe.multi uprobe.session",
        attach_user.uprobe_multi,
        "binary symbol retprobe pid cookie offsets cookies",
        "place",
    ),
    _family("uprobe uretprobe", attach_user.uprobe, "binary symbol offset retprobe pid cookie", "place"),
    _family("usdt", attach_user.usdt, "binary provider probe pid cookie", "place"),
    _family("perf_event", attach_perf.perf_event, "event frequency period pid cpu cookie", "options"),
    _family("xdp", attach_net.xdp, "interface mode flags netns", "options"),
    _family("tc tcx classifier", attach_net.tc, "interface direction flags", "options"),
    _family("netkit", attach_net.netkit, "interface", "options"),
    _family("cgroup cgroup_skb sockops", attach_net.cgroup, "cgroup direction flags"),
    _family("sk_lookup flow_dissector", attach_net.netns, "netns"),
    _family("sk_msg sk_skb", attach_net.sockmap, "map"),
    _family("socket", attach_net.socket_filter, "socket interface", "options"),
    _family("sk_reuseport", attach_net.reuseport, "socket", "options"),
    _family("netfilter", attach_net.netfilter, "hook pf priority flags", "options"),
    _family("iter", attach_trace.iterator, "map pid tid cgroup order", "options"),
    _family("struct_ops", attach_trace.struct_ops, "map"),
)
_OTHER = Family((), attach_trace.by_name, frozenset(), "options")


def family(section: str) -> Family:
    """The family of a section; one that takes no options where bpfnb knows no way to attach it."""
    head = section.split("/")[0]
    for candidate in FAMILIES:
        # "uprobe.s" is "uprobe" and "xdp.frags" is "xdp", but "uprobe.multi.s" is "uprobe.multi"
        if any(head == prefix or head.startswith(f"{prefix}.") for prefix in candidate.prefixes):
            return candidate
    return _OTHER


def takes(section: str) -> frozenset[str]:
    """The names of the options that programs of a section take."""
    return family(section).options


_REQUIRED = {
    "xdp": "interface",
    "tc": "interface",
    "netkit": "interface",
    "perf_event": "frequency",
    "socket": "socket",
    "sk_reuseport": "socket",
    "netfilter": "hook",
    "uprobe": "binary and symbol",
    "uprobe.multi": "binary and symbol",
    "usdt": "binary, provider and probe",
    "tracepoint": "tracepoint",
    "raw_tracepoint": "tracepoint",
    "kprobe": "symbol",
}


def required(section: str) -> str:
    """The options, in words, without which programs of a section cannot be attached; empty where there are none."""
    prefixes = family(section).prefixes
    return "" if named(section) or not prefixes else _REQUIRED.get(prefixes[0], "")


def named(section: str) -> bool:
    """Whether the section alone says where to attach."""
    target = section.partition("/")[2]
    match family(section).needs:
        case "":
            return True
        case "target":
            return bool(target)
        case "place":
            return ":" in target
        case _:
            return False


def attach(program: Program) -> Link:
    """Attach a program. Raises AttachError, KernelFeatureMissing, NotPermitted."""
    chosen = family(program.section)
    unknown = [name for name in program.options if name not in chosen.options]
    if unknown:
        known = ", ".join(sorted(chosen.options)) or "none"
        raise program.fail(f"it takes no option '{unknown[0]}'", errno.EINVAL, [f"it takes: {known}"])
    with capture() as said:
        try:
            link = chosen.attach(replace(program, said=said))
        except BpfnbError:
            raise
        except OSError as error:
            raise program.refused(error) from None
    link.program = program.info.name
    return link
