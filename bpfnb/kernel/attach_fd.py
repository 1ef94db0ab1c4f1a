"""libbpf's ``bpf_program__attach*`` functions for programs that libbpf did not load, by their descriptors.

The ways of attaching call libbpf's functions by name (:meth:`bpfnb.kernel.attach_common.Program.link`); for a program
that has no ``struct bpf_program`` the function of that name here does the same with the same system calls, and fails
with the same errno. All that they make are BPF links (perf events: Linux 5.15, before perf descriptors), which end
with the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import fnmatch
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfnb.btf import Btf
from bpfnb.kernel import syscall
from bpfnb.kernel.binaries import Binary, alike
from bpfnb.kernel.links import Link, fd_link, group
from bpfnb.kernel.names import attach_type
from bpfnb.kernel.system import mount_tracefs, syscall_function

if TYPE_CHECKING:
    from bpfnb.kernel.attach_common import Program

__all__ = ["link"]

_PMU = Path("/sys/bus/event_source/devices")
_TRACEPOINT = 2  # PERF_TYPE_TRACEPOINT
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408
_MULTI_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN
_SEMAPHORE = 32  # where in a uprobe's config the semaphore's offset begins


def link(program: Program, function: str, *arguments: Any) -> Link:
    """The link that libbpf's *function* would make with these *arguments*. Raises OSError with its errno.

    *arguments* are those that libbpf's function takes after the program; options come as ``byref`` of a structure of
    :func:`bpfnb.kernel.libbpf.options`.
    """
    plain = [getattr(one, "_obj", one) for one in arguments]
    return _FUNCTIONS[function](program, *plain)


def _perf(program: Program, fd: int, cookie: int) -> Link:
    """The program on a perf event, whose descriptor passes over to the link; it stays the caller's on failure."""
    try:
        made = syscall.link_create(program.fd, fd, attach_type("perf_event"), 0, struct.pack("=Q", cookie))
    except OSError as error:
        if error.errno != errno.EINVAL or cookie:
            raise
        fcntl.ioctl(fd, _IOC_SET_BPF, program.fd)  # Linux before 5.15; else it says EINVAL again
        made = -1
    try:
        fcntl.ioctl(fd, _IOC_ENABLE, 0)
    except OSError:
        if made >= 0:
            os.close(made)
        raise
    if made < 0:
        return fd_link(fd)
    os.close(fd)  # the link holds the event
    return fd_link(made)


def _event(program: Program, attr: bytes, pid: int, cookie: int) -> Link:
    """The program on a new perf event of all processes, or of one."""
    fd = syscall.perf_event_open(attr, pid, 0 if pid == -1 else -1)
    try:
        return _perf(program, fd, cookie)
    except BaseException:
        os.close(fd)
        raise


def _attr(kind: int, config: int, config1: int = 0, config2: int = 0) -> bytes:
    """A ``struct perf_event_attr``: two words and then u64s, of which most are zero here."""
    return struct.pack("=IIQQQQQQQQ", kind, 112, config, 0, 0, 0, 0, 0, config1, config2).ljust(112, b"\0")


def _probe(
    program: Program, pmu: str, name: bytes, offset: int, *, ret: bool, pid: int, semaphore: int, cookie: int
) -> Link:
    """A kprobe or uprobe: the PMUs of those names take the function's or file's name and an offset (Linux 4.17)."""
    if semaphore >> _SEMAPHORE:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    kind = int((_PMU / pmu / "type").read_text())
    bit = int((_PMU / pmu / "format/retprobe").read_text().partition(":")[2]) if ret else 0
    address, keep = syscall.buffer_address(name + b"\0")
    config = (int(ret) << bit) | (semaphore << _SEMAPHORE)
    try:
        return _event(program, _attr(kind, config, address, offset), max(pid, -1), cookie)
    finally:
        del keep


def _tracepoint(program: Program, category: bytes, name: bytes, opts: Any) -> Link:
    path = mount_tracefs() / "events" / os.fsdecode(category) / os.fsdecode(name) / "id"
    return _event(program, _attr(_TRACEPOINT, int(path.read_text())), -1, opts.f0)


