"""Tools whose probes stand in a library of the process they look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpfnb.errors import BadValue
from bpfnb.kernel import system
from bpfnb.kernel.binaries import Binary, find_binary
from bpfnb.tools.filters import FILTERS
from bpfnb.tools.tool import Tool

__all__ = ["LeavesOut", "library", "one_pid", "without"]


class LeavesOut(Tool):
    """A tool that goes on without some of what it was asked for; ``prepare`` says what."""

    left_out: dict[str, str]
    """Functions that the kernel cannot probe, or parameters that cannot be read, each with the reason."""

    def state(self) -> dict[str, Any]:
        return {**super().state(), "left_out": self.left_out}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.left_out = {str(name): str(why) for name, why in state["left_out"].items()}


def one_pid(filters: dict[str, Any]) -> int | None:
    """The process where exactly one is filtered for: then only that one meets the probes at all.

    Raises BadValue for what is no pid, or where there is no such process.
    """
    pids = filters.get("pid")
    values = [pids] if isinstance(pids, int | str) else list(pids or ())
    if len(values) != 1:
        return None
    pid = int(FILTERS["pid"].read(values[0]))
    if not system.path(f"/proc/{pid}").exists():
        raise BadValue(f"there is no process {pid}")
    return pid


def library(name: str | None, pid: int | None, function: str) -> Path:
    """The file that has *function*: *name*, or of the process *pid* its C library or else its program.

    Raises BadValue where there is no such file, or it has no such function.
    """
    own = system.path(f"/proc/{pid}/exe") if pid else None
    places = [find_binary(name, pid)] if name else [own, find_binary("libc", pid)]
    files = [path for path in places if path is not None and path.exists()]
    found = next((path for path in files if Binary(system.readable(path)).offset(function) is not None), None)
    if found is None:
        where = name or (f"process {pid}" if pid else "the C library")
        raise BadValue(
            f"{where} has no function {function}" if files else f"there is no program or library '{where}'",
            hints=["name the file that has it: object=PATH"],
        )
    return found


def without(path: Path, functions: Sequence[str]) -> tuple[str, ...]:
    """Macros ``WITHOUT_x`` for those of *functions* that the file lacks."""
    binary = Binary(system.readable(path))
    return tuple(f"WITHOUT_{name}" for name in functions if binary.offset(name) is None)
