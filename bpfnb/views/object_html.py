"""A BPF object as a panel of HTML: static, accessible, in the colours of the notebook's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfnb.views._panel import panel
from bpfnb.views._style import esc, styled

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["object_html"]


def object_html(obj: BpfObject) -> str:
    """The same facts as :func:`bpfnb.views.object_text`. Needs no script and loads nothing."""
    facts = panel(obj)
    badge = f"b-badge b-{facts.tone}" if facts.tone else "b-badge"
    head = (
        f'<div class="b-head"><span class="b-name">{esc(facts.name)}</span> '
        f'<span class="{badge}">{esc(facts.state)}</span> <span class="b-dim">{esc(facts.cost)}</span></div>'
    )
    note = f'<p class="b-note" role="status">{esc(facts.note)}</p>' if facts.note else ""
    tables = "".join(table.html() for table in facts.tables)
    return styled(head + note + tables, f"BPF object {facts.name}", panel=True)
