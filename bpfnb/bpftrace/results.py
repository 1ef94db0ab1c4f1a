"""bpftrace's JSON lines as frames: rows of printf, maps, histograms, statistics, and how they changed over time."""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.bpftrace.text import Format, formats, keys
from bpfnb.frames.completeness import ATTR, describe

if TYPE_CHECKING:
    from bpfnb.views import View

__all__ = ["MapResult", "Results"]

STACKS = ("kstack", "ustack")


class MapResult:
    """One map as bpftrace printed it last: ``df``; ``history`` has each printing with its ``time``.

    Columns are the key's parts (named as in the program where those are plain names; stacks are text as in folded
    files, ``outermost;...;innermost``) and ``value``; of a histogram
    ``min``, ``max`` (both inclusive, missing where a bucket is open) and ``count``; of stats ``count``, ``average``,
    ``total``. A key whose text cannot be split for sure is one column ``key``.
    """

    def __init__(self, name: str, kind: str, names: Sequence[str], results: Results) -> None:
        self.name = name
        self.kind = kind
        """``map``, ``hist`` or ``stats``."""
        self._names = list(names)
        self._results = results
        self._printed: list[tuple[float, Any]] = []

    def add(self, moment: float, kind: str, data: Any) -> None:
        self.kind = kind
        self._printed.append((moment, data))

    @property
    def prints(self) -> int:
        """How often it was printed."""
        return len(self._printed)

    @property
    def closed(self) -> bool:
        return self._results.closed

    @property
    def df(self) -> pd.DataFrame:
        """The map as it was printed last."""
        with self._results.lock:
            _, data = self._printed[-1]
        return self._framed([(None, data)])

    @property
    def history(self) -> pd.DataFrame:
        """All that was printed of it, with the moment at which it came."""
        with self._results.lock:
            printed = list(self._printed)
        return self._framed(printed)

    def _framed(self, printed: Sequence[tuple[float | None, Any]]) -> pd.DataFrame:
        times: list[float] = []
        texts: list[str] = []
        rows: list[dict[str, Any]] = []
        for moment, data in printed:
            for key, value in data.items() if self._keyed(data) else [("", data)]:
                found = self._values(value)
                rows += found
                texts += [key] * len(found)
                times += [moment or 0.0] * len(found)
        columns: dict[str, Any] = {**self._key_columns(texts)}
        columns |= {str(name): values for name, values in pd.DataFrame(rows).items()}
        frame = pd.DataFrame(columns).infer_objects()
        if any(times):
            frame.insert(0, "time", pd.to_datetime(times, unit="s", utc=True))
        for name in ("min", "max"):
            if self.kind == "hist" and name in frame:
                frame[name] = frame[name].astype("Int64")
        frame.attrs[ATTR] = self._results.about(self.name, f"bpftrace {self.kind}", len(frame))
        return frame

    def _keyed(self, data: Any) -> bool:
        """Whether *data* has values by key: stats without a key are an object too."""
        return isinstance(data, dict) and not (self.kind == "stats" and not self._names)

    def _key_columns(self, texts: Sequence[str]) -> dict[str, list[Any]]:
        """The keys' parts, where all can be split; bpftrace joins them with commas, which texts may have as well."""
        if not self._names and not any(texts):
            return {}
        split = [text.split(",") if len(self._names) > 1 else [text] for text in texts]
        names = self._names if all(len(parts) == len(self._names) for parts in split) else ["key"]
        if names == ["key"]:
            split = [[text] for text in texts]
        columns = zip(*split, strict=True) if split else [() for _ in names]
        return {name: _typed(name, column) for name, column in zip(names, columns, strict=True)}

    def _values(self, value: Any) -> list[dict[str, Any]]:
        if self.kind == "hist":
            return [{"min": b.get("min"), "max": b.get("max"), "count": b["count"]} for b in value]
        return [value if self.kind == "stats" and isinstance(value, dict) else {"value": value}]

    def view(self, **options: Any) -> View | Any:
        """A histogram; a flame graph of stacks; the values over time where they were printed often; else a table."""
        from bpfnb.views import flamegraph, table, timeseries

        if self.kind == "hist":
            return self.histogram()
        stacks = [name for name in self.df.columns if name.startswith(STACKS)]
        if stacks and self.kind == "map":
            return flamegraph(self.df, stacks, **{"weight": "value", "title": self.name, **options})
        history = self.history
        numbers = "value" in history and history["value"].dtype.kind in "iuf"
        if self.prints > 2 and numbers and len(self._names) < 2:
            by = self._names[0] if self._names and self._names[0] in history else None
            return timeseries(history, "value", **{"by": by, "mode": "gauge", "title": self.name, **options})
        return table(self, **{"title": self.name, **options})

    def histogram(self) -> Any:
        """The buckets of all keys as one :class:`bpfnb.views.Histogram`, a group a key."""
        import numpy as np

        from bpfnb.views import Histogram

        frame = self.df
        labels = frame[[name for name in frame.columns if name not in ("min", "max", "count")]].astype(str)
        by = labels.agg(", ".join, axis=1) if labels.shape[1] else pd.Series([""] * len(frame))
        low = frame["min"].astype("float64").fillna(-np.inf)
        high = (frame["max"].astype("float64") + 1).fillna(np.inf)
        edges = sorted({*low, *high} - {-np.inf, np.inf})
        if len(edges) and np.isneginf(low).any():
            edges.insert(0, 2 * edges[0] - edges[1] if len(edges) > 1 else edges[0] - 1)
        if len(edges) and np.isposinf(high).any():
            edges.append(2 * edges[-1] - edges[-2] if len(edges) > 1 else edges[-1] + 1)
        groups = list(dict.fromkeys(by))
        counts = np.zeros((len(groups), len(edges) - 1), np.int64)
        for label, start, count in zip(by, low, frame["count"], strict=True):
            counts[groups.index(label), 0 if np.isneginf(start) else edges.index(start)] += count
        return Histogram(tuple(int(edge) for edge in edges), counts, keys=groups, name=self.name)

    def summary(self) -> dict[str, str]:
        """What it holds now as text and HTML, of the largest 20 entries; pictures take longer."""
        if self.kind == "hist":
            text = self.histogram().text()
            return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
        frame = self.df
        weight = str(frame.columns[-1])
        if frame[weight].dtype.kind in "iuf":
            frame = frame.sort_values(weight, ascending=False, kind="stable")
        title = html.escape(self.name)
        return {
            "text/plain": f"{self.name}\n{frame.head(20).to_string(index=False)}",
            "text/html": f"<p>{title}</p>{frame.head(20).to_html(index=False, border=0)}",
        }

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view())

    def __repr__(self) -> str:
        return f"<{self.name}: {self.kind}, {len(self.df)} rows, printed {self.prints} times>"


