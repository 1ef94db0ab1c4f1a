"""The live view of spans: which trace is shown, what the browser gets of it, and what it points at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import selection as selections
from bpfnb.views._style import Theme
from bpfnb.views.source import Source
from bpfnb.views.spans.attributes import texts
from bpfnb.views.spans.columns import Roles, Spans, find, read
from bpfnb.views.spans.figure import figure
from bpfnb.views.spans.model import SORTS, Scene, Trace, check_sort, scene, traces
from bpfnb.views.spans.picture import colors_of, picture
from bpfnb.views.spans.text import text
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

__all__ = ["Waterfall", "waterfall"]

KEPT = 100_000  # rows of a stream that are looked at, the newest
DRAWN = 20_000  # spans of one picture
LISTED = 500  # traces to choose from
EMBEDDED = 20_000  # attribute values that travel with the spans; of more, each span's when it is asked for
OFFLINE = 200_000  # attribute values in an offline page
STEADY = 2.0  # seconds that a trace stays which nobody chose

Found = tuple[pd.DataFrame, Spans, list[Trace], Trace | None]


class Waterfall(View):
    """Spans on a shared time axis. Make one with :func:`waterfall`.

    ``traces`` is a DataFrame of all traces; ``trace`` the id of the one that is shown, to read and to set. A click
    selects the span (by its row number), or all of its name or service.
    """

    family = "waterfall"
    default_height = 420

    def __init__(
        self, source: Source, roles: Roles, attributes: Sequence[str], *, sort: str, **options: Any
    ) -> None:
        super().__init__(source, **options)
        self._roles = roles
        self._attributes = list(attributes)
        self._sort = sort
        self._chosen: str | None = None  # by a person
        self._steady: tuple[str, float] = ("", 0.0)  # by the order, and when
        self._critical = False

    @property
    def traces(self) -> pd.DataFrame:
        """One row a trace in the order shown: id, name, service, start, duration (ns), spans, errors."""
        with self.lock:
            _, spans, found, _ = self._find()
        frame = pd.DataFrame(
            [(t.id, t.name, t.service, t.start, t.duration, t.spans, t.errors) for t in found],
            columns=["trace", "name", "service", "start", "duration", "spans", "errors"],
        )
        if spans.wall:
            frame["start"] = pd.to_datetime(frame["start"], unit="ns", utc=True)
        return frame

    @property
    def trace(self) -> str | None:
        """The id of the trace that is shown; None where there are none."""
        with self.lock:
            shown = self._find()[3]
        return shown.id if shown else None

    @trace.setter
    def trace(self, wanted: str | None) -> None:
        self._chosen = wanted
        self.refresh()

    @property
    def spans(self) -> pd.DataFrame:
        """The spans that are shown, in the order of drawing: row, name, service, start, duration, depth, self time
        (``alone``) and ``parent`` (the row of it; -1 for none), times in ns.
        """
        with self.lock:
            drawn = self._scene()
        at = drawn.order
        frame = pd.DataFrame(
            {
                "row": drawn.spans.row[at],
                "name": drawn.spans.name[at].astype(object),
                "service": drawn.spans.service[at].astype(object),
                "start": drawn.spans.start[at],
                "duration": drawn.spans.duration[at],
            }
        )
        if drawn.tree is not None:
            rows = np.append(drawn.spans.row[at], -1)
            frame["parent"], frame["depth"], frame["alone"] = (
                rows[drawn.tree.parent],
                drawn.tree.depth,
                drawn.tree.alone,
            )
        elif drawn.lanes is not None:
            frame["line"] = drawn.lanes.line
        return frame

    # What is shown

    def _find(self) -> Found:
        low, high = self.source.span()
        frame = (
            self.source.rows(max(low, high - KEPT), high)
            if self.source.kind == "stream"
            else self.source.frame()
        )
        if not self._roles.tree:
            frame = self.filtered(frame)
        spans = read(frame, self._roles, self.source.about)
        if not self._roles.tree:
            return frame, spans, [], None
        found = traces(spans, self._sort, self._wanted(frame, spans))
        return frame, spans, found, self._pick(found)

    def _wanted(self, frame: pd.DataFrame, spans: Spans) -> npt.NDArray[np.bool_] | None:
        """The spans that the linked views select: their traces are shown whole, the others faintly."""
        if not self.filter:
            return None
        mask = selections.apply(frame, self.filter)
        return mask[np.isin(np.asarray(frame.index), spans.row)]

    def _pick(self, found: list[Trace]) -> Trace | None:
        by_id = {trace.id: trace for trace in found}
        if self._chosen in by_id:
            return by_id[self._chosen]
        now = time.monotonic()
        if self.source.live and self._steady[0] in by_id and now - self._steady[1] < STEADY:
            return by_id[self._steady[0]]
        if found and found[0].id != self._steady[0]:
            self._steady = (found[0].id, now)
        return found[0] if found else None

    def _scene(self, found: Found | None = None) -> Scene:
        _, spans, _, shown = found or self._find()
        return scene(spans, shown, tree=self._roles.tree, most=DRAWN)

    # Pictures

    def _build(self) -> Payload | None:
        found = self._find()
        return self._payload(found, self._scene(found), EMBEDDED)

    def _payload(self, found: Found, drawn: Scene, embedded: int) -> Payload:
        frame, spans, listed, shown = found
        at = drawn.order
        color, key = colors_of(drawn)
        columns: dict[str, Any] = {
            "row": spans.row[at].astype(np.float64),
            "start": (spans.start[at] - drawn.start).astype(np.float64),
            "duration": spans.duration[at].astype(np.float64),
            "name": spans.name[at],
            "service": spans.service[at],
            "kind": spans.kind[at],
            "status": spans.status[at],
            "color": color.astype(np.uint8),
            "faint": self._faint(frame, spans)[at],
        }
        if drawn.tree is not None:
            tree = drawn.tree
            columns |= {
                "parent": tree.parent.astype(np.int32),
                "depth": tree.depth.astype(np.int32),
                "size": tree.size.astype(np.int32),
                "alone": tree.alone.astype(np.float64),
                "flags": tree.flags.astype(np.uint8),
                "critical_span": np.array([i for i, _, _ in tree.critical], np.int32),
                "critical_start": np.array([low - drawn.start for _, low, _ in tree.critical], np.float64),
                "critical_stop": np.array([high - drawn.start for _, _, high in tree.critical], np.float64),
            }
        elif drawn.lanes is not None:
            columns |= {
                "line": drawn.lanes.line.astype(np.int32),
                "flags": np.where(spans.error[at], 8, 0).astype(np.uint8),
                "lanes": drawn.lanes.labels,
            }
        whole = len(at) * len(self._attributes) <= embedded
        if whole:
            rows = frame.loc[spans.row[at]]
            for name in self._attributes:
                columns[f"a:{name}"] = texts(rows[name], self.source.about(name))
        left_out = (shown.spans if shown else len(spans)) - len(at)
        meta = {
            "tree": self._roles.tree,
            "zero": str(drawn.start),
            "wall": spans.wall,
            "duration": drawn.duration,
            "traces": [
                {
                    "id": t.id,
                    "name": t.name,
                    "service": t.service,
                    "start": str(t.start),
                    "duration": t.duration,
                    "spans": t.spans,
                    "errors": t.errors,
                }
                for t in listed[:LISTED]
            ],
            "count": len(listed),
            "trace": shown.id if shown else "",
            "auto": self._chosen is None,
            "sort": self._sort,
            "sorts": list(SORTS),
            "key": key,
            "attributes": self._attributes,
            "embedded": whole,
            "lane": self._roles.lane or "",
            "roles": {"name": self._roles.name, "service": self._roles.service},
            "selected": [int(row) for row in (self.selection.get("#") or {}).get("in", [])][:1000],
            "notes": [
                *([f"{left_out:,} more spans are not drawn"] if left_out > 0 else []),
                *([f"{spans.untimed:,} rows have no start"] if spans.untimed else []),
            ],
        }
        return Payload(meta, columns)

    def _faint(self, frame: pd.DataFrame, spans: Spans) -> npt.NDArray[np.uint8]:
        wanted = self._wanted(frame, spans) if self._roles.tree else None
        return np.zeros(len(spans), np.uint8) if wanted is None else (~wanted).astype(np.uint8)

    def _offline_payloads(self) -> list[Payload]:
        """The trace that is shown last, before it the others in their order, as many as a file can hold."""
        with self.lock:
            found = self._find()
            frame, spans, listed, shown = found
            room = OFFLINE
            payloads: list[Payload] = []
            for trace in [shown, *(t for t in listed if shown is None or t.id != shown.id)]:
                drawn = scene(spans, trace, tree=self._roles.tree, most=DRAWN)
                room -= max(len(drawn.order), 1) * max(len(self._attributes), 8)
                if payloads and room < 0:
                    break
                payloads.append(self._payload((frame, spans, listed, trace), drawn, OFFLINE))
            held = {payload.meta["trace"] for payload in payloads}
            for payload in payloads:
                payload.meta["traces"] = [t for t in payload.meta["traces"] if t["id"] in held]
            return payloads[::-1]

    def _static(self, theme: Theme) -> str:
        return picture(self._scene(), title=self.title, critical=self._critical, theme=theme)

    def _figure(self) -> Any:
        return figure(self._scene(), title=self.title)

    def _text(self) -> str:
        with self.lock:
            return text(self._scene(), self.title)

    # What the browser asks for

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        match content.get("kind"):
            case "trace":
                self._chosen = str(content["id"]) if content.get("id") is not None else None
                self.refresh()
            case "sort":
                self._sort = check_sort(str(content.get("by")))
                self._chosen, self._steady = None, ("", 0.0)
                self.refresh()
            case "critical":
                self._critical = bool(content.get("on"))
            case "select":
                self._select(content)
            case "attributes":
                self._reply(
                    {"kind": "attributes", "row": content["row"], "values": self._values(int(content["row"]))}
                )
            case "search":
                words = str(content.get("text", ""))
                self._reply({"kind": "found", "text": words}, {"row": self._search(words)})

    def _select(self, content: Mapping[str, Any]) -> None:
        by, rows = str(content.get("by", "")), [int(row) for row in content.get("rows", [])]
        if not rows:
            self.selection = {}
        elif by == "row":
            self.selection = {selections.ROW: {"in": rows}}
        else:
            column = {"name": self._roles.name, "service": self._roles.service}.get(by)
            if column is None:
                raise BadValue(f"spans have no '{by}' to select by")
            value = self._row(rows[0])[column].iloc[0]
            self.selection = {column: {"in": [value.item() if hasattr(value, "item") else value]}}

    def _row(self, number: int) -> pd.DataFrame:
        found = self.source.rows(number, number + 1)
        if not len(found):
            raise BadValue(f"row {number:,} is not kept any more")
        return found

    def _values(self, number: int) -> list[list[str]]:
        row = self._row(number)
        return [[name, str(texts(row[name], self.source.about(name))[0])] for name in self._attributes]

    def _search(self, words: str) -> npt.NDArray[np.float64]:
        """The rows of the spans shown of which any attribute holds *words*, in any case."""
        found = self._find()
        rows = found[0].loc[found[1].row[self._scene(found).order]]
        hits = np.zeros(len(rows), bool)
        for name in self._attributes:
            hits |= selections.apply(rows, {name: {"contains": words}})
        return np.asarray(rows.index[hits], np.float64)


def waterfall(
    data: Any,
    *,
    start: str | None = None,
    duration: str | None = None,
    end: str | None = None,
    id: str | None = None,  # noqa: A002
    parent: str | None = None,
    name: str | None = None,
    trace: str | None = None,
    service: str | None = None,
    status: str | None = None,
    kind: str | None = None,
    lane: str | None = None,
    attributes: Sequence[str] | None = None,
    sort: str = "slowest",
    height: int | None = None,
    title: str = "",
    hz: float = 10.0,
) -> Waterfall:
    """Spans on a shared time axis: what a request waited for, or what threads did.

    The columns are found under the usual names (OpenTelemetry's ``span_id``, ``parent_span_id``,
    ``start_time_unix_nano``, ``duration_nano``; Jaeger's, Zipkin's, ClickHouse's; ``ts``, ``latency``); name them where
    they are called otherwise. Times are in the column's unit: by its annotation, type, or the end of its name. *end*
    serves instead of *duration*; with *end* and *duration* but no *start*, spans start that long before their end, as
    events do that are sent when something is over.

    With *id* and *parent*, one trace at a time is a tree (*trace* tells traces apart; *sort* orders them: ``slowest``,
    ``latest``, ``errors``, ``largest``). Spans whose parent is missing are roots with a mark; children that reach
    beyond their parent (clocks that differ, or work that goes on) are drawn where they say they were, and marked.
    Without ids, or with *lane*, each value of *lane* (``tid``, ``pid``, ``cpu``) is a lane; overlaps are stacked.

    *attributes* are the columns shown of a span that is clicked, by default all. Errors are spans with the status 2 or
    ``ERROR`` (OpenTelemetry's), 500 and above (HTTP's), a true ``error``, or a negative number.

    :raises UnknownName: no such column. :raises BadValue: no start, or neither duration nor end.
    """
    source = Source.of(data)
    columns = source.columns
    given = {
        "start": start,
        "duration": duration,
        "end": end,
        "id": id,
        "parent": parent,
        "name": name,
        "trace": trace,
        "service": service,
        "status": status,
        "kind": kind,
        "lane": lane,
    }
    roles = find(columns, given, source.about)
    if lane is not None:
        roles = Roles(**{**roles.__dict__, "id": None, "parent": None})
    check_sort(sort)
    for column in attributes or ():
        if column not in columns:
            raise UnknownName.among(columns, column, f"there is no column '{column}'")
    return Waterfall(
        source,
        roles,
        columns if attributes is None else list(attributes),
        sort=sort,
        height=height,
        title=title,
        hz=hz,
    )
