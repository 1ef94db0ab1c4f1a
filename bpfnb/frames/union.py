"""Batches of one or several lanes as one table.

With several kinds of records, the columns are the union of theirs in the order of arrival, with a categorical column
``type`` in front (``struct`` where a field has that name already). What a record does not have is missing: integers
keep their width as pandas' nullable integers, they never become floats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bpfnb.frames.completeness import ATTR
from bpfnb.frames.lane import Lane
from bpfnb.frames.store import Batch

__all__ = ["Part", "numbers", "union_arrow", "union_frame"]

Part = tuple[Lane, list[Batch]]


def union_frame(parts: Sequence[Part], raw: bool) -> pd.DataFrame:
    """A DataFrame of decoded batches, by lane."""
    # Several batches were just copied into one; a single one is the store's own.
    frames = [lane.frame(_columns(lane, batches), raw=raw, copy=len(batches) == 1) for lane, batches in parts]
    if len(frames) == 1:
        return frames[0]
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    for name in names:
        if sum(name in frame.columns for frame in frames) < len(frames):
            for frame in frames:
                if name in frame.columns and frame[name].dtype.kind in "iub":
                    frame[name] = pd.array(frame[name].to_numpy(), dtype=_nullable(frame[name].dtype))
    described: dict[str, Any] = {}
    for frame in reversed(frames):
        described |= frame.attrs.pop("bpfnb_columns", {})
    types = [lane.name for lane, _ in parts]
    codes = np.repeat(np.arange(len(parts)), [len(frame) for frame in frames])
    order = _arrival(parts)
    out = pd.concat(frames, ignore_index=True).take(order).reset_index(drop=True)
    kinds = pd.Series(pd.Categorical.from_codes(codes[order], categories=pd.Index(types)))
    out.insert(0, _type_name(names), kinds)
    out.attrs["bpfnb_columns"] = described
    return out


def union_arrow(parts: Sequence[Part], attrs: Mapping[str, Any]) -> pa.Table:
    """A pyarrow.Table of decoded batches, by lane; *attrs* goes into the schema's metadata."""
    tables = [pa.Table.from_batches([lane.arrow(_columns(lane, batches))]) for lane, batches in parts]
    table = tables[0]
    if len(tables) > 1:
        types = pa.array([lane.name for lane, _ in parts])
        codes = np.repeat(np.arange(len(parts), dtype=np.int32), [len(t) for t in tables])
        order = _arrival(parts)
        table = pa.concat_tables(tables, promote_options="permissive").take(pa.array(order))
        name = _type_name(table.column_names)
        table = table.add_column(0, name, pa.DictionaryArray.from_arrays(pa.array(codes[order]), types))
    return table.replace_schema_metadata({ATTR: json.dumps(dict(attrs))})


def _columns(lane: Lane, batches: Sequence[Batch]) -> dict[str, Any]:
    return lane.concat([b.columns for b in batches if b.columns is not None]) if batches else lane.empty()


def numbers(parts: Sequence[Part]) -> pd.Index[int]:
    """The numbers of the rows, in the order in which they arrived."""
    batches = [batch for _, each in parts for batch in each]
    if not batches:
        return pd.RangeIndex(0)
    first, end = min(batch.first for batch in batches), max(batch.end for batch in batches)
    if sum(batch.rows for batch in batches) == end - first:
        return pd.RangeIndex(first, end)
    found: pd.Index[int] = pd.Index(np.sort(np.concatenate([batch.numbers() for batch in batches])))
    return found


def _arrival(parts: Sequence[Part]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where, in the batches one after the other, the rows stand in the order in which they arrived."""
    found = [batch.numbers() for _, batches in parts for batch in batches]
    return np.argsort(np.concatenate(found), kind="stable") if found else np.empty(0, np.int64)


def _nullable(dtype: Any) -> Any:
    if dtype.kind == "b":
        return "boolean"
    return f"{'UInt' if dtype.kind == 'u' else 'Int'}{8 * dtype.itemsize}"


def _type_name(names: Sequence[str]) -> str:
    return "type" if "type" not in names else "struct"
