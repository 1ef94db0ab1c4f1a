"""Which record types a ring or perf buffer carries, and where the counters of what was lost are.

``bpfnb/count.h`` leaves variables in the section ``.data.bpfnb`` of an object, with declaration tags: counters
(``bpfnb.lost``, ``bpfnb.full``), and for each call that sends a record one or two pointers whose targets are the type
of the data that was passed (``bpfnb.data``) and the operand of its ``sizeof`` (``bpfnb.size``). ``bpfnb.map=``,
``bpfnb.size=`` and ``bpfnb.flags=`` hold the expressions as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bpfnb.btf import Array, Btf, Composite, DataSec, Int, Modifier, Pointer, Var

__all__ = ["SECTION", "Call", "Counter", "Event", "calls", "counters_of", "events_of", "map_kinds"]

SECTION = ".data.bpfnb"

# Numbers of enum bpf_map_type.
_PERF, _RING = 4, 27
_STREAMS = (_PERF, _RING)
# Maps in which an update can find no room: hashes of all kinds, tries, and what can be pushed to.
_FILLABLE = (1, 5, 9, 10, 11, 13, 18, 22, 23, 25)


@dataclass(frozen=True, slots=True)
class Event:
    """A record type of a buffer: its id in the object's BTF (0: unknown), size in bytes (None: varies), name."""

    type_id: int
    size: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Counter:
    """A u64 at *offset* of *section* that counts ``"lost"`` records or updates that found a map ``"full"``."""

    section: str
    offset: int
    what: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call that sends a record: the function it is in, expressions as written, and types (0: not told).

    ``data`` is the type of what is passed, ``operand`` that of sizeof's operand in ``size``.
    """

    function: str
    map: str
    size: str
    flags: str
    data: int
    operand: int


def map_kinds(btf: Btf) -> dict[str, int]:
    """The number in enum bpf_map_type of every map in section .maps, by name."""
    kinds = {}
    for name, definition in _definitions(btf):
        for member in definition.members:
            pointer = btf.resolve(member.type)
            if member.name == "type" and isinstance(pointer, Pointer):
                array = btf.resolve(pointer.target)
                if isinstance(array, Array):
                    kinds[name] = array.count
    return kinds


def calls(btf: Btf) -> Iterator[Call]:
    """The calls that send records, in the order of the object's variables."""
    data: tuple[Mapping[str, str], int] | None = None
    for variable, _, tags in _variables(btf):
        target = btf.resolve(variable.type)
        type_id = target.target if isinstance(target, Pointer) else 0
        if "data" in tags:
            data = tags, type_id
        elif "size" in tags:
            # The two variables of one call stand one after the other and have the same expressions.
            passed = data[1] if data and _expressions(data[0]) == _expressions(tags) else 0
            data = None
            function = variable.name.split(".")[0]
            yield Call(function, *_expressions(tags), passed, type_id)


def events_of(btf: Btf, kinds: Mapping[str, int]) -> dict[str, tuple[Event, ...]]:
    """The record types of every ring and perf buffer: the map's own value type first, then those that are sent."""
    found: dict[str, list[Event]] = {name: [] for name, kind in kinds.items() if kind in _STREAMS}
    for name, definition in _definitions(btf):
        if kinds.get(name) == _RING:  # a perf event array's value is a descriptor
            for member in definition.members:
                pointer = btf.resolve(member.type)
                if member.name == "value" and isinstance(pointer, Pointer):
                    _add(btf, found[name], event(btf, pointer.target, btf.size(pointer.target)))
    records = [(call, _record(btf, call)) for call in calls(btf)]
    told = {(call.map, call.size) for call, record in records if record.type_id}
    for call, record in records:
        if not record.type_id and (call.map, call.size) in told:
            continue
        for name in maps_named(call.map, kinds, _STREAMS):
            _add(btf, found[name], record)
    return {name: tuple(records) for name, records in found.items()}


def counters_of(btf: Btf, kinds: Mapping[str, int]) -> dict[str, tuple[Counter, ...]]:
    """The counters of every map that has any."""
    found: dict[str, list[Counter]] = {}
    for _, offset, tags in _variables(btf):
        for what, candidates in (("lost", (_RING,)), ("full", _FILLABLE)):
            if what in tags:
                for name in maps_named(tags.get("map=", ""), kinds, candidates):
                    found.setdefault(name, []).append(Counter(SECTION, offset, what))
    return {name: tuple(counters) for name, counters in found.items()}


