"""The addresses of an object's stacks, named while the processes live that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bpfnb.frames.columns import Column
from bpfnb.frames.lane import Columns
from bpfnb.symbols import MACHINE, Frame
from bpfnb.symbols.kallsyms import is_kernel

__all__ = ["PIDS", "Named", "inline_of", "pairs_of"]

PIDS: Final = ("pid", "tgid")
"""Columns that say whose a stack is, the first that there is."""
_MOST: Final = 1 << 20  # addresses
_SCHEMA: Final = pa.schema(
    {
        "pid": pa.int64(),
        "address": pa.uint64(),
        "name": pa.string(),
        "module": pa.string(),
        "offset": pa.uint64(),
        "kind": pa.string(),
        "file": pa.string(),
        "line": pa.int64(),
        "reason": pa.string(),
    }
)


class Named:
    """Frames by process (0: the kernel) and address, each looked up when a stack with it is first seen."""

    def __init__(self, symbols: Any = None) -> None:
        self._symbols = symbols or MACHINE
        self.frames: dict[tuple[int, int], Frame] = {}
        self._seen: set[tuple[int, int, int]] = set()

    def stacks(self, pairs: Iterable[tuple[int, int]], stacks: Mapping[int, npt.NDArray[np.uint64]]) -> None:
        """Name the stacks of *pairs* (pid, stack id), as far as *stacks* has them: leaf first, zeros at the end."""
        by_pid: dict[int, list[npt.NDArray[np.uint64]]] = {}
        for pid, number in pairs:
            stack = stacks.get(number)
            if stack is not None and (key := (pid, number, hash(stack.tobytes()))) not in self._seen:
                self._seen.add(key)
                by_pid.setdefault(pid, []).append(stack)
        for pid, found in by_pid.items():
            self._name(pid, found)

    def inline(self, pid: int, stacks: npt.NDArray[np.uint64]) -> None:
        """Name stacks that stand in records themselves, one a row."""
        fresh = [row for row in stacks if (pid, -1, hash(row.tobytes())) not in self._seen]
        self._seen.update((pid, -1, hash(row.tobytes())) for row in fresh)
        self._name(pid, fresh)

    def _name(self, pid: int, stacks: list[npt.NDArray[np.uint64]]) -> None:
        if len(self.frames) >= _MOST or not stacks:
            return
        words, returns = [], []
        for stack in stacks:
            used = stack[: np.flatnonzero(stack == 0)[0]] if (stack == 0).any() else stack
            words.append(used)
            kernel = is_kernel(used)
            back = np.arange(len(used)) > 0
            back[1:] &= kernel[1:] | ~kernel[:-1]  # where the kernel was entered from is no return address
            returns.append(back)
        flat, back = np.concatenate(words), np.concatenate(returns)
        owners = np.where(is_kernel(flat), 0, pid).tolist()
        keys = list(zip(owners, flat.tolist(), strict=True))
        fresh = [at for at, key in enumerate(keys) if key not in self.frames]
        if fresh:
            found = self._symbols.resolve(flat[fresh], max(pid, 0), returns=back[fresh], wait=0.0)
            for at, frame in zip(fresh, found, strict=True):
                self.frames[keys[at]] = frame

    def table(self) -> pa.Table:
        """All that was named, as a recording has it."""
        rows = [
            {
                "pid": pid,
                "address": address,
                "name": frame.function,
                "module": frame.module,
                "offset": frame.offset,
                "kind": frame.kind,
                "file": frame.file,
                "line": frame.line or frame.start_line,
                "reason": frame.reason,
            }
            for (pid, address), frame in sorted(self.frames.items(), key=lambda item: item[0])
        ]
        return pa.Table.from_pylist(rows, _SCHEMA)


def pairs_of(columns: Iterable[Column], decoded: Columns) -> set[tuple[int, int]]:
    """The different (pid, stack id) of decoded rows; a pid of -1 where nothing says whose they are."""
    ids = [
        c.name for c in columns if c.annotations.format == "stack" and c.kind == "int" and c.name in decoded
    ]
    if not ids:
        return set()
    owner = next((name for name in PIDS if name in decoded), None)
    out: set[tuple[int, int]] = set()
    for name in ids:
        numbers = np.asarray(decoded[name]).astype(np.int64)
        pids = (
            np.full(len(numbers), -1, np.int64)
            if owner is None
            else np.asarray(decoded[owner]).astype(np.int64)
        )
        for pid, number in np.unique(np.stack([pids, numbers], axis=1), axis=0).tolist():
            if number >= 0:
                out.add((pid, number))
    return out


def inline_of(columns: Iterable[Column], decoded: Columns) -> Iterable[tuple[int, npt.NDArray[np.uint64]]]:
    """Of columns that are stacks themselves, the different ones of each process."""
    owner = next((name for name in PIDS if name in decoded), None)
    for column in columns:
        dtype = np.dtype(column.dtype) if column.kind == "list" else None
        if (
            column.annotations.format != "stack"
            or dtype is None
            or dtype.base.itemsize != 8
            or len(dtype.shape) > 1
        ):
            continue
        if column.name not in decoded:
            continue
        flat: Any = decoded[column.name].flatten().to_numpy(zero_copy_only=False).view(np.uint64)
        rows = flat.reshape(-1, *dtype.shape)
        pids = (
            np.full(len(rows), -1, np.int64) if owner is None else np.asarray(decoded[owner]).astype(np.int64)
        )
        for pid in np.unique(pids).tolist():
            yield pid, np.unique(rows[pids == pid], axis=0)
