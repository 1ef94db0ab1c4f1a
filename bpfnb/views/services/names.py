"""Names and kinds of nodes, from the values that a row has in its source or target columns."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.views._style import printable

__all__ = ["KINDS", "coded", "kind_of", "label_of"]

KINDS: Final = ("process", "container", "service", "host", "external", "port", "others")
"""What a node can be. Each has a shape of its own; ``others`` stands for several small nodes."""

_WORDS: Final = (
    ("container", ("container", "pod", "cgroup", "instance", "workload")),
    ("process", ("comm", "process", "exe", "pid", "task", "program", "binary")),
    ("service", ("service", "svc", "app")),
    ("host", ("host", "node", "machine")),
)

Kinds = str | Mapping[str, str] | Callable[[str], str] | None


def coded(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """For each row the number of its combination of values, and of each combination the first row that has it.

    Combinations are numbered in order of appearance; missing values are values too.
    """
    codes = np.zeros(len(frame), np.int64)
    for position, column in enumerate(columns):
        found, labels = pd.factorize(frame[column], use_na_sentinel=False)
        if position == 0:
            codes = found.astype(np.int64)
        else:  # renumbered after every column, so that the product cannot overflow
            codes = pd.factorize(codes * max(len(labels), 1) + found)[0].astype(np.int64)
    count = int(codes.max(initial=-1)) + 1
    first = np.zeros(count, np.intp)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes, first


def label_of(columns: Sequence[str], values: Sequence[Any]) -> str:
    """One name for the *values* of *columns*: ``10.0.0.2:5432``, ``redis-server 4242``, ``prod/api``.

    >>> label_of(["daddr", "dport"], ["::1", 80]), label_of(["comm", "pid"], ["redis-server", 4242])
    ('[::1]:80', 'redis-server 4242')
    """
    name = ""
    for column, value in zip(columns, values, strict=True):
        text = _text(value)
        if not name:
            name = f"port {text}" if _is_port(column) and len(columns) == 1 else text
        elif _is_port(column):
            name = f"[{name}]:{text}" if ":" in name else f"{name}:{text}"
        else:
            name = f"{name} {text}" if column.lower().endswith(("pid", "tid", "id")) else f"{name}/{text}"
    return name


def kind_of(label: str, columns: Sequence[str], given: Kinds = None) -> str:
    """What the node is: as *given*, or by the names of its *columns*, or by whether it is an address.

    A private address with a port is a service, without one a host; a public address is external.

    :raises ValueError: *given* says something that is no kind.
    """
    kind = given if isinstance(given, str) else None
    if isinstance(given, Mapping):
        kind = given.get(label)
    elif callable(given):
        kind = given(label)
    if kind is not None:
        if kind not in KINDS:
            raise ValueError(f"a node's kind is one of {', '.join(KINDS)}, not '{kind}'")
        return kind
    for column in columns:
        lower = column.lower()
        for kind, words in _WORDS:
            if any(word in lower for word in words) and "addr" not in lower and "ip" not in lower.split("_"):
                return kind
    if len(columns) == 1 and _is_port(columns[0]):
        return "port"
    return _kind_of_address(label)


@lru_cache(maxsize=65536)
def _kind_of_address(label: str) -> str:
    host, _, port = label.rpartition(":") if label.count(":") == 1 or "]:" in label else (label, "", "")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "service"
    if address.is_global:
        return "external"
    return "service" if port else "host"


def _is_port(column: str) -> bool:
    return column.lower().rsplit(".", 1)[-1].endswith(("port", "port_be"))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.split(b"\0", 1)[0].decode("utf-8", "replace")
    if isinstance(value, (list, tuple, np.ndarray)):  # Hubble: several names of one endpoint
        value = value[0] if len(value) else None
    if value is None or value is pd.NA or value is pd.NaT or value == "" or value != value:
        return "unknown"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return printable(str(value))
