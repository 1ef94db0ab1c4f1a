"""Tools of stacks: ids that the kernel gives become text, a flame graph is the picture, and exports are one line.

The program includes ``<bpfnb/stacks.h>``; the rows of its stream, or the keys of its map, have ``user_stack`` and/or
``kernel_stack`` (``stack_id_t``) and ``pid``, the process whose user addresses they are. The class names the weight::

    class MemLeak(Stacked):
        \"""Memory that was not freed, by stack. ...\"""
        stream = "outstanding"                        # a stream's rows, or a map of stacks to weights
        weight = "bytes"                              # the column that a frame's width is; "" counts rows
        columns = ("comm", "pid", "bytes", "allocations", "user_stack")

``t.df`` has the stacks as text, ``outermost;...;innermost``, categorical: a missing value where there was no such stack
(a kernel thread has no user stack), ``[stack lost: why]`` where the kernel could not keep it, ``[why]`` for a frame
without a name. Frames of the kernel end in ``_[k]``. A map's rows come with the greatest weight first.
``attrs["bpfnb"]["stacks_lost"]`` counts the rows whose stack was lost; such a frame is not complete.

``t.view()`` is the flame graph, live; ``by`` (default ``comm``) stands at its root unless one process is filtered for.
``t.save("x.folded")``, ``.speedscope.json``, ``.pb.gz`` (pprof), ``.svg``, ``.png``, ``.html`` write it.

Columns of other names, or of another process than ``pid``: ``stacks = {"waker_user_stack": "waker_pid",
"waker_kernel_stack": None}``, in the order in which they stand on each other, the root's side first.

A tool with a ``frame()`` of its own begins it with ``frame = self.named(raw)``; its picture is then drawn from ``df``.
Processes are looked at as soon as one of their stacks is taken, so that those that have ended have names too. With
``inlined``, functions that the compiler put into others stand above them, marked ``_[i]``, and files of pprof and
speedscope have source lines, where DWARF tells them: ``go tool pprof -list f x.pb.gz``.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import BadValue, BpfnbError
from bpfnb.frames import MapFrame, Stream
from bpfnb.frames.completeness import ATTR
from bpfnb.symbols import Symbolizer
from bpfnb.symbols.kallsyms import KernelNames, is_kernel
from bpfnb.tools.tool import Load, Option, Tool
from bpfnb.views.flames.names import Names
from bpfnb.views.flames.naming import Naming
from bpfnb.views.flames.parts import Ids

if TYPE_CHECKING:
    from bpfnb.views import FlameGraph

__all__ = ["Stacked"]

_FIRST = 16384  # as in bpfnb/stacks.h: ids from here on are of the second map
_EFAULT = -14
_DEPTH = 12  # frames of BPF itself that may stand innermost
_BPF = re.compile(
    r"^(bpf_(trace_run|prog_|get_stack|trampoline|overflow)|__bpf_|__traceiter_|__probestub_|trace_call_bpf)"
)
_AGAIN = (0.1, 1.0)  # seconds after which a process is looked at again: it may have loaded libraries since

_SUFFIXES = (".folded", ".txt", ".speedscope.json", ".pb.gz", ".pprof", ".svg", ".png", ".html")


_INLINED = Option(
    "inlined",
    bool,
    "functions that the compiler inlined, too, and source lines in pprof files, where DWARF tells",
    variable=False,
)
_TO = Option("to", Path, "write the flame graph to this file at the end", "FILE", variable=False)


class Stacked(Tool):
    weight: ClassVar[str] = "count"
    """The column that is added up; "": each row counts one."""
    stacks: ClassVar[Mapping[str, str | None]] = {"user_stack": "pid", "kernel_stack": None}
    """The columns of stacks, the root's side first, each with the column of its process; None: the kernel's."""
    by: ClassVar[tuple[str, ...]] = ("comm",)
    """What stands at the root of the flame graph where several processes may be in it."""
    settles = _AGAIN[-1] + 0.5  # a process that is looked at again may have more names
    _symbolizer: Symbolizer | None = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        user = [column for column, owner in cls.stacks.items() if owner]
        own = (_INLINED, _TO) if user and (not cls.columns or {*user} & {*cls.columns}) else (_TO,)
        cls.options = tuple(dict.fromkeys((*cls.options, *own)))
        super().__init_subclass__(**keywords)

    def __init__(self, *target: Any, **given: Any) -> None:
        super().__init__(*target, **given)
        self.kept: Mapping[int, npt.NDArray[np.uint64]] = Kept(self.object.maps, self.symbols.kernel)
        names = Names()
        symbols = self._symbolizer or self.symbols
        self._namer = Naming(symbols, live=True)
        self._parts = {
            column: Ids(column, names, lambda: self.kept, naming=self._namer, owner=owner)
            for column, owner in self.stacks.items()
        }
        self._names = names
        self._naming = threading.Lock()
        self.stopped: int | None = None
        """When it was stopped, on the clock time.monotonic_ns(); None: it was not."""
        self._watcher = _Watcher(self.object.streams["processes"], symbols)
        if self.system is None:  # the first picture need not wait for them; a guest's come over its channel
            self.symbols.kernel.prepare()

    def prepare(self) -> Load:
        to = self.given.get("to")
        if to is not None and not to.name.endswith(_SUFFIXES):
            raise BadValue(f"no flame graph can be saved as '{to}'", hints=[f"use {', '.join(_SUFFIXES)}"])
        if self.given.get("inlined"):
            if self.system is not None:
                raise BadValue("functions that the compiler inlined are not told of in virtual machines")
            self._symbolizer = _with_lines()
        return super().prepare()

    # The frame

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = self.named(raw)
        return frame[list(self.columns)] if self.columns else frame

    def named(self, raw: pd.DataFrame) -> pd.DataFrame:
        """The raw frame with stacks as text; a map's rows by falling weight."""
        texts: dict[str, Any] = {}
        lost = np.zeros(len(raw), bool)
        with self._naming:
            for column, part in self._parts.items():
                if column in raw:
                    ids = raw[column].to_numpy(np.int64)
                    lost |= (ids < 0) & (ids != _EFAULT)
                    texts[column] = self._text(part, raw)
        frame = raw.assign(**texts)
        if isinstance(self.frames, MapFrame) and self.weight:
            frame = frame.sort_values(self.weight, ascending=False, kind="stable")
        frame.attrs = dict(raw.attrs)
        if lost.any():
            frame.attrs[ATTR] = {
                **frame.attrs.get(ATTR, {}),
                "complete": False,
                "stacks_lost": int(lost.sum()),
            }
        return frame

    def _text(self, part: Ids, raw: pd.DataFrame) -> pd.Categorical:
        codes = part.encode(raw)
        part.renew()
        seen, place = np.unique(codes, return_inverse=True)
        names = self._names.all
        texts = [
            ";".join(names[name].replace(";", ":") for name in part.stacks[code].tolist())
            for code in seen.tolist()
        ]
        different, which = np.unique(np.array(texts, object), return_inverse=True)
        numbers: npt.NDArray[np.int64] = which[place] if len(place) else place
        if len(different) and different[0] == "":  # no such stack
            different, numbers = different[1:], numbers - 1
        return pd.Categorical.from_codes(numbers, categories=pd.Index(different, dtype=object))

    # The picture

    @property
    def _single(self) -> bool:
        """Whether it is of one process only."""
        pids = self.filters.get("pid")
        return isinstance(pids, int | str) or (pids is not None and len(pids) == 1)

    def picture(self, data: Any, **options: Any) -> FlameGraph:
        from bpfnb.views import flamegraph

        known = {
            "stack": [column for column in self.stacks if column in self._columns()],
            "weight": self.weight or None,
            "by": [] if self._single else [column for column in self.by if column in self._columns()],
            "stacks": self.kept,
            "title": self.object.name,
            "symbolize": self._symbolizer,
        }
        return flamegraph(data, **{**known, **options})

    def view(self, **options: Any) -> FlameGraph:
        """The flame graph, live. *options* are those of :func:`bpfnb.views.flamegraph`."""
        there = isinstance(self.frames, Stream) or self.object.state != "closed"
        raw = type(self).frame is Stacked.frame and not self.add and there
        drawn = self.picture(self.frames if raw else self, **options)
        drawn.remark = self.remark
        return drawn

    def _columns(self) -> list[str]:
        frames = self.frames
        if isinstance(frames, Stream):
            return [str(name) for name in frames.slice(0, 0).columns]
        return [str(name) for name in (self._last if self.object.state == "closed" else frames.df).columns]

    @cached_property
    def _picture(self) -> FlameGraph:
        return self.view()

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write the flame graph of all that was seen: ``.folded``, ``.speedscope.json``, ``.pb.gz`` (pprof), ``.svg``,
        ``.png`` or ``.html``, as the view's own ``save`` does.
        """
        return self._picture.save(path, **options)

    def report(self) -> str | None:
        """Of samples the functions with the most weight; where the file is, if one was to be written."""
        if "to" in self.given:
            return f"{self._picture.text()}\n\n{self.given['to']} written"
        return self._picture.text() if isinstance(self.frames, Stream) else None

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.kept = {}  # stacks are text already
        self.stopped = None

    # Its end

    def stop(self) -> None:
        """End measuring; what was seen stays readable. Writes the file of ``to``."""
        ended = self.closed
        super().stop()
        if "to" in self.given and not ended:
            self.save(self.given["to"])

    def close(self) -> None:
        """End measuring and leave nothing in the kernel. Stacks that were seen keep their names."""
        if self.object.state == "closed":
            return
        self.stop()
        if isinstance(self.frames, Stream):
            self.df  # noqa: B018  names what only the kernel knows until now
        super().close()

    def _end(self) -> None:
        super()._end()
        self.stopped = self.stopped or time.monotonic_ns()
        self._watcher.stop()
        self._namer.settle()


@cache
def _with_lines() -> Symbolizer:
    """As MACHINE, with inlined functions: one for all tools, since it keeps what it read."""
    return Symbolizer(lines=True)


class Kept(Mapping[int, npt.NDArray[np.uint64]]):
    """Stacks by id, innermost frame first, as the program's maps have them; once read they stay.

    Without the frames of BPF that stand innermost where a program took the kernel's stack at its own hook.
    """

    def __init__(self, maps: Mapping[str, MapFrame], names: KernelNames) -> None:
        self._names = names
        self._maps = maps["stacks"], maps["stacks_more"]
        self._known: dict[int, npt.NDArray[np.uint64]] = {}

    def __getitem__(self, number: int) -> npt.NDArray[np.uint64]:
        if number not in self._known:
            which, at = divmod(number, _FIRST)
            frames = None
            if number >= 0 and which < len(self._maps):
                try:
                    frames = self._maps[which].stack(at)
                except BpfnbError:  # the object is closed
                    frames = None
            if frames is None:
                raise KeyError(number)
            self._known[number] = _without_bpf(frames, self._names)
        return self._known[number]

    def __contains__(self, number: object) -> bool:
        try:
            self[cast("int", number)]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _without_bpf(stack: npt.NDArray[np.uint64], kernel: KernelNames) -> npt.NDArray[np.uint64]:
    head = stack[:_DEPTH]
    if not len(head) or not is_kernel(head[:1])[0]:
        return stack
    names = kernel.names(head)
    own = [at for at, name in enumerate(names) if name and _BPF.match(name)]
    return stack[own[-1] + 1 :] if own else stack


class _Watcher:
    """Looks at what processes have mapped, soon after the first of their stacks was taken and a while later again."""

    def __init__(self, told: Stream, symbolizer: Symbolizer) -> None:
        self._symbolizer = symbolizer
        self._due: list[tuple[float, int]] = []
        self._news = threading.Condition()
        self._over = False
        self._forget = told.on(self._told)
        self._thread = threading.Thread(target=self._run, name="bpfnb-processes", daemon=True)
        self._thread.start()

    def _told(self, rows: pd.DataFrame) -> None:
        pids = rows["pid"].unique().tolist()
        for pid in pids:
            self._symbolizer.watch(pid)
        now = time.monotonic()
        with self._news:
            self._due += [(now + wait, pid) for pid in pids for wait in _AGAIN]
            self._due.sort()
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                now = time.monotonic()
                if self._over:
                    return
                if not self._due or self._due[0][0] > now:
                    self._news.wait(self._due[0][0] - now if self._due else None)
                    continue
                _, pid = self._due.pop(0)
            self._symbolizer.watch(pid)

    def stop(self) -> None:
        self._forget()
        with self._news:
            self._over = True
            self._due.clear()
            self._news.notify()
