"""Memory that a process asked its allocator for and did not give back, by stack, over time.

What is outstanding of all that was allocated since the tool began: by malloc, calloc, realloc, reallocarray,
posix_memalign, aligned_alloc, memalign, valloc, pvalloc, mmap, mremap, less what free and munmap gave back, and
realloc moved. ``allocations`` are all of a stack. ``t.history`` has the outstanding bytes of each stack over time,
``t.growth()`` draws them. Probes stand in the C library that the process has mapped, or in the program itself; for
another allocator name its file: ``object``. Each call of these functions costs some microseconds: give a pid, and only
that process meets the probes. Linux 5.11.
"""

from __future__ import annotations

from bpfnb.kernel.features import features
from bpfnb.tools.outstanding import OPTIONS, Outstanding
from bpfnb.tools.probed import library, one_pid, without
from bpfnb.tools.tool import Load, Option

_NOT_EVERYWHERE = (
    *("reallocarray", "posix_memalign", "aligned_alloc", "memalign", "valloc", "pvalloc"),
    *("mmap", "mremap", "munmap"),
)


class MemLeak(Outstanding):
    family = "memory"
    options = (
        Option(
            "object", str, "the file that has the allocator (default: the C library)", "FILE", variable=False
        ),
        *OPTIONS,
    )
    place = ("pid", "user_stack")
    columns = ("comm", "pid", "bytes", "count", "allocations", "user_stack")

    def prepare(self) -> Load:
        load = super().prepare()
        pid = one_pid(self.filters)
        path = library(self.given.get("object"), pid, "malloc")
        load.defines = without(path, _NOT_EVERYWHERE)
        if features().attach["uprobe.multi"].ok is True:
            load.defines += ("MULTI",)
        load.attach = {"binary": str(path)} | ({"pid": pid} if pid else {})
        return load
