"""A column's values as the text of table cells: short in the cell, exact on hover, in full in the row's detail.

What a value is comes from its dtype and from what the frame says of the column (``Source.about``): a duration reads
``1.5 ms`` and says ``1,500,213 ns`` on hover, a moment its time of day to the microsecond and then its date and
nanoseconds, bytes their hex digits; counts have a comma every three digits, ids none. All text is made here, in Python,
from exact integers: a u64 never becomes a browser's number.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from bpfnb.views._style import DURATIONS, humanize, printable, share

__all__ = ["NA", "RIGHT", "Face", "Kind", "full", "iso", "kind_of", "texts", "titles"]

Kind = Literal["int", "float", "bool", "time", "duration", "text", "category", "bytes", "list"]

NA: Final = "\0"
"""A missing value on its way to the browser. Cell text holds no control characters, so nothing else reads so."""

RIGHT: Final[frozenset[Kind]] = frozenset({"int", "float", "duration", "time"})
"""Kinds whose cells stand to the right."""

_WORD = re.compile(r"[._\s]+")
_CUT = 200  # characters of a cell; the detail has the rest
_BYTES = 24
_ITEMS = 8
_WIDE = 1 << 32  # from here on a whole number's hover shows it in hex too: it may be an address
_KERNEL = (
    0xFFFF << 48
)  # and from here on it is one of the kernel (or a small negative number): only hex can be read

_AMOUNTS: Final = frozenset({"pages", "packets", "Hz", "percent"})
"""Units whose whole numbers say how much."""
_NAMES = """accesses allocations allocs answers attempts buckets bytes calls connections contended count counts drops
dropped entries errors events failed failures faults fetches flows frees hits kb len length lookups lost misses packets
pages processes queries reads reclaimed requests retrans retries rows rss runs samples segs size switches threads times
total tries waiting wakeups writes written"""
_COUNTS: Final = frozenset(_NAMES.split())
"""The last words of names that say how many; the names of ids (pid, port, inode, fd, sector) are none of them."""

About = Mapping[str, Any]


@dataclass(frozen=True)
class Face:
    """How a column looks: what its values are, and what the frame says of it."""

    name: str
    kind: Kind
    about: About
    zone: Any = None  # of times

    @classmethod
    def of(cls, name: str, series: pd.Series[Any], about: About) -> Face:
        return cls(name, kind_of(series, about), about, getattr(series.dtype, "tz", None))

    @property
    def unit(self) -> str | None:
        """The unit that its numbers are in; nanoseconds for durations that pandas knows as such."""
        unit = self.about.get("unit")
        return "ns" if self.kind == "duration" and unit is None else unit

    @property
    def grouped(self) -> bool:
        """Whether its whole numbers are counts, by their unit or else by the column's name, and not ids."""
        if self.kind != "int":
            return False
        if self.about.get("unit") or self.about.get("format"):
            return self.about.get("unit") in _AMOUNTS
        return _WORD.split(self.name.lower())[-1] in _COUNTS

    def texts(self, series: pd.Series[Any], *, raw: bool = False) -> list[str]:
        return texts(series, self.about, self.kind, raw=raw, grouped=self.grouped)

    def titles(self, series: pd.Series[Any]) -> list[str] | None:
        return titles(series, self.about, self.kind)


