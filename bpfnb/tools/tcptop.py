"""What processes send and receive over TCP, by connection: who moves the most.

A row for each process and connection with what it received and sent since the tool began, the busiest first, in bytes
and in KiB; with ``interval`` (seconds) a row for each interval too, the newest first, whose ``time`` is its beginning.
Counted are the bytes that pass between the process and the kernel; what a process splices out of a socket is not seen.
Two tracepoints of Linux 6.3 tell of them, before that tcp_sendmsg() and others, where functions can be traced.
Linux 5.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.kernel.hooks import arguments, raw_tracepoints
from bpfnb.tools.endpoints import ENDPOINTS, Sockets
from bpfnb.tools.tool import Load, Option

if TYPE_CHECKING:
    from bpfnb.views import View

WHO = ("pid", "comm", "laddr", "lport", "raddr", "rport")


class TcpTop(Sockets):
    family = "network"
    options = (
        *ENDPOINTS,
        Option("interval", float, "count intervals of so many seconds", "SECONDS", variable=False),
    )
    stream = "traffic"

    def prepare(self) -> Load:
        wanted = super().prepare()
        seconds = self.given.get("interval", 0)
        if not (seconds == 0 or 0.01 <= seconds <= 86400):
            raise BadValue(f"interval= is 0.01 to 86400 seconds, not {seconds:g}")
        wanted.globals["interval"] = round(seconds * 1e9)
        if "sock_send_length" not in raw_tracepoints():
            wanted.defines = ("BY_FUNCTION",)
            wanted.globals["flags_at"] = arguments("tcp_recvmsg").index("flags")
        return wanted

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = raw.assign(
            rx_kb=raw["rx_bytes"] / 1024,
            tx_kb=raw["tx_bytes"] / 1024,
            total=raw["rx_bytes"] + raw["tx_bytes"],
        )
        intervals = bool(self.given.get("interval"))
        frame = frame.sort_values(["time", "total"] if intervals else "total", ascending=False, kind="stable")
        frame = frame[[*(("time",) if intervals else ()), *WHO, "rx_kb", "tx_kb", "rx_bytes", "tx_bytes"]]
        frame.attrs["bpfnb_columns"] = raw.attrs.get("bpfnb_columns", {})
        return frame

    def picture(self, data: Any, **options: Any) -> View:
        """The table without the columns that say the same in KiB."""
        time = ("time",) if self.given.get("interval") else ()
        return super().picture(
            data, **{"columns": [*time, *WHO, "rx_bytes", "tx_bytes", *self.add], **options}
        )
