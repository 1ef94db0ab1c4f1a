"""The machine that a tool traces: this one, or a guest."""

from __future__ import annotations

import time
from typing import Any

from bpfnb.frames.columns import clock_offset
from bpfnb.kernel.system import OtherSystem
from bpfnb.object import BpfObject
from bpfnb.symbols import MACHINE

__all__ = ["Traced"]


class Traced:
    """A tool as one that looks at a machine: its names and its clocks."""

    object: BpfObject
    shared: dict[str, Any]
    """The options that all tools have, as far as they were given."""
    system: OtherSystem | None = None
    """The guest that is traced; None: this machine. What a tool asks of files, types, hooks and users while it prepares
    and makes frames is asked of that one (:func:`bpfnb.kernel.system.meaning`).
    """

    @property
    def symbols(self) -> Any:
        """Who names addresses of that machine: a :class:`bpfnb.symbols.Symbolizer`."""
        return getattr(self.object.backend, "symbols", MACHINE)

    @property
    def clock_offset(self) -> int:
        """What makes its monotonic times dates, in ns."""
        return clock_offset() if self.system is None else self.shared["on"].backend.clock_offset

    @property
    def boot_offset(self) -> int:
        """What makes its times since boot dates, in ns. A guest is never suspended: its clocks go alike."""
        now = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return now if self.system is None else self.clock_offset
