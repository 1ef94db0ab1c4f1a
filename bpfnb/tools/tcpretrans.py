"""TCP segments that are sent again: by which connection, and why.

A row for each retransmission. ``kind`` is ``FAST`` (acknowledgements told of a hole), ``TIMEOUT`` (nothing was
acknowledged in time, and what follows until all that was lost then is through), ``LOSS_PROBE`` (the last segment once
more, to provoke an acknowledgement), ``SYN`` or ``SYNACK`` (of a handshake). ``segs`` is what the kernel adds to
RetransSegs (nstat). ``pid`` and ``comm`` are of the process whose socket it is. With ``count`` a row for each
connection and kind, with the number of retransmissions, their segments and bytes. Linux 5.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from bpfnb.frames import MapFrame, Stream
from bpfnb.tools.endpoints import ENDPOINTS, OwnedSockets
from bpfnb.tools.tool import Option

if TYPE_CHECKING:
    from bpfnb.views import View

WHO: Final = ("comm", "pid", "laddr", "lport", "raddr", "rport")
COUNTED: Final = (*WHO, "kind", "count", "segs", "bytes", "time")


class TcpRetrans(OwnedSockets):
    family = "network"
    options = (*ENDPOINTS, Option("count", bool, "only count, by connection and kind"))
    columns = ("time", *WHO[:2], "ip", *WHO[2:], "state", "kind", "segs", "bytes")
    drawn = ("time", *WHO, "state", "kind", "segs", "bytes")
    rowwise = True

    @property
    def frames(self) -> Stream | MapFrame:
        return self.object.maps["counts"] if self.given.get("count") else self.object.streams["events"]

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        if not self.given.get("count"):
            return super().frame(raw)
        return raw.sort_values(["segs", "time"], ascending=False, kind="stable")[list(COUNTED)]

    def view(self, **options: Any) -> View:
        counted = {"columns": [*COUNTED, *self.add]} if self.given.get("count") else {}
        return super().view(**{**counted, **options})
