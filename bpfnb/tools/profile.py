"""Where CPU time goes: stacks of what runs, sampled on each CPU, as a flame graph over time.

A row for each sample, with its moment: so a range of time can be chosen in the flame graph, or compared with another.
Idle CPUs are not sampled. On N CPUs a second has up to N * ``frequency`` rows. Stacks follow frame pointers, which
libraries of distributions often lack; then callers are missing. Linux 5.11.
"""

from __future__ import annotations

from bpfnb.errors import BadValue
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load, Option


class Profile(Stacked):
    family = "CPU"
    options = (
        Option("frequency", int, "samples a second and CPU (default: 99)", variable=False),
        Option("cpu", int, "only this CPU; may be repeated", "CPU", variable=False, several=True),
        Option("user_only", bool, "only user stacks"),
        Option("kernel_only", bool, "only samples in the kernel, and only their kernel stacks"),
    )
    stream = "samples"
    weight = ""
    columns = ("time", "comm", "pid", "tid", "cpu", "user_stack", "kernel_stack")

    def prepare(self) -> Load:
        load = super().prepare()
        load.attach["frequency"] = frequency = self.given.get("frequency", 99)
        if frequency <= 0:
            raise BadValue(f"frequency= is more than 0 samples a second, not {frequency}")
        if "cpu" in self.given:
            load.attach["cpu"] = self.given["cpu"]
        return load
