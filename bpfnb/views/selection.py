"""What a person pointed at, as plain data: which rows of a frame are meant.

A selection is a dict that JSON can hold, column name -> condition; all columns' conditions must hold. A condition is a
dict of tests, all of which must hold, or a list of such dicts, one of which must:

- ``{"latency": {"ge": 1024, "lt": 2048}}``: ranges (``ge``, ``gt``, ``le``, ``lt``). Whole numbers are exact up to
  2**64 - 1; times are nanoseconds since 1970, durations nanoseconds;
- ``{"comm": {"in": ["dd", "cat"]}}``: one of these values; ``None`` among them means missing;
- ``{"comm": {"contains": "pg"}}``: text, in any case of letters; ``{"comm": {"matches": "^pg_"}}``: a regular
  expression, as :func:`re.search` takes it;
- ``{"stack": {"under": ["main", "read"]}}``: stacks that begin with these frames, root first (lists of names, or text
  folded with ``;``). Of lists of numbers, which are addresses as BPF writes them (leaf first, zeros behind the root),
  those that end so: ``{"under": ["0xffffffff81000042"]}``;
- ``{"#": {"in": [17, 18]}}``: rows by their number.

``{}`` selects nothing in particular: every row.
"""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views._style import humanize_all

__all__ = ["ROW", "Hub", "Selection", "apply", "check", "columns_of", "describe", "stacks_of"]

Selection = dict[str, Any]
ROW = "#"
"""The name that stands for the number of the row."""

_RANGES = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TESTS = (*_RANGES, "in", "contains", "matches", "under")

SAID = 5  # values or alternatives that are named
Mask = npt.NDArray[np.bool_]


def check(selection: Mapping[str, Any], columns: list[str] | None = None) -> Selection:
    """*selection* as a dict of its own. Raises UnknownName for an unknown column or test, BadValue for a bad value."""
    out: Selection = {}
    for column, condition in selection.items():
        if columns is not None and column != ROW and column not in columns:
            raise UnknownName.among(columns, column, f"there is no column '{column}' to select by")
        for tests in condition if isinstance(condition, list) else [condition]:
            if not isinstance(tests, Mapping) or not tests:
                raise BadValue(
                    f"the condition on '{column}' is {tests!r}",
                    hints=['a condition reads {"ge": 1, "lt": 2} or {"in": ["a", "b"]}'],
                )
            for test, value in tests.items():
                _check_test(column, test, value)
        out[str(column)] = condition
    return out


def _check_test(column: str, test: str, value: Any) -> None:
    if test not in _TESTS:
        raise UnknownName.among(list(_TESTS), str(test), f"there is no test '{test}' (on '{column}')")
    if test in ("in", "under") and not isinstance(value, list | tuple):
        raise BadValue(f"'{test}' takes a list of values, not {value!r} (on '{column}')")
    if test in ("contains", "matches") and not isinstance(value, str):
        raise BadValue(f"'{test}' takes text, not {value!r} (on '{column}')")
    if test in _RANGES and (isinstance(value, bool) or not isinstance(value, int | float | np.number | str)):
        raise BadValue(f"'{test}' takes a number, not {value!r} (on '{column}')")
    if test == "matches":
        try:
            re.compile(value)
        except re.error as error:
            raise BadValue(f"'{value}' is no regular expression: {error}") from None


def columns_of(selection: Mapping[str, Any]) -> list[str]:
    """The columns that have to be read to apply *selection*."""
    return [column for column in selection if column != ROW]


def apply(frame: pd.DataFrame, selection: Mapping[str, Any]) -> Mask:
    """Which rows of *frame* are selected. Row numbers are its index. A column that is not there selects no row."""
    mask = np.ones(len(frame), bool)
    for column, condition in selection.items():
        if column == ROW:
            values: Any = frame.index.to_series()
        elif column in frame.columns:
            values = frame[column]
        else:
            return np.zeros(len(frame), bool)
        options = condition if isinstance(condition, list) else [condition]
        paths = [tests["under"] for tests in options if set(tests) == {"under"}]
        any_of = _under(values, [[str(name) for name in path] for path in paths])
        for tests in options:
            if set(tests) == {"under"}:
                continue
            all_of = np.ones(len(frame), bool)
            for test, value in tests.items():
                all_of &= _test(values, test, value)
            any_of |= all_of
        mask &= any_of
    return mask


def _test(values: pd.Series[Any], test: str, wanted: Any) -> Mask:
    if test in _RANGES:
        return _range(values, test, wanted)
    if test == "in":
        found = values.isin([value for value in wanted if value is not None])
        if isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(values.dtype):
            found = found | values.isin([str(value) for value in wanted if value is not None])
        elif values.dtype.kind in "mM":
            found = _numbers(values).isin([value for value in wanted if value is not None])
        if any(value is None for value in wanted):
            found = found | values.isna()
        return found.to_numpy(bool)
    if test == "under":
        return _under(values, [[str(frame) for frame in wanted]])
    return _text_test(values, test, wanted)


