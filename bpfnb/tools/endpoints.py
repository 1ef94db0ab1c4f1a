"""What tools of TCP sockets have in common: the filters of ``bpfnb/sock.h`` by ports and remote network."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from bpfnb.errors import BadValue
from bpfnb.tools.owned import Owned
from bpfnb.tools.tool import Load, Option, Tool

__all__ = ["ENDPOINTS", "OwnedSockets", "Sockets", "port"]

PORTS: Final = 16  # SOCK_PORTS in bpfnb/sock.h


def port(value: Any) -> int:
    """A port's number. Raises BadValue."""
    text = str(value).strip()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise BadValue(f"a port is a whole number from 1 to 65535, not {value!r}")
    return int(text)


def network(value: Any) -> dict[str, Any]:
    """An address or a network (``10.0.0.0/8``, ``fe80::/10``) as the variables of ``bpfnb/sock.h``: network and mask of
    128 bits, in words as they stand in memory; an IPv4 network is below ``::ffff:0:0``. Raises BadValue.
    """
    try:
        found = ipaddress.ip_network(str(value).strip(), strict=False)
    except ValueError:
        raise BadValue(
            f"raddr= takes an address or a network, not {value!r}", hints=["for example 10.0.0.0/8"]
        ) from None
    address, bits = found.network_address, found.prefixlen
    number = int(address)
    if isinstance(address, ipaddress.IPv4Address):
        bits, number = bits + 96, number | 0xFFFF << 32
    mask = (1 << 128) - (1 << 128 - bits)
    six = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None
    return {"rnet": _words(number), "rnet_mask": _words(mask), "rnet_ipv6": six}


def _words(number: int) -> list[int]:
    data = number.to_bytes(16, "big")
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, 16, 4)]


ENDPOINTS: Final = (
    Option("lport", port, "only this local port", "PORT", several=True),
    Option("rport", port, "only this remote port", "PORT", several=True),
    Option("raddr", network, "only this remote address or network", "ADDRESS", variable=False),
)
"""The options of every tool here."""


class Sockets(Tool):
    """A tool whose program includes ``bpfnb/sock.h``; its options begin with :data:`ENDPOINTS`."""

    def prepare(self) -> Load:
        wanted = super().prepare()
        for name in ("lport", "rport"):
            if len(wanted.globals.get(name, ())) > PORTS:
                raise BadValue(f"{name}= takes at most {PORTS} ports")
        if "raddr" in self.given:
            wanted.globals |= self.given["raddr"]
        return wanted


class OwnedSockets(Sockets, Owned):
    """One whose program includes ``bpfnb/owners.h`` too: sockets that are there already get their owners."""
