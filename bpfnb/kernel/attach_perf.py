"""Attachment to perf events: a program that runs at each sample of a software or hardware counter."""

# ruff: noqa: SIM905  words in a row read better than a list of quotes

from __future__ import annotations

import ctypes
import errno
import re
import struct

from bpfnb.errors import nearest
from bpfnb.kernel import syscall
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.libbpf import options
from bpfnb.kernel.links import Link, group
from bpfnb.kernel.system import online_cpus

__all__ = ["EVENTS", "perf_event"]

_HARDWARE, _SOFTWARE, _RAW = 0, 1, 4
_IS_FREQUENCY = 1 << 10

EVENTS: dict[str, tuple[int, int]] = {
    **{
        name: (_SOFTWARE, number)
        for number, name in enumerate(
            """cpu-clock task-clock page-faults context-switches cpu-migrations minor-faults major-faults
            alignment-faults emulation-faults dummy bpf-output cgroup-switches""".split()
        )
    },
    **{
        name: (_HARDWARE, number)
        for number, name in enumerate(
            """cycles instructions cache-references cache-misses branches branch-misses bus-cycles
            stalled-cycles-frontend stalled-cycles-backend ref-cycles""".split()
        )
    },
}
"""perf's names of events: (type, config) of ``struct perf_event_attr``."""

DEFAULT_FREQUENCY = 99
"""Samples a second and CPU of clock-like events; 99 rather than 100 does not march in step with timers."""


def _event(program: Program) -> tuple[str, int, int]:
    name = str(program.get("event", "cpu-clock"))
    if raw := re.fullmatch(r"r([0-9a-fA-F]+)", name):
        return name, _RAW, int(raw[1], 16)
    if name not in EVENTS:
        close = nearest(name, list(EVENTS))
        raise program.fail(
            f"there is no perf event '{name}'",
            errno.ENOENT,
            [
                f"the nearest that exists: {', '.join(close)}"
                if close
                else f"one of: {', '.join(EVENTS)}, or rNNN (raw)"
            ],
        )
    return name, *EVENTS[name]


def perf_event(program: Program) -> Link:
    """One event a CPU: ``event``, ``frequency`` (samples a second) or ``period`` (one sample each so many), ``pid``,
    ``cpu`` (a number or several). By default cpu-clock at 99 Hz on all CPUs and of all processes; events that count
    things rather than time have period 1. With ``pid`` and no ``cpu`` the event follows the process (Linux 4.9).
    """
    name, kind, config = _event(program)
    frequency, period = program.get("frequency"), program.get("period")
    if frequency is not None and period is not None:
        raise program.fail("'frequency' and 'period' exclude each other", errno.EINVAL)
    if frequency is None and period is None:
        clock_like = name.endswith("-clock") or kind != _SOFTWARE
        frequency, period = (DEFAULT_FREQUENCY, None) if clock_like else (None, 1)
    rate = int(frequency if frequency is not None else period)
    if rate <= 0:
        raise program.fail("'frequency' and 'period' must be positive", errno.EINVAL)
    pid, cpu = program.get("pid", -1), program.get("cpu")
    cpus = (
        [-1]
        if cpu is None and pid != -1
        else online_cpus()
        if cpu is None
        else [cpu]
        if isinstance(cpu, int)
        else cpu
    )
    flags = _IS_FREQUENCY if frequency is not None else 0
    # type, size, config, period or frequency, sample type, read format, flags; the rest is zero
    attr = struct.pack("=IIQQQQQ", kind, 112, config, rate, 0, 0, flags).ljust(112, b"\0")
    links: list[Link] = []
    try:
        for number in cpus:
            links.append(_attach(program, name, kind, attr, pid, number))
    except BaseException:
        group(links).close()
        raise
    return group(links)


def _attach(program: Program, name: str, kind: int, attr: bytes, pid: int, cpu: int) -> Link:
    try:
        fd = program.perf_event_open(attr, pid, cpu)
    except OSError as error:
        code = error.errno or 0
        if kind != _SOFTWARE and code in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
            raise program.lacks(f"hardware performance counters ('{name}')", code) from None
        hints = {
            errno.ESRCH: [f"there is no process {pid}"],
            errno.ENODEV: [f"CPU {cpu} is not online; online are {online_cpus()}"],
            errno.EINVAL: ["the frequency may exceed kernel.perf_event_max_sample_rate"],
        }
        raise program.refused(OSError(code, ""), f"perf event '{name}'", hints.get(code, [])) from None
    opts = options((ctypes.c_uint64, program.get("cookie", 0)))
    try:
        return program.link(
            "bpf_program__attach_perf_event_opts", fd, ctypes.byref(opts)
        )  # takes the descriptor
    except OSError as error:
        syscall.close(fd)
        raise program.refused(error, f"perf event '{name}'") from None
