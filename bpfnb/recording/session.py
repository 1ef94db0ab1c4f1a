"""Which recordings this session replays instead of loading anything, and where it records all that it loads.

``BPFNB_REPLAY=DIR`` (or ``%bpf replay DIR``): from then on ``%%bpf NAME``, :func:`bpfnb.load` and tools are bound to
``DIR/NAME.bpfnb``, the second one of a name to ``DIR/NAME-2.bpfnb`` and so on. Which one a cell gets, its text decides
first: the recording of the same text. Running a cell again replays the same file again.

``BPFNB_RECORD=DIR``: each object and tool of the session is recorded to these names, so that a notebook that was
executed once makes what it takes to replay it. ``BPFNB_RECORD_INCLUDE`` names columns, with commas between them, that
are otherwise left out (see :func:`bpfnb.record`): of each object those that it has. Names that fitted none of them are
told on standard error when the session ends.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bpfnb.errors import BadRecording, BpfnbError, Diagnostic, MissingRecording

if TYPE_CHECKING:
    from bpfnb.object import BpfObject
    from bpfnb.recording.reader import RecordedObject
    from bpfnb.tools.tool import Tool

__all__ = [
    "bound",
    "folder",
    "inner",
    "mirror",
    "replay_from",
    "replayed_object",
    "replayed_tool",
    "replaying",
]

SUFFIX: Final = ".bpfnb"

_within = threading.local()


@dataclass
class _Session:
    folder: Path | None = None
    used: dict[Path, set[str]] = field(default_factory=dict)
    """The files that were bound, and to what texts or options."""
    cells: dict[tuple[str, str], tuple[int, list[Path]]] = field(default_factory=dict)
    """By cell and name: at which execution, what was bound by it since."""
    before: dict[tuple[str, str], list[Path]] = field(default_factory=dict)
    """What the same had bound in its execution before."""
    bound: list[tuple[int, str, bool]] = field(default_factory=list)
    """At which execution which object was bound, and whether its program is another than was asked for."""
    recorded: dict[str, int] = field(default_factory=dict)
    """How many recordings of a name were begun."""


def _begun() -> _Session:
    given = os.environ.get("BPFNB_REPLAY")
    return _Session(Path(given) if given else None)


_session = _begun()
_lock = threading.RLock()


def replaying() -> bool:
    """Whether cells, :func:`bpfnb.load` and tools are bound to recordings. Notebooks need make no load then."""
    return _session.folder is not None


def bound() -> list[tuple[int, str, bool]]:
    """What was bound to recordings, in this order: at which execution of a cell (0: in none), the object's name, and
    whether its program differs from the recorded one, not only in comments and spacing."""
    return list(_session.bound)


def folder() -> Path | None:
    """Where the recordings are that are replayed."""
    return _session.folder


def replay_from(path: str | Path | None) -> None:
    """Bind what is loaded from now on to the recordings in the folder *path*; None: load it again.

    Raises MissingRecording where there is no such folder.
    """
    global _session
    if path is not None and not Path(path).is_dir():
        raise MissingRecording(
            f"there is no folder {path}", hints=["give a folder with NAME.bpfnb files, or: off"]
        )
    with _lock:
        _session = _Session(None if path is None else Path(path), recorded=_session.recorded)


@contextlib.contextmanager
def inner() -> Iterator[None]:
    """While a tool is made: the object that it loads is a part of it, neither replayed nor recorded by itself."""
    before = getattr(_within, "tool", False)
    _within.tool = True
    try:
        yield
    finally:
        _within.tool = before


# Replaying


def replayed_object(name: str, text: str | None, *, attach: bool, rows: int | None) -> BpfObject | None:
    """The recorded object in the place of the one that would be loaded; None where nothing is replayed.

    *text* is its C text, None where that is not known. Raises MissingRecording, BadRecording.
    """
    if not replaying() or getattr(_within, "tool", False):
        return None
    from bpfnb.recording.replay import replay_object

    key = "" if text is None else hashlib.sha256(text.encode()).hexdigest()

    def same(recorded: RecordedObject) -> bool:
        return recorded.info.kind == "object" and (not key or recorded.info.text == key)

    recorded = _chosen(name, key, same)
    try:
        if recorded.info.kind != "object":
            raise BadRecording(f"{recorded.recording.path} is of a tool, not of a cell")
        alike = same(recorded)
        if text is None:  # the same as what was recorded without one, too: a program that came compiled
            differs = recorded.info.text not in ("", hashlib.sha256(b"").hexdigest())
        else:
            differs = not alike and _tokens(text) != _tokens(recorded.source)
        remarks = () if alike else (_differs(recorded, much=differs),)
        _session.bound.append((_execution(), name, differs))
        return replay_object(recorded, name, rows=rows, attach=attach, lenient=True, remarks=remarks)
    except BaseException:
        recorded.recording.close()
        raise


def replayed_tool(tool: type[Tool], name: str, options: Mapping[str, Any]) -> Tool | None:
    """The recorded tool in the place of the one that would be started; None where nothing is replayed.

    *name* is what its object is called, *options* those given. Raises MissingRecording, BadRecording.
    """
    if not replaying() or getattr(_within, "tool", False):
        return None
    from bpfnb.recording.replay import replay_tool
    from bpfnb.recording.tools import plain

    asked = plain({option: value for option, value in options.items() if value is not None})

    def same(recorded: RecordedObject) -> bool:
        said = recorded.info.tool
        return said.get("name") == tool.name and plain(said.get("options")) == asked

    recorded = _chosen(tool.name, repr(sorted(asked.items(), key=str)), same)
    try:
        if recorded.info.kind != "tool" or recorded.info.tool.get("name") != tool.name:
            raise BadRecording(f"{recorded.recording.path} is not of the tool {tool.name}")
        return replay_tool(recorded, name, lenient=True, asked=asked)
    except BaseException:
        recorded.recording.close()
        raise


_C: Final = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\w+|/\*.*?\*/|//[^\n]*|\S""", re.DOTALL)