def kind_of(series: pd.Series[Any], about: About) -> Kind:
    """What the values of a column are. Objects count as what the first value that is not missing is."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    letter = getattr(dtype, "kind", "O")
    if letter == "b":
        return "bool"
    if letter in "iu":
        return "duration" if _is_duration(about) else "int"
    if letter == "f":
        return "duration" if _is_duration(about) else "float"
    if letter == "M":
        return "time"
    if letter == "m":
        return "duration"
    arrow = str(getattr(dtype, "pyarrow_dtype", ""))
    if arrow:
        return "bytes" if "binary" in arrow else "list" if "list" in arrow else "text"
    if letter == "O" and not isinstance(dtype, pd.StringDtype):
        return _kind_of_object(series)
    return "text"


def _kind_of_object(series: pd.Series[Any]) -> Kind:
    match next((value for value in _objects(series) if value is not None), None):
        case bytes():
            return "bytes"
        case list():
            return "list"
        case bool():
            return "bool"
        case int() | Decimal():
            return "int"
    return "text"


def _is_duration(about: About) -> bool:
    return about.get("unit") in DURATIONS and about.get("format") != "timestamp"


def texts(
    series: pd.Series[Any], about: About, kind: Kind, *, raw: bool = False, grouped: bool = False
) -> list[str]:
    """A text for each value; :data:`NA` where it is missing. With *raw*, numbers stay digits and times nanoseconds.
    *grouped*: whole numbers have a comma every three digits.
    """
    if raw and _letter(series) == "M":
        series = pd.Series(series.to_numpy(dtype="M8[ns]").view("m8[ns]"))
        return [NA if value is None else str(value) for value in _numbers(series)]
    if kind == "time":
        return [NA if text == "NaT" else text[11:26] for text in _moments(series)]
    if kind == "duration" and not raw:
        unit = "ns" if _letter(series) == "m" else about.get("unit")
        return [NA if value is None else _human(value, unit) for value in _numbers(series)]
    if kind == "int" and about.get("unit") == "bytes" and not raw:
        return [NA if value is None else _human(value, "bytes") for value in _numbers(series)]
    if kind == "int" and not raw and _letter(series) == "u":
        form = "," if grouped else ""
        return [NA if v is None else f"{v:#x}" if v >= _KERNEL else f"{v:{form}}" for v in _numbers(series)]
    if grouped and not raw:
        return [NA if v is None else f"{v:,}" if _is_number(v) else _short(v) for v in _numbers(series)]
    if kind == "float" and about.get("unit") and not raw:
        return [NA if value is None else _measured(value, about["unit"]) for value in _numbers(series)]
    if kind in ("int", "duration", "float"):
        return [NA if value is None else _digits(value) for value in _numbers(series)]
    return [NA if value is None else _short(value) for value in _objects(series)]


def titles(series: pd.Series[Any], about: About, kind: Kind) -> list[str] | None:
    """What hovering over each cell says where that is more than the cell does; None for a column without."""
    if kind == "time":
        zone = getattr(series.dtype, "tz", None)
        suffix = f" {zone}" if zone is not None else ""
        return ["" if t == "NaT" else t.replace("T", " ") + suffix for t in _moments(series)]
    unit = "ns" if _letter(series) == "m" else about.get("unit")
    if kind == "duration" or (kind == "int" and unit == "bytes"):
        return [f"{value:,} {unit}" if _is_number(value) else "" for value in _numbers(series)]
    if kind == "int":
        out = [f"{v:,} = {v:#x}" if isinstance(v, int) and abs(v) >= _WIDE else "" for v in _numbers(series)]
        return out if any(out) else None
    if kind == "float":
        return ["" if value is None else repr(value) for value in _numbers(series)]
    return None


def full(value: Any, about: About) -> str:
    """One value in full, over several lines where it has them: bytes as a hex dump, lists item by item."""
    value = _plain(value)
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, pd.Timestamp):
        zone = f" {value.tz}" if value.tz is not None else ""
        return f"{value.tz_localize(None).isoformat(sep=' ', timespec='nanoseconds')}{zone}"
    if isinstance(value, pd.Timedelta):
        nanoseconds = value.as_unit("ns").value
        return f"{humanize(nanoseconds, 'ns')} = {nanoseconds:,} ns"
    if isinstance(value, int | float):
        unit = about.get("unit")
        if (unit in DURATIONS or unit == "bytes") and about.get("format") != "timestamp":
            return f"{_human(value, unit)} = {value:,} {unit}"
        if isinstance(value, int):
            return f"{value} = {value:#x}" if abs(value) >= 1 << 16 else str(value)
        return repr(value)
    if isinstance(value, bytes):
        return _dump(value)
    if isinstance(value, list):
        return "\n".join(f"{i:>4}  {_item(item)}" for i, item in enumerate(value)) or "[]"
    return "\n".join(printable(line) for line in str(value).split("\n"))


def _letter(series: pd.Series[Any]) -> str:
    return str(getattr(series.dtype, "kind", "O"))


def _moments(series: pd.Series[Any]) -> list[str]:
    """ISO 8601 to the nanosecond, in the column's own zone."""
    local = series.dt.tz_localize(None) if getattr(series.dtype, "tz", None) is not None else series
    values: Any = local.to_numpy(dtype="M8[ns]")
    found: list[str] = np.datetime_as_string(values).tolist()
    return found


