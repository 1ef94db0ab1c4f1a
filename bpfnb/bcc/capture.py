"""What a C library prints to file descriptor 2, as text."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["Captured", "stderr"]


class Captured:
    """``text`` is there once the ``with`` block has ended."""

    text = ""


@contextlib.contextmanager
def stderr() -> Iterator[Captured]:
    """Collects what is written to descriptor 2 in the block, by whatever code, and puts the descriptor back."""
    captured = Captured()
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # closed, as under some service managers: nobody reads it
        yield captured
        return
    memory = os.memfd_create("bpfnb-stderr")
    try:
        os.dup2(memory, 2)
        try:
            yield captured
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            captured.text = os.pread(memory, os.fstat(memory).st_size, 0).decode(errors="replace")
    finally:
        os.close(saved)
        os.close(memory)
