"""Flame graphs: where weight (time, samples, bytes) goes, by stacks of functions."""

from __future__ import annotations

from bpfnb.views.flames.make import flamegraph
from bpfnb.views.flames.view import FlameGraph

__all__ = ["FlameGraph", "flamegraph"]
