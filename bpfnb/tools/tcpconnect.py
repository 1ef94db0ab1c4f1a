"""TCP connections that processes here open, how long that took, and those that failed, with the reason.

A row for each connect(), blocking or not: ``latency`` is from the call to the answer (tcpconnlat), ``ret`` is 0 or the
error: ``ECONNREFUSED``, ``ETIMEDOUT``, ``ENETUNREACH``; ``ECANCELED`` where the program closed the socket before there
was an answer. With ``failed`` only those that failed, with ``min_us`` only those that took so long. Linux 5.12.
"""

from bpfnb.tools.endpoints import ENDPOINTS, Sockets
from bpfnb.tools.tool import Option


class TcpConnect(Sockets):
    family = "network"
    options = (
        *ENDPOINTS,
        Option("failed", bool, "only connections that failed"),
        Option("min_us", int, "only those that took so many microseconds or more"),
    )
    columns = (
        *("time", "comm", "pid", "uid", "ip", "laddr", "lport", "raddr", "rport"),
        *("ret", "latency"),
    )
    drawn = ("time", "comm", "pid", "laddr", "raddr", "rport", "ret", "latency")
