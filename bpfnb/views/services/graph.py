"""The graph that is drawn: nodes with kind and rank, edges by number, small nodes folded where there are too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views.services.edges import COLUMNS

__all__ = ["Graph", "build"]

_SIDES = ("other clients", "others", "other servers")


@dataclass(frozen=True)
class Graph:
    """``names`` are sorted. ``edges`` is the table of edges with ``a`` and ``b``, the numbers of their nodes.

    ``rank``: 0 for the most important node: most neighbours, then most traffic in orders of magnitude, then name.
    ``folded``: of each node that stands for several, their names.
    """

    names: list[str]
    kinds: list[str]
    groups: list[str]
    edges: pd.DataFrame
    rank: npt.NDArray[np.intp]
    degree: npt.NDArray[np.intp]
    folded: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def pairs(self) -> npt.NDArray[np.intp]:
        """(edges, 2): the numbers of source and target."""
        return self.edges[["a", "b"]].to_numpy(np.intp)

    @property
    def age(self) -> npt.NDArray[np.float64]:
        """Seconds since each node was last seen."""
        age = np.full(len(self.names), np.inf)
        for end in ("a", "b"):
            np.minimum.at(age, self.edges[end].to_numpy(np.intp), np.nan_to_num(self.edges["age"].to_numpy()))
        return age


def build(
    table: pd.DataFrame,
    kind: Callable[[str], str],
    *,
    group: Callable[[str], str] = lambda _: "",
    limit: int = 300,
) -> Graph:
    """The graph of a *table* of edges, with at most *limit* nodes."""
    names = sorted({*table["source"], *table["target"]})
    folded: dict[str, list[str]] = {}
    if len(names) > limit:
        table, folded = _fold(table, names, limit)
        names = sorted({*table["source"], *table["target"]})
    number = {name: i for i, name in enumerate(names)}
    a = table["source"].map(number).to_numpy(np.intp)
    b = table["target"].map(number).to_numpy(np.intp)
    edges = table.assign(a=a, b=b)
    traffic = _traffic(edges, len(names))
    degree = _degree(a, b, len(names))
    order = np.lexsort((np.arange(len(names)), -np.floor(np.log10(traffic + 1)), -degree))
    rank = np.empty(len(names), np.intp)
    rank[order] = np.arange(len(names))
    kinds = ["others" if name in folded else kind(name) for name in names]
    return Graph(
        names, kinds, ["" if name in folded else group(name) for name in names], edges, rank, degree, folded
    )


def _traffic(edges: pd.DataFrame, size: int) -> npt.NDArray[np.float64]:
    """How much goes through each node: its count, or what else is known."""
    column = next((edges[c] for c in ("count", "rate", "bytes") if edges[c].notna().any()), None)
    weight = np.ones(len(edges)) if column is None else np.nan_to_num(column.to_numpy(np.float64))
    total = np.bincount(edges["a"], weight, minlength=size) + np.bincount(edges["b"], weight, minlength=size)
    found: npt.NDArray[np.float64] = np.maximum(total, 0.0)
    return found


def _degree(a: npt.NDArray[np.intp], b: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    """The number of neighbours of each node."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    pairs = np.unique(low[a != b] * max(size, 1) + high[a != b])
    found = np.bincount(pairs // max(size, 1), minlength=size) + np.bincount(
        pairs % max(size, 1), minlength=size
    )
    return found.astype(np.intp)


def _fold(table: pd.DataFrame, names: Sequence[str], limit: int) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The smallest nodes become one for each side: those that only call, those that only answer, and the rest."""
    number = {name: i for i, name in enumerate(names)}
    ends = table.assign(a=table["source"].map(number), b=table["target"].map(number))
    traffic = _traffic(ends, len(names))
    small = np.argsort(-traffic, kind="stable")[max(limit - len(_SIDES), 1) :]
    calls = np.bincount(ends["a"], minlength=len(names)) > 0
    answers = np.bincount(ends["b"], minlength=len(names)) > 0
    sides: dict[int, list[str]] = {}
    for node in small.tolist():
        sides.setdefault(0 if not answers[node] else 2 if not calls[node] else 1, []).append(names[node])
    folded = {f"{len(members)} {_SIDES[side]}": sorted(members) for side, members in sides.items()}
    into = {name: label for label, members in folded.items() for name in members}
    renamed = table.assign(
        source=table["source"].map(lambda name: into.get(name, name)),
        target=table["target"].map(lambda name: into.get(name, name)),
    )
    return _merged(renamed), folded


def _merged(table: pd.DataFrame) -> pd.DataFrame:
    """Edges of one pair as one: amounts add up, shares and medians are means by count, the worst 99th percentile."""
    weight = table["count"].fillna(table["rate"]).fillna(1.0)
    work = table.assign(_w=weight)
    for name in ("errors", "latency"):
        work[f"_{name}"] = work[name] * weight
        work[f"_{name}_w"] = weight.where(work[name].notna(), 0.0)
    keys = work.groupby(["source", "target"], sort=True)
    merged = keys[["count", "rate", "bytes", "bytes_rate"]].sum(min_count=1)
    for name in ("errors", "latency"):
        merged[name] = keys[f"_{name}"].sum(min_count=1) / keys[f"_{name}_w"].sum()
    merged["latency_p99"] = keys["latency_p99"].max()
    merged["age"] = keys["age"].min()
    return merged.reset_index()[["source", "target", *COLUMNS]]
