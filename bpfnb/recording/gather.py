"""Pieces on their way into a recording's file: small ones are in it at once, and become one when they are many.

Each flush writes what came as pieces of their own, so that a kill takes nothing from what was written. A piece of few
rows costs about a millisecond to read, and a line of the directory that every later flush writes again. So what small
pieces of a folder held is written once more as one piece, ``00000-00255.parquet`` for those with these numbers, and
they leave the directory. Their bytes stay in the file: whoever has it open reads on, and where a directory is cut short
they are found again, which :meth:`bpfnb.recording.reader.Recording.pieces` does not take twice.
"""

from __future__ import annotations

import contextlib
from typing import Final

import pyarrow as pa

from bpfnb.recording.container import Container
from bpfnb.recording.merge import LARGE, joined, stated
from bpfnb.recording.parquet import encode

__all__ = ["Gathered"]

MANY: Final = 256  # small pieces that become one
FEW: Final = (
    1 << 12
)  # rows of a piece that is not small: it is packed well, and would stand in the file twice
NBYTES: Final = 32 << 20  # of memory, for the small pieces of all folders


class Gathered:
    """The pieces of all folders of *container*."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._folders: dict[str, _Folder] = {}

    def put(self, folder: str, table: pa.Table) -> None:
        """Add *table* as the next piece of *folder*."""
        small = self._folders.setdefault(folder, _Folder())
        name = f"{folder}/{small.next:05}.parquet"
        self._container.add(name, encode(table))
        small.next += 1
        if table.num_rows >= FEW:
            self._join(folder)
            return
        small.add(name, table)
        if len(small.names) >= MANY or small.rows >= LARGE:
            self._join(folder)
        while sum(one.nbytes for one in self._folders.values()) > NBYTES:
            self._join(max(self._folders, key=lambda folder: self._folders[folder].nbytes))

    def _join(self, folder: str) -> None:
        small = self._folders[folder]
        with contextlib.suppress(pa.ArrowException):  # what does not fit each other stays as it is
            if len(small.names) > 1:
                last = small.first + len(small.names) - 1
                data = joined(small.tables, small=False, schema=not stated(folder))
                self._container.add(f"{folder}/{small.first:05}-{last:05}.parquet", data)
                for name in small.names:
                    self._container.leave(name)
        small.forget()


class _Folder:
    """The number of a folder's next piece, and its small pieces that wait for each other."""

    def __init__(self) -> None:
        self.next = 0
        self.forget()

    def forget(self) -> None:
        self.first, self.rows, self.nbytes = self.next, 0, 0
        self.names: list[str] = []
        self.tables: list[pa.Table] = []

    def add(self, name: str, table: pa.Table) -> None:
        self.names.append(name)
        self.tables.append(table)
        self.rows += table.num_rows
        self.nbytes += table.nbytes
