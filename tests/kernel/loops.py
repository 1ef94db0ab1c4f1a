"""Disks and mounts that tests make for themselves."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from workloads import Worker


@contextlib.contextmanager
def loop_device(folder: Path, megabytes: int = 16) -> Iterator[Path]:
    """A disk of its own: ``/dev/loopN``, whose blocks are all allocated in a file of *folder*."""
    if shutil.which("losetup") is None or not Path("/dev/loop-control").exists():
        pytest.skip("this machine has no loop devices")
    image = folder / "disk"
    image.write_bytes(bytes(megabytes << 20))
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=True)
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def own_mounts(worker: Worker) -> None:
    """What the worker mounts from now on nobody else sees, and it ends with it. Gives it ``mount``."""
    worker.run(
        """
def mount(source, target, kind, flags=0, data=None):
    if libc.mount(*(x.encode() if x is not None else None for x in (source, target, kind)), flags, data):
        raise OSError(ctypes.get_errno(), "mount")
if libc.unshare(0x20000):
    raise OSError(ctypes.get_errno(), "unshare")
mount("none", "/", None, 1 << 18 | 1 << 14)
"""
    )


def make_ext4(disk: Path) -> None:
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0"]
    subprocess.run(["mkfs.ext4", "-q", *options, disk], check=True, capture_output=True)
