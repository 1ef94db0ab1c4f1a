"""Workloads of labs: processes that are ready and wait, are let go, and end; with the numbers that the checks know."""

from __future__ import annotations

import atexit
import json
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bpfnb import guest
from bpfnb.errors import BpfnbError, UnknownName
from bpfnb.lab import facts
from bpfnb.lab.places import Process, place
from bpfnb.lab.tasks import find

__all__ = ["Making", "Workload", "workload"]

# Ended with the notebook's kernel, also where that is killed: PR_SET_PDEATHSIG (1) with SIGKILL (9); 15 is PR_SET_NAME.
_BEFORE = """
import ctypes, json, os, random, sys
_prctl = ctypes.CDLL(None).prctl
_prctl(1, 9)
_prctl(15, {name!r}.encode())
def report(**facts):
    print(json.dumps(facts), flush=True)
def tell(**facts):
    report(tell=facts)
random.seed({seed!r})
globals().update(json.loads({values!r}))
_code = compile({code!r}, {name!r}, "exec")
print("ready", flush=True)
if sys.stdin.readline():
    exec(_code)
"""

_running: dict[str, Workload] = {}


def workload(name: str, *, seed: int = 0, **options: Any) -> Workload:
    """Start the workload of a lab (``lab02``) or a part of it (``lab02.files``): its processes are ready and wait.

    The same *seed* makes the same numbers. One that was started before under this name is ended. In replay nothing is
    started, and what it tells is what it told when the lab was recorded.

    :raises UnknownName: there is no such lab or part.
    """
    lab_name, _, part = name.partition(".")
    lab = find(lab_name)
    if part not in lab.workloads:
        known = [f"{lab_name}.{other}" if other else lab_name for other in lab.workloads]
        raise UnknownName.among(known, name, f"there is no workload '{name}'")
    if facts.replayed_from() is not None:
        return Workload(lab_name, part, None)
    if lab.hooks and guest.chosen() is None:
        raise BpfnbError(
            f"{lab_name} runs in a disposable kernel only",
            hints=[f'begin it in one, which is fetched: bpfnb.lab.begin("{lab_name}", on="6.12")'],
        )
    if guest.chosen() is not None and not lab.runs_on_vm:
        raise BpfnbError(
            f"the workload of {lab_name} does not run in a disposable kernel",
            hints=["bpfnb.guest.use(None) goes back to this machine's kernel"],
        )
    if name in _running:
        _running[name].close()
    facts.forget(lab_name, part)
    making = Making(f"{name}:{seed}", options)
    try:
        lab.workloads[part](making)
    except BaseException:
        making.end()
        raise
    _running[name] = made = Workload(lab_name, part, making)
    return made


class Making:
    """What a workload's definition makes it with."""

    def __init__(self, seed: str, options: dict[str, Any]) -> None:
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311  (numbers to be repeated, not secrets)
        self.options = options
        self.told: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
        self.place = place()
        self._processes: list[tuple[Process, bool]] = []
        self._callbacks: list[Callable[[], object]] = []

    def tell(self, **values: Any) -> None:
        """Facts that the student may know: attributes of the workload."""
        self.told |= values

    def keep(self, **values: Any) -> None:
        """Facts for the checks only."""
        self.kept |= values

    def python(
        self, code: str, *, name: str = "workload", background: bool = False, **values: Any
    ) -> Process:
        """A Python process (standard library only; os, random, sys and json are imported) called *name* in ``comm``.

        It waits before *code*, in which *values* are variables and ``report(name=value, ...)`` adds facts.
        """
        text = _BEFORE.format(name=name[:15], seed=self.seed, values=json.dumps(values), code=code)
        return self.process([self.place.python, "-I", "-S", "-c", text], background=background)

    def process(
        self,
        argv: Sequence[str | Path],
        *,
        background: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Any process that prints ``ready`` and then reads a line before it begins.

        Lines of JSON that it prints before it ends are facts for the checks; what they have as ``tell``, for all.
        """
        process = self.place.start([str(word) for word in argv], env=env, background=background)
        self._processes.append((process, background))
        return process

    def folder(self, *files: str) -> Path:
        """A folder of its own, with these empty files, where the workload runs; removed when it is closed."""
        made, remove = self.place.folder(files)
        self.when_ended(remove)
        return Path(made)

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call it after all processes have ended, the last first: to remove what the definition set up."""
        self._callbacks.append(callback)

    def go(self) -> None:
        """Let all go, those in the background first."""
        for process, _ in sorted(self._processes, key=lambda item: not item[1]):
            process.go()

    def wait(self, timeout: float | None) -> None:
        """Until all but those in the background have ended; what they reported is kept."""
        for process, background in self._processes:
            if background:
                continue
            for line in process.wait(timeout).splitlines():
                with suppress(ValueError):
                    values = json.loads(line)
                    if isinstance(values, dict):
                        self.told |= values.pop("tell", {})
                        self.kept |= values

    def end(self) -> None:
        for process, _ in self._processes:
            process.end()
        self._processes.clear()
        while self._callbacks:
            self._callbacks.pop()()


class Workload:
    """A started workload. What it tells are its attributes (``work.pid``).

    ``state`` is ``ready``, ``running``, ``ended``, or in replay ``recorded``.
    """

    def __init__(self, lab: str, part: str, making: Making | None) -> None:
        self.name = f"{lab}.{part}" if part else lab
        self._lab, self._part = lab, part
        self._making = making
        self.state = "recorded" if making is None else "ready"
        if making is None:
            self._told = facts.told(lab, part)
        else:
            self._told = making.told
            self._put()

    def run(self, timeout: float | None = 120) -> None:
        """Let it go, and wait for its end. In replay it does nothing.

        :raises BpfnbError: it ran before, failed, or took longer than *timeout* seconds.
        """
        self.go()
        self.wait(timeout)

    def go(self) -> None:
        """Let it go, and do not wait."""
        if self._making is None:
            return
        if self.state != "ready":
            raise BpfnbError(
                f"this workload is {self.state} and goes only once",
                hints=[f'start it anew: work = bpfnb.lab.workload("{self.name}")'],
            )
        self.state = "running"
        self._making.go()

    def wait(self, timeout: float | None = 120) -> None:
        """Until its processes have ended; servers go on until :meth:`close`."""
        if self._making is None or self.state != "running":
            return
        try:
            self._making.wait(timeout)
        except subprocess.TimeoutExpired:
            self.close()
            raise BpfnbError(f"the workload {self.name} did not end within {timeout} s") from None
        except BpfnbError:
            self.close()
            raise
        self.state = "ended"
        self._put()

    def close(self) -> None:
        """End its processes and remove what was set up for it. Its facts stay known."""
        if self._making is not None:
            self._making.end()
            self.state = "ended"
        if _running.get(self.name) is self:
            del _running[self.name]

    def _put(self) -> None:
        assert self._making is not None
        facts.put(self._lab, self._part, told=self._making.told, kept=self._making.kept)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._told:
            raise UnknownName.among(self._told, name, f"the workload {self.name} tells nothing of '{name}'")
        return self._told[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._told]

    def __repr__(self) -> str:
        said = "".join(f", {name} {value}" for name, value in self._told.items())
        return f"<workload {self.name}: {self.state}{said}>"


@atexit.register
def _end_all() -> None:
    for made in list(_running.values()):
        made.close()
