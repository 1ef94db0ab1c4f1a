"""A notebook with its recordings in one file, for somebody who has neither this machine nor its kernel.

The bundle is a zip: the notebook and its page (HTML), both executed from the recordings and from nothing else, so that
they show what the recordings hold and no more; ``recordings/``; ``manifest.json``; and how to open it. A recording with
columns that are sensitive and were not redacted is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bpfnb import __version__
from bpfnb.demo import execute, to_html
from bpfnb.errors import BadValue, BpfnbError, MissingDependency, MissingRecording, UnknownName
from bpfnb.exports.subject import Part, opened
from bpfnb.lab.facts import FILE as FACTS
from bpfnb.recording.hiding import kind_of
from bpfnb.recording.parts import files_of
from bpfnb.recording.reader import Recording
from bpfnb.recording.rules import matches, private
from bpfnb.recording.session import SUFFIX
from bpfnb.views import humanize
from bpfnb.views.plain import Table

__all__ = ["Bundle", "Unredacted", "named", "recordings_of", "rotated", "share", "shared", "unredacted"]

_CELL: Final = re.compile(r"^\s*%%bpf[ \t]+(?:--?\S+[ \t]+)*?([A-Za-z_]\w*)", re.MULTILINE)
_TOOL: Final = re.compile(r"\btools\.([a-z]\w*)\(|^\s*%bpf\s+(?:tool\s+([a-z]\w*)|(trace)\b)", re.MULTILINE)
_LOAD: Final = re.compile(r"\bload\((?:[^()]|\([^()]*\))*?\bname\s*=\s*[\"']([\w.-]+)[\"']", re.DOTALL)
_FILE: Final = re.compile(r"([\w./ -]+\.bpfnb)\b")

_HOW: Final = """\
{notebook} with the recordings of what it measured.

{page} opens in any browser. To explore the data:

    pip install bpfnb jupyterlab
    BPFNB_REPLAY=recordings jupyter lab {notebook}

