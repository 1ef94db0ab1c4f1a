"""What fields and maps mean: units, formats, descriptions and views, as the C of a cell states them.

Meaning comes from typedef names (``ktime_ns_t``) and from BTF declaration tags that begin with ``bpfnb:``,
which the macros of ``bpfnb/annotations.h`` make. A tag says more than a typedef, a field more than its type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bpfnb.btf import (
    Btf,
    Composite,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Int,
    Modifier,
    Pointer,
    Type,
    Var,
    fields,
)
from bpfnb.errors import BadValue, UnknownName, nearest

__all__ = [
    "FORMATS",
    "NONE",
    "TYPEDEFS",
    "UNITS",
    "VIEWS",
    "Annotations",
    "check",
    "of",
    "of_type",
    "parse",
    "typedef_chain",
]

PREFIX: Final = "bpfnb:"

UNITS: Final[Mapping[str, str]] = {
    "ns": "nanoseconds",
    "us": "microseconds",
    "ms": "milliseconds",
    "s": "seconds",
    "bytes": "bytes",
    "pages": "memory pages",
    "packets": "network packets",
    "Hz": "per second",
    "percent": "hundredths",
}
"""The units that UNIT() takes."""

FORMATS: Final[Mapping[str, tuple[int, ...]]] = {
    "timestamp": (8,),  # CLOCK_MONOTONIC in ns -> wall-clock time
    "duration": (4, 8),
    "bytes": (1, 2, 4, 8),
    "ipv4": (4,),  # network byte order
    "ipv6": (16,),
    "ip": (16,),  # either family: an IPv4 address as ::ffff:10.0.0.1
    "mac": (6,),
    "port": (2, 4),
    "port_be": (2,),  # network byte order -> number
    "errno": (4, 8),
    "signal": (4, 8),
    "syscall": (4, 8),
    "stack": (4, 8),
    "cgroup": (8,),
    "text": (),  # unsigned char[] that holds text
}
"""The formats that FORMAT() takes, with the sizes in bytes that a value may have (none: any)."""

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "hist": ("log2", "linear", "column=", "by=", "first=", *UNITS),
    "heatmap": ("log2", "linear", "column=", "weight=", "first=", *UNITS),
    "table": (),
    "timeseries": (
        *("rate", "gauge", "count", "sum", "mean", "max", "p50", "p90", "p99"),
        *("column=", "by=", *UNITS),
    ),
    "servicemap": ("source=", "target=", "rate=", "nbytes=", "errors=", "latency=", "weight="),
    "flamegraph": ("icicle", "flame", "stack=", "stacks=", "weight=", "by=", "pid=", *UNITS),
    "waterfall": (
        *("start=", "end=", "duration=", "id=", "parent=", "name=", "trace="),
        *("service=", "status=", "kind=", "lane="),
    ),
}
"""The views that VIEW() takes, each with the words that may follow it. One that ends in ``=`` takes a column's name,
``stacks=`` the name of the map that holds the stacks, ``first=`` the exponent of slot 0 where slots are powers of
two."""

KEYS: Final = ("unit", "format", "description", "hidden", "sensitive", "range", "view")


@dataclass(frozen=True, slots=True)
class Annotations:
    """What is known of one field, type or map beyond its C type. Empty by default (and then false)."""

    unit: str | None = None
    format: str | None = None
    description: str = ""
    hidden: bool = False
    sensitive: bool = False
    """Left out of recordings unless asked for."""
    range: tuple[int | float, int | float] | None = None
    view: tuple[str, ...] | None = None

    def __bool__(self) -> bool:
        return self != NONE

    def over(self, inner: Annotations) -> Annotations:
        """These, filled up with what only *inner* (the field's type, the array's element) says."""
        return Annotations(
            self.unit or inner.unit,
            self.format or inner.format,
            self.description or inner.description,
            self.hidden or inner.hidden,
            self.sensitive or inner.sensitive,
            self.range or inner.range,
            self.view or inner.view,
        )

    def inherited(self) -> Annotations:
        """What holds for every field of a struct because it holds for the struct."""
        return Annotations(hidden=self.hidden, sensitive=self.sensitive)

    def to_dict(self) -> dict[str, str | bool | list[str]]:
        """What is stated, as plain JSON-able values (``hidden`` and ``range`` are left out)."""
        pairs = {"unit": self.unit, "format": self.format, "description": self.description}
        stated: dict[str, str | bool | list[str]] = {key: value for key, value in pairs.items() if value}
        if self.sensitive:
            stated["sensitive"] = True
        if self.view:
            stated["view"] = list(self.view)
        return stated


NONE: Final = Annotations()

TYPEDEFS: Final[Mapping[str, Annotations]] = {
    "ktime_ns_t": Annotations(unit="ns", format="timestamp"),
    "ns_t": Annotations(unit="ns", format="duration"),
    "us_t": Annotations(unit="us", format="duration"),
    "ms_t": Annotations(unit="ms", format="duration"),
    "s_t": Annotations(unit="s", format="duration"),
    "bytes_t": Annotations(unit="bytes", format="bytes"),
    "ipv4_t": Annotations(format="ipv4"),
    "ipv6_t": Annotations(format="ipv6"),
    "ip_t": Annotations(format="ip"),
    "mac_t": Annotations(format="mac"),
    "port_t": Annotations(format="port"),
    "port_be_t": Annotations(format="port_be"),
    "errno_t": Annotations(format="errno"),
    "signal_t": Annotations(format="signal"),
    "syscall_t": Annotations(format="syscall"),
    "stack_id_t": Annotations(format="stack"),
    "cgroup_id_t": Annotations(format="cgroup"),
}
"""Typedefs of ``bpfnb/annotations.h`` and what they say."""


def parse(tags: Iterable[str], typedefs: Iterable[str] = ()) -> Annotations:
    """What *tags* (``bpfnb:unit=ns``) and the names of *typedefs*, outermost first, say together.

    Foreign tags are ignored. Raises UnknownName for an unknown key, unit, format or view, BadValue for a wrong range.
    """
    stated = NONE
    for tag in tags:
        if tag.startswith(PREFIX):
            stated = stated.over(_parse_tag(tag.removeprefix(PREFIX)))
    for name in typedefs:
        stated = stated.over(TYPEDEFS.get(name, NONE))
    return stated


def of(btf: Btf, type_id: int, component: int = -1) -> Annotations:
    """What the tags of one declaration say: a variable, map, typedef, or a struct's member *component*."""
    tags = btf.tags(type_id, component)
    return parse(tags) if tags else NONE


