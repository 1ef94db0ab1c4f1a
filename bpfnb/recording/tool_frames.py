"""Tools' frames as a recording holds them: as people read them, so that replay makes the very same frame.

A column stands as Arrow's nearest type, categories as dictionaries of text. What Arrow does not say of it (which of
pandas' dtypes it was, how its categories are ordered) is a small dict in the manifest, its :class:`Form`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bpfnb.errors import BadRecording
from bpfnb.frames.columns import TEXT

__all__ = ["Form", "Forms", "to_arrow"]

MOST: Final = 2000
"""Categories that are listed where nothing else tells their order."""
_COLUMNS: Final = 1000
_NUMBER: Final = re.compile(r"u?int(8|16|32|64)|float(16|32|64)|bool")
_NULLABLE: Final = re.compile(r"U?Int(8|16|32|64)|Float(32|64)|boolean")
_MOMENT: Final = re.compile(r"datetime64\[(s|ms|us|ns), UTC\]")


@dataclass(frozen=True)
class Form:
    """One column: ``dtype`` is pandas' name of it, ``object`` for text that is not of the string dtype, ``arrow`` for
    bytes and lists; ``gone``: not recorded.

    Of a categorical ``categories`` is the dtype of its categories, and ``order`` how they follow each other:
    ``sorted``, ``seen`` (as the rows have them) or ``listed``, in ``values``. ``nan``: what is missing in a column of
    objects is NaN, not None.
    """

    name: str
    dtype: str
    gone: bool = False
    categories: str = ""
    order: str = ""
    ordered: bool = False
    values: tuple[Any, ...] = ()
    nan: bool = False

    @classmethod
    def of(cls, name: str, column: pd.Series[Any]) -> Form:
        kind = column.dtype
        if isinstance(kind, pd.CategoricalDtype):
            names = kind.categories.dtype
            text = "str" if isinstance(names, pd.StringDtype) else str(names)
            return cls(name, "category", categories=text, order="seen", ordered=bool(kind.ordered))
        if isinstance(kind, pd.ArrowDtype):
            return cls(name, "arrow")
        if kind == np.dtype(object):
            missing = [one for one in column[column.isna()].head(1).tolist() if one is not None]
            return cls(name, "object", nan=bool(missing))
        return cls(name, str(kind))

    def to_json(self) -> dict[str, Any]:
        said = {key: value for key, value in vars(self).items() if value not in ("", False, ())}
        return {**said, "values": list(self.values)} if self.values else said

    @classmethod
    def from_json(cls, said: Any) -> Form:
        """Raises BadRecording."""
        kinds = {"gone": bool, "ordered": bool, "nan": bool, "values": list}
        if not isinstance(said, dict) or not {"name", "dtype"} <= said.keys() <= set(
            cls.__dataclass_fields__
        ):
            raise BadRecording(f"{str(said)[:80]} does not describe a column")
        for key, value in said.items():
            if type(value) is not kinds.get(key, str):
                raise BadRecording(f"{str(said)[:80]} does not describe a column")
        values = said.get("values", [])
        if len(values) > MOST or any(type(one) not in (str, int, float, bool) for one in values):
            raise BadRecording(f"{str(said)[:80]} does not describe a column")
        form = cls(**{**said, "values": tuple(values)})
        known = form.dtype in ("category", "object", "arrow", "str", "string")
        if not (known or any(one.fullmatch(form.dtype) for one in (_NUMBER, _NULLABLE, _MOMENT))):
            raise BadRecording(
                f"the column '{form.name[:80]}' has the dtype {form.dtype[:80]!r}, which no tool makes"
            )
        if form.dtype == "category" and not (
            form.order in ("sorted", "seen", "listed")
            and (form.categories in ("str", "object", "string") or _NUMBER.fullmatch(form.categories))
        ):
            raise BadRecording(f"the column '{form.name[:80]}' does not say how its categories are ordered")
        return form

    # Back from Arrow

    def values_of(self, column: pa.ChunkedArray | None, rows: int) -> Any:
        """What a lane keeps of the column: numbers and dates of NumPy, codes of categories, else Arrow's.

        None: it is not in the table. Raises BadRecording where it holds something else.
        """
        wanted = self.arrow_type
        if column is None:
            found = pa.nulls(rows, wanted or pa.string())
        else:
            found = _plain(column)
            if wanted is not None and found.type != wanted:
                try:
                    found = found.cast(wanted)
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                    raise BadRecording(
                        f"the column '{self.name[:80]}' holds {str(found.type)[:80]}, where the tool has {self.dtype}"
                    ) from None
        if _NUMBER.fullmatch(self.dtype):
            empty = False if self.dtype == "bool" else float("nan") if "float" in self.dtype else 0
            return (found.fill_null(empty) if found.null_count else found).to_numpy(zero_copy_only=False)
        if _MOMENT.fullmatch(self.dtype):
            return found.to_numpy(zero_copy_only=False)
        return found

    @property
    def is_plain(self) -> bool:
        """Whether values are kept as NumPy has them: numbers and dates."""
        return bool(_NUMBER.fullmatch(self.dtype) or _MOMENT.fullmatch(self.dtype))

    @property
    def arrow_type(self) -> pa.DataType | None:
        """None: whatever is there."""
        if self.dtype == "arrow":
            return None
        if moment := _MOMENT.fullmatch(self.dtype):
            return pa.timestamp(moment[1], "UTC")
        kind = self.categories if self.dtype == "category" else self.dtype
        kind = kind.lower() if _NULLABLE.fullmatch(kind) else kind
        if _NUMBER.fullmatch(kind) or kind == "boolean":
            return pa.bool_() if kind.startswith("bool") else pa.from_numpy_dtype(np.dtype(kind))
        return pa.string()

    def coded(self, values: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array]:
        """The codes of a categorical's values, -1 for what is missing, and the categories that they stand for."""
        found = pc.unique(values.drop_null())
        if self.order == "sorted":
            found = found.take(pc.array_sort_indices(found))
        elif self.order == "listed":
            try:
                listed = pa.array(list(self.values), self.arrow_type)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise BadRecording(
                    f"the categories of '{self.name[:80]}' are not {self.categories}"
                ) from None
            more = found.filter(pc.invert(pc.is_in(found, value_set=listed)))
            found = pa.concat_arrays([pc.unique(listed), more])  # of older snapshots, others
        codes = pc.index_in(values, value_set=found).fill_null(-1)
        return codes.to_numpy(zero_copy_only=False), found

    def series(self, values: Any, kinds: pa.Array | None, *, copy: bool = True) -> Any:
        """What a DataFrame takes for values as :meth:`values_of` gives them, of categories their codes."""
        if self.dtype == "category":
            assert kinds is not None
            index = (
                pd.Index(TEXT.__from_arrow__(kinds))
                if self.categories in ("str", "string")
                else pd.Index(kinds.to_pandas().to_numpy(), dtype=self.categories)
            )
            return pd.Categorical.from_codes(values, categories=index, ordered=self.ordered)
        if isinstance(values, np.ndarray):
            if values.dtype.kind == "M":
                return pd.DatetimeIndex(values).tz_localize("UTC")
            return values.copy() if copy else values
        if self.dtype in ("str", "string"):
            return TEXT.__from_arrow__(values)
        if self.dtype == "object":
            found = np.array(values.to_pylist(), object)
            if self.nan:
                found[pd.isna(found)] = np.nan
            return found
        if self.dtype == "arrow":
            return pd.arrays.ArrowExtensionArray(values)
        return pd.array(values.to_pandas(types_mapper=_nullable.get), dtype=self.dtype)


