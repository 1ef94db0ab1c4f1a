"""A time series as a plotly figure. plotly is imported here and nowhere else in this package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import MissingDependency
from bpfnb.views import moments
from bpfnb.views._style import CATEGORIES
from bpfnb.views.lines.chart import Chart, axis, with_unit

__all__ = ["figure"]

_DASHES = ("solid", "dash", "dot", "dashdot")


def figure(chart: Chart, slots: list[int], *, title: str, zero: bool) -> Any:
    """Lines over time, and the losses as red bars beneath.

    :raises MissingDependency: plotly is not installed.
    """
    try:
        from plotly.subplots import make_subplots
    except ImportError:
        raise MissingDependency("figures need plotly", hints=["pip install plotly"]) from None
    losses = chart.lost is not None
    drawn = make_subplots(
        rows=2 if losses else 1,
        shared_xaxes=True,
        vertical_spacing=0.04,
        row_heights=[0.88, 0.12] if losses else None,
    )
    wall = chart.window[0] >= moments.EPOCH
    shown = chart.shown()
    at: Any = pd.to_datetime(chart.at[shown], unit="ns") if wall else chart.at[shown] / 1e9
    for i, slot in enumerate(slots):
        values = chart.values[i, shown]
        drawn.add_scatter(
            x=at,
            y=values,
            name=_plain(chart.labels[i]),
            mode="lines",
            connectgaps=False,
            customdata=[with_unit(v, chart.unit, chart.per_second) for v in values.tolist()],
            hovertemplate="%{customdata}<extra>" + _plain(chart.labels[i]) + "</extra>",
            line={
                "color": "#888888" if slot < 0 else CATEGORIES[slot % len(CATEGORIES)],
                "dash": _DASHES[max(slot, 0) // 4 % 4],
                "width": 1.6,
            },
            row=1,
            col=1,
        )
    if losses:
        assert chart.lost is not None
        drawn.add_bar(
            x=at,
            y=chart.lost[shown],
            name="lost",
            marker_color="#cf222e",
            showlegend=bool(np.any(chart.lost)),
            row=2,
            col=1,
        )
        drawn.update_yaxes(title_text="lost", nticks=2, rangemode="tozero", row=2, col=1)
    low, high = chart.largest()
    y_axis = axis(low, high, chart.unit, chart.per_second, zero=zero)
    drawn.update_yaxes(
        title_text=_plain(chart.what),
        tickvals=list(y_axis.ticks),
        ticktext=list(y_axis.labels),
        range=[y_axis.low, y_axis.high + 0.04 * (y_axis.high - y_axis.low)],
        row=1,
        col=1,
    )
    drawn.update_xaxes(title_text="UTC" if wall else "seconds", row=2 if losses else 1, col=1)
    drawn.update_layout(
        title=_plain(title) or None,
        template="plotly_white",
        hovermode="x unified",
        height=420,
        bargap=0,
        showlegend=True,
    )
    return drawn


def _plain(text: str) -> str:
    """plotly reads some HTML in labels; names of processes are not to be read so."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
