"""The table at rest: HTML with the first and the last rows, text for terminals, CSV, a plotly figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bpfnb.views._style import esc
from bpfnb.views.events.cells import NA, RIGHT, Face, iso

__all__ = ["EDGE", "Still", "csv", "figure", "html", "text"]

EDGE = 5
"""Rows shown at each end of a table that stands still."""

DASH = "\N{EN DASH}"  # a missing value


@dataclass(frozen=True)
class Still:
    """The first and the last rows (few are all in ``head``), the columns, and what is said of them."""

    faces: Sequence[Face]
    head: pd.DataFrame
    tail: pd.DataFrame
    rows: int
    caption: str
    notes: Sequence[str] = ()
    raw: bool = False

    @property
    def between(self) -> int:
        return self.rows - len(self.head) - len(self.tail)

    def cells(self, frame: pd.DataFrame) -> list[list[str]]:
        """Texts by column."""
        return [
            face.texts(frame[face.name], raw=self.raw) if face.name in frame else [NA] * len(frame)
            for face in self.faces
        ]


def html(still: Still) -> str:
    """A ``<table>`` that reads well where style sheets are stripped too."""
    right = [' class="b-num" align="right"' if face.kind in RIGHT else "" for face in still.faces]
    heads = "".join(
        f'<th scope="col"{side}{_hint(face)}>{esc(face.name)}</th>'
        for face, side in zip(still.faces, right, strict=True)
    )
    body = _body(still, still.head, right)
    if still.between > 0:
        words = f"… {still.between:,} {'row' if still.between == 1 else 'rows'} between …"
        body += f'<tr><td colspan="{len(still.faces)}" align="center"><em>{words}</em></td></tr>'
    body += _body(still, still.tail, right)
    if not still.rows:
        body = f'<tr><td colspan="{max(1, len(still.faces))}" align="center"><em>no rows</em></td></tr>'
    notes = "".join(f"<p><small>{esc(note)}</small></p>" for note in still.notes if note)
    return (
        f'<div style="overflow-x:auto"><table class="b-grid"><caption>{esc(still.caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{notes}"
    )


def _hint(face: Face) -> str:
    said = face.about.get("description")
    return f' title="{esc(said)}"' if said else ""


def _body(still: Still, frame: pd.DataFrame, right: Sequence[str]) -> str:
    cells = still.cells(frame)
    hovers = [
        None if still.raw or face.name not in frame else face.titles(frame[face.name]) for face in still.faces
    ]
    rows = []
    for row in range(len(frame)):
        line = ""
        for column, side, titles in zip(cells, right, hovers, strict=True):
            title = f' title="{esc(titles[row])}"' if titles and titles[row] else ""
            shown = DASH if column[row] == NA else esc(column[row])
            line += f'<td{side}{title} style="white-space:nowrap">{shown}</td>'
        rows.append(f"<tr>{line}</tr>")
    return "".join(rows)


def text(still: Still) -> str:
    """The same for a terminal."""
    head, tail = still.cells(still.head), still.cells(still.tail)
    lines = []
    columns = []
    for face, first, last in zip(still.faces, head, tail, strict=True):
        values = [DASH if value == NA else value for value in [*first, *last]]
        width = max(len(value) for value in [face.name, *values])
        columns.append(
            [v.rjust(width) if face.kind in RIGHT else v.ljust(width) for v in [face.name, *values]]
        )
    for row in zip(*columns, strict=True):
        lines.append("  ".join(row).rstrip())
    if still.between > 0:
        lines.insert(1 + len(still.head), f"… {still.between:,} rows between …")
    return "\n".join([still.caption, *lines, *(note for note in still.notes if note)])


def csv(frame: pd.DataFrame) -> str:
    """*frame* as RFC 4180 has it: CRLF, quotes doubled; numbers in full, times as ISO 8601 in UTC, bytes in hex."""
    out = frame.copy(deep=False)
    for name in out.columns:
        series = out[name]
        face = Face.of(str(name), series, {})
        if face.kind == "bytes":
            out[name] = [None if v is None or v is pd.NA else bytes(v).hex() for v in series]
        elif face.kind == "time":
            out[name] = iso(series)
        elif face.kind == "duration":
            out[name] = pd.array([None if v is pd.NaT else v.as_unit("ns").value for v in series], "Int64")
    written: str = out.to_csv(index=False, lineterminator="\r\n")
    return written


def figure(still: Still) -> Any:
    """A plotly table of the first and the last rows."""
    import plotly.graph_objects as go

    head, tail = still.cells(still.head), still.cells(still.tail)
    gap = ["…"] if still.between > 0 else []
    columns = [
        [DASH if value == NA else value for value in [*first, *gap, *last]]
        for first, last in zip(head, tail, strict=True)
    ]
    sides = ["right" if face.kind in RIGHT else "left" for face in still.faces]
    found = go.Figure(
        go.Table(
            header={"values": [face.name for face in still.faces], "align": sides},
            cells={"values": columns, "align": sides},
        )
    )
    found.update_layout(title=still.caption, margin={"l": 8, "r": 8, "t": 48, "b": 8})
    return found