def _tokens(text: str) -> list[str]:
    """The words and signs of a C text."""
    return [word for word in _C.findall(text) if not word.startswith(("//", "/*"))]


def _differs(recorded: RecordedObject, *, much: bool) -> Diagnostic:
    path = recorded.recording.path
    if not much:
        return Diagnostic("warning", f"comments or spacing differ from the text that was recorded in {path}")
    return Diagnostic(
        "warning", f"this text is not the one that was recorded in {path}: what it shows is of that one"
    )


def _chosen(name: str, key: str, same: Callable[[RecordedObject], bool]) -> RecordedObject:
    """The recording to bind: of those of the *name* the first new one that is of the *same*, else the next."""
    with _lock:
        assert _session.folder is not None
        there = _numbered(_session.folder, name)
        if not there:
            raise _missing(_session.folder, name)
        cell = _again(name)
        opened = (_opened(path, name) for path in ([cell] if cell in there else []))
        found = next(opened, None) or _fitting(there, name, key, same)
        path = found.recording.path
        _session.used.setdefault(path, set()).add(key)
        _note(name, path)
        return found


def _fitting(
    there: list[Path], name: str, key: str, same: Callable[[RecordedObject], bool]
) -> RecordedObject:
    new = [path for path in there if path not in _session.used]
    old = [path for path in reversed(there) if key in _session.used.get(path, ())]
    fitting = [*new, *old[:1]]
    for path in fitting:
        found = _opened(path, name)
        if same(found):
            return found
        found.recording.close()
    # Of another text. Where a page says which cell runs, the same cell is known by that, and this is a new one.
    rest = [*new, *old] if _cell() is not None else [*old, *new]
    return _opened((rest or there[-1:])[0], name)


def _opened(path: Path, name: str) -> RecordedObject:
    from bpfnb.recording.parts import opened
    from bpfnb.recording.replay import chosen

    recording = opened(path)
    try:
        return chosen(recording, name if name in recording.objects else None)
    except BaseException:
        recording.close()
        raise


