"""A waterfall as a plotly figure: bars on a shared time axis. plotly is imported here and nowhere else."""

from __future__ import annotations

from typing import Any

from bpfnb.errors import MissingDependency
from bpfnb.views._style import CATEGORIES, humanize
from bpfnb.views.spans.model import Scene
from bpfnb.views.spans.picture import colors_of

__all__ = ["figure"]

_UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "us"), (1, "ns"))


def figure(scene: Scene, *, title: str) -> Any:
    """One bar a span, from the first start on; spans of one lane stand in one row.

    :raises MissingDependency: plotly is not installed.
    """
    try:
        from plotly import graph_objects as go
    except ImportError:
        raise MissingDependency("figures need plotly", hints=["pip install plotly"]) from None
    spans, order = scene.spans, scene.order
    factor, unit = next((f, u) for f, u in _UNITS if scene.duration >= f)
    if scene.tree is not None:
        rows: list[int] = list(range(len(order)))
        labels = [
            "\u2003" * int(depth) + _plain(str(spans.name[i]))
            for i, depth in zip(order.tolist(), scene.tree.depth.tolist(), strict=True)
        ]
    else:
        assert scene.lanes is not None or scene.empty
        rows = scene.lanes.line.tolist() if scene.lanes is not None else []
        labels = [_plain(label) for label in scene.lanes.labels] if scene.lanes is not None else []
    colors = colors_of(scene)[0].tolist()
    drawn = go.Figure()
    drawn.add_bar(
        orientation="h",
        y=rows,
        base=((spans.start[order] - scene.start) / factor).tolist(),
        x=(spans.duration[order] / factor).tolist(),
        marker={
            "color": [CATEGORIES[c] for c in colors],
            "line": {"color": "#cf222e", "width": [2 if e else 0 for e in spans.error[order].tolist()]},
        },
        customdata=[
            f"{_plain(str(spans.name[i]))} {_plain(str(spans.service[i]))}<br>{humanize(int(spans.duration[i]), 'ns')}"
            + ("<br>error" if spans.error[i] else "")
            for i in order.tolist()
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    drawn.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=labels, autorange="reversed", automargin=True
    )
    drawn.update_xaxes(title_text=unit)
    drawn.update_layout(
        title=_plain(title) or None,
        template="plotly_white",
        height=min(120 + 20 * len(labels), 2000),
        bargap=0.25,
        showlegend=False,
        barmode="overlay",
    )
    return drawn


def _plain(text: str) -> str:
    """plotly reads some HTML in labels; names are not to be read so."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
