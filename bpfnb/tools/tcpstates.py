"""Every change of state of every TCP connection, with the time that was spent in the state before.

A row for each change from ``oldstate`` to ``newstate``; ``duration`` is the time in ``oldstate``, 0 where its
beginning was not seen. ``cookie`` tells sockets apart, as ``ss -e`` does. ``pid`` and ``comm`` are of the process
whose socket it is, which most changes do not happen in; a connection that no process has used since it was accepted is
its listener's. Linux 5.12.
"""

from bpfnb.tools.endpoints import ENDPOINTS, OwnedSockets


class TcpStates(OwnedSockets):
    family = "network"
    options = ENDPOINTS
    columns = (
        *("time", "cookie", "comm", "pid", "laddr", "lport", "raddr", "rport"),
        *("oldstate", "newstate", "duration"),
    )
    drawn = ("time", "comm", "pid", "laddr", "lport", "raddr", "rport", "oldstate", "newstate", "duration")
