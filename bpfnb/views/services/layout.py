"""Where nodes stand, while nodes come and go: who is known keeps its place, and who is new is put near its neighbours.

The first nodes, and as many at once as would change the picture anyhow, are arranged anew (:mod:`.layers`). After
that a known node moves only a little towards its neighbours when one of these comes or goes, and never when values
change. ``frame`` is what the view shows; it grows by little at a time and does not shrink, so the scale is steady too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bpfnb.views.services.layers import Cell, Pairs, Points, arrange

__all__ = ["FEW", "Frame", "Layout", "cell_for", "crowd", "label_width", "shortened"]

FEW = 40
"""Up to so many nodes all labels are shown, and have room."""

LETTER = 6.3  # px a letter of an 11 px face takes, a little generously
LONGEST = 22  # letters of a label
WIDTH = 960.0  # px of a frame, at least
RELAX = 0.02  # of the frame's width
GROW = 0.09  # by one node, likewise
OUTSIDE = 4.0  # cells that a node rather stands off than lets the frame grow
STEP = 1.35  # cells between two neighbours
STRETCH = (2.3, 1.8)  # how much wider and taller a small graph may be drawn than it needs

Place = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """The part of the plane that the view shows."""

    left: float
    top: float
    width: float
    height: float


def shortened(label: str) -> str:
    """*label* as drawn: the middle of a long one is left out, since names differ at their ends."""
    return (
        label
        if len(label) <= LONGEST
        else f"{label[: LONGEST // 2]}…{label[-(LONGEST - LONGEST // 2 - 1) :]}"
    )


def label_width(label: str) -> float:
    """How wide the label is as drawn, in px at scale 1."""
    return LETTER * len(shortened(label))


def crowd(size: int) -> float:
    """0 for few nodes, 1 for a crowd, in which everything is drawn finer."""
    return min(max((size - FEW) / 80, 0.0), 1.0)


def cell_for(names: Sequence[str]) -> Cell:
    """The room for a node: that of the longest label for few nodes, less for many, whose labels are not all shown."""
    few = Cell(min(max(max(map(label_width, names), default=0.0) + 14, 84), 152), 58)
    much = crowd(len(names))
    return Cell(few.width + much * (min(few.width, 80) - few.width), few.height + much * (40 - few.height))


def extent_of(points: Points) -> Points:
    """Width and height of what the points span."""
    return np.ptp(points, axis=0) if len(points) else np.zeros(2)


class Layout:
    """Places of nodes by name, kept from one :meth:`update` to the next."""

    def __init__(self, height: float = 440.0) -> None:
        """*height*: the least of the frame, in px; its shape is that of the view."""
        self.smallest = (WIDTH, height)
        self.places: dict[str, Place] = {}
        self.pinned: dict[str, Place] = {}
        self.frame = Frame(-WIDTH / 2, -height / 2, WIDTH, height)
        self._cell = cell_for([])

    def points(self, names: Sequence[str]) -> Points:
        """(names, 2): where they stand."""
        return np.array([self.places[name] for name in names], np.float64).reshape(-1, 2)

    def update(self, names: Sequence[str], pairs: Pairs) -> None:
        """Take these nodes, sorted by name, and edges between their numbers, in place of those before."""
        known = [name for name in names if name in self.places]
        gone = [name for name in self.places if name not in set(names)]
        fresh = len(names) - len(known)
        if not fresh and not gone:
            return
        if not known or fresh >= max(3, len(known)):
            self.arrange(names, pairs)
            return
        for name in gone:
            del self.places[name]
        before = self.frame
        touched = self._place_new(names, pairs)
        if self.frame == before:  # else all have moved a little already
            self._relax(names, pairs, touched, RELAX * before.width)

    def arrange(self, names: Sequence[str], pairs: Pairs) -> None:
        """Forget where nodes stand (but not those pinned) and arrange all anew."""
        self._cell = cell_for(names)
        points = arrange(len(names), pairs, self._cell, self.smallest)
        cell = np.array([self._cell.width, self._cell.height])
        margin = np.maximum(cell, (max(map(label_width, names), default=0.0) + 10, 0))
        room = np.maximum(np.array(self.smallest) - margin, 1.0)
        points = points * np.clip(room / np.maximum(extent_of(points), 1.0), 1.0, STRETCH)
        size = np.maximum(extent_of(points) + margin, self.smallest)
        self.frame = Frame(float(-size[0] / 2), float(-size[1] / 2), float(size[0]), float(size[1]))
        free = {name: (float(x), float(y)) for name, (x, y) in zip(names, points, strict=True)}
        held = {name: self.pinned[name] for name in names if name in self.pinned}
        self.places = held | {
            n: p for n, p in free.items() if n not in held and not self._near(p, held.values())
        }
        self._place_new(names, pairs, wanted=free)

    def pin(self, name: str, x: float, y: float) -> None:
        """The node stays at that place, whatever comes."""
        self.pinned[name] = self.places[name] = (x, y)
        self._include(x, y)

    def unpin(self, name: str) -> None:
        """The node may move again."""
        self.pinned.pop(name, None)

    def _near(self, place: Place, others: object) -> bool:
        points = np.array(list(others), np.float64).reshape(-1, 2)  # type: ignore[call-overload]
        gap = np.abs(points - place)
        return bool(((gap[:, 0] < self._cell.width - 1e-6) & (gap[:, 1] < self._cell.height - 1e-6)).any())

    def _place_new(
        self, names: Sequence[str], pairs: Pairs, wanted: dict[str, Place] | None = None
    ) -> set[int]:
        """Put those without a place near their neighbours; the numbers of the neighbours."""
        missing = {i for i, name in enumerate(names) if name not in self.places}
        touched: set[int] = set()
        out: dict[int, list[int]] = {}
        into: dict[int, list[int]] = {}
        for a, b in pairs.tolist():
            out.setdefault(a, []).append(b)
            into.setdefault(b, []).append(a)

        def there(nodes: Sequence[int]) -> list[Place]:
            return [self.places[names[n]] for n in nodes if n not in missing]

        while missing:
            # Those with most placed neighbours first: the others then find theirs.
            node = max(missing, key=lambda i: (len(there(out.get(i, ())) + there(into.get(i, ()))), -i))
            servers, clients = out.get(node, []), into.get(node, [])
            if wanted is None and not there([*servers, *clients]):
                alone = [n for n in (*servers, *clients) if n != node]
                if alone:
                    pair = (node, alone[0]) if alone[0] in servers else (alone[0], node)
                    self._place_pair(names, pairs, pair)
                    missing -= set(pair)
                    continue
            beside = [n for server in servers for n in into[server]] + [n for c in clients for n in out[c]]
            aim = (wanted or {}).get(names[node]) or self._aim(there(servers), there(clients), there(beside))
            x, y = self._free(*aim)
            self.places[names[node]] = (x, y)
            self._include(x, y)
            missing.discard(node)
            touched.update(n for n in (*servers, *clients) if n not in missing)
        return touched - {node for node in touched if names[node] in self.pinned}

    def _place_pair(self, names: Sequence[str], pairs: Pairs, pair: tuple[int, int]) -> None:
        """Client and server whom nobody knows stand side by side below all others, in a row of such pairs.

        There, nobody stands between them, and no edge passes.
        """
        cell, frame = self._cell, self.frame
        there = [node for node, name in enumerate(names) if name in self.places]
        points = self.points([names[node] for node in there])
        lowest = float(points[:, 1].max())
        low = points[:, 1] > lowest - cell.height + 1e-6
        row = {node for node, is_low in zip(there, low.tolist(), strict=True) if is_low}
        edges = {
            frozenset(edge) for edge in pairs.tolist() if not row.isdisjoint(edge) and edge[0] != edge[1]
        }
        ends = [node for edge in edges for node in edge]
        step = STEP * cell.width
        left, right = frame.left + cell.width / 2, frame.left + frame.width - cell.width / 2 - step
        place = (left, lowest + cell.height)
        if sorted(ends) == sorted(row):  # each in one edge, with one of the row
            xs = np.arange(left, right + 1e-6, cell.width / 4)
            gaps = points[low, 0] - xs[:, None]
            free = ((gaps <= 1e-6 - cell.width) | (gaps >= step + cell.width - 1e-6)).all(axis=1)
            if free.any():
                place = (float(xs[free.argmax()]), lowest)
        for node, x in zip(pair, (place[0], place[0] + step), strict=True):
            self.places[names[node]] = (x, place[1])
            self._include(x, place[1])

    def _aim(self, servers: Sequence[Place], clients: Sequence[Place], beside: Sequence[Place]) -> Place:
        """At the height of whom it knows, in the column of those who know the same; else a step aside.

        Without neighbours it goes to the lower edge.
        """
        around = [*servers, *clients]
        if not around:
            return (self.frame.left + self.frame.width / 2, self.frame.top + self.frame.height)
        y = sum(y for _, y in around) / len(around)
        if beside:
            return (sorted(x for x, _ in beside)[len(beside) // 2], y)
        step = STEP * self._cell.width
        x = sum(x - step for x, _ in servers) + sum(x + step for x, _ in clients)
        return (x / len(around), y)

    def _free(self, x: float, y: float) -> Place:
        """The free place nearest to (x, y), in the frame or in what it may grow by."""
        cell, frame = self._cell, self.frame
        side = min(GROW * frame.width, cell.width)
        grow = min(GROW * frame.width, cell.height)
        left, right = frame.left + cell.width / 2 - side, frame.left + frame.width - cell.width / 2 + side
        top, bottom = frame.top + cell.height / 2 - grow, frame.top + frame.height - cell.height / 2 + grow
        xs = np.arange(left, right + 1, cell.width / 4)
        # The last row is exactly what the frame may grow by, so that one is free whatever stands in the frame.
        ys = np.append(np.arange(top, bottom - 1, cell.height / 4), bottom)
        free = np.ones((len(xs), len(ys)), bool)
        others = np.array(list(self.places.values()), np.float64).reshape(-1, 2)
        room = np.array([cell.width, cell.height]) - 1e-6
        (x_from, y_from), (x_to, y_to) = (
            np.array([np.searchsorted(xs, o[:, 0]), np.searchsorted(ys, o[:, 1])])
            for o in (others - room, others + room)
        )
        for a, b, c, d in zip(x_from, x_to, y_from, y_to, strict=True):
            free[a:b, c:d] = False
        far = np.hypot((xs[:, None] - x) / cell.width, (ys[None, :] - y) / cell.height)
        outside = ((xs < left + side - 1e-6) | (xs > right - side + 1e-6))[:, None] | (
            (ys < top + grow - 1e-6) | (ys > bottom - grow + 1e-6)
        )
        i, j = np.unravel_index(int(np.argmin(np.where(free, far + OUTSIDE * outside, np.inf))), free.shape)
        return float(xs[i]), float(ys[j])

    def _include(self, x: float, y: float) -> None:
        """Let the frame grow to hold a node at that place."""
        frame, cell = self.frame, self._cell
        left, top = min(frame.left, x - cell.width / 2), min(frame.top, y - cell.height / 2)
        right = max(frame.left + frame.width, x + cell.width / 2)
        bottom = max(frame.top + frame.height, y + cell.height / 2)
        if (left, top, right - left, bottom - top) != (frame.left, frame.top, frame.width, frame.height):
            self.frame = Frame(left, top, right - left, bottom - top)

    def _relax(self, names: Sequence[str], pairs: Pairs, nodes: set[int], most: float) -> None:
        """Neighbours of new nodes move a little towards the height of all of theirs, where that is free."""
        points = self.points(names)
        room = (self._cell.width - 1e-6, self._cell.height - 1e-6)
        for node in sorted(nodes):
            others = np.concatenate([pairs[pairs[:, 0] == node, 1], pairs[pairs[:, 1] == node, 0]])
            aim = float(points[others, 1].mean())
            low = self.frame.top + self._cell.height / 2
            y = points[node, 1] + min(max(aim - points[node, 1], -most), most)
            y = min(max(y, low), low + self.frame.height - self._cell.height)
            gap = np.abs(points - (points[node, 0], y))
            gap[node] = np.inf
            if not ((gap[:, 0] < room[0]) & (gap[:, 1] < room[1])).any():
                points[node, 1] = y
                self.places[names[node]] = (float(points[node, 0]), float(y))
