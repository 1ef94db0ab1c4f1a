"""UDP: datagrams and bytes by process and peer, and how long answers take.

A row for each process, address of a peer and ``port`` of the service: who sends first is the ``client``, the other the
``server``, and between two processes of this machine there is a row for each. Bytes are without headers. An answer is
the first datagram after one in the other direction; ``latency`` is the mean time that it took, at a client the round
trip with the server's work, at a server its own work. ``t.object.latency`` has all of them as a histogram by command.
Of protocols in which both sides send when they like the times say nothing. Linux 5.11.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bpfnb.tools.owned import Owned
from bpfnb.tools.tool import Option


class Udp(Owned):
    family = "network"
    options = (Option("port", int, "only the service at this port", "PORT"),)
    stream = "peers"
    columns = (
        *("comm", "pid", "uid", "role", "laddr", "raddr", "port", "tx", "tx_bytes", "rx", "rx_bytes"),
        *("answers", "latency", "latency_max"),
    )
    drawn = ("comm", "pid", "role", "raddr", "port", "tx_bytes", "rx_bytes", "answers", "latency")

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        answers = raw["answers"].to_numpy("float64")
        mean = np.divide(
            raw["waited"].to_numpy("float64"), answers, where=answers > 0, out=np.full(len(raw), np.nan)
        )
        frame = raw.assign(latency=mean, bytes=raw["tx_bytes"] + raw["rx_bytes"])
        frame = frame.sort_values("bytes", ascending=False, kind="stable")[list(self.columns)]
        notes = raw.attrs.get("bpfnb_columns", {})
        frame.attrs["bpfnb_columns"] = {**notes, "latency": {"unit": "ns", "format": "duration"}}
        return frame
