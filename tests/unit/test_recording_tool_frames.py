"""Tools' frames as Arrow tables and back: every dtype that tools make, in pieces, and what is no description of one."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.errors import BadRecording
from bpfnb.recording.parquet import Sheet, encode
from bpfnb.recording.tool_frames import Form, Forms, to_arrow
from bpfnb.recording.tool_past import Past, Rows

FRAME = pd.DataFrame(
    {
        "u": np.arange(6, dtype="u8") + 2**63,
        "small": np.arange(6, dtype="i2") - 3,
        "b": [True, False] * 3,
        "f": [1.5, np.nan] * 3,
        "t": pd.to_datetime([1, 2, None, 4, 5, 6], unit="ns", utc=True),
        "us": pd.to_datetime([1, 2, 3, 4, 5, 6], unit="us", utc=True).as_unit("us"),
        "s": ["a", "", "é", None, "b", "c"],
        "o": np.array(["a", np.nan, None, "x", "y", None], object),
        "I": pd.array([1, None, 2**40, 4, 5, 6], dtype="Int64"),
        "U": pd.array([1, None, 3, 2**64 - 1, 5, 6], dtype="UInt64"),
        "F": pd.array([1, None, 0.5, 4, 5, 6], dtype="Float64"),
        "B": pd.array([True, None, False, None, True, True], dtype="boolean"),
        "sorted": pd.Categorical(list("abcabc")),
        "unused": pd.Categorical.from_codes([2, 0, -1, 1, 1, 0], pd.Index(["z", "y", "x", "unused"])),
        "objects": pd.Categorical.from_codes([2, 0, -1, 1, 1, 0], pd.Index(["z", "y", "x"], dtype=object)),
        "seen": pd.Categorical.from_codes([0, 1, 0, 2, 2, 1], pd.Index(["q", "p", "a"])),
        "level": pd.Categorical(["err", "info"] * 3, categories=["emerg", "err", "info"], ordered=True),
        "nothing": pd.Categorical([None] * 6),
        "bytes": pd.arrays.ArrowExtensionArray(pa.array([b"1", None, b"\0", b"", b"x", b"y"])),
        "list": pd.arrays.ArrowExtensionArray(pa.array([[1, 2]] * 6)),
    }
)


def again(frame: pd.DataFrame, cut: int) -> tuple[Forms, pa.Table]:
    """Written in two pieces to Parquet, and read."""
    forms, tables = Forms(), []
    forms.learn(frame.iloc[:0], frame.iloc[:0])
    for piece in (frame.iloc[:cut], frame.iloc[cut:]):
        whole = piece.reset_index(drop=True)
        if len(whole):
            forms.learn(whole, whole)
            tables.append(Sheet(encode(to_arrow(whole, forms)), "piece").table())
    read = Forms.from_json(json.loads(json.dumps(forms.to_json())))
    return read, pa.concat_tables(tables, promote_options="permissive")


@pytest.mark.parametrize("cut", [0, 1, 3, 6])
def test_what_comes_back_is_the_same_frame(cut: int) -> None:
    forms, table = again(FRAME, cut)
    pd.testing.assert_frame_equal(forms.frame(table), FRAME, check_categorical=cut in (0, 6))
    assert forms.frame(table).equals(FRAME)
    rows = Rows("rows", forms, table, np.zeros(6), {})
    assert rows.df.equals(FRAME)
    assert rows.slice(2, 5).reset_index(drop=True).equals(FRAME.iloc[2:5].reset_index(drop=True))
    assert rows.take([4, 1])["u"].tolist() == FRAME["u"].iloc[[4, 1]].tolist()
    assert list(rows.slice(0, 2, ["s", "level"]).columns) == ["s", "level"]
    rows.close()


@pytest.mark.parametrize("cuts", [[0, 1, 2, 3], [0, 2, 3], [0, 1, 3]])
def test_categories_of_pieces_follow_each_other_as_in_the_whole(cuts: list[int]) -> None:
    """By the numbers that they stand for (253:0, 7:3), which no piece alone can tell."""
    device = pd.Categorical(["vda", "loop3", "vda"], categories=["vda", "loop3"])
    whole = pd.DataFrame({"device": device, "n": [1, 2, 3]})
    forms, tables = Forms(), []
    for start, stop in itertools.pairwise(cuts):
        piece = whole.iloc[start:stop].reset_index(drop=True)
        piece["device"] = (
            piece["device"].astype(str).astype("category")
        )  # its order is told by the whole alone
        forms.learn(piece, piece)
        tables.append(to_arrow(piece, forms))
    assert forms.unsettled
    forms.settle(whole)
    found = Forms.from_json(forms.to_json()).frame(pa.concat_tables(tables))
    pd.testing.assert_frame_equal(found, whole)
    none = whole.iloc[:0].assign(device=pd.Categorical([]))
    forms.settle(none)  # of rows that are gone there is nothing to learn
    assert forms.known["device"].order == "seen"


def test_a_piece_without_any_value_of_a_column_tells_nothing_of_its_type() -> None:
    first = pd.DataFrame({"a": [1, 2], "b": [np.nan, np.nan], "c": pd.Categorical([None, None])})
    second = pd.DataFrame(
        {"a": pd.array([3, None], "Int64"), "b": ["x", "y"], "c": pd.Categorical(["k", "k"])}
    )
    forms, tables = Forms(), []
    for piece in (first, second):
        forms.learn(piece, piece)
        tables.append(to_arrow(piece, forms))
    found = forms.frame(pa.concat_tables(tables, promote_options="permissive"))
    assert found["a"].dtype == "Int64"
    assert found["a"].tolist() == [1, 2, 3, pd.NA]
    assert found["b"].fillna("-").tolist() == ["-", "-", "x", "y"]
    assert found["c"].astype(object).fillna("-").tolist() == ["-", "-", "k", "k"]


def test_what_is_left_out_is_missing() -> None:
    forms = Forms()
    forms.learn(FRAME, FRAME[["u"]])
    found = Forms.from_json(forms.to_json()).frame(to_arrow(FRAME[["u"]], forms))
    assert list(found.columns) == list(FRAME.columns)
    assert found["u"].equals(FRAME["u"])
    assert found[["s", "o", "t", "level"]].isna().all(axis=None)
    assert found["small"].tolist() == [0] * 6
    assert "é" not in json.dumps(forms.to_json(), ensure_ascii=False)
    assert "unused" not in {value for form in forms.to_json() for value in form.get("values", ())}


def test_a_table_over_time() -> None:
    forms, table = again(FRAME, 6)
    when = pa.array([10**9] * 2 + [3 * 10**9] * 4, pa.timestamp("ns", "UTC"))
    table = table.append_column("snapshot@", when)
    at = [0.0]
    past = Past("table", forms, [(table, [(10**9, 2), (2 * 10**9, 0), (3 * 10**9, 4)])], {}, lambda: at[0])
    sizes = []
    for at[0] in (0.5, 1.0, 2.5, 3.0, float("inf")):
        sizes.append(len(past.df))
    assert sizes == [0, 2, 0, 4, 4]
    assert [(when, len(frame)) for when, frame in past.past()] == [(10**9, 2), (2 * 10**9, 0), (3 * 10**9, 4)]
    assert past.looked == 3 * 10**9
    gone = pa.array([3 * 10**9, None, *[None] * 4], pa.timestamp("ns", "UTC"))
    changed = Past("table", forms, [(table.append_column("gone@", gone), [(10**9, 2), (3 * 10**9, 5)])], {})
    assert [len(frame) for _, frame in changed.past()] == [2, 5]
    pd.testing.assert_frame_equal(changed.df, forms.frame(table.slice(1)))
    with pytest.raises(BadRecording, match="6 rows, and 5 were taken"):
        Past("table", forms, [(table, [(10**9, 2), (3 * 10**9, 3)])], {})
    with pytest.raises(BadRecording, match="a row is of no look"):
        Past("table", forms, [(table, [(10**9, 6)])], {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_nonsense_is_no_description(said: Any) -> None:
    try:
        Forms.from_json(said)
    except BadRecording:
        return
    assert said == []


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_changed_description_is_refused_or_makes_a_frame(data: st.DataObject) -> None:
    forms, table = again(FRAME, 6)
    said = forms.to_json()
    at = data.draw(st.integers(0, len(said) - 1))
    key = data.draw(
        st.sampled_from(["name", "dtype", "categories", "order", "values", "ordered", "nan", "gone"])
    )
    dtypes = st.sampled_from(
        [*{str(one.get("dtype")) for one in said}, "float16", "bool", "int8", "category"]
    )
    said[at][key] = data.draw(
        JSON | dtypes | st.sampled_from(["sorted", "seen", "listed", True, ["a", "b", 1, "a"]])
    )
    try:
        frame = Forms.from_json(said).frame(table)
    except BadRecording:
        return
    assert len(frame) == 6


def test_columns_that_do_not_fit_are_told() -> None:
    with pytest.raises(BadRecording, match="column 'x' holds string, where the tool has uint8"):
        Forms({"x": Form("x", "uint8")}).frame(pa.table({"x": ["a"]}))
    with pytest.raises(BadRecording, match="which no tool makes"):
        Forms.from_json([{"name": "x", "dtype": "complex128"}])
    with pytest.raises(BadRecording, match="one name"):
        Forms.from_json([{"name": "x", "dtype": "str"}] * 2)
