"""What fields and maps mean: units, formats, descriptions and views, as the C of a cell states them.

Meaning comes from typedef names (``ktime_ns_t``) and from BTF declaration tags that begin with ``bpfnb:``,
which the macros of ``bpfnb/annotations.h`` make. A tag says more than a typedef, a field more than its type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bpfnb.btf import Btf, Composite, DeclTag, Enum, Float, Func, FuncProto, Int, Modifier, Pointer, Type, Var
from bpfnb.errors import UnknownName, nearest

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
    "mac": (6,),
    "port": (2, 4),
    "port_be": (2,),  # network byte order -> number
    "errno": (4, 8),
    "syscall": (4, 8),
    "stack": (4, 8),
    "cgroup": (8,),
    "text": (),  # unsigned char[] that holds text
}
"""The formats that FORMAT() takes, with the sizes in bytes that a value may have (none: any)."""

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {"hist": ("log2", "linear", *UNITS), "table": ()}
"""The views that VIEW() takes, each with the words that may follow it."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What is known of one field, type or map beyond its C type. Empty by default (and then false)."""

    unit: str | None = None
    format: str | None = None
    description: str = ""
    hidden: bool = False
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
            self.view or inner.view,
        )

    def to_dict(self) -> dict[str, str | list[str]]:
        """What is stated, as plain JSON-able values (``hidden`` is left out)."""
        pairs = {"unit": self.unit, "format": self.format, "description": self.description}
        stated: dict[str, str | list[str]] = {key: value for key, value in pairs.items() if value}
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
    "mac_t": Annotations(format="mac"),
    "port_t": Annotations(format="port"),
    "port_be_t": Annotations(format="port_be"),
    "errno_t": Annotations(format="errno"),
    "syscall_t": Annotations(format="syscall"),
    "stack_id_t": Annotations(format="stack"),
    "cgroup_id_t": Annotations(format="cgroup"),
}
"""Typedefs of ``bpfnb/annotations.h`` and what they say."""


def parse(tags: Iterable[str], typedefs: Iterable[str] = ()) -> Annotations:
    """What *tags* (``bpfnb:unit=ns``) and the names of *typedefs*, outermost first, say together.

    Foreign tags are ignored. Raises UnknownName for an unknown key, unit, format or view.
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


def check(btf: Btf) -> list[tuple[str, str]]:
    """Every mistake in an object's annotations as (what: ``struct event.ts`` or ``latency``, problem)."""
    problems = []
    for tag in map(btf.__getitem__, btf.ids("decl_tag")):
        assert isinstance(tag, DeclTag)
        if not tag.name.startswith(PREFIX):
            continue
        what, type_id = _declaration(btf, tag)
        try:
            stated = _parse_tag(tag.name.removeprefix(PREFIX))
        except UnknownName as error:
            problems.append((what, " ".join([error.message, *error.hints])))
            continue
        problem = _misfit(btf, stated, type_id)
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
        case "view":
            words = tuple(word.strip() for word in value.split(","))
            options = VIEWS[_known(words[0], VIEWS, "view", "VIEW")]
            for word in words[1:]:
                _known(word, options, f"option of the view {words[0]}", f"VIEW({words[0]}, ...)")
            return Annotations(view=words)
    return Annotations(
        description=_known(key, ("unit", "format", "description", "hidden", "view"), "key", "bpfnb:")
    )


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
    map_definition = isinstance(found, Composite) and any(member.name == "type" for member in found.members)
    if map_definition:
        return ""  # speaks of the map's values, whose type the layout checks again
    if stated.format and sizes and btf.size(found) not in sizes:
        wanted = " or ".join(str(size) for size in sizes)
        actual = f"{btf.describe(type_id)} has {btf.size(found)}"
        return f"FORMAT({stated.format}) is for values of {wanted} bytes; {actual}."
    if stated.unit and not isinstance(found, Int | Float | Enum | Pointer) and found.kind != "array":
        return f"UNIT({stated.unit}) is for numbers; this is {btf.describe(type_id)}."
    return ""
