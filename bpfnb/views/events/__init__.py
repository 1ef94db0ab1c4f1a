"""The event table: millions of rows of a stream, a map or a DataFrame, of which only those in sight travel."""

from __future__ import annotations

from bpfnb.views.events.widget import EventTable, table

__all__ = ["EventTable", "table"]
