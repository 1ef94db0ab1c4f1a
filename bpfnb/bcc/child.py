"""``python -m bpfnb.bcc.child LIFELINE TOOL ARGUMENTS``: one of bcc's tools with bpfnb's hook, as a process.

The tool runs as it is. LIFELINE is a descriptor that ends when the parent does: whatever the tool has attached goes
with this process, also when the notebook's kernel was killed. It is -1 where the tool is to outlive nobody.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import os
import re
import runpy
import select
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType

from bpfnb.bcc.find import find_package
from bpfnb.bcc.headers import static_tree
from bpfnb.bcc.hook import BccWarning, enable
from bpfnb.bcc.reasons import reason
from bpfnb.bcc.scripts import is_python

__all__ = ["main"]

# Macros that a tool itself defines, or not, before it compiles its program.
_SWITCH = re.compile(r"(?:#define\s+|-D)(\w+)")

# Macros that packaged tools ask for and that no kernel with BTF has: of kernels before 4.19, and of the tools' own.
_GONE = {"REQ_WRITE", "REQ_OP_SHIFT", "INIT_PID_LINK", "__PAGE_OFFSET_BASE"}
_GONE |= {"CGROUPSET", "CGROUP_ID_SET", "MNT_NAMESPACE_DEFINED"}

_DEBUGFS = Path("/sys/kernel/debug")
# What tools look for there and nowhere else, bcc's list of functions that kprobes must not be put on among it.
_NEEDS_DEBUGFS = re.compile(rf"{_DEBUGFS}/|\bevent_re\b|\bget_kprobe_functions\b")
_CLONE_NEWNS, _MS_REC, _MS_SLAVE = 0x20000, 0x4000, 0x80000


def main(lifeline: int, path: Path, arguments: list[str]) -> int:
    """Runs the tool; returns its exit code."""
    if lifeline >= 0:
        _end_with_parent(lifeline)
    text = path.read_text(errors="replace")
    _be_alone()
    if _NEEDS_DEBUGFS.search(text):
        _mount_debugfs()
    # A shell's background job ignores interrupts, and so do its children: the tool is to be stoppable all the same.
    signal.signal(signal.SIGINT, _interrupted)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # where it came before, it comes now
        return _run(path, text, arguments) if is_python(path, text) else _run_other(path, arguments)
    except KeyboardInterrupt:
        return 130
    finally:
        _ignore_interrupts()  # what is left is short: the ends of attachments


def _run(path: Path, text: str, arguments: list[str]) -> int:
    warnings.simplefilter("always", BccWarning)
    warnings.simplefilter("ignore", SyntaxWarning)  # of bcc's own text and its tools', from Python 3.12 on
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    sys.unraisablehook = _in_callback
    sys.argv = [str(path), *arguments]
    sys.path[0] = str(path.parent)
    try:
        # Nobody makes frames of a tool's tables: its program is compiled as it is, without counters of losses.
        switches = frozenset(_GONE.union(_SWITCH.findall(text)))
        enable(name=f"program of {path.name}", switches=switches, count_losses=False)
        sys.path.append(str(find_package().parent))  # other packages of the distribution that tools import
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        return _code(end)
    except BrokenPipeError:  # whoever reads the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        _ignore_interrupts()
        sys.stdout.flush()
        sys.stderr.write(f"{reason(path, error)}\n")
        return 1
    return 0


def _run_other(path: Path, arguments: list[str]) -> int:
    """Another interpreter's script takes this process's place; bcc programs that it starts find all headers ready."""
    with contextlib.suppress(Exception):  # where there is no BTF they look for headers as ever
        os.environ.setdefault("BCC_KERNEL_SOURCE", str(static_tree()))
    try:
        os.execv(path, [str(path), *arguments])  # noqa: S606
    except OSError as error:
        print(f"{path} cannot be started: {error.strerror}", file=sys.stderr)
        return 126


def _code(end: SystemExit) -> int:
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
        return 1
    return int(end.code or 0)


def _ignore_interrupts() -> None:
    """From its first line on there are none (:func:`_interrupted`)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Interrupts the tool where it can catch it: not while bcc hands it an event or ends an object of its own, where
    Python prints and forgets."""
    while frame is not None:
        name = frame.f_code.co_name
        if name == _ignore_interrupts.__name__:
            return  # it ends already
        if name == "__del__" or (name.endswith("_cb_") and "bcc" in frame.f_code.co_filename):
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _in_callback(unraisable: sys.UnraisableHookArgs) -> None:
    """Ends a tool that exits while bcc hands it an event, as trace -M does; bcc's objects that were never made whole
    complain of their own end, which is nobody's business.
    """
    place = unraisable.object
    if getattr(place, "__name__", "") == "__del__" and str(getattr(place, "__module__", "")).startswith(
        "bcc"
    ):
        return
    if not isinstance(unraisable.exc_value, SystemExit):
        sys.__unraisablehook__(unraisable)
        return
    code = _code(unraisable.exc_value)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def _end_with_parent(lifeline: int) -> None:
    """The kernel kills this process when the parent's end of the pipe is closed, whatever it is doing then."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # already
        os.kill(os.getpid(), signal.SIGKILL)


def _be_alone() -> None:
    """Ends the threads of numpy's OpenBLAS, as it does itself at a fork.

    A process with threads may not enter another mount namespace, as libbcc does for the binaries of a container.
    """
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def _mount_debugfs() -> None:
    """Mounts debugfs for this process alone, where the machine has it nowhere."""
    if (_DEBUGFS / "tracing").is_dir():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None) == 0:
        libc.mount(b"debugfs", bytes(_DEBUGFS), b"debugfs", 0, None)


if __name__ == "__main__":
    try:
        raise SystemExit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
    except KeyboardInterrupt:  # between the end of the tool and that of interrupts
        raise SystemExit(130) from None
