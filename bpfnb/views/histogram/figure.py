"""A histogram as a plotly figure, for zooming and export. plotly is imported here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfnb.errors import MissingDependency
from bpfnb.views.histogram.parts import parts
from bpfnb.views.histogram.text import edge_labels, marks, range_labels

if TYPE_CHECKING:
    from bpfnb.views.histogram.value import Histogram

__all__ = ["figure"]

MAX_TICKS = 12
PERCENTILE_ROWS = 3


def figure(h: Histogram, log: bool = False, title: str = "") -> Any:
    """Bars at 0, 1, 2 ... labelled at their edges, so that doubling buckets are equally wide.

    Groups stand below each other, the largest first, each on a scale of its own.

    :raises MissingDependency: plotly is not installed.
    """
    try:
        from plotly.subplots import make_subplots
    except ImportError:
        raise MissingDependency("figures need plotly", hints=["pip install plotly"]) from None

    ranges, labels = range_labels(h), edge_labels(h)
    groups = parts(h)
    chart = make_subplots(rows=len(groups), shared_xaxes=True, vertical_spacing=0.24 / len(groups))
    for row, part in enumerate(groups, 1):
        counts, group = part.counts.tolist(), part.label
        chart.add_bar(
            x=[i + 0.5 for i in range(len(counts))],
            y=counts,
            customdata=ranges,
            name=_plain(group or h.name),
            hovertemplate="%{customdata}<br>%{y:,} values<extra>" + _plain(group) + "</extra>",
            marker_color="#1f6feb",
            row=row,
            col=1,
        )
        for height, (label, at) in enumerate(marks(h, part.percentiles, part.exact) if sum(counts) else []):
            chart.add_vline(x=at, line={"dash": "dot", "width": 1, "color": "#555"}, row=row, col=1)
            chart.add_annotation(
                x=at,
                y=1,
                yref=f"y{row if row > 1 else ''} domain",
                yshift=9 + 13 * (PERCENTILE_ROWS - 1 - height),
                xanchor="left" if at < 0.9 * len(counts) else "right",
                text=label,
                showarrow=False,
                font={"size": 11},
                row=row,
                col=1,
            )
        amount = f"{_plain(group)}: {sum(counts):,} values" if group else "values"
        chart.update_yaxes(title_text=amount, type="log" if log else "linear", row=row, col=1)
    every = max(1, -(-len(labels) // MAX_TICKS))
    chart.update_xaxes(
        tickvals=list(range(0, len(labels), every)), ticktext=labels[::every], range=[0, len(ranges)]
    )
    chart.update_xaxes(title_text=_plain(h.name) or None, row=len(groups), col=1)
    chart.update_layout(
        bargap=0.04,
        template="plotly_white",
        title_text=_plain(title) or None,
        height=110 + 30 * bool(title) + 210 * len(groups),
        margin={"l": 70, "r": 40, "t": 60 + 30 * bool(title), "b": 50},
        showlegend=False,
    )
    return chart


def _plain(text: str) -> str:
    """plotly reads some HTML in labels; names of processes are not to be read so."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
