"""Who talks to whom: processes here and their peers, with connections, requests, bytes and round trips.

A row for each client (``source``), server (``target``), ``protocol`` and the server's ``port``. Processes of this
machine go by their command, also where both are here or in different network namespaces; everyone else by address.
``tx_bytes`` is what the client sent and ``rx_bytes`` what it got, without headers; what TCP sent twice counts twice. A
request begins when the client sends after the server did, so pipelined ones are one; of UDP every datagram to the
server is one. ``latency`` is the mean time from a request to the beginning of its answer, at the client where that is
here; ``rtt`` the mean of TCP's own smoothed round trip.

Filters ask for one end at least. Of connections that were there before, the end with the lower port is taken for the
server. Address translation hides who is behind it. The picture is a service map. Linux 5.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bpfnb.tools.owned import PROTOCOLS, Owned, named

if TYPE_CHECKING:
    from bpfnb.views import View

__all__ = ["NetMap"]

CLIENT, SERVER = 1, 2  # enum role
END = ["laddr", "raddr", "port", "protocol"]
COUNTS = ["connections", "requests", "tx_packets", "tx_bytes", "rx_packets", "rx_bytes"]
SUMS = ["answers", "waited", "rtt_sum", "rtts"]
TURNED = {
    "tx_packets": "rx_packets",
    "tx_bytes": "rx_bytes",
    "rx_packets": "tx_packets",
    "rx_bytes": "tx_bytes",
}
EDGE = ["source", "target", "protocol", "port"]
KINDS = ["source_kind", "target_kind"]


class NetMap(Owned):
    family = "network"
    stream = "talks"
    columns = (*EDGE, *COUNTS, "latency", "rtt", *KINDS)

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        if self.object.state != "closed":
            self._names = self.object.maps["names"].df
        ends = _placed(raw)
        others = _placed(self._names).set_index(["place", "role"])["comm"]
        peers = pd.MultiIndex.from_arrays([ends["peer"], CLIENT + SERVER - ends["role"]])
        ends["peer_comm"] = others[~others.index.duplicated()].reindex(peers).to_numpy()
        client = ends["role"] == CLIENT
        seen = ends["peer"].isin(ends.loc[client, "place"])  # both ends pass the filters: the client's counts
        ends = ends[client | ~seen].reset_index(drop=True)
        client = ends["role"] == CLIENT
        here = ends["peer_comm"].notna()
        peer = ends["peer_comm"].where(here, ends["raddr"].astype("object"))
        own, there = ends["comm"].astype("object"), np.where(here, "process", "external")
        there = np.where(~here & _loops(ends), "host", there)
        ends = ends.assign(
            source=own.where(client, peer),
            target=peer.where(client, own),
            source_kind=np.where(client, "process", there),
            target_kind=np.where(client, there, "process"),
        )
        turned = ends.rename(columns=TURNED)
        ends = pd.concat([ends[client], turned[~client]])
        edges = ends.groupby([*EDGE, *KINDS], observed=True, as_index=False)[[*COUNTS, *SUMS]].sum()
        with np.errstate(invalid="ignore"):
            edges["latency"] = edges["waited"].astype("float64") / edges["answers"]
            edges["rtt"] = edges["rtt_sum"].astype("float64") / edges["rtts"]
        for name in (*EDGE[:2], *KINDS):
            edges[name] = edges[name].astype("category")
        edges = edges.sort_values(["requests", "tx_bytes"], ascending=False, kind="stable")[
            list(self.columns)
        ]
        notes = raw.attrs.get("bpfnb_columns", {})
        edges.attrs["bpfnb_columns"] = {name: notes[name] for name in COUNTS if name in notes} | {
            "latency": {"unit": "ns", "format": "duration"},
            "rtt": {"unit": "us", "format": "duration"},
        }
        return edges

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import servicemap

        roles = {
            "source": "source",
            "target": "target",
            "weight": "requests",
            "nbytes": "tx_bytes",
            "latency": "latency",
            "node_kind": tuple(KINDS),
        }
        return servicemap(data, **{**roles, "title": self.object.name, **options})


def _placed(raw: pd.DataFrame) -> pd.DataFrame:
    """*raw* with its end of the connections as one value, ``place``, and the ``peer``'s, which equals its ``place``.

    Addresses of the loopback interface are of one network namespace each.
    """
    frame = raw.assign(protocol=named(raw["protocol"], PROTOCOLS))
    space = frame["netns"].where(_loops(frame), 0)
    rest = (frame["port"], frame["protocol"].astype("object"), space)
    frame["place"] = list(zip(frame["laddr"], frame["raddr"], *rest, strict=True))
    frame["peer"] = list(zip(frame["raddr"], frame["laddr"], *rest, strict=True))
    return frame


def _loops(frame: pd.DataFrame) -> pd.Series[bool]:
    """Whether the packets stay on the loopback interface."""
    return frame["laddr"].astype("object").str.startswith("127.") | (frame["laddr"] == "::1")
