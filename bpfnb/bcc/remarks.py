"""What there is to remark on a program in bcc's dialect that does compile: what it will do otherwise than meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from bpfnb.bcc.dialect import functions
from bpfnb.bcc.object import Place
from bpfnb.bcc.scan import scan
from bpfnb.compile.source import Source
from bpfnb.errors import Diagnostic, Location
from bpfnb.kernel.backend import MapInfo
from bpfnb.kernel.binaries import Binary, find_binary

__all__ = ["remarks"]

_NO_NEW_KEYS = frozenset({"percpu_hash", "lru_hash", "lru_percpu_hash"})
_UPROBE = re.compile(r"u(?:ret)?probe/([^:]+):(\w+)$")


def remarks(
    source: Source, places: Sequence[Place], without: Sequence[str], tables: Mapping[str, MapInfo]
) -> Iterator[Diagnostic]:
    """Warnings on functions at *places*, functions *without* one, and uses of *tables*."""
    for function in without:
        yield Diagnostic("warning", _remedy(function, places, tables), _line(source, function))
    for place in places:
        if message := _indirect(place.section):
            yield Diagnostic("warning", message, _line(source, place.function))
    yield from _idle_increments(source, tables)


def _remedy(function: str, places: Sequence[Place], tables: Mapping[str, MapInfo]) -> str:
    message = f"'{function}' is attached nowhere: its name says no place; --attach {function}=SECTION does"
    if places and any(info.kind == "prog_array" for info in tables.values()):
        kind = places[0].section.partition("/")[0]
        message += f". For a BPF_PROG_ARRAY --attach {function}={kind} loads it"
    return message


def _indirect(section: str) -> str | None:
    """A uprobe on an indirect function is on the code that chooses one, which runs once a process."""
    match = _UPROBE.match(section)
    path = match and find_binary(match[1])
    if not match or not path:
        return None
    try:
        binary = Binary(path)
    except (OSError, ValueError):
        return None
    if not binary.indirect(match[2]):
        return None
    return (
        f"{match[2]} in {path.name} is an indirect function (IFUNC): the probe is on the code that chooses the variant "
        "for this CPU, which runs once a process; calls of the variant are not seen"
    )


def _idle_increments(source: Source, tables: Mapping[str, MapInfo]) -> Iterator[Diagnostic]:
    """bcc's increment() makes a new key in plain hashes only (its b_frontend_action.cc), and says nothing of others."""
    code = scan(source.text).code
    for name, info in tables.items():
        use = re.search(rf"\b{re.escape(name)}\s*\.\s*(?:atomic_)?increment\s*\(", code)
        if use and info.kind in _NO_NEW_KEYS:
            message = (
                f"{name}.increment() does nothing for a key that is not there yet: bcc makes new ones in a BPF_HASH "
                f"only. {name}.lookup_or_try_init(&key, &zero) makes one in a {info.kind}"
            )
            yield Diagnostic("warning", message, Location(source.name, code.count("\n", 0, use.start()) + 1))


def _line(source: Source, function: str) -> Location | None:
    known = functions(source.text).get(function)
    return Location(source.name, known.line) if known else None
