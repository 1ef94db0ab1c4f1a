"""Any tracepoint of the kernel as a table, with a filter over its fields that is compiled into the program.

``bpfnb trace sched:sched_switch --filter "prev_pid == 42 && next_comm ~ 'redis*'" --columns time,next_comm``. Fields
have tracefs' names. ``cpu``, ``comm``, ``pid``, ``tid`` and ``uid`` are of the task that ran then; where the event has
a field of that name they are ``current_pid`` and so on. Several tracepoints, or patterns (``'tcp:*'``), are one table
in the order of time, with a column ``event``; ``t["sched:sched_switch"]`` is the live frame of one. ``--list`` lists
the tracepoints and their fields. Filters: ``== != < <= > >=``, ``& | ^ << >> + - *``, ``&& || !`` or the words,
parentheses; text in quotes with ``== !=`` and, as a pattern with ``* ? [a-z]``, ``~ !~``; numbers as 42 and 0x2a,
names of errors, signals and of what the event's print format knows (``newstate == TCP_ESTABLISHED``). Text of a system
call that was not in memory yet when the call began is ``(fault)``. Linux 5.11.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.bpf import TOOLS
from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames import Stream
from bpfnb.frames.live import LiveFrame
from bpfnb.tools.filtered import CURRENT, Filtered, indented
from bpfnb.tools.tool import Load, Option, Tool
from bpfnb.tools.tracepoints import Event, Names, TraceField, expand, find_event

if TYPE_CHECKING:
    from bpfnb.views import View

MOST = 100  # tracepoints at once


class Trace(Tool):
    family = "kernel"
    options = (
        Option(
            "event",
            str,
            "tracepoints, as sched:sched_switch or patterns; up to 100",
            "EVENT",
            variable=False,
            several=True,
            positional=True,
        ),
        Option(
            "filter",
            str,
            "only events for which this is true: \"prev_pid == 42 && next_comm ~ 'redis*'\"",
            "EXPR",
            variable=False,
        ),
        Option("columns", str, "only these columns, in this order", "NAME", variable=False, several=True),
        Option("string_bytes", int, "bytes to keep of texts of any length (128)", "N", variable=False),
    )

    # From the options to a program

    def prepare(self) -> Load:
        asked = self.given.get("event")
        if not asked:
            raise BadValue(
                "trace takes a tracepoint: sched:sched_switch",
                hints=["bpfnb trace 'sched:*' --list lists some"],
            )
        self.string_bytes: int = self.given.get("string_bytes", 128)
        if not 16 <= self.string_bytes <= 4096:
            raise BadValue(f"string_bytes= is from 16 to 4096, not {self.string_bytes}")
        names = expand(asked)
        if len(names) > MOST:
            raise BadValue(f"{len(names)} tracepoints are too many, {MOST} go at once")
        self.events = [find_event(name) for name in names]
        own = {field.name for event in self.events for field in event.fields}
        self.cgroup = "cgroup_id" if "cgroup_id" not in own else "current_cgroup_id"
        self.kind = "event" if "event" not in own else "tracepoint"
        self.current = {name: name if name not in own else f"current_{name}" for name in ("time", *CURRENT)}
        self.pid = self.current["pid"]  # type: ignore[misc]  # with the events it is another
        self.shown = self._shown()
        expression = self.given.get("filter")
        self.conditions = {
            str(event): Filtered(event, expression, self.string_bytes) for event in self.events
        }
        return Load()

    def _shown(self) -> tuple[str, ...]:
        """The frame's columns."""
        several = [self.kind] * (len(self.events) > 1)
        current = [self.current[name] for name in ("time", "cpu", "comm", "pid", "tid", "uid")]
        fields = [field.name for event in self.events for field in event.fields]
        known = list(dict.fromkeys([*several, *current, *fields]))
        asked = self.given.get("columns")
        if not asked:
            hidden = {"__syscall_nr", self.current["uid"]}
            return tuple(name for name in known if name not in hidden)
        for name in asked:
            if name not in known:
                of = f"{self.events[0]}" if len(self.events) == 1 else "none of these events"
                raise UnknownName.among(known, name, f"{of} has {'a' if several else 'no'} field '{name}'")
        return tuple(dict.fromkeys(asked))

    def text(self) -> str:
        common: str = (TOOLS / "trace.bpf.c").read_text()
        return "\n".join([common, *self._rows(), *map(self._function, self.events)])

    def _rows(self) -> list[str]:
        """The structs of the events' rows. Each has a size of its own, by which the stream tells them apart."""
        rows = []
        sizes: set[int] = set()
        for event in self.events:
            kept = self._kept(event)
            members = [f"ktime_ns_t {self.current['time']}", f"cgroup_id_t {self.cgroup} HIDDEN"]
            members += [f"u32 {self.kind}"] * (len(self.events) > 1)
            members += [c.format(self.current[name]) for name, (c, _) in CURRENT.items()]
            end = 48 + 4 * (len(self.events) > 1)
            members += [field.declaration(self.string_bytes) for field in kept]
            for width, align in (field.footprint(self.string_bytes) for field in kept):
                end = -(-end // align) * align + width
            size = next(free for free in itertools.count(-(-end // 8) * 8, 8) if free not in sizes)
            if size - end >= 8:
                members.append(f"u8 bpfnb_padding[{size - end}] HIDDEN")
            sizes.add(size)
            rows.append(
                f"struct {event.identifier} {{\n" + "".join(f"\t{one};\n" for one in members) + "};\n"
            )
        return rows

    def _kept(self, event: Event) -> list[TraceField]:
        """The fields that a row has: those that are shown."""
        return [field for field in event.fields if field.name in self.shown]

    def _function(self, event: Event) -> str:
        name = event.identifier
        filtered = self.conditions[str(event)]
        lines = [f"e->{self.current['time']} = bpf_ktime_get_ns();"]
        lines += [f"e->{self.cgroup} = bpf_get_current_cgroup_id();"]
        if len(self.events) > 1:
            lines.append(f"e->{self.kind} = {self.events.index(event)};")
        for own, (_, c) in CURRENT.items():
            member = f"e->{self.current[own]}"
            lines.append(f"{member} = {c};" if c else f"bpf_get_current_comm({member}, sizeof({member}));")
        lines += [field.read(f"e->{field.name}", self.string_bytes) for field in self._kept(event)]
        body = indented(
            *[f"struct {name} *e;", *filtered.declared, "", *filtered.lines],
            *["e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);", "if (!e)", "\treturn 0;"],
            *[*lines, "bpf_ringbuf_submit(e, 0);", "return 0;"],
        )
        return f'{filtered.before}SEC("tp/{event.category}/{event.name}") int at_{name}(void *ctx)\n{{\n{body}}}\n'

    # What it saw

    def __getitem__(self, event: str) -> LiveFrame:
        """The rows of one of several tracepoints, as a live frame. Raises UnknownName."""
        known = {str(one): one for one in self.events}
        if event not in known:
            raise UnknownName.among(known, event, f"'{event}' is not traced here")
        stream: Any = self.frames
        if self.origin and len(known) > 1:
            only: LiveFrame = stream.only(self.kind, event)
            return only
        assert isinstance(stream, Stream)
        return stream[known[event].identifier] if len(known) > 1 else stream

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = raw
        if len(self.events) > 1:
            kinds = pd.Categorical.from_codes(
                raw[self.kind].to_numpy(int), pd.Index(list(map(str, self.events)))
            )
            frame = raw.assign(**{self.kind: kinds})
        frame = frame.reindex(columns=list(self.shown))
        for name, names in self._names.items():
            if name in frame:
                frame[name] = names.column(frame[name])
        frame.attrs = dict(raw.attrs)
        return frame

    @property
    def _names(self) -> dict[str, Names]:
        """What values are called, of the fields that are shown and are called the same in all events."""
        found: dict[str, Names] = {}
        different = set()
        for field in (field for event in self.events for field in event.fields if field.names):
            assert field.names is not None
            if found.setdefault(field.name, field.names) != field.names:
                different.add(field.name)
        return {name: names for name, names in found.items() if name in self.shown and name not in different}

    def state(self) -> dict[str, Any]:
        said = {
            "events": [*map(str, self.events)],
            "kind": self.kind,
            "pid": self.pid,
            "shown": [*self.shown],
        }
        return {**super().state(), **said, "named": bool(self._names)}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.events = [
            Event(category, name, ())
            for category, _, name in (str(one).partition(":") for one in state["events"])
        ]
        self.kind, self.pid = str(state["kind"]), str(state["pid"])  # type: ignore[misc]
        self.shown = tuple(map(str, state["shown"]))
        self._plain = len(self.events) == 1 and not state["named"]

    @cached_property
    def _plain(self) -> bool:
        """Whether rows are shown as the stream has them."""
        return len(self.events) == 1 and not self._names

    def view(self, **options: Any) -> View:
        """The table of its rows, live. *options* are those of :func:`bpfnb.views.table`."""
        drawn = self.picture(self.frames if self._plain and not self.add else self, **options)
        drawn.remark = self.remark
        return drawn

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import table

        return table(data, **{"columns": [*self.shown, *self.add], "title": self._title(), **options})

    def _title(self) -> str:
        return " ".join(map(str, self.events)) if len(self.events) < 4 else f"{len(self.events)} tracepoints"
