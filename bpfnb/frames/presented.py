"""A stream as people read it: its rows, each made into another one where it is shown."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy.typing as npt
import pandas as pd

from bpfnb.frames.live import LiveFrame

__all__ = ["Presented"]


@dataclass(frozen=True)
class Presented:
    """*stream* with *present*, which makes of any of its rows as many, with the same index.

    So a view of millions of rows asks for those that it shows, as of the stream itself.
    """

    stream: LiveFrame
    present: Callable[[pd.DataFrame], pd.DataFrame]

    def slice(
        self, start: int, stop: int, columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        """As :meth:`LiveFrame.slice`. With *raw*, columns that the stream has too are as the kernel wrote them."""
        written = self.stream.slice(start, stop, raw=True) if raw else None
        return self._made(self.stream.slice(start, stop), columns, written)

    def take(
        self, wanted: npt.ArrayLike, columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        """As :meth:`LiveFrame.take`."""
        written = self.stream.take(wanted, raw=True) if raw else None
        return self._made(self.stream.take(wanted), columns, written)

    def _made(
        self, rows: pd.DataFrame, columns: Collection[str] | None, written: pd.DataFrame | None
    ) -> pd.DataFrame:
        frame = self.present(rows)
        attrs = {**rows.attrs, **frame.attrs}
        if columns is not None:
            frame = frame[[name for name in frame.columns if name in columns]]
        if written is not None:
            same = [name for name in frame.columns if name in written]
            frame = frame.assign(**{name: written[name].reindex(frame.index) for name in same})
        frame.attrs = attrs
        return frame
