"""The answers of the `%bpf` verbs as tables: objects, maps, variables, features of the kernel, hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bpfnb.views._cells import fill_cell, lost_cell, read, text_cell
from bpfnb.views._style import share
from bpfnb.views.plain import Table

if TYPE_CHECKING:
    from bpfnb.kernel.features import Features
    from bpfnb.kernel.hooks import Hook
    from bpfnb.object import BpfObject

__all__ = ["feature_table", "hook_table", "map_table", "object_table", "variable_table"]


def object_table(objects: Sequence[BpfObject]) -> Table:
    """One row an object: state, what runs, what it costs, what was lost, and why it stopped."""
    rows = []
    for obj in objects:
        attached = sum(program.attached for program in obj.programs.values())
        taken = read(obj, "cpu_share") if obj.state == "attached" else None
        lost = sum(read(stream, "lost") or 0 for stream in obj.streams.values())
        kept = sum(read(stream, "rows") or 0 for stream in obj.streams.values())
        rows.append(
            (
                obj.name,
                getattr(obj, "status", obj.state),
                f"{attached} of {len(obj.programs)}",
                text_cell(None if taken is None else share(taken)),
                kept,
                lost_cell(lost),
                "; ".join(filter(None, [getattr(obj, "origin", ""), obj.note])),
            )
        )
    columns = ("object", "state", "attached", "CPU", "rows", "lost", "note")
    return Table(columns, rows, empty="nothing is loaded")


def map_table(objects: Sequence[BpfObject]) -> Table:
    """One row a map: kind, size and fill; ``-`` where a kind of map has no fill."""
    rows = []
    for obj in objects:
        for name, frame in obj.maps.items():
            fill = read(frame, "fill")
            rows.append((name, obj.name, frame.info.kind, frame.info.max_entries, fill_cell(fill)))
    return Table(("map", "object", "kind", "max entries", "fill"), rows, empty="no maps")


def variable_table(obj: BpfObject) -> Table:
    """One row a global variable with its present value."""
    rows = [(name, str(obj.vars[name])) for name in obj.vars]
    return Table(("variable", "value"), rows, empty=f"{obj.name} has no global variables")


def feature_table(features: Features) -> Table:
    """One row a thing that was tried: whether it works, and why not."""
    kinds = (("attach", features.attach), ("program", features.program_types), ("map", features.map_types))
    rows = [
        (name, kind, "-" if trial.ok is None else "yes" if trial.ok else "no", trial.reason)
        for kind, trials in kinds
        for name, trial in trials.items()
    ]
    title = f"Linux {features.release}, libbpf {features.libbpf}"
    return Table(("feature", "kind", "works", "why not"), rows, title=title)


def hook_table(hooks: Sequence[Hook], pattern: str, limit: int) -> Table:
    """One row a hook, at most *limit*; the footer says how many more there are."""
    more = len(hooks) - limit
    return Table(
        ("name", "kind", "detail"),
        [(hook.name, hook.kind, hook.detail) for hook in hooks[:limit]],
        empty=f"nothing in this kernel matches '{pattern}'",
        footer=f"{more:,} more; --limit shows them" if more > 0 else "",
        code=frozenset({"detail"}),
    )
