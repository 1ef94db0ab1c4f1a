"""What is worked out of the same texts and types in every process, kept on disk for the next one."""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bpfnb.compile.cache import identity, load_entry, store_entry

__all__ = ["kept"]


def kept(source: str, maker: Path, make: Callable[[], Any]) -> Any:
    """What *make* gives, or gave for the same *source* (any text that names it): lists, dicts, sets, text, numbers.

    *maker* is the file of *make*'s code: another one's are not taken. The cache is this user's own, and checked.
    """
    key = hashlib.sha256(f"{marshal.version}\0{identity(maker)}\0{source}".encode()).hexdigest()
    entry = load_entry(key)
    if entry is not None:
        return marshal.loads(entry[1])  # noqa: S302  twice as fast as JSON
    made = make()
    store_entry(key, {}, marshal.dumps(made))
    return made
