"""What a person types into a column's filter, as a condition of :mod:`bpfnb.views.selection`, and back.

Numbers: ``>1ms``, ``>= 4 KiB < 1 MiB``, ``10..20`` (both ends included), ``0xffff``, ``42``; units are those of the
column. Times: the same with ``12:00:03.5`` (of the day of the newest row) or ``2026-11-21 12:00:03``; a moment that is
written to the second means that whole second. Everything becomes exact whole numbers, nanoseconds for times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bpfnb.errors import BadValue
from bpfnb.views._style import DURATIONS, humanize
from bpfnb.views.events.cells import Kind
from bpfnb.views.selection import describe

__all__ = ["pattern", "ranges", "said", "spelled"]

Condition = dict[str, Any]

_OPERATORS: Final = {
    ">=": "ge",
    "=>": "ge",
    "≥": "ge",
    "<=": "le",
    "=<": "le",
    "≤": "le",
    ">": "gt",
    "<": "lt",
}
_SIGNS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TIMES: Final = {**DURATIONS, "µs": 10**3, "μs": 10**3, "min": 60 * 10**9, "h": 3600 * 10**9}
_SIZES: Final = {
    "": 1, "b": 1, "byte": 1, "bytes": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip
_COUNTS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

_TERM = re.compile(r"\s*(>=|=>|≥|<=|=<|≤|>|<|==?)\s*")
_NUMBER = re.compile(
    r"([+-]?(?:0[xX][0-9a-fA-F_]+|[0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+))\s*(.*)"
)
_MOMENT = re.compile(r"(?:(\d{4}-\d\d-\d\d)[T ]?)?\s*(?:(\d{1,2}:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*")


def ranges(text: str, kind: Kind, unit: str | None, newest: pd.Timestamp | None = None) -> Condition:
    """*text* as a condition on numbers, durations or times; ``{}`` for nothing. BadValue says what it takes.

    *newest*: the time of the newest row in the column's zone, whose day a time without a date belongs to.
    """
    out: Condition = {}
    text = text.strip()
    if ".." in text and not _TERM.match(text):
        low, high = text.split("..", 1)
        if low.strip():
            out["ge"] = _value(low, kind, unit, newest)[0]
        if high.strip():
            out |= _to(_value(high, kind, unit, newest))
        return out
    pieces = _TERM.split(text)
    if pieces[0].strip():
        first, last = _value(pieces[0], kind, unit, newest)
        out |= {"in": [first]} if first == last else {"ge": first, **_to((first, last))}
    for sign, operand in zip(pieces[1::2], pieces[2::2], strict=True):
        first, last = _value(operand, kind, unit, newest)
        if sign in ("=", "=="):
            out |= {"in": [first]} if first == last else {"ge": first, **_to((first, last))}
            continue
        test = _OPERATORS[sign]
        if test == "le":
            out |= _to((first, last))
        else:
            out[test] = last if test == "gt" else first
    return out


def _to(value: tuple[Any, Any]) -> Condition:
    return {"le": value[1]}


def _value(text: str, kind: Kind, unit: str | None, newest: pd.Timestamp | None) -> tuple[Any, Any]:
    """The first and the last value that *text* means."""
    text = text.strip().removesuffix("and").removesuffix(",").strip()
    if kind == "time":
        return _moment(text, newest)
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise BadValue(
            f"'{text}' is no number", hints=["e.g. > 1000, 10..20" if not unit else f"e.g. > 10 {unit}"]
        )
    digits, suffix = found[1].replace(",", "").replace("_", ""), found[2].strip()
    number = Decimal(int(digits, 0)) if "x" in digits.lower() else _decimal(digits)
    number *= _factor(suffix, kind, unit)
    whole: int | float = int(number) if number == int(number) else float(number)
    return whole, whole


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise BadValue(f"'{digits}' is no number") from None


def _factor(suffix: str, kind: Kind, unit: str | None) -> Decimal:
    if kind == "duration":
        own = _TIMES[unit or "ns"]
        if not suffix:
            return Decimal(1)
        if suffix in _TIMES:
            return Decimal(_TIMES[suffix]) / own
        raise BadValue(f"'{suffix}' is no unit of time", hints=["ns, us, ms, s, min or h"])
    if unit == "bytes":
        if suffix.lower() in _SIZES:
            return Decimal(_SIZES[suffix.lower()])
        raise BadValue(f"'{suffix}' is no unit of size", hints=["B, KiB, MiB, GiB; kB, MB, GB"])
    if suffix in _COUNTS or suffix == unit:
        return Decimal(_COUNTS.get(suffix, 1))
    raise BadValue(f"'{suffix}' is no unit of this column", hints=["a plain number, or one with k, M or G"])


def _moment(text: str, newest: pd.Timestamp | None) -> tuple[int, int]:
    found = _MOMENT.fullmatch(text)
    if found is None or not (found[1] or found[2]):
        raise BadValue(f"'{text}' is no time", hints=["e.g. 12:00:03.5 or 2026-11-21 12:00"])
    date, minute, second, fraction = found.groups()
    zone = None if newest is None else newest.tz
    day = date or f"{newest if newest is not None else pd.Timestamp.now('UTC'):%Y-%m-%d}"
    try:
        moment = pd.Timestamp(f"{day} {minute or '00:00'}:{second or '00'}", tz=zone).as_unit("ns")
    except ValueError as error:
        raise BadValue(f"'{text}' is no time: {error}") from None
    first = moment.value + int((fraction or "").ljust(9, "0"))
    step = (
        10 ** (9 - len(fraction))
        if fraction
        else 10**9
        if second
        else 60 * 10**9
        if minute
        else 86_400 * 10**9
    )
    return first, first + step - 1


def pattern(text: str) -> str:
    """*text* where it is a regular expression that takes time in proportion to the text it searches.

    Raises BadValue for a bad pattern, and for look-around and back references: they can take for ever, and the
    linear-time engine that searches (RE2, in Arrow) has none.
    """
    try:
        re.compile(text)
    except re.error as error:
        raise BadValue(f"no regular expression: {error}") from None
    try:
        pc.match_substring_regex(pa.array([""]), text)
    except pa.ArrowInvalid:
        raise BadValue(
            f"'{text}' is not searched", hints=["look-around and back references are not taken"]
        ) from None
    return text


def spelled(condition: Mapping[str, Any], kind: Kind, unit: str | None, zone: Any = None) -> str:
    """*condition*'s ranges and numbers as :func:`ranges` takes them."""
    parts = [
        f"{_SIGNS[test]} {_written(condition[test], kind, unit, zone)}"
        for test in _SIGNS
        if test in condition
    ]
    wanted = condition.get("in") or []
    if (
        len(wanted) == 1
        and not parts
        and kind in ("int", "float", "duration", "time")
        and wanted[0] is not None
    ):
        return _written(wanted[0], kind, unit, zone)
    return " ".join(parts)


