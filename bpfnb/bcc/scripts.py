"""bcc's packaged tools and other foreign scripts, run unmodified in a child process without kernel headers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from bpfnb.bcc.find import find_package
from bpfnb.errors import BadValue, UnknownName

__all__ = ["Script", "become_script", "is_python", "run_script"]

GRACE = 3.0
"""Seconds that a tool has after SIGINT, and again after SIGTERM, to end by itself."""

# The whole of a packaged shell script that runs another tool: javacalls is `ucalls -l java`.
_WRAPPER = re.compile(
    r"^lib=\$\(dirname \$0\)(?P<folder>\S*)\n+\$lib/(?P<tool>\w+) (?P<words>.*?) ?\"\$@\"\s*\Z", re.M
)


class Script:
    """A running tool. Iterate over it for its output as it comes; ``stop()`` ends it.

    What it has attached lives in its process and goes with it, also when this process is killed. As a context
    manager it stops at the end of the block.
    """

    def __init__(self, path: Path, arguments: Sequence[str]) -> None:
        self.path = path
        self.arguments = tuple(arguments)
        self._interrupted = False
        inherited, self._lifeline = os.pipe()
        before = _interrupts_wait()
        try:
            self.process = subprocess.Popen(
                _command(inherited, path, arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(inherited,),
                start_new_session=True,  # the notebook's own interrupt is not the tool's: stop() is
                env=os.environ if os.environ.get("TERM") else {**os.environ, "TERM": "xterm"},
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(inherited)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """The tool's exit code, None while it runs; negative for the signal that ended it."""
        return self.process.poll()

    def __iter__(self) -> Iterator[str]:
        """The output in the pieces in which it comes, standard error with it. Ends when the tool does."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        rest = b""
        while piece := os.read(descriptor, 1 << 16):
            text, rest = _decode(rest + piece)
            if text:
                yield text
        if rest:
            yield rest.decode(errors="replace")
        self.process.wait()
        self._release()

    def read(self) -> str:
        """All of the output; returns when the tool has ended."""
        return "".join(self)

    def interrupt(self) -> None:
        """What Ctrl-C does: many tools print what they have measured and end."""
        self._interrupted = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

    def stop(self) -> int:
        """SIGINT if it had none, after three seconds SIGTERM, after three more SIGKILL; returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[self._interrupted :]:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
        self._release()
        return self.process.wait()

    def _release(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __del__(self) -> None:
        self._release()


def run_script(path: str | Path, args: Sequence[str] = ()) -> Script:
    """Start a tool: a path, or the name of a packaged one (``runqlat`` or ``runqlat-bpfcc``).

    Raises UnknownName where there is no such file, BadValue where it is no script, MissingDependency where bcc is not
    installed.
    """
    return Script(*_found(str(path), args))


def become_script(path: str | Path, args: Sequence[str] = ()) -> NoReturn:
    """The tool in this process's place, with its input, output, terminal and signals. Raises as :func:`run_script`."""
    command = _command(-1, *_found(str(path), args))
    sys.stdout.flush()
    sys.stderr.flush()
    _interrupts_wait()
    os.execv(command[0], command)  # noqa: S606


def _interrupts_wait() -> set[int | signal.Signals]:
    """Interrupts of a child that is started now wait until it has loaded what it needs to end in order."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _command(lifeline: int, path: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-uB", "-m", "bpfnb.bcc.child", str(lifeline), str(path), *arguments]


def _found(name: str, args: Sequence[str]) -> tuple[Path, list[str]]:
    """The script that a name means, and its arguments."""
    find_package()
    found = _locate(name)
    text = found.read_text(errors="replace")
    words = [str(word) for word in args]
    if match := _WRAPPER.search(text):
        found = _locate(f"{found.parent}{match['folder']}/{match['tool']}")
        words = [*match["words"].split(), *words]
    elif not is_python(found, text) and not (text.startswith("#!") and os.access(found, os.X_OK)):
        raise BadValue(
            f"{found} is no script.", hints=["Python scripts are run, and others that can be executed"]
        )
    return found, words


def is_python(path: Path, text: str) -> bool:
    return path.suffix == ".py" or "python" in text.partition("\n")[0]


def _locate(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    if "/" not in name:
        for wanted in (f"{name}-bpfcc", name):
            for folder in ("/usr/sbin", "/usr/share/bcc/tools"):
                if found := shutil.which(wanted, path=folder):
                    return Path(found)
    raise UnknownName(
        f"There is no script {name!r}.",
        hints=["bcc's packaged tools: apt-get install bpfcc-tools  (they are /usr/sbin/*-bpfcc)"],
    )


def _decode(data: bytes) -> tuple[str, bytes]:
    """As much text as is whole, and the bytes of a character that is not yet."""
    for keep in range(min(3, len(data)) + 1):
        end = len(data) - keep
        try:
            return data[:end].decode(), data[end:]
        except UnicodeDecodeError:
            continue
    return data.decode(errors="replace"), b""
