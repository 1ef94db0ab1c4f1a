"""Names of functions as their programmers wrote them: C++ (Itanium C++ ABI), Rust's old form and v0 (RFC 2603).

LLVM's demangler does it, by pycxxfilt. What it makes of Rust's old form, which is C++ with a hash behind it and with
escapes such as ``$LT$``, is put right here, as rustc-demangle does it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import pycxxfilt

__all__ = ["demangle"]

_HASH = re.compile(r"::h[0-9a-f]{16}(?: \(\.llvm\.[^)]*\))?$")
_ESCAPE = re.compile(r"\$(SP|BP|RF|LT|GT|LP|RP|C|u[0-9a-f]{1,6})\$|\.\.")
_ESCAPES = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}
_LONGEST = 1 << 16  # letters: no compiler makes such a name, and the time for one is bounded


@lru_cache(maxsize=1 << 16)
def demangle(name: str) -> str:
    """*name* demangled; as it is where it is not mangled, or not rightly."""
    if not name.startswith(("_Z", "_R", "__Z", "___Z")) or len(name) > _LONGEST:
        return name
    try:
        found = pycxxfilt.demangle(name)
    except ValueError:
        return name
    if found is None:
        return name
    plain = _HASH.sub("", found)
    if plain != found:  # an element that begins with an escape has an underscore before it, as C++ names must
        return _ESCAPE.sub(_escape, re.sub(r"(^|::)_(?=\$)", r"\1", plain))
    return found


def _escape(found: re.Match[str]) -> str:
    if found[0] == "..":
        return "::"
    word = found[1]
    if word in _ESCAPES:
        return _ESCAPES[word]
    code = int(word[1:], 16)
    return chr(code) if code < 0x110000 else found[0]
