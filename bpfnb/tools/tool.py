"""What all tools are: a program with options and the common filters, loaded, live, a frame, a picture, stopped.

A tool says what differs in a class of its own::

    class Exec(Tool):
        options = (Option("failed", bool, "also programs that could not be started"),)
        columns = ("time", "comm", "pid", "ppid", "ret", "args")

What recordings take of it is in :mod:`bpfnb.tools.recordable`, columns of processes in :mod:`bpfnb.tools.enriched`,
what is asked of the machine that is traced in :mod:`bpfnb.tools.traced`.
"""

from __future__ import annotations

import inspect
import itertools
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from bpfnb import guest
from bpfnb.bpf import TOOLS
from bpfnb.frames import MapFrame, Stream
from bpfnb.frames.presented import Presented
from bpfnb.kernel.system import meaning
from bpfnb.loading import WATCHDOG, load
from bpfnb.object import BpfObject, objects
from bpfnb.processes import Processes
from bpfnb.recording import session
from bpfnb.tools.enriched import Enriched
from bpfnb.tools.filters import FILTERS, globals_of, resolved
from bpfnb.tools.needs import told
from bpfnb.tools.options import COMMON, Option, check_columns, checked, named, signature
from bpfnb.tools.options import guest as virtual_machine
from bpfnb.tools.recordable import Recordable
from bpfnb.tools.silence import Silence

if TYPE_CHECKING:
    from bpfnb.views import View

__all__ = ["Load", "Option", "Tool"]


@dataclass
class Load:
    """What is decided before loading: values of global variables, macros, attach options (see bpfnb.load)."""

    globals: dict[str, Any] = field(default_factory=dict)
    defines: tuple[str, ...] = ()
    attach: dict[str, Any] = field(default_factory=dict)


class _Started(type):
    """What calling a tool's class does: start it, or, while recordings are replayed, take the recorded one."""

    def __call__(cls: type[Tool], *target: Any, **given: Any) -> Tool:  # type: ignore[misc]
        asked = {**named(cls.name, cls.options, target), **given}
        if asked.get("on") is None:  # else it is asked for there
            recorded = session.replayed_tool(cls, _free_name(cls.name), asked)
            if recorded is not None:
                return recorded
        with session.inner():
            made: Tool = super().__call__(*target, **given)  # type: ignore[misc]
        try:
            session.mirror(made, cls.name)
        except BaseException:
            made.close()
            raise
        return made


