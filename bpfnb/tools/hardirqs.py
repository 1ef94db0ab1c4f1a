"""Interrupts: how many of each, and how long their handlers took.

A row for each handler by the name that it has in /proc/interrupts, ``irq`` being the number, with ``cpus`` for each on
each CPU: ``count``, and ``total`` and ``mean`` time. On x86 also the processor's own vectors (``local_timer``,
``reschedule``, ``call_function`` ...), which have no number; on virtual machines those are most. With ``dist`` a
histogram of the times of each. Filters are of the task that was interrupted. Linux 5.11.
"""

from __future__ import annotations

import pandas as pd

from bpfnb.bpf import TOOLS
from bpfnb.kernel.system import mount_tracefs
from bpfnb.tools.distribution import Distribution
from bpfnb.tools.tool import Load, Option

VECTORS = (
    *("local_timer", "reschedule", "call_function", "call_function_single"),
    *("irq_work", "spurious_apic", "error_apic", "thermal_apic"),
)
"""Of include/asm/trace/irq_vectors.h (x86) those that serve interrupts which have no handler of a device."""


class HardIrqs(Distribution):
    family = "CPU"
    options = (
        Option("dist", bool, "a histogram of the times of each"),
        Option("cpus", bool, "each CPU apart"),
    )

    def prepare(self) -> Load:
        self.spread = self.given.get("dist", False)
        self.groups = ("name", "irq", "cpu") if self.given.get("cpus") else ("name", "irq")
        return super().prepare()

    def text(self) -> str:
        """The program, for those vectors that this kernel tells of."""
        folder = mount_tracefs() / "events/irq_vectors"
        vectors = " ".join(f"VECTOR({name})" for name in VECTORS if (folder / f"{name}_entry").is_dir())
        text: str = (TOOLS / "hardirqs.bpf.c").read_text()
        return f"#define VECTORS {vectors}\n{text}" if vectors else text

    def grouped(self, raw: pd.DataFrame) -> pd.DataFrame:
        return raw.assign(irq=raw["irq"].astype("Int32").mask(raw["irq"] < 0))
