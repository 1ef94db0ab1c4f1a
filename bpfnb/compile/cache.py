"""The cache directory: objects by content, kernel headers by BTF, and how files get there whole.

Several notebooks use the directory at once, so a file appears by rename only and a reader never sees half of one.
Whatever cannot be read back is treated as absent.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["MAX_BYTES", "cache_dir", "identity", "load_entry", "replace", "store_entry", "trim"]

MAX_BYTES = 256 << 20
"""Objects beyond this many bytes are dropped, the least recently used first."""

_MAGIC = b"bpfnb-object-1\n"


def cache_dir() -> Path:
    """``$BPFNB_CACHE``, else ``$XDG_CACHE_HOME/bpfnb``, else ``~/.cache/bpfnb``; created where it is absent.

    What lies there is loaded into the kernel and into this process, so a directory that another user could write to
    is passed over: under ``sudo -E`` the invoking user's, for root's own. A home that cannot be written (a service
    account's, a container's) gives a private directory under the system's temporary one.
    """
    if chosen := os.environ.get("BPFNB_CACHE"):
        path = Path(chosen).expanduser().absolute()
    elif base := os.environ.get("XDG_CACHE_HOME"):
        path = Path(base) / "bpfnb"
    else:
        path = Path("~/.cache/bpfnb").expanduser()
    for candidate in (path, _home() / ".cache/bpfnb"):
        with contextlib.suppress(OSError):
            if _ours_alone(candidate):
                candidate.mkdir(parents=True, exist_ok=True, mode=0o700)
                if os.access(candidate, os.W_OK):
                    return candidate
    return _private_fallback()


def _home() -> Path:
    """This user's home by the password database, which no environment variable changes."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/nonexistent")


@functools.lru_cache(maxsize=16)  # asked several times in each load
def _ours_alone(path: Path) -> bool:
    """Whether nobody but this user and root could put a file at *path* or move a directory above it."""
    resolved = path.resolve()
    for folder in (resolved, *resolved.parents):
        try:
            status = folder.stat()
        except FileNotFoundError:
            continue  # its parents decide who may create it
        shared = status.st_mode & stat.S_IWOTH or (
            status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid())
        )
        if status.st_uid not in (0, os.geteuid()) or (shared and not status.st_mode & stat.S_ISVTX):
            return False
    return True


def _private_fallback() -> Path:
    # Others can write to the temporary directory: use the name only if it is ours and ours alone.
    path = Path(tempfile.gettempdir()) / f"bpfnb-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if not path.is_dir() or path.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="bpfnb-"))
    return path


@contextlib.contextmanager
def replace(path: Path) -> Iterator[Path]:
    """A temporary file beside *path* to write to; it becomes *path* at the end, unless an error was raised."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    os.close(fd)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def identity(path: Path) -> str:
    """What tells one version of a system's file from another without reading it: path, size and mtime.

    In whole seconds: layers of container images keep no more.
    """
    try:
        status = path.stat()
    except OSError:
        return f"{path}:absent"
    return f"{path}:{status.st_size}:{int(status.st_mtime)}"


def load_entry(key: str) -> tuple[dict[str, Any], bytes] | None:
    """The (description, object) stored under *key*; ``None`` where there is none or it is damaged."""
    path = _entry(key)
    try:
        content = path.read_bytes()
        magic, digest, head, data = content.split(b"\n", 3)
        if magic + b"\n" != _MAGIC or hashlib.sha256(head + b"\n" + data).hexdigest().encode() != digest:
            return None
        description = json.loads(head)
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return description, data


def store_entry(key: str, description: dict[str, Any], data: bytes) -> None:
    """Keep an object. A cache that cannot be written costs time, not correctness, so failures are silent."""
    head = json.dumps(description, separators=(",", ":")).encode()
    digest = hashlib.sha256(head + b"\n" + data).hexdigest().encode()
    path = _entry(key)
    with contextlib.suppress(OSError):
        with replace(path) as temporary:
            temporary.write_bytes(_MAGIC + digest + b"\n" + head + b"\n" + data)
        trim(path.parent, MAX_BYTES)


def trim(directory: Path, limit: int) -> None:
    """Remove the files of *directory* that were used longest ago, until the rest fit in *limit* bytes."""
    files = []
    for entry in os.scandir(directory):
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            files.append((status.st_mtime_ns, status.st_size, entry.path))
    total = sum(size for _, size, _ in files)
    for _, size, name in sorted(files):
        if total <= limit:
            return
        Path(name).unlink(missing_ok=True)
        total -= size


def _entry(key: str) -> Path:
    return cache_dir() / "objects" / key
