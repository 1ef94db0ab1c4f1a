"""The programs of the labs' workloads that are files of their own, in ``programs/``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bpfnb.errors import MissingDependency
from bpfnb.lab.places import PROGRAMS
from bpfnb.lab.workloads import Making

__all__ = ["code", "compiled", "networked"]

_FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls")


def code(name: str, call: str) -> str:
    """For :meth:`Making.python`: the functions of ``programs/NAME.py``, and the line that calls one."""
    return f"{(PROGRAMS / name).with_suffix('.py').read_text()}\n{call}\n"


def compiled(make: Making, name: str) -> Path:
    """``programs/NAME.c``, compiled with frame pointers. :raises MissingDependency: there is no C compiler."""
    program = make.folder() / name
    found = shutil.which("gcc") or shutil.which("clang")
    command = [found] if found else [sys.executable, "-m", "ziglang", "cc"]
    try:
        subprocess.run(
            [*command, *_FLAGS, "-o", str(program), str((PROGRAMS / name).with_suffix(".c"))],
            check=True,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        raise MissingDependency(
            f"the program of this lab could not be compiled: {error.stderr.strip()[-300:]}",
            hints=["apt install gcc, or pip install 'bpfnb[clang]'"],
        ) from None
    return program


def networked(make: Making, name: str, *words: str) -> int:
    """Start ``programs/NAME.py``, which makes itself a network of its own; its pid.

    It may import bpfnb, and nothing of it is recorded.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("BPFNB_RE")}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = make.process([sys.executable, (PROGRAMS / name).with_suffix(".py"), *words], env=env)
    make.tell(
        pid=process.pid,
        network=f"/proc/{process.pid}/ns/net",
        netns=Path(f"/proc/{process.pid}/ns/net").stat().st_ino,
    )
    return process.pid
