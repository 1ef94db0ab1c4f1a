"""A BPF object as a panel of HTML: static, accessible, in the colours of the notebook's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfnb.views._style import esc, styled
from bpfnb.views.objectpanel.facts import facts, tables

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["object_html"]


def object_html(obj: BpfObject) -> str:
    """The same facts as :func:`bpfnb.views._object_text`. Needs no script and loads nothing."""
    found = facts(obj)
    badge = f"b-badge b-{found.tone}" if found.tone else "b-badge"
    head = (
        f'<div class="b-head"><span class="b-name">{esc(found.name)}</span> '
        f'<span class="{badge}">{esc(found.state)}</span> <span class="b-dim">{esc(found.cost)}</span></div>'
    )
    note = f'<p class="b-note" role="status">{esc(found.note)}</p>' if found.note else ""
    body = "".join(table.html() for table in tables(found))
    return styled(head + note + body, f"BPF object {found.name}", panel=True)
