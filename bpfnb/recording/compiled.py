"""What was compiled, of a recorded object, as far as frames and panels ask for it: text, types, places, warnings."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from bpfnb.btf import Btf
from bpfnb.compile import BpfElf, Source
from bpfnb.compile.events import Event
from bpfnb.errors import BadRecording, Diagnostic, Location
from bpfnb.kernel.backend import MapInfo
from bpfnb.object import STREAM_KINDS
from bpfnb.recording.reader import RecordedObject
from bpfnb.recording.trusted import check_map, check_type, types_of
from bpfnb.variables import variables_of

__all__ = ["check", "compiled"]

# A BTF's header and its one empty string: of a tool, no types are recorded.
_NO_TYPES = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"


@dataclass(frozen=True)
class _RecordedElf(BpfElf):
    """What was compiled, as far as frames and panels ask for it."""

    types: bytes = b""
    sections: Mapping[str, tuple[int, dict[str, int]]] = field(default_factory=dict)
    places: tuple[tuple[str, str], ...] = ()

    @cached_property
    def btf(self) -> Btf:
        return types_of(self.types or _NO_TYPES, "the types of the recording", self.sections)

    @cached_property
    def programs(self) -> tuple[tuple[str, str], ...]:
        return self.places

    def where(self, program: str, section: str) -> Location | None:  # noqa: ARG002
        return None


def compiled(recorded: RecordedObject) -> BpfElf:
    info = recorded.info
    return _RecordedElf(
        data=b"",
        source=Source(recorded.source, info.source_name),
        compiler=info.compiler,
        key=info.source,
        cached=True,
        events={
            name: tuple(Event(number, None if size < 0 else size, of) for number, size, of in found)
            for name, found in info.events.items()
        },
        warnings=tuple(
            Diagnostic(severity, message, Location(file, line, column) if line else None)
            for severity, message, file, line, column in info.warnings
        ),
        views={one.name: one.view for one in info.maps if one.view},
        types=recorded.types,
        sections=info.sections,
        places=tuple((one.name, one.section) for one in info.programs),
    )


def check(recorded: RecordedObject, btf: Btf, maps: Mapping[str, MapInfo]) -> None:
    """Raises BadRecording where types or sizes cannot be."""
    for info in maps.values():
        check_map(btf, info)
        if info.kind in STREAM_KINDS and info.name not in recorded.info.streams:
            raise BadRecording(f"the stream '{info.name}' was not recorded")
    for found in recorded.info.events.values():
        for number, _, name in found:
            if number:
                check_type(btf, number, f"the record '{name[:80]}'")
    sections = {info.internal for info in maps.values()}
    for variable in variables_of(btf).values():
        if variable.section not in sections:
            raise BadRecording(f"the section {variable.section[:80]} of global variables was not recorded")
    for number in btf.ids("datasec"):
        for member, offset, size in getattr(btf[number], "variables", ()):
            check_type(btf, member, "a variable")
            if not (0 <= offset < 1 << 28 and 0 <= size < 1 << 28):
                raise BadRecording(f"a variable has {size:,} bytes from {offset:,} on")
