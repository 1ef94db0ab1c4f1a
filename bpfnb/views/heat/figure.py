"""A heatmap as a plotly figure. plotly is imported here and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import MissingDependency
from bpfnb.views.heat.picture import Picture

__all__ = ["figure"]

MAX_TICKS = 16


def figure(picture: Picture, ranges: list[str], title: str) -> Any:
    """Cells with time, range and count on hover; gaps are empty. Times in UTC.

    :raises MissingDependency: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingDependency("figures need plotly", hints=["pip install plotly"]) from None
    grid, block = picture.grid, picture.block
    counts = np.where(block.measured[:, None] | (block.counts > 0), block.counts, np.nan).T
    begins = grid.origin + (block.first + np.arange(len(block.counts))) * grid.every
    times = pd.to_datetime(begins) if picture.clock else begins / 1e9
    chart = go.Figure(
        go.Heatmap(
            x=times,
            y=np.arange(len(ranges)) + 0.5,
            z=counts,
            customdata=np.repeat(np.array(ranges, dtype=object)[:, None], len(times), axis=1),
            colorscale="Viridis",
            colorbar={"title": picture.what},
            hovertemplate="%{x}<br>%{customdata}<br>%{z:,} " + picture.what + "<extra></extra>",
        )
    )
    every = max(1, -(-len(picture.labels) // MAX_TICKS))
    chart.update_yaxes(
        tickvals=list(range(0, len(picture.labels), every)), ticktext=list(picture.labels[::every])
    )
    chart.update_xaxes(title_text="UTC" if picture.clock else "s")
    chart.update_layout(title_text=title.replace("<", "&lt;"), template="plotly_white", height=420)
    return chart
