"""Tools that see packets and tell whose they are: processes noted on sockets (``bpfnb/owners.h``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from bpfnb.kernel.hooks import raw_tracepoints
from bpfnb.tools.tool import Load, Tool

__all__ = ["PROTOCOLS", "STATES", "Owned", "named"]

PROTOCOLS: Final[Mapping[int, str]] = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
"""IP protocols by IANA's numbers; 0 is what is no IP."""

_STATES = """ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING
NEW_SYN_RECV"""
STATES: Final[Mapping[int, str]] = dict(enumerate(_STATES.split(), 1))
"""States of a TCP connection, by include/net/tcp_states.h; also those of unix sockets."""


def named(numbers: pd.Series[Any], names: Mapping[int, str]) -> pd.Series[Any]:
    """*numbers* as a categorical of their names; one without a name is its number in text, 0 without one empty."""
    found = sorted(int(number) for number in numbers.unique())
    words = pd.Index([names.get(number, str(number) if number else "") for number in found])
    codes = pd.Index(found).get_indexer(pd.Index(numbers.astype("int64")))
    return pd.Series(pd.Categorical.from_codes(codes, words), index=numbers.index, name=numbers.name)


class Owned(Tool):
    """A tool whose program includes ``bpfnb/owners.h``: once it is attached, sockets there get their owners."""

    def prepare(self) -> Load:
        load = super().prepare()
        if "sock_send_length" not in raw_tracepoints():
            load.defines = (*load.defines, "OWNERS_BY_FUNCTION")
        return load

    def __init__(self, *target: Any, **given: Any) -> None:
        super().__init__(*target, **given)
        self.object.programs["find_owners"].text()
