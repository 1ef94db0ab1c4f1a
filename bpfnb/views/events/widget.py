"""The event table as a widget: what the browser asks for and what is answered, and what stays when it stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.frames.completeness import line
from bpfnb.views import selection as selections
from bpfnb.views._style import Theme
from bpfnb.views.events import picture
from bpfnb.views.events.detail import detail
from bpfnb.views.events.numbers import Ints
from bpfnb.views.events.sheet import MOST, PAGE, Sheet
from bpfnb.views.selection import ROW

__all__ = ["EventTable", "table"]

ROW_HEIGHT = 24  # px; the browser's part has the same
_FURNITURE = 46  # px of header and horizontal scroll bar
_COPIED = 100_000  # rows that the browser's clipboard gets at most
_SELECTED = 10_000  # rows that a selection names at most

SortBy = str | tuple[str, Literal["asc", "desc"]]


class EventTable(Sheet):
    """Rows in a grid that scrolls through all of them. Make one with :func:`table`.

    Traits to read and to set, also after a person changed them in the browser: ``columns`` (names in order; None: all),
    ``sort`` (``[("latency", "desc"), ...]``; ``[]``: in order of arrival), ``filters`` (a selection, see
    :mod:`bpfnb.views.selection`), ``follow`` (a stream's newest row stays in sight), ``raw`` (values as the kernel
    wrote them). Selected rows are ``selection["#"]["in"]``, their numbers.
    """

    family = "eventtable"
    default_height = _FURNITURE + 12 * ROW_HEIGHT
    _static_kind = "html"

    # What the browser asks

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        asked = str(content.get("kind"))
        answer = getattr(self, f"_asked_{asked}", None)
        if answer is None:
            raise BadValue(f"the event table knows no '{asked}'")
        answer(content)

    def _asked_rows(self, content: Mapping[str, Any]) -> None:
        start, count = int(content["start"]), min(int(content["count"]), MOST)
        self._window, self._sight = (start, count), min(int(content.get("sight", PAGE)), MOST)
        answer = {"kind": "rows", "id": content.get("id"), "meta": self._meta(start)}
        self._reply(answer, self._columns_of(self._at(start, count)))

    def _asked_follow(self, content: Mapping[str, Any]) -> None:
        self.follow = bool(content["on"])
        self.refresh()

    def _asked_raw(self, content: Mapping[str, Any]) -> None:
        self.raw = bool(content["on"])

    def _asked_columns(self, content: Mapping[str, Any]) -> None:
        faces = self._faces()
        self.columns = [faces[int(place)].name for place in content["shown"]]

    def _asked_sort(self, content: Mapping[str, Any]) -> None:
        faces = self._faces()
        self.sort = [(faces[int(place)].name, str(way)) for place, way in content["keys"]]

    def _asked_values(self, content: Mapping[str, Any]) -> None:
        face = self._faces()[int(content["column"])]
        answer = self._filtering.offer(face, self.filters.get(face.name))
        self._reply({"kind": "values", "id": content.get("id"), **answer})

    def _asked_filter(self, content: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {"kind": "filter", "id": content.get("id"), "error": ""}
        try:
            self.filters = self._filtering.changed(self.filters, self._faces(), content)
        except BadValue as error:
            answer["error"] = " · ".join([error.message, *error.hints])
        self._reply(answer)

    def _asked_detail(self, content: Mapping[str, Any]) -> None:
        number = int(content["row"])
        fields = detail(self._rows, number)
        self._reply({"kind": "detail", "id": content.get("id"), "row": str(number), "fields": fields})

    def _asked_select(self, content: Mapping[str, Any]) -> None:
        """``one`` row, ``toggle`` one, a ``range`` from the last one to this one, ``all`` or ``none``."""
        how = str(content["how"])
        before = self._marked()
        marked: list[int] = []
        if how == "all":
            marked = self._rows.numbers(self._rows.base, _SELECTED).tolist()
        elif how != "none":
            number = int(content["row"])
            anchor = self._anchor if self._anchor is not None else number
            if how == "range":
                low, high = sorted((self._rows.find(anchor), self._rows.find(number)))
                low = high if low < 0 else low
                marked = self._rows.numbers(low, min(high - low + 1, _SELECTED)).tolist()
            else:
                self._anchor = number
                if how == "toggle":
                    marked = [n for n in before if n != number] + ([] if number in before else [number])
                else:
                    marked = [number]
        others = {column: tests for column, tests in self.selection.items() if column != ROW}
        self.selection = {**others, ROW: {"in": marked}} if marked else others

    def _asked_copy(self, content: Mapping[str, Any]) -> None:
        rows = self._rows
        numbers = self._chosen()
        if not len(numbers):
            numbers = rows.numbers(rows.base, min(len(rows), _COPIED))
        text = picture.csv(self._frame(numbers))
        of = len(rows) if len(numbers) == _COPIED else len(numbers)
        self._reply({"kind": "copy", "id": content.get("id"), "text": text, "rows": len(numbers), "of": of})

    # At rest

    def _still(self) -> picture.Still:
        self._show(now=True)
        rows = self._rows
        shown = self._names()
        faces = {face.name: face for face in self._faces()}
        few = len(rows) <= 2 * picture.EDGE
        head = self._frame_of(rows.numbers(rows.base, 2 * picture.EDGE if few else picture.EDGE))
        tail = self._frame_of(rows.numbers(rows.base + len(rows) - picture.EDGE, 0 if few else picture.EDGE))
        passing = (
            f"{len(rows):,} of {rows.total:,} rows" if len(rows) != rows.total else f"{rows.total:,} rows"
        )
        title = self.title or self.source.name
        chips = [chip["text"] for chip in self._filtering.chips(self.filters, self._faces())]
        ordered = ", ".join(
            f"{name} {'descending' if way == 'desc' else 'ascending'}" for name, way in self.sort
        )
        linked = [selections.describe(self.filter, self.source.about)] if self.filter else []
        notes = [
            f"Filtered by {'; '.join([*chips, *linked])}" if chips or self.filter else "",
            f"Sorted by {ordered}" if ordered else "",
            line({**self.source.attrs, "rows": rows.total}) if self.source.attrs.get("window") else "",
        ]
        return picture.Still(
            [faces[name] for name in shown if name in faces],
            head,
            tail,
            len(rows),
            f"{title}: {passing}" if title else passing,
            [note for note in notes if note],
        )

    def _frame_of(self, numbers: Ints) -> pd.DataFrame:
        return self._rows.take(numbers, self._names())

    def _static(self, theme: Theme) -> str:  # noqa: ARG002  its colours are the page's
        return picture.html(self._still())

    def _text(self) -> str:
        return picture.text(self._still())

    def _figure(self) -> Any:
        return picture.figure(self._still())


def table(
    data: Any,
    columns: Sequence[str] | None = None,
    *,
    follow: bool = True,
    sort: SortBy | Sequence[SortBy] | None = None,
    filters: Mapping[str, Any] | None = None,
    raw: bool = False,
    rows_shown: int = 12,
    height: int | None = None,
    title: str = "",
    hz: float = 10.0,
) -> EventTable:
    """The rows of *data* in a grid that scrolls through all of them, while they arrive.

    *data*: a stream, a map, a DataFrame, or what has ``.df``. Of a stream of millions only the rows in sight travel to
    the browser. *columns*: which, in this order. *follow*: a stream's newest row stays in sight. *sort*: a column name,
    ``("latency", "desc")``, or several. *filters*: a selection, ``{"latency": {"gt": 1_000_000}, "comm": {"in":
    ["dd"]}}``. *raw*: values as the kernel wrote them instead of names and units. *rows_shown*: how many rows are in
    sight at once, unless *height* says the pixels.

    Raises UnknownName for an unknown column, BadValue for a filter or an order that makes no sense.
    """
    return EventTable(
        data,
        height=height if height is not None else _FURNITURE + rows_shown * ROW_HEIGHT,
        title=title,
        hz=hz,
        columns=None if columns is None else list(columns),
        sort=[] if sort is None else sort,
        filters=dict(filters or {}),
        follow=follow,
        raw=raw,
    )
