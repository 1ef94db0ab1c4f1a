"""Soft interrupts: how many of each kind were served, and how long that took.

A row for each kind (named as in /proc/softirqs), with ``cpus`` for each on each CPU: ``count``, and ``total`` and
``mean`` time, that of interrupts in between included. With ``dist`` a histogram of the times of each kind. Filters are
of the task that was interrupted, which rarely has to do with it. Linux 5.11.
"""

from bpfnb.tools.distribution import Distribution
from bpfnb.tools.tool import Load, Option


class SoftIrqs(Distribution):
    family = "CPU"
    options = (
        Option("dist", bool, "a histogram of the times of each kind"),
        Option("cpus", bool, "each CPU apart"),
    )

    def prepare(self) -> Load:
        self.spread = self.given.get("dist", False)
        self.groups = ("softirq", "cpu") if self.given.get("cpus") else ("softirq",)
        return super().prepare()
