"""A layered picture of a graph, drawn anew: who calls stands left, who answers stands right.

Sugiyama's way (K. Sugiyama, S. Tagawa, M. Toda, 1981), with greedy removal of cycles (P. Eades, X. Lin, W. F. Smyth,
1993). Layers that would be too tall stand in several columns side by side. Only names and edges count, never
their values, and nothing is random: the same graph gives the same picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Cell", "arrange"]

Points = npt.NDArray[np.float64]
Pairs = npt.NDArray[np.intp]

VIEW = (960.0, 440.0)
SWEEPS = 12
BETWEEN = 0.6  # columns, after a layer that takes several


@dataclass(frozen=True)
class Cell:
    """The room that one node needs, with its label."""

    width: float
    height: float


def arrange(size: int, pairs: Pairs, cell: Cell, view: tuple[float, float] = VIEW) -> Points:
    """(size, 2): places around (0, 0), at least a cell apart; together in the shape of *view* (width, height).

    Nodes are expected in a fixed order, such as sorted by name; *pairs* are edges from source to target.
    """
    if not size:
        return np.zeros((0, 2))
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0) if len(pairs) else np.zeros((0, 2), np.intp)
    blocks = []
    for members in _components(size, pairs):
        local = np.full(size, -1, np.intp)
        local[members] = np.arange(len(members))
        inside = local[pairs[local[pairs[:, 0]] >= 0]]
        blocks.append((members, _block(len(members), inside, cell, view)))
    places = np.zeros((size, 2))
    for (members, block), corner in zip(blocks, _packed([b for _, b in blocks], cell, view), strict=True):
        places[members] = block + corner
    centre: Points = (places.min(axis=0) + places.max(axis=0)) / 2
    places -= centre
    return places


def _components(size: int, pairs: Pairs) -> list[npt.NDArray[np.intp]]:
    """Groups of nodes that hang together, the largest first."""
    group = np.arange(size)
    while True:
        lowest = group.copy()
        np.minimum.at(lowest, pairs[:, 0], group[pairs[:, 1]])
        np.minimum.at(lowest, pairs[:, 1], group[pairs[:, 0]])
        lowest = lowest[lowest]
        if np.array_equal(lowest, group):
            break
        group = lowest
    found = [np.flatnonzero(group == number) for number in np.unique(group)]
    return sorted(found, key=len, reverse=True)


def _packed(blocks: list[Points], cell: Cell, view: tuple[float, float]) -> list[Points]:
    """Where the corner of each block goes: on shelves, filled from the top left."""
    room = np.array([cell.width, cell.height])
    sizes = [block.max(axis=0) + room for block in blocks]
    area = sum(float(s[0] * s[1]) for s in sizes)
    width = max(math.sqrt(area * view[0] / view[1]) * 1.05, *(float(s[0]) for s in sizes))
    corners, x, y, shelf = [], 0.0, 0.0, 0.0
    for wide, tall in sizes:
        if x > 0 and x + wide > width + 1e-9:
            x, y, shelf = 0.0, y + shelf, 0.0
        corners.append(np.array([x, y]))
        x, shelf = x + wide, max(shelf, tall)
    return corners


def _block(size: int, pairs: Pairs, cell: Cell, view: tuple[float, float]) -> Points:
    """One component, its top left node's cell at (0, 0) or right and below of it."""
    forward = _acyclic(size, pairs)
    layer = _layers(size, forward)
    most = max(6, round(1.5 * math.sqrt(size * view[0] / view[1] * cell.height / cell.width)))
    if layer.max() >= most:
        layer = layer * most // (int(layer.max()) + 1)
    order = _ordered(size, pairs, layer)
    rows = _rows(np.bincount(layer), cell, view)
    column, row, alone = np.zeros(size), np.zeros(size), np.zeros(size, bool)
    start = 0.0
    for number in range(int(layer.max()) + 1):
        members = order[layer[order] == number]
        wide = max(-(-len(members) // rows), 1)
        index, alone[members] = np.arange(len(members)), wide == 1
        column[members] = start + index % wide
        row[members] = index / wide - (len(members) - 1) / wide / 2
        start += wide + (BETWEEN if wide > 1 else 0.0)
    return _settled(pairs, column, row, alone, cell)


def _acyclic(size: int, pairs: Pairs) -> Pairs:
    """The edges without cycles: of two that face each other the one to the node with more neighbours stays, and of
    other cycles those edges turn round that point back in Eades' order."""
    degree = np.bincount(pairs.ravel(), minlength=size)
    keys = pairs[:, 0] * size + pairs[:, 1]
    facing = np.isin(pairs[:, 1] * size + pairs[:, 0], keys)
    ahead = (degree[pairs[:, 1]] > degree[pairs[:, 0]]) | (
        (degree[pairs[:, 1]] == degree[pairs[:, 0]]) & (pairs[:, 0] < pairs[:, 1])
    )
    kept: Pairs = pairs[~facing | ahead]
    place = np.empty(size, np.intp)
    place[_eades(size, kept)] = np.arange(size)
    back = place[kept[:, 0]] > place[kept[:, 1]]
    kept[back] = kept[back, ::-1]
    return kept


def _eades(size: int, pairs: Pairs) -> list[int]:
    """An order of nodes in which few edges point back: sinks last, sources first, else the one that calls most."""
    after: list[set[int]] = [set() for _ in range(size)]
    before: list[set[int]] = [set() for _ in range(size)]
    for a, b in pairs.tolist():
        after[a].add(b)
        before[b].add(a)
    left, first, last = set(range(size)), list[int](), list[int]()

    def take(node: int, into: list[int]) -> None:
        into.append(node)
        left.discard(node)
        for other in after[node]:
            before[other].discard(node)
        for other in before[node]:
            after[other].discard(node)

    while left:
        ready = sorted(node for node in left if not after[node])
        if ready:
            for node in ready:
                take(node, last)
            continue
        ready = sorted(node for node in left if not before[node])
        if ready:
            for node in ready:
                take(node, first)
            continue
        take(min(left, key=lambda node: (len(before[node]) - len(after[node]), node)), first)
    return first + last[::-1]


def _layers(size: int, forward: Pairs) -> npt.NDArray[np.intp]:
    """The longest way to each node from where nobody calls it; callers then stand just before whom they call."""
    layer = np.zeros(size, np.intp)
    for _ in range(size):
        deeper = layer.copy()
        np.maximum.at(deeper, forward[:, 1], layer[forward[:, 0]] + 1)
        if np.array_equal(deeper, layer):
            break
        layer = deeper
    calls = np.bincount(forward[:, 0], minlength=size)
    answers = np.bincount(forward[:, 1], minlength=size)
    for node in np.argsort(-layer, kind="stable").tolist():
        if calls[node] > answers[node]:
            layer[node] = layer[forward[forward[:, 0] == node, 1]].min() - 1
    return layer - layer.min() if size else layer


def _ordered(size: int, pairs: Pairs, layer: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """All nodes, those of one layer from top to bottom, with short edges and few crossings: barycentre sweeps."""
    a = np.concatenate([pairs[:, 0], pairs[:, 1]])
    b = np.concatenate([pairs[:, 1], pairs[:, 0]])
    amount = np.bincount(layer)
    best, least = np.arange(size), math.inf
    for start in (np.arange(size), np.argsort(-np.bincount(a, minlength=size), kind="stable")):
        place = np.zeros(size)
        place[start] = np.arange(size) / max(size, 1)
        place = _spread(place, layer, amount)
        for sweep in range(SWEEPS):
            # Only neighbours on one side count, on alternating sides: else two layers chase each other.
            side = layer[b] < layer[a] if sweep % 2 == 0 else layer[b] > layer[a]
            side = side | (layer[b] == layer[a]) if sweep < SWEEPS - 2 else np.ones(len(a), bool)
            weight = np.bincount(a[side], minlength=size)
            mean = np.bincount(a[side], place[b[side]], minlength=size)
            wanted = np.where(weight > 0, mean / np.maximum(weight, 1), place)
            place = _spread(wanted + 1e-6 * place, layer, amount)
            length = float(np.abs(place[a] - place[b]).sum())
            if length < least - 1e-9:
                best, least = np.lexsort((place, layer)), length
    return best


def _spread(place: Points, layer: npt.NDArray[np.intp], amount: npt.NDArray[np.intp]) -> Points:
    """The nodes of each layer one apart around 0, in the order of *place*."""
    order = np.lexsort((np.arange(len(place)), place, layer))
    start = np.cumsum(amount) - amount
    result = np.empty(len(place))
    result[order] = np.arange(len(place)) - start[layer[order]] - (amount[layer[order]] - 1) / 2
    return result


def _rows(amount: npt.NDArray[np.intp], cell: Cell, view: tuple[float, float]) -> int:
    """How many nodes one column takes: what the view has room for, or more, if that comes nearer to its shape."""
    most = int(amount.max())
    rows = np.arange(max(min(most, int(view[1] // cell.height)), 1), most + 1)
    wide = -(-amount[:, None] // rows[None, :])
    columns = (wide + BETWEEN * (wide > 1)).sum(axis=0)
    shape = (columns * cell.width) / (rows * cell.height)
    return int(rows[np.argmin(np.abs(np.log(shape * view[1] / view[0])))])


def _settled(pairs: Pairs, column: Points, row: Points, alone: npt.NDArray[np.bool_], cell: Cell) -> Points:
    """Each node as near to the middle of its neighbours as the order within its column permits.

    Only where its layer is *alone* in one column: those of several columns stand staggered, so that edges pass between.
    """
    y = row * cell.height
    a = np.concatenate([pairs[:, 0], pairs[:, 1]])
    b = np.concatenate([pairs[:, 1], pairs[:, 0]])
    weight = np.bincount(a, minlength=len(y))
    top, bottom = float(y.min()), float(y.max())
    stacks = [np.flatnonzero(column == at) for at in np.unique(column[alone])]
    stacks = [stack[np.argsort(y[stack], kind="stable")] for stack in stacks]
    for _ in range(4):
        mean = np.bincount(a, y[b], minlength=len(y)) / np.maximum(weight, 1)
        wanted = np.where(weight > 0, (mean + y) / 2, y).clip(top, bottom)
        for stack in stacks:
            y[stack] = _apart(wanted[stack], cell.height)
    y -= y.min()
    return np.column_stack([column * cell.width, y])


def _apart(wanted: Points, step: float) -> Points:
    """The places nearest to *wanted* (least squares) that keep their order and are a *step* apart.

    Taking off the steps leaves isotonic regression, by pooling adjacent violators.
    """
    offset = np.arange(len(wanted)) * step
    means: list[float] = []
    sizes: list[int] = []
    for value in (wanted - offset).tolist():
        means.append(value)
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mean, count = means.pop(), sizes.pop()
            means[-1] = (means[-1] * sizes[-1] + mean * count) / (sizes[-1] + count)
            sizes[-1] += count
    found: Points = np.repeat(means, sizes) + offset
    return found