It needs no privileges, no compiler and no eBPF. manifest.json says where and when the recordings were made, what is
missing in them, and what was redacted.
"""


class Unredacted(BpfnbError):
    """Recordings hold columns that are sensitive and were not redacted. ``columns`` has (file, ``table.column``)."""

    def __init__(self, columns: Sequence[tuple[str, str]]) -> None:
        self.columns = tuple(columns)
        super().__init__(
            "recordings hold sensitive columns as they were:\n"
            + "\n".join(f"    {file}: {column}" for file, column in columns),
            hints=[
                "record again without include=, or with redact=['COLUMN=hash']",
                f"or allow each: {' '.join(f'--allow {shlex.quote(one)}' for _, one in columns[:8])}",
            ],
        )


@dataclass
class Bundle:
    """What was shared: the zip, its files and their sizes, and what is to be known of it."""

    path: Path
    files: dict[str, int]
    notes: list[str] = field(default_factory=list)


def share(
    notebook: str | Path,
    path: str | Path | None = None,
    *,
    recordings: str | Path | None = None,
    allow: Sequence[str] = (),
    as_is: bool = False,
    timeout: int = 600,
    overwrite: bool = False,
) -> Bundle:
    """Put *notebook* and its recordings into the zip *path* (default: ``NOTEBOOK.bundle.zip`` beside it).

    *recordings*: the folder that they are in; else they are looked for beside the notebook: in a folder
    ``recordings``, or in it one named as the notebook or as the number that its name begins with.
    *allow* names sensitive columns to share all the same, ``COLUMN`` or ``TABLE.COLUMN``, with ``*`` and ``?``.
    *as_is* keeps the notebook and its outputs instead of executing it from the recordings: they are then not checked.

    :raises Unredacted: for sensitive columns that were not redacted.
    :raises MissingRecording: for a cell or tool without a recording. :raises BadRecording: for a damaged one.
    :raises BpfnbError: for a cell that fails. :raises MissingDependency: where nbclient or nbconvert is missing.
    """
    notebook = Path(notebook)
    target = notebook.with_suffix(".bundle.zip") if path is None else Path(path)
    if not notebook.is_file():
        raise UnknownName(f"there is no notebook {notebook}")
    if target.exists() and not overwrite:
        raise BadValue(f"{target} is there already", hints=["overwrite=True (--overwrite) replaces it"])
    content = _read(notebook)
    files, gaps = rotated(recordings_of(notebook, content, None if recordings is None else Path(recordings)))
    recorded = {name: at for name, at in files.items() if at.suffix == SUFFIX}
    about = {name: _described(at, name) for name, at in recorded.items()}
    refused = [
        (name, column)
        for name, at in recorded.items()
        for column in unredacted(at)
        if not any(_fits(column, pattern) for pattern in allow)
    ]
    if refused:
        raise Unredacted(refused)
    texts = _pages(notebook, files, as_is, timeout)
    texts["README.txt"] = _HOW.format(notebook=notebook.name, page=f"{notebook.stem}.html").encode()
    texts["manifest.json"] = _manifest(notebook, texts, files, about, gaps, allow, as_is)
    notes = [*gaps, *(f"{name} is not complete" for name, one in about.items() if not one["complete"])]
    notes += ["the notebook's own outputs are as they were: nobody checked them"] if as_is else []
    return Bundle(target, _write(target, texts, files), notes)


# Which recordings


def named(content: Mapping[str, Any]) -> list[str]:
    """The names of what the cells of a notebook load: ``%%bpf`` cells, ``bpfnb.load(name=...)`` and tools."""
    found: dict[str, None] = {}
    for cell in content["cells"]:
        if cell["cell_type"] != "code":
            continue
        text = "".join(cell["source"])
        names = [match[1] for match in _CELL.finditer(text)] + [match[1] for match in _LOAD.finditer(text)]
        if not text.lstrip().startswith("%%"):
            names += [next(filter(None, match.groups())) for match in _TOOL.finditer(text)]
        found.update(dict.fromkeys(names))
    return list(found)


def recordings_of(notebook: Path, content: Mapping[str, Any], folder: Path | None = None) -> dict[str, Path]:
    """The recordings that a notebook needs: paths by the names that they get in the bundle.

    Those of its cells and tools (``io.bpfnb``, ``io-2.bpfnb`` ...) stand in ``recordings/``, files that it names itself
    where it names them. Raises MissingRecording where one is not there.
    """
    names = named(content)
    places = [folder] if folder else list(_places(notebook))
    best = max(
        places,
        key=lambda at: sum((at / f"{name}.bpfnb").is_file() for name in names),
        default=notebook.parent,
    )
    missing = [name for name in names if not (best / f"{name}.bpfnb").is_file()]
    if missing:
        there = sorted(path.stem for path in best.glob("*.bpfnb"))
        raise MissingRecording(
            f"there is no recording of {', '.join(missing)} in {best}",
            hints=[
                f"it has {', '.join(there)}" if there else "name their folder: --recordings DIR",
                "executing the notebook with BPFNB_RECORD=recordings makes them",
            ],
        )
    found: dict[str, Path] = {}
    for name in names:
        numbered = re.compile(rf"{re.escape(name)}(-\d+)?\.bpfnb")
        found |= {
            f"recordings/{at.name}": at for at in sorted(best.glob("*.bpfnb")) if numbered.fullmatch(at.name)
        }
    if found and (best / FACTS).is_file():  # what a lab's workload told when they were made
        found[f"recordings/{FACTS}"] = best / FACTS
    return found | dict(_mentioned(notebook, content))


def rotated(files: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """*files* with those that replay reads with them, of recordings that rotated; and what is missing of these."""
    found = dict(files)
    gaps: dict[frozenset[Path], list[str]] = {}
    for name, at in files.items():
        if at.suffix == SUFFIX:
            family, missing = files_of(at)
            inside = name.removesuffix(at.name)
            found |= {f"{inside}{one.name}": one for one in family}
            gaps |= {frozenset(family): [f"{name}: {gap}" for gap in missing]}
    return found, [gap for missing in gaps.values() for gap in missing]


def _places(notebook: Path) -> Iterator[Path]:
    """Where recordings of a notebook may be, likeliest first."""
    beside = [at / "recordings" for at in (notebook.parent, notebook.parent.parent)]
    number = re.match(r"\d+", notebook.stem)
    for folder in beside:
        yield folder / notebook.stem
        if number:
            yield folder / number[0]
        yield folder
    yield notebook.parent


def _mentioned(notebook: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Files of recordings that the cells name and that lie in the notebook's folder or below it."""
    root = notebook.parent.resolve()
    for cell in content["cells"]:
        for match in _FILE.finditer("".join(cell["source"]) if cell["cell_type"] == "code" else ""):
            at = (root / match[1].strip()).resolve()
            if at.is_file() and at.is_relative_to(root):
                yield str(at.relative_to(root)), at


# What is sensitive


def unredacted(path: Path) -> list[str]:
    """The columns of a recording, ``table.column``, that are sensitive and in it as they were.

    Those that the manifest lists, and those that by their names or annotations ought to be on that list.
    """
    with Recording(path) as recording:
        said = recording.manifest.redaction
        stated = said.get("sensitive")
        treated = said.get("columns")
        found = dict.fromkeys(str(name) for name in stated) if isinstance(stated, list | tuple) else {}
        known = set(map(str, treated)) if isinstance(treated, dict) else set()
        with opened(recording) as subject:
            for part in subject.parts:
                found |= dict.fromkeys(name for name in _private(part) if name not in known)
    return list(found)


