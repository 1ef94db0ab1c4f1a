"""Readers of answers: what fits is read by value, and what does not gets a hint that says what is wanted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bpfnb.lab import Unfit, frame, loaded, mapping, number, text, texts


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (3, 3),
        (2.5, 2.5),
        (np.uint64(2**63 + 1), 2**63 + 1),
        (np.float32(0.5), 0.5),
        (pd.Series([7]), 7),
        (pd.DataFrame({"value": [7]}), 7),
        (np.array([[7]]), 7),
        (pd.Timedelta("3us"), 3_000),
        (np.timedelta64(5, "ms"), 5_000_000),
    ],
)
def test_a_number_is_read_from_whatever_holds_one(answer: object, value: float) -> None:
    assert number(answer) == value


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (None, "nothing yet"),
        (..., "nothing yet"),
        ("3", "the text '3'"),
        (True, "truth value"),
        (float("nan"), "no number that was measured"),
        (pd.Series([1, 2]), "has 2"),
        ([], "a list"),
        (len, "call it with ()"),
        ({1, 2}, "a set"),
    ],
)
def test_what_is_no_number_gets_a_hint(answer: object, hint: str) -> None:
    with pytest.raises(Unfit, match=hint.replace("(", r"\(").replace(")", r"\)")):
        number(answer)


def test_names_with_values_are_read_from_dicts_series_and_frames() -> None:
    wanted = {"a": 1, "b": 2}
    for answer in (
        wanted,
        pd.Series(wanted),
        pd.DataFrame({"key": ["a", "b"], "value": [1, 2]}),
        pd.DataFrame({"other": ["a", "b"], "n": [1, 2]}),
        pd.DataFrame({"value": [1, 2]}, index=["a", "b"]),
    ):
        assert mapping(answer) == wanted
    with pytest.raises(Unfit, match="3 columns"):
        mapping(pd.DataFrame({"a": [1], "b": [2], "c": [3]}))
    with pytest.raises(Unfit, match="the text 'a'"):
        mapping("a")


def test_frames_are_asked_for_their_columns() -> None:
    assert frame(pd.Series([1, 2], name="n"), "n").n.tolist() == [1, 2]
    with pytest.raises(Unfit, match=r"no column pid. Its columns are: a"):
        frame(pd.DataFrame({"a": [1]}), "pid")
    with pytest.raises(Unfit, match="A DataFrame is wanted"):
        frame(3)


def test_texts_come_in_any_collection() -> None:
    assert texts(["b ", "a"]) == texts(pd.Series(["a", "b"])) == texts({"a", "b"}) == {"a", "b"}
    assert texts("a") == {"a"}
    assert text([" a "]) == text(pd.Series(["a"])) == "a"
    for wrong in (3, [1], {"a": 1}, None):
        with pytest.raises(Unfit, match="A set of texts"):
            texts(wrong)
    with pytest.raises(Unfit, match="A text in quotes"):
        text(3)


def test_an_object_is_wanted_itself_and_not_its_name() -> None:
    with pytest.raises(Unfit, match="the text 'hello'"):
        loaded("hello")
