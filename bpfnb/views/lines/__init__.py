"""Rates and values over time."""

from __future__ import annotations

from bpfnb.views.lines.chart import Chart
from bpfnb.views.lines.widget import TimeSeries, timeseries

__all__ = ["Chart", "TimeSeries", "timeseries"]
