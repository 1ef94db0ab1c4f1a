"""A rehearsal of a compile in a child process.

Where LLVM cannot make code of a program (its stack grew beyond 512 bytes, a call has too many arguments), it prints
why and ends the process, which would be the notebook's kernel. So a program is first compiled in a fork.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import select
import signal
import warnings
from collections.abc import Callable

from bpfnb.interrupts import held

__all__ = ["rehearse"]


def rehearse(compile: Callable[[], bool]) -> tuple[bool, str]:  # noqa: A002
    """Whether *compile* returned true in a forked child, and what it printed to file descriptor 2 there."""
    memory = os.memfd_create("bpfnb-rehearsal")
    child = status = 0
    try:
        try:
            with held(), warnings.catch_warnings():  # Python swallows what is raised in its handlers of forks
                # Python 3.12 warns of forks beside threads; the child runs none of their code.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
                if not child:
                    _in_child(compile, memory)
            _until_ended(child)
        except BaseException:  # an interrupt
            if child:
                os.kill(child, signal.SIGKILL)
            raise
        finally:
            if child:
                _, status = os.waitpid(child, 0)
        log = os.pread(memory, os.fstat(memory).st_size, 0).decode(errors="replace")
        return os.waitstatus_to_exitcode(status) == _GOOD, log
    finally:
        os.close(memory)


def _until_ended(child: int) -> None:
    """Waits in short turns: an interrupt that comes just before a system call does not end it."""
    descriptor = os.pidfd_open(child)
    try:
        turn = select.poll()
        turn.register(descriptor, select.POLLIN)
        while not turn.poll(_TURN):
            pass
    finally:
        os.close(descriptor)


_TURN = 100  # ms
_GOOD = 77  # none that exit() would be given by others


def _in_child(compile: Callable[[], bool], memory: int) -> None:  # noqa: A002
    code = 1
    try:
        faulthandler.disable()  # where LLVM calls abort(), its own words are enough
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        libc = ctypes.CDLL(None)
        # exit() runs the last registered handler first: no destructor of another library may wait for its threads.
        libc.__cxa_atexit(libc._exit, None, None)
        os.dup2(memory, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = _GOOD if compile() else 1
    finally:
        os._exit(code)
