"""What is known of processes beside their number: parent, command line, user, cgroup, systemd unit, container.

Read from /proc, for the processes that somebody asks about, and kept, so that a process that has ended since is known
as far as it was seen. Nothing here runs per event.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import AttachError, UnknownName
from bpfnb.frames.columns import TEXT
from bpfnb.kernel.system import cgroup_root, folders, known_once, meaning, meant, path

__all__ = [
    "COLUMNS",
    "Cgroup",
    "Process",
    "Processes",
    "cgroups",
    "container_of",
    "unit_of",
    "user_name",
    "users",
]

_CONTAINER = re.compile(r"(?:^|[-/:])([0-9a-f]{64})(?:\.scope|\.service)?(?=[/:]|$)")
_UNIT = re.compile(r"(?:^|/)([^/]+\.(?:service|scope|socket|mount|swap))(?=/|$)")


def container_of(path: str) -> str:
    """The id of the container whose cgroup *path* is, or lies below; empty for none.

    Docker (``/docker/ID``, ``docker-ID.scope``), containerd and CRI-O (``cri-containerd-ID.scope``, ``crio-ID.scope``,
    ``.../podUID/ID``, ``...:cri-containerd:ID``), podman (``libpod-ID.scope``). Of nested ones the innermost.
    """
    monitored = re.sub(
        r"(?:crio|libpod)-conmon-[0-9a-f]{64}", "", path
    )  # who watches a container is not in it
    found = _CONTAINER.findall(monitored)
    return found[-1] if found else ""


def unit_of(path: str) -> str:
    """The systemd unit of a cgroup: the innermost that is no slice; of a user's services that, not user@UID.service."""
    found = _UNIT.findall(path)
    return found[-1] if found else ""


def users() -> Mapping[str, int]:
    """The users' numbers by name: of this machine all that its name service lists, of another its password file's."""
    if meant() is None:
        return {entry.pw_name: entry.pw_uid for entry in reversed(pwd.getpwall())}
    lines = path("/etc/passwd").read_text().splitlines()
    return {words[0]: int(words[2]) for words in (line.split(":") for line in lines) if len(words) > 2}


@known_once
def user_name(uid: int) -> str:
    """The user's name, or the number where the machine's password file has none."""
    if meant() is not None:
        try:
            return next((name for name, number in users().items() if number == uid), str(uid))
        except OSError:  # it has ended
            return str(uid)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup of the v2 hierarchy: the kernel's id, and its path as /proc/PID/cgroup has it."""

    id: int
    path: str


def cgroups() -> dict[int, Cgroup]:
    """All cgroups by id, which is the inode of their directory (Linux 5.5). Empty without cgroup v2, or
    where the guest that was meant has ended.
    """
    found = {}
    try:
        root = cgroup_root()
        for folder, number in folders(root):
            below = folder.removeprefix(str(root)).lstrip("/")
            found[number] = Cgroup(number, f"/{below}")
    except (AttachError, OSError):  # there are none, or the guest has ended
        return {}
    return found


@dataclass(frozen=True, slots=True)
class Process:
    """One process as it was when looked at. ``start`` is in s since boot; text that is not known is empty."""

    pid: int
    start: float
    ppid: int = 0
    comm: str = ""
    parent: str = ""
    cmdline: str = ""
    uid: int = -1
    cgroup: str = ""


COLUMNS: Mapping[str, Callable[[Process], str]] = {
    "parent": lambda process: process.parent,
    "cmdline": lambda process: process.cmdline,
    "user": lambda process: user_name(process.uid) if process.uid >= 0 else "",
    "cgroup": lambda process: process.cgroup,
    "unit": lambda process: unit_of(process.cgroup),
    "container": lambda process: container_of(process.cgroup),
}
"""The columns that a frame can be given, by name."""

_TICK = os.sysconf("SC_CLK_TCK")


