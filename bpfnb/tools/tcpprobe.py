"""The congestion control of TCP connections, with every segment that comes in: window, threshold, round-trip time.

A row for each segment: ``snd_cwnd`` (packets that may be on the way), ``ssthresh``, ``in_flight``, ``srtt`` (us),
``snd_wnd`` and ``rcv_wnd`` (bytes), ``pacing_rate`` (bytes a second), as they were before it was looked at. With
``changes`` only rows in which the congestion window or its threshold differ from the row before of the same
connection. The picture is the congestion window over time, a line for each end of a connection; ``view(column="srtt")``
draws another column. Linux 5.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bpfnb.frames import Stream
from bpfnb.frames.presented import Presented
from bpfnb.tools.endpoints import ENDPOINTS, OwnedSockets
from bpfnb.tools.tool import Option

if TYPE_CHECKING:
    from bpfnb.views import View


class TcpProbe(OwnedSockets):
    family = "network"
    options = (
        *ENDPOINTS,
        Option("changes", bool, "only where the congestion window or its threshold changed"),
    )
    columns = (
        *("time", "cookie", "comm", "pid", "laddr", "lport", "raddr", "rport"),
        *("snd_cwnd", "ssthresh", "in_flight", "srtt", "snd_wnd", "rcv_wnd", "pacing_rate"),
        *("snd_nxt", "snd_una", "data_len", "ca_state"),
    )

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import timeseries

        if isinstance(data, Stream):
            data = Presented(data, with_connection)
        elif isinstance(data, Presented):  # with columns of processes
            present = data.present
            data = Presented(data.stream, lambda rows: with_connection(present(rows)))
        wanted = {"column": "snd_cwnd", "by": "connection", "mode": "gauge", "title": self.object.name}
        return timeseries(data, **{**wanted, **options})


def with_connection(rows: pd.DataFrame) -> pd.DataFrame:
    """*rows* with the ends of their connection as one text: 127.0.0.1:40000 to 127.0.0.1:6379."""
    codes, _ = pd.factorize(rows["cookie"])
    ends = rows.iloc[np.unique(codes, return_index=True)[1]]
    names = ends["laddr"].astype(str) + ":" + ends["lport"].astype(str) + " to "
    names += ends["raddr"].astype(str) + ":" + ends["rport"].astype(str)
    different, places = np.unique(names.to_numpy(str), return_inverse=True)  # a port may serve again
    kinds = pd.Categorical.from_codes(places[codes], categories=pd.Index(different.astype(object)))
    return rows.assign(connection=kinds)
