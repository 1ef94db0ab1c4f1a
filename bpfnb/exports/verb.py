"""The verb ``export`` of ``%bpf`` and of the ``bpfnb`` command: what was written, as a table."""

from __future__ import annotations

import argparse
from pathlib import Path

from bpfnb.errors import UnknownName
from bpfnb.exports import FORMATS, Written, write
from bpfnb.views import humanize
from bpfnb.views.plain import Table

__all__ = ["exported"]


def exported(args: argparse.Namespace) -> Table:
    """Write ``args.what`` to each of ``args.to``: a file, or a format, whose file then stands beside the recording."""
    what = args.what
    _check(what)
    written: list[Written] = []
    for to in args.to:
        path, format = _target(what, to)  # noqa: A001
        written += write(what, path, format, args.stream, overwrite=args.overwrite)
    rows = [
        (str(one.path), one.name, f"{one.count:,} {one.what}", humanize(one.path.stat().st_size, "bytes"))
        for one in written
    ]
    notes = dict.fromkeys(one.note for one in written if one.note)
    return Table(("file", "of", "holds", "size"), rows, footer="; ".join(notes))


def _check(what: str) -> None:
    from bpfnb.object import objects

    if what not in objects and not Path(what).exists():
        raise UnknownName.among(objects, what, f"'{what}' is neither a recording nor a live object")


def _target(what: str, to: str) -> tuple[Path, str | None]:
    if to not in FORMATS:
        return Path(to), None
    beside = Path(what)
    if beside.is_file():
        beside = beside.with_suffix("")
    elif beside.name in ("", ".."):
        beside = beside.resolve()
    return beside.parent / (beside.name + FORMATS[to][0]), to
