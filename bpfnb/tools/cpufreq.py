"""CPU frequencies: each change, as the driver was asked for it.

A row for each change: ``frequency`` in Hz, from ``time`` on. Only kernels that set frequencies themselves tell of them:
virtual machines have none, nor do processors that choose by themselves (intel_pstate, amd-pstate in active mode).
The picture is a line for each CPU. Filters are of the task that ran when it was changed. Linux 5.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfnb.errors import KernelFeatureMissing
from bpfnb.kernel.system import path
from bpfnb.tools.tool import Load, Tool

if TYPE_CHECKING:
    from bpfnb.views import View

POLICIES = "/sys/devices/system/cpu/cpufreq"
ACTIVE = {"intel_pstate", "amd-pstate-epp"}
"""Drivers in whose mode the processor chooses (Documentation/admin-guide/pm of the kernel)."""


class CpuFreq(Tool):
    family = "CPU"
    columns = ("time", "cpu", "frequency")

    def prepare(self) -> Load:
        drivers = {one.read_text().strip() for one in path(POLICIES).glob("policy*/scaling_driver")}
        if drivers and drivers <= ACTIVE:
            raise KernelFeatureMissing(
                f"The processor chooses its frequencies itself ({', '.join(sorted(drivers))}), and tells of no change.",
                feature="cpufreq",
                hints=[
                    "Its driver's passive mode sets them by software: .../intel_pstate/status or amd_pstate/status"
                ],
            )
        if not drivers:
            raise KernelFeatureMissing(
                "This kernel sets no CPU frequencies, so power:cpu_frequency never comes.",
                feature="cpufreq",
                hints=[
                    "A virtual machine's frequency is its host's affair: run cpufreq there.",
                    "cpuidle shows what the CPUs do when they have nothing to do.",
                ],
            )
        return super().prepare()

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import timeseries

        line = {"column": "frequency", "by": "cpu", "mode": "gauge"}
        return timeseries(data, **{**line, "title": self.object.name, **options})
