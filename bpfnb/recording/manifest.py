"""``manifest.json``: what a recording is of, where and when it was made, and what it lacks.

The dataclasses are the format: each field is a key of the JSON object. Reading checks every type; keys that are
unknown are ignored, keys that are missing have the field's default. Times are seconds since 1970 (``float``), clocks
nanoseconds.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from bpfnb.errors import BadRecording
from bpfnb.kernel.backend import MapInfo

__all__ = [
    "FORMAT",
    "VERSION",
    "Host",
    "LaneInfo",
    "Manifest",
    "MapEntry",
    "ObjectInfo",
    "ProgramEntry",
    "StreamInfo",
]

FORMAT: Final = "bpfnb-recording"
VERSION: Final = 2
"""Written since snapshots of a finished recording are changes; 1 is read too."""
MAX_BYTES: Final = 16 << 20
_MOST: Final = 100_000  # members of one list or object


@dataclass(frozen=True, slots=True)
class Host:
    """The machine: what everybody may know of it, and in ``facts`` what the user chose to tell."""

    kernel: str = ""
    machine: str = ""
    cpus: int = 1
    btf: str = ""
    """sha256 (hex) of the kernel's BTF."""
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LaneInfo:
    """A record type of a stream: the folder's name, the type's id in types.btf (0: bytes), its size, rows written."""

    name: str
    type_id: int = 0
    size: int = 0
    rows: int = 0
    tail: tuple[str, ...] = ()
    """Name and kind (``text``, ``bytes``) of the flexible array at its end."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream at the end of the recording. ``first`` is the number of the first row, ``total`` that after the last.

    ``missed`` counts rows that the frame's bound evicted before they were written.
    """

    kind: str
    lanes: tuple[LaneInfo, ...] = ()
    view: tuple[str, ...] | None = None
    counted: bool = True
    lost_by: dict[str, int] = field(default_factory=dict)
    first: int = 0
    total: int = 0
    missed: int = 0
    short: int = 0
    peak: float = 0.0
    """The largest share of the buffer that waited to be read."""
    opened: float = 0.0
    looked: float = 0.0


@dataclass(frozen=True, slots=True)
class MapEntry:
    """A map: all that the kernel and the object's types say of it. ``lost``: updates that found it full."""

    name: str
    kind: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key_type: int = 0
    value_type: int = 0
    cpus: int = 1
    internal: str = ""
    inner: MapEntry | None = None
    id: int = 0
    view: tuple[str, ...] | None = None
    counted: bool = True
    lost: int = 0

    @classmethod
    def of(cls, info: MapInfo, **more: Any) -> MapEntry:
        known = {
            f.name: getattr(info, f.name) for f in dataclasses.fields(info) if f.name not in ("fd", "inner")
        }
        return cls(**known, inner=cls.of(info.inner) if info.inner else None, **more)

    def info(self) -> MapInfo:
        """As the backend describes a map. ``fd`` is -1."""
        names = [f.name for f in dataclasses.fields(MapInfo) if f.name not in ("fd", "inner")]
        known = {name: getattr(self, name) for name in names}
        return MapInfo(**known, fd=-1, inner=self.inner.info() if self.inner else None)


