"""Kernel bytes as columns: streams and maps that are live, DataFrames of them that are not."""

from __future__ import annotations

from typing import Any

from bpfnb.frames import pump
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.mapframe import MapFrame
from bpfnb.frames.store import Bound
from bpfnb.frames.stream import Stream, TypeFrame

__all__ = ["Bound", "LiveFrame", "MapFrame", "Stream", "TypeFrame", "of", "pump"]


def of(table: Any, *, pages: int | None = None) -> MapFrame | Stream:
    """The frame of a table of a bcc ``BPF`` object, ``of(b["counts"])``; see :func:`bpfnb.bcc.tables.frame_of`."""
    from bpfnb.bcc.tables import frame_of

    return frame_of(table, pages=pages)
