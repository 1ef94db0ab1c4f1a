"""A guest's qemu while it runs, started so that nothing of it outlives the notebook.

A guest has no files of its own: its channels are sockets that it inherits, its console a pipe, its memory a private
mapping of a template's. A supervisor (a few lines of shell) ends qemu when its own input ends, which is when this
process dies in whatever way.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfnb.vm.channel import Channel, GuestGone
from bpfnb.vm.clock import tsc_khz
from bpfnb.vm.qemu import emulator

__all__ = ["BOOT_SECONDS", "COMMAND_LINE", "Limits", "Machine", "machine_options"]

BOOT_SECONDS = 120.0
_LONGEST_LINE = 4096  # of the console, where root of the guest may write, too

# Besides what is meant for a console and for tracing: what an emulated machine only loses time with.
COMMAND_LINE = (
    "console=ttyS0 panic=-1 oops=panic quiet mitigations=off nokaslr tsc=reliable no_timer_check cryptomgr.notests "
    "initcall_blacklist=jent_mod_init,crypto_kdf108_init,init_encrypted noreplace-smp init_on_alloc=0 "
    "rcupdate.rcu_expedited=1 audit=0 apparmor=0 random.trust_cpu=on lsm=lockdown,yama,bpf "
    "sysctl.kernel.perf_event_paranoid=-1 sysctl.kernel.kptr_restrict=0"
)

# Ends qemu when the pipe on its input ends (the notebook died or let go) or the time is over, and is gone with qemu. At
# the end of its time qemu gets SIGVTALRM, for which it has no use of its own, to be told from what else may kill it;
# at the end of its processor time the kernel sends SIGXCPU.
_SUPERVISOR = """
limit=$1; cpu=$2; shift 2
exec LIFE<&0 </dev/null
ulimit -S -t "$cpu" 2>/dev/null
"$@" LIFE<&- & qemu=$!
(
    exec >/dev/null 2>&1
    trap 'kill $reader; exit' TERM
    timeout "$limit" cat <&LIFE & reader=$!
    wait $reader
    [ $? -ne 124 ] || kill -VTALRM $qemu
    kill -CONT $qemu
    kill -9 $qemu
) & watch=$!
exec LIFE<&-
wait $qemu; status=$?
kill -- $watch 2>/dev/null
exit $status
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """After which a guest is ended: seconds of its life, and of the processor's time."""

    seconds: int = 12 * 3600
    cpu_seconds: int = 12 * 3600


