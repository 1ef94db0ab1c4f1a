"""Where the processes of a workload run: on this machine, or in the session's guest (:mod:`bpfnb.guest`)."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bpfnb import guest
from bpfnb.btf import Btf
from bpfnb.errors import BpfnbError

if TYPE_CHECKING:
    from bpfnb.vm import Vm

__all__ = ["PROGRAMS", "Here", "InGuest", "Place", "Process", "folders", "place", "sees_workloads"]

PROGRAMS = Path(__file__).parent / "programs"
"""Programs of workloads that are files of their own."""

_START_SECONDS = 120.0


class Process(Protocol):
    """A process of a workload. It has printed ``ready``, and waits for a line before it goes on."""

    pid: int

    def go(self) -> None: ...

    def wait(self, timeout: float | None) -> str:
        """What it has printed since, once it has ended. Raises subprocess.TimeoutExpired, or BpfnbError: it failed."""

    def end(self) -> None:
        """End it, and let go of it."""


class Place(Protocol):
    """What a workload finds out about where it runs, and how its processes start there."""

    python: str
    """The interpreter there."""

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None, background: bool) -> Process: ...

    def path(self, name: str) -> Any:
        """What can be asked as a :class:`pathlib.Path` about a file there."""

    def folder(self, files: Sequence[str]) -> tuple[str, Callable[[], object]]:
        """A new folder there with these empty files, and what removes it."""

    def types(self) -> Btf:
        """Those of its kernel."""


def place() -> Place:
    """Where workloads run now. Raises BpfnbError where it is a guest that no lab was begun in."""
    vm = guest.chosen()
    return Here() if vm is None else InGuest(vm)


def folders() -> list[str]:
    """What a guest needs of this machine to run workloads: Python with its libraries, and the workloads' programs."""
    python = [sys.base_prefix, os.path.realpath(sys.base_prefix)]
    return [*dict.fromkeys((*python, "/usr/lib", "/lib", "/lib64", str(PROGRAMS)))]


def sees_workloads(vm: Vm) -> bool:
    """Whether a guest was given :func:`folders`, or what they are in."""
    return any(PROGRAMS.is_relative_to(place) for place in vm.folders)


def _failed(code: int, said: str) -> BpfnbError:
    return BpfnbError(f"a process of the workload failed (exit code {code}): {said.strip()[-400:]}")


def _not_ready(said: str) -> BpfnbError:
    return BpfnbError(f"a process of the workload did not start: {said.strip()[-400:]}")


# This machine


class Here:
    """This machine."""

    python = sys.executable

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None, background: bool) -> Process:
        return _ProcessHere(argv, env, background)

    def path(self, name: str) -> Path:
        return Path(name)

    def folder(self, files: Sequence[str]) -> tuple[str, Callable[[], object]]:
        made = tempfile.mkdtemp(prefix="bpfnb-lab-")
        for name in files:
            Path(made, name).touch()
        return made, lambda: shutil.rmtree(made, ignore_errors=True)

    def types(self) -> Btf:
        return Btf.kernel()


class _ProcessHere:
    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None, background: bool) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            self._process.kill()
            raise _not_ready(self._process.communicate()[1])
        if background:
            # A kernel that shuts down ends its children first. While one is there that nobody has waited for, it is
            # not done, is killed in the end, and what atexit would remove stays behind.
            threading.Thread(target=self._process.wait, daemon=True).start()

    def go(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def wait(self, timeout: float | None) -> str:
        out, err = self._process.communicate(timeout=timeout)
        if self._process.returncode:
            raise _failed(self._process.returncode, err)
        return out

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


# A guest


_GONE = (BpfnbError, subprocess.TimeoutExpired)  # of a guest that has ended or hangs
_numbers = itertools.count(1)


class InGuest:
    """A guest that was started with :func:`folders`: this machine's Python runs in it."""

    python = os.path.realpath(sys.executable)

    def __init__(self, vm: Vm) -> None:
        if not sees_workloads(vm):
            raise BpfnbError(
                f"the virtual machine '{vm.name}' does not see what workloads need",
                hints=['begin the lab in one: bpfnb.lab.begin("lab02", on="6.12")'],
            )
        self._vm = vm

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        background: bool,  # noqa: ARG002  it ends with the guest
    ) -> Process:
        if env is not None:
            raise BpfnbError("a process in a guest has the guest's environment")
        return _ProcessInGuest(self._vm, argv)

    def path(self, name: str) -> Any:
        return self._vm.system.path(name)

    def folder(self, files: Sequence[str]) -> tuple[str, Callable[[], object]]:
        made = f"/tmp/bpfnb-lab-{next(_numbers)}"  # noqa: S108  the guest's
        self._vm.run(["mkdir", made], check=True)
        if files:
            self._vm.run(["touch", *(f"{made}/{name}" for name in files)], check=True)

        def remove() -> None:
            with contextlib.suppress(*_GONE):
                self._vm.run(["rm", "-rf", made])

        return made, remove

    def types(self) -> Btf:
        return self._vm.system.btf()


class _ProcessInGuest:
    def __init__(self, vm: Vm, argv: Sequence[str]) -> None:
        self._said = bytearray()
        self._ended = False
        self._heard = threading.Condition()
        self._command = vm.popen(argv, on_output=self._hear)
        self.pid = self._command.pid
        threading.Thread(target=self._until_its_end, daemon=True).start()
        with self._heard:
            self._heard.wait_for(lambda: b"\n" in self._said or self._ended, _START_SECONDS)
            first, _, rest = bytes(self._said).partition(b"\n")
            self._said[:] = rest
        if first.strip() != b"ready":
            self.end()
            raise _not_ready((first + b"\n" + rest).decode(errors="replace"))

    def _hear(self, data: bytes) -> None:
        with self._heard:
            self._said += data
            self._heard.notify_all()

    def _until_its_end(self) -> None:
        with contextlib.suppress(BpfnbError):  # the guest's end is also its
            self._command.wait()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def go(self) -> None:
        self._command.write(b"go\n")

    def wait(self, timeout: float | None) -> str:
        done = self._command.wait(timeout)
        said = self._said.decode(errors="replace")
        if done.returncode:
            raise _failed(done.returncode, said)
        return said

    def end(self) -> None:
        with contextlib.suppress(*_GONE):
            if self._command.running:
                self._command.kill()
            self._command.wait(_START_SECONDS)
