"""Rules of redaction: which columns one means, which are sensitive without one, and what can be done to which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from bpfnb.errors import BadValue
from bpfnb.frames.columns import Column

__all__ = [
    "ACTIONS",
    "CHANGED",
    "LEFT_OUT",
    "TOLD",
    "Action",
    "Rule",
    "Shown",
    "check_action",
    "matches",
    "private",
    "severity",
]

Action = Literal["drop", "hash", "mask"]
ACTIONS: Final = ("drop", "hash", "mask")

COMMAND_LINES: Final = frozenset({"args", "cmdline"})
PAYLOADS: Final = frozenset({"payload", "data"})
_PRIVATE: Final[Mapping[str, frozenset[str]]] = {
    "text": COMMAND_LINES | {"payload"},  # a text named `data` can be anything
    "bytes": COMMAND_LINES | PAYLOADS,
    "unknown": COMMAND_LINES | PAYLOADS,
}
_ADDRESSES: Final = frozenset({"ipv4", "ipv6", "ip", "mac"})
LEFT_OUT: Final = "left out"
CHANGED: Final = frozenset({"hash", "mask"})
"""What leaves something of a column; all else leaves nothing."""

_PID: Final = frozenset({"pid", "tgid", "tpid"})
_COMM: Final = frozenset({"comm", "tcomm"})
_USER: Final = frozenset({"uid", "user"})
_CGROUP: Final = frozenset({"cgroup", "unit", "container"})
TOLD: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "processes": {
        "pid": _PID,
        "ppid": _PID | {"ppid"},
        "comm": _COMM,
        "parent": _COMM | {"parent"},
        "cmdline": COMMAND_LINES,
        **dict.fromkeys(("uid", "user"), _USER),
        **dict.fromkeys(("cgroup", "unit", "container"), _CGROUP),
    },
    "symbols": {"pid": _PID},
}
"""Of the tables beside what is recorded, by column: the columns of all others that tell the same."""


@dataclass(frozen=True)
class Rule:
    """What is to become of the columns that a pattern means."""

    pattern: str
    action: Action | None  # None: keep what would be left out

    def __str__(self) -> str:
        return f"{self.pattern}={self.action}" if self.action else self.pattern

    def fits(self, table: str, column: str) -> bool:
        """Whether it means the column, or a struct or array that the column is within; *table* may have its object's
        name in front."""
        parts = column.split(".")
        paths = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        tables = ("", f"{table}.", f"{table.rpartition('.')[2]}.")
        return any(matches(before + path, self.pattern) for path in paths for before in tables)


def matches(name: str, pattern: str) -> bool:
    """Whether *name* is meant by a pattern with ``*`` and ``?``, or literally: a column can be called ``argv[1]``."""
    return name == pattern or fnmatchcase(name, pattern)


def private(name: str, kind: str, marked: bool = False) -> bool:
    """Whether a column of *kind* (``text``, ``bytes``, else) is sensitive: by its name, or as it is *marked*."""
    parts = set(name.split("."))
    by_name = _PRIVATE.get(kind, frozenset())
    return marked or bool(parts & by_name)


@dataclass(frozen=True)
class Shown:
    """A column of a frame: ``kind`` is ``text``, ``bytes``, ``int``, ``list`` or another that can only be dropped."""

    name: str
    kind: str
    marked: bool
    format: str | None

    @property
    def private(self) -> bool:
        return private(self.name, self.kind, self.marked)


def severity(what: str | None) -> int:
    """What leaves less of a column is more."""
    return 0 if what is None else 1 if what == "mask" else 2 if what == "hash" else 3


def check_action(name: str, action: Action, column: Column | Shown) -> None:
    """Raises BadValue where the values would be garbage afterwards."""
    if action == "drop":
        return
    form = column.annotations.format if isinstance(column, Column) else column.format
    if action == "mask":
        address = isinstance(column, Column) and form in _ADDRESSES and column.kind in ("int", "bytes")
        if address or column.kind in ("text", "unknown"):
            return
        raise BadValue(f"{name} is no address that could be masked", hints=[f"{name}=hash, or {name}=drop"])
    if column.kind in ("bool", "float", "other") or form == "timestamp":
        raise BadValue(f"a hash of {name} would say nothing", hints=[f"leave it out: {name}=drop"])
