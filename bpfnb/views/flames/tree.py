"""Stacks with weights as one tree in columns, built without Python code per sample or per node.

Different stacks come first (:class:`Stacks`: a few thousand stand for millions of samples), then the shape of the tree
that they make (:class:`Shape`), which stays while only weights change, then the weighed :class:`Tree`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.errors import BadValue

__all__ = ["Shape", "Stacks", "Tree", "weights_of"]

Codes = npt.NDArray[np.int32]
Weights = npt.NDArray[Any]  # uint64, exact, or float64
ALL = "all"
"""The name of the root."""


@dataclass(frozen=True)
class Stacks:
    """Stacks, root first, one behind the other: stack *i* is ``codes[offsets[i]:offsets[i + 1]]``, codes of names."""

    offsets: npt.NDArray[np.int64]
    codes: Codes

    @classmethod
    def of(cls, stacks: Sequence[Codes]) -> Stacks:
        offsets = np.zeros(len(stacks) + 1, np.int64)
        np.cumsum([len(stack) for stack in stacks], out=offsets[1:])
        return cls(offsets, np.concatenate([np.empty(0, np.int32), *stacks]).astype(np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def inverted(self) -> Stacks:
        """The same stacks leaf first: their tree shows, under each function, who called it."""
        mirror = np.repeat(self.offsets[:-1] + self.offsets[1:], self.lengths) - 1
        return Stacks(self.offsets, self.codes[mirror - np.arange(len(self.codes))])

    def merged(self) -> Stacks:
        """The same stacks with a function that calls itself directly taken as one frame."""
        keep = np.ones(len(self.codes), bool)
        keep[1:] = self.codes[1:] != self.codes[:-1]
        starts = self.offsets[:-1]
        keep[starts[starts < len(keep)]] = True
        kept = np.concatenate([[0], np.cumsum(keep)])
        return Stacks(kept[self.offsets], self.codes[keep])

    def under(self, path: Codes) -> npt.NDArray[np.bool_]:
        """Which stacks begin with *path*."""
        inside = self.lengths >= len(path)
        for depth, code in enumerate(path.tolist()):
            at = np.flatnonzero(inside)
            inside[at] = self.codes[self.offsets[at] + depth] == code
        return inside


@dataclass(frozen=True)
class Shape:
    """A tree in pre-order, siblings by name: node 0 is the root, whose *name* and *parent* are -1.

    *end* is the node after a node's last descendant; *leaf* is the node where each stack ends; *levels* are the nodes
    of each depth.
    """

    name: Codes
    parent: Codes
    end: Codes
    leaf: Codes
    levels: Sequence[Codes]

    @classmethod
    def of(cls, stacks: Stacks, names: Sequence[str]) -> Shape:
        """The shape that *stacks* make; *names* are the texts of their codes."""
        order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        # Breadth first: at each depth, the different pairs of a parent and a name are the nodes.
        node = np.zeros(len(stacks), np.int64)
        parents, ranks = [np.array([-1])], [np.array([-1])]
        count = 1
        inside = np.arange(len(stacks))
        while True:
            depth = len(parents) - 1
            inside = inside[stacks.lengths[inside] > depth]
            if not len(inside):
                break
            key = node[inside] * len(names) + rank[stacks.codes[stacks.offsets[inside] + depth]]
            unique, place = np.unique(key, return_inverse=True)
            parents.append(unique // len(names))
            ranks.append(unique % len(names))
            node[inside] = count + place
            count += len(unique)
        firsts = np.cumsum([0, *(len(level) for level in parents)])
        size = np.ones(count, np.int64)
        for depth in range(len(parents) - 1, 0, -1):
            np.add.at(size, parents[depth], size[firsts[depth] : firsts[depth + 1]])
        # A level is sorted by parent, then name: a node stands behind its parent and its earlier siblings' subtrees.
        place = np.zeros(count, np.int64)
        for depth in range(1, len(parents)):
            sizes = size[firsts[depth] : firsts[depth + 1]]
            before = np.cumsum(sizes) - sizes
            _, first, sibling = np.unique(parents[depth], return_index=True, return_inverse=True)
            place[firsts[depth] : firsts[depth + 1]] = (
                place[parents[depth]] + 1 + before - before[first][sibling]
            )
        name, parent, end = (np.full(count, -1, np.int32) for _ in range(3))
        code = np.concatenate([ranks[0], *(order[level] for level in ranks[1:])])
        name[place] = code
        parent[place[1:]] = place[np.concatenate(parents)[1:]]
        end[place] = place + size
        levels = [place[a:b].astype(np.int32) for a, b in pairwise(firsts.tolist())]
        return cls(name, parent, end, place[node].astype(np.int32), levels)

    def alike(self, other: Shape) -> bool:
        """Whether *other* has the same nodes; other stacks may end in them."""
        return self is other or (
            np.array_equal(self.parent, other.parent) and np.array_equal(self.name, other.name)
        )


@dataclass(frozen=True)
class Tree:
    """A weighed tree in pre-order. Nodes of no weight, in the base neither, are left out, unless asked for.

    *names*: texts by code; *name*, *parent*, *depth*, *end*: as in :class:`Shape`; *own*: what ended in the node
    itself; *value*: with all its descendants; *base_own*, *base*: the same of what it is compared with, or None;
    *leaf*: the node where each stack ends, -1 for those left out; *shape* and *kept*: what the tree was hung into, and
    which nodes of it are here.
    """

    names: Sequence[str]
    name: Codes
    parent: Codes
    depth: Codes
    end: Codes
    own: Weights
    value: Weights
    leaf: Codes
    shape: Shape
    kept: npt.NDArray[np.bool_]
    base_own: Weights | None = None
    base: Weights | None = None

    @classmethod
    def of(
        cls,
        shape: Shape,
        names: Sequence[str],
        weights: Weights,
        base: Weights | None = None,
        also: npt.NDArray[np.bool_] | None = None,
    ) -> Tree:
        """*weights* of each stack hung into *shape*; *base* are the weights to compare with.

        *also*: nodes of *shape* that stay, whatever they weigh.
        """
        own, value = _hang(shape, weights)
        keep = value > 0
        keep[0] = True
        if also is not None:
            keep |= also
        base_own = base_value = None
        if base is not None:
            base_own, base_value = _hang(shape, base)
            keep |= base_value > 0
        depth = np.empty(len(own), np.int32)
        for number, level in enumerate(shape.levels):
            depth[level] = number
        place = np.cumsum(keep, dtype=np.int32) - 1
        after = np.append(place + 1 - keep, keep.sum()).astype(np.int32)
        parent = place[shape.parent[keep]]
        parent[0] = -1
        return cls(
            names,
            shape.name[keep],
            parent,
            depth[keep],
            after[shape.end[keep]],
            own[keep],
            value[keep],
            np.where(keep[shape.leaf], place[shape.leaf], -1).astype(np.int32),
            shape,
            keep,
            None if base_own is None else base_own[keep],
            None if base_value is None else base_value[keep],
        )

    def __len__(self) -> int:
        return len(self.name)

    @property
    def total(self) -> int | float:
        total: int | float = self.value[0].item()
        return total

    @property
    def base_total(self) -> int | float:
        total: int | float = 0 if self.base is None else self.base[0].item()
        return total

    def label(self, node: int) -> str:
        code = int(self.name[node])
        return ALL if code < 0 else self.names[code]

    def path(self, node: int) -> list[str]:
        """The names from the root (which is not among them) to *node*."""
        out: list[str] = []
        while node > 0:
            out.append(self.names[self.name[node]])
            node = int(self.parent[node])
        return out[::-1]

    def children(self, node: int) -> list[int]:
        out, child = [], node + 1
        while child < self.end[node]:
            out.append(child)
            child = int(self.end[child])
        return out

    @cached_property
    def drift(self) -> npt.NDArray[np.float64]:
        """How each node's share differs from that of the base: -1 a quarter or less, 0 equal, 1 four times or more.

        The binary logarithm of the ratio, halved. A thousandth is added to both shares, so that a frame seen once or
        twice does not shout.
        """
        if self.base is None:
            return np.zeros(len(self))
        now = self.value / max(self.total, 1e-300) + 1e-3
        then = self.base / max(self.base_total, 1e-300) + 1e-3
        return np.asarray(np.clip(np.log2(now / then) / 2, -1, 1))

    def functions(self) -> tuple[Weights, Weights]:
        """Own weight, and weight with callees counted once a stack however often it recurs, of each name."""
        own, total = (np.zeros(len(self.names), self.value.dtype) for _ in range(2))
        np.add.at(own, self.name[1:], self.own[1:])
        outer = self._outermost(self.name)
        np.add.at(total, self.name[outer], self.value[outer])
        return own, total

    def _outermost(self, name: Codes) -> Codes:
        """Nodes that no node of the same name stands above: one a stack and name."""
        open_until = np.zeros(len(self.names), np.int64)
        out = []
        for node, (code, end) in enumerate(zip(name.tolist(), self.end.tolist(), strict=True)):
            if code >= 0 and open_until[code] <= node:
                open_until[code] = end
                out.append(node)
        return np.array(out, np.int32)

    def matched(self, hits: npt.NDArray[np.bool_]) -> int | float:
        """The weight of the stacks that hold a name for which *hits* (by code) is true, each stack counted once."""
        open_until, total = 0, 0
        for node in np.flatnonzero(np.append(hits, False)[self.name]).tolist():
            if node >= open_until:
                total += self.value[node].item()
                open_until = self.end[node]
        return total


def weights_of(values: npt.ArrayLike) -> Weights:
    """Weights as they are summed: whole numbers as u64, others as f64, missing ones 0.

    Raises BadValue for negative and infinite ones.
    """
    array = np.asarray(values)
    if array.dtype.kind == "u":
        return array.astype(np.uint64, copy=False)
    if array.dtype.kind in "ib":
        wrong = array < 0
        out: Weights = array.astype(np.uint64)
    else:
        out = np.nan_to_num(np.asarray(array, np.float64), nan=0.0)
        wrong = (out < 0) | ~np.isfinite(out)
    if wrong.any():
        raise BadValue(f"{array[wrong][0]} is no weight of a stack: weights are finite and not negative")
    return out


def _hang(shape: Shape, weights: Weights) -> tuple[Weights, Weights]:
    """What ends in each node, and that with what ends in its descendants."""
    if weights.dtype == np.uint64 and weights.astype(np.float64).sum() >= 2.0**64:
        weights = weights.astype(np.float64)  # beyond what 64 bits hold
    own = np.zeros(len(shape.name), weights.dtype)
    np.add.at(own, shape.leaf, weights)
    value = own.copy()
    for level in reversed(shape.levels[1:]):
        np.add.at(value, shape.parent[level], value[level])
    return own, value
