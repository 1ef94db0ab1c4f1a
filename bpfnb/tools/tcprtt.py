"""Round-trip times of TCP connections, as the kernel smooths them (srtt), looked at with every segment that comes in.

The frame has a row for each slot of the histogram (``low`` to ``high``, ns) with how often that was the time, and the
sum of the times; ``totals`` a row for each group with the mean. With ``by`` a histogram for each ``raddr``, ``laddr``,
``rport``, ``lport``, ``connection`` (all four) or ``comm``. ``heatmap()`` shows them over time. Linux 5.11.
"""

from __future__ import annotations

from bpfnb.tools.distribution import Distribution, one_of
from bpfnb.tools.endpoints import ENDPOINTS, OwnedSockets
from bpfnb.tools.tool import Load, Option

GROUPS = {
    "together": (),
    "raddr": ("raddr",),
    "laddr": ("laddr",),
    "rport": ("rport",),
    "lport": ("lport",),
    "connection": ("laddr", "lport", "raddr", "rport"),
    "comm": ("comm",),
}
"""What ``by`` takes, in the order of the program's enumerators."""


class TcpRtt(OwnedSockets, Distribution):
    family = "network"
    options = (
        *ENDPOINTS,
        Option("by", one_of(*GROUPS), f"a histogram for each: {', '.join(GROUPS)}", "WHAT"),
    )

    def prepare(self) -> Load:
        self.groups = list(GROUPS.values())[self.given.get("by", 0)]
        return super().prepare()
