"""Why a tool that was told to look at some processes may have seen nothing of them."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfnb.errors import BpfnbError, nearest
from bpfnb.frames import Stream
from bpfnb.kernel.system import OtherSystem, capable, cgroup_root, meaning, meant
from bpfnb.kernel.system import path as file
from bpfnb.processes import cgroups, stat, user_name
from bpfnb.tools.filters import FILTERS, Passing

if TYPE_CHECKING:
    from bpfnb.tools.tool import Tool

__all__ = ["Silence", "why_silent"]

PATIENCE = 3.0
"""Seconds without a row after which a live tool says why."""
LONGEST = 2.0
"""Seconds that a tool's end waits for the last look at /proc: with 50,000 threads one takes longer."""

_AGAIN = 2.0  # s between looks at /proc
_ROWS_AGAIN = 0.5  # s between looks for the first row of a map
_SHARE = 0.05  # of the time that looks of each kind may take
_MOST = 8  # descendants that are named
_ENDED = (FileNotFoundError, ProcessLookupError)  # what reading of such a process raises
_KINDS: Mapping[str, str] = {
    "uid": "user",
    "cgroup": "cgroup",
    "container": "container",
    "netns": "network namespace",
}
"""Filters whose values may mean something else later."""


def why_silent(passing: Passing) -> str:
    """What is odd about the processes that filters let pass; "" if nothing is.

    There are none, or it is others, which they started, that work: a pid is often that of ``timeout``, ``sudo`` or a
    shell around the program that is meant. Or a service was restarted, and its cgroup is another than the kernel was
    told. It is about the moment of asking: a command may be called any time. Where not all processes can be seen,
    nothing is said of there being none.
    """
    return "; ".join(said for name, values in passing.items() if (said := _odd(name, values)))


def _odd(name: str, values: Sequence[tuple[Any, Any]]) -> str:
    another = _another(name, values) if name in _KINDS else ""
    if another:
        return another
    try:
        if name == "pid":
            wanted = dict.fromkeys(pid for _, pid in values)
            return "; ".join(filter(None, map(_odd_process, wanted)))
        if name in ("cgroup", "container"):
            return _odd_cgroups(name, values)
        return _ODD[name](values)
    except PermissionError:  # who knows what is there
        return ""


def _another(name: str, values: Sequence[tuple[Any, Any]]) -> str:
    """Which value means something else now than what the kernel was told."""
    for value, known in values:
        try:
            now = FILTERS[name].read(value)
        except (
            BpfnbError,
            OSError,
        ):  # it means nothing, or several; what the kernel was told may still be there
            continue
        if now != known:
            return f"the {_KINDS[name]} '{value}' is another now: start the tool again"
    return ""


def _odd_process(pid: int) -> str:
    try:
        _, comm, _ = stat(file(f"/proc/{pid}"))
    except _ENDED:
        return _if_seen(f"there is no process {pid} now")
    below = [f"{number} ({name})" for number, name in _descendants(pid)]
    if not below:
        return ""
    more = f" and {len(below) - _MOST:,} more" if len(below) > _MOST else ""
    return f"process {pid} ({comm}) has started others: --pid {', '.join(below[:_MOST])}{more}"


def _descendants(pid: int) -> list[tuple[int, str]]:
    """Their numbers and names, parents before their children."""
    children: dict[int, list[tuple[int, str]]] = {}
    for folder in _processes():
        with contextlib.suppress(*_ENDED, PermissionError):
            parent, comm, _ = stat(folder)
            children.setdefault(parent, []).append((int(folder.name), comm))
    found = children.pop(pid, [])
    for number, _ in found:
        found.extend(children.pop(number, ()))
    return found


def _odd_names(values: Sequence[tuple[Any, Any]]) -> str:
    names = [name for _, name in values]
    known = set(_texts("comm", _processes()))
    if any(name in known or name.startswith("swapper/") for name in names):
        return ""  # the idle tasks are in no /proc
    known |= set(_texts("comm", _threads()))
    if known & set(names):
        return ""
    alike = [near for name in names for near in nearest(name, sorted(known), 1)]
    hint = f", but '{alike[0]}' is there" if alike else ""
    return _if_seen(f"no process is called {_either(names)} now{hint}")


def _odd_users(values: Sequence[tuple[Any, Any]]) -> str:
    """The filter asks for the real user of each thread."""
    uids = [uid for _, uid in values]
    for status in _texts("status", _threads()):
        if int(status.partition("\nUid:")[2].split()[0]) in uids:
            return ""
    return _if_seen(f"no process is of the user {_either(map(user_name, uids))} now")


def _odd_networks(values: Sequence[tuple[Any, Any]]) -> str:
    inodes = {inode for _, inode in values}
    for folder in _processes():
        try:
            if (folder / "ns" / "net").stat().st_ino in inodes:
                return ""
        except _ENDED:
            continue
    return _if_seen(f"no process is in the network namespace {_either(value for value, _ in values)} now")


_ODD: Mapping[str, Callable[[Sequence[tuple[Any, Any]]], str]] = {
    "comm": _odd_names,
    "uid": _odd_users,
    "netns": _odd_networks,
}


