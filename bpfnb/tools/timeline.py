"""The schedule of each CPU: which task ran when, for how long, and why it left.

A row for each slice, written when it ends: ``time`` is its beginning, ``state`` what the task became (``preempted``: it
could go on; ``sleeping``, ``uninterruptible``, ``stopped``, ``traced``, ``parked``, ``idling``, ``ended``). With
``idle`` also the times when a CPU had nothing to do. The picture has a lane for each CPU. Filters are of the task that
ran. Linux 5.14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfnb.tools.tool import Option, Tool

if TYPE_CHECKING:
    from bpfnb.views import View


class Timeline(Tool):
    family = "CPU"
    options = (Option("idle", bool, "also the times when nothing ran"),)
    columns = ("time", "cpu", "comm", "pid", "tid", "duration", "state")

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import waterfall

        roles = {"start": "time", "duration": "duration", "lane": "cpu", "name": "comm"}
        if {"pid", "comm"} & self.filters.keys():
            roles["service"] = "tid"  # few tasks, often of one name: a colour for each
        return waterfall(data, **{**roles, "title": self.object.name, **options})
