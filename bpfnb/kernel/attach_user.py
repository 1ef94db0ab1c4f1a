"""Attachment to user space: uprobes, uretprobes, multi-uprobes and USDT probes."""

from __future__ import annotations

import ctypes
import errno
import re
import struct
from pathlib import Path

import numpy as np

from bpfnb.kernel import syscall
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.binaries import Binary, Site
from bpfnb.kernel.libbpf import options
from bpfnb.kernel.links import Link, fd_link
from bpfnb.kernel.system import path as system_path

__all__ = ["uprobe", "uprobe_multi", "usdt", "usdt_sites"]

_F_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN


def _binary(program: Program, default: str) -> Path:
    """The file to probe: ``binary=``, else the section's, else the program of ``pid=``."""
    pid = program.get("pid")
    name = str(program.get("binary", default))
    if not name:
        if not pid:
            raise program.needs("binary", 'binary="libc", symbol="malloc"')
        return Path(f"/proc/{pid}/exe")
    found = program.find_binary(name, pid)
    if found is None:
        raise program.fail(
            f"there is no program or library '{name}'",
            errno.ENOENT,
            ["give its path, or pid= of a process that has it mapped", *_library(program, name)],
        )
    return found


def _library(program: Program, name: str) -> list[str]:
    """Libraries are named without their "lib" in bcc's scripts and on linkers' command lines."""
    return [f"did you mean lib{name}?"] if "/" not in name and program.find_binary(f"lib{name}") else []


def _open(program: Program, path: Path) -> Binary:
    try:
        return Binary(program.readable(path))
    except (OSError, ValueError) as error:
        raise program.fail(
            f"cannot read '{path}': {error}", getattr(error, "errno", None) or errno.ENOEXEC
        ) from None


def _split(program: Program) -> tuple[str, str]:
    """(binary, function) of ``uprobe/BINARY:FUNCTION``; binary paths may hold colons, functions ``::`` of C++."""
    target = program.target
    if target.startswith("/") or ":" in target:
        binary, _, function = target.partition(":")
        return binary, function
    return target, ""


def uprobe(program: Program) -> Link:
    """One place in one file: ``symbol`` and/or ``offset`` (from the symbol, else from the file's start)."""
    binary, function = _split(program)
    plus = re.fullmatch(r"(.*)\+(0[xX][0-9a-fA-F]+|\d+)", function)
    path = _binary(program, binary)
    symbol = str(program.get("symbol", plus[1] if plus else function))
    offset = int(program.get("offset", int(plus[2], 0) if plus else 0))
    if symbol:
        file = _open(program, path)
        start = file.offset(symbol)
        if start is None:
            raise program.unknown("function", symbol, file.functions(), f" in {path}")
        offset += start
    elif not offset:
        raise program.needs("symbol", 'symbol="malloc"')
    ret = bool(program.get("retprobe", program.section.startswith("uretprobe")))
    size, u64 = ctypes.c_size_t, ctypes.c_uint64
    opts = options((size, 0), (u64, program.get("cookie", 0)), (ctypes.c_bool, ret), (ctypes.c_char_p, None))
    try:
        return program.link(
            "bpf_program__attach_uprobe_opts",
            program.get("pid", -1),
            str(path).encode(),
            offset,
            ctypes.byref(opts),
        )
    except OSError as error:
        raise _refused(program, error, f"{symbol or hex(offset)} in {path}") from None


def _refused(program: Program, error: OSError, where: str) -> Exception:
    if not system_path("/sys/bus/event_source/devices/uprobe").exists():
        return program.lacks("uprobes", error.errno or 0)
    hints = []
    if error.errno == errno.ESRCH:
        hints = ["that process has ended"]
    elif error.errno == errno.EINVAL:
        hints = ["the offset must be at the start of an instruction of the file's code"]
    return program.refused(error, where, hints)


def uprobe_multi(program: Program) -> Link:
    """All functions that match ``BINARY:PATTERN`` under one link (Linux 6.6; ``uprobe.session`` 6.13), or those at
    ``offsets`` of the file, each with its own of ``cookies``.
    """
    binary, pattern = _split(program)
    path = _binary(program, binary)
    offsets = np.array(program.get("offsets", ()), np.uint64)
    if not len(offsets):
        pattern = str(program.get("symbol", pattern))
        file = _open(program, path)
        places = file.matching(pattern)
        if not places:
            raise program.unknown("function", pattern, file.functions(), f" in {path}")
        offsets = np.unique(np.fromiter(places.values(), np.uint64, len(places)))
    cookies = np.full(len(offsets), program.get("cookie", 0), np.uint64)
    cookies[:] = program.get("cookies", cookies)
    session = "session" in program.section
    flags = (
        _F_RETURN if program.get("retprobe", program.section.startswith("uretprobe")) and not session else 0
    )
    pid = max(0, program.get("pid", 0))
    extra = struct.pack("=QQQQIII", 0, 0, 0, 0, len(offsets), flags, pid)
    pointers = [(0, str(path).encode() + b"\0"), (8, offsets.tobytes()), (24, cookies.tobytes())]
    try:
        return fd_link(
            syscall.link_create(program.fd, 0, program.attach_type, program.get("flags", 0), extra, pointers)
        )
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            raise program.lacks("multi-uprobes", error.errno) from None
        raise program.refused(error, f"{len(offsets)} functions of {path}") from None


def usdt_sites(program: Program) -> tuple[Path, str, str, list[Site]]:
    """The file, provider, name and places of the probe that a program's section and options mean."""
    binary, _, rest = program.target.partition(":")
    provider, _, name = rest.partition(":")
    provider, name = str(program.get("provider", provider)), str(program.get("probe", name))
    if not (provider and name):
        raise program.needs("provider", 'binary="python3", provider="python", probe="function__entry"')
    path = _binary(program, binary)
    file = _open(program, path)
    sites = file.sites(provider, name)
    if not sites:
        known = [f"{probe.provider}:{probe.name}" for probe in file.probes()]
        raise program.unknown("USDT probe", f"{provider}:{name}", known, f" in {path}")
    return path, provider, name, sites


def usdt(program: Program) -> Link:
    """A USDT probe: ``usdt/BINARY:PROVIDER:NAME``, or ``binary``, ``provider`` and ``probe``. Linux 4.20."""
    path, provider, name, _ = usdt_sites(program)
    opts = options((ctypes.c_uint64, program.get("cookie", 0)))
    try:
        return program.link(
            "bpf_program__attach_usdt",
            program.get("pid", -1),
            str(path).encode(),
            provider.encode(),
            name.encode(),
            ctypes.byref(opts),
        )
    except OSError as error:
        raise _refused(program, error, f"{provider}:{name} in {path}") from None
