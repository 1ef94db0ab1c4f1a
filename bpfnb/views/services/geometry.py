"""Curves of edges, sizes of nodes, and room for labels. The page's part (servicemap/geometry.ts) has the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bpfnb.views.services.layout import label_width, shortened

__all__ = ["Label", "at", "curve", "curves", "labels", "opacity_of", "radius", "width_of"]

Curve = tuple[float, float, float, float, float, float, float, float]

Box = tuple[float, float, float, float]

GAP = 3.0  # px between arrow head and node
STEEP = 40.0  # an edge that goes less far sideways bulges instead
FACING = 7.0  # px that each of two facing edges stands aside
THIN, THICK = 1.2, 7.0
LINE = 13.0  # px a line of a label takes


def radius(degree: int, much: float) -> float:
    """A node's size: hubs are somewhat larger, and in a crowd (0 .. 1) all are smaller."""
    return (10.0 + min(7.0, 1.5 * math.log2(1 + degree))) * (1 - 0.35 * much)


def width_of(t: float, much: float) -> float:
    """An edge's width for a place on its scale."""
    return (THIN + t * (THICK - THIN)) * (1 - 0.4 * much)


def opacity_of(width: float, color: float, much: float) -> float:
    """How much an edge stands out, by its places on both scales: in a crowd the quiet ones step back."""
    quiet = 0.85 - much * (0.68 - 0.4 * width)
    return quiet + (0.95 - quiet) * min(1.0, 2.5 * color)


def curve(ax: float, ay: float, ar: float, bx: float, by: float, br: float, facing: bool) -> Curve:
    """A cubic from node a to node b: start, two control points, end (the tip of the arrow).

    To the right it leaves on the right and arrives on the left. Back to the left it passes below. Up or down it
    bulges, down on the right and up on the left, so that the two directions of a pair never lie on each other.
    """
    dx, dy = bx - ax, by - ay
    if dx == 0 and dy == 0:
        return (
            ax - 0.5 * ar,
            ay - 0.8 * ar,
            ax - 2.2 * ar,
            ay - 3 * ar,
            ax + 2.2 * ar,
            ay - 3 * ar,
            ax + 0.5 * ar,
            ay - 0.8 * ar - GAP,
        )
    if abs(dx) <= STEEP:
        side = 1.0 if dy > 0 else -1.0
        bulge = side * (22 + 0.22 * abs(dy))
        sx, sy = ax + side * 0.8 * ar, ay + math.copysign(0.6 * ar, dy)
        ex, ey = bx + side * (0.8 * br + GAP), by - math.copysign(0.6 * br + GAP / 2, dy)
        return (sx, sy, sx + bulge, sy + 0.2 * dy, ex + bulge, ey - 0.2 * dy, ex, ey)
    if dx > 0:
        turn = 0.6 * math.atan2(dy, dx)
        aside = -FACING if facing else 0.0
        sx, sy = ax + ar * math.cos(turn), ay + ar * math.sin(turn) + aside
        ex, ey = bx - (br + GAP) * math.cos(turn), by - (br + GAP) * math.sin(turn) + aside
        reach = 0.42 * (ex - sx)
        return (sx, sy, sx + reach, sy + 0.12 * (ey - sy), ex - reach, ey - 0.12 * (ey - sy), ex, ey)
    bow = FACING + 12 + 0.06 * abs(dx)
    sx, sy = ax - 0.8 * ar, ay + 0.6 * ar
    ex, ey = bx + 0.8 * br + GAP, by + 0.6 * br + GAP / 2
    reach = 0.35 * (sx - ex)
    return (sx, sy, sx - reach, sy + bow, ex + reach, ey + bow, ex, ey)


def curves(
    pairs: Sequence[Sequence[int]], points: Sequence[Sequence[float]], radii: Sequence[float]
) -> list[Curve]:
    """The curve of each edge, given as the numbers of its source and target."""
    both = {(a, b) for a, b in pairs}
    return [
        curve(points[a][0], points[a][1], radii[a], points[b][0], points[b][1], radii[b], (b, a) in both)
        for a, b in pairs
    ]


def at(c: Curve, t: float) -> tuple[float, float]:
    """The point of a curve at *t* between 0 and 1."""
    u = 1 - t
    w = (u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t)
    return (
        w[0] * c[0] + w[1] * c[2] + w[2] * c[4] + w[3] * c[6],
        w[0] * c[1] + w[1] * c[3] + w[2] * c[5] + w[3] * c[7],
    )


@dataclass(frozen=True)
class Label:
    """A label that has room: of node or edge ``item``, its middle at x and its base line at y."""

    item: int
    x: float
    y: float
    text: str


def labels(
    points: npt.NDArray[np.float64],
    radii: Sequence[float],
    names: Sequence[str],
    order: Sequence[int],
    bounds: Box,
) -> tuple[list[Label], list[Box]]:
    """The labels that have room, the most important first: below their node, above it, or beside it.

    Also the boxes that are then taken, by nodes and labels. A box is left, top, right, bottom; *bounds* too.
    """
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(points.tolist(), radii, strict=True)]
    found = []
    for node in order:
        (x, y), r = points[node].tolist(), radii[node]
        wide = label_width(names[node]) / 2
        for cx, base in (
            (x, y + r + LINE - 1),
            (x, y - r - 5),
            (x + r + wide + 4, y + 4),
            (x - r - wide - 4, y + 4),
        ):
            box = (cx - wide, base - LINE + 3, cx + wide, base + 3)
            if inside(box, bounds) and free(box, taken, node):
                taken.append(box)
                found.append(Label(node, cx, base, shortened(names[node])))
                break
    return found, taken


def inside(box: Box, bounds: Box) -> bool:
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]


def free(box: Box, taken: Sequence[Box], own: int = -1) -> bool:
    """Whether *box* meets none of those *taken*, but number *own*."""
    left, top, right, bottom = box
    return not any(
        left < r and right > x and top < b and bottom > t for i, (x, t, r, b) in enumerate(taken) if i != own
    )
