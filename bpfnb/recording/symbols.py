"""Names of addresses as they were when they were recorded, for the flame graphs of a replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from bpfnb.errors import BadRecording
from bpfnb.symbols.frame import Frame
from bpfnb.symbols.symbolizer import WILD, lost

__all__ = ["RecordedSymbols"]

_KERNEL = 0xFF << 56  # as bpfnb.symbols.kallsyms.is_kernel has it
_UPPER = 1 << 63  # from here on files of earlier versions have all addresses as the kernel's
_KINDS: Mapping[str, Any] = {kind: kind for kind in ("kernel", "user", "python", "jit", "unknown")}


class RecordedSymbols:
    """The frames of a recording's ``symbols``. Addresses that it does not name stand as hex."""

    version = 0
    has_lines = False

    def __init__(self, frames: Mapping[tuple[int, int], Sequence[str]]) -> None:
        self._frames = frames

    @classmethod
    def of(cls, table: pa.Table) -> RecordedSymbols:
        """Of :attr:`bpfnb.recording.reader.Recording.symbols`. Raises BadRecording."""
        if not table.num_rows:
            return cls({})
        try:
            return cls({(int(row["pid"]), int(row["address"])): _names(row) for row in table.to_pylist()})
        except (KeyError, TypeError, ValueError) as error:
            raise BadRecording(f"the recorded symbols are damaged: {type(error).__name__} {error}") from None

    def names(
        self,
        stacks: Sequence[Any],
        pids: Sequence[int] | int,
        *,
        order: Literal["root", "leaf"] = "leaf",
        wait: float = 0.0,  # noqa: ARG002  nothing comes late
    ) -> list[list[str]]:
        """As :meth:`bpfnb.symbols.Symbolizer.names`. A pid of -1: it is not known whose a stack is."""
        owners = (
            [int(pids)] * len(stacks) if isinstance(pids, int | np.integer) else [int(pid) for pid in pids]
        )
        out = []
        for stack, pid in zip(stacks, owners, strict=True):
            if isinstance(stack, int | np.integer):
                out.append(lost(int(stack)))
                continue
            words = [] if stack is None else _used(stack)
            words = words[::-1] if order == "leaf" else words
            texts = [name for word in words for name in self._of(word, pid)]
            out.append(
                [t for t, before in zip(texts, ["", *texts], strict=False) if t != WILD or before != WILD]
            )
        return out

    def _of(self, address: int, pid: int) -> Sequence[str]:
        kernel = address >= _KERNEL
        found = None if kernel or pid < 0 else self._frames.get((pid, address))
        if found is None and address >= _UPPER:
            found = self._frames.get((0, address))
        if found is None:
            found = Frame(address, kind="kernel").names if kernel else [f"0x{address:x}"]
        return found


def _names(row: Mapping[str, Any]) -> Sequence[str]:
    line = row.get("line")
    return Frame(
        int(row["address"]),
        _text(row["name"]),
        _text(row.get("module")),
        file=_text(row.get("file")),
        line=None if line is None else int(line),
        kind=_KINDS[row.get("kind") or "unknown"],
        reason=_text(row.get("reason")),
    ).names


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value or None


def _used(stack: Iterable[Any]) -> list[int]:
    words: list[int] = np.asarray(stack, np.uint64).tolist()
    return words[: words.index(0)] if 0 in words else words
