"""Packets that the kernel drops, with the reason, the connection, the process and the kernel's stack.

A row for each packet, of any protocol unless ``protocol`` asks for one. ``reason`` is the kernel's own word for it
(``NO_SOCKET``, ``TCP_OLD_DATA``, ``NETFILTER_DROP`` ..., from ``enum skb_drop_reason`` of the running kernel);
``NOT_SPECIFIED`` is what no reason was written down for. ``location`` is the function that dropped it,
``kernel_stack`` how it came there. ``saddr`` and ``sport`` sent it; ``flags`` and ``state`` are TCP's. ``pid`` and
``comm`` are those of the socket, 0 where the packet reached none.

Filters are of the socket's process, ``netns`` also of the device's. ``t.reasons`` counts all of them by reason and
protocol, also where rows were lost; ``t.flames()`` is the flame graph of where packets are dropped. Linux 5.17; the
receiving socket from 6.11 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from bpfnb.btf import Btf, Enum
from bpfnb.errors import UnknownName
from bpfnb.kernel.hooks import raw_arguments
from bpfnb.tools.owned import PROTOCOLS, STATES, Owned, named
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load, Option, Tool

if TYPE_CHECKING:
    from bpfnb.views import FlameGraph, View

__all__ = ["TcpDrop"]

PREFIX = "SKB_DROP_REASON_"
FLAGS: Final[Mapping[int, str]] = {
    bits: "|".join(
        name
        for i, name in enumerate(("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"))
        if bits >> i & 1
    )
    for bits in range(256)
}


def _reason(value: Any) -> int:
    """``NO_SOCKET``, in any case, as the running kernel numbers it. Raises UnknownName."""
    numbers = {name.removeprefix(PREFIX): number for name, number in _reasons().items()}
    name = str(value).upper().removeprefix(PREFIX)
    if name not in numbers:
        raise UnknownName.among(numbers, name, f"this kernel drops nothing for '{value}'")
    return numbers[name]


def _reasons() -> dict[str, int]:
    found = Btf.kernel().find("skb_drop_reason", "enum")
    assert isinstance(found, Enum)
    return {name: number for name, number in found.values if name.startswith(PREFIX)}


def _protocol(value: Any) -> int:
    """A protocol's number or name. Raises UnknownName."""
    numbers = {name: number for number, name in PROTOCOLS.items()}
    name = str(value).lower()
    if name.isdigit() and 1 <= int(name) <= 255:
        return int(name)
    if name not in numbers:
        raise UnknownName.among(numbers, name, f"there is no protocol '{value}' here")
    return numbers[name]


class TcpDrop(Stacked, Owned):
    family = "network"
    options = (
        Option("reason", _reason, "only this reason, by the kernel's name for it", "REASON"),
        Option("protocol", _protocol, "only this protocol: tcp, udp, icmp ...", "PROTOCOL"),
    )
    weight = ""
    columns = (
        *(
            "time",
            "reason",
            "protocol",
            "saddr",
            "sport",
            "daddr",
            "dport",
            "flags",
            "state",
            "len",
            "device",
        ),
        *("comm", "pid", "uid", "location", "kernel_stack"),
    )

    def prepare(self) -> Load:
        load = super().prepare()
        load.globals["receiver"] = raw_arguments("kfree_skb") > 3  # the last is the receiving socket
        return load

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = self.named(raw)
        places = frame["location"].to_numpy(np.uint64)
        different = np.unique(places)
        functions = dict(zip(different.tolist(), self.symbols.kernel.names(different - 1), strict=True))
        frame = frame.assign(
            reason=_short(frame["reason"]),
            protocol=named(frame["protocol"], PROTOCOLS),
            flags=named(frame["flags"], FLAGS),
            state=named(frame["state"], STATES),
            location=pd.Categorical([functions[place] or hex(place) for place in places.tolist()]),
        )
        return frame[list(self.columns)]

    @property
    def reasons(self) -> pd.DataFrame:
        """Packets dropped by ``reason`` and ``protocol``, the most first: ``count``. After :meth:`close` the last."""
        if "reasons" in self.recorded:
            return self.recorded["reasons"].df
        if self.readable:
            raw = self.object.maps["reasons"].df.rename(columns={"value": "count"})
            raw = raw.assign(reason=_short(raw["reason"]), protocol=named(raw["protocol"], PROTOCOLS))
            self._reasons = raw.sort_values("count", ascending=False, kind="stable", ignore_index=True)
        return self._reasons

    def beside(self) -> dict[str, pd.DataFrame]:
        return {**super().beside(), "reasons": self.reasons}

    def flames(self, **options: Any) -> FlameGraph:
        """A flame graph of the kernel's stacks, live: where packets are dropped."""
        return Stacked.picture(self, self, **options)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write this flame graph, as :meth:`Stacked.save` does."""
        return self.flames().save(path, **options)

    report = Tool.report  # in a terminal rows, as they come

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import table

        shown = [name for name in (*self.columns, *self.add) if name not in ("uid", "kernel_stack")]
        return table(data, **{"columns": shown, "title": self.object.name, **options})

    def close(self) -> None:
        if self.object.state != "closed":
            self.stop()
            self.reasons  # noqa: B018  the last look
        super().close()


def _short(reasons: pd.Series[Any]) -> pd.Series[Any]:
    """Reasons without the prefix that all have."""
    values = reasons.astype("category")
    return values.cat.rename_categories([str(word).removeprefix(PREFIX) for word in values.cat.categories])