_nullable: Final[Mapping[Any, Any]] = {
    **{pa.from_numpy_dtype(np.dtype(str(kind).lower())): kind for kind in (
        *(pd.Int8Dtype(), pd.Int16Dtype(), pd.Int32Dtype(), pd.Int64Dtype()),
        *(pd.UInt8Dtype(), pd.UInt16Dtype(), pd.UInt32Dtype(), pd.UInt64Dtype()),
        *(pd.Float32Dtype(), pd.Float64Dtype()),
    )},
    pa.bool_(): pd.BooleanDtype(),
}  # fmt: skip


@dataclass
class Forms:
    """The forms of a frame's columns, learned from one piece of it after the other."""

    known: dict[str, Form] = field(default_factory=dict)
    _kinds: dict[str, _Kinds] = field(default_factory=dict)

    def learn(self, whole: pd.DataFrame, written: pd.DataFrame) -> None:
        """*written* is what is left of the piece *whole* where columns are not recorded."""
        for name in map(str, whole.columns):
            gone = name not in written
            column = whole[name] if gone else written[name]
            form, before = Form.of(name, column), self.known.get(name)
            if gone:
                self.known[name] = replace(form, gone=True, order="seen" if form.order else "")
            elif form.dtype == "category" and len(column.cat.categories):
                kinds = self._kinds.setdefault(name, _Kinds())
                kinds.take(column)
                self.known[name] = replace(form, **kinds.told())
            elif before is None or not column.isna().all():
                numbers = before is not None and before.dtype.lower() == form.dtype
                self.known[name] = before if before is not None and numbers else form

            if form.nan and not gone:
                self.known[name] = replace(self.known[name], nan=True)

    @property
    def unsettled(self) -> bool:
        """Whether several pieces leave open how a column's categories follow each other in the whole."""
        return any(kinds.apart for kinds in self._kinds.values())

    def settle(self, whole: pd.DataFrame) -> None:
        """*whole* has all pieces' rows, or what is left of them: categories follow each other as they do there."""
        for name, kinds in self._kinds.items():
            if name in whole and isinstance(whole[name].dtype, pd.CategoricalDtype):
                found = _Kinds()
                found.take(whole[name])
                if found.names and set(found.names) >= set(kinds.names):
                    self.known[name] = replace(self.known[name], **{"values": (), **found.told()})

    def to_json(self) -> list[dict[str, Any]]:
        return [form.to_json() for form in self.known.values()]

    @classmethod
    def from_json(cls, said: Any) -> Forms:
        """Raises BadRecording."""
        if not isinstance(said, list) or len(said) > _COLUMNS:
            raise BadRecording("the recording does not say what columns its frame has")
        forms = [Form.from_json(one) for one in said]
        if len({form.name for form in forms}) < len(forms):
            raise BadRecording("two columns of the recorded frame have one name")
        return cls({form.name: form for form in forms})

    def frame(self, table: pa.Table) -> pd.DataFrame:
        """The rows of *table* as a DataFrame. Raises BadRecording."""
        found: dict[str, Any] = {}
        for name, form in self.known.items():
            values = form.values_of(table[name] if name in table.column_names else None, table.num_rows)
            kinds = None
            if form.dtype == "category":
                values, kinds = form.coded(values)
            found[name] = form.series(values, kinds)
        return pd.DataFrame(found, index=pd.RangeIndex(table.num_rows))