def of_type(btf: Btf, type_id: int) -> Annotations:
    """What a type says by its typedefs: their names, and the tags on them and on the struct at their end."""
    chain, found = typedef_chain(btf, type_id)
    stated = NONE
    for typedef in chain:
        stated = stated.over(of(btf, typedef.id)).over(TYPEDEFS.get(typedef.name, NONE))
    return stated.over(of(btf, found.id))


def typedef_chain(btf: Btf, type_id: int) -> tuple[list[Type], Type]:
    """The typedefs over a type, outermost first, and the type under all modifiers."""
    chain: list[Type] = []
    found = btf[type_id]
    while isinstance(found, Modifier):
        if found.kind == "typedef":
            chain.append(found)
        found = btf[found.target]
    return chain, found


def check(btf: Btf, records: Mapping[str, Sequence[int]] | None = None) -> list[tuple[str, str]]:
    """Every mistake in an object's annotations as (what: ``struct event.ts`` or ``latency``, problem).

    *records* has the types of the records in each ring and perf buffer, for the columns that their views name.
    """
    problems = []
    for tag in map(btf.__getitem__, btf.ids("decl_tag")):
        assert isinstance(tag, DeclTag)
        if not tag.name.startswith(PREFIX):
            continue
        what, type_id = _declaration(btf, tag)
        try:
            stated = _parse_tag(tag.name.removeprefix(PREFIX))
            problem = _misfit(btf, stated, type_id) or _no_column(
                btf, stated.view or (), type_id, (records or {}).get(what)
            )
        except (UnknownName, BadValue) as error:
            problem = " ".join([error.message, *error.hints])
        if problem:
            problems.append((what, problem))
    return problems


def _parse_tag(text: str) -> Annotations:
    key, _, value = text.partition("=")
    value = value.strip()
    match key:
        case "unit":
            return Annotations(unit=_known(value, UNITS, "unit", "UNIT"))
        case "format":
            return Annotations(format=_known(value, FORMATS, "format", "FORMAT"))
        case "description":
            return Annotations(description=value)
        case "hidden":
            return Annotations(hidden=True)
        case "sensitive":
            return Annotations(sensitive=True)
        case "range":
            return Annotations(range=_range(value))
        case "view":
            words = tuple("=".join(map(str.strip, word.split("=", 1))) for word in value.split(","))
            options = VIEWS[_known(words[0], VIEWS, "view", "VIEW")]
            for word in words[1:]:
                key, equals, column = word.partition("=")
                _known(key + equals, options, f"option of the view {words[0]}", f"VIEW({words[0]}, ...)")
                if equals and not column:
                    raise BadValue(f"VIEW({words[0]}, ...): {key}= names no column.")
                if key == "first" and not re.fullmatch(r"-?\d+", column):
                    raise BadValue(f"VIEW({words[0]}, ...): first= takes a whole number, not {column}.")
            return Annotations(view=words)
    return Annotations(description=_known(key, KEYS, "key", "bpfnb:"))


def _range(text: str) -> tuple[int | float, int | float]:
    bounds = [_number(word) for word in text.split(",")]
    match bounds:
        case [int() | float() as low, int() | float() as high] if low < high:
            return low, high
    raise BadValue(f"RANGE takes two numbers, the smaller first, not ({text}).")


