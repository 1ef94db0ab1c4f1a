"""A column's filter as a person sees it: what is typed, the values on offer with their counts, the chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bpfnb.errors import BadValue
from bpfnb.views.events.cells import NA, Face
from bpfnb.views.events.rowset import RowSet
from bpfnb.views.events.words import pattern, ranges, said, spelled
from bpfnb.views.selection import Selection

__all__ = ["Filtering"]

OFFERED = 200
"""Values that a column's filter offers, the most frequent first."""

_RANGED = ("int", "float", "duration", "time")
_COUNTED = ("text", "category", "bool", "int")


class Filtering:
    """Turns what the browser says of *rows*' filters into selections. It remembers which values it offered."""

    def __init__(self, rows: RowSet) -> None:
        self._rows = rows
        self._offered: dict[str, list[Any]] = {}

    def chips(self, filters: Selection, faces: Sequence[Face]) -> list[dict[str, Any]]:
        """The filters in words: ``column`` is the place of the column, -1 for row numbers."""
        places = {face.name: place for place, face in enumerate(faces)}
        out = []
        for name, condition in filters.items():
            place = places.get(name, -1)
            face = faces[place] if place >= 0 else None
            words = (
                said(name, condition, face.kind, face.unit, face.zone)
                if face
                else said(name, condition, "int", None)
            )
            out.append({"column": place, "name": name, "text": words})
        return out

    def offer(self, face: Face, condition: Any) -> dict[str, Any]:
        """What a column's filter shows when it opens: ``how`` and ``text`` as they are now, values with counts."""
        tests = condition if isinstance(condition, Mapping) else {}
        picked = list(tests.get("in", []))
        how, text = "contains", ""
        if face.kind in _RANGED:
            how, text = "range", spelled(tests, face.kind, face.unit, face.zone)
        elif "matches" in tests:
            how, text = "matches", str(tests["matches"])
        elif "contains" in tests:
            text = str(tests["contains"])
        values: list[Any] = []
        counts: list[int] = []
        distinct = 0
        if face.kind in _COUNTED:
            frame = self._rows.whole([face.name], face.name)
            if face.name in frame:
                found = frame[face.name].value_counts(dropna=False)
                found = found[found > 0]
                distinct = len(found)
                values, counts = list(found.index[:OFFERED]), [int(n) for n in found.iloc[:OFFERED]]
        values = [_plain(value) for value in values]
        missing = [value for value in picked if value not in values]
        values, counts = missing + values, [0] * len(missing) + counts
        self._offered[face.name] = values
        labels = (
            face.texts(pd.Series(values, dtype=object)) if face.kind != "int" else [_label(v) for v in values]
        )
        return {
            "how": how,
            "text": text,
            "labels": ["(missing)" if label == NA else label for label in labels],
            "counts": counts,
            "picked": [value in picked for value in values],
            "distinct": distinct,
        }

    def changed(self, filters: Selection, faces: Sequence[Face], content: Mapping[str, Any]) -> Selection:
        """*filters* after what the browser says: ``clear`` all, or of one ``column`` its ``text`` or ``picks``.

        Raises BadValue that says what is wrong with what was typed.
        """
        if content.get("clear") == "all":
            return {}
        name = str(content["name"]) if "name" in content else faces[int(content["column"])].name
        rest = {column: condition for column, condition in filters.items() if column != name}
        if content.get("clear"):
            return rest
        face = faces[int(content["column"])]
        old = filters.get(name)
        tests = dict(old) if isinstance(old, Mapping) else {}
        if "picks" in content:
            offered = self._offered.get(name, [])
            picks = [offered[int(place)] for place in content["picks"] if 0 <= int(place) < len(offered)]
            tests = {test: value for test, value in tests.items() if test != "in"}
            if picks:
                tests["in"] = picks
        else:
            typed = self._typed(face, str(content.get("how", "contains")), str(content.get("text", "")))
            kept = {} if face.kind in _RANGED and face.kind not in _COUNTED else {"in"}
            tests = {test: tests[test] for test in tests if test in kept and "in" not in typed}
            tests |= typed
        return {**rest, name: tests} if tests else rest

    def _typed(self, face: Face, how: str, text: str) -> dict[str, Any]:
        if how == "range":
            newest = self._rows.newest(face.name) if face.kind == "time" else None
            known = newest if isinstance(newest, pd.Timestamp) else None
            return ranges(text, face.kind, face.unit, known)
        if not text:
            return {}
        if how == "equals":
            return {"in": [text]}
        if how == "matches":
            return {"matches": pattern(text)}
        if how == "contains":
            return {"contains": text}
        raise BadValue(f"there is no filter '{how}'")


def _plain(value: Any) -> Any:
    """A value that JSON can hold; None for what is missing."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)


def _label(value: Any) -> str:
    return NA if value is None else str(value)
