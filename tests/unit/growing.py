"""A stream without a kernel: rows are appended, the oldest can go, and events can be lost."""

from __future__ import annotations

import pandas as pd

from bpfnb.views.source import Source


class Growing(Source):
    kind = "stream"

    def __init__(self, frame: pd.DataFrame) -> None:
        super().__init__(frame.reset_index(drop=True), "rows", ("growing", id(self)))
        self.first = 0
        self.losses = 0
        self.ended = False

    def append(self, frame: pd.DataFrame) -> None:
        attrs = self.data.attrs
        self.data = pd.concat([self.data, frame], ignore_index=True)
        self.data.attrs = attrs

    @property
    def live(self) -> bool:
        return not self.ended

    @property
    def closed(self) -> bool:
        return self.ended

    def version(self) -> object:
        return (self.first, len(self.data), self.losses, self.ended)

    def lost(self) -> dict[str, int]:
        return {"ring": self.losses} if self.losses else {}

    def span(self) -> tuple[int, int]:
        return self.first, len(self.data)

    def rows(self, start, stop, columns=None, *, raw=False):
        return super().rows(max(start, self.first), stop, columns)