def _written(value: Any, kind: Kind, unit: str | None, zone: Any) -> str:
    if kind == "time" and isinstance(value, int):
        moment = (
            pd.Timestamp(value, tz=zone) if zone is None else pd.Timestamp(value, tz="UTC").tz_convert(zone)
        )
        return moment.tz_localize(None).isoformat(sep=" ", timespec="nanoseconds")
    if kind == "duration" and isinstance(value, int):
        short = humanize(value, unit or "ns", 17)
        first, _, suffix = short.partition(" ")
        exact = Decimal(first.replace(",", "")) * _TIMES[suffix] == Decimal(value) * _TIMES[unit or "ns"]
        return f"{first}{suffix}" if exact else f"{value}{unit or 'ns'}"
    return str(value)


def said(name: str, condition: Any, kind: Kind, unit: str | None, zone: Any = None) -> str:
    """The condition on a column in a few words, for a chip."""
    if isinstance(condition, Mapping):
        parts = []
        range_only = {test: condition[test] for test in _SIGNS if test in condition}
        if range_only:
            parts.append(f"{name} {spelled(range_only, kind, unit, zone)}")
        rest = {test: condition[test] for test in condition if test not in _SIGNS}
        if rest.keys() == {"in"} and (alone := spelled(rest, kind, unit, zone)):
            parts.append(f"{name} = {alone}")
        elif rest:
            parts.append(describe({name: rest}))
        return " and ".join(parts)
    return describe({name: condition})
