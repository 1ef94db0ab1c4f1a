"""What a frame's name says of where its code comes from.

Suffixes as in Brendan Gregg's tools: ``_[k]`` the kernel's, ``_[i]`` inlined, ``_[j]`` compiled at run time. Without
one, the forms that runtimes give their functions in /tmp/perf-PID.map tell: ``py::f:/x.py`` (CPython),
``LazyCompile:*f`` (Node), ``Lorg/acme/A;::b`` (perf-map-agent).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["KERNEL", "ORIGINS", "Names", "marked", "matcher", "origins"]

ORIGINS = ("kernel", "user", "interpreter", "unknown")
KERNEL = "_[k]"

_SUFFIX = re.compile(r"_\[[a-z]\]$")
_INTERPRETER = re.compile(
    r"_\[j\]$|^(py|rb|php|lua|perl)::|\.(py|rb|js|php|lua)(:\d+|\b)|^(\w*Compile|JS|Function|Eval|Script|Builtin|Stub):"
    r"|^L?[a-zA-Z_$][\w$]*(/[\w$]+)+;?::"
)
_UNKNOWN = re.compile(r"^(\[.*\]|\(?unknown\)?|-+|0x[0-9a-f]+)$", re.IGNORECASE)


class Names(dict[str, int]):
    """A dictionary of frame names: each has a number, in order of first use, for ever. Looking one up takes it up."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def __missing__(self, name: str) -> int:
        self.all.append(name)
        code = self[name] = len(self.all) - 1
        return code

    def codes(self, names: Iterable[str]) -> npt.NDArray[np.int32]:
        """The numbers of *names*; new ones are taken up."""
        return np.fromiter(map(self.__getitem__, names), np.int32)


def marked(name: str, suffix: str) -> str:
    """*name* with *suffix*, unless it has one of its own or says that nothing is known."""
    return name if not suffix or _SUFFIX.search(name) or name.startswith("[") else name + suffix


def origins(names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """The place in :data:`ORIGINS` of each name."""
    return np.fromiter(map(_origin, names), np.uint8, len(names))


def _origin(name: str) -> int:
    if name.endswith(KERNEL):
        return 0
    if _UNKNOWN.match(name):
        return 3
    return 2 if _INTERPRETER.search(name) else 1


def matcher(query: str) -> re.Pattern[str]:
    """What to search names with: text in any case of letters, or ``/expression/`` with ``i`` behind it for any case.

    Raises re.error where the expression is none.
    """
    found = re.fullmatch(r"/(.*)/(i?)", query, re.DOTALL)
    if found:
        return re.compile(found[1], re.IGNORECASE if found[2] else 0)
    return re.compile(re.escape(query), re.IGNORECASE)
