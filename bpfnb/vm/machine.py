"""A disposable kernel for the user: started, told to do things, stopped."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from bpfnb.errors import BadValue, UnknownName
from bpfnb.vm import kernels
from bpfnb.vm.backend import GuestBackend
from bpfnb.vm.channel import Channel, Parts
from bpfnb.vm.command import NO_INPUT, PIPE, Command, shell, shown
from bpfnb.vm.folders import Folder, Given, given, mount, shares
from bpfnb.vm.process import Limits, Machine
from bpfnb.vm.qemu import emulator
from bpfnb.vm.remote import Buffer, Remote
from bpfnb.vm.system import GuestSystem
from bpfnb.vm.template import started

__all__ = ["Command", "Vm", "get", "machines", "meant", "start"]

machines: dict[str, Vm] = {}
"""The running guests of this process by name."""

_numbers = itertools.count(1)
_PIPE_BYTES = 1 << 15
_CLOCK_REALTIME, _RNDRESEEDCRNG = 0, 0x5207


def start(
    kernel: str | Path | None = None,
    *,
    name: str | None = None,
    folders: Given = (),
    memory: int = 512,
    hours: float = 12.0,
    cpu_hours: float | None = None,
) -> Vm:
    """Start a throwaway kernel under qemu; neither root nor KVM is needed.

    :param kernel: a version (``"6.12"``, ``"6.1"``, ``"newest"``) of Debian's, or a path of a vmlinux or bzImage.
        By default the newest that was fetched before, else 6.12.
    :param name: by which ``--on`` finds it; by default the kernel's version.
    :param folders: of this machine, which the guest may read and not write, at the same places there, or
        ``{folder: place in the guest}``. Nothing else of this machine is seen; the home folder cannot be given whole.
    :param memory: MiB; used as the guest touches it.
    :param hours: after which it is ended.
    :param cpu_hours: of the processor's time, after which it is ended; by default *hours*.
    :raises MissingDependency: where qemu or the kernel can neither be found nor fetched. UnknownName, BadValue.
    """
    shared = given(folders)
    limits = Limits(_seconds(hours), _seconds(hours if cpu_hours is None else cpu_hours))
    emulator()  # a kernel is not fetched in vain
    found = kernels.find(kernel)
    name = name or _free_name(".".join(map(str, found.version)))
    if name in machines:
        raise BadValue(f"a virtual machine '{name}' runs already", hints=[f"bpfnb.vm.get('{name}').stop()"])
    vm = Vm(name, found, started(found, memory=memory, limits=limits, shares=shares(shared)), shared)
    machines[name] = vm
    vm._channel.listed = True
    return vm


def get(name: str = "") -> Vm:
    """A running guest by name or by the beginning of its kernel's version; without either the only or newest one.

    Raises UnknownName.
    """
    if not name and machines:
        return list(machines.values())[-1]
    if name in machines:
        return machines[name]
    for vm in reversed(machines.values()):
        if kernels.matches(name, vm.kernel.release):
            return vm
    raise UnknownName(
        f"no virtual machine '{name}' runs" if name else "no virtual machine runs",
        hints=[
            *([f"running: {', '.join(machines)}"] if machines else []),
            f"start one: %bpf vm start {name if name[:1].isdigit() else '6.12'}",
        ],
    )


def meant(name: str) -> Vm:
    """What ``--on NAME`` means: a running guest, else one that is started, where its kernel need not be fetched first.

    Raises UnknownName.
    """
    with contextlib.suppress(UnknownName):
        return get(name)
    return get(name) if kernels.kept(name) is None else start(name)


def _seconds(hours: float) -> int:
    if not 0 < hours < 1e6:
        raise BadValue(f"a virtual machine cannot live for {hours} hours")
    return max(1, int(hours * 3600))


def _told(on_output: Callable[[bytes], None]) -> Callable[[int, bytes], bool]:
    def sink(kind: int, part: bytes) -> bool:
        if kind:
            on_output(part)
        return False

    return sink


def _free_name(base: str) -> str:
    return next(
        name for n in itertools.count(1) if (name := base if n == 1 else f"{base}-{n}") not in machines
    )


class Vm:
    """One guest. ``backend`` takes BPF objects: ``bpfnb.load(source, on=vm)``. A context manager that stops it.

    What it traces is the guest: its processes, its files, its network. Times in it are those of an emulated machine.
    """

    def __init__(
        self, name: str, kernel: kernels.Kernel, machine: Machine, folders: Sequence[Folder] = ()
    ) -> None:
        self.name = name
        self.kernel = kernel
        self.folders = {folder.place: folder.path for folder in folders}
        """Places in the guest of the folders that it was given, with their paths here."""
        self._machine = machine
        machine.channel.name = name
        self._remote = Remote(machine.channel, machine.memory << 20)
        self.system = GuestSystem(self._remote, kernel)
        try:
            self.backend = GuestBackend(self.system, self._set_clock())
            self._remote.libc("close", self._seed())
            mount(self._remote, folders)
        except BaseException:
            machine.stop()
            raise

    def _set_clock(self) -> int:
        """Set the guest's clock, which stood still in a snapshot, to this machine's; its offset (see GuestBackend)."""
        channel = self._machine.channel
        boot = int(Parts(channel.wait_ready(30.0), channel).take("Q"))
        now = time.time_ns()
        if boot > now:
            raise channel.distrust(f"has run for {boot} ns")
        self._remote.libc(
            "clock_settime", _CLOCK_REALTIME, Buffer(struct.pack("=qq", now // 10**9, now % 10**9))
        )
        return now - boot

    def _seed(self) -> int:
        """Guests that resumed from one snapshot must not draw the same random numbers."""
        pool = self._remote.open("/dev/urandom", os.O_RDWR)
        self._remote.libc("write", pool, Buffer(os.urandom(64)), 64)
        self._remote.libc("ioctl", pool, _RNDRESEEDCRNG, 0)
        return pool

    @property
    def running(self) -> bool:
        return not self._channel.ended.is_set()

    @property
    def _channel(self) -> Channel:
        return self._machine.channel

    @property
    def console(self) -> str:
        """What the guest's kernel printed."""
        return "\n".join(self._machine.console)

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 60.0,
        input: bytes | str = b"",  # noqa: A002
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest (a text by its shell, a list as it is) and wait for it.

        :raises subprocess.TimeoutExpired: after *timeout* seconds; the command has then been killed.
        :raises subprocess.CalledProcessError: with *check*, where it fails.
        :raises CommandError: an OSError: the guest cannot begin it (ENOMEM, EAGAIN), or it wrote more than 256 MiB
            (EFBIG).
        """
        process = self.popen(command, input=input)
        try:
            done = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.abandon()
            raise
        if check:
            done.check_returncode()
        return done

    def popen(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str = b"",  # noqa: A002
        on_output: Callable[[bytes], None] | None = None,
    ) -> Command:
        """Begin a command in the guest. *on_output* is given what it writes as it comes, in a thread of bpfnb's; the
        command's input is then a pipe for :meth:`Command.write`, unless *input* is all that it is given. It must not
        ask anything of the guest: that thread is the one that would hear the answer.
        """
        data = input.encode() if isinstance(input, str) else input
        if len(data) > _PIPE_BYTES:  # by a file: the agent does not wait for a command that does not read
            place = f"/tmp/.input-{next(_numbers)}"  # noqa: S108 - the guest's
            self._remote.write_file(place, data)
            argv = ["sh", "-c", command] if isinstance(command, str) else command
            command, data = ["sh", "-c", 'exec < "$0"; rm "$0"; exec "$@"', place, *argv], b""
        sink = None if on_output is None else _told(on_output)
        process = Command(self._channel, command, input_kind=PIPE if data or sink else NO_INPUT, sink=sink)
        if data:
            process.write(data)
            process.end_input()
        return process

    def sh(self, command: str | Sequence[str]) -> int:
        """Run a command with its output shown as it comes; its exit code, negative: the signal. May be interrupted.

        :raises CommandError: an OSError: the guest cannot begin it (ENOMEM, EAGAIN), or 256 MiB that it wrote wait to
            be shown (EFBIG).
        """
        return shown(self._channel, command)

    def put(self, path: str | Path, to: str | None = None) -> str:
        """Copy a file or a folder of this machine into the guest (by default to /root); its path there."""
        source = Path(path).expanduser()
        target = to or f"/root/{source.name}"
        if source.is_dir():
            self._remote.call("mkdir", Buffer(target.encode() + b"\0"), 0o755)
            for entry in sorted(source.iterdir()):
                self.put(entry, f"{target}/{entry.name}")
        else:
            self._remote.write_file(
                target, source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644
            )
        return target

    def read(self, path: str) -> bytes:
        """A file of the guest's."""
        return self._remote.read_file(path)

    def shell(self) -> int:
        """A shell in this terminal; ``exit`` or Ctrl-D ends it. Its exit code. Raises BadValue where there is none."""
        return shell(self._channel, self.name)

    def load(self, source: Any, **options: Any) -> Any:
        """:func:`bpfnb.load` into this guest."""
        from bpfnb.loading import load

        return load(source, on=self, **options)

    def features(self) -> Any:
        """What its kernel offers, found by trying."""
        return self.backend.features()

    def stop(self) -> None:
        """End the guest and all that runs in it. May be called twice."""
        try:
            if "bpfnb.object" in sys.modules:  # else nothing was loaded
                from bpfnb.object import objects

                for obj in [obj for obj in objects.values() if obj.backend is self.backend]:
                    obj.close("its virtual machine was stopped")
        finally:
            self._machine.stop()
            self.system.close()
            self._channel.listed = False
            if machines.get(self.name) is self:
                del machines[self.name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "ended"
        return f"<Vm {self.name}: Linux {self.kernel.release}, emulated, {state}>"