@dataclass(frozen=True, slots=True)
class ProgramEntry:
    name: str
    section: str
    kind: str
    attach_type: str = ""
    id: int = 0
    auto_attach: bool = True
    options: bool = False
    """Whether options said where it is attached."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object or a tool. ``tool`` is, of a tool, its name, the options given and what else replaying it takes."""

    kind: str
    """``object`` or ``tool``."""
    folder: str = ""
    """Where its files are: ``objects/io``."""
    source_name: str = "cell"
    source: str = ""
    """Its key: sha256 (hex) of all that the object was made from."""
    text: str = ""
    """sha256 (hex) of source.c."""
    compiler: str = ""
    dialect: str = "libbpf"
    btf: str = ""
    """sha256 (hex) of types.btf."""
    state: str = ""
    note: str = ""
    pauses: tuple[tuple[float, ...], ...] = ()
    """When no program was attached: begin and, where it ended, end."""
    programs: tuple[ProgramEntry, ...] = ()
    maps: tuple[MapEntry, ...] = ()
    streams: dict[str, StreamInfo] = field(default_factory=dict)
    events: dict[str, tuple[tuple[int, int, str], ...]] = field(default_factory=dict)
    """Record types by buffer: type id, size (-1: varies), name."""
    sections: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)
    """The sections of global variables: size, and offset by variable, which compilers leave out of types.btf."""
    warnings: tuple[tuple[str, str, str, int, int], ...] = ()
    """The compiler's: severity, message, file, line, column."""
    tool: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole. ``stopped`` says why it ended: ``recording`` while it goes on (or was killed), ``stopped``,
    ``object ended``, ``limit size``, ``limit time``, ``limit entries``, ``limit rotation``, ``failed``.
    """

    bpfnb: str
    created: str
    """ISO 8601 in UTC."""
    host: Host = field(default_factory=Host)
    clock_offset: int = 0
    """CLOCK_REALTIME minus CLOCK_MONOTONIC of the recording process, in ns."""
    window: tuple[float, float] = (0.0, 0.0)
    stopped: str = "recording"
    complete: bool = False
    lost: dict[str, int] = field(default_factory=dict)
    """Where events or updates were lost (``io.events``), and by the recorder itself (``io.events recorder``)."""
    overhead: dict[str, float] = field(default_factory=dict)
    """Share of one CPU: of all ``programs``, and of the ``recorder``."""
    limits: dict[str, float] = field(default_factory=dict)
    part: int = 0
    """Of a rotated recording, which file this is, counted from 0."""
    redaction: dict[str, Any] = field(default_factory=dict)
    """``rules``, ``include``, ``columns`` (``events.args``: what became of it), ``sensitive`` (those that are there
    all the same) and ``key`` (``given``, ``forgotten``): see :meth:`bpfnb.recording.redaction.Redaction.described`."""
    objects: dict[str, ObjectInfo] = field(default_factory=dict)
    format: str = FORMAT
    version: int = VERSION

    def to_json(self) -> bytes:
        return json.dumps(
            dataclasses.asdict(self), separators=(",", ":"), allow_nan=False, default=str
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Raises BadRecording for anything that is not a manifest of this version."""
        try:
            found = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BadRecording(f"the manifest is no JSON: {error}") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise BadRecording(
                "the manifest is not that of a recording", hints=["give a file that bpfnb.record wrote"]
            )
        if found.get("version") not in range(1, VERSION + 1):
            raise BadRecording(
                f"this recording has version {found.get('version')!r} of the format; {VERSION} is the last one known",
                hints=["a newer bpfnb may read it"],
            )
        try:
            manifest: Manifest = _read(cls, found, "manifest")
        except RecursionError:
            raise BadRecording("the manifest is nested too deeply") from None
        return manifest


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _read(wanted: Any, value: Any, path: str) -> Any:
    """*value* from JSON as the type *wanted*."""
    origin, args = typing.get_origin(wanted), typing.get_args(wanted)
    if dataclasses.is_dataclass(wanted):
        return _read_fields(wanted, _checked(dict, value, path), path)
    if origin is types.UnionType:
        return None if value is None else _read(args[0], value, path)
    if origin is tuple:
        items = _checked(list, value, path)
        if args[-1] is Ellipsis:
            return tuple(_read(args[0], item, f"{path}[{n}]") for n, item in enumerate(items))
        if len(items) != len(args):
            raise BadRecording(f"{path} has {len(items)} members, not {len(args)}")
        return tuple(_read(one, item, path) for one, item in zip(args, items, strict=True))
    if origin is dict:
        return {
            name: _read(args[1], item, f"{path}.{name[:80]}")
            for name, item in _checked(dict, value, path).items()
        }
    if wanted is Any:
        return value
    if wanted is float and type(value) is int:
        value = float(value) if abs(value) < 1 << 63 else value
    return _checked(wanted, value, path)


def _read_fields(wanted: Any, value: dict[str, Any], path: str) -> Any:
    hints = _hints(wanted)
    known = {
        f.name: _read(hints[f.name], value[f.name], f"{path}.{f.name}")
        for f in dataclasses.fields(wanted)
        if f.name in value
    }
    try:
        return wanted(**known)
    except TypeError as error:  # without a default
        raise BadRecording(f"{path}: {error}".replace("__init__() ", "")) from None


def _checked(wanted: type, value: Any, path: str) -> Any:
    wrong = type(value) is not wanted
    if not wrong and wanted is int:
        wrong = not -(1 << 63) <= value < 1 << 64
    if not wrong and wanted is float:
        wrong = not math.isfinite(value)
    if not wrong and wanted in (list, dict):
        wrong = len(value) > _MOST
    if wrong:
        raise BadRecording(f"{path} is {str(value)[:60]!r}, where the format has {wanted.__name__}")
    return value
