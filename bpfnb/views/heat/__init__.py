"""Heatmaps: time by value, live and at rest."""

from bpfnb.views.heat.make import heatmap
from bpfnb.views.heat.view import HeatmapView

__all__ = ["HeatmapView", "heatmap"]
