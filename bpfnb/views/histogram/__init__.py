"""Histograms: counts of values in buckets, live and at rest."""

from bpfnb.views.histogram.value import Histogram
from bpfnb.views.histogram.view import HistogramView, hist

__all__ = ["Histogram", "HistogramView", "hist"]
