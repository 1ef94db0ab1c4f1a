"""Disposable kernels: how soon the first result is there, what a guest costs in memory, and its ring buffers' throughput.

The peer is virtme-ng with the same kernel, as its users start it without KVM, with what makes it faster here: 9p at once
(``--force-9p``; else it waits for a virtiofsd that may not come), one processor, nothing printed while it boots. Both
load one and the same iterator over tasks and show what it lists. Ours starts in a Python that has loaded a cell for this
kernel before, as a notebook's has after its first, and compiles the cell, which is a new one; for the peer it was
compiled before, and the distribution's bpftool loads it.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import bpfnb
import bpfnb.vm
from bench.report import line, note
from bpfnb.compile.cache import cache_dir
from bpfnb.vm import apt

__all__ = ["vm"]

KERNEL = "6.12"
COLD_ROUNDS, WARM_ROUNDS, PEER_ROUNDS = 3, 7, 3
FURTHER = 3  # guests beside the first

CELL = """
SEC("iter/task") int list(struct bpf_iter__task *ctx)
{{
    struct task_struct *task = ctx->task;
    if (task)
        BPF_SEQ_PRINTF(ctx->meta->seq, "%d %s {mark}\\n", task->pid, task->comm);
    return 0;
}}
"""

PEER_OPTIONS = ("--disable-kvm", "--force-9p", "--cpus", "1")
# Finds the port that virtme-ng connects with its own output, without the names that udev would give it.
PEER_SCRIPT = """#!/bin/sh
port=$(grep -lx virtme.dev_stdout /sys/class/virtio-ports/*/name)
port=${{port%/name}}
exec >/dev/${{port##*/}} 2>&1
bpftool iter pin {cell} /sys/fs/bpf/list && cat /sys/fs/bpf/list && echo listed
sleep 60
"""

RING_BYTES = 1 << 22
RING = """
struct event {{ u64 number; u8 more[{more}]; }};
struct {{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, {ring}); __type(value, struct event); }}
    events SEC(".maps");
u64 tried = 0, ns = 0;
static long emit(u32 i, void *ctx)
{{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    tried++;
    if (!e)
        return 0;
    e->number = tried;
    bpf_ringbuf_submit(e, 0);
    return 0;
}}
SEC("tp/syscalls/sys_enter_write") int go(void *ctx)
{{
    u64 began = bpf_ktime_get_ns();
    if (bpf_get_current_pid_tgid() >> 32 == 1)
        return 0;
    bpf_loop({burst}, emit, 0, 0);
    ns += bpf_ktime_get_ns() - began;
    return 0;
}}
"""
# Bytes of a record, records a system call, system calls: the first about as fast as the guest can, the second faster
# than what can be taken from it.
LOADS = ((256, 8, 150_000), (4096, 1, 100_000))


def vm() -> None:
    """Start to first result, memory, throughput."""
    _first_result(512)  # the kernel is fetched, its types are read, a template is there
    _starts()
    _memory()
    _throughput()


def _starts() -> None:
    cold = statistics.median(_cold() for _ in range(COLD_ROUNDS))
    warm = statistics.median(_first_result(512) for _ in range(WARM_ROUNDS))
    peer, megabytes = _virtme()
    if not peer:
        note(f"start to first result: cold {cold:.2f} s, from a snapshot {warm:.2f} s; no virtme-ng here")
        return
    theirs = f"virtme-ng {peer:.1f} s"
    line("start to first result, cold", f"{cold:.2f} s", theirs, peer / cold, 3)
    line("start to first result, from a snapshot", f"{warm:.2f} s", theirs, peer / warm, 15)
    note(f"virtme-ng's qemu then takes {megabytes:.0f} MB, of 1 GB that it gives its guest")


def _first_result(memory: int) -> float:
    began = time.perf_counter()
    with bpfnb.vm.start(KERNEL, memory=memory) as guest:
        text = CELL.format(mark=time.monotonic_ns())  # never compiled before
        with guest.load(text, name="bench_first", attach=False) as cell:
            listed = cell.loaded.run_iter("list").decode().splitlines()
            spent = time.perf_counter() - began
            if not any(row.startswith("1 init ") for row in listed):
                raise SystemExit("bench: the guest did not list its first process")
            return spent


def _cold() -> float:
    """As long as there is no template: here none for this much memory."""
    templates = cache_dir() / "vm" / "templates"
    before = set(templates.iterdir())
    try:
        return _first_result(511)
    finally:
        for made in set(templates.iterdir()) - before:
            shutil.rmtree(made) if made.is_dir() else made.unlink()


# virtme-ng


def _virtme() -> tuple[float, float]:
    """Seconds until its guest has shown the list, and megabytes of its qemu then; 0 where it cannot be had."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"])
    needed = ("vng", "qemu-system-x86_64", "busybox", "depmod", "modprobe", "bpftool")
    if missing := [name for name in needed if not shutil.which(name, path=path)]:
        note(f"virtme-ng needs {', '.join(missing)}")
        return 0.0, 0.0
    kernel = bpfnb.vm.kernels.find(KERNEL)
    image = apt.unpacked(f"linux-image-{kernel.release}") / "boot" / f"vmlinuz-{kernel.release}"
    with tempfile.TemporaryDirectory(dir=cache_dir()) as name:  # its guest has a /tmp of its own
        folder = Path(name)
        (folder / "cell.o").write_bytes(_compiled())
        (folder / "script").write_text(PEER_SCRIPT.format(cell=shlex.quote(str(folder / "cell.o"))))
        (folder / "script").chmod(0o755)
        command = ["vng", *PEER_OPTIONS, "--run", str(image), "--", str(folder / "script")]
        rounds = [_listed(command, path) for _ in range(PEER_ROUNDS)]
    return statistics.median(seconds for seconds, _ in rounds), statistics.median(size for _, size in rounds)


