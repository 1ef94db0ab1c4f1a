"""Which columns of a frame say who talks to whom, and how much: given by name, or found by their usual spelling.

The spellings are those of Hubble's flows, Pixie's service and connection tables, DeepFlow's flow logs, Beyla's
network metrics, Caretta's links, and bcc's tcp tools. They are compared without regard to case, and a nested
column (``key.saddr``) or one of a map's key (``key_saddr``) answers to its last part too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bpfnb.errors import BpfnbError, UnknownName

__all__ = ["Roles", "find"]

Columns = str | Sequence[str] | None

_PAIRS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("source",), ("target",)),
    (("source",), ("destination",)),
    (("source_names",), ("destination_names",)),
    (("src",), ("dst",)),
    (("from",), ("to",)),
    (("client",), ("server",)),
    (("caller",), ("callee",)),
    (("client_name",), ("server_name",)),
    (("source_service",), ("destination_service",)),
    (("requestor_service",), ("responder_service",)),
    (("requestor_pod",), ("responder_pod",)),
    (("auto_service_0",), ("auto_service_1",)),
    (("auto_instance_0",), ("auto_instance_1",)),
    (("k8s.src.owner.name",), ("k8s.dst.owner.name",)),
    (("src.name",), ("dst.name",)),
)
_WHO = ("service", "container", "pod", "comm", "process", "exe", "cgroup", "upid", "pid")
_LOCAL = (
    "saddr",
    "laddr",
    "src_ip",
    "source_ip",
    "local_addr",
    "src_addr",
    "src.address",
    "ip_0",
    "client_ip",
)
_REMOTE = (
    "daddr",
    "raddr",
    "dst_ip",
    "destination_ip",
    "remote_addr",
    "dst_addr",
    "dst.address",
    "ip_1",
    "server_ip",
)
_REMOTE_PORT = (
    "dport",
    "rport",
    "dst_port",
    "destination_port",
    "remote_port",
    "dst.port",
    "server_port",
    "port",
)

_USUAL: Mapping[str, tuple[str, ...]] = {
    "rate": (
        "rate",
        "rps",
        "qps",
        "requests_per_second",
        "calls_per_second",
        "request_rate",
        "request_throughput",
    ),
    "weight": (
        *(
            "count",
            "requests",
            "calls",
            "packets",
            "connections",
            "conn_open",
            "events",
            "flows",
            "hits",
            "n",
        ),
        *("packet_tx", "traces_service_graph_request_total", "caretta_links_observed"),
    ),
    "nbytes": (
        *("bytes", "nbytes", "n_bytes", "bytes_sent", "tx_bytes", "byte_tx", "sent", "size", "len", "length"),
        *("beyla.network.flow.bytes", "bytes_total"),
    ),
    "errors": (
        *("errors", "error", "error_rate", "failed", "failures", "err", "errno", "verdict"),
        *(
            "traces_service_graph_request_failed_total",
            "status",
            "status_code",
            "resp_status",
            "response_code",
        ),
        *("http.response.status_code", "http_status", "ret", "retval", "rc"),
    ),
    "latency": (
        *(
            "latency",
            "latency_ns",
            "latency_us",
            "latency_ms",
            "lat",
            "duration",
            "duration_ns",
            "duration_us",
        ),
        *("duration_ms", "response_duration", "rtt", "srtt", "rtt_client", "lat_ns", "lat_us", "delta"),
    ),
    "time": ("ts", "time", "timestamp", "time_", "ktime", "when", "start_time", "start"),
}


@dataclass(frozen=True)
class Roles:
    """The columns in their roles. ``source`` and ``target`` are never empty."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    rate: str | None = None
    weight: str | None = None
    nbytes: str | None = None
    errors: str | None = None
    latency: str | None = None
    time: str | None = None

    @property
    def columns(self) -> list[str]:
        """All of them, each once."""
        single = (self.rate, self.weight, self.nbytes, self.errors, self.latency, self.time)
        return list(dict.fromkeys([*self.source, *self.target, *(name for name in single if name)]))


def find(
    columns: Sequence[Any],
    source: Columns = "source",
    target: Columns = "target",
    **given: str | None,
) -> Roles:
    """The roles of *columns*. What is *given* must exist; the rest is looked for.

    ``source`` and ``target`` are looked for too where they are the words themselves and no column has that name.

    :raises UnknownName: a given column does not exist. :raises BpfnbError: nothing looks like a source or target.
    """
    names = [str(column) for column in columns]
    short = _short(names)
    ends = [_named(names, source, "source"), _named(names, target, "target")]
    if ends[0] is None or ends[1] is None:
        ends = _ends(short, ends)
    if ends[0] is None or ends[1] is None:
        missing = "source" if ends[0] is None else "target"
        raise BpfnbError(
            f"no column says what the {missing} of an edge is",
            hints=[f"servicemap(data, source=..., target=...), of: {', '.join(names)}"],
        )
    found: dict[str, str | None] = {}
    taken = {*ends[0], *ends[1]}
    for role, usual in _USUAL.items():
        wanted = given.get(role)
        if wanted is not None:
            if wanted not in names:
                raise UnknownName.among(names, wanted, f"there is no column '{wanted}'")
            found[role] = wanted
            continue
        found[role] = next(
            (short[word] for word in usual if word in short and short[word] not in taken), None
        )
    return Roles(ends[0], ends[1], **found)


def _named(names: list[str], wanted: Columns, word: str) -> tuple[str, ...] | None:
    if wanted is None or (wanted == word and word not in names):
        return None
    columns = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for column in columns:
        if column not in names:
            raise UnknownName.among(names, column, f"there is no column '{column}'")
    if not columns:
        raise BpfnbError(f"the {word} of an edge needs at least one column")
    return columns


def _short(names: list[str]) -> dict[str, str]:
    """By lower-case name, full or last part, the column; a full name wins over a part."""
    short: dict[str, str] = {}
    for name in names:
        lower = name.lower()
        for part in (lower.rsplit(".", 1)[-1], lower.removeprefix("key_").removeprefix("value_")):
            short.setdefault(part, name)
    return short | {name.lower(): name for name in names}


def _ends(short: dict[str, str], given: list[tuple[str, ...] | None]) -> list[tuple[str, ...] | None]:
    for left, right in _PAIRS:
        if all(word in short for word in (*left, *right)):
            return [given[0] or tuple(short[w] for w in left), given[1] or tuple(short[w] for w in right)]
    who = next((short[word] for word in _WHO if word in short), None)
    local = next((short[word] for word in _LOCAL if word in short), None)
    remote = next((short[word] for word in _REMOTE if word in short), None)
    port = next((short[word] for word in _REMOTE_PORT if word in short), None)
    near = who or local
    far = tuple(name for name in (remote, port) if name is not None)
    return [given[0] or ((near,) if near else None), given[1] or (far or None)]
