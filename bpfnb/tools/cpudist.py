"""On-CPU time: how long tasks run before they leave the CPU; with ``off``, how long they are away from it.

A slice ends when the task blocks, ends, or another takes its CPU. Time away ends when it runs again, whether it slept
or waited. What runs or is away now is counted when that ends. The frame has a row for each slot of the histogram
(``low`` to ``high``, ns) with the number of slices and their sum; ``totals`` a row for each group. Filters are of the
task. Linux 5.14.
"""

from bpfnb.tools.distribution import TaskTimes
from bpfnb.tools.tool import Option


class CpuDist(TaskTimes):
    family = "CPU"
    options = (*TaskTimes.options, Option("off", bool, "time away from the CPU, not on it"))
