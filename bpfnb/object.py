"""A loaded BPF object: programs, maps, streams and global variables under one name, attached and detached as one."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from bpfnb import annotations as notes
from bpfnb.compile import BpfElf, Source
from bpfnb.cost import Cost, meter
from bpfnb.errors import AttachError, Diagnostic, UnknownName
from bpfnb.frames import MapFrame, Stream, pump
from bpfnb.frames.layout import Layout
from bpfnb.kernel.backend import Backend, LoadedObject, MapInfo, ProgramStats
from bpfnb.program import Program
from bpfnb.variables import Vars

if TYPE_CHECKING:
    from bpfnb.views import ObjectPanel, View

__all__ = ["STREAM_KINDS", "BpfObject", "objects"]

STREAM_KINDS = frozenset({"ringbuf", "perf_event_array"})
EXCLUSIVE = frozenset({"xdp", "sk_lookup", "flow_dissector"})  # one program a hook

objects: dict[str, BpfObject] = {}
"""The live objects of this process by name."""


class BpfObject:
    """What a ``%%bpf`` cell makes. Get one from :func:`bpfnb.load`.

    Maps, streams and programs are attributes (``io.lat``, ``io.events``) and items of ``maps``, ``streams`` and
    ``programs``; global variables are attributes of ``vars``. ``state`` is one of ``loaded`` (nothing attached yet),
    ``attached``, ``paused``, ``stopped`` (detached for good, maps and frames readable) and ``closed`` (nothing left
    in the kernel; what streams had collected stays readable). As a context manager it closes itself.
    """

    origin = ""
    """Where its data come from, where that is not this machine's kernel: ``recorded ... on kernel ...``."""

    def __init__(
        self,
        name: str,
        elf: BpfElf,
        loaded: LoadedObject,
        backend: Backend,
        *,
        options: Mapping[str, Mapping[str, Any]],
        rows: int | None = None,
        watchdog: float | None = None,
    ) -> None:
        self.name = name
        self.elf = elf
        self.loaded = loaded
        self.backend = backend
        self.watchdog = watchdog
        self.note = ""
        self.state = "loaded"
        self.endings: list[Callable[[], object]] = []
        """Called when it stops: nothing more will come, and maps can still be read."""
        self.owner: Callable[[], Any] | None = None
        """Of a tool's object, what gives the tool, or None once that is gone."""
        self._final_costs: dict[str, Cost] = {}
        self._lock = threading.RLock()
        self.programs = {n: Program(self, info, options.get(n, {})) for n, info in loaded.programs.items()}
        self.streams: dict[str, Stream] = {}
        self.maps: dict[str, MapFrame] = {}
        provenance = {
            "object": name,
            "kernel": backend.release,
            "btf": elf.btf.hash,
            "compiler": elf.compiler,
            "source": elf.key,
        }
        for map_name, info in loaded.maps.items():
            if info.internal:
                continue
            if info.kind in STREAM_KINDS:
                self.streams[map_name] = self._stream(info, provenance, rows)
            else:
                self.maps[map_name] = self._map(info, provenance)
        for frame in (*self.streams.values(), *self.maps.values()):
            frame.siblings = self.maps
            frame.pauses.append((0.0, None))  # until a program is attached
        self.origin = getattr(backend, "origin", "")
        for frame in (*self.streams.values(), *self.maps.values()) if self.origin else ():
            frame.origin, frame.symbols = self.origin, getattr(backend, "symbols", None)
        for stream in self.streams.values():
            pump.add(stream)

    @cached_property
    def vars(self) -> Vars:
        """The global variables: ``obj.vars.threshold = 10`` is seen by the program's next run."""
        return Vars(self.loaded, self.elf.btf)

    @property
    def source(self) -> Source:
        return self.elf.source

    @property
    def status(self) -> str:
        """The state in the words that people are shown."""
        return self.state

    @property
    def warnings(self) -> Sequence[Diagnostic]:
        """The compiler's warnings, at the cell's lines."""
        return self.elf.warnings

    def _map(self, info: MapInfo, provenance: Mapping[str, str]) -> MapFrame:
        return MapFrame(
            info.name,
            self.loaded,
            info,
            self.elf.btf,
            provenance=provenance,
            lost=self._counted(info.name, "full"),
            view=self.elf.views.get(info.name),
            clock=self.backend.clock_offset,
        )

    def _stated(self, info: MapInfo) -> notes.Annotations:
        """What the declaration of a buffer says."""
        declared = self.elf.btf.get(info.name, "var")
        return notes.of(self.elf.btf, declared.id) if declared else notes.NONE

    def _layouts(self, info: MapInfo) -> list[Layout]:
        """Of the records of a buffer."""
        each = notes.Annotations(sensitive=self._stated(info).sensitive)
        return [
            Layout.of(self.elf.btf, event.type_id, each, clock=self.backend.clock_offset)
            for event in self.elf.events.get(info.name, ())
            if event.type_id
        ]

    def _stream(self, info: MapInfo, provenance: Mapping[str, str], rows: int | None) -> Stream:
        stream = Stream(
            info.name,
            self.loaded.reader(info.name),
            self._layouts(info),
            lost=self._counted(info.name, "lost"),
            provenance=provenance,
            kind=info.kind,
        )
        if rows is not None:
            stream.limit(rows=rows)
        stream.view = self._stated(info).view
        return stream

    def _counted(self, map_name: str, what: str) -> Any:
        """A function that sums the in-kernel counters that the compiled code keeps for a map; None without any."""
        sections = {info.internal: name for name, info in self.loaded.maps.items() if info.internal}
        places = [
            (sections[counter.section], counter.offset)
            for counter in self.elf.counters.get(map_name, ())
            if counter.what == what and counter.section in sections
        ]

        if not places and not self.elf.counting:
            return None

        def total() -> int:
            return sum(int.from_bytes(self.loaded.read_bytes(m, offset, 8), "little") for m, offset in places)

        return total

    # Attachment

    def attach(self, *, instead_of: BpfObject | None = None) -> BpfObject:
        """Attach every program whose section or options say where. All or none: a failure detaches the others.

        Where a hook takes one program only and *instead_of* has it, the kernel exchanges the two in one step.
        """
        with self._lock:
            taken = []
            try:
                for program in self.programs.values():
                    if not program.attaches or program.attached:
                        continue
                    before = instead_of.programs.get(program.name) if instead_of is not None else None
                    if before is not None and _exchange(before, program):
                        taken.append((program, before))
                    else:
                        self._attach_program(program, program.options)
            except BaseException:
                for program, before in taken:
                    _exchange(program, before)
                self.detach()
                raise
        return self

    def detach(self) -> None:
        """Detach every program; the object stays loaded."""
        with self._lock:
            self._detach(*self.programs.values())

    def pause(self) -> None:
        """Detach, until :meth:`resume`. Maps keep their contents."""
        with self._lock:
            if self.state == "attached":
                self.detach()
                self.state = "paused"

    def resume(self) -> None:
        """Attach again after :meth:`pause`."""
        with self._lock:
            if self.state == "paused":
                self.attach()

    def stop(self, note: str = "") -> None:
        """Detach for good. Maps stay readable and streams keep what they have, until :meth:`close`."""
        with self._lock:
            if self.state in ("stopped", "closed"):
                return
            self.detach()
            for stream in self.streams.values():
                stream.finish()
            self.state, self.note = "stopped", note
            self._final_costs = meter.costs(self)
            for ending in list(self.endings):
                ending()
            meter.forget(self)
            for frame in (*self.streams.values(), *self.maps.values()):
                frame.end()
            if "_panel" in self.__dict__:
                self._panel.stop()

    def close(self, note: str = "") -> None:
        """Detach and release everything. Streams keep the rows they have; maps are gone with the kernel's."""
        with self._lock:
            if self.state == "closed":
                return
            self.stop(note)
            for stream in self.streams.values():
                pump.remove(stream)
                stream.close()
            self.loaded.close()
            self.state = "closed"
            if objects.get(self.name) is self:
                del objects[self.name]
        if "anywidget" in sys.modules:  # else nothing was shown
            from bpfnb.views.objectpanel import release

            release(self)

    def _attach_program(self, program: Program, options: Mapping[str, Any]) -> None:
        with self._lock:
            program.links.append(self.loaded.attach(program.name, **options))
            self._now_attached()

    def _now_attached(self) -> None:
        self.state, self.note = "attached", ""
        for frame in (*self.streams.values(), *self.maps.values()):
            frame.measuring(True)
        meter.watch(self)

    def _detach(self, *programs: Program) -> None:
        with self._lock:
            links = [link for program in programs for link in program.links]
            for program in programs:
                program.links.clear()
            self.loaded.detach(*links)  # together, since the kernel lets each wait
            if self.state == "attached" and not any(p.attached for p in self.programs.values()):
                self.state = "loaded"
                for frame in (*self.streams.values(), *self.maps.values()):
                    frame.measuring(False)

    # Cost

    def read_stats(self) -> Mapping[str, ProgramStats]:
        return self.loaded.stats()

    def statistics(self) -> AbstractContextManager[object]:
        return self.backend.statistics()

    def costs(self) -> dict[str, Cost]:
        """Cost by program; looking keeps the kernel's statistics on for five seconds. After a stop, what it was."""
        if self.state == "attached":
            meter.look()
        return meter.costs(self) or self._final_costs

    def stats(self) -> pd.DataFrame:
        """One row a program: section, attached, run_count, run_time_ns, avg_ns, runs_per_s, cpu_share.

        Counts cover the seconds in which statistics were on (``seconds``); shares are of one CPU.
        """
        costs = self.costs()
        rows = []
        for name, program in self.programs.items():
            cost = costs.get(name, Cost())
            rows.append(
                {
                    "program": name,
                    "section": program.section,
                    "attached": program.attached,
                    "run_count": cost.run_count,
                    "run_time_ns": cost.run_time_ns,
                    "avg_ns": cost.average_ns,
                    "runs_per_s": cost.runs_per_second,
                    "cpu_share": cost.cpu_share,
                    "seconds": cost.seconds,
                }
            )
        return pd.DataFrame(rows).set_index("program") if rows else pd.DataFrame()

    @property
    def cpu_share(self) -> float:
        """Share of one CPU that the programs took over the last five seconds; NaN before it was measured."""
        costs = (meter.costs(self) or self._final_costs).values()
        return sum(cost.cpu_share for cost in costs) if costs else float("nan")

    def too_costly(self, share: float) -> None:
        """The watchdog's verdict: stop and say why."""
        limit = self.watchdog or 0.0
        self.stop(
            f"stopped by the watchdog: its programs took {share:.0%} of a CPU over 5 s, the limit is {limit:.0%} "
            f"(watchdog=None or another share changes that)"
        )

    # Names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        for family in (self.streams, self.maps, self.programs):
            if name in family:
                return family[name]
        known = [*self.streams, *self.maps, *self.programs]
        raise UnknownName.among(known, name, f"'{self.name}' has no map, stream or program '{name}'")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.streams, *self.maps, *self.programs]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        return iter([*self.streams, *self.maps])

    # Display

    def panel(self) -> ObjectPanel:
        """The live panel, always the same one: state, buttons, programs, streams, maps, a control for each variable."""
        from bpfnb.views.objectpanel import ObjectPanel, kept

        return kept(self, "_panel", lambda: ObjectPanel(self))

    def views(self) -> list[View]:
        """The views that the VIEW annotations of streams and maps ask for, always the same ones."""
        from bpfnb.views.objectpanel import annotated

        return [annotated(frame) for frame in self._annotated()]

    def _annotated(self) -> list[Stream | MapFrame]:
        frames: tuple[Stream | MapFrame, ...] = (*self.streams.values(), *self.maps.values())
        return [frame for frame in frames if frame.view]

    def _ipython_display_(self) -> None:
        from bpfnb.views.objectpanel import display_object

        display_object(self)

    def _display_(self) -> Any:
        """What marimo shows: as in a notebook, one below the other."""
        return sys.modules["marimo"].vstack([self.panel(), *self.views()])

    def __repr__(self) -> str:
        with contextlib.suppress(ImportError):
            from bpfnb.views import object_text

            return object_text(self)
        return f"<BpfObject {self.name} {self.state}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from bpfnb.views import object_html, object_text

        return {"text/plain": object_text(self), "text/html": object_html(self)}


def _exchange(old: Program, new: Program) -> bool:
    """Put *new* at the hook that *old* holds, in one step, where the hook takes one program and the kernel can."""
    alike = old.kind in EXCLUSIVE and old.section == new.section and old.options == new.options
    if not alike or len(old.links) != 1:
        return False
    try:
        link = old.object.loaded.replace(old.links[0], new.object.loaded, new.name)
    except AttachError:
        return False
    old.links.clear()
    new.links.append(link)
    new.object._now_attached()
    return True
