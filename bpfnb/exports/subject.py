"""What is exported: the tables of a recording, of live objects and tools, or plain frames, through one interface."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.completeness import ATTR
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.mapframe import INDEXED, MapFrame
from bpfnb.recording.parts import opened as opened_recording
from bpfnb.recording.reader import Recording

__all__ = ["Part", "Subject", "opened"]


@dataclass(frozen=True)
class Part:
    """One table: a stream, a map, a tool's frame or a DataFrame. *data* is what a view draws of it."""

    name: str
    data: Any
    kind: str = "frame"

    @property
    def gone(self) -> frozenset[str]:
        """Columns that were left out of the recording, which replay shows as empty."""
        return frozenset(self.stated("gone") or ())

    def stated(self, name: str) -> Any:
        """An attribute of what is no plain frame; None where there is none."""
        return None if isinstance(self.data, pd.DataFrame) else getattr(self.data, name, None)

    def frame(self) -> pd.DataFrame:
        """All rows, as people read them."""
        given: pd.DataFrame = self.data if isinstance(self.data, pd.DataFrame) else self.data.df
        frame = given
        if isinstance(self.data, MapFrame) and self.data.kind in INDEXED:
            frame = frame.reset_index()
        frame = frame.drop(columns=[name for name in frame.columns if name in self.gone])
        frame.attrs = given.attrs
        return frame

    def arrow(self) -> pa.Table:
        """The same as Arrow columns; ``bpfnb`` in the schema's metadata is what the frame says of itself, as JSON."""
        if isinstance(self.data, LiveFrame | MapFrame):
            table = self.data.arrow()
            return table.drop_columns([name for name in table.column_names if name in self.gone])
        return _table(self.frame())


@dataclass
class Subject:
    """*parts*, and what is known of all: ``title``, where it is from, a recording's manifest and health."""

    title: str
    parts: list[Part]
    recording: Recording | None = None
    health: dict[str, pd.DataFrame] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    """The C text of live objects."""

    @property
    def origin(self) -> str:
        """``recorded ... on kernel ...``; nothing of what is live."""
        return next((word for part in self.parts if (word := part.stated("origin"))), "")

    def only(self, name: str | None) -> Subject:
        """With the part *name* alone, a stream's or map's name also without its object's. Raises UnknownName."""
        if name is None:
            return self
        found = [part for part in self.parts if name in (part.name, part.name.rpartition(".")[2])]
        if not found:
            raise UnknownName.among(
                [part.name for part in self.parts], name, f"{self.title} has no stream, map or frame '{name}'"
            )
        if len(found) > 1:
            raise BadValue(f"there are {', '.join(part.name for part in found)}", hints=["name one in full"])
        return Subject(self.title, found, self.recording, self.health, self.sources)


@contextmanager
def opened(what: Any) -> Iterator[Subject]:
    """The tables of *what*: the path of a recording, a Recording, a live object or its name, a tool, a stream, a map,
    a DataFrame, an Arrow table, a dict of those by name, or a list.

    Raises BadValue for anything else, and what opening a recording raises.
    """
    with ExitStack() as stack:
        yield _subject(what, stack)


def _subject(what: Any, stack: ExitStack) -> Subject:
    if isinstance(what, str) and (known := _live(what)) is not None:
        return _subject(known, stack)
    if isinstance(what, str | Path):
        return _of_recording(stack.enter_context(opened_recording(what)), stack)
    if isinstance(what, Recording):
        return _of_recording(what, stack)
    if isinstance(what, Mapping):
        return Subject("frames", [_part(str(name), data) for name, data in what.items()])
    if isinstance(what, Sequence) and not isinstance(what, str | bytes):
        found = [_subject(one, stack) for one in what]
        several = len(found) > 1
        parts = [_named(part, one.title if several else "") for one in found for part in one.parts]
        sources = {name: text for one in found for name, text in one.sources.items()}
        return Subject(", ".join(one.title for one in found), parts, sources=sources)
    if isinstance(what, pd.DataFrame | pd.Series):  # whose attributes are columns
        return Subject("frame", [_part("frame", what)])
    return Subject(_title(what), _parts(what), sources=_source(what))


def _live(name: str) -> Any:
    from bpfnb.object import objects

    return objects.get(name)


def _of_recording(recording: Recording, stack: ExitStack) -> Subject:
    objects = recording.replay()
    for one in objects.values():
        stack.callback(one.close)
    several = len(objects) > 1
    parts = [
        _named(part, name if several else "") for name, one in objects.items() for part in _parts(one, name)
    ]
    health = {name: recording.objects[name].health.to_pandas() for name in objects}
    return Subject(", ".join(objects), parts, recording, health)


def _named(part: Part, owner: str) -> Part:
    return replace(part, name=f"{owner}.{part.name}") if owner and part.name != owner else part


def _title(what: Any) -> str:
    named: object = getattr(what, "name", None) or getattr(getattr(what, "object", None), "name", None)
    return named if isinstance(named, str) else "frame"


def _source(what: Any) -> dict[str, str]:
    loaded = getattr(what, "object", what)  # a tool's
    text = getattr(getattr(loaded, "source", None), "text", None)
    return {_title(what): text} if isinstance(text, str) else {}


def _parts(what: Any, name: str | None = None) -> list[Part]:
    if hasattr(what, "streams") and hasattr(what, "maps"):
        tables = {**what.streams, **what.maps}
        return [_part(each, frame) for each, frame in tables.items()]
    return [_part(name or _title(what), what)]


def _part(name: str, data: Any) -> Part:
    if isinstance(data, LiveFrame):
        return Part(name, data, "stream")
    if isinstance(data, MapFrame):
        return Part(name, data, "map")
    if isinstance(data, pd.Series):
        return Part(name, data.to_frame(name))
    if isinstance(data, pd.DataFrame) or isinstance(getattr(data, "df", None), pd.DataFrame):
        return Part(name, data)
    if isinstance(data, pa.Table | pa.RecordBatch) or hasattr(data, "__arrow_c_stream__"):
        return Part(name, pa.table(data).to_pandas())
    raise BadValue(
        f"a {type(data).__name__} cannot be exported",
        hints=["a recording, an object, a tool, a stream, a map or a DataFrame can"],
    )


def _table(frame: pd.DataFrame) -> pa.Table:
    kept = frame.attrs
    bare = frame.copy(deep=False)
    bare.attrs = {}  # pandas would write them too, and not all that a person puts there is JSON
    table = pa.Table.from_pandas(bare, preserve_index=not isinstance(frame.index, pd.RangeIndex))
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"pandas"}
    if ATTR in kept:
        metadata[ATTR] = json.dumps(kept[ATTR], default=str)
    notes: Mapping[str, Mapping[str, Any]] = kept.get("bpfnb_columns", {})
    for at, column in enumerate(table.schema.names):
        stated = {
            key: word if isinstance(word, str) else json.dumps(word)
            for key, word in notes.get(column, {}).items()
        }
        if stated:
            table = table.set_column(at, table.schema.field(at).with_metadata(stated), table.column(at))
    return table.replace_schema_metadata(metadata)