class Tool(Recordable, Enriched, metaclass=_Started):
    """A running probe. ``t.df`` is what it saw, ``t.view()`` its picture, ``t.stop()`` ends it, ``t.close()`` frees it.

    It is live once it is made. As a context manager it closes itself. ``object`` is the loaded program with its maps
    and streams, ``source`` its C text.

    :raises UnknownName, BadValue: for options that there are not, or make no sense; nothing is loaded then.
        KernelFeatureMissing on a kernel older than the one that it says. Otherwise what :func:`bpfnb.load` raises.
    """

    family: ClassVar[str] = ""
    """What it is about, as the list of tools groups them: processes, CPU, memory, files, disks, network, locks, ..."""
    snapshot: ClassVar[bool] = False
    """Whether the frame is what there is now: a terminal need not wait for it."""
    options: ClassVar[tuple[Option, ...]] = ()
    stream: ClassVar[str] = "events"
    """The stream or map that the frame is made of."""
    columns: ClassVar[tuple[str, ...]] = ()
    """The frame's columns in order; none: all that the stream has."""
    drawn: ClassVar[tuple[str, ...]] = ()
    """The columns that the picture begins with; none: all of :attr:`columns`."""
    rowwise: ClassVar[bool] = False
    """Whether :meth:`frame` makes each row of one row of the stream, so that a view asks for those that it shows."""
    settles: ClassVar[float] = 0.0
    """Seconds after which a row of a stream stays as it is: names may be learned a little later."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        module = sys.modules[cls.__module__]
        cls.name = cls.__module__.rpartition(".")[2]
        cls.summary, _, cls.more = (part.strip() for part in (module.__doc__ or "").partition("\n"))
        known = (*cls.options, *(Option(f.name, str, f.help) for f in FILTERS.values()), *COMMON)
        cls.__doc__ = "\n".join(
            [cls.summary, "", cls.more, "", *(f":param {o.name}: {o.help}" for o in known)]
        )
        cls.__signature__ = signature(known)

    name: ClassVar[str]
    summary: ClassVar[str]
    more: ClassVar[str]
    __signature__: ClassVar[inspect.Signature]

    def __init__(self, *target: Any, **given: Any) -> None:
        wanted, text = self._prepared({**named(self.name, self.options, target), **given})
        self._last = pd.DataFrame()
        with meaning(self.system):
            self.processes = Processes()
            self.begin()
        watchdog = self.shared.get("watchdog", WATCHDOG)
        with told(self.name, self.more, self.shared.get("on")):
            self.object: BpfObject = load(
                TOOLS / f"{self.name}.bpf.c" if text is None else text,
                name=_free_name(self.name),
                directory=TOOLS,
                globals=wanted.globals,
                defines=wanted.defines,
                rows=self.shared.get("rows"),
                watchdog=None if math.isinf(watchdog) else watchdog,
                on=self.shared.get("on"),
                **wanted.attach,
            )
        self.object.owner = weakref.ref(self)
        self._forget: Callable[[], None] | None = None
        if self.add and isinstance(self.frames, Stream):
            self._forget = self.frames.on(self._seen)
        if self.filters:  # before its views draw their last pictures
            self.when_ended(self._silence.end)
        self._timer: threading.Timer | None = None
        if "duration" in self.shared:
            self._timer = threading.Timer(self.shared["duration"], self.stop)
            self._timer.daemon = True
            self._timer.start()

    def _prepared(self, given: Mapping[str, Any]) -> tuple[Load, str | None]:
        """What the tool decides before loading, and its text; its own options, the filters and what all tools share
        taken apart.
        """
        self.asked = {name: value for name, value in given.items() if value is not None}
        on = self.asked["on"] if "on" in self.asked else guest.chosen()
        on = None if on is None else virtual_machine(on)  # once: by a kernel's version it may be started
        self.system = None if on is None else on.system
        with meaning(self.system):
            self.given = checked(self.name, self.options, {**self.asked, "on": on})
            self.filters = {name: self.given.pop(name) for name in FILTERS if name in self.given}
            self.shared = {o.name: self.given.pop(o.name) for o in COMMON if o.name in self.given}
            self.add: tuple[str, ...] = tuple(self.shared.get("add", ()))
            load = self.prepare()
            self.passing = resolved(self.filters)
            load.globals |= globals_of(self.passing)
            return load, self.text()

    # What a tool may say otherwise

    def prepare(self) -> Load:
        """What the options (``self.given``: those that were given) mean for the program."""
        variables = {option.name for option in self.options if option.variable}
        return Load({name: value for name, value in self.given.items() if name in variables})

    def begin(self) -> None:
        """Note what the machine was like before the program ran. Not asked for a plan."""

    def text(self) -> str | None:
        """The program's C text where it is made for the options, asked after :meth:`prepare`; None: the tool's file."""
        return None

    @classmethod
    def instead(cls, given: Mapping[str, Any]) -> Any:  # noqa: ARG003
        """What a command line with these options shows instead of starting the tool; None: it is started."""
        return None

    @classmethod
    def planned(cls, **given: Any) -> tuple[str, Load]:
        """The C text and the settings that these options make; nothing is loaded. Raises as starting it does."""
        tool = cls.__new__(cls)
        load, text = tool._prepared(given)
        text = (TOOLS / f"{cls.name}.bpf.c").read_text() if text is None else text
        return tool.in_cell(text), load

    def in_cell(self, text: str) -> str:
        """The C *text* as a cell of its own has it, where attaching is not all said by sections and options."""
        return text

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        """The tool's frame, from the stream's or the map's."""
        return raw[list(self.columns)] if self.columns else raw

    def picture(self, data: Any, **options: Any) -> View:
        """The tool's view of *data*: the stream itself, or something with ``.df`` that is this tool's frame."""
        from bpfnb.views import table

        shown = [*(self.drawn or self.columns), *self.add] or None
        return table(data, **{"columns": shown, "title": self.object.name, **options})

    def report(self) -> str | None:
        """What a terminal shows at the end, where that is not the rows."""
        return None

    # What it saw

    @property
    def frames(self) -> Stream | MapFrame:
        """The stream or map that :attr:`df` is made of."""
        if self.stream in self.object.streams:
            return self.object.streams[self.stream]
        return self.object.maps[self.stream]

    @property
    def df(self) -> pd.DataFrame:
        """What was seen so far, a DataFrame that nothing changes afterwards. ``attrs["bpfnb"]`` says what was lost.

        Of a map that was closed it is what was there when the tool stopped.
        """
        if self.object.state == "closed" and isinstance(self.frames, MapFrame):
            return self._last
        return self.frame_with()

    def frame_with(self, *names: str) -> pd.DataFrame:
        """As :attr:`df`, with columns of the processes beside: parent, cmdline, user, cgroup, unit, container.

        Processes that have ended are known only where they were seen alive: name the columns when the tool is started
        (``add=``), and it looks at processes while they live. User, cgroup, unit and container of a row need
        no living process where the tool notes user and cgroup itself.
        """
        check_columns(names)
        return self._frame(0, names)

    def new(self, start: int, stop: int | None = None) -> pd.DataFrame:
        """As :attr:`df`, of a stream only the rows from number *start* on, counted from the first that came.

        *stop*: up to that number (exclusive).
        """
        part = (start or stop is not None) and isinstance(self.frames, Stream)
        return self._frame(start, stop=stop) if part else self.df

    def _frame(self, start: int, names: Sequence[str] = (), *, stop: int | None = None) -> pd.DataFrame:
        frames = self.frames
        if isinstance(frames, Stream):
            frames.drain()
            raw = frames.slice(start, stop)
        else:
            raw = frames.df
        with meaning(self.system):
            frame = self.frame(raw)
            if self.add or names:
                frame = self._added(frame, list(dict.fromkeys([*self.add, *names])))
        frame = frame.reset_index(drop=True)
        frame.attrs = {**raw.attrs, **frame.attrs}
        return frame

    def view(self, **options: Any) -> View:
        """The tool's picture, live. *options* are those of the view's function in :mod:`bpfnb.views`."""
        drawn = self.picture(self._drawable(), **options)
        drawn.remark = self.remark
        return drawn

    def remark(self) -> str:
        """What stands below its views: the watchdog's word, or why its filters may let nothing pass; "" for nothing."""
        return self.object.note or self._silence.said()

    @cached_property
    def _silence(self) -> Silence:
        return Silence(self)

    def _drawable(self) -> Any:
        """What the picture is made of: the stream, or what gives its rows as :attr:`df` has them, else the tool."""
        frames = self.frames
        plain = type(self).frame is Tool.frame
        if not isinstance(frames, Stream) or not (plain or self.rowwise):
            return self
        return frames if plain and not self.add else Presented(frames, self._as_shown)

    def _as_shown(self, raw: pd.DataFrame) -> pd.DataFrame:
        with meaning(self.system):
            frame = self.frame(raw)
            return self._added(frame, self.add) if self.add else frame

    @cached_property
    def _picture(self) -> View:
        return self.view()

    @property
    def used(self) -> tuple[str, ...]:
        """The hooks that it stands on, as libbpf's section names."""
        return tuple(
            dict.fromkeys(program.section for program in self.object.programs.values() if program.attaches)
        )

    @property
    def source(self) -> str:
        """The program's C text."""
        return self.object.source.text

    @property
    def readable(self) -> bool:
        """Whether the program's maps can be read: until it is closed. Of a recording they never can."""
        return self.object.state != "closed"

    @property
    def grows(self) -> bool:
        """Whether rows of the frame stay as they are while others come after them."""
        return isinstance(self.frames, Stream)

    def wait(self, rows: int = 1, timeout: float | None = None) -> bool:
        """Block until *rows* rows have arrived in all; False if *timeout* seconds passed before."""
        frames = self.frames
        if isinstance(frames, Stream):
            return frames.wait_for(rows, timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while len(self.df) < rows:
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    # Its end

    def stop(self) -> None:
        """End measuring; what was seen stays readable."""
        self._end()
        self.object.stop()

    def close(self) -> None:
        """End measuring and leave nothing in the kernel. What was seen stays readable."""
        if self.object.state == "closed":
            return
        self._end()
        self.object.stop()
        if isinstance(self.frames, MapFrame):
            self._last = self.df
        self.object.close()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._forget is not None:
            self._forget()

    @property
    def closed(self) -> bool:
        """Whether nothing will change any more, whoever stopped it."""
        return self.object.state in ("stopped", "closed")

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call the bound method *callback* once nothing will change any more. Its object is held weakly."""
        self.frames.when_ended(callback)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Display

    def __repr__(self) -> str:
        state = "live" if self.object.state == "attached" else self.object.state
        frames = self.frames
        if isinstance(frames, Stream):
            lost = f", {frames.lost:,} LOST" if frames.lost else ""
            return f"<{self.object.name} {state}: {frames.total:,} rows{lost}>"
        return f"<{self.object.name} {state}>"

    def _ipython_display_(self) -> None:
        from bpfnb.views.display import in_notebook

        if not in_notebook():
            raise NotImplementedError  # the text serves
        self._picture._ipython_display_()

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]


def _free_name(name: str) -> str:
    """The tool's name, numbered from the second of its objects on."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in objects)