class Processes:
    """The processes that were asked about, of the system that was meant when this was made. One table serves any number
    of frames and threads.

    *again*: seconds after which a process is looked at anew, since it may have executed another program. *most*: how
    many are kept, those seen last.
    """

    def __init__(self, *, again: float = 1.0, most: int = 100_000) -> None:
        self.again = again
        self.most = most
        self._system = meant()
        self._known: dict[int, list[Process]] = {}  # of one pid the last ones that had it, oldest first
        self._looked: dict[int, float] = {}
        self._lock = threading.Lock()
        self._cgroups: dict[int, Cgroup] = {}
        self._cgroups_at = -1e9

    def look(self, pids: Iterable[int]) -> None:
        """Learn of these processes now, as far as they live."""
        now = time.monotonic()
        with self._lock, meaning(self._system):
            for pid in pids:
                if now - self._looked.get(pid, -1e9) < self.again:
                    continue
                self._looked.pop(pid, None)
                self._looked[pid] = now
                process = read(pid)
                if process is not None:
                    known = self._known.setdefault(pid, [])
                    if known and known[-1].start == process.start:
                        known[-1] = process
                    else:
                        known.append(process)
            for pid in list(self._looked)[: max(0, len(self._looked) - self.most)]:
                del self._looked[pid]
                self._known.pop(pid, None)

    def get(self, pid: int, at: float | None = None) -> Process | None:
        """The process that had *pid*, at the moment *at* (s since boot) or last; None where it was never seen."""
        with self._lock:
            known = self._known.get(pid, [])
            fitting = [one for one in known if at is None or one.start <= at + 1 / _TICK]
            return fitting[-1] if fitting else None

    def known(self, pid: int) -> list[Process]:
        """The processes that were seen with *pid*, oldest first."""
        with self._lock:
            return list(self._known.get(pid, ()))

    def cgroup(self, number: int) -> str:
        """The path of a cgroup by the kernel's id; empty where it is unknown. Kept after it was removed."""
        with self._lock:
            now = time.monotonic()
            if number not in self._cgroups and now - self._cgroups_at > self.again:
                self._cgroups_at = now
                with meaning(self._system):
                    self._cgroups |= cgroups()
            return self._cgroups[number].path if number in self._cgroups else ""

    def columns(
        self,
        pids: Sequence[int] | pd.Series[Any],
        names: Sequence[str],
        *,
        uids: Sequence[int] | pd.Series[Any] | None = None,
        ppids: Sequence[int] | pd.Series[Any] | None = None,
        cgroup_ids: Sequence[int] | pd.Series[Any] | None = None,
        times: Sequence[float] | pd.Series[Any] | None = None,
    ) -> dict[str, pd.Categorical]:
        """Categorical columns *names* for rows of these *pids*, missing where nothing is known.

        What the rows themselves say goes before /proc: *uids*, *ppids*, *cgroup_ids*, and *times* (s since boot)
        where a pid had several owners. Costs what the distinct rows cost. Raises UnknownName for an unknown column.
        """
        for name in names:
            if name not in COLUMNS:
                raise UnknownName.among(COLUMNS, name, f"processes have no column '{name}'")
        rows = pd.DataFrame({"pid": np.asarray(pids, np.int64)})
        rows["uid"] = -1 if uids is None else np.asarray(uids, np.int64)
        rows["ppid"] = 0 if ppids is None else np.asarray(ppids, np.int64)
        rows["cgroup"] = 0 if cgroup_ids is None else np.asarray(cgroup_ids, np.uint64)
        several = {pid for pid in rows["pid"].unique() if len(self._known.get(int(pid), ())) > 1}
        rows["at"] = 0.0
        stamped = times is not None and bool(several)
        if times is not None and stamped:
            rows["at"] = np.where(rows["pid"].isin(several), np.asarray(times, np.float64), 0.0)
        distinct, codes = np.unique(rows.to_records(index=False), return_inverse=True)
        people = [self._one(*row.tolist(), stamped=stamped) for row in distinct]
        from_codes: Any = pd.Categorical.from_codes  # whose stubs know no categories of this text
        out = {}
        for name in names:
            with meaning(self._system):
                texts = [COLUMNS[name](process) for process in people]
            known = sorted(set(texts) - {""})
            place = {text: number for number, text in enumerate(known)}
            numbers = np.array([place.get(text, -1) for text in texts], np.int64)
            out[name] = from_codes(numbers[codes.ravel()], categories=pd.Index(known, dtype=TEXT))
        return out

    def _one(self, pid: int, uid: int, ppid: int, cgroup: int, at: float, *, stamped: bool) -> Process:
        found = self.get(pid, at if stamped and at else None) or Process(pid, 0.0)
        above = self.get(ppid) if ppid else None
        place = self.cgroup(cgroup) if cgroup else ""
        return Process(
            pid,
            found.start,
            ppid or found.ppid,
            found.comm,
            above.comm if above else found.parent,
            found.cmdline,
            uid if uid >= 0 else found.uid,
            max(place, found.cgroup, key=len) if place in ("", "/") else place,
        )


def read(pid: int) -> Process | None:
    """What /proc says of a living process; None for one that has ended."""
    folder = path(f"/proc/{pid}")
    try:
        ppid, comm, start = stat(folder)
        uid = folder.stat().st_uid  # of the effective user, and root's where the process cannot be dumped
        status = (folder / "status").read_text(errors="replace")
        uid = int(status.split("\nUid:")[1].split()[0]) if "\nUid:" in status else uid
        cmdline = (
            (folder / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        )
        cgroup = _cgroup((folder / "cgroup").read_text(errors="replace"))
    except (OSError, ValueError, IndexError):
        return None
    parent = ""
    with contextlib.suppress(OSError, ValueError, IndexError):
        parent = stat(path(f"/proc/{ppid}"))[1] if ppid else ""
    return Process(pid, start, ppid, comm, parent, cmdline, uid, cgroup)


def stat(folder: Path) -> tuple[int, str, float]:
    """Parent, name and start of the process with this *folder* in /proc, by one line. Raises OSError if it has ended.

    The name may hold anything, also parentheses.
    """
    head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
    fields = tail.split()
    return int(fields[1]), head.partition("(")[2], int(fields[19]) / _TICK


def _cgroup(text: str) -> str:
    """The cgroup that says most: v2's, or where everything is in its root, the deepest of v1's (hybrid layouts)."""
    paths = [line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2]
    unified = [line.removeprefix("0::") for line in text.splitlines() if line.startswith("0::")]
    if unified and unified[0] != "/":
        return unified[0]
    return max(paths, key=len, default="")
