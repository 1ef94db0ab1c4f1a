"""Memory that the kernel allocated and did not free, by kernel stack, over time.

What is outstanding of all objects that were allocated since the tool began, from slab caches and by kmalloc; with
``pages`` of pages instead. Whoever frees them: the filters choose those who allocate. ``t.history`` has the outstanding
bytes of each stack over time, ``t.growth()`` draws them. Much of it is no leak: caches keep what they may need again.
What an interrupt frees just while another free is being noted on the same CPU is not seen. Linux 6.1.
"""

from __future__ import annotations

from bpfnb.tools.outstanding import OPTIONS, Outstanding
from bpfnb.tools.tool import Load, Option


class KMemLeak(Outstanding):
    family = "memory"
    options = (
        *OPTIONS,
        Option("pages", bool, "pages instead of objects", variable=False),
    )
    place = ("pid", "comm", "kernel_stack")
    columns = ("comm", "pid", "bytes", "count", "allocations", "kernel_stack")

    def prepare(self) -> Load:
        load = super().prepare()
        load.defines = ("PAGES",) if self.given.get("pages") else ()
        return load
