"""What there is to say about an object at one moment, before it is text, HTML or a message to the browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfnb.errors import BpfnbError
from bpfnb.views._cells import fill_cell, lost_cell, number_cell, read, text_cell
from bpfnb.views._style import humanize, share
from bpfnb.views.objectpanel.controls import Control, controls
from bpfnb.views.plain import Table

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["Facts", "MapFacts", "ProgramFacts", "StreamFacts", "VariableFacts", "facts", "tables"]

TONES = {"attached": "ok", "paused": "warn", "stopped": "warn", "loaded": "", "closed": ""}


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """``run_time_ns`` and ``seconds`` are cumulative, ``share`` is of one CPU over the last seconds."""

    name: str
    section: str
    attached: str
    runs: int | None
    average_ns: float
    share: float
    run_time_ns: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamFacts:
    name: str
    rows: int | None
    total: int | None
    rate: float | None
    lost: int | None
    fill: float | None


@dataclass(frozen=True, slots=True)
class MapFacts:
    name: str
    kind: str
    entries: int | None
    most: int
    fill: float | None
    refused: int | None


@dataclass(frozen=True, slots=True)
class VariableFacts:
    """``value`` is None where it cannot be read any more."""

    control: Control
    value: Any


@dataclass(frozen=True)
class Facts:
    name: str
    state: str
    tone: str  # "ok", "warn" or ""
    note: str
    cost: str
    programs: tuple[ProgramFacts, ...]
    streams: tuple[StreamFacts, ...]
    maps: tuple[MapFacts, ...]
    variables: tuple[VariableFacts, ...]


def facts(obj: BpfObject, known: Sequence[Control] | None = None) -> Facts:
    """Read everything once; what cannot be read (the object was closed meanwhile) is None.

    *known* are the object's controls, where they are at hand.
    """
    programs = tuple(_programs(obj))
    return Facts(
        obj.name,
        obj.status,
        TONES.get(obj.status, ""),
        obj.note,
        _cost(obj, programs),
        programs,
        tuple(_stream(name, stream) for name, stream in obj.streams.items()),
        tuple(_map(name, frame) for name, frame in obj.maps.items()),
        tuple(
            VariableFacts(control, _value(obj, control.name))
            for control in (controls(obj.elf.btf) if known is None else known)
        ),
    )


def _programs(obj: BpfObject) -> list[ProgramFacts]:
    stats = read(obj, "stats")
    found = []
    for name, program in obj.programs.items():
        cost = {} if stats is None or name not in stats.index else stats.loc[name].to_dict()
        attached = "yes" if program.attached else f"no, needs {program.needs}" if program.needs else "no"
        found.append(
            ProgramFacts(
                name,
                program.section,
                attached,
                int(cost["run_count"]) if cost else None,
                float(cost.get("avg_ns", math.nan)),
                float(cost.get("cpu_share", math.nan)),
                int(cost.get("run_time_ns", 0)),
                float(cost.get("seconds", 0.0)),
            )
        )
    return found


def _cost(obj: BpfObject, programs: Sequence[ProgramFacts]) -> str:
    """What the programs take together, and the limit at which the watchdog stops them; of a recording, whence it is."""
    if obj.origin:
        taken = [program.share for program in programs if not math.isnan(program.share)]
        return f"{obj.origin}, {share(sum(taken))} of a CPU then" if taken else obj.origin
    limit = "no watchdog" if obj.watchdog is None else f"watchdog at {share(obj.watchdog)}"
    shares = [program.share for program in programs if not math.isnan(program.share)]
    if obj.state != "attached" or not shares:
        return limit
    return f"{share(sum(shares))} of a CPU, {limit}"


def _stream(name: str, stream: Any) -> StreamFacts:
    wanted = ("rows", "total", "rate", "lost", "fill", "counted")
    rows, total, rate, lost, fill, counted = (read(stream, each) for each in wanted)
    return StreamFacts(name, rows, total, rate, lost if lost or counted else None, fill)


def _map(name: str, frame: Any) -> MapFacts:
    fill, most = read(frame, "fill"), frame.info.max_entries
    lost = read(frame, "lost")
    entries = None if fill is None else round(fill * most)
    return MapFacts(
        name, frame.info.kind, entries, most, fill, lost if lost or read(frame, "counted") else None
    )


def _value(obj: BpfObject, name: str) -> Any:
    try:
        return obj.vars[name]
    except (BpfnbError, OSError):
        return None


def tables(found: Facts) -> list[Table]:
    """The facts as tables, those that would be empty left out."""
    programs = [
        (
            p.name,
            p.section,
            p.attached,
            number_cell(p.runs),
            text_cell(humanize(p.average_ns, "ns") if p.runs else None),
            text_cell(share(p.share) if p.runs else None),
        )
        for p in found.programs
    ]
    streams = [
        (
            s.name,
            number_cell(s.rows),
            number_cell(s.total),
            text_cell(None if s.rate is None else f"{s.rate:,.0f}/s"),
            lost_cell(s.lost),
            fill_cell(s.fill),
        )
        for s in found.streams
    ]
    maps = [
        (m.name, m.kind, number_cell(m.entries), number_cell(m.most), fill_cell(m.fill), lost_cell(m.refused))
        for m in found.maps
    ]
    variables = [
        (
            v.control.name,
            v.control.type,
            _said(v),
            "const" if v.control.constant else "",
        )
        for v in found.variables
    ]
    made = (
        Table(("program", "section", "attached", "runs", "average", "CPU"), programs, code=_SECTION),
        Table(("stream", "rows kept", "received", "rate", "lost", "buffer fill"), streams),
        Table(("map", "kind", "entries", "max entries", "fill", "refused"), maps),
        Table(("variable", "type", "value", ""), variables, code=_VALUE),
    )
    return [table for table in made if table.rows]


def _said(found: VariableFacts) -> str:
    if found.value is None:
        return "-"
    control, said = found.control, found.control.said(found.value)
    return f"{control.text(found.value)} {control.unit}".rstrip() + (f" = {said}" if said else "")


_SECTION = frozenset({"section"})
_VALUE = frozenset({"type", "value"})
