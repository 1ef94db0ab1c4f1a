"""From what was pointed at on the map to a selection: the values of the source and target columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import UnknownName
from bpfnb.views.selection import ROW, Selection
from bpfnb.views.services.edges import Ends
from bpfnb.views.services.graph import Graph
from bpfnb.views.services.reader import Reader
from bpfnb.views.source import Source

__all__ = ["Picked", "selection_of"]


@dataclass(frozen=True)
class Picked:
    """A node (one name) or an edge (source and target), and the selection that means its rows."""

    names: list[str]
    selection: Selection


def selection_of(
    names: Sequence[str],
    graph: Graph,
    reader: Reader,
    source: Source,
    leave: Callable[[pd.DataFrame], pd.DataFrame],
) -> Picked:
    """The selection of a node or an edge of *graph*. Raises UnknownName where it is not drawn.

    Where conditions on columns cannot say it (a node that both calls and answers, several values with one name), it
    is by row numbers, of the rows that there are now.
    """
    for name in names:
        if name not in graph.names:
            raise UnknownName.among(graph.names, name, f"there is no node '{name}'")
    ends = reader.ends
    sides = [_members(name, graph, ends) for name in names]
    if len(names) == 2:
        conditions = [_condition(ends, sides[0], 0), _condition(ends, sides[1], 1)]
    else:
        roles = [side for side in (0, 1) if any(node in ends.values[side] for node in sides[0])]
        conditions = [_condition(ends, sides[0], roles[0])] if len(roles) == 1 else [None]
    merged: Selection = {}
    for condition in conditions:
        if condition is None or merged.keys() & condition.keys():
            return Picked(list(names), _by_rows(sides, reader, source, leave))
        merged |= condition
    return Picked(list(names), merged)


def _members(name: str, graph: Graph, ends: Ends) -> set[int]:
    """The numbers of the nodes that *name* stands for."""
    return {ends.number_of(member) for member in graph.folded.get(name, [name])}


def _condition(ends: Ends, nodes: set[int], side: int) -> Selection | None:
    """The condition that the columns of one side name one of *nodes*; None where columns cannot say so."""
    columns = ends.roles.target if side else ends.roles.source
    values = [v for node in sorted(nodes) for v in ends.values[side].get(node, ())]
    if len(columns) > 1 and len(values) > 1:
        return None
    condition = {column: {"in": [_item(v[i]) for v in values]} for i, column in enumerate(columns)}
    return None if any(isinstance(v, list) for c in condition.values() for v in c["in"]) else condition


def _item(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NA or value != value:
        return None
    return value if isinstance(value, bool | int | float | str | list) else str(value)


def _by_rows(
    sides: list[set[int]], reader: Reader, source: Source, leave: Callable[[pd.DataFrame], pd.DataFrame]
) -> Selection:
    frame = leave(source.frame())
    pairs = np.array([reader.ends.edges[edge] for edge in reader.ends.number(frame)], np.intp).reshape(-1, 2)
    near, far = np.isin(pairs[:, 0], list(sides[0])), np.isin(pairs[:, 1], list(sides[-1]))
    chosen = near & far if len(sides) == 2 else near | far
    return {ROW: {"in": [int(number) for number in frame.index[chosen]]}}
