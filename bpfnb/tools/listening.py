"""Ports that are listened on: by which process, how many connections wait, how many come.

A snapshot, taken anew each time the frame is asked for. A row for each listening TCP socket and each UDP socket that
is connected to nobody, in each network namespace of a process here. ``waiting`` connections of at most ``backlog`` are
not yet accepted (of UDP: bytes not yet read); ``connections`` arrived since the tool began, or since the port was
opened; ``rate`` is how many a second, over the last ten seconds; ``last`` when the last one came. ``drops`` counts what
was refused for want of room. A client's connection counts once it is complete. Linux 5.15.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pandas as pd

from bpfnb.tools.endpoints import ENDPOINTS
from bpfnb.tools.snapshot import Snapshot
from bpfnb.tools.tool import Load

__all__ = ["Listening"]

WINDOW = 10.0  # seconds that rates are over


class Listening(Snapshot):
    family = "network"
    options = tuple(option for option in ENDPOINTS if option.name == "lport")
    columns = (
        *(
            "protocol",
            "laddr",
            "lport",
            "comm",
            "pid",
            "processes",
            "uid",
            "waiting",
            "backlog",
            "connections",
        ),
        *("rate", "last", "drops", "netns", "inode"),
    )

    def __init__(self, *target: Any, **given: Any) -> None:
        super().__init__(*target, **given)
        find = self.object.programs["find_listeners"]
        self.everywhere(lambda: [find.text()])
        self._reads = deque([(time.monotonic(), pd.Series(dtype="float64"))])

    def prepare(self) -> Load:
        load = super().prepare()
        load.globals["only_listening"] = True
        return load

    def kinds(self) -> list[str]:
        return ["tcp", "udp"]

    def _take(self) -> pd.DataFrame:
        found = super()._take()
        arrivals = self.object.maps["arrivals"].df.set_index("key")
        now, counts = time.monotonic(), arrivals["connections"].astype("float64")
        while len(self._reads) > 1 and self._reads[1][0] <= now - WINDOW:
            self._reads.popleft()
        since, before = self._reads[0]
        self._reads.append((now, counts))
        rate = (counts - before.reindex(counts.index, fill_value=0)).clip(lower=0) / max(now - since, 1e-3)
        frame = found.join(arrivals, on="id").assign(rate=found["id"].map(rate), waiting=found["rx_queue"])
        frame["connections"] = frame["connections"].astype("UInt64")
        notes = {**found.attrs["bpfnb_columns"], **arrivals.attrs.get("bpfnb_columns", {})}
        frame.attrs = {**found.attrs, "bpfnb_columns": notes}
        return frame