def _numbered(where: Path, name: str) -> list[Path]:
    """``NAME.bpfnb``, ``NAME-2.bpfnb`` ... as far as they are there, in this order."""
    pattern = re.compile(re.escape(name) + r"(?:-(\d{1,6}))?" + re.escape(SUFFIX))
    found = []
    for path in where.iterdir() if where.is_dir() else ():
        if match := pattern.fullmatch(path.name):
            found.append((int(match[1] or 1), path))
    return [path for _, path in sorted(found)]


def _missing(where: Path, name: str) -> MissingRecording:
    if not where.is_dir():
        return MissingRecording(
            f"there is no recording of '{name}': no folder {where}",
            hints=["BPFNB_REPLAY and %bpf replay name the folder with the recordings"],
        )
    there = sorted(path.name.removesuffix(SUFFIX) for path in where.glob("*" + SUFFIX))
    has = f"{where} has: {', '.join(there)}" if there else f"{where} has no recordings"
    return MissingRecording(
        f"there is no recording of '{name}' to replay",
        hints=[
            has,
            f"execute the notebook with BPFNB_RECORD={where} where it may use BPF, or: %bpf replay off",
        ],
    )


# Cells that run again


def _cell() -> tuple[str, int] | None:
    """The running cell by its page's name for it, and the number of its execution; None where nobody says."""
    module = sys.modules.get("IPython")
    shell: Any = module.get_ipython() if module is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return None
    with contextlib.suppress(Exception):  # another front end's idea of a request
        request = kernel.get_parent("shell") or {}
        number = (request.get("metadata") or {}).get("cellId")
        if isinstance(number, str) and number:
            return number, int(shell.execution_count)
    return None


def _execution() -> int:
    """The number of the running cell's execution; 0 where nobody counts them."""
    module = sys.modules.get("IPython")
    shell: Any = module.get_ipython() if module is not None else None
    return 0 if shell is None else int(shell.execution_count)


def _again(name: str) -> Path | None:
    """What the running cell had bound at this place when it ran before."""
    cell = _cell()
    if cell is None:
        return None
    key, execution = (cell[0], name), cell[1]
    when, bound = _session.cells.get(key, (execution, []))
    if when != execution:
        _session.before[key], bound = bound, []
        _session.cells[key] = execution, bound
    before = _session.before.get(key, [])
    return before[len(bound)] if len(bound) < len(before) else None


def _note(name: str, path: Path) -> None:
    cell = _cell()
    if cell is not None:
        _session.cells.setdefault((cell[0], name), (cell[1], []))[1].append(path)


# Recording


def mirror(made: BpfObject | Tool, name: str) -> None:
    """Record *made*, whose recordings are called *name*, where ``BPFNB_RECORD`` asks for it."""
    given = os.environ.get("BPFNB_RECORD")
    if not given or replaying() or getattr(_within, "tool", False):
        return
    from bpfnb.recording.chosen import begin
    from bpfnb.recording.redaction import Redaction

    where = Path(given)
    with _lock:
        number = _session.recorded[name] = _session.recorded.get(name, 0) + 1
    include = [word.strip() for word in os.environ.get("BPFNB_RECORD_INCLUDE", "").split(",") if word.strip()]
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BpfnbError(
            f"nothing can be recorded to {where}: {error.strerror}",
            hints=["BPFNB_RECORD names a folder that may be written"],
        ) from None
    path = where / f"{name}{f'-{number}' if number > 1 else ''}{SUFFIX}"
    redaction = replace(Redaction.parse((), include), lenient=True)
    begin(made, path, redaction, overwrite=True)
    _asked.update(dict.fromkeys(include))
    _fitted.update(redaction.included)


_asked: dict[str, None] = {}
_fitted: set[str] = set()


@atexit.register
def _tell_unfitted() -> None:
    if names := [name for name in _asked if name not in _fitted]:
        said = f"BPFNB_RECORD_INCLUDE: nothing that was recorded has a column {' or '.join(names)}"
        print(f"bpfnb: {said}", file=sys.stderr)