def iso(series: pd.Series[Any]) -> list[str | None]:
    """Times as ISO 8601 to the nanosecond, in UTC where their zone is known; None where there is none."""
    known = getattr(series.dtype, "tz", None) is not None
    suffix = "Z" if known else ""
    moments = _moments(series.dt.tz_convert("UTC") if known else series)
    return [None if moment == "NaT" else moment + suffix for moment in moments]


def _numbers(series: pd.Series[Any]) -> list[Any]:
    """Python ints and floats; None where there is none."""
    if _letter(series) == "m":
        whole = series.to_numpy(dtype="m8[ns]").view(np.int64)
        return [None if n == np.iinfo(np.int64).min else n for n in whole.tolist()]
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iu":
        return list(series.to_numpy().tolist())
    return [_plain(value) for value in series.array]


def _objects(series: pd.Series[Any]) -> list[Any]:
    return [_plain(value) for value in series.array]


def _plain(value: Any) -> Any:
    """A value as a plain Python one: None for NA, NaN and NaT."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64):
        return pd.Timedelta(value)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if (isinstance(value, float) and value != value) or (isinstance(value, Decimal) and value.is_nan()):
        return None
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value


def _is_number(value: Any) -> bool:
    """Columns of objects hold anything, whatever their first value is."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _human(value: Any, unit: Any) -> str:
    if not _is_number(value):
        return _short(value)
    try:
        return humanize(float(value) if isinstance(value, Decimal) else value, unit)
    except OverflowError:  # an integer that no float is as great as
        return f"{value:,} {unit}"


def _measured(value: Any, unit: Any) -> str:
    """A broken number with its unit, to what people read of it."""
    if not _is_number(value):
        return _short(value)
    if unit == "percent":
        return share(float(value) / 100)
    if unit == "Hz":
        return f"{value:,.0f}/s" if abs(value) >= 100 else f"{value:.3g}/s"
    return _human(value, unit)


def _digits(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1e6 and value.is_integer() else f"{value:.6g}"
    return str(value) if _is_number(value) else _short(value)


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        text = value[:_BYTES].hex(" ")
        return f"{text} … {len(value):,} bytes" if len(value) > _BYTES else text
    if isinstance(value, list):
        items = ", ".join(_item(item) for item in value[:_ITEMS])
        return f"[{items}, … {len(value):,}]" if len(value) > _ITEMS else f"[{items}]"
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    text = str(value)
    return printable(text if len(text) <= _CUT else text[: _CUT - 1] + "…")


def _item(value: Any) -> str:
    """An item of a list: addresses in hex."""
    value = _plain(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= _WIDE:
        return f"{value:#x}"
    return "missing" if value is None else printable(str(value))


def _dump(data: bytes) -> str:
    lines = []
    for at in range(0, min(len(data), 4096), 16):
        part = data[at : at + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:06x}  {part.hex(' '):<47}  {shown}")
    if len(data) > 4096:
        lines.append(f"… {len(data):,} bytes")
    return "\n".join(lines) or "no bytes"
