"""Flows: bytes and packets of every five-tuple in both directions, with the process, and marks on what is unusual.

A row for each protocol, pair of addresses and pair of ports; ``lport`` is the port here. Between two processes of this
machine there is one for each end. ``tx_bytes`` and ``rx_bytes`` have the IP headers in them; with ``interface`` packets
are counted where they cross it, also those of no process here, with the link's header, so that sums are what the
interface itself counts (what is no IP has the address ::). A large segment that the network card cuts is one packet.
Filters then let arriving packets pass once the process has sent on the flow.

Traffic is also kept by intervals of a second, the latest 131,072 of them: ``t.intervals`` has them, and
``t.anomalies()`` those that are far from what the flow did before, by the z-score over an exponentially weighted
average. ``anomalies`` counts them, ``z`` is the largest. A flow's end is none. Linux 5.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.errors import BadValue, UnknownName
from bpfnb.tools.anomalies import marked
from bpfnb.tools.owned import PROTOCOLS, Owned, named
from bpfnb.tools.tool import Load, Option

if TYPE_CHECKING:
    from bpfnb.views import View

__all__ = ["Flows"]

TUPLE = ("protocol", "laddr", "lport", "raddr", "rport")
FLOW = ("comm", "pid", *TUPLE)
COUNTS = ("tx_packets", "tx_bytes", "rx_packets", "rx_bytes")
KNOWN = ["id", "comm", "pid", *TUPLE]
MEASURES = ("bytes", "packets", *COUNTS)


class Flows(Owned):
    family = "network"
    options = (
        Option(
            "interface",
            str,
            "count at this network interface, instead of at the sockets",
            "NAME",
            variable=False,
        ),
        Option("interval", float, "seconds of an interval; 0: keep none (1)", "SECONDS", variable=False),
        Option("most", int, "flows that there is room for (65536)", variable=False),
    )
    stream = "flows"
    columns = (*("comm", "pid", "uid", *TUPLE, *COUNTS), *("first", "last", "anomalies", "z"))

    def prepare(self) -> Load:
        interval = self.given.get("interval", 1.0)
        most = self.given.get("most", 65536)
        if not 0 <= interval <= 3600 or most < 1:
            raise BadValue("interval= is 0 to 3600 seconds and most= at least 1")
        self._interval, self._clock = int(interval * 1e9), self.clock_offset
        load = super().prepare()
        load.globals = {"interval": self._interval}
        load.attach["max_entries"] = {"flows": most}
        if "interface" in self.given:
            load.defines += ("INTERFACE",)
            of = {"interface": self.given["interface"]}
            load.attach["options"] = {
                "sent": {**of, "direction": "egress"},
                "received": {**of, "direction": "ingress"},
            }
        return load

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        flows = _readable(raw)
        marks = marked(self._parts(), "bytes").groupby("id")["z"]
        largest = marks.agg(lambda z: max(z, key=abs)).astype("float64")
        flows["anomalies"] = flows["id"].map(marks.size()).fillna(0).astype("int64")
        flows["z"] = flows["id"].map(largest)
        flows["bytes"] = flows["tx_bytes"] + flows["rx_bytes"]
        return flows.sort_values(["bytes", "id"], ascending=[False, True])[list(self.columns)]

    @property
    def intervals(self) -> pd.DataFrame:
        """Traffic of each flow in each interval in which there was any: ``time`` it began, the flow, the counts."""
        return self._told(self._parts())[["time", *FLOW, *COUNTS, "packets", "bytes"]]

    def anomalies(
        self, measure: str = "bytes", *, alpha: float = 0.2, threshold: float = 4.0, warmup: int = 8
    ) -> pd.DataFrame:
        """Intervals in which a flow had far more or less than before: time, flow, ``value``, ``expected``, ``z``.

        *measure* is ``bytes``, ``packets``, or one of ``tx_packets``, ``tx_bytes``, ``rx_packets``, ``rx_bytes``; the
        others as in :func:`bpfnb.tools.anomalies.marked`.

        :raises UnknownName, BadValue: for a measure that there is not, for numbers that make no sense.
        """
        if measure not in MEASURES:
            raise UnknownName.among(MEASURES, measure, f"flows have no measure '{measure}'")
        found = marked(self._parts(), measure, alpha=alpha, threshold=threshold, warmup=warmup)
        return self._told(found)[["time", *FLOW, "value", "expected", "z"]]

    def _parts(self) -> pd.DataFrame:
        if self.readable:
            self._spread = self.object.maps["intervals"].df
        both = self.recorded["intervals"].df if "intervals" in self.recorded else self._spread
        return both.assign(
            packets=both["tx_packets"] + both["rx_packets"], bytes=both["tx_bytes"] + both["rx_bytes"]
        )

    def _told(self, parts: pd.DataFrame) -> pd.DataFrame:
        """*parts* with the time and the flow of each, by time; those of flows that are gone left out."""
        if self.readable:
            self._flows = _readable(self.object.maps["flows"].df)
        began = parts["number"].to_numpy("int64") * self._interval + self._clock
        parts = parts.assign(time=pd.to_datetime(began, utc=True))
        known = self.recorded["flows"].df if "flows" in self.recorded else self._flows[KNOWN]
        return parts.merge(known, on="id").sort_values(["time", "id"], ignore_index=True)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "interval": self._interval, "clock": self._clock}

    def beside(self) -> dict[str, pd.DataFrame]:
        self._told(self._parts())
        return {**super().beside(), "intervals": self._spread, "flows": self._flows[KNOWN]}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._interval, self._clock = int(state["interval"]), int(state["clock"])

    def close(self) -> None:
        if self.object.state != "closed":
            self.stop()
            self._told(self._parts())  # the last look
        super().close()

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import table

        columns = ["comm", "pid", *TUPLE, *COUNTS, "anomalies", "z"]
        return table(data, **{"columns": [*columns, *self.add], "title": self.object.name, **options})


def _readable(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(protocol=named(raw["protocol"], PROTOCOLS))
