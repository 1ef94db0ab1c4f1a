"""DNS: names that are looked up, by whom, with what came back and how long it took.

A row for each answer over UDP: ``name`` and ``type`` that were asked for, ``rcode`` (``NOERROR``, ``NXDOMAIN`` ...),
``answers`` the number of records and ``address`` the first address among them, ``latency`` since it was
first asked, ``tries`` how often, ``server`` who answered. With ``servers`` also as DNS servers on this machine see it:
``role`` is ``server`` then, ``server`` the client, and ``latency`` the server's work. ``failed`` leaves what found
nothing. ``t.unanswered()`` has the questions that are still open. Lookups over TCP, TLS and HTTPS are not seen.
Linux 5.11.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import pandas as pd

from bpfnb.frames.columns import clock_offset
from bpfnb.tools.owned import Owned, named
from bpfnb.tools.tool import Option

__all__ = ["RCODES", "TYPES", "Dns"]

_NUMBERS = (
    *(1, 2, 5, 6, 12, 13, 15, 16, 28, 29, 33, 35, 39, 41, 43, 44, 46, 47, 48, 50, 52, 61, 64, 65, 99),
    *(249, 250, 251, 252, 255, 256, 257),
)
_NAMES = """A NS CNAME SOA PTR HINFO MX TXT AAAA LOC SRV NAPTR DNAME OPT DS SSHFP RRSIG NSEC DNSKEY NSEC3 TLSA
OPENPGPKEY SVCB HTTPS SPF TKEY TSIG IXFR AXFR ANY URI CAA"""
TYPES: Final[Mapping[int, str]] = dict(zip(_NUMBERS, _NAMES.split(), strict=True))
"""Types of records, by IANA's registry of DNS parameters."""

_RCODES = "NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED YXDOMAIN YXRRSET NXRRSET NOTAUTH"
RCODES: Final[Mapping[int, str]] = dict(enumerate(_RCODES.split()))
"""What became of it, by RFC 6895."""


class Dns(Owned):
    family = "network"
    rowwise = True
    options = (
        Option("port", int, "where servers listen (53)", "PORT"),
        Option("servers", bool, "also as DNS servers here see it"),
        Option("failed", bool, "only those that found nothing"),
    )
    columns = (
        *("time", "comm", "pid", "uid", "role", "server", "name", "type", "rcode", "answers", "address"),
        *("latency", "tries"),
    )

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        found = raw["address"].mask(raw["address"] == "::", "")
        frame = raw.assign(type=named(raw["type"], TYPES), rcode=named(raw["rcode"], RCODES), address=found)
        return frame[list(self.columns)]

    def unanswered(self, seconds: float = 1.0) -> pd.DataFrame:
        """Questions that have waited for at least *seconds*, the oldest first: ``time`` asked, ``comm``, ``pid``,
        ``uid``, ``role``, ``server``, ``name``, ``type``, ``tries``. After :meth:`close` there are none.
        """
        names = ["time", *(name for name in self.columns[1:8]), "tries"]
        open_ = self.recorded.get("questions")
        if open_ is not None:
            before = pd.Timestamp(open_.looked - int(seconds * 1e9), tz="UTC")
            return open_.df[open_.df["time"] <= before].reset_index(drop=True)
        if not self.readable:
            return pd.DataFrame(columns=names)
        raw = self.object.maps["questions"].df.rename(columns={"asked": "time", "value_role": "role"})
        before = pd.Timestamp(time.monotonic_ns() + clock_offset() - int(seconds * 1e9), tz="UTC")
        late = raw[raw["time"] <= before]
        late = late.assign(type=named(late["type"], TYPES))
        return late.sort_values("time", ignore_index=True)[names]

    def beside(self) -> dict[str, pd.DataFrame]:
        return {**super().beside(), "questions": self.unanswered(0)}
