"""What the user names is what is recorded: objects, tools, and either by the names of live objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bpfnb.errors import BadValue, BpfnbError, UnknownName
from bpfnb.frames.columns import clock_offset
from bpfnb.object import BpfObject, objects
from bpfnb.recording.host import guest_of, host
from bpfnb.recording.recorder import Recorder, recorders
from bpfnb.recording.redaction import Redaction
from bpfnb.recording.sources import ObjectSource, Source, ToolSource
from bpfnb.tools.tool import Tool

__all__ = ["begin", "record"]

MAX_BYTES: Final = 1 << 30
_LEAST: Final = 1 << 16
LIMITS: Final[Mapping[str, Any]] = MappingProxyType(
    {"max_bytes": MAX_BYTES, "max_seconds": None, "rotate": None, "flush": 1.0}
)


def record(
    what: BpfObject | Tool | str | Iterable[BpfObject | Tool | str],
    path: str | Path,
    *,
    redact: Sequence[str] = (),
    include: Sequence[str] = (),
    redact_key: bytes | None = None,
    max_bytes: int = MAX_BYTES,
    max_seconds: float | None = None,
    rotate: int | None = None,
    flush: float = 1.0,
    facts: Sequence[str] = (),
    overwrite: bool = False,
) -> Recorder:
    """Record an object, a tool, or several, by themselves or by the names of live objects, to the file *path*.

    It begins at once with what they hold already, and goes on until :meth:`Recorder.stop`, the end of all that is
    recorded, or a limit: *max_bytes* of the file, or *max_seconds*. With *rotate* a full file becomes
    ``NAME.1.SUFFIX``, that one ``NAME.2.SUFFIX`` and so on up to so many, the oldest is removed, and recording goes on.

    *flush*: seconds after which what came is in the file, at the latest. *redact*: ``COLUMN=drop|hash|mask`` each, and
    *include* names columns that are left out unasked (command lines, payloads, what is marked SENSITIVE); hashes take
    *redact_key*, else a key that is forgotten. *facts* of the machine beside its kernel: ``hostname``, ``user``,
    ``os``, ``cpu``, ``memory``, ``timezone``, ``boot``.

    :raises BpfnbError: where *path* exists and *overwrite* is not given, or another recorder writes it; UnknownName,
        BadValue.
    """
    given = (flush, max_bytes, max_seconds, rotate)
    if (
        not all(one is None or (isinstance(one, int | float) and one > 0) for one in given)
        or max_bytes < _LEAST
    ):
        raise BadValue(
            "a recording's limits and its flush are positive numbers",
            hints=[f"max_bytes is {_LEAST:,} at least"],
        )
    redaction = Redaction.parse(_several(redact), _several(include), redact_key)
    limits = {"max_bytes": max_bytes, "max_seconds": max_seconds, "rotate": rotate, "flush": flush}
    return begin(what, Path(path), redaction, limits, _several(facts), overwrite=overwrite)


def begin(
    what: BpfObject | Tool | str | Iterable[BpfObject | Tool | str],
    path: Path,
    redaction: Redaction,
    limits: Mapping[str, Any] = LIMITS,
    facts: Sequence[str] = (),
    *,
    overwrite: bool,
) -> Recorder:
    """As :func:`record`, with rules that were read."""
    for other in recorders:
        if other.state == "recording" and other.path.resolve() == path.resolve():
            raise BpfnbError(f"{path} is being written: {', '.join(other.names)} is recorded to it")
    chosen = _chosen(what)
    guest = _machine(chosen)
    clock = None if guest is None else guest.clock_offset
    sources = _sources(chosen, redaction, clock)
    machine = host(facts, guest)
    return Recorder(sources, path, redaction, machine, dict(limits), clock=clock, overwrite=overwrite)


def _machine(chosen: Sequence[BpfObject | Tool]) -> Any:
    """The guest that all are in; None: this machine. Raises BadValue for several: a recording has one kernel."""
    guests = [guest_of(_object(one)) for one in chosen]
    if any(guest is not guests[0] for guest in guests):
        raise BadValue(
            "a recording is of one kernel", hints=["record what is in a guest to a file of its own"]
        )
    return guests[0]


def _sources(chosen: Sequence[BpfObject | Tool], redaction: Redaction, clock: int | None) -> list[Source]:
    """One source for each. Raises BadValue for rules that fit nothing."""
    sources: list[Source] = []
    streams: dict[str, Any] = {}
    maps: dict[str, Any] = {}
    frames: dict[str, Any] = {}
    for one in chosen:
        prefix = f"{_name(one)}." if len(chosen) > 1 else ""
        if isinstance(one, Tool):
            tool = ToolSource(_name(one), one, redaction, prefix)
            frames |= tool.redacted
            sources.append(tool)
        else:
            source = ObjectSource(
                _name(one), one, redaction, prefix, clock_offset() if clock is None else clock
            )
            found = source.redacted
            streams |= found[0]
            maps |= found[1]
            sources.append(source)
    redaction.check(streams, maps, frames)
    return sources


def _chosen(what: Any) -> list[BpfObject | Tool]:
    several = (
        list(what) if isinstance(what, Iterable) and not isinstance(what, str | BpfObject | Tool) else [what]
    )
    out: list[BpfObject | Tool] = []
    for one in several:
        if isinstance(one, str):
            if one not in objects:
                raise UnknownName.among(objects, one, f"there is no live object '{one}'")
            found = objects[one]
            one = found.owner() or found if found.owner else found
        if not isinstance(one, BpfObject | Tool):
            raise BadValue(f"{one!r} cannot be recorded: an object or a tool can")
        if _object(one).state == "closed":
            raise BadValue(f"'{_name(one)}' was closed: nothing of it is left to be recorded")
        out.append(one)
    if not out:
        raise BadValue("nothing was named that could be recorded")
    if len({_name(one) for one in out}) < len(out):
        raise BadValue("what is recorded in one file has different names")
    return out


def _object(one: BpfObject | Tool) -> BpfObject:
    return one.object if isinstance(one, Tool) else one


def _name(one: BpfObject | Tool) -> str:
    return _object(one).name


def _several(words: Sequence[str]) -> tuple[str, ...]:
    """One word given by itself is one word, not its letters."""
    return (words,) if isinstance(words, str) else tuple(words)
