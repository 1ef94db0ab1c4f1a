"""Replaying: a recorded object as if it were live, with the same streams, maps, frames and views, without a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfnb.cost import Cost
from bpfnb.errors import BadRecording, Diagnostic, UnknownName
from bpfnb.frames import MapFrame, Stream, pump
from bpfnb.kernel.backend import MapInfo
from bpfnb.object import BpfObject, objects
from bpfnb.recording.backend import RecordedBackend, RecordedMaps
from bpfnb.recording.compiled import check, compiled
from bpfnb.recording.maps import ReplayedMap
from bpfnb.recording.parts import opened
from bpfnb.recording.player import Player
from bpfnb.recording.reader import RecordedObject, Recording
from bpfnb.recording.rules import CHANGED
from bpfnb.recording.streams import ReplayedStream
from bpfnb.recording.symbols import RecordedSymbols
from bpfnb.recording.trusted import guarded

if TYPE_CHECKING:
    from bpfnb.tools.tool import Tool

__all__ = ["ReplayedObject", "chosen", "replay", "replay_from", "replay_object", "replay_tool"]


def replay(
    path: str | Path,
    *,
    speed: float | None = None,
    name: str | None = None,
    object: str | None = None,  # noqa: A002
) -> ReplayedObject | Tool:
    """An object or a tool of the recording *path*, with all that it saw. Needs no kernel with BPF and no privileges.

    Of a recording that rotated *path* is any of its files, or their folder: all that are there are replayed as one, and
    what is missing is said.

    :param speed: how many times as fast as it was recorded; ``None``: all at once. ``obj.replay`` is the
        :class:`~bpfnb.recording.player.Player`: ``await obj.replay`` waits for the end.
    :param name: the name to give it; by default the recorded one, with a number behind it while another has that.
    :param object: which one, where the recording has several.
    :raises BadRecording: for a file that is damaged or no recording. UnknownName, BadValue.
    """
    return replay_from(opened(path), speed=speed, name=name, object=object)


def replay_from(
    recording: Recording,
    *,
    speed: float | None = None,
    name: str | None = None,
    object: str | None = None,  # noqa: A002
) -> ReplayedObject | Tool:
    """As :func:`replay`, of a recording that is open and is closed with what is replayed of it."""
    try:
        recorded = chosen(recording, object)
        if recorded.info.kind == "tool":
            return replay_tool(recorded, name or _free_name(recorded), speed=speed)
        return replay_object(recorded, name or _free_name(recorded), speed=speed)
    except BaseException:
        recording.close()
        raise


def chosen(recording: Recording, name: str | None) -> RecordedObject:
    """The object *name*, or the only one there is."""
    there = recording.objects
    if name is None and len(there) == 1:
        return next(iter(there.values()))
    if name is not None and name in there:
        return there[name]
    if not there:
        raise BadRecording(f"{recording.path} has no objects")
    hint = f'object="{next(iter(there))}"'
    what = "which of them?" if name is None else f"but no '{name}'"
    raise UnknownName(f"{recording.path} has {', '.join(there)}, {what}", hints=[f"for example {hint}"])


def replay_object(
    recorded: RecordedObject,
    name: str,
    *,
    speed: float | None = None,
    rows: int | None = None,
    attach: bool = True,
    lenient: bool = False,
    remarks: Sequence[Diagnostic] = (),
) -> ReplayedObject:
    """*recorded* as the live object *name*, in the place of the one that had the name.

    With *lenient*, what notebooks do to live maps is noted and ignored.
    """
    player = Player(_window(recorded), speed)
    made = guarded(
        f"'{recorded.name}' in {recorded.recording.path}",
        lambda: ReplayedObject(recorded, name, player, rows=rows, lenient=lenient, remarks=remarks),
    )
    old = objects.get(name)
    if attach:
        made.attach()
    objects[name] = made
    if old is not None:
        old.close("replaced by the next object of this name")
    return made


def replay_tool(
    recorded: RecordedObject,
    name: str,
    *,
    speed: float | None = None,
    lenient: bool = False,
    asked: Mapping[str, Any] | None = None,
) -> Tool:
    """*recorded*, a tool, whose object is named *name*; it says where *asked* are other options than it was given."""
    from bpfnb.recording.tool_replay import restored

    made = replay_object(recorded, name, speed=speed, lenient=lenient)
    player = made.replay
    try:
        tool = restored(recorded, made, moment=lambda: player.position, origin=made.origin)
        made.remark("" if asked is None else tool.otherwise(asked))
    except BaseException:
        made.close()
        raise
    return tool


class ReplayedObject(BpfObject):
    """A recorded object. All of :class:`~bpfnb.object.BpfObject` is as it was live, up to the moment that has come.

    ``replay`` is where it is in the recording: ``await io.replay`` waits for the end. ``attach``, ``pause`` and
    ``resume`` let it run and stand, ``stop`` leaves it where it is. Global variables can be set, which changes nothing
    but their value here. ``recording`` is the file.
    """

    replay: Player
    recording: Recording

    def __init__(
        self,
        recorded: RecordedObject,
        name: str,
        player: Player,
        *,
        rows: int | None = None,
        lenient: bool = False,
        remarks: Sequence[Diagnostic] = (),
    ) -> None:
        self.recording = recorded.recording
        self.replay = player
        self._recorded = recorded
        self._remarks = tuple(remarks)
        self._said = ""
        elf = compiled(recorded)
        self._memory = RecordedMaps(recorded, player, lenient=lenient)
        check(recorded, elf.btf, self._memory.maps)
        symbols = RecordedSymbols.of(recorded.recording.symbols)
        options = {one.name: {"recorded": True} for one in recorded.info.programs if one.options}
        super().__init__(
            name, elf, self._memory, RecordedBackend(recorded), options=options, rows=rows, watchdog=None
        )
        pauses = [(one[0], one[1] if len(one) > 1 else None) for one in recorded.info.pauses if one]
        frames: tuple[Stream | MapFrame, ...] = (*self.streams.values(), *self.maps.values())
        for frame in frames:
            frame.symbols = symbols
            frame.provenance["object"] = recorded.name
            if redacted := _redacted(recorded, frame.name):
                frame.provenance["redacted"] = redacted
                frame.gone = frozenset(name for name, what in redacted.items() if what not in CHANGED)
            frame.pauses[:] = pauses
            frame.settled = player.ended
        player.on_end = self._ended
        if player.ended:
            for stream in self.streams.values():
                pump.remove(stream)
        self._about = _about(recorded)

    def _stream(self, info: MapInfo, provenance: Mapping[str, str], rows: int | None) -> Stream:
        return ReplayedStream(
            info.name, self._recorded, self.replay, self._layouts(info), provenance=provenance, rows=rows
        )

    def _map(self, info: MapInfo, provenance: Mapping[str, str]) -> MapFrame:
        return ReplayedMap(self._recorded, self._memory, info, self.elf.btf, provenance)

    def _counted(self, map_name: str, what: str) -> Any:  # noqa: ARG002  their recorded counts are read
        return None

    # What is said of it

    @property
    def status(self) -> str:
        if self.state not in ("attached", "loaded"):
            return self.state
        return "replayed" if self.replay.ended else "replaying" if self.state == "attached" else self.state

    @property
    def note(self) -> str:
        """Why it ended, and what of it was changed in vain."""
        ended = "the replay has come to the end of the recording" if self._over else ""
        ignored = ", ".join(sorted(self._memory.ignored))
        written = f"what was written to {ignored} was ignored: a recording does not change" if ignored else ""
        return "; ".join(filter(None, [self._said, self._about, ended, written]))

    @note.setter
    def note(self, said: str) -> None:
        self._said = said

    _about = ""
    _over = False

    @property
    def warnings(self) -> Sequence[Diagnostic]:
        """What differs from the recorded cell, then the compiler's warnings."""
        return (*self._remarks, *self.elf.warnings)

    def remark(self, said: str) -> None:
        """Say it beside what the recording says of itself, here and under every picture."""
        self._about = "; ".join(filter(None, [self._about, said]))

    def _ended(self) -> None:
        self._over = self.replay.speed is not None
        for frame in self.maps.values():
            frame.settled = True

    # What a kernel would do

    def _now_attached(self) -> None:
        self.state, self.note = "attached", ""

    def stop(self, note: str = "") -> None:
        """Leave the replay where it is, for good. Maps stay readable and streams keep what has come."""
        super().stop(note)
        self.replay.stop()
        for stream in self.streams.values():
            pump.remove(stream)

    def close(self, note: str = "") -> None:
        super().close(note)
        self.recording.close()

    def costs(self) -> dict[str, Cost]:
        """Cost by program, as it was measured when it was recorded."""
        return self._memory.costs()

    @property
    def cpu_share(self) -> float:
        costs = self.costs().values()
        return sum(cost.cpu_share for cost in costs) if costs else float("nan")

    def statistics(self) -> AbstractContextManager[object]:
        return nullcontext()


