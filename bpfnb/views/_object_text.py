"""A BPF object as plain text: what ``print(io)`` and a terminal show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfnb.views._style import printable
from bpfnb.views.objectpanel.facts import facts, tables

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["object_text"]


def object_text(obj: BpfObject) -> str:
    """State, programs with their cost, streams with what was lost, maps with their fill."""
    found = facts(obj)
    lines = [f"{printable(found.name)}: {found.state}, {found.cost}"]
    if found.note:
        lines.append(f"  ! {printable(found.note)}")
    for table in tables(found):
        lines += ["", *(f"  {line}" for line in table.text().splitlines())]
    return "\n".join(lines)
