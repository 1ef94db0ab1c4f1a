"""Names of kernel headers that are misspelt. Every header of the kernel's is an empty file here, so none is missing.

BTF does not say which headers a kernel has. ``headers.txt`` names the usual ones; a name that is not among them and one
letter away from one that is (changed, left out, too many, or two exchanged) is a slip. Of the 2,096 headers of Linux
6.1 that the list leaves out none is that near to one of those in it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from bpfnb.bcc.headers import Program
from bpfnb.bcc.scan import Text

__all__ = ["misspelt"]

_LETTERS = string.ascii_lowercase + string.digits + "_-"


def misspelt(text: Text, program: Program) -> Iterator[tuple[str, str, int]]:
    """(name, the name that was meant, 1-based line) of each ``#include`` of a header that is nowhere."""
    for name in text.includes:
        if name in _known() or any((folder / name).is_file() for folder in program.folders):
            continue
        if meant := sorted(_near(name) & _known()):
            match = re.search(rf'^[ \t]*#[ \t]*include[ \t]*[<"]{re.escape(name)}', text.source.code, re.M)
            yield name, meant[0], text.source.code.count("\n", 0, match.start()) + 1 if match else 1


@cache
def _known() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("headers.txt").read_text().split())


def _near(name: str) -> set[str]:
    folder, _, file = name.rpartition("/")
    word = file.removesuffix(".h")
    found = set()
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        found |= {head + letter + tail for letter in _LETTERS}
        found |= {head + letter + tail[1:] for letter in _LETTERS}
        found |= {head + tail[1:], head + tail[1:2] + tail[:1] + tail[2:]}
    return {f"{folder}/{one}.h" for one in found}
