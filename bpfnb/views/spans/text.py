"""A waterfall in words and as text: one row a span, indented, with a bar of its time."""

from __future__ import annotations

from bpfnb.views._style import humanize, printable
from bpfnb.views.spans.forest import ERROR, LOOP, ORPHAN
from bpfnb.views.spans.model import Scene

__all__ = ["about", "text"]

MOST = 40


def about(scene: Scene) -> str:
    """One sentence: how many spans, how long in all, errors, and the longest few."""
    if scene.empty:
        return "no spans yet"
    spans, order = scene.spans, scene.order
    longest = sorted(order.tolist(), key=lambda i: -int(spans.duration[i]))[:3]
    named = ", ".join(f"{spans.name[i]} {humanize(int(spans.duration[i]), 'ns')}" for i in longest)
    errors = int(spans.error[order].sum())
    return (
        f"{len(order):,} span{'s' * (len(order) != 1)} in {humanize(scene.duration, 'ns')}"
        + (f", {errors:,} with errors" if errors else "")
        + f"; longest: {named}"
    )


def text(scene: Scene, title: str, width: int = 40) -> str:
    head = ": ".join(filter(None, [title, about(scene)]))
    if scene.empty:
        return head
    spans = scene.spans
    rows = []
    for i, span in enumerate(scene.order.tolist()[:MOST]):
        name = printable(str(spans.name[span]))
        if scene.tree is not None:
            flags = int(scene.tree.flags[i])
            marks = "! " * bool(flags & ERROR) + "^ " * bool(flags & (ORPHAN | LOOP))
            name = "  " * int(scene.tree.depth[i]) + marks + name
        elif scene.lanes is not None:
            name = f"{spans.lane[span]} {name}"
        rows.append((name[:44], _bar(scene, span, width), humanize(int(spans.duration[span]), "ns")))
    wide = max(len(name) for name, _, _ in rows)
    lines = [f"{name:<{wide}} |{bar}| {took:>8}" for name, bar, took in rows]
    more = len(scene.order) - len(rows)
    return "\n".join([head, *lines, *([f"{more:,} more spans"] if more > 0 else [])])


def _bar(scene: Scene, span: int, width: int) -> str:
    first = (int(scene.spans.start[span]) - scene.start) / scene.duration * width
    last = first + int(scene.spans.duration[span]) / scene.duration * width
    low = min(int(first), width - 1)
    return " " * low + "=" * max(round(last) - low, 1) + " " * (width - low - max(round(last) - low, 1))