def maps_named(expression: str, kinds: Mapping[str, int], candidates: Iterable[int]) -> list[str]:
    """The maps that an expression such as ``&events`` or ``(void *)&events`` can mean.

    One that names no map (a parameter, a look-up in a map of maps) can mean every map of the kinds *candidates*.
    """
    wanted = set(candidates)
    named = [word for word in re.findall(r"[A-Za-z_]\w*", expression) if word in kinds]
    if named:
        return [name for name in dict.fromkeys(named) if kinds[name] in wanted]
    return [name for name, kind in kinds.items() if kind in wanted]


def event(btf: Btf, type_id: int, size: int | None) -> Event:
    """An Event of a type, without the qualifiers around it."""
    while isinstance(found := btf[type_id], Modifier) and found.kind != "typedef":
        type_id = found.target
    return Event(type_id, size, btf.describe(type_id) if type_id else "")


def _record(btf: Btf, call: Call) -> Event:
    """The type and size of one call's records, as far as the call tells."""
    size = None
    # A tail of packet data follows where the upper half of the flags is set; how long it is only run time knows.
    appended = "<<" in call.flags
    if call.operand and _is_sizeof(call.size):
        size = btf.size(call.operand)
    elif re.fullmatch(r"(?:0[xX][\da-fA-F]+|\d+)[uUlL]*", call.size):
        size = int(call.size.rstrip("uUlL"), 0)
    type_id = call.data if _is_record(btf, call.data) else 0
    if call.operand and btf.resolve(call.operand).kind not in ("void", "fwd", "func_proto"):
        # sizeof's operand decides where the two differ: a header of a larger buffer is sent, or a pointer to char.
        # Where they are of one size, what is passed says more (u64 *, against sizeof(u64)).
        same = type_id and btf.size(type_id) == btf.size(call.operand)
        if not same:
            type_id = call.operand
    if type_id and size is None and not call.operand and not isinstance(btf.resolve(type_id), Composite):
        type_id = 0  # a pointer into bytes, with a length that varies
    if call.operand and isinstance(btf.resolve(type_id), Int) and size is None:
        type_id = 0  # n * sizeof(u64)
    return event(btf, type_id, None if appended else size)


def _is_record(btf: Btf, type_id: int) -> bool:
    """Whether a pointer's target describes a record: not void, not characters, not a pointer or function."""
    found = btf.resolve(type_id) if type_id else None
    if isinstance(found, Int):
        return found.size > 1
    return found is not None and found.kind in ("struct", "union", "array", "enum", "enum64", "float")


def _is_sizeof(expression: str) -> bool:
    """Whether an expression is one sizeof and nothing more."""
    rest = re.sub(r"^\s*sizeof\b", "", expression).strip()
    if not re.match(r"\s*sizeof\b", expression):
        return False
    if not rest.startswith("("):
        return not re.search(r"[-+/%<|&^?:,](?!>)|\w\s*\*", rest)
    depth = 0
    for place, character in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return place == len(rest) - 1
    return False


def _add(btf: Btf, events: list[Event], new: Event) -> None:
    """Keep one Event a type; a size that varies wins over a fixed one, a known type over none."""
    for place, old in enumerate(events):
        same = btf.resolve(old.type_id).id == btf.resolve(new.type_id).id
        if same and (old.size == new.size or new.type_id):
            events[place] = Event(old.type_id, old.size if old.size == new.size else None, old.name)
            return
    events.append(new)


def _definitions(btf: Btf) -> Iterator[tuple[str, Composite]]:
    section = btf.get(".maps", "datasec")
    for type_id, _, _ in section.variables if isinstance(section, DataSec) else ():
        variable = btf[type_id]
        assert isinstance(variable, Var)
        definition = btf.resolve(variable.type)
        if isinstance(definition, Composite):
            yield variable.name, definition


def _variables(btf: Btf) -> Iterator[tuple[Var, int, dict[str, str]]]:
    """The variables of .data.bpfnb by offset, each with its tags: ``{"lost": "", "map=": "&events"}`` and so on."""
    section = btf.get(SECTION, "datasec")
    for type_id, offset, _ in sorted(section.variables, key=_offset) if isinstance(section, DataSec) else ():
        variable = btf[type_id]
        assert isinstance(variable, Var)
        tags = {}
        for tag in btf.tags(type_id):
            key, equals, value = tag.removeprefix("bpfnb.").partition("=")
            tags[key + equals] = value
        yield variable, offset, tags


def _offset(variable: tuple[int, int, int]) -> int:
    return variable[1]


def _expressions(tags: Mapping[str, str]) -> tuple[str, str, str]:
    return tags.get("map=", ""), tags.get("size=", ""), tags.get("flags=", "")
