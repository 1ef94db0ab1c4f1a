"""The tree as the browser gets it: whole, then, as long as its shape stays, only the weights that changed.

A whole tree takes about 17 bytes a node, and its names; of a change, 12 bytes a node that weighs otherwise now.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bpfnb.views.flames.names import origins
from bpfnb.views.flames.samples import Samples, Strip, Window
from bpfnb.views.flames.tree import Tree, Weights

__all__ = ["cells", "changes", "strip_meta", "whole"]

Columns = dict[str, Any]

EXACT = 1 << 53  # whole numbers below it are exact in the browser's numbers too
ROOM = 1 << 20
"""Bytes that the cells of an offline page may take (a third more in its base64), unless the coarsest steps do."""
COARSER = (240, 120, 60, 30, 15)


def whole(tree: Tree) -> Columns:
    """All of *tree*: each node's name (a label; the root has none), its parent, and what ended in it."""
    used, label = np.unique(tree.name, return_inverse=True)
    labels = [tree.names[code] for code in used[1:].tolist()]
    columns = {
        "name": pd.Categorical.from_codes(label - 1, pd.Index(labels, dtype=object)),
        "origin": origins(labels),
        "parent": tree.parent,
        "own": _numbers(tree.own),
    }
    if tree.base_own is not None:
        columns["base"] = _numbers(tree.base_own)
    return columns


def changes(tree: Tree, before: Tree) -> Columns | None:
    """Which nodes weigh otherwise than *before*, a tree of the same nodes, and what; None: it must be sent whole."""
    if len(tree) != len(before) or (tree.base_own is None) != (before.base_own is None):
        return None
    columns: Columns = {}
    pairs = {"own": (tree.own, before.own), "base": (tree.base_own, before.base_own)}
    for name, (now, then) in pairs.items():
        if now is None or then is None:
            continue
        weights = _numbers(now)
        if weights.dtype != _numbers(then).dtype:
            return None
        at = np.flatnonzero(now != then)
        columns[f"{name}_at"] = at.astype(np.uint32)
        columns[name] = weights[at]
    return columns


def strip_meta(strip: Strip, window: Window | None, base: Window | None) -> dict[str, Any]:
    """Where the steps of time are, and which of them are chosen, as they go into the frame's meta."""

    def steps(chosen: Window | None) -> list[float] | None:
        return None if chosen is None else [(moment - strip.start) / strip.step for moment in chosen]

    return {"start": str(strip.start), "step": strip.step, "window": steps(window), "base": steps(base)}


def cells(samples: Samples, tree: Tree) -> tuple[Strip, Columns] | None:
    """The weights of stacks by steps of time, which a page without Python counts ranges from; None without moments.

    Where they are too many, the steps are longer. *tree* is the tree of all samples.
    """
    found = None
    for bins in COARSER:
        strip = samples.strip(bins)
        if strip is None:
            return None
        stack, step, weight = strip.cells()
        there = weight > 0
        columns = {
            "cell_node": _small(tree.leaf[stack[there]]),
            "cell_step": _small(step[there]),
            "cell_weight": _small(weight[there]),
        }
        found = strip, columns
        if sum(column.nbytes for column in columns.values()) <= ROOM:
            break
    return found


def _small(values: Weights) -> Weights:
    """Whole numbers in as few bytes as hold them; beyond 32 bits and fractions as :func:`_numbers`."""
    most = values.max(initial=0)
    if values.dtype.kind in "iu" and most < 1 << 32:
        return values.astype(np.min_scalar_type(int(most)))
    return _numbers(values)


def _numbers(weights: Weights) -> Weights:
    """Weights as the browser adds them up: floats where those are exact."""
    if weights.dtype == np.uint64 and weights.sum(dtype=np.float64) < EXACT:
        return weights.astype(np.float64)
    return weights
