"""Attachments that are made and dropped at once, to learn which kinds a kernel allows.

Each is made on something harmless: functions that nothing else calls, this process, a cgroup and a network namespace
made for the purpose.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from bpfnb.errors import BpfnbError
from bpfnb.kernel import syscall
from bpfnb.kernel.libbpf import capture, library
from bpfnb.kernel.names import ATTACH_TYPES
from bpfnb.kernel.system import cgroup_root
from bpfnb.kernel.trials import (
    TRACED,
    UntriedError,
    any_program,
    batch,
    btf_id_of,
    decl_tags,
    program,
    statistics,
    try_map,
    try_program,
)

__all__ = ["ATTACH"]

_libc = ctypes.CDLL(None, use_errno=True)  # its own, since prototypes belong to the object
_TRACEPOINT, _SOFTWARE, _HARDWARE = 2, 1, 0


def _link(fd: int, target: int, attach: str, flags: int = 0, extra: bytes = b"") -> None:
    os.close(syscall.link_create(fd, target, ATTACH_TYPES.index(attach), flags, extra))


def _raw_tracepoint(fd: int, name: bytes | None = None) -> None:
    os.close(syscall.raw_tracepoint_open(fd, name))


def _raw_tp() -> None:
    with program("raw_tracepoint") as fd:
        _raw_tracepoint(fd, TRACED.encode())


def _tp_btf() -> None:
    with any_program("tracing") as fd:
        _raw_tracepoint(fd)


def _trampoline(function: str, attach: str) -> Callable[[], None]:
    def trial() -> None:
        with program("tracing", attach, btf_id=btf_id_of(function, "func")) as fd:
            _raw_tracepoint(fd)

    return trial


def _lsm() -> None:
    with any_program("lsm") as fd:
        _raw_tracepoint(fd)


def _iter() -> None:
    with program("tracing", "trace_iter", btf_id=btf_id_of("bpf_iter_task", "func")) as fd:
        _link(fd, 0, "trace_iter")


@contextlib.contextmanager
def _perf_event(
    kind: int, config: int, *, config1: int = 0, config2: int = 0, system: bool = False
) -> Iterator[int]:
    attr = struct.pack("=IIQQQQQIIQQ", kind, 128, config, 1 << 40, 0, 0, 1, 0, 0, config1, config2).ljust(
        128, b"\0"
    )
    pid, cpu = (-1, 0) if system else (0, -1)
    try:
        fd = syscall.perf_event_open(attr, pid, cpu)
    except OSError as error:
        if kind == _HARDWARE and error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            raise OSError(error.errno, "this machine has no hardware counters") from None
        raise
    try:
        yield fd
    finally:
        os.close(fd)


def _on_event(program_kind: str, event: contextlib.AbstractContextManager[int]) -> None:
    with program(program_kind) as fd, event as perf:
        if _libc.ioctl(perf, ctypes.c_ulong(0x40042408), ctypes.c_int(fd)) != 0:  # PERF_EVENT_IOC_SET_BPF
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def _tracepoint() -> None:
    path = Path("/sys/kernel/tracing/events/sched", TRACED, "id")
    try:
        number = int(path.read_text())
    except OSError as error:
        raise UntriedError(f"tracefs cannot be read ({error.strerror})") from None
    _on_event("tracepoint", _perf_event(_TRACEPOINT, number))


def _probe_type(name: str) -> int:
    try:
        return int(Path("/sys/bus/event_source/devices", name, "type").read_text())
    except FileNotFoundError:
        raise OSError(errno.ENOENT, f"the kernel has no {name}s (CONFIG_{name.upper()}_EVENTS)") from None


def _kprobe(config: int) -> Callable[[], None]:
    def trial() -> None:
        name, keep = syscall.buffer_address(b"bpf_fentry_test1\0")
        _on_event("kprobe", _perf_event(_probe_type("kprobe"), config, config1=name, system=True))
        del keep

    return trial


def _kprobe_multi() -> None:
    name, keep = syscall.buffer_address(b"bpf_fentry_test1\0")
    names, keep_too = syscall.buffer_address(struct.pack("=Q", name))
    with program("kprobe", "trace_kprobe_multi") as fd:
        _link(fd, 0, "trace_kprobe_multi", 0, struct.pack("=IIQQQ", 0, 1, names, 0, 0))
    del keep, keep_too


def _own_function() -> tuple[bytes, int]:
    """A function of the C library that nobody calls, as file and offset in it."""
    address = ctypes.cast(_libc.ether_ntoa, ctypes.c_void_p).value or 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, mode, offset, _, inode, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end and "x" in mode and inode != "0" and path:
            return os.fsencode(path[0]) + b"\0", address - start + int(offset, 16)
    raise UntriedError("the C library's file was not found")


def _uprobe(config: int) -> Callable[[], None]:
    def trial() -> None:
        path, offset = _own_function()
        name, keep = syscall.buffer_address(path)
        _on_event("kprobe", _perf_event(_probe_type("uprobe"), config, config1=name, config2=offset))
        del keep

    return trial


def _uprobe_multi(attach: str) -> Callable[[], None]:
    def trial() -> None:
        path, offset = _own_function()
        name, keep = syscall.buffer_address(path)
        offsets, keep_too = syscall.buffer_address(struct.pack("=Q", offset))
        extra = struct.pack("=QQQQIII", name, offsets, 0, 0, 1, 0, os.getpid())
        with program("kprobe", attach) as fd:
            _link(fd, 0, attach, 0, extra)
        del keep, keep_too

    return trial


def _usdt() -> None:
    """USDT is a uprobe with a semaphore (``ref_ctr_offset``, Linux 4.20)."""
    _uprobe(0)()
    if not Path("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset").exists():
        raise OSError(errno.EOPNOTSUPP, "uprobes have no reference counters")


def _event(kind: int, config: int) -> Callable[[], None]:
    return lambda: _on_event("perf_event", _perf_event(kind, config))


# Attaching to the network and to cgroups.


def _in_namespace(trial: Callable[[], None]) -> Callable[[], None]:
    """Run *trial* in a thread whose network namespace is new: its loopback is nobody else's."""

    def run() -> None:
        raised: list[BaseException] = []

        def body() -> None:
            try:
                if _libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
                    raise UntriedError(
                        f"no network namespace can be made ({os.strerror(ctypes.get_errno())})"
                    )
                trial()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=body, name="bpfnb trial")
        thread.start()
        thread.join()
        if raised:
            raise raised[0]

    return run


