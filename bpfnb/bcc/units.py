"""Typedefs that say what a field means (``ns_t``, ``ipv4_t``: ``bpfnb/annotations.h``), for programs in bcc's dialect.

A program that names one and does not define it gets the definition. The names stand in the program's BTF, from where
frames take units and formats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, reduce
from operator import or_

from bpfnb.annotations import TYPEDEFS
from bpfnb.bcc.scan import Text
from bpfnb.compile.headers import INCLUDE

__all__ = ["plain", "typedefs"]

_SHORT = {
    f"unsigned {name}": f"u{bits}"
    for name, bits in {"char": 8, "short": 16, "int": 32, "long long": 64}.items()
}


@cache
def _meanings() -> Mapping[str, tuple[str, str]]:
    """The C type behind each typedef, and the bounds where it is an array: ``("unsigned char", "[16]")``."""
    text = (INCLUDE / "bpfnb/annotations.h").read_text()
    found = re.findall(r"^typedef ([\w ]+?) (\w+)((?:\[\d+\])?);$", text, re.M)
    return {name: (meaning, bounds) for meaning, name, bounds in found if name in TYPEDEFS}


def typedefs(texts: Sequence[Text]) -> str:
    """C, on one line, that defines what *texts*, a program and its own headers, name and do not define."""
    words = frozenset().union(*(text.words for text in texts))
    own = reduce(or_, (text.definitions for text in texts))
    wanted = words.intersection(_meanings()) - own.names - own.macros
    lines = [f"typedef {_meanings()[name][0]} {name}{_meanings()[name][1]};" for name in sorted(wanted)]
    return " ".join(lines) + "\n" if lines else ""


def plain(field: str) -> str:
    """A field as bcc describes it (``ts#ktime_ns_t``) with the type that bcc's Python knows (``ts#u64``)."""
    name, _, kind = field.partition("#")
    if kind not in _meanings():
        return field
    meaning, bounds = _meanings()[kind]
    return f"{name}#{_SHORT.get(meaning, meaning)}{bounds}"