def _perf_event(program: Program, fd: int, opts: Any) -> Link:
    return _perf(program, fd, opts.f0)


def _raw_tracepoint(program: Program, name: bytes) -> Link:
    return fd_link(syscall.raw_tracepoint_open(program.fd, name))


def _trace(program: Program, opts: Any = None) -> Link:
    """fentry, fexit, fmod_ret and lsm know their function since they were loaded; a cookie came with Linux 5.18."""
    if opts is None or not opts.f0:
        return fd_link(syscall.raw_tracepoint_open(program.fd, None))
    extra = struct.pack("=I4xQ", 0, opts.f0)
    return fd_link(syscall.link_create(program.fd, 0, program.attach_type, 0, extra))


def _kprobe(program: Program, name: bytes, opts: Any) -> Link:
    return _probe(program, "kprobe", name, opts.f1, ret=opts.f2, pid=-1, semaphore=0, cookie=opts.f0)


def _ksyscall(program: Program, name: bytes, opts: Any) -> Link:
    wrapped = syscall_function(name.decode()).encode()
    return _probe(program, "kprobe", wrapped, 0, ret=opts.f1, pid=-1, semaphore=0, cookie=opts.f0)


def _kprobe_multi(program: Program) -> Link:
    """All kernel functions that can be traced and match the section's pattern (Linux 5.18)."""
    try:
        listed = (mount_tracefs() / "available_filter_functions").read_text().splitlines()
        known = {line.split()[0] for line in listed}
    except OSError:  # lockdown may forbid to read it
        known = set(Btf.kernel().names("func"))
    names = sorted(fnmatch.filter(known, program.target))
    if not names:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    symbols = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
    flags = _MULTI_RETURN if program.section.startswith("kret") else 0
    extra = struct.pack("=IIQQQ", flags, len(names), ctypes.addressof(symbols), 0, 0)
    return fd_link(syscall.link_create(program.fd, 0, program.attach_type, 0, extra))


def _uprobe(program: Program, pid: int, path: bytes, offset: int, opts: Any) -> Link:
    return _probe(program, "uprobe", path, offset, ret=opts.f2, pid=pid, semaphore=opts.f0, cookie=opts.f1)


def _usdt(program: Program, pid: int, path: bytes, provider: bytes, name: bytes, opts: Any) -> Link:
    """A uprobe at each place of the probe. The kernel counts its semaphore up in each process that maps the file.

    Where the places keep the arguments differently, the cookie is the place's number among them.
    """
    sites = Binary(Path(os.fsdecode(path))).sites(provider.decode(), name.decode())
    if not sites:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    same = alike(sites)
    if opts.f0 and not same:
        raise program.fail(
            "it can have no cookie, which tells the places of this probe apart: they keep its arguments differently",
            errno.EOPNOTSUPP,
        )
    links: list[Link] = []
    try:
        for number, site in enumerate(sites):
            links.append(
                _probe(
                    program,
                    "uprobe",
                    path,
                    site.offset,
                    ret=False,
                    pid=pid,
                    semaphore=site.semaphore,
                    cookie=opts.f0 if same else number,
                )
            )
    except BaseException:
        group(links).close()
        raise
    return links[0] if len(links) == 1 else group(links)


def _by_type(program: Program) -> Link:
    """``bpf_program__attach``, for the sections whose families have no more particular way."""
    if program.info.kind in ("tracing", "lsm"):
        return _trace(program)
    if program.info.attach_type in ("trace_kprobe_multi", "trace_kprobe_session"):
        return _kprobe_multi(program)
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


_FUNCTIONS: dict[str, Callable[..., Link]] = {
    "bpf_program__attach": _by_type,
    "bpf_program__attach_kprobe_opts": _kprobe,
    "bpf_program__attach_ksyscall": _ksyscall,
    "bpf_program__attach_perf_event_opts": _perf_event,
    "bpf_program__attach_raw_tracepoint": _raw_tracepoint,
    "bpf_program__attach_trace_opts": _trace,
    "bpf_program__attach_tracepoint_opts": _tracepoint,
    "bpf_program__attach_uprobe_opts": _uprobe,
    "bpf_program__attach_usdt": _usdt,
}
