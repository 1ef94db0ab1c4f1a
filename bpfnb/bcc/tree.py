"""Directories of files in the cache: whole or absent, equal ones once, the ones used least dropped."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bpfnb.compile.cache import cache_dir

__all__ = ["home", "place", "write"]

_KEPT = 400  # about 50 KB each


def home() -> Path:
    path = cache_dir() / "bcc"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def write(files: Mapping[str, str]) -> Path:
    content = "\0".join(f"{name}\0{text}" for name, text in sorted(files.items()))
    path = home() / hashlib.sha256(content.encode()).hexdigest()[:32]
    if path.is_dir():
        with contextlib.suppress(OSError):
            os.utime(path)
        return path
    _forget_old(path.parent)
    return place(files, path)


def place(files: Mapping[str, str], path: Path) -> Path:
    """The directory appears whole, by renaming; whoever comes second finds the first one's."""
    part = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
    for name, text in files.items():
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_text(text)
    try:
        part.rename(path)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        if not path.is_dir():
            raise
    return path


def _forget_old(folder: Path) -> None:
    with contextlib.suppress(OSError):
        trees = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for old in trees[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
