"""What the verifier and libbpf say when they refuse a program, and what to do about each: a catalogue, as data.

An entry's ``pattern`` is searched for in the verifier's own closing lines, or in libbpf's where there are none; the
first entry that matches is used, so the particular stand before the general. ``title`` ends the sentence "The verifier
refused program 'p': ...". ``remedy`` holds hints, the most useful first; lines of C in them are indented.

In title, explanation and remedy ``$name`` is a named group of the pattern, or one of: ``$program``, ``$section``;
``$made`` (what acquired the thing that is not released, and where); ``$end`` (the sum of ``off`` and ``size``);
``$callee``, ``$argument`` and ``$wanted`` of a call; ``$maptype``; ``$offered`` (program types that have the helper,
found by trying); ``$loop`` (the loop's line).

Wording of the reasons: kernel/bpf/verifier.c from Linux 5.8 to 6.18, where it changed both are in the pattern.
"""

from __future__ import annotations

import re

from bpfnb.kernel.rejection import Rejection
from bpfnb.kernel.rejections_memory import ENTRIES as MEMORY
from bpfnb.kernel.rejections_program import ENTRIES as PROGRAM

__all__ = ["CATALOGUE", "Rejection", "match"]

CATALOGUE: tuple[Rejection, ...] = (*MEMORY, *PROGRAM)


def match(reason: str, origin: str = "") -> tuple[Rejection, re.Match[str]] | None:
    """The catalogue's first entry for *reason* (several lines) and how it matched."""
    for entry in CATALOGUE:
        found = entry.pattern.search(reason)
        if found and (entry.origin is None or entry.origin.search(origin)):
            return entry, found
    return None
