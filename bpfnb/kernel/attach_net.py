"""Attachment to the network: XDP, tc, cgroups, network namespaces, sockets, socket maps and netfilter."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from bpfnb.kernel import syscall
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.libbpf import options
from bpfnb.kernel.links import Link, fd_link
from bpfnb.kernel.names import attach_type
from bpfnb.kernel.system import interfaces, meant, open_fd, path

__all__ = ["cgroup", "clsact", "netfilter", "netns", "reuseport", "socket_filter", "sockmap", "tc", "xdp"]

_XDP_MODES = {"generic": 1 << 1, "native": 1 << 2, "offload": 1 << 3}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_EBPF, _SO_DETACH_REUSEPORT_BPF, _SO_DETACH_FILTER = 50, 52, 68, 27
_ETH_P_ALL = 0x0003
_CLONE_NEWNET = 0x40000000


def interface_index(program: Program) -> int:
    """The ``interface=`` option as an index."""
    wanted = program.get("interface")
    if wanted is None:
        raise program.needs("interface", 'interface="eth0"')
    names = interfaces()
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if wanted in names:
            return wanted
    elif wanted in names.values():
        return next(index for index, name in names.items() if name == wanted)
    raise program.unknown("network interface", str(wanted), list(names.values()))


def _namespace(program: Program) -> Path:
    """The ``netns=`` option, a path or a process id, as a path; by default this thread's own."""
    wanted = program.get("netns", "/proc/thread-self/ns/net")
    file = path(f"/proc/{wanted}/ns/net" if isinstance(wanted, int) else str(wanted))
    if not file.exists():
        known = [p.name for p in path("/run/netns").iterdir()] if path("/run/netns").is_dir() else []
        raise program.unknown("network namespace", str(wanted), known)
    return file


@contextlib.contextmanager
def _inside(program: Program) -> Iterator[None]:
    """This thread in the network namespace of ``netns=``: interfaces are looked up there. Links stay when it leaves."""
    if program.get("netns") is None:
        yield
        return
    if meant() is not None:
        raise program.fail("'netns' is not offered in a virtual machine", errno.EOPNOTSUPP)
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as home, _namespace(program).open() as there:
        if libc.setns(there.fileno(), _CLONE_NEWNET):
            raise program.refused(OSError(ctypes.get_errno(), ""), "network namespace")
        try:
            yield
        finally:
            libc.setns(home.fileno(), 0)


def _choice(program: Program, option: str, value: str, known: object) -> None:
    names = list(known)  # type: ignore[call-overload]
    if value not in names:
        raise program.fail(f"{option} '{value}' is unknown", errno.EINVAL, [f"one of: {', '.join(names)}"])


def xdp(program: Program) -> Link:
    """A link on an interface (Linux 5.9); mode "native", "generic", "offload", or what the driver can.

    With ``netns=`` (a path or a process id) the interface is one of that network namespace.
    """
    with _inside(program):
        return _xdp(program)


def _xdp(program: Program) -> Link:
    index, mode = interface_index(program), program.get("mode")
    flags = program.get("flags", 0)
    if mode is not None:
        _choice(program, "mode", mode, _XDP_MODES)
        flags |= _XDP_MODES[mode]
    try:
        return fd_link(syscall.link_create(program.fd, index, attach_type("xdp"), flags))
    except OSError as error:
        hints = []
        if error.errno in (errno.EBUSY, errno.EEXIST):
            hints = ["another XDP program is on this interface: `bpftool net` shows it"]
        elif error.errno in (errno.EOPNOTSUPP, errno.ERANGE) and mode == "native":
            hints = ['the driver has no native XDP; mode="generic" works on every interface']
        raise program.refused(error, f"XDP on interface {index}", hints) from None


def _direction(program: Program) -> str:
    """ "ingress" or "egress", from the section or the option."""
    last = program.section.rpartition("/")[2]
    direction = str(program.get("direction", last if last in ("ingress", "egress") else "ingress"))
    _choice(program, "direction", direction, ("ingress", "egress"))
    return direction


