"""Recordings, live objects, tools and frames as files of other programs: see :func:`export`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bpfnb.errors import BadValue, BpfnbError, nearest
from bpfnb.exports.subject import Part, Subject, opened
from bpfnb.frames.completeness import ATTR, line
from bpfnb.frames.mapframe import MapFrame

__all__ = ["FORMATS", "Written", "export", "write"]

FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "html": (".html", ".htm"),
    "parquet": (".parquet",),
    "csv": (".csv",),
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson"),
    "chrome-trace": (".trace.json",),
    "perfetto": (".perfetto-trace", ".pftrace"),
    "folded": (".folded",),
    "pprof": (".pb.gz", ".pprof"),
}
"""The formats, and how the names of their files end; the first ending is for a name that is made."""

_OF_ALL: Final = ("html", "chrome-trace", "perfetto")
"""Formats that hold everything in one file."""


@dataclass(frozen=True)
class Written:
    """A file that was written: what of, how many *count* of *what* it holds, and what is said of the data."""

    path: Path
    name: str
    count: int
    what: str
    note: str = ""


def export(
    what: Any,
    path: str | Path,
    format: str | None = None,  # noqa: A002
    stream: str | None = None,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write *what* to *path* and return the files written: all of them, or, where one cannot be, none.

    *what*: a recording (its path, or a :class:`bpfnb.Recording`), a live or replayed object or its name, a tool, a
    stream, a map, a DataFrame or Arrow table, a dict of those by name, or a list. *stream*: only the stream, map or
    frame of that name.

    *format* (default: by the path's ending):

    - ``html``: one page with working views that opens offline;
    - ``parquet``, ``csv``, ``json``, ``jsonl``: the tables. Of several each has a file of its own: ``x.csv`` becomes
      ``x-events.csv``, ``x-latency.csv``;
    - ``chrome-trace`` (``.trace.json``), ``perfetto`` (``.perfetto-trace``): what has moments, on tracks of
      threads, for chrome://tracing and ui.perfetto.dev;
    - ``folded``, ``pprof`` (``.pb.gz``): what has stacks, for flamegraph.pl, speedscope, ``go tool pprof``.

    What was redacted in a recording is so in what is made of it.

    :raises BadValue: for a format that there is not, where nothing of *what* can be written in it, or for a file that
        is there already, unless *overwrite* is given.
    :raises UnknownName: for a *stream* that is not there.
    """
    return [one.path for one in write(what, Path(path), format, stream, overwrite=overwrite)]


def write(
    what: Any,
    path: Path,
    format: str | None = None,  # noqa: A002
    stream: str | None = None,
    *,
    overwrite: bool = False,
) -> list[Written]:
    """As :func:`export`, with what each file holds."""
    kind = format_of(path) if format is None else _known(format)
    with opened(what) as subject:
        chosen = subject.only(stream)
        if kind in _OF_ALL:
            files: Sequence[tuple[Part | None, Path]] = [(None, path)]
        else:
            files = _files(_with_stacks(chosen) if kind in ("folded", "pprof") else chosen.parts, path)
        for _, at in files:
            if at.exists() and not (overwrite and at.is_file()):
                hint = "overwrite=True (--overwrite) replaces it" if at.is_file() else "name a file"
                raise BadValue(f"{at} is there already", hints=[hint])
        try:
            return _written(kind, chosen, files)
        except OSError as error:
            raise BpfnbError(f"{path} cannot be written: {error.strerror or error}") from error


def _written(kind: str, subject: Subject, files: Sequence[tuple[Part | None, Path]]) -> list[Written]:
    """Make all files in a folder beside their places, and only then put them there."""
    if not files:
        return []
    beside = Path(tempfile.mkdtemp(prefix=".bpfnb-export-", dir=files[0][1].parent))
    try:
        made = [
            _whole(kind, subject, beside / at.name) if part is None else _one(kind, part, beside / at.name)
            for part, at in files
        ]
        for one, (_, at) in zip(made, files, strict=True):
            one.path.replace(at)
        return [replace(one, path=at) for one, (_, at) in zip(made, files, strict=True)]
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def format_of(path: Path) -> str:
    """The format that a file's name asks for. Raises BadValue where it asks for none."""
    endings = {ending: kind for kind, each in FORMATS.items() for ending in each}
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return endings[ending]
    raise BadValue(
        f"the name '{path.name}' says no format",
        hints=[
            f"it may end in {', '.join(each[0] for each in FORMATS.values())}; or name one: {', '.join(FORMATS)}"
        ],
    )


def _known(format: str) -> str:  # noqa: A002
    if format in FORMATS:
        return format
    close = nearest(format, list(FORMATS), 1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(FORMATS)}"
    raise BadValue(f"there is no format '{format}'", hints=[hint])


def _whole(kind: str, subject: Subject, path: Path) -> Written:
    notes = "; ".join(f"{part.name}: {note}" for part in subject.parts if (note := _note(part)))
    if kind == "html":
        from bpfnb.exports.html import html

        return Written(path, subject.title, html(subject, path), "views", notes)
    if kind == "perfetto":
        from bpfnb.exports.perfetto import perfetto

        return Written(path, subject.title, perfetto(subject, path), "events", notes)
    from bpfnb.exports.chrome import chrome_trace

    return Written(path, subject.title, chrome_trace(subject, path), "events", notes)


def _one(kind: str, part: Part, path: Path) -> Written:
    from bpfnb.exports import stacks
    from bpfnb.exports.tables import WRITERS

    if kind in WRITERS:
        return Written(path, part.name, WRITERS[kind](part, path), "rows", _note(part))
    maker: Callable[[Part, Path], int] = getattr(stacks, kind)
    return Written(path, part.name, maker(part, path), "stacks", _note(part))


def _with_stacks(subject: Subject) -> list[Part]:
    """The parts that have stacks; maps that only hold them for others are left out."""
    from bpfnb.exports import stacks

    parts = [part for part in subject.parts if not _is_store(part)] or subject.parts
    able = [part for part in parts if len(parts) == 1 or stacks.has_stacks(part)]
    if not able:
        raise BadValue(
            f"nothing of {subject.title} holds stacks",
            hints=[f"there are: {', '.join(p.name for p in parts)}"],
        )
    return able


def _is_store(part: Part) -> bool:
    return isinstance(part.data, MapFrame) and part.data.kind == "stack_trace"


def _files(parts: list[Part], path: Path) -> list[tuple[Part, Path]]:
    """A file for each; with several their names stand in the files'."""
    if len(parts) == 1:
        return [(parts[0], path)]
    endings = sorted((ending for each in FORMATS.values() for ending in each), key=len, reverse=True)
    ending = next((one for one in endings if path.name.lower().endswith(one)), path.suffix)
    stem = path.name.removesuffix(path.name[len(path.name) - len(ending) :]) if ending else path.name
    out: dict[Path, Part] = {}
    for part in parts:
        name = at = f"{stem}-{part.name.replace('/', '_')}"
        for number in range(2, len(parts) + 2):
            if path.with_name(f"{at}{ending}") not in out:
                break
            at = f"{name}-{number}"
        out[path.with_name(f"{at}{ending}")] = part
    return [(part, at) for at, part in out.items()]


def _note(part: Part) -> str:
    """What a reader of the file ought to know, where anything was lost."""
    try:
        stated = part.frame().attrs.get(ATTR, {})
    except BpfnbError:
        return ""
    return "" if stated.get("complete", True) else line(stated)
