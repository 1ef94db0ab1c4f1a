"""What the panel of an object says, before it is text or HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfnb.errors import BpfnbError
from bpfnb.views._style import bar, esc, humanize, share
from bpfnb.views.table import Cell, Table

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["Panel", "fill_cell", "lost_cell", "panel", "read", "text_cell"]

TONES = {"attached": "ok", "paused": "warn", "stopped": "warn", "loaded": "", "closed": ""}


@dataclass(frozen=True)
class Panel:
    name: str
    state: str
    tone: str  # "ok", "warn", "bad" or ""
    note: str
    cost: str
    tables: tuple[Table, ...]


def panel(obj: BpfObject) -> Panel:
    """Read everything once. A part that cannot be read (the object was closed meanwhile) shows as ``-``."""
    tone = "bad" if obj.note else TONES.get(obj.state, "")
    stats = read(obj, "stats")
    tables = (_programs(obj, stats), _streams(obj), _maps(obj))
    return Panel(obj.name, obj.state, tone, obj.note, _cost(obj, stats), tuple(t for t in tables if t.rows))


def _cost(obj: BpfObject, stats: Any) -> str:
    """What the programs take together, and the limit at which the watchdog stops them."""
    limit = "no watchdog" if obj.watchdog is None else f"watchdog at {share(obj.watchdog)}"
    taken = math.nan if stats is None or stats.empty else float(stats["cpu_share"].sum(min_count=1))
    if obj.state != "attached" or math.isnan(taken):
        return limit
    return f"{share(taken)} of a CPU, {limit}"


def _programs(obj: BpfObject, stats: Any) -> Table:
    rows = []
    for name, program in obj.programs.items():
        cost = None if stats is None or name not in stats.index else stats.loc[name]
        runs = None if cost is None else int(cost["run_count"])
        rows.append(
            (
                name,
                program.section,
                "yes" if program.attached else f"no, needs {program.needs}" if program.needs else "no",
                _number(runs),
                text_cell(humanize(float(cost["avg_ns"]), "ns") if cost is not None and runs else None),
                text_cell(share(float(cost["cpu_share"])) if cost is not None and runs else None),
            )
        )
    columns = ("program", "section", "attached", "runs", "average", "CPU")
    return Table(columns, rows, code=frozenset({"section"}))


def _streams(obj: BpfObject) -> Table:
    rows = []
    for name, stream in obj.streams.items():
        rate = read(stream, "rate")
        rows.append(
            (
                name,
                _number(read(stream, "rows")),
                _number(read(stream, "total")),
                text_cell(None if rate is None else f"{rate:,.0f}/s"),
                lost_cell(read(stream, "lost")),
                fill_cell(read(stream, "fill")),
            )
        )
    return Table(("stream", "rows kept", "received", "rate", "lost", "buffer fill"), rows)


def _maps(obj: BpfObject) -> Table:
    rows = []
    for name, frame in obj.maps.items():
        fill = read(frame, "fill")
        most = frame.info.max_entries
        entries = None if fill is None else round(fill * most)
        rows.append((name, frame.info.kind, _number(entries), _number(most), fill_cell(fill), _full(frame)))
    return Table(("map", "kind", "entries", "max entries", "fill", "refused"), rows)


def _full(frame: Any) -> Cell:
    """Updates that the map refused because it was full, where the object counts them."""
    return lost_cell(read(frame, "lost"))


def lost_cell(count: int | None) -> Cell:
    """A number that stands out when it is not zero, by a sign and a word and not by colour alone."""
    if not count:
        return text_cell("0" if count == 0 else None)
    text = f"{count:,}"
    return Cell(f"! {text}", f'<span class="b-badge b-bad">{text}</span>', number=True)


def fill_cell(fill: float | None) -> Cell:
    if fill is None or math.isnan(fill):
        return text_cell(None)
    text = share(fill)
    return Cell(text, f"{esc(text)}{bar(fill)}", number=True)


def _number(value: int | None) -> Cell:
    return text_cell(None if value is None else f"{value:,}")


def text_cell(text: str | None) -> Cell:
    return Cell(text or "-", esc(text or "-"), number=True)


def read(thing: Any, name: str) -> Any:
    """An attribute, or what a method of that name returns; ``None`` where it cannot be had.

    Showing an object must not fail, whatever happened to it in the meantime.
    """
    try:
        value = getattr(thing, name)
        return value() if callable(value) else value
    except (BpfnbError, AttributeError, OSError):
        return None
