"""Tools that show the sockets that there are (``bpfnb/snapshot.h``): read by iterators, in all network namespaces."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from bpfnb.frames import MapFrame
from bpfnb.frames.completeness import ATTR, describe
from bpfnb.kernel.system import meaning, path
from bpfnb.tools.endpoints import Sockets
from bpfnb.tools.owned import STATES, named
from bpfnb.tools.tool import Load

__all__ = ["KINDS", "Snapshot"]

KINDS: Final[Mapping[int, str]] = {1: "tcp", 2: "udp", 3: "unix"}
TYPES: Final[Mapping[int, str]] = {1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket"}
CLONE_NEWNET = 0x40000000


class Snapshot(Sockets):
    """A tool whose frame is what its iterators ``tcp_sockets``, ``udp_sockets`` ... say at the moment it is asked."""

    snapshot = True
    stream = "holders"  # which has no rows itself, but ends when the tool does
    _turn = 0
    _taken = pd.DataFrame()
    _taking = threading.RLock()  # views look from threads of their own

    def kinds(self) -> list[str]:
        """The protocols whose sockets are wanted."""
        raise NotImplementedError

    def prepare(self) -> Load:
        load = super().prepare()
        load.globals.pop("protocol", None)
        return load

    @property
    def df(self) -> pd.DataFrame:
        """The sockets now; once the tool has stopped, those that there were then."""
        return self.frame_with()

    def frame_with(self, *names: str) -> pd.DataFrame:
        with self._taking, meaning(self.system):
            if not self.closed:
                self._taken = self._take()
            raw = self._taken
            frame = self.frame(raw)
            if self.add or names:
                frame = self._added(frame, list(dict.fromkeys([*self.add, *names])))
        frame = frame.reset_index(drop=True)
        frame.attrs = {**raw.attrs, **frame.attrs}
        return frame

    def _take(self) -> pd.DataFrame:
        began = time.time()
        self._turn += 1
        self.object.vars.turn = self._turn
        programs = self.object.programs
        programs["find_holders"].text()
        parts = self.everywhere(lambda: [programs[f"{kind}_sockets"].frame() for kind in self.kinds()])
        rows = pd.concat(parts, ignore_index=True) if parts else programs["tcp_sockets"].frame().iloc[:0]
        rows = rows.assign(
            protocol=named(rows["protocol"], KINDS),
            type=named(rows["type"], TYPES),
            state=named(rows["state"], STATES),
            comm=rows["comm"].astype("category"),
        )
        unix = rows["protocol"] == "unix"
        for column in ("laddr", "raddr"):
            rows[column] = rows[column].mask(unix, "").astype("category")
        rows = rows.sort_values(["protocol", "netns", "lport", "inode"], kind="stable", ignore_index=True)
        provenance = self.frames.provenance if isinstance(self.frames, MapFrame) else {}
        about = describe(self.object.name, "iter", (began, time.time()), len(rows), {}, provenance)
        rows.attrs = {ATTR: about, "bpfnb_columns": parts[0].attrs.get("bpfnb_columns", {}) if parts else {}}
        return rows

    def everywhere(self, read: Callable[[], list[Any]]) -> list[Any]:
        """What *read* gives in each network namespace that is wanted, one after the other."""
        wanted = {inode for _, inode in self.passing.get("netns", ())}
        inside = _inside if self.system is None else self.system.inside
        return [
            one
            for inode, place in _namespaces().items()
            if not wanted or inode in wanted
            for one in inside(place, read)
        ]

    def stop(self) -> None:
        if not self.closed:
            self.df  # noqa: B018  the last look
        super().stop()

    def close(self) -> None:
        self.stop()
        super().close()

    def __repr__(self) -> str:
        state = "live" if not self.closed else self.object.state
        return f"<{self.object.name} {state}>"


def _namespaces() -> dict[int, Path]:
    """The network namespaces of processes here and of names in /run/netns, by inode: where each can be entered."""
    found: dict[int, Path] = {}
    for place in (*path("/proc").glob("[0-9]*/ns/net"), *path("/run/netns").glob("*")):
        try:
            found.setdefault(place.stat().st_ino, place)
        except OSError:
            continue  # it has ended
    return found


def _inside(place: Path, read: Callable[[], list[Any]]) -> list[Any]:
    """What *read* gives in the network namespace at *place*; nothing where that has gone. In a thread of its own, since
    a thread that could not come back would stay there.
    """
    out: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with place.open() as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        except FileNotFoundError:
            return
        except BaseException as error:
            errors.append(error)
            return
        try:
            out.extend(read())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return out
