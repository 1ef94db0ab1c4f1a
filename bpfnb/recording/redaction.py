"""What of a recording's columns is left out, hashed or masked, decided before anything reaches the disk.

A rule reads ``COLUMN=drop|hash|mask`` or ``STREAM.COLUMN=...``, with ``*`` and ``?``; a rule for a struct or an array
holds for its fields. Of several rules for a column the last one counts. Without a rule, left out are: command lines
(text named ``args`` or ``cmdline``), payloads (bytes named ``payload`` or ``data``) and what is marked SENSITIVE;
*include* names those to keep. A rule for a column that says whose an event is holds for the table of processes too,
whichever table it names: ``frame.pid=hash`` for ``pid`` and ``ppid``, a ``comm`` also for ``parent``, a ``uid`` for
``user``.

- ``drop``: the column is not there; in a map's bytes there are zeros.
- ``hash``: HMAC-SHA256 with a key, in the column's own type. Equal values stay equal within one file (and, with the
  same key, in others); nobody without the key can try values out.
- ``mask``: of addresses the network: /24 of IPv4, /48 of IPv6. Text that is no address becomes ``*``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, UnknownName, nearest
from bpfnb.frames.columns import Column
from bpfnb.frames.lane import Columns, Lane
from bpfnb.frames.layout import Layout
from bpfnb.kernel.backend import Bytes2D
from bpfnb.recording.hiding import Hasher, address_text, kind_of, masked, series, words
from bpfnb.recording.packing import put
from bpfnb.recording.rules import (
    ACTIONS,
    CHANGED,
    LEFT_OUT,
    TOLD,
    Rule,
    Shown,
    check_action,
    private,
    severity,
)

__all__ = ["Redaction"]


@dataclass
class Redaction:
    """The rules of one recording. Make one with :meth:`parse`."""

    rules: tuple[Rule, ...]
    include: tuple[Rule, ...]
    hasher: Hasher = field(repr=False)
    keyed: bool
    lenient: bool = False
    """Whether *include* is for several recordings, so that not all of it need fit this one."""
    _plans: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict, repr=False)
    _shown: dict[tuple[str, Shown], str | None] = field(default_factory=dict, repr=False)
    _kept: dict[str, None] = field(default_factory=dict, repr=False)
    _fitted: set[Rule] = field(default_factory=set, repr=False)
    _seen: dict[str, None] = field(default_factory=dict, repr=False)
    _possible: set[str] = field(
        default_factory=set, repr=False
    )  # of records that may be longer than their struct
    _met: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def parse(
        cls, rules: Sequence[str] = (), include: Sequence[str] = (), key: bytes | None = None
    ) -> Redaction:
        """From ``COLUMN=drop|hash|mask`` each. Without *key* a random one is used and forgotten. Raises BadValue."""
        parsed = []
        for text in rules:
            pattern, equals, action = text.rpartition("=")
            pattern, action = pattern.strip(), action.strip()
            if not equals or not pattern:
                raise BadValue(f"'{text}' must read COLUMN=drop, COLUMN=hash or COLUMN=mask")
            if action not in ACTIONS:
                close = nearest(action, ACTIONS, 1)
                hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(ACTIONS)}"
                raise BadValue(f"a column cannot be redacted by '{action}'", hints=[hint])
            parsed.append(Rule(pattern, action))  # type: ignore[arg-type]
        if key is not None and len(key) < 16:
            raise BadValue(
                f"a key of {len(key)} bytes can be guessed",
                hints=["take 16 or more: head -c 32 /dev/urandom"],
            )
        kept = tuple(Rule(text.strip(), None) for text in include)
        return cls(tuple(parsed), kept, Hasher(key or os.urandom(32)), key is not None)

    # What is recorded

    def check(
        self,
        streams: Mapping[str, Sequence[Lane]] | None = None,
        maps: Mapping[str, tuple[Layout, Layout]] | None = None,
        frames: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        """What will be recorded, when recording begins.

        Raises UnknownName for a rule that fits no column (of *include* only without *lenient*), BadValue for one that
        makes no sense for its column.
        """
        for name, lanes in (streams or {}).items():
            for lane in lanes:
                self._of_lane(name, lane)
        for name, (keys, values) in (maps or {}).items():
            self._of_map(name, keys, values)
        for name, frame in (frames or {}).items():
            self._of_frame(name, frame)
        for rule in (*self.rules, *(() if self.lenient else self.include)):
            if rule not in self._fitted:
                known = list(self._seen)
                close = nearest(rule.pattern, [*known, *(one.partition(".")[2] for one in known)], 1)
                raise UnknownName(
                    f"'{rule}': nothing recorded has a column '{rule.pattern}'",
                    hints=[f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"],
                )

    @property
    def included(self) -> set[str]:
        """Those of *include* that fit a column."""
        return {str(rule) for rule in self.include if rule in self._fitted}

    def sensitive(self, column: Column) -> bool:
        """Whether a column is left out where no rule says otherwise."""
        return private(column.name, column.kind, column.annotations.sensitive)

    def dropped(self, table: str, lane: str = "") -> frozenset[str]:
        """The columns of a stream's type, a map or a frame that are not there."""
        plan = self._plans.get((table, lane), {})
        return frozenset(name for name, what in plan.items() if what not in CHANGED)

    def described(self) -> dict[str, Any]:
        """For the manifest: the rules, what became of which column, and which sensitive ones are there as they were."""
        columns = {
            name: what
            for (table, _), plan in self._plans.items()
            for column, what in plan.items()
            if (name := f"{table}.{column}") not in self._possible or name in self._met
        }
        return {
            "rules": [str(rule) for rule in self.rules],
            "include": [str(rule) for rule in self.include],
            "columns": columns,
            "sensitive": list(self._kept),
            "key": "given" if self.keyed else "forgotten",
        }

    # Data on their way

    def stream(self, name: str, lane: Lane, columns: Columns) -> Columns:
        """Decoded columns of a batch without those to drop, others changed; *columns* itself stays as it is."""
        plan = self._of_lane(name, lane)
        if not plan:
            return columns
        known = _by_name(lane)
        self._met.update(f"{name}.{column}" for column in plan if column in columns)
        out = {}
        for column, values in columns.items():
            match plan.get(column):
                case None:
                    out[column] = values
                case "hash":
                    out[column] = self.hasher.column(known[column], values)
                case "mask":
                    out[column] = masked(known[column], values)
        return out

    def map(
        self, name: str, key_layout: Layout, value_layout: Layout, keys: Bytes2D, values: Bytes2D
    ) -> tuple[Bytes2D, Bytes2D]:
        """The raw bytes of all entries, redacted field by field; values of a per-CPU map for each CPU."""
        plan = self._of_map(name, key_layout, value_layout)
        if not plan:
            return keys, values
        names = _map_columns(key_layout, value_layout)
        if "frames" in plan and not value_layout.size:
            values = self._stacks(values, plan["frames"])
        return (
            self._bytes(keys, key_layout, names[0], plan),
            self._bytes(values, value_layout, names[1], plan),
        )

    def frame(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame as a person reads it, redacted; ``attrs`` stay."""
        plan = self._of_frame(name, frame)
        if not plan:
            return frame
        out = frame.drop(columns=[column for column, what in plan.items() if what not in CHANGED])
        changed = {
            column: series(out[column], self.hasher.arrow if plan[column] == "hash" else _mask_arrow)
            for column in out.columns
            if column in plan
        }
        if name == "symbols" and "pid" in changed:  # 0 is the kernel, and nobody's secret
            changed["pid"] = np.where(frame["pid"] == 0, 0, changed["pid"])
        out = out.assign(**changed)
        out.attrs = frame.attrs
        return out

    def _bytes(
        self, rows: Bytes2D, layout: Layout, names: Mapping[str, str], plan: Mapping[str, str]
    ) -> Bytes2D:
        """Rows of one value each, or of one value a CPU in steps of 8 bytes, with the fields of *plan* changed."""
        chosen = [column for column in layout.columns if names[column.name] in plan]
        if not chosen or not len(rows):
            return rows
        width = rows.shape[1]
        step = -(-layout.size // 8) * 8
        each = width if width == layout.size else step
        out = np.array(rows, copy=True).reshape(-1, each)
        for column in chosen:
            one = replace(layout, columns=(column,))
            values = one.decode(out)[column.name]
            match plan[names[column.name]]:
                case "hash":
                    put(out, column, self.hasher.column(column, values))
                case "mask":
                    put(out, column, masked(column, values))
                case _:
                    put(out, column, None)
        return out.reshape(len(rows), width)

    def _stacks(self, values: Bytes2D, what: str) -> Bytes2D:
        if what != "hash":
            return np.zeros_like(values)
        words_: Any = np.ascontiguousarray(values).view(np.uint64)
        hashed: Any = np.where(words_ == 0, words_, self.hasher.numbers(words_))
        return np.ascontiguousarray(hashed).view(np.uint8)

    # What becomes of which column

    def _of_lane(self, name: str, lane: Lane) -> Mapping[str, str]:
        plan = self._plans.get((name, lane.name))
        if plan is None:
            columns = _by_name(lane)
            if lane.layout is not None and lane.layout.tail is None:
                self._possible.add(f"{name}.{lane.rest.name}")
            plan = self._plan(name, {column: columns[column] for column in columns})
            for column, other in _overlapping([c for c in columns.values() if c.size], plan):
                plan[column] = f"{LEFT_OUT}: shares bytes with {other}"
                self._kept.pop(f"{name}.{column}", None)
            self._plans[name, lane.name] = plan
        return plan

    def _of_map(self, name: str, keys: Layout, values: Layout) -> Mapping[str, str]:
        plan = self._plans.get((name, ""))
        if plan is None:
            names = _map_columns(keys, values)
            columns = {
                shown: replace(column, name=shown)
                for layout, side in ((keys, names[0]), (values, names[1]))
                for column in layout.columns
                if (shown := side[column.name])
            }
            if not values.size:
                columns["frames"] = replace(_NUMBERS, name="frames")
            plan = self._plans[name, ""] = self._plan(name, columns)
        return plan

    def _of_frame(self, name: str, frame: pd.DataFrame) -> Mapping[str, str]:
        """By column and by what it holds: tables of one name can differ, and an empty column may fill."""
        notes = frame.attrs.get("bpfnb_columns", {})
        plan: dict[str, str] = {}
        for column in map(str, frame.columns):
            stated = notes.get(column, {})
            shown = Shown(column, kind_of(frame[column]), bool(stated.get("sensitive")), stated.get("format"))
            if (name, shown) not in self._shown:
                self._shown[name, shown] = self._plan(name, {column: shown}).get(column)
            if (what := self._shown[name, shown]) is not None:
                plan[column] = what
        for column, what in self._told(name).items():
            if what == "mask" and column in frame.columns and kind_of(frame[column]) != "text":
                what = "drop"  # a number has no network that could stay
            if column in frame.columns and severity(what) > severity(plan.get(column)):
                plan[column] = what
                self._kept.pop(f"{name}.{column}", None)
        if name == "symbols" and "pid" in plan:  # without it nobody could tell whose a name is
            plan["pid"] = "hash"
        self._plans.setdefault((name, ""), {}).update(plan)
        return plan

    def _told(self, name: str) -> dict[str, str]:
        """Of a table beside what is recorded, what becomes of its columns, as others that tell the same are hidden."""
        found: dict[str, str] = {}
        hidden = [(c.rpartition(".")[2], what) for plan in self._plans.values() for c, what in plan.items()]
        for own, same in TOLD.get(name, {}).items():
            kept = f"{name}.{own}" in self._kept
            actions = [what for column, what in hidden if column in same and not (kept and what == LEFT_OUT)]
            if actions:
                found[own] = max(actions, key=severity)
        return found

    def _plan(self, table: str, columns: Mapping[str, Column | Shown]) -> dict[str, str]:
        plan: dict[str, str] = {}
        for name, column in columns.items():
            self._seen[f"{table}.{name}"] = None
            rules = [rule for rule in self.rules if rule.fits(table, name)]
            kept = [rule for rule in self.include if rule.fits(table, name)]
            self._fitted.update(rules, kept)
            secret = column.private if isinstance(column, Shown) else self.sensitive(column)
            if rules:
                action = rules[-1].action
                assert action
                try:
                    check_action(f"{table}.{name}", action, column)
                except BadValue:
                    if table not in TOLD:
                        raise
                    action = "drop"  # the rule was made for another column of the name
                plan[name] = action
            elif secret and not kept:
                plan[name] = LEFT_OUT
            elif secret:
                self._kept[f"{table}.{name}"] = None
        return plan


_NUMBERS: Final = Column("", "list", "<u8", 0, 8, "", Lane(None).rest.annotations)


def _by_name(lane: Lane) -> dict[str, Column]:
    return {column.name: column for column in (*(lane.layout.columns if lane.layout else ()), lane.rest)}


def _map_columns(keys: Layout, values: Layout) -> tuple[dict[str, str], dict[str, str]]:
    """The names in a map's frame of the columns of its key and of its value."""
    left = {column.name: column.name or ("key" if values.size else "stack_id") for column in keys.columns}
    right = {column.name: column.name or "value" for column in values.columns}
    both = set(left.values()) & set(right.values())
    return (
        {name: f"key_{shown}" if shown in both else shown for name, shown in left.items()},
        {name: f"value_{shown}" if shown in both else shown for name, shown in right.items()},
    )


def _overlapping(columns: Sequence[Column], plan: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The columns that are not in *plan* and show bits of one that is: unions, and the bytes beside them."""

    def bits(column: Column) -> tuple[int, int]:
        first, width = column.bits or (8 * column.offset, 8 * column.size)
        return first, first + width

    hidden = [(column.name, *bits(column)) for column in columns if column.name in plan]
    for column in columns:
        start, end = bits(column)
        for name, first, last in hidden:
            if column.name not in plan and start < last and first < end:
                yield column.name, name
                break


_mask_arrow = partial(words, change=address_text)
