"""A recording's pieces put together when it ends: many small ones become few, and a new file takes the place."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bpfnb.recording.changes import changes
from bpfnb.recording.columns import FIRST, ROW
from bpfnb.recording.container import Container
from bpfnb.recording.parquet import encode
from bpfnb.recording.pieces import integers
from bpfnb.recording.reader import Recording
from bpfnb.recording.tools import SNAPSHOT

__all__ = ["LARGE", "joined", "rewrite", "stated", "tidy"]

LARGE: Final = 1 << 16  # rows of a piece that stays as it is
LONG: Final = 1 << 13  # the same, in a recording whose pieces are more than MUCH
ROWS: Final = 1 << 20  # rows of a merged one
NBYTES: Final = 64 << 20  # of memory that is joined at once
MUCH: Final = 8 << 20  # bytes of pieces, up to which it takes about a second to find what takes least
COMPARED: Final = 64 << 20  # bytes of a folder's snapshots, up to which they become changes
WRITTEN: Final = 16 << 20  # bytes that are written at once
_STATED: Final = re.compile(r"objects/[^/]+/(health|programs|looks|beside/[^/]+@)")


def rewrite(path: Path, replaced: dict[str, bytes]) -> int:
    """Write the recording at *path* anew with its small pieces merged and *replaced* among its entries; its new size.

    The old file stays until the new one is whole and on the disk, and for good where it has no directory: what was
    found without one may not be all.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with Recording(path) as recording:
        if recording.recovered:
            return path.stat().st_size
        container = Container(beside, overwrite=True)
        try:
            folders: dict[str, int] = {}  # and the bytes of their pieces
            for name in recording.entries:
                folder, _, file = name.rpartition("/")
                if file[:1].isdigit() and file.endswith(".parquet"):
                    folders[folder] = folders.get(folder, 0) + recording.entries[name].size
                elif name not in replaced:
                    container.add(name, recording.text(name, 1 << 30))
            small = sum(folders.values()) <= MUCH
            looks, written = _looks(recording), 0
            for folder, size in folders.items():
                names = recording.pieces(folder)
                if folder in looks and len(names) > 1 and size <= COMPARED:
                    made = _changed(recording, names, *looks[folder], small=small)
                else:
                    made = _pieces(recording, names, small=small)
                for number, data in enumerate(made):
                    container.add(f"{folder}/{number:05}.parquet", data)
                    if container.nbytes - written >= WRITTEN:
                        container.commit({})
                        written = container.nbytes
            container.commit(replaced)
            container.close(sync=True)
            beside.replace(path)
        except BaseException:
            container.close()
            beside.unlink(missing_ok=True)
            raise
    return container.nbytes


def tidy(path: Path) -> None:
    """Remove what a process that was killed while it wrote the recording at *path* anew left beside it."""
    with contextlib.suppress(OSError):
        for one in path.parent.iterdir():
            left = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d{{1,10}})", one.name)
            if left and not Path("/proc", left[1]).exists():
                one.unlink(missing_ok=True)


def stated(folder: str) -> bool:
    """Whether a folder has tables of plain types, which need no description of Arrow's."""
    return bool(_STATED.fullmatch(folder))


