"""TCP connections that ended: whose they were, how long they lived, and what they carried.

A row at the end of each connection that began since the tool did: ``tx_bytes`` and ``rx_bytes`` are the program's
bytes, each counted once however often it was sent; ``tx_kb``, ``rx_kb`` and ``ms`` have the units of tcplife of bcc,
whole KiB, and milliseconds to the microsecond. ``err`` is what the program was told (``ECONNREFUSED`` where nobody
answered to the port, ``ECONNRESET``, ``ETIMEDOUT``), ``retrans`` the segments that had to be sent again, ``srtt`` the
round-trip time. Between two processes of this machine there is a row for each end. Nothing is done per packet; only
the owner is looked at with each call that sends or receives. Linux 5.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.tools.endpoints import ENDPOINTS, OwnedSockets

if TYPE_CHECKING:
    from bpfnb.views import View

EXACT = ("time", "comm", "pid", "laddr", "lport", "raddr", "rport", "tx_bytes", "rx_bytes", "duration")
MORE = ("err", "retrans", "srtt")


class TcpLife(OwnedSockets):
    family = "network"
    options = ENDPOINTS
    rowwise = True
    columns = (*EXACT[:7], "tx_kb", "rx_kb", "ms", *EXACT[7:], *MORE)

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = raw.assign(ms=raw["duration"].astype("int64") // 1000 / 1000)  # BPF has no fractions
        frame = frame[list(self.columns)]
        notes = raw.attrs.get("bpfnb_columns", {})
        frame.attrs["bpfnb_columns"] = {**notes, "ms": {"description": "milliseconds that it lived"}}
        return frame

    def picture(self, data: Any, **options: Any) -> View:
        """The table without the columns that say the same in other units."""
        return super().picture(data, **{"columns": [*EXACT, *MORE, *self.add], **options})