def tc(program: Program) -> Link:
    """A tcx link (Linux 6.6), which joins other programs and ends with the process; before, a clsact filter."""
    index, direction = interface_index(program), _direction(program)
    try:
        extra = struct.pack("=IIQ", 0, 0, 0)
        kind = attach_type(f"tcx_{direction}")
        return fd_link(syscall.link_create(program.fd, index, kind, program.get("flags", 0), extra))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise program.refused(error, f"tc {direction} of interface {index}") from None
    return clsact(program, index, direction)


def clsact(program: Program, index: int, direction: str) -> Link:
    """A filter of the clsact queueing discipline. It outlives a killed process: only a link does not."""
    u32 = ctypes.c_uint32
    point = 1 if direction == "ingress" else 2
    hook = options((ctypes.c_int, index), (ctypes.c_int, point), (u32, 0))
    code = program.call("bpf_tc_hook_create", hook)
    if code not in (0, -errno.EEXIST):
        raise program.refused(OSError(-code, ""), f"clsact on interface {index}")
    opts = options((ctypes.c_int, program.fd), (u32, 0), (u32, 0), (u32, 0), (u32, 0))
    code = program.call("bpf_tc_attach", hook, opts)
    if code:
        raise program.refused(OSError(-code, ""), f"tc {direction} of interface {index}")

    def detach() -> None:
        # handle and priority, which the kernel chose, say which filter; the other fields must be zero
        which = options(
            (ctypes.c_int, 0),
            (u32, 0),
            (u32, 0),
            (u32, opts.f3),
            (u32, opts.f4),
        )
        program.call("bpf_tc_detach", hook, which)

    return Link(release=detach)


def netkit(program: Program) -> Link:
    """A link on a netkit device (Linux 6.7)."""
    try:
        return fd_link(syscall.link_create(program.fd, interface_index(program), program.attach_type))
    except OSError as error:
        raise program.refused(error, "netkit", ["the interface must be a netkit device"]) from None


def cgroup(program: Program) -> Link:
    """A link on a cgroup v2 directory (Linux 5.7)."""
    kind = program.attach_type
    if program.info.kind == "cgroup_skb" and program.section in ("cgroup/skb", "cgroup_skb"):
        kind = attach_type(f"cgroup_inet_{_direction(program)}")
    fd = program.cgroup_fd()
    try:
        return fd_link(syscall.link_create(program.fd, fd, kind, program.get("flags", 0)))
    except OSError as error:
        hints = []
        if error.errno == errno.EPERM:
            hints = ["a program that was attached without BPF_F_ALLOW_MULTI, here or above, excludes others"]
        raise program.refused(error, "cgroup", hints) from None
    finally:
        syscall.close(fd)


def netns(program: Program) -> Link:
    """A link on a network namespace (``netns=`` a path or a process id; by default this process's). Linux 5.8."""
    fd = open_fd(_namespace(program))
    try:
        return fd_link(syscall.link_create(program.fd, fd, program.attach_type))
    except OSError as error:
        hints = (
            ["a flow dissector excludes another one"] if error.errno in (errno.EEXIST, errno.E2BIG) else []
        )
        raise program.refused(error, "network namespace", hints) from None
    finally:
        syscall.close(fd)


def _set_option(program: Program, fd: int, option: int, value: int) -> None:
    copy = os.dup(fd)
    try:
        with socket.socket(fileno=copy) as handle:
            handle.setsockopt(socket.SOL_SOCKET, option, value)
    except OSError as error:
        if error.errno == errno.ENOTSOCK:
            os.close(copy)
        raise program.refused(error, "socket") from None


def _not_in_a_guest(program: Program) -> None:
    if meant() is not None:
        raise program.fail("sockets of this machine are not a virtual machine's", errno.EOPNOTSUPP)


def _socket_fd(program: Program) -> int:
    """A descriptor of our own of the ``socket=`` option, so that the filter can be taken off later."""
    _not_in_a_guest(program)
    given = program.get("socket")
    try:
        fd = given if isinstance(given, int) else given.fileno()
        return os.dup(fd)
    except (AttributeError, OSError):
        raise program.fail(f"socket={given!r} is no open socket", errno.EBADF) from None


