"""A recording that rotated: its files read as one, as far as they are there.

The files of one recording have the same name but for the number before the ending, and manifests that say the same
``created``; ``part`` counts them from 0. Rows of streams have their numbers through all files; each file begins with
what maps and tables held when it was begun.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bpfnb.errors import BadRecording, BadValue
from bpfnb.frames.completeness import ATTR
from bpfnb.frames.lane import Lane
from bpfnb.kernel.backend import Bytes2D
from bpfnb.recording.manifest import LaneInfo, Manifest, MapEntry, ObjectInfo, StreamInfo
from bpfnb.recording.pieces import Piece
from bpfnb.recording.reader import RecordedObject, Recording

__all__ = ["Rotated", "files_of", "opened"]

_LOST = "stacks_lost"
_NUMBERED = re.compile(r"(.+)\.\d{1,6}")


def opened(path: str | Path) -> Recording:
    """The recording that *path* is, is a file of, or, where it is a folder, the only one in it.

    Raises BadRecording; BadValue for a folder with several recordings, or none.
    """
    path = Path(path)
    found: dict[int, Recording] = {}
    try:
        first = _only(path) if path.is_dir() else path
        given = Recording(first)
        found[given.manifest.part] = given
        if not given.manifest.part and "rotate" not in given.manifest.limits:
            return given
        unreadable = []
        for other in _family(first):
            try:
                recording = Recording(other)
            except BadRecording as error:
                unreadable.append(error.message)
                continue
            said = recording.manifest
            if said.created == given.manifest.created and said.part not in found:
                found[said.part] = recording
            else:
                recording.close()
        parts = [found[number] for number in sorted(found)]
        gaps = _gaps(parts)
        if gaps or parts[-1].manifest.stopped == "limit rotation":
            gaps += unreadable  # else all are there, and these are none of them
        if len(parts) == 1:
            given.gaps = gaps
            return given
        return Rotated(parts, gaps)
    except BaseException as error:
        for part in found.values():
            part.close()
        if isinstance(error, OSError):
            raise BadRecording(
                f"{error.filename or path} cannot be read: {error.strerror}",
                hints=["the other files of a recording that rotated are looked for in its folder"],
            ) from None
        raise


def files_of(path: str | Path) -> tuple[list[Path], list[str]]:
    """The files that are read of the recording *path*, the oldest first, and what is missing of it, in words.

    Raises as :func:`opened` does.
    """
    with opened(path) as recording:
        parts = recording.parts if isinstance(recording, Rotated) else (recording,)
        return [part.path for part in parts], list(recording.gaps)


def _family(path: Path) -> list[Path]:
    """The other files that have the name of *path*, but for a number before its ending, which it may have or not."""
    stems = {path.stem, match[1] if (match := _NUMBERED.fullmatch(path.stem)) else path.stem}
    names = re.compile(rf"({'|'.join(map(re.escape, stems))})(\.\d{{1,6}})?{re.escape(path.suffix)}")
    return sorted(one for one in path.parent.iterdir() if one != path and names.fullmatch(one.name))


def _only(folder: Path) -> Path:
    found = sorted(one for one in folder.iterdir() if fnmatchcase(one.name, "[!.]*.bpfnb"))
    before = {one: match[1] for one in found if (match := _NUMBERED.fullmatch(one.stem))}
    own = {one for one in found if one.stem in before.values()}  # though it may end in a number
    stems = {one.stem if one in own else before.get(one, one.stem) for one in found}
    if len(stems) != 1:
        raise BadValue(
            f"{folder} has {len(stems)} recordings{': ' * bool(stems)}{', '.join(sorted(stems)[:20])}",
            hints=["name one of the files", "%bpf replay FOLDER binds those of a notebook to its cells"],
        )
    return found[0]


def _gaps(parts: Sequence[Recording]) -> list[str]:
    """What is missing before, between and after *parts*, in words."""
    out, before = [], -1
    for part in parts:
        number = part.manifest.part
        if number > before + 1:
            what = f"part {before + 1}" if number == before + 2 else f"parts {before + 1} to {number - 1}"
            start = (
                f"from {_moment(parts[0] if before < 0 else _of(parts, before), 1)} " if before >= 0 else ""
            )
            out.append(f"{what} of the recording {'is' if number == before + 2 else 'are'} not here: "
                       f"nothing is known {start}until {_moment(part, 0)}")  # fmt: skip
        before = number
    return out


def _of(parts: Sequence[Recording], number: int) -> Recording:
    return next(part for part in parts if part.manifest.part == number)


def _moment(part: Recording, which: int) -> str:
    seconds = part.manifest.window[which]
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        raise BadRecording(f"{part.path} says that it is of {seconds:g} s since 1970") from None


class Rotated(Recording):
    """Several files of one recording, oldest first. ``parts`` has each by itself."""

    def __init__(self, parts: Sequence[Recording], gaps: Sequence[str]) -> None:
        self.parts = tuple(parts)
        self.gaps = tuple(gaps)
        newest = parts[-1]
        self.path = newest.path
        self._archive = newest._archive  # of the names of addresses and processes the last file has all
        self.recovered = any(part.recovered for part in parts)
        self.manifest = _joined([part.manifest for part in parts], complete=not gaps)
        self.objects = {
            name: _RotatedObject(
                name, info, self, [part.objects[name] for part in parts if name in part.objects]
            )
            for name, info in self.manifest.objects.items()
        }

    def again(self) -> Recording:
        with ExitStack() as stack:
            parts = [stack.enter_context(part.again()) for part in self.parts]
            stack.pop_all()
        return Rotated(parts, self.gaps)

    def tables(self) -> pd.DataFrame:
        found = pd.concat([part.tables() for part in self.parts])
        return found.groupby("table", sort=False).sum().reset_index()

    def close(self) -> None:
        for part in self.parts:
            part.close()


class _RotatedObject(RecordedObject):
    def __init__(
        self, name: str, info: ObjectInfo, recording: Recording, parts: Sequence[RecordedObject]
    ) -> None:
        super().__init__(name, info, recording)
        self._parts = tuple(parts)

    @property
    def parts(self) -> Sequence[RecordedObject]:
        return self._parts

    def lanes(self, stream: str) -> list[str]:
        there = {lane for part in self._parts if stream in part.info.streams for lane in part.lanes(stream)}
        return [lane.name for lane in self.stream(stream).lanes if lane.name in there]

    def rows(self, stream: str, lane: str) -> int:
        return sum(part.rows(stream, lane) for part in self._parts)

    def read(self, stream: str, lane: Lane, clock: int | None = None) -> Iterator[Piece]:
        end = 0
        for part in self._parts:
            for piece in part.read(stream, lane, clock):
                if piece.first < end:
                    raise BadRecording(f"{part.recording.path} has rows that an older file has too")
                end = piece.first + piece.rows if piece.numbers is None else int(piece.numbers[-1]) + 1
                yield piece

    def entries(self, name: str) -> Iterator[tuple[int, Bytes2D, Bytes2D]]:
        wanted = self.map(name)
        for part in self._parts:
            for entry in part.info.maps:
                if entry.name == name:
                    if _shape(entry) != _shape(wanted):
                        raise BadRecording(f"the map '{name}' in {part.recording.path} is of another kind")
                    yield from part.entries(name)
                    break

    def table(self, *names: str) -> Iterator[pa.Table]:
        for part in self._parts:
            yield from part.table(*names)

    def _joined(self, folder: str) -> pa.Table:
        found = [_plain(table) for part in self._parts if (table := part._joined(folder)).num_columns]
        try:
            return pa.concat_tables(found, promote_options="permissive") if found else pa.table({})
        except pa.ArrowException as error:
            raise BadRecording(
                f"{folder} in the files of {self.recording.path} do not fit: {error}"
            ) from None


def _shape(entry: MapEntry) -> tuple[object, ...]:
    return entry.kind, entry.key_size, entry.value_size, entry.cpus


def _plain(table: pa.Table) -> pa.Table:
    """Without dictionaries, which finished files do not have here."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table.column(at).cast(field.type.value_type))
    return table


