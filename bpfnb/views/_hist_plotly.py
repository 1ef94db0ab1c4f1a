"""A histogram as a plotly figure, for zooming and export. plotly is imported here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfnb.errors import MissingDependency
from bpfnb.views._hist_text import edge_labels, marks, range_labels

if TYPE_CHECKING:
    from bpfnb.views.hist import Histogram

__all__ = ["figure"]

MAX_TICKS = 12


def figure(h: Histogram) -> Any:
    """Bars at 0, 1, 2 ... labelled at their edges, so that doubling buckets are equally wide.

    :raises MissingDependency: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingDependency("figures need plotly", hints=["pip install plotly"]) from None

    ranges, labels = range_labels(h), edge_labels(h)
    grouped = h.groups != ("",)
    chart = go.Figure()
    for group, counts in zip(h.groups, h.table, strict=True):
        chart.add_bar(
            x=[i + 0.5 for i in range(len(counts))],
            y=counts.tolist(),
            customdata=ranges,
            name=group or h.name,
            hovertemplate="%{customdata}<br>%{y:,} values"
            + (f"<extra>{_plain(group)}</extra>" if grouped else "<extra></extra>"),
        )
    # Lines for one group only: those of several would cover each other; their values are in the legend.
    if not grouped:
        for row, (label, at) in enumerate(marks(h, "")):
            chart.add_vline(
                x=at,
                line={"dash": "dot", "width": 1, "color": "#555"},
                annotation={"text": label, "yref": "paper", "y": 1.12 - 0.06 * row, "showarrow": False},
                annotation_position="top",
            )
    else:
        for trace, group in zip(chart.data, h.groups, strict=True):
            median = next((label for label, _ in marks(h, group)), "")
            trace.name = f"{_plain(group)} ({median})" if median else _plain(group)
    every = max(1, -(-len(labels) // MAX_TICKS))
    chart.update_xaxes(
        tickvals=list(range(0, len(labels), every)),
        ticktext=labels[::every],
        title_text=_plain(h.name) or None,
        range=[0, len(ranges)],
    )
    chart.update_yaxes(title_text="values", rangemode="tozero")
    chart.update_layout(
        barmode="group",
        bargap=0.04,
        template="plotly_white",
        height=320,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        showlegend=grouped,
    )
    return chart


def _plain(text: str) -> str:
    """plotly reads some HTML in labels; names of processes are not to be read so."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