def to_arrow(frame: pd.DataFrame, forms: Forms) -> pa.Table:
    """*frame* as a table to be written. Columns of which a piece has no value at all may be left out."""
    arrays: dict[str, Any] = {}
    for name in map(str, frame.columns):
        column, form = frame[name], forms.known[name]
        if form.dtype != "arrow" and column.isna().all():
            continue
        if _NUMBER.fullmatch(form.dtype) and column.dtype.kind in "fO" and "float" not in form.dtype:
            continue  # another piece tells its type; of this one there is nothing
        arrays[name] = _array(column)
    table = pa.table(arrays)
    return table if arrays else table.append_column("none@", pa.nulls(len(frame), pa.bool_()))


def _array(column: pd.Series[Any]) -> Any:
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        codes = pa.array(column.cat.codes.to_numpy().astype(np.int32), mask=column.isna().to_numpy())
        names = pa.array(kind.categories, from_pandas=True)
        if isinstance(names, pa.ChunkedArray):
            names = names.combine_chunks()
        if not pa.types.is_string(names.type) and not pa.types.is_large_string(names.type):
            return names.take(codes) if len(names) else pa.nulls(len(column), pa.float64())
        used = pc.unique(codes.drop_null())  # what is left out of a piece must not stand in its dictionary
        places = pc.index_in(codes, value_set=used)
        return pa.DictionaryArray.from_arrays(places, names.take(used).cast(pa.string()))
    if kind == np.dtype(object):
        try:
            return pa.array(column, pa.string(), from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([None if pd.isna(one) else str(one) for one in column], pa.string())
    found = pa.array(column, from_pandas=True)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    return found.cast(pa.string()) if pa.types.is_large_string(found.type) else found


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One array without a dictionary."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return found.cast(pa.string()) if pa.types.is_large_string(found.type) else found


class _Kinds:
    """The categories of a column over several pieces."""

    def __init__(self) -> None:
        self.sorted = self.seen = True
        self.names: list[Any] = []
        self._pieces = 0

    @property
    def apart(self) -> bool:
        return self._pieces > 1 and 1 < len(self.names) <= MOST

    def take(self, column: pd.Series[Any]) -> None:
        names = column.cat.categories
        self._pieces += 1
        codes = column.cat.codes.to_numpy()
        used = pd.unique(codes[codes >= 0])
        self.sorted &= len(used) == len(names) and names.is_monotonic_increasing
        self.seen &= len(used) == len(names) and bool((used == np.arange(len(used))).all())
        if not (self.sorted or self.seen) or len(self.names) <= MOST:
            self._merge(names.tolist())

    def _merge(self, names: list[Any]) -> None:
        """What is new goes before what follows it."""
        known, fresh = set(self.names), []
        for name in names:
            if name not in known:
                fresh.append(name)
            elif fresh:
                at = self.names.index(name)
                self.names[at:at] = fresh
                fresh = []
        self.names += fresh

    def told(self) -> dict[str, Any]:
        """How they follow each other, in the fewest words."""
        if self.sorted or (len(self.names) > MOST and not self.seen):
            return {"order": "sorted"}
        return {"order": "seen"} if self.seen else {"order": "listed", "values": tuple(self.names)}
