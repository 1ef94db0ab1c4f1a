"""The flame graph as a view: follows its source, counts ranges of time, compares, selects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import traitlets

from bpfnb.errors import BadValue
from bpfnb.symbols.process import Located
from bpfnb.views import selection as selections
from bpfnb.views._style import Theme, humanize
from bpfnb.views.flames import exports, static
from bpfnb.views.flames.names import matcher
from bpfnb.views.flames.paint import Color
from bpfnb.views.flames.payload import cells, changes, strip_meta, whole
from bpfnb.views.flames.pick import condition
from bpfnb.views.flames.pprof import pprof
from bpfnb.views.flames.samples import Samples, Window, window
from bpfnb.views.flames.static import Look, Style
from bpfnb.views.flames.tree import Shape, Stacks, Tree, Weights
from bpfnb.views.plain import Table
from bpfnb.views.source import Source
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

__all__ = ["FlameGraph"]

AT = {"own_at", "base_at"}  # columns that say which nodes changed


class FlameGraph(View):
    """Made by :func:`bpfnb.views.flamegraph`.

    ``style``, ``color``, ``inverted`` (callers under each function) and ``merged`` (a function that calls itself is one
    frame) can be set at any time. :attr:`window` is the range of time shown and :attr:`base_window` the one it is
    compared with, each (start, end) in ns or None.
    """

    family: ClassVar[str] = "flamegraph"
    default_height: ClassVar[int] = 420
    incremental: ClassVar[bool] = True

    style = traitlets.Enum(("icicle", "flame"), "icicle").tag(sync=True)
    color = traitlets.Enum(("origin", "name", "diff"), "origin").tag(sync=True)
    inverted = traitlets.Bool(False).tag(sync=True)
    merged = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        source: Source,
        samples: Samples,
        *,
        unit: str,
        base: Samples | None,
        **options: Any,
    ) -> None:
        self.unit = unit
        self._samples = samples
        self._book = samples.book
        self._names = samples.book.names
        self._time = samples.time_column
        self._base = base
        self._next = 0
        self._taken_under: dict[str, Any] = {}
        self._window: Window | None = None
        self._base_window: Window | None = None
        self._had: Tree | None = None  # what the browser has
        self._around: Any = None  # and what it was told beside
        self._shapes: dict[tuple[tuple[int, int], bool, bool], Shape] = {}
        super().__init__(source, **options)

    # Ranges of time

    @property
    def window(self) -> Window | None:
        """The range of time that is shown, [start, end) in ns since 1970 (or of the data's own clock); None: all.

        May be set to any pair that pandas takes as moments, or of whole ns.
        """
        return self._window

    @window.setter
    def window(self, value: Any) -> None:
        with self.lock:
            self._window = None if value is None else self._ranged(value)
            chosen = {k: v for k, v in self.selection.items() if k != self._time}
            if self._window is not None and self._time is not None:
                chosen[self._time] = {"ge": self._window[0], "lt": self._window[1]}
            self.selection = chosen
        self.refresh()

    @property
    def base_window(self) -> Window | None:
        """The range of time that :attr:`window` is compared with; None: no comparison, or one with another frame."""
        return self._base_window

    @base_window.setter
    def base_window(self, value: Any) -> None:
        with self.lock:
            self._base_window = None if value is None else self._ranged(value)
            self.color = "diff" if self._compared else "origin" if self.color == "diff" else self.color
        self.refresh()

    def _ranged(self, value: Any) -> Window:
        if self._time is None:
            raise BadValue(
                "there are no moments to choose by", hints=['name their column: flamegraph(..., time="ts")']
            )
        return window(value)

    @property
    def _compared(self) -> bool:
        return self._base is not None or self._base_window is not None

    # Numbers

    @property
    def tree(self) -> Tree:
        """The tree of what is shown now, root first, nothing merged: see :class:`bpfnb.views.flames.tree.Tree`."""
        with self.lock:
            self._take()
            return self._weighed(inverted=False, merged=False)

    def top(self, count: int = 20) -> Table:
        """The functions with the most weight of their own."""
        return static.top(self.tree, self.unit, count)

    def search(self, query: str) -> float:
        """The share of the total whose stacks hold a matching name, each stack counted once.

        *query* is text in any case of letters, or ``/regular expression/``. Raises BadValue where it is none.
        """
        try:
            pattern = matcher(query)
        except Exception as error:
            raise BadValue(f"{query} is no regular expression: {error}") from None
        tree = self.tree
        hits = np.array([pattern.search(name) is not None for name in tree.names], bool)
        return float(tree.matched(hits) / tree.total) if tree.total else 0.0

    def text(self, count: int = 12) -> str:
        """The total and the functions with the most weight, in words."""
        tree = self.tree
        stacks = int((tree.own > 0).sum())
        head = f"{self.title or 'flame graph'}: {humanize(tree.total, self.unit)} in {stacks:,} stacks"
        return f"{head}\n{static.top(tree, self.unit, count).text()}"

    def folded(self) -> str:
        """What is shown as folded text: a line a stack, ``a;b;c 12``."""
        return exports.folded(self.tree)

    def speedscope(self) -> dict[str, Any]:
        """What is shown as speedscope's JSON: ``json.dump(view.speedscope(), file)``, opened at speedscope.app."""
        stacks, weights = self._located()
        where = exports.places(stacks, weights.tolist())
        return exports.speedscope(self.tree, self.title or "flame graph", self.unit, where)

    def pprof(self) -> bytes:
        """What is shown as a profile that ``go tool pprof``, Parca and Pyroscope read, compressed.

        With files, lines and inlined functions where they were looked for, and DWARF tells.
        """
        collected = (
            self.source.measured() if self.source.kind == "stream" else None
        )  # a map: when it was read
        stacks, weights = self._located()
        return pprof(stacks, weights.tolist(), self.unit, self.window or collected)

    def _located(self) -> tuple[list[list[Located | str]], Weights]:
        """The different stacks of what is shown, with all that is known of their frames, and what each weighs."""
        with self.lock:
            self._take()
            weights = self._samples.counts(self._window)
        there = np.flatnonzero(weights)
        return self._book.located(there.tolist()), weights[there]  # which waits for DWARF

    def save(self, path: str | Path, *, theme: Theme = "light") -> Path:
        """As every view (``.svg``, ``.png``, ``.html``), and for other tools ``.folded`` (or ``.txt``: a line a
        stack), ``.speedscope.json``, and ``.pb.gz`` (pprof). Those hold what is shown: all,
        or the range of time chosen.
        """
        path = Path(path)
        if path.suffix in (".folded", ".txt"):
            path.write_text(self.folded(), encoding="utf-8")
        elif path.name.endswith(".speedscope.json"):
            path.write_text(json.dumps(self.speedscope()), encoding="utf-8")
        elif path.name.endswith((".pb.gz", ".pprof")):
            path.write_bytes(self.pprof())
        elif path.suffix in (".html", ".svg", ".png"):
            super().save(path, theme=theme)
        else:
            raise BadValue(
                f"cannot save a flame graph as '{path.name}'",
                hints=["use .html, .svg, .png, .folded, .speedscope.json or .pb.gz (pprof)"],
            )
        return path

    # The view's duties

    def _take(self) -> None:
        """Take up what is new in the source."""
        if self.filter != self._taken_under:
            self._taken_under = self.filter
            self._reset()
        columns = [*self._samples.columns, *selections.columns_of(self.filter)]
        if self.source.kind == "map":
            if self.source.closed and len(self._samples):
                self._book.renew()
                return  # what was read last remains
            frame = self.source.frame(columns)
            self._samples.clear()
        else:
            frame, self._next = self.source.since(self._next, columns)
            self._samples.forget(self.source.span()[0])
        self._samples.add(self.filtered(frame))
        self._book.renew()

    def _reset(self) -> None:
        self._samples.clear()
        self._next = 0

    def _weights(self) -> tuple[Weights, Weights | None]:
        """What each stack weighs in what is shown, and in what it is compared with."""
        if self._base_window is not None:
            base = self._samples.counts(self._base_window)
        elif self._base is not None:
            base = self._base.counts()
        else:
            return self._samples.counts(self._window), None
        return self._samples.counts(self._window), base

    def _stacks(self, *, inverted: bool, merged: bool) -> Stacks:
        stacks = self._book.stacks
        stacks = stacks.merged() if merged else stacks
        return stacks.inverted() if inverted else stacks

    def _shape(self, *, inverted: bool, merged: bool) -> Shape:
        key = (self._book.edition, inverted, merged)
        if key not in self._shapes:
            self._shapes.clear()  # one is in use at a time
            self._shapes[key] = Shape.of(self._stacks(inverted=inverted, merged=merged), self._names.all)
        return self._shapes[key]

    def _weighed(self, *, inverted: bool, merged: bool) -> Tree:
        return Tree.of(self._shape(inverted=inverted, merged=merged), self._names.all, *self._weights())

    def _build(self) -> Payload | None:
        self._take()
        shape = self._shape(inverted=False, merged=False)
        weights = self._weights()
        had, columns = self._had, None
        if had is not None and not self.full and had.shape.alike(shape):
            # What weighs nothing any more stays, lest each old sample that goes costs a whole tree.
            tree = Tree.of(shape, self._names.all, *weights, also=had.kept)
            columns = changes(tree, had)
        if columns is None:
            self.full = True
            tree = Tree.of(shape, self._names.all, *weights)
            columns = whole(tree)
        self._had = tree
        meta = self._meta()
        strip = self._samples.strip()
        if strip is not None:
            meta["strip"] = strip_meta(strip, self._window, self._base_window)
            columns["strip"] = strip.counts
        around = (meta.copy(), None if strip is None else strip.counts.tolist(), self._about_source())
        same = (
            not self.full and around == self._around and not any(len(columns[at]) for at in AT & set(columns))
        )
        self._around = around
        return None if same else Payload(meta, columns)

    def _meta(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "selected": any(column != self._time for column in self.selection),
            "notes": self._notes(),
        }

    def _offline_payloads(self) -> list[Payload]:
        """A page without Python counts ranges of time itself, from the weights of stacks by steps of time."""
        self._take()
        shown, self._window = self._window, None
        try:  # all stacks: what is not in the range now may be in the next
            tree = self._weighed(inverted=False, merged=False)
        finally:
            self._window = shown
        meta, columns = self._meta(), whole(tree)
        found = cells(self._samples, tree)
        if found is not None:
            strip, counts = found
            meta["strip"] = strip_meta(strip, shown, self._base_window)
            columns |= {"strip": strip.counts, **counts}
        return [Payload(meta, columns)]

    def _notes(self) -> list[str]:
        """What people must know to read the picture rightly."""
        names = self._names.all
        if any(name.startswith("0x") and name.endswith("_[k]") for name in names) and any(
            part.hidden for part in self._book.parts
        ):
            return ["kernel addresses are hidden from this process (kernel.kptr_restrict)"]
        return []

    def _look(self) -> Look:
        return Look(self.title, self.unit, cast("Style", self.style), cast("Color", self.color))

    def _static(self, theme: Theme) -> str:
        self._take()
        return static.svg(self._weighed(inverted=self.inverted, merged=self.merged), self._look(), theme)

    def _figure(self) -> Any:
        self._take()
        return static.figure(self._weighed(inverted=self.inverted, merged=self.merged), self._look())

    def _text(self) -> str:
        return self.text()

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        if content.get("kind") == "window":
            window = None
            if content.get("first") is not None:
                start, step = int(content["start"]), int(content["step"])
                window = start + int(content["first"]) * step, start + (int(content["last"]) + 1) * step
            if content.get("base"):
                self.base_window = window
            else:
                self.window = window
        elif content.get("kind") == "select":
            self._select([str(name) for name in content.get("path") or ()])
        else:
            raise BadValue(f"the flame graph knows no message '{content.get('kind')}'")

    def _select(self, path: list[str]) -> None:
        """Select the rows whose stacks are under *path*, as the picture has it now (inverted: that end so)."""
        chosen = {k: v for k, v in self.selection.items() if k == self._time and self._window is not None}
        if path:
            self._take()
            stacks = self._stacks(inverted=self.inverted, merged=self.merged)
            inside = stacks.under(self._names.codes(path))
            plain = not (self.inverted or self.merged)
            chosen.update(condition(self._samples, inside, path if plain else None))
        self.selection = chosen

    @traitlets.observe("style", "inverted", "merged", "color")
    def _turned(self, _: object) -> None:
        self.refresh()
