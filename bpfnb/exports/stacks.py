"""Stacks of an export: folded text and pprof's profiles, of the flame graph that a part's view would be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bpfnb.errors import BadValue, BpfnbError
from bpfnb.exports.subject import Part
from bpfnb.frames.drawn import Drawn

if TYPE_CHECKING:
    from bpfnb.views import FlameGraph

__all__ = ["flames", "folded", "has_stacks", "pprof"]


@contextmanager
def flames(part: Part) -> Iterator[FlameGraph]:
    """The flame graph of *part*. Raises BadValue where it has no stacks."""
    from bpfnb import views

    view = part.stated("view")
    if isinstance(part.data, Drawn):
        drawn = part.data.flamegraph()
    elif callable(view) and isinstance(made := view(), views.FlameGraph):
        drawn = made
    else:
        drawn = views.flamegraph(part.frame(), title=part.name)
    try:
        yield drawn
    finally:
        drawn.close()


def has_stacks(part: Part) -> bool:
    """Whether a flame graph can be made of it."""
    try:
        with flames(part):
            return True
    except BpfnbError:
        return False


def folded(part: Part, path: Path) -> int:
    """A line a stack, ``a;b;c 12``; returns how many."""
    with flames(part) as drawn:
        text = drawn.folded()
    path.write_text(text, encoding="utf-8")
    return _some(text.count("\n"), part)


def pprof(part: Part, path: Path) -> int:
    """As ``go tool pprof``, Parca and Pyroscope read it, compressed; returns how many stacks."""
    with flames(part) as drawn:
        path.write_bytes(drawn.pprof())
        return _some(int((drawn.tree.own > 0).sum()), part)


def _some(stacks: int, part: Part) -> int:
    if not stacks:
        raise BadValue(f"'{part.name}' holds no stacks yet")
    return stacks