class _Waiting:
    """Tables that are joined when they are enough."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self._rows = self._nbytes = 0

    def add(self, table: pa.Table) -> None:
        self.tables.append(table)
        self._rows += table.num_rows
        self._nbytes += table.nbytes

    @property
    def enough(self) -> bool:
        return self._rows >= ROWS or self._nbytes >= NBYTES


def _pieces(recording: Recording, names: Sequence[str], *, small: bool) -> Iterator[bytes]:
    waiting = _Waiting()
    folder = names[0].rpartition("/")[0]
    schema = not stated(folder)
    for name in names:
        sheet = recording.sheet(name)
        gathered = "-" in name[len(folder) :]  # of small ones, in haste
        large = sheet.rows >= (LARGE if small else LONG) and not (small and gathered)
        if waiting.tables and (large or waiting.enough):
            yield joined(waiting.tables, small=small, schema=schema)
            waiting = _Waiting()
        if large:
            yield recording.text(name, 1 << 30)
        else:
            waiting.add(sheet.table().replace_schema_metadata(sheet.schema.metadata))
    if waiting.tables:
        yield joined(waiting.tables, small=small, schema=schema)


def _looks(recording: Recording) -> dict[str, tuple[str, npt.NDArray[np.int64]]]:
    """Of the folders of snapshots the column that says which look a row is of, and when the looks were.

    Not of those between whose looks the clock was set back: they stay snapshots.
    """
    found: dict[str, tuple[str, npt.NDArray[np.int64]]] = {}
    for one in recording.objects.values():
        for entry in one.info.maps:
            taken = [snapshot.taken for snapshot in one.snapshots(entry.name)]
            found[one.folder("maps", entry.name)] = "snapshot", np.array(taken, np.int64)
        tables: list[tuple[tuple[str, ...], tuple[str, ...]]]
        tables = [(("beside", name), ("beside", f"{name}@")) for name in one.info.tool.get("beside", ())]
        if not one.info.tool.get("grows", True):
            tables.append((("frame",), ("looks",)))
        for rows, looks in tables:
            times = [integers(table, SNAPSHOT, "looks") for table in one.table(*looks)]
            found[one.folder(*rows)] = SNAPSHOT, np.concatenate([np.empty(0, np.int64), *times])
    return {f: (when, np.unique(at)) for f, (when, at) in found.items() if (np.diff(at) >= 0).all()}


def _changed(
    recording: Recording, names: Sequence[str], when: str, looks: npt.NDArray[np.int64], *, small: bool
) -> Iterator[bytes]:
    """Pieces that are a snapshot each as fewer pieces of changes."""
    waiting = _Waiting()
    begin = 0
    for name in names:
        table = recording.sheet(name).table()
        if waiting.enough:
            until = int(integers(table, when, name)[0])
            there = looks[(begin <= looks) & (looks < until)]
            yield _compact(waiting.tables, when, there, until, small=small)
            waiting, begin = _Waiting(), until
        waiting.add(table)
    yield _compact(waiting.tables, when, looks[begin <= looks], None, small=small)


def _compact(
    tables: Sequence[pa.Table], when: str, looks: npt.NDArray[np.int64], until: int | None, *, small: bool
) -> bytes:
    whole = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().combine_chunks()
    made = changes(whole, when, looks, until)
    return encode(made, small=small and made.nbytes < NBYTES >> 2)


def joined(tables: Sequence[pa.Table], *, small: bool = True, schema: bool = True) -> bytes:
    """Pieces of one folder, in their order, as one."""
    if len(tables) == 1:
        return encode(tables[0], small=small, schema=schema)
    numbers = [_numbers(table) for table in tables]
    bare = [_bare(table) for table in tables]
    whole = pa.concat_tables(bare, promote_options="permissive").unify_dictionaries().combine_chunks()
    if any(one is None for one in numbers):
        return encode(whole, small=small, schema=schema)
    rows: npt.NDArray[np.int64] = np.concatenate(numbers)
    if int(rows[-1]) - int(rows[0]) + 1 == len(rows):
        return encode(whole.replace_schema_metadata({FIRST: str(rows[0])}), small=small)
    return encode(whole.append_column(ROW, pa.array(rows)), small=small)


def _numbers(table: pa.Table) -> Any:
    if ROW in table.schema.names:
        return table.column(ROW).to_numpy()
    first = (table.schema.metadata or {}).get(FIRST)
    return None if first is None else np.arange(int(first), int(first) + table.num_rows)


def _bare(table: pa.Table) -> pa.Table:
    table = table.replace_schema_metadata(None)
    return table.drop_columns([ROW]) if ROW in table.schema.names else table
