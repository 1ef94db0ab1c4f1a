"""Snapshots: a guest that has booted once, from which later ones resume in a fraction of a second.

A template is a file with the guest's memory and small ones with the rest of the machine and with the rate of its clock.
Its clones map the memory privately, so they share what they do not change. It is made again when qemu, the kernel, the
agent or an option changes, and on a machine whose clock has another rate; the oldest go when there are many.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bpfnb.compile.cache import cache_dir, identity
from bpfnb.vm.channel import GuestGone
from bpfnb.vm.clock import same_rate, tsc_khz
from bpfnb.vm.initramfs import initramfs
from bpfnb.vm.kernels import Kernel
from bpfnb.vm.process import BOOT_SECONDS, COMMAND_LINE, Limits, Machine, machine_options
from bpfnb.vm.qemu import accelerator, distrust_kvm, emulator

__all__ = ["started"]

_KEPT = 8
_KVM_SECONDS = 20.0  # in which a kernel boots with KVM, where it does: one tenth of that is usual


def started(kernel: Kernel, *, memory: int, limits: Limits, shares: Sequence[Path] = ()) -> Machine:
    """A machine whose agent answers, resumed from its template, which is made where it is missing.

    *shares* are the folders behind its 9p devices, which its kernel has not looked at yet.

    Raises GuestGone where the kernel does not boot.
    """
    accel = accelerator()
    options: dict[str, Any] = {"memory": memory, "limits": limits, "shares": shares}
    if accel == "tcg" or os.environ.get("BPFNB_VM_ACCEL"):
        return _started(kernel, accel, BOOT_SECONDS, options)
    with contextlib.suppress(GuestGone):
        return _started(kernel, accel, _KVM_SECONDS, options)
    machine = _started(kernel, "tcg", BOOT_SECONDS, options)
    distrust_kvm()  # not where the kernel itself is what does not boot
    return machine


def _started(kernel: Kernel, accel: str, seconds: float, options: dict[str, Any]) -> Machine:
    initrd = initramfs(kernel, shares=bool(options["shares"]))
    folder = _folder(kernel, initrd, options["memory"], accel, len(options["shares"]))
    options = options | {"accel": accel}
    with _held(folder):
        if _of_this_machine(folder):
            os.utime(folder)
            with contextlib.suppress(GuestGone):
                return _resumed(folder, kernel, initrd, seconds, options)
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or another machine's: once more
        return _booted(folder, kernel, initrd, seconds, options)


def _folder(kernel: Kernel, initrd: Path, memory: int, accel: str, shares: int) -> Path:
    parts = [emulator().identity, identity(kernel.vmlinux), initrd.name, COMMAND_LINE]
    parts += machine_options(accel, memory, shares)
    if accel == "kvm":
        parts.append(_processor(Path("/proc/cpuinfo").read_text()))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    return cache_dir() / "vm" / "templates" / f"{kernel.release}-{key}"


def _processor(text: str) -> str:
    """What *text*, that of /proc/cpuinfo, says of the first processor; not at how many MHz it runs at the moment."""
    first = text.partition("\n\n")[0]
    return "\n".join(line for line in first.split("\n") if not line.startswith("cpu MHz"))


def _of_this_machine(folder: Path) -> bool:
    """Whether a complete template is there, whose guest was told the rate of this machine's clock: its kernel would
    measure all times by another's.
    """
    try:
        return (folder / "state").exists() and same_rate(int((folder / "khz").read_text()))
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """One process at a time makes or resumes this template."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _resumed(folder: Path, kernel: Kernel, initrd: Path, seconds: float, options: dict[str, Any]) -> Machine:
    machine = Machine(kernel.vmlinux, initrd, ram=folder / "ram", incoming=True, **options)
    try:
        machine.restore(folder / "state")
        machine.channel.wait_ready(seconds)
    except BaseException:
        machine.stop()
        raise
    return machine


def _booted(folder: Path, kernel: Kernel, initrd: Path, seconds: float, options: dict[str, Any]) -> Machine:
    """Boot, and keep what the machine was when its agent first answered. It goes on from there itself.

    Its memory is no file's while it boots: a file system takes note of every page that is first written to.
    """
    _forget_old(folder.parent)
    size = options["memory"] << 20
    memory = os.memfd_create("bpfnb-vm", os.MFD_CLOEXEC)
    try:
        os.ftruncate(memory, size)
        # Its own descriptor: those of a python with capabilities of its file are root's in /proc.
        ram = Path(f"/proc/self/fd/{memory}")
        machine = Machine(kernel.vmlinux, initrd, ram=ram, ram_fd=memory, template=True, **options)
        try:
            machine.channel.wait_ready(seconds)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
                machine.save(Path(scratch) / "state")
                _copy(memory, size, Path(scratch) / "ram")
                (Path(scratch) / "khz").write_text(str(tsc_khz()))
                folder.mkdir(mode=0o700, exist_ok=True)
                for name in ("ram", "khz", "state"):  # the state last: with it the template is complete
                    (Path(scratch) / name).replace(folder / name)
            machine.monitor("cont")
        except BaseException:
            machine.stop()
            raise
    finally:
        os.close(memory)
    return machine


def _copy(memory: int, size: int, target: Path) -> None:
    """The pages that were ever used; the rest stays a hole."""
    with target.open("wb") as file:
        file.truncate(size)
        end = 0
        while True:
            try:
                at = os.lseek(memory, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no page follows
                    return
                raise
            end = os.lseek(memory, at, os.SEEK_HOLE)
            file.seek(at)
            while at < end:
                at += os.sendfile(file.fileno(), memory, at, end - at)


def _forget_old(folder: Path) -> None:
    with contextlib.suppress(OSError):
        made = sorted(
            (path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
        )
        for old in made[: -(_KEPT - 1)]:
            shutil.rmtree(old, ignore_errors=True)
