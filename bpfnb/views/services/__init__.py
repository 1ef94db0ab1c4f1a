"""Service maps: who talks to whom, drawn from events, from counters, or from any frame with sources and targets."""

from __future__ import annotations

from bpfnb.views.services.widget import ServiceMap, servicemap

__all__ = ["ServiceMap", "servicemap"]
