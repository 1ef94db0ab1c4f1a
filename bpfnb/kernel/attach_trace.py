"""Attachment to the kernel itself: tracepoints, kprobes, BTF-typed functions, iterators and struct_ops."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Any

from bpfnb.btf import Btf
from bpfnb.kernel import syscall
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.libbpf import library, options
from bpfnb.kernel.links import Link, fd_link, group, libbpf_link
from bpfnb.kernel.names import attach_type
from bpfnb.kernel.system import meant, mount_tracefs, path

__all__ = [
    "by_name",
    "iterator",
    "iterator_link",
    "kprobe",
    "raw_tracepoint",
    "struct_ops",
    "tracepoint",
    "tracing",
]

_CGROUP_ORDERS = ("unspecified", "self", "descendants_pre", "descendants_post", "ancestors_up")


def tracepoint(program: Program) -> Link:
    """``tracepoint/CATEGORY/NAME`` or the option ``tracepoint="category:name"``. Linux 4.7."""
    given = str(program.get("tracepoint", program.target)).replace("/", ":")
    category, _, name = given.partition(":")
    if not name:
        raise program.needs("tracepoint", 'tracepoint="sched:sched_switch"')
    tracefs = mount_tracefs()
    opts = options((ctypes.c_uint64, program.get("cookie", 0)))
    try:
        return program.link(
            "bpf_program__attach_tracepoint_opts", category.encode(), name.encode(), ctypes.byref(opts)
        )
    except OSError as error:
        if not (tracefs / "events" / category / name).is_dir():
            known = (tracefs / "available_events").read_text().split()
            raise program.unknown("tracepoint", f"{category}:{name}", known) from None
        hints = []
        if error.errno == errno.EEXIST:
            hints = ["this program is attached there already"]
        elif error.errno == errno.EINVAL:
            hints = [f"the program reads beyond the fields of {category}:{name}, or another context type"]
        raise program.refused(error, f"tracepoint {category}:{name}", hints) from None


def raw_tracepoint(program: Program) -> Link:
    """``raw_tp/NAME`` or ``tracepoint="name"``. Linux 4.17."""
    name = str(program.get("tracepoint", program.target)).rpartition(":")[2]
    if not name:
        raise program.needs("tracepoint", 'tracepoint="sched_switch"')
    try:
        return program.link("bpf_program__attach_raw_tracepoint", name.encode())
    except OSError as error:
        known = [
            n.removeprefix("btf_trace_") for n in Btf.kernel().names("typedef") if n.startswith("btf_trace_")
        ]
        if name not in known:
            raise program.unknown("tracepoint", name, known) from None
        raise program.refused(error, f"tracepoint {name}") from None


def tracing(program: Program) -> Link:
    """tp_btf, fentry, fexit, fmod_ret, lsm: their target was settled when they were loaded. Linux 5.5."""
    feature = program.section.split("/")[0]
    try:
        if program.info.kind == "tracing":
            opts = options((ctypes.c_uint64, program.get("cookie", 0)))
            return program.link("bpf_program__attach_trace_opts", ctypes.byref(opts))
        return program.link("bpf_program__attach")
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, syscall.ENOTSUPP, errno.EPERM):
            raise program.lacks(feature, error.errno) from None
        raise program.refused(error, f"{feature} {program.target}") from None


def kprobe(program: Program) -> Link:
    """kprobe, kretprobe, ksyscall, kprobe.multi: a kernel function's entry or return, where the kernel has kprobes."""
    kind, _, target = program.section.partition("/")
    symbol = str(program.get("symbol", target))
    if not symbol:
        raise program.needs("symbol", 'symbol="do_unlinkat"')
    ret = bool(program.get("retprobe", kind.startswith("kret")))
    cookie, size = (ctypes.c_uint64, program.get("cookie", 0)), ctypes.c_size_t
    try:
        if kind.endswith((".multi", ".session")):
            return program.link("bpf_program__attach")
        if "syscall" in kind:
            opts = options(cookie, (ctypes.c_bool, ret))
            return program.link("bpf_program__attach_ksyscall", symbol.encode(), ctypes.byref(opts))
        name, _, plus = symbol.partition("+")
        offset = int(program.get("offset", int(plus, 0) if plus else 0))
        opts = options(cookie, (size, offset), (ctypes.c_bool, ret))
        return program.link("bpf_program__attach_kprobe_opts", name.encode(), ctypes.byref(opts))
    except OSError as error:
        multi = kind.endswith((".multi", ".session"))
        if (multi and error.errno in (errno.EOPNOTSUPP, errno.EINVAL)) or (not multi and not _has_kprobes()):
            raise program.lacks(kind, error.errno or 0) from None
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
            known = Btf.kernel().names("func")
            name = symbol.partition("+")[0]
            if name not in known:
                raise program.unknown("kernel function", name, known) from None
        raise program.refused(error, f"{kind} {symbol}") from None