_LOOPBACK = 1


def _xdp() -> None:
    with program("xdp", "xdp", value=2) as fd:
        _link(fd, _LOOPBACK, "xdp", 2)  # XDP_FLAGS_SKB_MODE


def _tcx() -> None:
    with program("sched_cls", "tcx_ingress", value=-1) as fd:
        _link(fd, _LOOPBACK, "tcx_ingress")


def _tc() -> None:
    hook = struct.pack("=QiiIxxxxQ", 32, _LOOPBACK, 1, 0, 0)[:32]  # struct bpf_tc_hook, BPF_TC_INGRESS
    with program("sched_cls") as fd, capture():
        hook_at, keep = syscall.buffer_address(hook)
        options_at, keep_too = syscall.buffer_address(struct.pack("=QiIIII4x", 32, fd, 0, 0, 0, 0))
        code = library().bpf_tc_hook_create(hook_at) or library().bpf_tc_attach(hook_at, options_at)
        del keep, keep_too
        if code:
            raise OSError(-code, os.strerror(-code))


def _netfilter() -> None:
    with any_program("netfilter") as fd:
        _link(fd, 0, "netfilter", 0, struct.pack("=IIiI", 2, 0, -100, 0))  # NFPROTO_IPV4, NF_INET_PRE_ROUTING


def _netns(kind: str, attach: str, value: int) -> Callable[[], None]:
    def trial() -> None:
        with (
            Path("/proc/thread-self/ns/net").open("rb") as namespace,
            program(kind, attach, value=value) as fd,
        ):
            _link(fd, namespace.fileno(), attach)

    return trial


def _socket() -> None:
    with program("socket_filter") as fd, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, 50, fd)  # SO_ATTACH_BPF


def _cgroup() -> None:
    try:
        path = cgroup_root() / f"bpfnb-trial-{os.getpid()}-{threading.get_native_id()}"
        path.mkdir()
    except (OSError, BpfnbError) as error:
        raise UntriedError(f"no cgroup can be made ({error})") from None
    try:
        folder = os.open(path, os.O_RDONLY)
        try:
            with program("cgroup_skb", "cgroup_inet_ingress", value=1) as fd:
                _link(fd, folder, "cgroup_inet_ingress")
        finally:
            os.close(folder)
    finally:
        path.rmdir()


def _struct_ops() -> None:
    """Registering needs a whole congestion control; that its programs and its map are accepted is tried."""
    try_program("struct_ops")
    try_map("struct_ops")


ATTACH: dict[str, Callable[[], None]] = {
    "tracepoint": _tracepoint,
    "raw_tp": _raw_tp,
    "tp_btf": _tp_btf,
    "kprobe": _kprobe(0),
    "kretprobe": _kprobe(1),
    "kprobe.multi": _kprobe_multi,
    "fentry": _trampoline("bpf_fentry_test1", "trace_fentry"),
    "fexit": _trampoline("bpf_fentry_test1", "trace_fexit"),
    "fmod_ret": _trampoline("bpf_modify_return_test", "modify_return"),
    "lsm": _lsm,
    "uprobe": _uprobe(0),
    "uretprobe": _uprobe(1),
    "uprobe.multi": _uprobe_multi("trace_uprobe_multi"),
    "uprobe.session": _uprobe_multi("trace_uprobe_session"),
    "usdt": _usdt,
    "perf_event software": _event(_SOFTWARE, 0),
    "perf_event hardware": _event(_HARDWARE, 0),
    "xdp": _in_namespace(_xdp),
    "tc": _in_namespace(_tc),
    "tcx": _in_namespace(_tcx),
    "netfilter": _in_namespace(_netfilter),
    "flow_dissector": _in_namespace(_netns("flow_dissector", "flow_dissector", 0)),
    "sk_lookup": _in_namespace(_netns("sk_lookup", "sk_lookup", 1)),
    "socket": _socket,
    "cgroup": _cgroup,
    "iter": _iter,
    "struct_ops": _struct_ops,
    "run statistics": statistics,
    "map batches": batch,
    "BTF declaration tags": decl_tags,
}
"""What is tried beside program and map types: attach kinds by their section prefix, and three abilities."""
