"""What a recording tells of the machine: its kernel, and what the user chose to add."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bpfnb.btf import Btf
from bpfnb.errors import BadValue, BpfnbError, UnknownName
from bpfnb.kernel.system import meaning, possible_cpus
from bpfnb.recording.manifest import Host

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["FACTS", "guest_of", "host"]


def _os() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _line(path: str, word: str) -> str:
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(word)), "")


def _boot() -> str:
    try:
        return Path("/proc/cmdline").read_text(errors="replace").strip()
    except OSError:
        return ""


FACTS: Final[Mapping[str, Callable[[], str]]] = {
    "hostname": socket.gethostname,
    "user": getpass.getuser,
    "os": _os,
    "cpu": lambda: _line("/proc/cpuinfo", "model name"),
    "memory": lambda: _line("/proc/meminfo", "MemTotal"),
    "timezone": lambda: time.tzname[0],
    "boot": _boot,
}
"""What ``facts`` may name: the machine's name, the user's, the distribution, the processor, its memory, the time zone,
the kernel's command line."""


def guest_of(obj: BpfObject) -> Any:
    """The backend of the virtual machine that an object is in; None: it is in this machine's kernel."""
    return obj.backend if hasattr(obj.backend, "system") else None


def host(facts: Sequence[str], guest: Any = None) -> Host:
    """This machine, or a *guest* (its backend). Raises UnknownName for a fact that there is not, BadValue for one of a
    guest.
    """
    for name in facts:
        if name not in FACTS:
            raise UnknownName.among(FACTS, name, f"a machine has no fact '{name}'")
    if guest is not None:
        if facts:
            raise BadValue("facts are told of this machine, and what is recorded is a guest's")
        with meaning(guest.system):
            return Host(guest.release, os.uname().machine, possible_cpus(), Btf.kernel().hash)
    try:
        btf = Btf.kernel().hash
    except BpfnbError:
        btf = ""
    told = {name: FACTS[name]() for name in facts}
    return Host(os.uname().release, os.uname().machine, possible_cpus(), btf, told)
