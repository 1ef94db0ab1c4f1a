"""Run queue latency: how long tasks that could run waited for a CPU.

From the moment a task is woken, or is put off the CPU while it could go on, until it runs. The frame has a row for each
slot of the histogram (``low`` to ``high``, ns) with the number of waits and their sum; ``totals`` a row for each group.
``heatmap()`` shows them over time. Filters are of the task that waits. Linux 5.14.
"""

from bpfnb.tools.distribution import TaskTimes


class RunqLat(TaskTimes):
    family = "CPU"