def _range(values: pd.Series[Any], test: str, bound: Any) -> Mask:
    numbers = _numbers(values)
    if isinstance(bound, str) and numbers.dtype.kind in "iuf":
        bound = float(bound) if not bound.lstrip("+-").isdigit() else int(bound)
    if isinstance(bound, int) and numbers.dtype.kind in "iu":
        name: Any = numbers.dtype.name.lower()  # pandas' nullable UInt64 has uint64's limits
        limits = np.iinfo(name)
        if not limits.min <= bound <= limits.max:  # beyond what the column can hold: all or none
            above = bound > limits.max
            return np.asarray(numbers.notna(), bool) & np.bool_(above == (test in ("le", "lt")))
    compared: pd.Series[Any] = getattr(numbers, f"__{test}__")(bound)
    return compared.to_numpy(bool, na_value=False)


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """Dates and durations as nanoseconds, the rest as it is."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    if values.dtype.kind in "mM":
        ns = values.to_numpy().astype(f"{values.dtype.kind}8[ns]")
        return pd.Series(pd.arrays.IntegerArray(ns.view(np.int64), np.isnat(ns)), index=values.index)
    return values


def _text_test(values: pd.Series[Any], test: str, wanted: str) -> Mask:
    if isinstance(values.dtype, pd.CategoricalDtype):
        labels = _text_test(pd.Series(values.cat.categories.astype(str)), test, wanted)
        codes = values.cat.codes.to_numpy()
        return np.where(codes >= 0, np.append(labels, False)[codes], False)
    texts = values.astype(str)
    if test == "contains":
        found = texts.str.contains(wanted, case=False, regex=False)
    else:
        found = texts.str.contains(wanted, regex=True)
    return found.fillna(False).to_numpy(bool) & values.notna().to_numpy(bool)


def _under(values: pd.Series[Any], paths: list[list[str]]) -> Mask:
    """Which stacks begin with any of *paths*."""
    if not all(paths):
        return np.ones(len(values), bool)
    if not paths:
        return np.zeros(len(values), bool)
    if isinstance(values.dtype, pd.CategoricalDtype):
        labels = _under(pd.Series(values.cat.categories.astype(object)), paths)
        codes = values.cat.codes.to_numpy()
        return np.where(codes >= 0, np.append(labels, False)[codes], False)
    arrow = stacks_of(values)
    if pa.types.is_string(arrow.type) or pa.types.is_large_string(arrow.type):
        begins = [pc.or_(pc.equal(arrow, p), pc.starts_with(arrow, p + ";")) for p in map(";".join, paths)]
        found = functools.reduce(pc.or_, begins)
        return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), bool)
    if not (pa.types.is_list(arrow.type) or pa.types.is_large_list(arrow.type)):
        return np.zeros(len(values), bool)
    return _lists_under(arrow, paths)


def _lists_under(lists: pa.Array, paths: list[list[str]]) -> Mask:
    """Frames at one depth are compared all at once, of the rows that began right so far."""
    lengths = np.asarray(lists.value_lengths().fill_null(0), np.int64)
    frames = lists.flatten()  # without what stands behind nulls
    root, step = np.cumsum(lengths) - lengths, 1
    wanted: list[list[Any]] = [list(path) for path in paths]
    words: npt.NDArray[Any] | None = None
    if pa.types.is_integer(frames.type):
        frames = frames.fill_null(0) if frames.null_count else frames
        words = np.asarray(frames).astype(np.uint64, copy=False)
        zeros = np.flatnonzero(words == 0)
        if len(zeros):
            used = zeros.take(np.searchsorted(zeros, root), mode="clip") - root  # negative: none comes after
            lengths = np.where(used >= 0, np.minimum(lengths, used), lengths)
        root, step = root + lengths - 1, -1
        wanted = [[_address(name) for name in path] for path in paths]
    inside = np.zeros(len(lists), bool)
    for path in wanted:
        rows = np.flatnonzero(lengths >= len(path))
        for depth, name in enumerate(path):
            at = root[rows] + step * depth
            if words is not None:
                rows = rows[words[at] == name]
            else:
                rows = rows[np.asarray(pc.equal(frames.take(pa.array(at)), name).fill_null(False), bool)]
        inside[rows] = True
    return inside


def _address(text: str) -> np.uint64:
    """An address from its text; what is none becomes 0, which no stack holds."""
    try:
        number = int(text, 0)
    except ValueError:
        return np.uint64(0)
    return np.uint64(number if 0 <= number < 1 << 64 else 0)


def stacks_of(values: pd.Series[Any]) -> pa.Array:
    """A column of stacks as Arrow's text or lists; lists of a fixed size become ordinary ones."""
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, OverflowError):  # addresses beyond 2**63
        array = pa.array(values, pa.list_(pa.uint64()), from_pandas=True)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    if pa.types.is_list(array.type) and pa.types.is_null(array.type.value_type):
        array = array.cast(pa.list_(pa.string()))
    return array