def machine_options(accel: str, memory: int, shares: int) -> list[str]:
    """What decides how the machine looks to its kernel: the same for a template and for what resumes from it.

    Without ERMS ("rep movsb is fast") the kernel moves words, not bytes: emulated, each turn of the loop costs alike.
    """
    tags = [f"given{number}" for number in range(shares)]
    cpu, kind = ("host", "kvm") if accel == "kvm" else ("max,-erms", "tcg,thread=multi")
    return [
        *(
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-machine",
            "q35,memory-backend=ram",
        ),
        *("-accel", kind, "-cpu", cpu, "-smp", "1", "-m", str(memory)),
        *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent"),
        *("-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *(word for tag in tags for word in ("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")),
    ]


class Machine:
    """One running qemu: its agent's :class:`Channel`, its monitor, and what its console said."""

    def __init__(
        self,
        kernel: Path,
        initrd: Path,
        *,
        memory: int,
        accel: str,
        ram: Path,
        ram_fd: int | None = None,
        template: bool = False,
        incoming: bool = False,
        limits: Limits | None = None,
        shares: Sequence[Path] = (),
    ) -> None:
        found = emulator()
        agent, far_agent = socket.socketpair()
        monitor, far_monitor = socket.socketpair()
        share = "on" if template else "off"
        self._limits = limits or Limits()
        self.memory = memory
        """MiB."""
        served = [
            f"local,id=given{number},path={_escape(path)},security_model=none,readonly=on,multidevs=remap"
            for number, path in enumerate(shares)
        ]
        clock = f" tsc_early_khz={khz}" if (khz := tsc_khz()) else ""
        command = [
            *(str(found.path), *found.options, *(word for one in served for word in ("-fsdev", one))),
            *machine_options(accel, memory, len(shares)),
            *("-object", f"memory-backend-file,id=ram,size={memory}M,mem-path={_escape(ram)},share={share}"),
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append", COMMAND_LINE + clock),
            *("-chardev", f"socket,id=agent,fd={far_agent.fileno()}"),
            *(
                "-chardev",
                f"socket,id=monitor,fd={far_monitor.fileno()}",
                "-mon",
                "chardev=monitor,mode=control",
            ),
            *(("-incoming", "defer") if incoming else ()),
        ]
        self.console: collections.deque[str] = collections.deque(maxlen=2000)
        self._stopped = False
        # A shell's redirections take one digit, which must not be that of one that qemu inherits.
        inherited = [far_agent.fileno(), far_monitor.fileno(), *([] if ram_fd is None else [ram_fd])]
        free = next(str(digit) for digit in range(3, 10) if digit not in inherited)
        with far_agent, far_monitor:
            self._process = subprocess.Popen(
                [
                    "/bin/sh",
                    "-c",
                    _SUPERVISOR.replace("LIFE", free),
                    "bpfnb-vm",
                    str(self._limits.seconds),
                    str(self._limits.cpu_seconds),
                    *command,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                env=found.environment,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, name="bpfnb-vm-console", daemon=True)
        self.channel = Channel(agent, self._why)
        self._listener.start()
        self._monitor = monitor
        self._replies = monitor.makefile("r")
        _machines.add(self)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while line := self._process.stdout.readline(_LONGEST_LINE):
                self.console.append(line.decode(errors="replace").rstrip())
        self.channel.hang_up()  # whoever else holds its end

    def _why(self) -> GuestGone:
        """What became of the guest, with what its kernel printed."""
        hints = [] if self._stopped else ["start another: bpfnb.vm.start()"]
        return GuestGone(f"{self.channel.guest}{self._fate()}", hints=hints, log="\n".join(self.console))

    def _fate(self) -> str:
        """Behind its name."""
        if self._stopped:
            return " was stopped"
        self._listener.join(1.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(1.0)
            if status == 128 + signal.SIGVTALRM:
                return f" was ended: its life time is over ({_duration(self._limits.seconds)})"
            if status == 128 + signal.SIGXCPU:
                return f" was ended: its processor time is used up ({_duration(self._limits.cpu_seconds)})"
        for line in self.console:
            if "Kernel panic" in line:
                return f": its kernel panicked: {line.partition('Kernel panic - ')[2] or line}"
        last = next((line for line in reversed(self.console) if line.strip()), "")
        return f": its qemu has ended: {last}" if last else ": its qemu has ended (killed?)"

    def monitor(self, command: str, **arguments: Any) -> Any:
        """A command of qemu's monitor (QMP) and its result."""
        if not self._stopped and not hasattr(self, "_greeted"):
            self._greeted = json.loads(self._replies.readline() or "{}")
            self.monitor("qmp_capabilities")
        try:
            self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            for line in self._replies:
                said = json.loads(line)
                if "error" in said:
                    raise GuestGone(f"qemu refuses '{command}': {said['error']['desc']}")
                if "return" in said:
                    return said["return"]
        except OSError:
            pass
        raise self._why()

    def _settled(self) -> None:
        """Wait until a migration, in or out, is complete."""
        while True:
            status = self.monitor("query-migrate").get("status")
            if status == "completed":
                return
            if status == "failed":
                raise GuestGone("qemu could not write or read the snapshot", log="\n".join(self.console))
            time.sleep(0.005)

    def save(self, state: Path) -> None:
        """Write all but the memory, which is in the template's file already, to *state*; the machine stands still."""
        self.monitor("stop")
        self._ignore_memory()
        self.monitor("migrate", uri=f"exec:cat > {shlex.quote(str(state))}")
        self._settled()

    def restore(self, state: Path) -> None:
        self._ignore_memory()
        self.monitor("migrate-incoming", uri=f"exec:cat {shlex.quote(str(state))}")
        while self.monitor("query-status")["status"] == "inmigrate":
            time.sleep(0.003)
        self._settled()
        self.monitor("cont")

    def _ignore_memory(self) -> None:
        self.monitor(
            "migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}]
        )

    def stop(self) -> None:
        """End qemu now. May be called twice; does nothing in a forked child."""
        if self.channel._owner != os.getpid():
            return
        self._stopped = True
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.channel.close()
        self._monitor.close()
        self._replies.close()
        self._listener.join(2.0)
        if not self._listener.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()

    def _forked(self) -> None:
        """In a child that outlives its parent, the copies would keep qemu alive."""
        for file in (self._process.stdin, self.channel._socket, self._monitor):
            if file is not None:
                with contextlib.suppress(
                    OSError, ValueError
                ):  # ValueError: of one that was stopped, closed before
                    os.close(file.fileno())


def _duration(seconds: int) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds} s"


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")


_machines: weakref.WeakSet[Machine] = weakref.WeakSet()


def _in_child() -> None:
    for machine in list(_machines):
        machine._forked()


os.register_at_fork(after_in_child=_in_child)
