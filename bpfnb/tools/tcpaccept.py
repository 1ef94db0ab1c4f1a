"""TCP connections that processes here accept, and how long each had waited for it.

A row for each accept() that gave a connection: ``wait`` is the time that it lay in the listener's queue, from the end
of the handshake on, 0 where that was before the tool began. ``lport`` is the port of the service. Connections that
io_uring accepts are not seen. Linux 5.12.
"""

from bpfnb.tools.endpoints import ENDPOINTS, Sockets


class TcpAccept(Sockets):
    family = "network"
    options = ENDPOINTS
    columns = (*("time", "comm", "pid", "uid", "ip", "raddr", "rport", "laddr", "lport"), *("fd", "wait"))
    drawn = ("time", "comm", "pid", "raddr", "rport", "laddr", "lport", "wait")
