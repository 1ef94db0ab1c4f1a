"""The rows of a table on their way to the browser: which are shown, how they look, what travels."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import selection as selections
from bpfnb.views.events import picture
from bpfnb.views.events.cells import NA, RIGHT, Face
from bpfnb.views.events.filtering import Filtering
from bpfnb.views.events.numbers import Ints
from bpfnb.views.events.order import ranks
from bpfnb.views.events.rowset import RowSet, Sort
from bpfnb.views.events.words import pattern
from bpfnb.views.selection import ROW, Selection
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

__all__ = ["MOST", "PAGE", "Sheet"]

PAGE = 60  # rows of the first frame, before the browser says how many it sees
MOST = 2_000  # rows of one answer


class Sheet(View):
    """A view of rows by position, with filters and an order; the events of the browser are a subclass's."""

    columns = traitlets.List(traitlets.Unicode(), default_value=None, allow_none=True)
    sort = traitlets.Any([])
    filters = traitlets.Dict()
    follow = traitlets.Bool(True)
    raw = traitlets.Bool(False)

    embedded = (5_000, 4 << 20)
    """How many rows, and of how many bytes of text, an offline page holds at most."""

    def __init__(
        self, data: Any, *, height: int | None = None, title: str = "", hz: float = 10.0, **options: Any
    ) -> None:
        super().__init__(data, height=height, title=title, hz=hz)
        self._rows = RowSet(self.source)
        self._window = (0, 0)
        self._sight = PAGE
        self._faces_of: tuple[object, list[Face]] = (None, [])
        self._anchor: int | None = None
        self._filtering = Filtering(self._rows)
        for name, value in options.items():
            setattr(self, name, value)

    # Options

    @traitlets.validate("columns")
    def _check_columns(self, proposal: Mapping[str, Any]) -> list[str] | None:
        for name in proposal["value"] or []:
            self._known(name)
        return proposal["value"]  # type: ignore[no-any-return]

    @traitlets.validate("sort")
    def _check_sort(self, proposal: Mapping[str, Any]) -> Sort:
        value = proposal["value"] or []
        single = isinstance(value, str) or (
            isinstance(value, tuple) and len(value) == 2 and value[1] in ("asc", "desc")
        )
        out: Sort = []
        for key in [value] if single else value:
            name, way = (key, "asc") if isinstance(key, str) else (key[0], key[1] if len(key) > 1 else "asc")
            self._known(name)
            if way not in ("asc", "desc"):
                raise BadValue(f"rows are sorted 'asc' or 'desc', not {way!r}")
            out.append((name, way))
        return out

    @traitlets.validate("filters")
    def _check_filters(self, proposal: Mapping[str, Any]) -> Selection:
        checked = selections.check(proposal["value"] or {}, self._rows.columns)
        for condition in checked.values():
            for tests in condition if isinstance(condition, list) else [condition]:
                if "matches" in tests:
                    pattern(tests["matches"])
        return checked

    def _known(self, name: str) -> None:
        names = self._rows.columns
        if name not in names:
            raise UnknownName.among(names, str(name), f"there is no column '{name}'")

    @traitlets.observe("columns", "sort", "filters", "follow", "raw")
    def _option_changed(self, _: object) -> None:
        self.refresh()

    @traitlets.observe("state")
    def _state_changed(self, change: Mapping[str, Any]) -> None:
        with self.lock:
            if change["new"] == "paused":
                self._show()
                self._rows.freeze()
            else:
                self._rows.thaw()
        self.refresh()

    def _reset(self) -> None:
        self._rows.restart()

    def _step(self) -> float:
        if self.state == "paused" and self.source.version() != self._version:
            self._dirty = True  # the rows stand still; how many came since does not
        return super()._step()

    # Rows

    def _show(self, *, now: bool = False) -> None:
        """Bring the rows up to date."""
        self._rows.show([self.filters, self.filter], self.sort)
        self._rows.update(now=now)

    @property
    def _following(self) -> bool:
        return bool(self.follow and not self.sort and self.source.kind == "stream")

    def _names(self) -> list[str]:
        names = self._rows.columns
        return names if self.columns is None else [name for name in self.columns if name in names]

    def _faces(self) -> list[Face]:
        """How the columns look, in the order of the source."""
        names = self._rows.columns
        known = (tuple(names), len(self._rows) > 0)
        if self._faces_of[0] != known:
            sample = self._rows.take(self._rows.numbers(self._rows.base, 20))
            faces = [Face.of(n, sample[n], self._rows.about(n)) for n in names if n in sample]
            self._faces_of = (known, faces)
        return self._faces_of[1]

    @property
    def df(self) -> pd.DataFrame:
        """All rows that pass the filters, in the order of the table, with the columns that it shows."""
        with self.lock:
            self._show(now=True)
            return self._frame(self._rows.numbers(self._rows.base, len(self._rows)))

    def _frame(self, numbers: Ints) -> pd.DataFrame:
        shown = self._names()
        found = self._rows.take(numbers, shown)
        return found[[name for name in shown if name in found]]

    def csv(self, *, selected: bool = False) -> str:
        """The rows that pass the filters (or only those *selected*) as CSV, RFC 4180; values exact, times ISO 8601."""
        with self.lock:
            self._show(now=True)
            return picture.csv(
                self._frame(
                    self._chosen() if selected else self._rows.numbers(self._rows.base, len(self._rows))
                )
            )

    def _chosen(self) -> Ints:
        """The selected rows that are shown, in the order of the table."""
        numbers = self._rows.numbers(self._rows.base, len(self._rows))
        return numbers[np.isin(numbers, self._marked())]

    def _marked(self) -> list[int]:
        condition = self.selection.get(ROW)
        return list(condition.get("in", [])) if isinstance(condition, Mapping) else []

    # Frames

    def _build(self) -> Payload | None:
        self._show()
        rows = self._rows
        if self._following:
            count = self._sight + 8  # some more, for whoever begins to scroll up
            start = rows.base + max(0, len(rows) - count)
        else:
            start, count = self._window
            count = count or self._sight
        numbers = self._at(start, count)
        return Payload(self._meta(start), self._columns_of(numbers))

    def _at(self, start: int, count: int) -> Ints:
        return self._rows.numbers(max(start, self._rows.base), min(count, MOST))

    def _meta(self, start: int) -> dict[str, Any]:
        rows = self._rows
        faces = self._faces()
        places = {face.name: place for place, face in enumerate(faces)}
        meta: dict[str, Any] = {
            "columns": [_told(face) for face in faces],
            "shown": [places[name] for name in self._names() if name in places],
            "rows": len(rows),
            "total": rows.total,
            "base": rows.base,
            "epoch": rows.epoch,
            "start": max(start, rows.base),
            "sort": [[places[name], way] for name, way in self.sort if name in places],
            "filters": self._filtering.chips(self.filters, faces),
            "linked": selections.describe(self.filter, self.source.about),
            "follow": self._following,
            "stream": self.source.kind == "stream",
            "map": self.source.kind == "map",
            "newer": rows.newer,
            "sorted": "",
            "raw": self.raw,
            "selected": len(self._marked()),
        }
        if rows.sorted_at is not None and self.source.kind == "stream" and not self.source.closed:
            meta["sorted"] = time.strftime("%H:%M:%S", time.localtime(rows.sorted_at))
        return meta

    def _columns_of(self, numbers: Ints, *, hidden: bool = False) -> dict[str, Any]:
        """The cells of these rows by column: ``c3`` is the text of column 3, ``t3`` what hovering says."""
        faces = self._faces()
        shown = [face.name for face in faces] if hidden else self._names()
        frame = self._rows.take(numbers, None if len(shown) == len(faces) else shown, raw=self.raw)
        gone = len(frame) < len(numbers)  # forgotten by the stream in this moment
        places = frame.index.get_indexer(pd.Index(numbers)) if gone else None
        out: dict[str, Any] = {"#": numbers, "selected": np.isin(numbers, self._marked())}
        for place, face in enumerate(faces):
            if face.name not in shown:
                continue
            if face.name not in frame:
                out[f"c{place}"] = [NA] * len(numbers)
                continue
            series = frame[face.name]
            seen = Face.of(face.name, series, {}) if self.raw else face
            out[f"c{place}"] = _placed(seen.texts(series, raw=self.raw), places, NA)
            titles = seen.titles(series)
            if titles is not None:
                out[f"t{place}"] = _placed(titles, places, "")
        return out

    def _offline_payloads(self) -> list[Payload]:
        """The newest rows (or the first of a sorted table) with all columns, and ranks to sort them by."""
        self._show(now=True)
        rows = self._rows
        most, most_bytes = self.embedded
        count = min(len(rows), most)
        start = rows.base if self.sort else rows.base + len(rows) - count
        columns = self._columns_of(rows.numbers(start, count), hidden=True)
        size = sum(len(text) for values in columns.values() if isinstance(values, list) for text in values)
        if size > most_bytes:
            count = count * most_bytes // size
            start = rows.base if self.sort else rows.base + len(rows) - count
            columns = self._columns_of(rows.numbers(start, count), hidden=True)
        frame = rows.take(columns["#"])
        for place, face in enumerate(self._faces()):
            if face.name in frame and len(frame) == count:
                columns[f"r{place}"] = ranks(frame[face.name])
        meta = self._meta(start)
        which = "first" if self.sort else "newest" if self.source.kind == "stream" else "last"
        held = {"embedded": count, "of": len(rows), "which": which}
        return [Payload({**meta, **held, "follow": False, "newer": 0}, columns)]


def _told(face: Face) -> dict[str, Any]:
    """A column as the browser hears of it."""
    about = {key: face.about[key] for key in ("format", "description") if face.about.get(key)}
    zone = {"zone": str(face.zone)} if face.zone is not None else {}
    unit = {"unit": face.unit} if face.unit and face.kind != "time" else {}
    grouped = {"grouped": True} if face.grouped else {}
    return {
        "name": face.name,
        "kind": face.kind,
        "right": face.kind in RIGHT,
        **about,
        **zone,
        **unit,
        **grouped,
    }


def _placed(texts: list[str], places: Any, missing: str) -> list[str]:
    return texts if places is None else [texts[place] if place >= 0 else missing for place in places]