def _number(text: str) -> int | float | None:
    """A number as C writes it: 10, 0x10, 10ULL, -1.5, 1e6."""
    text = text.strip()
    for kind in (lambda t: int(t.rstrip("uUlL"), 0), float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _known(word: str, known: Iterable[str], what: str, macro: str) -> str:
    names = list(known)
    if word in names:
        return word
    near = nearest(word, names, 1) or [name for name in names if name.lower() == word.lower()]
    raise UnknownName(
        f"{macro} knows no {what} {word!r}.",
        hints=[f"Did you mean {near[0]}?"]
        if near
        else [f"It knows {', '.join(names)}." if names else "It takes none."],
    )


def _declaration(btf: Btf, tag: DeclTag) -> tuple[str, int]:
    """What a tag stands on, as a person names it, and the id of its type."""
    target = btf[tag.target]
    if isinstance(target, Composite) and tag.component >= 0:
        member = target.members[tag.component]
        return f"{btf.describe(target)}.{member.name}", member.type
    if isinstance(target, Func) and tag.component >= 0:
        proto = btf[target.proto]
        assert isinstance(proto, FuncProto)
        name, type_id = proto.params[tag.component]
        return f"{target.name}({name})", type_id
    if isinstance(target, Var):
        return target.name, target.type
    return btf.describe(target) if not isinstance(target, Func) else target.name, target.id


def _misfit(btf: Btf, stated: Annotations, type_id: int) -> str:
    """Why an annotation cannot hold for values of this type, or an empty string."""
    found = btf.resolve(type_id)
    sizes = FORMATS.get(stated.format or "", ())
    while stated.format and found.kind == "array" and btf.size(found) not in sizes:
        found = btf.resolve(found.element)  # type: ignore[attr-defined]
    if _map_sides(btf, found) is not None:
        return ""  # speaks of the map's values, whose type the layout checks again
    if stated.format and sizes and btf.size(found) not in sizes:
        wanted = " or ".join(str(size) for size in sizes)
        actual = f"{btf.describe(type_id)} has {btf.size(found)}"
        return f"FORMAT({stated.format}) is for values of {wanted} bytes; {actual}."
    if stated.range:
        return _out_of_type(btf, stated.range, found, type_id)
    if stated.unit and not isinstance(found, Int | Float | Enum | Pointer) and found.kind != "array":
        return f"UNIT({stated.unit}) is for numbers; this is {btf.describe(type_id)}."
    return ""


def _out_of_type(btf: Btf, bounds: tuple[int | float, int | float], found: Type, type_id: int) -> str:
    """Why a variable cannot have every value of a range, or an empty string."""
    said = f"RANGE({bounds[0]}, {bounds[1]})"
    if isinstance(found, Float):
        return ""
    if not isinstance(found, Int) or found.bool:
        return f"{said} is for numbers; this is {btf.describe(type_id)}."
    if any(isinstance(bound, float) for bound in bounds):
        return f"{said} has a fraction; {btf.describe(type_id)} is a whole number."
    low = -(1 << 8 * found.size - 1) if found.signed else 0
    if bounds[0] < low or bounds[1] >= low + (1 << 8 * found.size):
        return f"{said} is more than {btf.describe(type_id)} holds."
    return ""


# The columns that a VIEW names


def _map_sides(btf: Btf, found: Type) -> dict[str, int] | None:
    """The types of a map's key and value by ``key`` and ``value`` (where declared); None for what defines no map."""
    if not isinstance(found, Composite) or not any(member.name == "type" for member in found.members):
        return None
    pointers = {m.name: btf.resolve(m.type) for m in found.members if m.name in ("key", "value")}
    return {name: pointer.target for name, pointer in pointers.items() if isinstance(pointer, Pointer)}


def _no_column(btf: Btf, view: Sequence[str], type_id: int, records: Sequence[int] | None) -> str:
    """Which column of a VIEW its map or stream does not have, or an empty string. Unknown records have any."""
    named = [word.partition("=") for word in view if "=" in word]
    maps = [name for word, _, name in named if word == "stacks"]
    wanted = [name for word, _, name in named if word not in ("stacks", "first")]
    for name in maps:
        if btf.get(name, "var") is None:
            return f"VIEW({view[0]}, ...) names the map {name!r}, which is not there."
    sides = _map_sides(btf, btf.resolve(type_id))
    if records and view[:1] in (("hist",), ("heatmap",)) and not any(w.startswith("column=") for w in view):
        one = next(iter(_names(btf, records[0])), "name")
        return f"VIEW({view[0]}) of a stream says of which column: VIEW({view[0]}, column={one})."
    if not wanted or (records is None and sides is None):
        return ""
    found = dict.fromkeys(name for record in records for name in _names(btf, record)) if records else {}
    if records is None:
        assert sides is not None
        names = {side: _names(btf, type_id) or [side] for side, type_id in sides.items()}
        both = set(names.get("key", ())) & set(names.get("value", ()))
        found = dict.fromkeys(
            f"{side}_{name}" if name in both else name for side in names for name in names[side]
        )
    for column in wanted:
        if not found:
            return ""
        if column.split(".")[0] not in found:
            near = nearest(column, list(found), 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(found)}."
            return f"VIEW({view[0]}, ...) names the column {column!r}, which is not there. {hint}"
    return ""


def _names(btf: Btf, type_id: int) -> list[str]:
    """The fields of a struct; nothing for other types."""
    return [member.name for member in fields(btf, type_id)]
