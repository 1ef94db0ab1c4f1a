"""The service map as a view: who talks to whom, how much, how wrong and how slow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views._style import Theme
from bpfnb.views.plain import Table
from bpfnb.views.services.columns import find
from bpfnb.views.services.figure import figure
from bpfnb.views.services.geometry import radius
from bpfnb.views.services.graph import Graph, build
from bpfnb.views.services.layout import Layout, crowd
from bpfnb.views.services.metrics import RAMP, TITLES, Scale, present, singular, titles, worded
from bpfnb.views.services.names import KINDS, kind_of
from bpfnb.views.services.picked import Picked, selection_of
from bpfnb.views.services.picture import GLYPHS, KIND_COLORS, SHAPES, Look, picture
from bpfnb.views.services.reader import Reader
from bpfnb.views.source import Source
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

__all__ = ["ServiceMap", "servicemap"]

Columns = str | Sequence[str]
Told = str | Mapping[str, str] | Callable[[str], str] | tuple[str, str] | None

MOST = 2000
"""Nodes that one may ask for at once."""

AROUND = 60  # px of the height that legend and list take
CROWDED = (100, 680)  # from so many nodes on a picture that stands still is so high

_WIDTHS = ("rate", "count", "bytes_rate", "bytes")
_COLORS = ("errors", "latency_p99", "latency")


class ServiceMap(View):
    """A map of nodes and directed edges. Make one with :func:`servicemap`.

    ``width``, ``color`` and ``label`` name the measures that edges show (``""``: none), ``limit`` how many nodes are
    drawn at most; all can be set. ``edges`` and ``nodes`` are what is drawn, as DataFrames.
    """

    family = "servicemap"
    default_height = 500

    width = traitlets.Unicode("")
    color = traitlets.Unicode("")
    label = traitlets.Unicode("")
    limit = traitlets.Int(300)

    def __init__(
        self,
        reader: Reader,
        *,
        wanted: Mapping[str, str | None],
        node_kind: Told = None,
        group: Told = None,
        limit: int = 300,
        height: int | None = None,
        title: str = "",
        hz: float = 2.0,
    ) -> None:
        """*wanted*: the measures for width, color and label; None: the usual one, once it is known which there are."""
        self._reader = reader
        self._kind_told = node_kind
        self._group_told = group
        self._wanted = dict(wanted)
        self._graph: Graph | None = None
        self._picked: Picked | None = None
        self._final = False
        height = height or self._usual_height(limit)
        self._layout = Layout(max(height - AROUND, 200.0))
        super().__init__(reader.source, height=height, title=title, hz=hz, limit=limit)

    def _usual_height(self, limit: int) -> int:
        """The family's; more for a crowd, where the rows are there already, so that nothing jumps."""
        if self._reader.source.live:
            return self.default_height
        table = self._reader.table(lambda frame: frame, {})
        nodes = min(len({*table["source"], *table["target"]}), limit)
        return CROWDED[1] if nodes >= CROWDED[0] else self.default_height

    # What is drawn

    @property
    def edges(self) -> pd.DataFrame:
        """One row an edge that is drawn: source, target and its measures (:mod:`bpfnb.views.services.edges`)."""
        with self.lock:
            return self._now().edges.drop(columns=["a", "b"])

    @property
    def nodes(self) -> pd.DataFrame:
        """One row a node that is drawn: name, kind, group, rank (0: the most important), x and y in px."""
        with self.lock:
            graph = self._now()
            x, y = self._layout.points(graph.names).T
            columns = {"name": graph.names, "kind": graph.kinds, "group": graph.groups, "rank": graph.rank}
            return pd.DataFrame({**columns, "x": x, "y": y})

    def arrange(self) -> None:
        """Lay all nodes out anew, but those pinned. Known nodes otherwise keep their places."""
        with self.lock:
            graph = self._now()
            self._layout.arrange(graph.names, graph.pairs)
        self.refresh()

    def pin(self, name: str, x: float, y: float) -> None:
        """Put a node at a place, in px of the layout, and keep it there. Raises UnknownName."""
        with self.lock:
            if name not in self._layout.places:
                raise UnknownName.among(self._layout.places, name, f"there is no node '{name}'")
            if not (math.isfinite(x) and math.isfinite(y)):
                raise BadValue("a place has finite coordinates")
            self._layout.pin(name, float(x), float(y))
        self.refresh()

    def unpin(self, name: str) -> None:
        """Let a node move again when the map is arranged anew."""
        with self.lock:
            self._layout.unpin(name)
        self.refresh()

    def stop(self) -> None:
        """As every view's; what was drawn last stays."""
        with self.lock:
            if not self._final:
                self._guard(self._now)
                self._final = True
            super().stop()

    @traitlets.validate("width", "color", "label")
    def _check_metric(self, proposal: Any) -> str:
        return _known(proposal["trait"].name, proposal["value"]) if proposal["value"] else ""

    @traitlets.observe("width", "color", "label", "limit")
    def _option_changed(self, _: object) -> None:
        self.refresh()

    def _now(self) -> Graph:
        if self._final and self._graph is not None:
            return self._graph
        table = self._reader.table(self.filtered, self.filter)
        tags = self._reader.ends.tags
        graph = build(
            table,
            self._kind,
            group=lambda n: _told(self._group_told, n) or tags.get("group", {}).get(n, ""),
            limit=self.limit,
        )
        self._graph = graph
        self._layout.update(graph.names, graph.pairs)
        self._choose(graph)
        return graph

    def _kind(self, name: str) -> str:
        told = self._reader.ends.tags.get("kind", {}).get(name)
        if told is not None and told.lower() in KINDS:
            return told.lower()
        ends = self._reader.ends
        return kind_of(name, ends.columns_of(name), self._kind_told)  # type: ignore[arg-type]

    def _choose(self, graph: Graph) -> None:
        """The measures to show, once it is known which there are."""
        there = present(graph.edges)
        usual = {"width": _WIDTHS, "color": _COLORS}
        for name in list(self._wanted):
            wanted = self._wanted[name]
            if wanted is None:
                if not there:
                    continue
                wanted = next((m for m in usual.get(name, (self.width,)) if m in there), "")
                # A map's rates come with its second reading.
                if name == "width" and wanted == "count" and self._reader.follows:
                    wanted = "rate"
            del self._wanted[name]
            setattr(self, name, wanted)

    def _look(self) -> Look:
        latency = self._reader.roles.latency
        unit = self._reader.about(latency).get("unit") if latency else None
        if latency and unit is None:
            unit = next((u for u in ("ns", "us", "ms") if latency.lower().endswith("_" + u)), None)
        window = self._reader.window if self._reader.follows else math.inf
        said, counted = self._reader.said, self._reader.counted
        return Look(self.width, self.color, self.label, unit, said, self.title, window, counted)

    # The view's parts

    def _build(self) -> Payload | None:
        graph, look = self._now(), self._look()
        if self._reader.follows and self.state == "live":
            self._dirty = True  # rates sink and edges fade although nothing comes
        points, much = self._layout.points(graph.names), crowd(len(graph.names))
        frame, metrics, named = self._layout.frame, present(graph.edges), titles(look.counted)
        if self._picked is not None and self.selection != self._picked.selection:
            self._picked = None
        scales = {m: Scale.of(m, graph.edges[m].to_numpy(np.float64)) for m in metrics}
        meta = {
            "frame": [frame.left, frame.top, frame.width, frame.height],
            "crowd": much,
            "metrics": {m: {"title": named[m], "low": s.low, "high": s.high} for m, s in scales.items()},
            "look": {"width": look.width, "color": look.color, "label": look.label},
            "unit": look.unit,
            "counted": look.counted,
            "singular": singular(look.counted),
            "said": look.said,
            "kinds": [
                {"name": k, "shape": SHAPES[k], "glyph": GLYPHS[k], "color": KIND_COLORS[k]} for k in KINDS
            ],
            "ramp": RAMP,
            "folded": {name: len(members) for name, members in graph.folded.items()},
            "limit": self.limit,
            "most": MOST,
            "picked": None if self._picked is None else self._picked.names,
            "pinned": sorted(self._layout.pinned),
        }
        columns: dict[str, Any] = {
            "name": graph.names,
            "kind": np.array([KINDS.index(kind) for kind in graph.kinds], np.uint8),
            "group": graph.groups,
            "x": points[:, 0].astype(np.float32),
            "y": points[:, 1].astype(np.float32),
            "r": np.array([radius(int(d), much) for d in graph.degree], np.float32),
            "rank": graph.rank.astype(np.uint32),
            "faded": graph.age > look.window,
            "a": graph.edges["a"].to_numpy(np.uint32),
            "b": graph.edges["b"].to_numpy(np.uint32),
            "edge_faded": graph.edges["age"].to_numpy() > look.window,
            **{metric: graph.edges[metric].to_numpy(np.float64) for metric in metrics},
        }
        return Payload(meta, columns)

    def _static(self, theme: Theme) -> str:
        graph = self._now()
        return picture(graph, self._layout.points(graph.names), self._layout.frame, self._look(), theme)

    def _figure(self) -> Any:
        graph = self._now()
        return figure(graph, self._layout.points(graph.names), self._layout.frame, self._look())

    def _text(self) -> str:
        graph, look = self._now(), self._look()
        metrics, named = present(graph.edges), titles(look.counted)
        by = look.width if look.width in metrics else "source"
        rows = graph.edges.sort_values(by, ascending=by == "source", kind="stable")
        return Table(
            ("source", "target", *(named[m] for m in metrics)),
            [
                (
                    *(edge["source"], edge["target"]),
                    *(worded(m, float(edge[m]), look.unit, look.counted) for m in metrics),
                )
                for _, edge in rows.iterrows()
            ],
            title=self.title,
            empty="no connections yet",
            footer=look.said,
        ).text()

    def _reset(self) -> None:
        self._reader.reset()

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        match content:
            case {"kind": "pin", "name": str(name), "x": int() | float() as x, "y": int() | float() as y}:
                self.pin(name, x, y)
            case {"kind": "unpin", "name": str(name)}:
                self.unpin(name)
            case {"kind": "arrange"}:
                self.arrange()
            case {"kind": "limit", "limit": int(limit)}:
                self.limit = min(max(limit, 10), MOST)
            case {"kind": "show", "what": "width" | "color" | "label" as what, "metric": str(metric)}:
                self._wanted.pop(what, None)
                setattr(self, what, metric)
            case {"kind": "select", "names": [*names]}:
                self._select([str(name) for name in names])
            case _:
                raise BadValue(f"a service map does not understand {dict(content)}")

    def _select(self, names: Sequence[str]) -> None:
        """Select a node (one name), an edge (source and target), or nothing."""
        if not names:
            self._picked, self.selection = None, {}
            return
        graph = self._now()
        self._picked = selection_of(names, graph, self._reader, self.source, self.filtered)
        self.selection = self._picked.selection


