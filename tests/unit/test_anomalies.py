"""The marks on series: what is found, what is not, and how silence, beginnings and ends count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bpfnb.errors import BadValue
from bpfnb.tools.anomalies import HISTORY, marked


def parts(**series):
    """Rows as the tool has them: none where there was nothing."""
    rows = [
        (number, 100 + step, value)
        for number, values in enumerate(series.values(), 1)
        for step, value in enumerate(values)
        if value
    ]
    return pd.DataFrame(rows, columns=["id", "number", "bytes"])


def found(values, **options):
    return marked(parts(a=values), "bytes", **options)[["number", "value"]].to_numpy().tolist()


def test_a_burst_and_a_gap_are_found_steady_traffic_is_not():
    assert found([50] * 30) == []
    assert found([50] * 20 + [500] + [50] * 10) == [[120, 500]]
    assert found([50] * 20 + [0] + [50] * 10) == [[120, 0]]


def test_noise_is_what_was_there_before():
    noise = np.random.default_rng(7).normal(1000, 50, 200).clip(1)
    assert found([*noise, 1200, *noise]) == []
    assert found([*noise, 3000, *noise]) == [[300, 3000]]


def test_a_second_burst_is_found_after_the_first():
    assert found([50] * 20 + [5000] + [50] * 20 + [5000, 50, 50]) == [[120, 5000], [141, 5000]]


def test_ends_and_beginnings_are_none():
    assert found([50] * 20) == []
    assert found([50] * 20 + [5]) == []  # the last interval may not be over
    assert found([50] * 20 + [5000]) == [[120, 5000]]  # but this is more already
    assert found([5000] + [50] * 7) == []  # the first ones are what is compared with


def test_series_are_told_apart():
    both = marked(parts(a=[10] * 15 + [100, 10], b=[1000] * 14 + [10, 1000]), "bytes")
    assert both[["id", "number", "value"]].to_numpy().tolist() == [[2, 114, 10], [1, 115, 100]]
    assert both["expected"].tolist() == [1000, 10]
    assert both["z"].tolist() == [pytest.approx(-9.9), pytest.approx(90)]


def test_only_the_latest_are_looked_at():
    assert found([10] * 20 + [1000] + [10] * (HISTORY + 5)) == []
    assert marked(parts(), "bytes").empty


@pytest.mark.parametrize("wrong", [{"alpha": 0}, {"alpha": 1}, {"threshold": 0}, {"warmup": 0}])
def test_numbers_that_make_no_sense(wrong):
    with pytest.raises(BadValue):
        marked(parts(a=[1]), "bytes", **wrong)
