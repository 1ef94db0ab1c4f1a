"""oomkill on the live kernel: a process in a cgroup of 20 MB that wants more is the one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from workloads import left_over, object_ids

from bpfnb import tools

LIMIT = 20 << 20


@contextmanager
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of LIMIT bytes, of v2 or, where that has no memory controller, of v1."""
    places = [
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ]
    for root, limit in places:
        if not root.is_dir():
            continue
        path = (
            Path(tempfile.mkdtemp(prefix="bpfnb-test-", dir=root))
            if os.access(root / "cgroup.procs", os.W_OK)
            else None
        )
        if path is None:
            continue
        try:
            if (path / limit).exists():
                (path / limit).write_text(str(LIMIT))
                yield path
                return
        finally:
            path.rmdir()
    pytest.skip("no memory controller")


def test_the_victim_is_the_one_that_took_too_much():
    code = "data = []\nwhile True: data.append(bytearray(b'x') * (1 << 20))"
    with small_cgroup() as group, tools.oomkill() as kills:
        held = object_ids(kills.object.loaded)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )
        assert process.wait() == -signal.SIGKILL
        assert kills.wait(1, 30)
        frame = kills.df.loc[lambda frame: frame["tpid"] == process.pid]
    row = frame.iloc[0]
    assert len(frame) == 1
    assert (row["fpid"], row["fcomm"], row["uid"]) == (process.pid, row["tcomm"], os.getuid())
    assert row["tcomm"].startswith("python")
    pages = LIMIT // os.sysconf("SC_PAGE_SIZE")
    assert pages / 2 < row["anon_rss"] <= pages
    assert row["total_vm"] > row["anon_rss"] + row["file_rss"]
    assert left_over(held) == {}
