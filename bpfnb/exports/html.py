"""One HTML file with working views: what was measured, how complete it is, and where it is from. Opens offline.

Tables scroll, sort and filter, flame graphs zoom and search, charts answer to the pointer, all with the data that the
file holds. A table of more rows than :data:`ROWS` holds the newest, and says so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from bpfnb import __version__
from bpfnb.errors import BpfnbError
from bpfnb.exports.style import CSS
from bpfnb.exports.subject import Part, Subject
from bpfnb.frames.completeness import ATTR, line
from bpfnb.frames.drawn import Drawn
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.mapframe import MapFrame
from bpfnb.views import moments
from bpfnb.views._style import esc
from bpfnb.views.page import document, slot

if TYPE_CHECKING:
    from bpfnb.views import View

__all__ = ["ROWS", "html"]

ROWS: Final = 20_000
"""Rows of each table that the file holds at most; fewer where they have much text."""
_BYTES: Final = 12 << 20  # of a table's text
_FACTS: Final = ("object", "kernel", "compiler", "btf", "source")  # of what frames say where they are from


def html(subject: Subject, path: Path) -> int:
    """Write the page; returns how many views it has."""
    with ExitStack() as stack:
        views: dict[str, View] = {}
        sections = [_section(part, views, stack) for part in subject.parts]
        body = "".join([_head(subject), *sections, *_about(subject)])
        text = document(subject.title, f"<style>{CSS}</style><main>{body}</main>", views)
    path.write_text(text, encoding="utf-8")
    return len(views)


# The head


def _head(subject: Subject) -> str:
    words = [esc(word) for word in (subject.origin, _made()) if word]
    links = "".join(f'<a href="#{_anchor(part)}">{esc(part.name)}</a>' for part in subject.parts)
    nav = f"<nav>{links}</nav>" if len(subject.parts) > 1 else ""
    return f"<header><h1>{esc(subject.title)}{_badge(subject)}</h1><p>{' · '.join(words)}</p>{nav}</header>"


def _made() -> str:
    return f"exported {pd.Timestamp.now('UTC'):%Y-%m-%d %H:%M:%S} UTC by bpfnb {__version__}"


def _badge(subject: Subject) -> str:
    """Whether anything is missing."""
    if subject.recording is not None:
        stated = subject.recording.completeness
        lost, whole = sum(stated["lost"].values()), bool(stated["complete"])
    else:
        attrs = [part.frame().attrs.get(ATTR, {}) for part in subject.parts]
        lost = sum(one.get("lost", 0) for one in attrs)
        whole = all(one.get("complete", True) for one in attrs)
    if lost:
        return f'<span class="x-badge x-bad">{lost:,} lost</span>'
    return (
        '<span class="x-badge x-ok">complete</span>'
        if whole
        else '<span class="x-badge x-bad">incomplete</span>'
    )


# A table and its pictures


def _section(part: Part, views: dict[str, View], stack: ExitStack) -> str:
    frame = part.frame()
    note = line({"rows": len(frame), **frame.attrs.get(ATTR, {})})
    out = [f'<section id="{_anchor(part)}"><h2>{esc(part.name)} <small>{esc(part.kind)}</small></h2>']
    bad = ' class="x-lost"' if frame.attrs.get(ATTR, {}).get("complete") is False else ""
    out.append(f"<p{bad}>{esc(note)}</p>")
    for made in _views(part, frame):
        if isinstance(made, str):
            out.append(f'<p class="x-lost">{esc(made)}</p>')
            continue
        stack.callback(made.close)
        name = f"view-{len(views)}"
        views[name] = made
        out.append(f'<div class="x-view">{slot(name, made)}</div>')
    return "".join([*out, "</section>"])


def _anchor(part: Part) -> str:
    return esc("part-" + part.name.replace(" ", "-"))


def _views(part: Part, frame: pd.DataFrame) -> Iterator[View | str]:
    """Its pictures, and its rows; or why one cannot be drawn."""
    from bpfnb import views

    drawn = False
    for make in _pictures(part, frame):
        try:
            made = make()
        except BpfnbError as error:
            yield f"{part.name} cannot be drawn: {error.message}"
            continue
        if isinstance(made, views.EventTable):
            drawn = True
            made.embedded = (ROWS, _BYTES)
            made.columns = [name for name in made.columns or frame.columns if name not in part.gone]
        yield made
    if not drawn:
        order = None
        if isinstance(part.data, MapFrame):
            from bpfnb.views.objectpanel.pictures import order as of_map

            order = of_map(part.data)
        data = part.data if isinstance(part.data, Drawn) else frame
        shown = [str(name) for name in frame.columns] if part.gone else None
        table = views.table(
            data, shown, sort=order, title=part.name, follow=False, rows_shown=min(12, max(len(frame), 3))
        )
        table.embedded = (ROWS, _BYTES)
        yield table


def _pictures(part: Part, frame: pd.DataFrame) -> Iterator[Callable[[], View]]:
    """Functions that make what is drawn above the rows."""
    from bpfnb import views
    from bpfnb.views.flames.columns import choose

    if isinstance(part.data, LiveFrame | MapFrame):
        if part.data.view:
            from bpfnb.views.objectpanel.pictures import fresh

            yield partial(fresh, part.data)
            return
    elif callable(view := part.stated("view")):  # a tool's own picture
        yield view
        return
    if not len(frame):
        return
    notes = frame.attrs.get("bpfnb_columns", {})
    own = part.data if isinstance(part.data, Drawn) else None

    def about(column: str) -> dict[str, Any]:
        return dict(notes.get(column, {}))

    if not (isinstance(part.data, MapFrame) and part.data.kind == "stack_trace"):
        try:
            choose(frame, about, None, None, None, None)
        except BpfnbError:
            pass
        else:
            yield partial(views.flamegraph, frame, title=part.name) if not own else own.flamegraph
    lasting = next((name for name in frame.columns if about(str(name)).get("format") == "duration"), None)
    if lasting is not None and moments.column(frame, about) is not None:
        yield partial(views.heatmap, own or frame, str(lasting), title=f"{part.name}: {lasting}")


# Where it is from


def _about(subject: Subject) -> Iterator[str]:
    yield '<section id="about"><h2>Where this is from</h2>'
    if subject.recording is not None:
        yield from _recorded(subject)
    else:
        stated = [part.frame().attrs.get(ATTR, {}) for part in subject.parts]
        facts = {
            key: ", ".join(dict.fromkeys(str(one[key]) for one in stated if one.get(key))) for key in _FACTS
        }
        yield _facts({key: value for key, value in facts.items() if value})
    for name, text in _sources(subject).items():
        yield f"<details><summary>source of {esc(name)}</summary><pre>{esc(text)}</pre></details>"
    yield "</section>"


def _recorded(subject: Subject) -> Iterator[str]:
    assert subject.recording is not None
    manifest = subject.recording.manifest
    host = manifest.host
    lost = ", ".join(f"{count:,} {where}" for where, count in manifest.lost.items() if count)
    facts = {
        "recorded": f"{_moment(manifest.window[0])} to {_moment(manifest.window[1])} UTC",
        "ended": subject.recording.stopped,
        "lost": lost or ("nothing" if subject.recording.completeness["complete"] else "unknown"),
        "kernel": f"{host.kernel}, {host.machine}, {host.cpus} CPUs",
        **host.facts,
        "cost": ", ".join(f"{who} {share:.1%} of a CPU" for who, share in manifest.overhead.items()),
        "bpfnb": manifest.bpfnb,
    }
    yield _facts({key: value for key, value in facts.items() if value})
    redacted = manifest.redaction.get("columns")
    if isinstance(redacted, dict) and redacted:
        yield "<h3>Redacted columns</h3>" + _facts({str(name): str(what) for name, what in redacted.items()})
    text = json.dumps(dataclasses.asdict(manifest), indent=1, default=str, ensure_ascii=False)
    yield f"<details><summary>manifest</summary><pre>{esc(text)}</pre></details>"
    for owner, health in subject.health.items():
        if len(health):
            yield f"<details><summary>health of {esc(owner)} over time</summary>{_table(health)}</details>"


def _moment(seconds: float) -> str:
    return f"{pd.Timestamp(seconds, unit='s'):%Y-%m-%d %H:%M:%S}"


def _sources(subject: Subject) -> dict[str, str]:
    """The C text of each object that there is one of."""
    if subject.recording is not None:
        return {name: one.source for name, one in subject.recording.objects.items() if one.source}
    return subject.sources


def _facts(facts: dict[str, str]) -> str:
    rows = "".join(f"<tr><th>{esc(key)}</th><td>{esc(value)}</td></tr>" for key, value in facts.items())
    return f"<table>{rows}</table>"


def _table(frame: pd.DataFrame) -> str:
    shown: str = frame.tail(200).to_html(border=0, index=False, na_rep="")
    return shown
