"""Stacks for other tools: folded text, as flamegraph.pl and inferno read it, and speedscope's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bpfnb.symbols.process import Located
from bpfnb.views.flames.pprof import KINDS
from bpfnb.views.flames.tree import Tree

__all__ = ["folded", "places", "speedscope"]

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"

Place = dict[str, str | int]
"""What speedscope takes of where a function is: its ``file``, and the ``line`` where it begins, else where in it most
weight is.
"""


def folded(tree: Tree) -> str:
    """A line a stack, ``a;b;c 12``, sorted by name. In a name ``;`` becomes ``:`` and a line's end a space."""
    lines = []
    for node in np.flatnonzero(tree.own > 0).tolist():
        frames = (name.replace(";", ":").replace("\n", " ") for name in tree.path(node))
        weight = tree.own[node].item()
        lines.append(f"{';'.join(frames)} {weight}")
    return "\n".join(lines) + "\n" * bool(lines)


def places(stacks: Iterable[Iterable[Located | str]], weights: Iterable[float]) -> dict[str, Place]:
    """Where functions are, by the names of their frames; *weights* are the stacks'.

    Several of one name in different files are told apart by nothing: they are left out.
    """
    found: dict[str, dict[tuple[str, int], float]] = {}
    for stack, weight in zip(stacks, weights, strict=True):
        for frame, *_ in (each for each in stack if not isinstance(each, str)):
            own, *inner = frame.names
            here = [(own, frame.file, frame.start_line or frame.line)]
            here += [(n, each.file, each.line) for n, each in zip(inner, frame.inlined, strict=True)]
            for name, file, line in here:
                if file:
                    lines = found.setdefault(name, {})
                    lines[file, line or 0] = lines.get((file, line or 0), 0) + weight
    out: dict[str, Place] = {}
    for name, lines in found.items():
        file, line = max(lines, key=lines.__getitem__)
        if len({of for of, _ in lines}) == 1:
            out[name] = {"file": file, "line": line} if line else {"file": file}
    return out


def speedscope(tree: Tree, name: str, unit: str, where: Mapping[str, Place]) -> dict[str, Any]:
    """The stacks as a sampled profile of speedscope's file format (its file-format-spec.ts), for ``json.dump``.

    *where* are the places of functions, as far as they are known.
    """
    used, place = np.unique(tree.name[1:], return_inverse=True)
    names = [tree.names[code] for code in used.tolist()]
    frames = [{"name": name, **where.get(name, {})} for name in names]
    index = np.concatenate([[-1], place]).tolist()
    samples, weights = [], []
    for node in np.flatnonzero(tree.own > 0).tolist():
        stack, at = [], node
        while at > 0:
            stack.append(index[at])
            at = int(tree.parent[at])
        samples.append(stack[::-1])
        weights.append(tree.own[node].item())
    profile = {
        "type": "sampled",
        "name": name,
        "unit": KINDS.get(unit, "none"),
        "startValue": 0,
        "endValue": tree.total,
        "samples": samples,
        "weights": weights,
    }
    return {
        "$schema": _SCHEMA,
        "exporter": "bpfnb",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": [profile],
    }
