"""The BPF programs of the machine: how often each runs, what it costs, and who has it (bpftop).

A row for each program, the dearest first. ``cpu`` is its share of one CPU in percent, ``events`` its runs a second,
both over the last second or since the tool began; ``average`` the time of a run. ``run_count`` and ``run_time`` are the
kernel's totals, of the time while statistics were on: this tool turns them on while it runs, which costs every program
some 20 ns a run. ``misses`` are runs that did not happen because the CPU was within a program already. ``comm`` and
``pid`` are of the first process with a descriptor of it, ``processes`` how many have one; a program that is pinned, or
held by the kernel alone, has none. ``object`` is its name where this process loaded it. With a filter only programs of
such processes. Linux 5.11.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import pandas as pd

from bpfnb.errors import BpfnbError
from bpfnb.frames.completeness import ATTR, describe
from bpfnb.kernel import ids
from bpfnb.kernel.system import meaning
from bpfnb.object import BpfObject, objects
from bpfnb.tools.tool import Option, Tool

if TYPE_CHECKING:
    from bpfnb.views import TimeSeries

_SPAN = 1.0  # seconds over which rates are taken
_AGAIN = 2.0  # seconds after which holders are looked for again, which reads every process's descriptors

_NOTES = {
    "cpu": {"unit": "percent", "description": "share of one CPU"},
    "events": {"unit": "Hz", "description": "runs a second"},
    "average": {"unit": "ns", "format": "duration", "description": "time of a run"},
    "run_time": {"unit": "ns", "format": "duration"},
    "memory": {"unit": "bytes", "format": "bytes", "description": "of its machine code"},
}


class BpfTop(Tool):
    family = "kernel"
    options = (
        Option(
            "type", str, "only programs of this type: tracepoint, xdp, kprobe ...", "TYPE", variable=False
        ),
    )
    stream = "holders"
    columns: ClassVar[tuple[str, ...]] = (
        *(
            "program",
            "id",
            "type",
            "comm",
            "pid",
            "cpu",
            "events",
            "average",
            "run_count",
            "run_time",
            "misses",
        ),
        *("processes", "object", "memory", "uid", "loaded"),
    )

    def __init__(self, **given: Any) -> None:
        self._lock = threading.RLock()  # pictures look from threads of their own
        self._samples: deque[tuple[float, dict[int, tuple[int, int]]]] = deque()
        self._taken = pd.DataFrame()
        self._found = float("-inf")
        self._held: dict[int, dict[str, Any]] = {}
        self._objects: WeakKeyDictionary[BpfObject, dict[int, tuple[str, str]]] = WeakKeyDictionary()
        self._statistics = contextlib.ExitStack()
        super().__init__(**given)
        try:
            self._statistics.enter_context(self.object.statistics())
        except BaseException:
            self._end()
            self.object.close()
            raise
        self.df  # noqa: B018  what rates begin with

    @property
    def df(self) -> pd.DataFrame:
        """The programs now; once the tool has stopped, as they were then."""
        return self.frame_with()

    def frame_with(self, *names: str) -> pd.DataFrame:
        with self._lock:
            if not self.closed:
                with meaning(self.system):
                    self._taken = self._take()
            frame = self._taken
        if self.add or names:
            frame = self._added(frame, list(dict.fromkeys([*self.add, *names])))
            frame.attrs = dict(self._taken.attrs)
        return frame

    def _take(self) -> pd.DataFrame:
        began, now = time.time(), time.monotonic()
        programs = [one for one in ids.programs() if self.given.get("type") in (None, one.kind)]
        stats = {one.id: (one.stats.run_count, one.stats.run_time_ns) for one in programs}
        while len(self._samples) > 1 and self._samples[1][0] <= now - _SPAN:
            self._samples.popleft()
        if not self._samples or now - self._samples[-1][0] >= 0.05:
            self._samples.append((now, stats))
        since, before = self._samples[0]
        self._find(now, set(stats))
        own = self._own_programs()
        rows = []
        for one in programs:
            held = self._held.get(one.id)
            if self.filters and held is None:
                continue
            count, spent = stats[one.id]
            old_count, old_spent = before.get(one.id, (0, 0))
            seconds = max(now - since, 1e-9)
            rows.append(
                {
                    "program": own.get(one.id, ("", one.name))[1],
                    "id": one.id,
                    "type": one.kind,
                    "cpu": 100 * (spent - old_spent) / 1e9 / seconds if now > since else 0.0,
                    "events": (count - old_count) / seconds if now > since else 0.0,
                    "average": spent / count if count else float("nan"),
                    "run_count": count,
                    "run_time": spent,
                    "misses": one.stats.recursion_misses,
                    **(held or {"comm": None, "pid": None, "processes": 0}),
                    "object": own.get(one.id, ("", ""))[0],
                    "memory": one.jited_size,
                    "uid": one.uid,
                    "loaded": self.boot_offset + one.loaded_ns,
                }
            )
        frame = pd.DataFrame(rows, columns=list(self.columns))
        frame = frame.astype(
            {"run_count": "uint64", "run_time": "uint64", "misses": "uint64", "pid": "Int64", "uid": "uint32"}
        ).astype(dict.fromkeys(("type", "comm", "object"), "category"))
        frame["loaded"] = pd.to_datetime(frame["loaded"], unit="ns", utc=True)
        frame = frame.sort_values(["cpu", "run_time"], ascending=False, kind="stable", ignore_index=True)
        provenance = dict(self.frames.provenance)
        frame.attrs[ATTR] = describe(
            self.object.name, "programs", (began, time.time()), len(frame), {}, provenance
        )
        frame.attrs["bpfnb_columns"] = _NOTES
        return frame

    def _own_programs(self) -> dict[int, tuple[str, str]]:
        """By id, the object and the whole name of each program that this process loaded there."""
        for obj in objects.values():
            here = getattr(obj.backend, "system", None) is self.system
            if here and obj not in self._objects and obj.state != "closed":
                details: Any = getattr(obj.loaded, "details", dict)  # of a recording there are none
                with contextlib.suppress(BpfnbError):  # it was closed just now
                    found = details()
                    self._objects[obj] = {one.id: (obj.name, name) for name, one in found.items()}
        return {number: names for known in self._objects.values() for number, names in known.items()}

    def _find(self, now: float, programs: set[int]) -> None:
        """Who has which program."""
        if now - self._found < _AGAIN and programs <= self._held.keys() | self._nobody:
            return
        holders = self.object.maps["holders"]
        holders.clear()
        self.object.programs["find_holders"].text()
        self._held = {
            number: {"comm": held["comm"], "pid": held["pid"], "processes": held["processes"]}
            for number, held in holders.items()
        }
        self._nobody = programs - self._held.keys()
        self._found = now

    _nobody: set[int] = set()  # noqa: RUF012  replaced, never changed

    def over_time(self, column: str = "run_time", **options: Any) -> TimeSeries:
        """What each program takes over time: ``run_time`` (ns a second) or ``run_count``."""
        from bpfnb.views import timeseries

        return timeseries(
            self, column, **{"by": "program", "mode": "rate", "title": self.object.name, **options}
        )

    def stop(self) -> None:
        if not self.closed:
            self.df  # noqa: B018  the last look
        super().stop()
        self._statistics.close()

    def close(self) -> None:
        self.stop()
        super().close()