def _odd_cgroups(name: str, values: Sequence[tuple[Any, Any]]) -> str:
    known = cgroups()
    if any(_populated(known[number].path) for _, number in values if number in known):
        return ""
    places = (known[number].path if number in known else value for value, number in values)
    return f"no process is in the {_KINDS[name]} {_either(places)} now"


def _populated(place: str) -> bool:
    """Whether processes are in a cgroup or below it; the root has no file that says so."""
    try:
        said = (cgroup_root() / place.lstrip("/") / "cgroup.events").read_text()
    except FileNotFoundError:
        return place == "/"
    return "populated 1" in said


def _if_seen(said: str) -> str:
    """What is *said* of there being no such process, where /proc shows those of all users (proc(5), ``hidepid``)."""
    if meant() is not None or capable("CAP_SYS_PTRACE"):  # in guests root looks
        return said
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    options = [words[-1] for words in mounts if words[4] == "/proc"]
    return "" if options and "hidepid=" in options[-1] else said


def _processes() -> Iterator[Path]:
    """The folders of processes in /proc."""
    return (folder for folder in file("/proc").iterdir() if folder.name.isdigit())


def _threads() -> Iterator[Path]:
    """The folders of all their threads."""
    for folder in _processes():
        try:
            threads = list((folder / "task").iterdir())
        except _ENDED:
            continue
        yield from threads


def _texts(name: str, folders: Iterable[Path]) -> Iterator[str]:
    """Their files *name*, without the newline at the end, of those that are still there."""
    for folder in folders:
        try:
            yield (folder / name).read_text(errors="replace").removesuffix("\n")
        except _ENDED:
            continue


def _either(names: Iterable[object]) -> str:
    return " or ".join(f"'{name}'" for name in names)


class Silence:
    """What the views of *tool* say while it sees nothing: nothing for :data:`PATIENCE` seconds, then what is odd about
    its filters, until the first row comes.

    It may be asked as often as is wanted, by any thread: looks at /proc, which take long where many processes are,
    have threads of their own, and what is said is what the last one found.
    """

    def __init__(self, tool: Tool) -> None:
        self._tool = weakref.ref(tool)
        self._asking = threading.Lock()
        self._heard = False
        self._began = self._rows_due = self._due = time.monotonic()
        self._why = ""
        self._look: threading.Thread | None = None
        self._failed: Exception | None = None

    def said(self) -> str:
        """What is known at the moment; this waits for nothing. An error that a look ran into is raised, once."""
        tool = self._tool()
        if tool is None or self._heard or not tool.filters or tool.origin:
            return ""
        if not tool.closed and self._asking.acquire(blocking=False):  # else another view asks
            try:
                self._ask(tool)
            finally:
                self._asking.release()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        if self._heard or not self._why:
            return ""
        return f"nothing {'was seen' if tool.closed else 'seen yet'}: {self._why}"

    def end(self) -> None:
        """Once the tool has ended: look a last time, what becomes of the processes afterwards being no reason, and
        wait for it, :data:`LONGEST` at most.
        """
        tool = self._tool()
        if tool is None or self._heard or not self._asking.acquire(timeout=LONGEST):
            return
        try:
            with contextlib.suppress(Exception):  # no tool's end fails for what its views may say
                self._listen(tool)
            if not self._heard and not self._looking():
                self._begin(tool)
        finally:
            self._asking.release()
        if self._look is not None and not self._heard:
            self._look.join(LONGEST)

    def _ask(self, tool: Tool) -> None:
        now = time.monotonic()
        if isinstance(tool.frames, Stream) or now >= self._rows_due:
            with contextlib.suppress(BpfnbError, OSError):  # the guest has ended
                self._listen(tool)
        waiting = now - self._began < PATIENCE and not tool.snapshot
        if not (self._heard or waiting or now < self._due or self._looking()):
            self._begin(tool)

    def _listen(self, tool: Tool) -> None:
        """See whether there is a row. That of a map costs what the tool's frame does."""
        if isinstance(tool.frames, Stream):
            self._heard = tool.frames.total > 0
            return
        began = time.monotonic()
        try:
            self._heard = not tool.df.empty
        finally:
            self._rows_due = _next(began, _ROWS_AGAIN)

    def _looking(self) -> bool:
        return self._look is not None and self._look.is_alive()

    def _begin(self, tool: Tool) -> None:
        look = threading.Thread(
            target=self._find_out, args=(tool.passing, tool.system), name="bpfnb-silence", daemon=True
        )
        with contextlib.suppress(RuntimeError):  # the interpreter is about to end
            look.start()
            self._look = look

    def _find_out(self, passing: Passing, system: OtherSystem | None) -> None:
        began = time.monotonic()
        try:
            with meaning(system):
                self._why = why_silent(passing)
        except (BpfnbError, OSError):  # the guest has ended: what was said stays
            pass
        except Exception as error:
            self._failed = error
        finally:
            self._due = _next(began, _AGAIN)


def _next(began: float, least: float) -> float:
    """When the next look is due after one that began then and is over now."""
    now = time.monotonic()
    return now + max(least, (now - began) / _SHARE)