def servicemap(
    data: Any,
    source: Columns = "source",
    target: Columns = "target",
    *,
    rate: str | None = None,
    nbytes: str | None = None,
    errors: str | None = None,
    latency: str | None = None,
    weight: str | None = None,
    time: str | None = None,
    width: str | None = None,
    color: str | None = None,
    label: str | None = None,
    node_kind: Told = None,
    group: Told = None,
    window: float = 10.0,
    keep: float | None = 60.0,
    limit: int = 300,
    height: int | None = None,
    title: str = "",
    hz: float = 2.0,
) -> ServiceMap:
    """A map of who talks to whom in *data*: any frame with source and target columns, a stream of events, or a map.

    *source* and *target* are one column each or several that name a node together (``["daddr", "dport"]``). Where they
    and the others are not given they are found by their usual names. A row is an event, which is counted, or an edge
    with values as they are: an edge where there is a *rate* or *weight* (count) column, or no pair occurs twice and
    there is no *time*. What was done stands below the map.

    - *nbytes*, *latency*: of each event; *errors*: a status of 500 or more, a negative return value, anything not 0;
    - *width*, *color*, *label*: ``rate``, ``count``, ``bytes``, ``bytes_rate``, ``errors``, ``latency`` (median),
      ``latency_p99``, or ``""``;
    - *node_kind*: process, container, service, host, external or port, for all or by name (a dict or function), or
      the two columns that say so of source and target; *group*: likewise, any words, shown as colours;
    - *window*: seconds that rates of live sources are over, after which silent edges fade; *keep*: after which they
      go (None: never); *limit*: nodes drawn, the smallest of more are folded.

    :raises UnknownName: a column or measure does not exist. :raises BpfnbError: nothing looks like a source or target.
    """
    # All is checked before there is a widget: one that is half made complains when it goes.
    read = Source.of(data)
    names = read.columns
    given = {
        "rate": rate,
        "weight": weight,
        "nbytes": nbytes,
        "errors": errors,
        "latency": latency,
        "time": time,
    }
    roles = find(names, source, target, **given)
    if read.kind == "map" and not (roles.weight or roles.rate or roles.nbytes) and "value" in names:
        roles = replace(roles, weight="value")
    if window <= 0 or (keep is not None and keep <= 0):
        raise BadValue("the window and the time to keep edges are positive seconds")
    wanted = {"width": width, "color": color, "label": label}
    for what, metric in wanted.items():
        if metric:
            _known(what, metric)
    pairs = {"kind": _pair(node_kind, names), "group": _pair(group, names)}
    tagged = {tag: pair for tag, pair in pairs.items() if pair is not None}
    return ServiceMap(
        Reader(read, roles, tagged, window, keep),
        wanted=wanted,
        node_kind=None if "kind" in tagged else node_kind,
        group=None if "group" in tagged else group,
        limit=limit,
        height=height,
        title=title,
        hz=hz,
    )


def _known(what: str, metric: str) -> str:
    if metric not in TITLES:
        raise UnknownName.among(TITLES, metric, f"the {what} of edges cannot show '{metric}'")
    return metric


def _pair(told: Told, names: Sequence[str]) -> tuple[str, str] | None:
    """The columns that tell something of source and target, where it is columns that were given."""
    if isinstance(told, str):
        return (told, told) if told in names and told not in KINDS else None
    if not isinstance(told, tuple | list):
        return None
    for column in told:
        if column not in names:
            raise UnknownName.among(names, column, f"there is no column '{column}'")
    left, right = told
    return left, right


def _told(told: Told, name: str) -> str:
    if isinstance(told, Mapping):
        return str(told.get(name, ""))
    return str(told(name)) if callable(told) else ""
