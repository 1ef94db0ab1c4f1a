"""Kernel bytes as columns: streams and maps that are live, DataFrames of them that are not."""

from bpfnb.frames import pump
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.mapframe import MapFrame
from bpfnb.frames.store import Bound
from bpfnb.frames.stream import Stream, TypeFrame

__all__ = ["Bound", "LiveFrame", "MapFrame", "Stream", "TypeFrame", "pump"]