def describe(selection: Mapping[str, Any], about: Callable[[str], Mapping[str, Any]] | None = None) -> str:
    """*selection* in a line that people read; exact, but for columns whose unit *about* knows: ``1.05 ms to 2.1 ms``.

    *about* is :meth:`Source.about <bpfnb.views.source.Source.about>`: what is known of a column.
    """
    parts = []
    for column, condition in selection.items():
        name = "row" if column == ROW else column
        known = about(column) if about is not None and column != ROW else {}
        options = []
        for tests in condition if isinstance(condition, list) else [condition]:
            options.append(_range_said(name, tests, known) or _all_said(name, tests))
        shown, more = options[:SAID], len(options) - SAID
        parts.append(" or ".join(shown) + (f" or {more} more" if more > 0 else ""))
    return "; ".join(parts)


def _range_said(name: str, tests: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """A half-open range in the column's unit, or of moments in UTC; nothing for other tests."""
    plain = all(isinstance(v, int | float) and abs(v) < 1 << 63 for v in tests.values())
    if not (tests and plain and tests.keys() <= {"ge", "lt"}):
        return ""
    bounds = [tests[test] for test in ("ge", "lt") if test in tests]
    if known.get("unit"):
        said = humanize_all(bounds, known["unit"])
    elif known.get("format") == "timestamp":
        said = [
            f"{pd.Timestamp(int(bound), unit='ns'):%H:%M:%S.%f}".rstrip("0").rstrip(".") for bound in bounds
        ]
        said[-1] += " UTC"
    else:
        return ""
    if len(said) == 2:
        return f"{name} {said[0]} to {said[1]}"
    return f"{name} {_RANGES['ge' if 'ge' in tests else 'lt']} {said[0]}"


def _all_said(name: str, tests: Mapping[str, Any]) -> str:
    return " and ".join(_say(name, test, value) for test, value in tests.items())


def _say(name: str, test: str, value: Any) -> str:
    if test in _RANGES:
        return (
            f"{name} {_RANGES[test]} {value:,}"
            if isinstance(value, int)
            else f"{name} {_RANGES[test]} {value}"
        )
    if test == "in":
        shown = ", ".join(str(v) for v in list(value)[:SAID])
        more = len(value) - SAID
        return f"{name} is {shown}" + (f" or {more} more" if more > 0 else "")
    if test == "under":
        return f"{name} under {' > '.join(map(str, value))}"
    return f"{name} {test} '{value}'"


class Linked(Protocol):
    """A view, as far as linking goes."""

    selection: Selection
    abandoned: bool

    def _filtered_by(self, selection: Selection) -> None: ...


class Hub:
    """The views of one frame. Each is filtered by what the others select, and not by its own selection."""

    _hubs: ClassVar[weakref.WeakValueDictionary[Hashable, Hub]] = weakref.WeakValueDictionary()

    def __init__(self) -> None:
        self._views: weakref.WeakSet[Any] = weakref.WeakSet()

    @classmethod
    def of(cls, key: Hashable) -> Hub:
        hub = cls._hubs.get(key)
        if hub is None:
            hub = cls._hubs[key] = cls()
        return hub

    def join(self, view: Linked) -> None:
        self._views.add(view)
        self.changed()

    def leave(self, view: Linked) -> None:
        self._views.discard(view)
        self.changed()

    def changed(self) -> None:
        """Tell each view what the others select now."""
        views = list(self._views)
        for view in views:
            others = (other for other in views if other is not view and not other.abandoned)
            view._filtered_by(merge([other.selection for other in others]))


def merge(selections: list[Selection]) -> Selection:
    """All of *selections* at once. Where two speak of one column, a row must satisfy both."""
    out: Selection = {}
    for selection in selections:
        for column, condition in selection.items():
            if column not in out:
                out[column] = condition
                continue
            mine = out[column] if isinstance(out[column], list) else [out[column]]
            theirs = condition if isinstance(condition, list) else [condition]
            out[column] = [_both(a, b) for a in mine for b in theirs]
    return out


def _both(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """The tests of both; of two bounds the narrower, of two lists what is in both."""
    out = dict(a)
    for test, value in b.items():
        if test not in out:
            out[test] = value
        elif test in ("ge", "gt"):
            out[test] = max(out[test], value)
        elif test in ("le", "lt"):
            out[test] = min(out[test], value)
        elif test == "in":
            out[test] = [v for v in out[test] if v in value]
        elif test == "under":
            longer, shorter = sorted((list(out[test]), list(value)), key=len, reverse=True)
            out[test] = longer if longer[: len(shorter)] == shorter else ["\0"]  # no stack is under both
        elif test in ("contains", "matches"):
            pattern = [re.escape(v) if t == "contains" else v for t, v in ((test, out[test]), (test, value))]
            out.pop(test)
            flags = "(?i)" if test == "contains" else ""
            out["matches"] = flags + "".join(f"(?=.*(?:{p}))" for p in pattern)
    return out
