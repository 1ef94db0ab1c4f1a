"""Sockets that there are: TCP, UDP and unix, with state, addresses, queues and the process (ss, netstat).

A snapshot, taken anew each time the frame is asked for; pictures look every half second. A row for each socket in each
network namespace of a process here; ``netns`` looks into one. ``pid`` and ``comm`` are of the first process that has it
open and passes the filters, ``processes`` how many have; half-open and closing connections have none. ``rx_queue`` is
what nobody has read, of a listening socket the connections that nobody accepted, of which ``backlog`` may wait;
``tx_queue`` is what the peer has not acknowledged. ``drops`` counts what was refused. Of unix sockets ``path`` is the
name (``@`` begins an abstract one) and ``peer_inode`` the other end. Linux 5.15.
"""

from __future__ import annotations

from typing import Any

from bpfnb.errors import UnknownName
from bpfnb.tools.endpoints import ENDPOINTS
from bpfnb.tools.snapshot import KINDS, Snapshot
from bpfnb.tools.tool import Option

__all__ = ["SocketTable"]


def _kind(value: Any) -> str:
    kind = str(value).lower()
    if kind not in KINDS.values():
        raise UnknownName.among(KINDS.values(), kind, f"there are no sockets of '{value}' here")
    return kind


class SocketTable(Snapshot):
    family = "network"
    options = (
        *ENDPOINTS,
        Option("protocol", _kind, "only tcp, udp or unix", "PROTOCOL", variable=False, several=True),
    )
    columns = (
        *(
            "protocol",
            "type",
            "state",
            "laddr",
            "lport",
            "raddr",
            "rport",
            "rx_queue",
            "tx_queue",
            "backlog",
            "drops",
        ),
        *("comm", "pid", "processes", "uid", "netns", "inode", "path", "peer_inode"),
    )

    def kinds(self) -> list[str]:
        return self.given.get("protocol") or list(KINDS.values())