def _typed(name: str, texts: Sequence[str]) -> list[Any]:
    """One part of the keys: whole numbers where all are; stacks as ``outermost;...;innermost``."""
    if name.startswith(STACKS):
        return [
            ";".join(re.sub(r"\+\d+$", "", line.strip()) for line in reversed(text.split("\n")) if line)
            for text in texts
        ]
    if all(re.fullmatch(r"-?\d+", text) for text in texts):
        return [int(text) for text in texts]
    return list(texts)


class Results:
    """What came so far. One thread adds, any reads."""

    def __init__(self, text: str) -> None:
        self.lock = threading.RLock()
        self.closed = False
        self.lost = 0
        self.began = time.time()
        self.maps: dict[str, MapResult] = {}
        self._keys = keys(text)
        self._formats: list[Format] = formats(text)
        self._rows: list[tuple[float, str]] = []
        self._open = ""  # a line of printf that has not ended yet

    def add(self, message: Mapping[str, Any]) -> str:
        """Take one message; returns the text that bpftrace would print for it, as far as it is no map."""
        kind, data = message.get("type"), message.get("data")
        now = time.time()
        with self.lock:
            if kind in ("map", "hist", "stats") and isinstance(data, dict):
                for name, value in data.items():
                    if name not in self.maps:
                        self.maps[name] = MapResult(name, kind, self._keys.get(name, ()), self)
                    self.maps[name].add(now, kind, value)
                return ""
            if kind == "lost_events" and isinstance(data, dict):
                self.lost += int(data.get("events", 0))
                return f"lost {data.get('events')} events\n"
            if kind in ("attached_probes", "pid"):
                return ""
            text = data if isinstance(data, str) else _joined(data)
            text += "" if kind in ("printf", "cat", "join", "syscall", "time") else "\n"
            *lines, self._open = (self._open + text).split("\n")
            self._rows += [(now, line) for line in lines]
            return text

    def end(self) -> None:
        with self.lock:
            if self._open:
                self._rows.append((time.time(), self._open))
                self._open = ""
            self.closed = True

    @property
    def rows(self) -> int:
        return len(self._rows)

    def frame(self) -> pd.DataFrame:
        """Printed lines: ``time`` (when the line came), ``text``, and printf's arguments where they are sure.

        A line has them where exactly one of the program's formats fits it, in one way only.
        """
        with self.lock:
            rows = list(self._rows)
        times = pd.to_datetime([moment for moment, _ in rows], unit="s", utc=True)
        frame = pd.DataFrame({"time": times, "text": pd.Series([text for _, text in rows], dtype="str")})
        fitting = [form for form in self._formats if form.whole]
        values: dict[str, list[Any]] = {name: [None] * len(rows) for form in fitting for name in form.names}
        for number, (_, text) in enumerate(rows):
            found = [(form, cells) for form in fitting if (cells := form.values(text)) is not None]
            if len(found) == 1:
                for name, cell in zip(found[0][0].names, found[0][1], strict=True):
                    values[name][number] = cell
        for name, column in values.items():
            if name not in frame:
                frame[name] = pd.Series(column, dtype="object").convert_dtypes()
        frame.attrs[ATTR] = self.about("printf", "bpftrace printf", len(frame))
        return frame

    def about(self, name: str, kind: str, rows: int) -> dict[str, Any]:
        return describe(name, kind, (self.began, time.time()), rows, {"bpftrace": self.lost}, {})


def _joined(data: Any) -> str:
    if isinstance(data, list):
        return f"({', '.join(map(str, data))})"
    return str(data)
