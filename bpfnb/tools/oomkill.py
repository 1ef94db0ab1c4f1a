"""Processes that the kernel kills for memory: who needed it, and who died for it.

A row for each victim: ``fpid`` and ``fcomm`` needed memory (of the machine, or of a cgroup that is at its limit),
``tpid`` and ``tcomm`` was killed; its memory is in pages. Filters are of the victim. The tracepoint oom:mark_victim
tells of it from Linux 6.9 on, and where that was taken up (Debian's 5.10 and 6.1); elsewhere the function
mark_oom_victim(), where functions can be traced. Linux 5.11.
"""

from bpfnb.kernel.hooks import raw_arguments
from bpfnb.tools.tool import Load, Tool


class OomKill(Tool):
    family = "processes"
    pid = "tpid"
    columns = (
        *("time", "fcomm", "fpid", "tcomm", "tpid", "uid", "oom_score_adj"),
        *("total_vm", "anon_rss", "file_rss", "shmem_rss"),
    )

    def prepare(self) -> Load:
        load = super().prepare()
        load.defines = () if raw_arguments("mark_victim") > 1 else ("BY_FUNCTION",)
        return load
