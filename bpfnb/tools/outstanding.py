"""Tools of memory that was allocated and not freed: by stack, by age, over time.

The program has a map ``leaks`` of amounts by place, ``place`` being the stack with its process, which it keeps up as
memory comes and goes, and a map ``blocks`` of what is allocated now, with its ``size``, ``time`` and place.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, BpfnbError
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load, Option

if TYPE_CHECKING:
    from bpfnb.views import View

__all__ = ["OPTIONS", "Outstanding"]

_ROWS = 1_000_000  # of the history that are kept

OPTIONS = (
    Option("older", float, "only what was allocated at least so long ago", "SECONDS", variable=False),
    Option("min_size", int, "only allocations of at least this size", "BYTES"),
    Option("max_size", int, "only allocations of at most this size", "BYTES"),
    Option(
        "interval",
        float,
        "seconds between two moments of the history (default: 1)",
        "SECONDS",
        variable=False,
    ),
)


class Outstanding(Stacked):
    stream = "leaks"
    weight = "bytes"
    place: ClassVar[tuple[str, ...]]
    """The columns of a place, the stack's last."""

    def __init__(self, *target: Any, **given: Any) -> None:
        super().__init__(*target, **given)
        self._history = _History(self, self.given.get("interval", 1.0))

    def prepare(self) -> Load:
        for name in ("older", "interval"):
            if self.given.get(name, 1) <= 0:
                raise BadValue(f"{name}= is more than 0 seconds, not {self.given[name]}")
        return super().prepare()

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        if "older" in self.given:
            attrs = raw.attrs
            raw = self._aged(raw, self.given["older"])
            raw.attrs = attrs
        frame = self.named(raw[raw["count"] > 0])
        return frame[list(self.columns)]

    def _aged(self, raw: pd.DataFrame, seconds: float) -> pd.DataFrame:
        """The amounts of what is older than *seconds*."""
        blocks = self.object.maps["blocks"].frame(raw=True)
        now = time.monotonic_ns() if self.system is None else time.time_ns() - self.clock_offset
        old = blocks[blocks["time"].astype("int64") <= now - int(seconds * 1e9)]
        stack = self.place[-1]
        sums = old.groupby([f"place.{name}" for name in ("pid", stack)], observed=True)["size"].agg(
            ["sum", "count"]
        )
        key = pd.MultiIndex.from_frame(raw[["pid", stack]])
        sums = sums.reindex(key, fill_value=0)
        return raw.assign(bytes=sums["sum"].to_numpy(np.int64), count=sums["count"].to_numpy(np.int64))

    # Over time

    @property
    def history(self) -> pd.DataFrame:
        """What was outstanding by stack over time, a row for each stack at each moment at which any amount had changed.

        Columns are ``time``, those of the place, ``bytes`` and ``count``. A stack of which nothing is left has one more
        row, with zeros. The latest million rows are kept.
        """
        if "history" in self.recorded:
            return self.recorded["history"].df
        raw = self._history.frame()
        stack = self.place[-1]
        named = raw.assign(**{stack: self._text(self._parts[stack], raw)})
        keys = ["time", *self.place]
        sums = named.groupby(keys, observed=True, dropna=False, sort=False)[["bytes", "count"]].sum()
        return sums.reset_index()[["time", *self.place[:-1], "bytes", "count", stack]]

    def beside(self) -> dict[str, pd.DataFrame]:
        return {**super().beside(), "history": self.history}

    def growth(self, *, top: int = 8, **options: Any) -> View:
        """Outstanding bytes over time of the *top* stacks that have most, each named by its innermost frame."""
        from bpfnb.views import timeseries

        stack = self.place[-1]
        wide = self.history.pivot_table(
            index="time", columns=stack, values="bytes", aggfunc="sum", observed=True
        )
        wide = wide.ffill().fillna(0)
        most = wide.iloc[-1].nlargest(top).index if len(wide) else wide.columns
        shown = wide[list(most)]
        shown.columns = pd.Index(_short([str(name) for name in shown.columns]))
        return timeseries(shown, **{"unit": "bytes", "title": f"{self.object.name}: outstanding", **options})

    def _end(self) -> None:
        super()._end()
        self._history.stop()


def _short(stacks: list[str]) -> list[str]:
    """The innermost frames; numbered where several stacks have the same."""
    out: list[str] = []
    for stack in stacks:
        name = stack.rpartition(";")[2]
        same = sum(other.partition(" #")[0] == name for other in out)
        out.append(f"{name} #{same + 1}" if same else name)
    return out


class _History:
    """Looks at the amounts every so often and keeps them where they have changed."""

    def __init__(self, tool: Outstanding, interval: float) -> None:
        self._map = tool.object.maps["leaks"]
        self._columns = [*tool.place, "bytes", "count"]
        self._looks: deque[pd.DataFrame] = deque()
        self._last = pd.DataFrame(columns=self._columns)
        self._kept = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(interval,), name="bpfnb-history", daemon=True)
        self._thread.start()

    def _run(self, interval: float) -> None:
        while not self._over.wait(interval):
            try:
                self.look()
            except BpfnbError:  # the object is closed
                return

    def look(self) -> None:
        """Note the amounts, if they have changed since the last look."""
        now = pd.Timestamp(time.time_ns(), tz="UTC")
        rows = self._map.frame(raw=True)[self._columns]
        with self._lock:
            place = self._columns[:-2]
            before = pd.MultiIndex.from_frame(self._last.loc[self._last["count"] > 0, place])
            shown = (rows["count"] > 0) | pd.MultiIndex.from_frame(rows[place]).isin(before)
            rows = rows[shown].sort_values(place, ignore_index=True)
            if rows.equals(self._last):
                return
            self._last = rows
            self._looks.append(rows.assign(time=now))
            self._kept += len(rows)
            while self._kept > _ROWS and len(self._looks) > 1:
                self._kept -= len(self._looks.popleft())

    def frame(self) -> pd.DataFrame:
        with self._lock:
            looks = list(self._looks)
        if looks:
            return pd.concat(looks, ignore_index=True)
        return self._map.frame(raw=True)[self._columns].iloc[:0].assign(time=pd.Timestamp(0, tz="UTC"))

    def stop(self) -> None:
        if not self._over.is_set():
            self._over.set()
            self.look()  # what it was at the end
