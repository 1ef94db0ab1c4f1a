"""What a histogram is to count: found from the names of the columns and from what was asked, before any row is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from bpfnb.errors import UnknownName
from bpfnb.views._buckets import Number
from bpfnb.views.histogram.value import Histogram, Mask

__all__ = ["Asked", "Buckets", "first_of"]

Buckets = str | int | Sequence[Number]


@dataclass(frozen=True)
class Asked:
    """One histogram's question. ``mode`` says how rows become counts:

    - ``values``: each row is one value, that of ``column``;
    - ``slots``: each row is a bucket, its number in ``column`` and its count in ``weight``;
    - ``arrays``: each row holds the counts of all buckets, in ``arrays``.
    """

    mode: Literal["values", "slots", "arrays"]
    column: str
    buckets: Buckets = "log2"
    weight: str | None = None
    arrays: tuple[str, ...] = ()
    by: str | None = None
    others: tuple[str, ...] = ()
    """Columns that tell the rows of arrays apart, where ``by`` does not."""
    first: int = 0
    unit: str | None = None
    name: str = ""

    @classmethod
    def of(
        cls,
        columns: Sequence[str],
        column: str | None = None,
        buckets: Buckets = "log2",
        *,
        by: str | None = None,
        first: int = 0,
        view: Sequence[str] = (),
    ) -> Asked:
        """*view*: the words of a map's VIEW annotation.

        :raises UnknownName: no such column, or none named where there are several.
        """
        if view[:1] == ("hist",) and "linear" in view and buckets == "log2":
            buckets = 1
        if by is not None:
            _known(columns, by)
        families = _arrays(columns)
        if column in families and column not in columns:
            return cls.of_arrays(families[column], columns, buckets, by, first)
        if column is None and {"key", "value"} <= set(columns):
            column = "key"
            return cls("slots", column, buckets, "value", by=by, first=first)
        if column is None and len(families) == 1:
            return cls.of_arrays(next(iter(families.values())), columns, buckets, by, first)
        if column is None:
            slots = [c for c in columns if c in ("slot", "bucket")]
            if "value" not in columns or len(slots) != 1:
                raise UnknownName(
                    "which column is the histogram to count?",
                    hints=[f"the frame has: {', '.join(map(str, columns))}"],
                )
            return cls("slots", slots[0], buckets, "value", by=by, first=first)
        _known(columns, column)
        if view[:1] == ("hist",) and "value" in columns and column != "value":
            return cls("slots", column, buckets, "value", by=by, first=first)
        return cls("values", column, buckets, by=by, first=first, name=column)

    @classmethod
    def of_arrays(
        cls, arrays: Sequence[str], columns: Sequence[str], buckets: Buckets, by: str | None, first: int
    ) -> Asked:
        stem = arrays[0].rpartition(".")[0]
        others = tuple(c for c in columns if c not in arrays and not c.startswith("value"))
        return cls(
            "arrays", stem, buckets, arrays=tuple(arrays), by=by, others=others, first=first, name=stem
        )

    @property
    def columns(self) -> list[str]:
        """The columns that are read, each once."""
        if self.mode == "arrays":
            named = [*self.arrays, *([self.by] if self.by else self.others)]
        else:
            named = [self.column, *([self.weight] if self.weight else []), *([self.by] if self.by else [])]
        return list(dict.fromkeys(named))

    def title(self, source: str) -> str:
        """What the picture of that source is called: ``events: latency``, and a map of slots by its own name."""
        if self.mode == "values":
            return f"{source}: {self.column}" if source else self.column
        return source or self.name

    def count(
        self, frame: pd.DataFrame, keep: Mask | None = None, buckets: Buckets | None = None
    ) -> Histogram:
        """The histogram of all rows of *frame*; *keep*: those that a filter lets through; *buckets*: instead of ours.

        :raises TypeError: values that are no numbers. :raises ValueError: slots that are none.
        """
        buckets = self.buckets if buckets is None else buckets
        labels: Any = None if self.by is None else frame[self.by]
        if self.mode == "values":
            return Histogram.of(
                frame[self.column], buckets, by=labels, keep=keep, unit=self.unit, name=self.name
            )
        if self.mode == "slots":
            slots, counts = frame[self.column].to_numpy(), frame[self.weight].to_numpy()
        else:
            width = len(self.arrays)
            slots = np.tile(np.arange(width), len(frame))
            counts = frame[list(self.arrays)].to_numpy(np.int64).ravel()
            if labels is None and len(frame) > 1 and self.others:
                labels = frame[list(self.others)].astype(str).agg(" ".join, axis=1)
            labels = None if labels is None else np.repeat(np.asarray(labels, dtype=object), width)
            keep = None if keep is None else np.repeat(keep, width)
        return Histogram.from_slots(
            slots, counts, buckets, by=labels, keep=keep, first=self.first, unit=self.unit, name=self.name
        )


def first_of(view: Sequence[str] | None) -> int:
    """The exponent of slot 0 that a VIEW states (``first=-1``), else 0."""
    stated = (word.removeprefix("first=") for word in view or () if word.startswith("first="))
    return int(next(stated, 0))


def _arrays(columns: Sequence[str]) -> dict[str, list[str]]:
    """The families of columns ``x.0``, ``x.1`` ... in order, by their stem."""
    families: dict[str, list[str]] = {}
    for name in columns:
        stem, _, number = name.rpartition(".")
        if stem and number.isdigit() and int(number) == len(families.get(stem, ())):
            families.setdefault(stem, []).append(name)
    return {stem: names for stem, names in families.items() if len(names) > 1}


def _known(columns: Sequence[str], name: str) -> None:
    if name not in columns:
        raise UnknownName.among(list(columns), name, f"the frame has no column '{name}'")