def _private(part: Part) -> Iterator[str]:
    frame = part.frame()
    table = "frame" if part.kind == "frame" else part.name
    notes = frame.attrs.get("bpfnb_columns", {})
    for name in map(str, frame.columns):
        if len(frame) and private(name, kind_of(frame[name]), bool(notes.get(name, {}).get("sensitive"))):
            yield f"{table}.{name}"


def _fits(column: str, pattern: str) -> bool:
    table, _, name = column.partition(".")
    return any(matches(word, pattern) for word in (column, name, f"{table}.{name}"))


# What is in the bundle


def _read(notebook: Path) -> dict[str, Any]:
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        cells = content["cells"]
        if not all({"cell_type", "source"} <= set(cell) for cell in cells):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise BadValue(f"{notebook} is no notebook of format 4") from None
    read: dict[str, Any] = content
    return read


def _pages(notebook: Path, files: Mapping[str, Path], as_is: bool, timeout: int) -> dict[str, bytes]:
    """The notebook and its HTML."""
    try:
        import nbclient  # noqa: F401  what executes it
        import nbconvert  # noqa: F401
        import nbformat
    except ImportError as error:
        raise MissingDependency(f"sharing needs {error.name}", hints=["pip install 'bpfnb[lab]'"]) from None
    made = nbformat.read(notebook, as_version=4) if as_is else _executed(notebook, files, timeout)
    page = to_html(made)
    return {notebook.name: nbformat.writes(made).encode(), f"{notebook.stem}.html": page.encode()}


def _executed(notebook: Path, files: Mapping[str, Path], timeout: int) -> Any:
    """The notebook as the recordings make it, in a folder that has nothing else."""
    from nbclient.exceptions import CellExecutionError

    with tempfile.TemporaryDirectory(prefix="bpfnb-share-") as name:
        folder = Path(name)
        (folder / "recordings").mkdir()
        (folder / notebook.name).write_bytes(notebook.read_bytes())
        for inside, at in files.items():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            (folder / inside).symlink_to(at.resolve())
        environment = {"BPFNB_REPLAY": str(folder / "recordings"), "BPFNB_RECORD": ""}
        try:
            return execute(folder / notebook.name, timeout=timeout, env=environment)
        except CellExecutionError as error:
            raise BpfnbError(
                f"{notebook.name} fails when it is executed from its recordings: {error.ename}: {error.evalue}",
                hints=["what the notebook needs must be in the bundle; --as-is shares it as it is"],
                log=str(error),
            ) from None


def _described(path: Path, name: str) -> dict[str, Any]:
    with Recording(path) as recording:
        manifest = recording.manifest
        return {
            "file": name,
            "objects": list(recording.objects),
            "created": manifest.created,
            "kernel": manifest.host.kernel,
            "window": list(manifest.window),
            "complete": recording.completeness["complete"],
            "redaction": manifest.redaction,
        }


def _manifest(
    notebook: Path,
    texts: Mapping[str, bytes],
    files: Mapping[str, Path],
    about: Mapping[str, Any],
    gaps: Sequence[str],
    allow: Sequence[str],
    as_is: bool,
) -> bytes:
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in texts.items()}
    for name, at in files.items():
        with at.open("rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    said = {
        "format": "bpfnb-bundle",
        "version": 1,
        "bpfnb": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "notebook": notebook.name,
        "outputs": "as they were" if as_is else "from the recordings",
        "allowed": list(allow),
        "recordings": list(about.values()),
        "missing": list(gaps),
        "sha256": sums,
    }
    return json.dumps(said, indent=1, ensure_ascii=False).encode()


def _write(target: Path, texts: Mapping[str, bytes], files: Mapping[str, Path]) -> dict[str, int]:
    """The zip, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for inside, data in texts.items():
                out.writestr(inside, data)
            for inside, at in files.items():
                out.write(at, inside, zipfile.ZIP_STORED)  # compressed already
            sizes = {info.filename: info.file_size for info in out.infolist()}
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return sizes


def shared(args: argparse.Namespace) -> Table:
    """The verb ``share``: what the bundle holds, as a table."""
    made = share(
        args.notebook,
        args.to,
        recordings=args.recordings,
        allow=args.allow,
        as_is=args.as_is,
        timeout=args.timeout,
        overwrite=args.overwrite,
    )
    rows: Iterable[tuple[str, str]] = [(name, humanize(size, "bytes")) for name, size in made.files.items()]
    footer = "; ".join(made.notes)
    return Table(
        ("file", "size"),
        list(rows),
        title=f"{made.path}, {humanize(made.path.stat().st_size, 'bytes')}",
        footer=footer,
    )
