"""A BPF object as plain text: what ``print(io)`` and a terminal show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfnb.views._panel import panel
from bpfnb.views._style import printable

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["object_text"]


def object_text(obj: BpfObject) -> str:
    """State, programs with their cost, streams with what was lost, maps with their fill."""
    facts = panel(obj)
    lines = [f"{printable(facts.name)}: {facts.state}, {facts.cost}"]
    if facts.note:
        lines.append(f"  ! {printable(facts.note)}")
    for table in facts.tables:
        lines += ["", *(f"  {line}" for line in table.text().splitlines())]
    return "\n".join(lines)