def _redacted(recorded: RecordedObject, table: str) -> dict[str, str]:
    """The columns of a stream or map that are not as they were, and what became of them."""
    said = recorded.recording.manifest.redaction.get("columns")
    starts = (f"{table}.", f"{recorded.name}.{table}.")
    return {
        name.removeprefix(start): str(what)
        for name, what in (said.items() if isinstance(said, dict) else ())
        for start in starts
        if name.startswith(start)
    }


def _about(recorded: RecordedObject) -> str:
    """What people must know of how the recording ended and of what was left out."""
    said = {
        "killed": "unfinished: its recorder was killed or still writes; what came after it last wrote is missing",
        "failed": "its recorder failed: what came after that is missing",
        "limit size": "the recording ended at its limit in bytes",
        "limit time": "the recording ended at its limit in seconds",
        "limit entries": "the recording ended at 100,000 tables: with a longer flush there are fewer",
        "limit rotation": "the recording goes on in a file that is not here",
    }.get(recorded.recording.stopped, "")
    tables = (*recorded.info.streams, *(one.name for one in recorded.info.maps))
    redacted = [
        f"{table}.{column}" for table in dict.fromkeys(tables) for column in _redacted(recorded, table)
    ]
    said = "; ".join(filter(None, [said, *recorded.recording.gaps]))
    redacted += _redacted(recorded, "frame") if recorded.info.kind == "tool" else ()
    changed = f"left out or changed: {', '.join(redacted)}" if redacted else ""
    return "; ".join(filter(None, [said, changed]))


def _window(recorded: RecordedObject) -> tuple[float, float]:
    """From when until when there is something to replay."""
    start, stop = recorded.recording.manifest.window
    streams = [one for one in recorded.info.streams.values() if one.opened]
    start = (
        min([start, *(one.opened for one in streams)])
        if start
        else min([one.opened for one in streams] or [0.0])
    )
    stop = max([stop, *(one.looked for one in streams)])
    return start, max(start, stop)


def _free_name(recorded: RecordedObject) -> str:
    """The recorded name; where another has it, with a number, unless that is of the same file."""
    name, number = recorded.name, 2
    while (other := objects.get(name)) is not None:
        same = isinstance(other, ReplayedObject) and other.recording.path == recorded.recording.path
        if same and other._recorded.name == recorded.name:
            break
        name, number = f"{recorded.name}_{number}", number + 1
    return name