def socket_filter(program: Program) -> Link:
    """SO_ATTACH_BPF on ``socket=``, or on a new packet socket that sees all packets of ``interface=``."""
    if program.get("socket") is not None:
        fd = _socket_fd(program)
    elif program.get("interface") is not None:
        _not_in_a_guest(program)
        index = interface_index(program)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
            _set_option(program, packets.fileno(), _SO_ATTACH_BPF, program.fd)
            packets.bind((socket.if_indextoname(index), _ETH_P_ALL))
            return Link([packets.detach()])
    else:
        raise program.needs("socket", 'socket=sock, or interface="eth0"')
    try:
        _set_option(program, fd, _SO_ATTACH_BPF, program.fd)
    except BaseException:
        os.close(fd)
        raise
    return _socket_link(fd, _SO_DETACH_FILTER)


def reuseport(program: Program) -> Link:
    """SO_ATTACH_REUSEPORT_EBPF on ``socket=``, for the whole group of sockets (Linux 4.19)."""
    if program.get("socket") is None:
        raise program.needs("socket", "socket=sock, with SO_REUSEPORT set before it is bound")
    fd = _socket_fd(program)
    try:
        _set_option(program, fd, _SO_ATTACH_REUSEPORT_EBPF, program.fd)
    except BaseException:
        os.close(fd)
        raise
    return _socket_link(fd, _SO_DETACH_REUSEPORT_BPF)


def _socket_link(fd: int, detach_option: int) -> Link:
    def detach() -> None:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as handle:
            handle.setsockopt(socket.SOL_SOCKET, detach_option, 0)

    return Link([fd], release=detach)


def sockmap(program: Program) -> Link:
    """sk_msg and sk_skb programs act on the sockets in a map: ``map=``, or the object's only sockmap."""
    wanted = program.get("map")
    if wanted is None:
        maps = [name for name, info in program.maps.items() if info.kind in ("sockmap", "sockhash")]
        if len(maps) != 1:
            raise program.fail(
                "it needs the option 'map'",
                errno.EINVAL,
                [f"one of: {', '.join(maps) or 'the object has no sockmap'}"],
            )
        wanted = maps[0]
    fd, kind = syscall.dup(program.map_fd(wanted)), program.attach_type
    try:
        link = fd_link(syscall.link_create(program.fd, fd, kind))  # Linux 6.10
        syscall.close(fd)
        return link
    except OSError:
        pass
    try:
        syscall.prog_attach(program.fd, fd, kind)
    except OSError as error:
        syscall.close(fd)
        raise program.refused(error, "socket map") from None
    prog_fd = syscall.dup(program.fd)

    def detach() -> None:
        with contextlib.suppress(OSError):
            syscall.prog_detach(prog_fd, fd, kind)

    return Link([fd, prog_fd], release=detach)


def netfilter(program: Program) -> Link:
    """A link on a netfilter hook (Linux 6.4): ``pf`` "ipv4"/"ipv6", ``hook``, ``priority`` (lower runs first)."""
    if program.get("hook") is None:
        raise program.needs("hook", 'hook="input" (and pf="ipv4", priority=-128)')
    family, hook = str(program.get("pf", "ipv4")), str(program.get("hook"))
    _choice(program, "pf", family, _FAMILIES)
    _choice(program, "hook", hook, _HOOKS)
    priority, flags = program.get("priority", -128), program.get("flags", 0)
    extra = struct.pack("=IIiI", _FAMILIES[family], _HOOKS.index(hook), priority, flags)
    try:
        return fd_link(syscall.link_create(program.fd, 0, attach_type("netfilter"), 0, extra))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EAFNOSUPPORT):
            raise program.lacks(f"netfilter links for {family}", error.errno) from None
        hints = ["another program has this hook and priority"] if error.errno == errno.EBUSY else []
        raise program.refused(error, f"netfilter {family} {hook} at priority {priority}", hints) from None