def _compiled() -> bytes:
    with (
        bpfnb.vm.start(KERNEL) as guest,
        guest.load(CELL.format(mark=0), name="bench_peer", attach=False) as cell,
    ):
        return cell.elf.data


def _listed(command: list[str], path: str) -> tuple[float, float]:
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PATH": path},
    )
    try:
        assert process.stdout is not None
        said = list(_until(process.stdout, "listed"))
        seconds = time.perf_counter() - began
        if not any(row.endswith(" 0\n") and row.startswith("1 ") for row in said):
            raise SystemExit(f"bench: virtme-ng's guest did not list its first process: {''.join(said)}")
        return seconds, sum(_pss(pid) for pid in _below(process.pid) if _is_qemu(pid)) / 1e6
    finally:
        for pid in (*_below(process.pid), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()


def _until(lines: Iterator[str], last: str) -> Iterator[str]:
    for row in lines:
        yield row
        if row.strip() == last:
            return


# Memory


def _memory() -> None:
    """What is proportionally each qemu's, which holds the template's pages that it maps, and these pages once."""
    with contextlib.ExitStack() as stack:
        totals = []
        for _ in range(1 + FURTHER):
            guest = stack.enter_context(bpfnb.vm.start(KERNEL, name=f"bench-{len(totals)}"))
            stack.enter_context(guest.load(CELL.format(mark=0), name=f"bench_{len(totals)}", attach=False))
            totals.append(sum(_pss(pid) for pid in _below(os.getpid()) if _is_qemu(pid)))
        template = max(
            (cache_dir() / "vm" / "templates").glob(f"{guest.kernel.release}-*/ram"), key=os.path.getmtime
        )
        cached = _cached(template)
    note(
        f"memory of one guest {totals[0] / 1e6:.0f} MB, of each further one {(totals[-1] - totals[0]) / FURTHER / 1e6:.0f} MB; "
        f"page cache of the template {cached / 1e6:.0f} MB, once for all (in these figures as far as guests map it)"
    )


def _below(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [found for child in children for found in (child, *_below(child))]


def _is_qemu(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "qemu-system" in Path(f"/proc/{pid}/exe").readlink().name
    return False


def _pss(pid: int) -> int:
    """Bytes; of pages that are shared its share."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) << 10


def _cached(path: Path) -> int:
    """Bytes of the file that are in the page cache (mincore(2))."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as area:
        held = (ctypes.c_ubyte * (len(area) // mmap.PAGESIZE))()
        first = ctypes.c_ubyte.from_buffer(area)
        ctypes.CDLL(None).mincore(ctypes.byref(first), ctypes.c_size_t(len(area)), held)
        del first  # else the area could not be closed
        return sum(page & 1 for page in held) * mmap.PAGESIZE


# Throughput


def _throughput() -> None:
    with bpfnb.vm.start(KERNEL) as guest:
        for size, burst, calls in LOADS:
            _stream(guest, size, burst, calls)


def _stream(guest: bpfnb.vm.Vm, size: int, burst: int, calls: int) -> None:
    """A command makes system calls, the program a few records in each, until all are in the frame."""
    text = RING.format(more=size - 8, ring=RING_BYTES, burst=burst)
    with guest.load(text, name="bench_stream", watchdog=None) as obj:
        stream = obj.events
        stream.limit(nbytes=64 << 20)
        began = time.perf_counter()
        guest.run(f"dd if=/dev/zero of=/dev/null bs=1 count={calls}", check=True)
        obj.stop()
        spent = time.perf_counter() - began
        tried, produced = obj.vars.tried, obj.vars.tried * size / obj.vars.ns * 1e3
        if stream.total + stream.lost != tried or tried < calls * burst:
            raise SystemExit(f"bench: {stream.total} records came and {stream.lost} were lost of {tried}")
        numbers = stream.frame().number
        if not numbers.is_monotonic_increasing or numbers.iloc[-1] > tried:
            raise SystemExit("bench: records came in another order")
        speed = stream.total * size / 1e6 / spent
    line(
        f"guest's ring buffer to frame, {size:,}-byte records",
        f"{speed:.0f} MB/s, {stream.lost / tried:.0%} lost and counted",
        f"tried {tried * size / 1e6 / spent:.0f} MB/s; the program alone {produced:,.0f} MB/s",
        speed,
        50,
    )