def _has_kprobes() -> bool:
    if path("/sys/bus/event_source/devices/kprobe").exists():
        return True
    return any(
        path(f"{p}/kprobe_events").exists() for p in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
    )


def by_name(program: Program) -> Link:
    """Whatever else libbpf can attach from the section's name."""
    try:
        return program.link("bpf_program__attach")
    except OSError as error:
        hints = ["call it with test_run()"] if program.info.kind == "syscall" else []
        raise program.refused(error, "", hints) from None


def iterator(program: Program) -> Link:
    return iterator_link(program)


def iterator_link(program: Program) -> Link:
    """A link of an iterator, whose reading runs it: over a ``map``, the tasks of a ``pid`` or one ``tid``, or a
    ``cgroup`` in an ``order``. Linux 5.8; pid and cgroup 6.1.
    """
    info = b""
    cgroup = -1
    target = program.target
    if program.get("map") is not None:
        info = struct.pack("=I", program.map_fd(program.get("map")))
    elif program.get("tid") is not None or program.get("pid") is not None:
        info = struct.pack(
            "=III", program.get("tid", 0), program.get("pid", 0) if not program.get("tid") else 0, 0
        )
    elif program.get("cgroup") is not None or target == "cgroup":
        order = str(program.get("order", "descendants_pre"))
        if order not in _CGROUP_ORDERS:
            raise program.fail(
                f"order '{order}' is unknown", errno.EINVAL, [f"one of: {', '.join(_CGROUP_ORDERS[1:])}"]
            )
        cgroup = program.cgroup_fd()
        info = struct.pack("=IIQ", _CGROUP_ORDERS.index(order), cgroup, 0)
    elif target in ("bpf_map_elem", "bpf_sk_storage_map", "sockmap"):
        raise program.needs("map", 'map="counts"')
    extra = struct.pack("=QI4x", 0, 16 if info else 0)
    pointers = [(0, info.ljust(16, b"\0"))] if info else []
    try:
        return fd_link(syscall.link_create(program.fd, 0, attach_type("trace_iter"), 0, extra, pointers))
    except OSError as error:
        raise program.refused(error, f"iterator {target}") from None
    finally:
        if cgroup >= 0:
            syscall.close(cgroup)


def struct_ops(program: Program) -> Link:
    """Register the object's struct_ops maps, all of them or the one named by ``map=``.

    A BPF link holds each (Linux 6.4), so the registration ends with the process; before, only a close ends it.
    """
    wanted: Any = program.get("map")
    names = [wanted] if wanted else [name for name, info in program.maps.items() if info.kind == "struct_ops"]
    links: list[Link] = []
    try:
        for name in names:
            links.append(_register(program, name))
    except BaseException:
        group(links).close()
        raise
    return group(links)


def _register(program: Program, name: str) -> Link:
    if meant() is not None:
        raise program.fail("struct_ops is not offered in virtual machines", errno.EOPNOTSUPP)
    lib = library()
    pointer = lib.bpf_map__attach_struct_ops(program.map_pointers[name])
    if not pointer:
        code = ctypes.get_errno()
        raise program.refused(OSError(code, ""), f"struct_ops map '{name}'")
    info = program.maps[name]
    if not info.flags & (1 << 13) or lib.bpf_link__fd(pointer) != info.fd:
        return libbpf_link(pointer)
    # An older libbpf has filled the map, and knows nothing of the link that then registers it.
    lib.bpf_link__disconnect(pointer)
    lib.bpf_link__destroy(pointer)
    try:
        return fd_link(syscall.link_create(info.fd, 0, attach_type("struct_ops")))
    except OSError as error:
        hints = ["a struct_ops of that name is registered already"] if error.errno == errno.EEXIST else []
        raise program.refused(error, f"struct_ops map '{name}'", hints) from None