# Their manifests as one


def _joined(manifests: Sequence[Manifest], *, complete: bool) -> Manifest:
    last = manifests[-1]
    lost = dict(last.lost)  # counted from the beginning, but for what each file's recorder missed
    for name in {name for one in manifests for name in one.lost if name.endswith(" recorder")}:
        lost[name] = sum(one.lost.get(name, 0) for one in manifests)
    return replace(
        last,
        window=(manifests[0].window[0], last.window[1]),
        complete=complete and all(one.complete for one in manifests),
        lost=lost,
        part=manifests[0].part,
        objects={
            name: _object([one.objects[name] for one in manifests if name in one.objects])
            for name in last.objects
        },
    )


def _object(infos: Sequence[ObjectInfo]) -> ObjectInfo:
    last = infos[-1]
    streams = {
        name: _stream([info.streams[name] for info in infos if name in info.streams]) for name in last.streams
    }
    tool: dict[str, Any] = dict(last.tool)
    if tool:
        missed = [info.tool.get("missed", 0) for info in infos]
        tool |= {"first": infos[0].tool.get("first", 0)}
        tool |= {"missed": sum(one if type(one) is int else 0 for one in missed)}
    if tool.get("grows") is True:
        tool |= {"attrs": _attrs([info.tool.get("attrs") for info in infos])}
    return replace(last, streams=streams, tool=tool)


def _attrs(parts: Sequence[Any]) -> Any:
    """What rows say of themselves. What streams lost is counted from the beginning, lost stacks in each file."""
    if not all(isinstance(one, dict) and isinstance(one.get(ATTR), dict) for one in parts):
        return parts[-1]
    said = [one[ATTR] for one in parts]
    about = {**said[-1], "complete": all(one.get("complete") is True for one in said)}
    lost = [one[_LOST] for one in said if type(one.get(_LOST)) is int]
    if lost:
        about[_LOST] = sum(lost)
    return {**parts[-1], ATTR: about}


def _stream(infos: Sequence[StreamInfo]) -> StreamInfo:
    last = infos[-1]
    lanes: dict[str, LaneInfo] = {}
    for lane in (lane for info in infos for lane in info.lanes):
        rows = lanes[lane.name].rows if lane.name in lanes else 0
        lanes[lane.name] = replace(lane, rows=rows + lane.rows)
    return replace(
        last,
        lanes=tuple(lanes.values()),
        first=infos[0].first,
        opened=infos[0].opened,
        missed=sum(info.missed for info in infos),
        peak=max(info.peak for info in infos),
    )
