"""The event table without a browser: rows, order, words, cells, answers, pictures."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fakecomm import FakeComm, Page
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.lane import Lane
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.store import Batch, Bound
from bpfnb.views import table
from bpfnb.views.events import rowset
from bpfnb.views.events.cells import NA, Face, full
from bpfnb.views.events.numbers import Numbers
from bpfnb.views.events.order import order, ranks
from bpfnb.views.events.rowset import RowSet
from bpfnb.views.events.words import pattern, ranges, said, spelled
from bpfnb.views.source import Source

BIG = 2**64 - 1

# Row numbers


@given(st.lists(st.one_of(st.integers(0, 40), st.tuples(st.integers(1, 5), st.integers(1, 6)))))
@settings(deadline=None)
def test_numbers_are_a_list_that_forgets_its_head(plan: list[Any]) -> None:
    numbers, plain, gone, following = Numbers(), [], 0, 0
    for step in plan:
        if isinstance(step, tuple):  # some rows, this far apart
            new = list(range(following, following + step[0] * step[1], step[1]))
            following = new[-1] + 1
            numbers.append(np.array(new) if step[1] > 1 else range(new[0], following))
            plain += new
        else:
            kept = [n for n in plain if n >= following - step]
            gone += len(plain) - len(kept)
            plain = kept
            numbers.trim(following - step)
        assert numbers.gone == gone
        assert numbers[:].tolist() == plain
        assert numbers[2:5].tolist() == plain[2:5]
        for n in (*plain[:2], following, -1):
            assert numbers.find(n) == (plain.index(n) if n in plain else -1)
            assert numbers.since(n) == sum(m >= n for m in plain)


# Order

KEYS = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.sampled_from(["b", "a", "B", "ä", ""]))))


@given(KEYS, st.booleans(), st.booleans())
@settings(deadline=None)
def test_rows_are_ordered_stably_with_missing_ones_last(keys: list[Any], first: bool, second: bool) -> None:
    frame = pd.DataFrame({"n": [n for n, _ in keys], "text": [text for _, text in keys]}).astype(
        {"n": "uint64"}
    )
    found = order([frame["n"], frame["text"]], [first, second]).tolist()
    places = list(range(len(keys)))
    present = sorted(
        (i for i in places if keys[i][1] is not None),
        key=lambda i: str(keys[i][1]).encode(),
        reverse=second,
    )
    if second:  # reverse=True keeps equal ones in their order
        assert present == sorted(present, key=present.index)
    by_text = present + [i for i in places if keys[i][1] is None]
    assert found == sorted(by_text, key=lambda i: -keys[i][0] if first else keys[i][0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([BIG, 0, 2**53 + 1, 2**53], np.uint64), [1, 3, 2, 0]),
        (pd.array([3, None, 1], dtype="Int64"), [2, 0, 1]),
        (np.array([2.5, np.nan, -np.inf]), [2, 0, 1]),
        (pd.to_datetime(["2026-01-02", None, "2026-01-01"]), [2, 0, 1]),
        (pd.Categorical(["write", "read", None], categories=["write", "read"]), [1, 0, 2]),
        (pd.Categorical(["low", "high"], categories=["low", "high"], ordered=True), [0, 1]),
        ([b"\xff", b"\x00", None], [1, 0, 2]),
        ([True, False, True], [1, 0, 2]),
        ([2**70, 9, -(2**70), 10], [2, 1, 3, 0]),
        (["a", 10, None, Decimal("9.5"), b"x", Decimal("NaN")], [3, 1, 0, 4, 2, 5]),
    ],
)
def test_every_kind_of_column_has_an_order(values: Any, expected: list[int]) -> None:
    series = pd.Series(values)
    assert order([series], [False]).tolist() == expected
    assert np.argsort(ranks(series), kind="stable").tolist() == expected


# Words

NEWEST = pd.Timestamp("2026-11-21 23:59:00", tz="UTC")
NOON = pd.Timestamp("2026-11-21 12:00:00", tz="UTC").value


@pytest.mark.parametrize(
    ("text", "kind", "unit", "condition"),
    [
        ("", "int", None, {}),
        ("> 1ms", "duration", "ns", {"gt": 1_000_000}),
        (">=1.5us <= 2 s", "duration", "ns", {"ge": 1500, "le": 2_000_000_000}),
        ("> 1ms", "duration", "us", {"gt": 1000}),
        ("4 KiB..1 MiB", "int", "bytes", {"ge": 4096, "le": 1 << 20}),
        ("18446744073709551615", "int", None, {"in": [BIG]}),
        ("0xffff888000000000", "int", None, {"in": [0xFFFF888000000000]}),
        ("1,000 ..", "int", None, {"ge": 1000}),
        ("-5..5", "int", None, {"ge": -5, "le": 5}),
        ("> 10k", "int", None, {"gt": 10_000}),
        ("= 0.5", "float", None, {"in": [0.5]}),
        ("12:00", "time", None, {"ge": NOON, "le": NOON + 60 * 10**9 - 1}),
        ("12:00:00.5", "time", None, {"ge": NOON + 500_000_000, "le": NOON + 599_999_999}),
        (
            ">= 2026-11-21 12:00 < 12:00:01",
            "time",
            None,
            {"ge": NOON, "lt": NOON + 10**9},
        ),
    ],
)
def test_typed_ranges_are_exact(text: str, kind: Any, unit: str | None, condition: dict[str, Any]) -> None:
    assert ranges(text, kind, unit, NEWEST) == condition
    again = spelled(condition, kind, unit, "UTC")
    assert ranges(again, kind, unit, NEWEST) == condition


@pytest.mark.parametrize(
    ("text", "kind", "unit", "words"),
    [
        ("abc", "int", None, "'abc' is no number"),
        ("5 parsec", "duration", "ns", "'parsec' is no unit of time"),
        ("5 ms", "int", None, "'ms' is no unit of this column"),
        (">", "int", None, "'' is no number"),
        ("25:61", "time", None, "'25:61' is no time"),
    ],
)
def test_what_makes_no_sense_is_said(text: str, kind: Any, unit: str | None, words: str) -> None:
    with pytest.raises(BadValue, match=words):
        ranges(text, kind, unit, NEWEST)


def test_only_patterns_that_take_linear_time_are_searched() -> None:
    assert pattern(r"^(pg|my)_\d+$") == r"^(pg|my)_\d+$"
    assert pattern("(a+)+$") == "(a+)+$"
    for bad in ("(", "(?=x)", r"(a)\1"):
        with pytest.raises(BadValue):
            pattern(bad)


def test_conditions_in_words() -> None:
    assert (
        said("latency", {"gt": 1_000_000, "lt": 1_500_001}, "duration", "ns") == "latency > 1ms < 1500001ns"
    )
    assert said("pid", {"in": [5]}, "int", None) == "pid = 5"
    assert said("comm", {"in": ["a", "b"]}, "text", None) == "comm is a, b"


# Cells


def cells(values: Any, about: dict[str, Any] | None = None, raw: bool = False) -> tuple[list[str], Any]:
    series = pd.Series(values)
    face = Face.of("x", series, about or {})
    return face.texts(series, raw=raw), face.titles(series)


def test_cells_are_exact_and_readable() -> None:
    moment = pd.Series(pd.to_datetime([NOON + 123_456_789, None])).dt.tz_localize("UTC")
    assert cells(moment) == (["12:00:00.123456", NA], ["2026-11-21 12:00:00.123456789 UTC", ""])
    assert cells(moment, raw=True)[0] == [str(NOON + 123_456_789), NA]
    zoned = moment.dt.tz_convert("Asia/Kolkata")
    assert cells(zoned)[1][0] == "2026-11-21 17:30:00.123456789 Asia/Kolkata"
    ns = {"unit": "ns", "format": "duration"}
    assert cells(np.array([1_500_213, 0, BIG], np.uint64), ns) == (
        ["1.5 ms", "0 ns", "1.84e+10 s"],
        ["1,500,213 ns", "0 ns", "18,446,744,073,709,551,615 ns"],
    )
    assert cells(np.array([1500], np.uint64), ns, raw=True)[0] == ["1500"]
    assert cells(pd.to_timedelta([1500, None], unit="ns")) == (["1.5 us", NA], ["1,500 ns", ""])
    assert cells(np.array([4096], np.uint64), {"unit": "bytes"}) == (["4 KiB"], ["4,096 bytes"])
    assert cells(np.array([0.0177182, 12.34]), {"unit": "percent"})[0] == ["0.02 %", "12.3 %"]
    assert cells(np.array([661.882, 0.5, 1234567.8]), {"unit": "Hz"})[0] == ["662/s", "0.5/s", "1,234,568/s"]
    assert cells(np.array([0.5]), {"unit": "percent"}, raw=True)[0] == ["0.5"]
    address = 0xFFFF888000000001
    assert cells(np.array([address, 7], np.uint64)) == (
        ["0xffff888000000001", "7"],
        [f"{address:,} = 0xffff888000000001", ""],
    )
    assert cells(np.array([address], np.uint64), raw=True)[0] == [str(address)]
    assert cells(pd.array([2**60, None], dtype="Int64"))[0] == [str(2**60), NA]
    assert cells([0.1, np.nan])[0] == ["0.1", NA]
    assert cells([True, False])[0] == ["True", "False"]
    assert cells(pd.array([True, None], dtype="boolean"))[0] == ["True", NA]
    assert cells(pd.Categorical(["ENOENT", None]))[0] == ["ENOENT", NA]
    assert cells([b"\x00\xff", None])[0] == ["00 ff", NA]
    assert cells([[1, 0xFFFFFFFF81000000], None])[0] == ["[1, 0xffffffff81000000]", NA]
    assert cells(["a\n\x1b[31m", None])[0] == ["a\\n\\x1b[31m", NA]
    assert len(cells(["x" * 1000])[0][0]) == 200


@pytest.mark.parametrize(
    ("name", "about", "text"),
    [
        *[(name, {}, "1,234,567") for name in ("count", "tx_packets", "key.calls", "tx_kb", "Requests")],
        ("depth", {"unit": "packets"}, "1,234,567"),
        *[
            (name, {}, "1234567")
            for name in ("pid", "tid", "uid", "port", "fd", "inode", "sector", "year", "x")
        ],
        ("count", {"format": "cgroup"}, "1234567"),
        ("count", {"format": "hex"}, "1234567"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint64", "int32", "Int64", "object"])
def test_counts_have_separators_and_ids_have_none(name, about, text, dtype) -> None:
    series = pd.Series([1_234_567], dtype=dtype)
    face = Face.of(name, series, about)
    assert face.texts(series) == [text]
    assert face.texts(series, raw=True) == ["1234567"]


def test_copies_and_filters_of_counts_are_plain_numbers() -> None:
    view = table(pd.DataFrame({"comm": ["dd", "cp"], "count": [1_234_567, 5]}))
    assert view.csv() == "comm,count\r\ndd,1234567\r\ncp,5\r\n"
    assert "1,234,567" in view._text()
    assert '<td class="b-num" align="right" style="white-space:nowrap">1,234,567</td>' in view.html()
    face = view._faces()[1]
    assert sorted(view._filtering.offer(face, None)["labels"]) == ["1234567", "5"]
    view._on_message({"kind": "filter", "id": 1, "column": 1, "how": "range", "text": "1,234,567"}, [])
    assert view.filters == {"count": {"in": [1_234_567]}}
    columns = view._meta(0)["columns"]
    assert [column.get("grouped", False) for column in columns] == [False, True]


MIXED = [1, "a", None, 2**70, b"\x01\xff", Decimal("1.5"), Decimal("sNaN"), float("inf"), {"k": 1}, True]
READ = ["1", "a", NA, str(2**70), "01 ff", "1.5", NA, "inf", "{'k': 1}", "True"]


def test_columns_of_objects_hold_anything() -> None:
    assert cells([np.inf, -np.inf, np.nan, 1e6]) == (
        ["inf", "-inf", NA, "1000000"],
        ["inf", "-inf", "", "1000000.0"],
    )
    assert cells(MIXED) == (READ, ["", "", "", f"{2**70:,} = {2**70:#x}", *[""] * 6])
    assert cells(MIXED, raw=True)[0] == READ
    texts, hover = cells(MIXED, {"unit": "bytes"})
    assert texts == ["1 B", "a", NA, "1,020 EiB", "01 ff", "1.5 B", NA, "inf", "{'k': 1}", "True"]
    assert hover == ["1 bytes", "", "", f"{2**70:,} bytes", "", "1.5 bytes", "", "inf bytes", "", ""]
    assert cells([10**400], {"unit": "bytes"}) == ([f"{10**400:,} bytes"], [f"{10**400:,} bytes"])
    assert cells([Decimal("12345678901.5"), Decimal("-Infinity")]) == (["12345678901.5", "-Infinity"], None)
    assert full(10**400, {"unit": "ns"}).startswith("10,000,")
    payload = table(pd.DataFrame({"x": MIXED}))._build()
    assert payload is not None
    assert [str(text) for text in payload.columns["c0"]] == READ


def test_the_detail_has_all_of_it() -> None:
    assert full(b"ab\x00" * 6, {}).splitlines() == [
        "000000  61 62 00 61 62 00 61 62 00 61 62 00 61 62 00 61  ab.ab.ab.ab.ab.a",
        "000010  62 00                                            b.",
    ]
    assert full(["main", 0xFFFFFFFF81000000], {}) == "   0  main\n   1  0xffffffff81000000"
    assert full(1500, {"unit": "ns"}) == "1.5 us = 1,500 ns"
    assert full(float("nan"), {}) == "missing"
    assert full("a\tb\nc", {}) == "a\\tb\nc"


# Rows of a stream


def feed(frame: LiveFrame, rows: int) -> None:
    """Rows whose bytes are their own number."""
    store = frame._store
    lane = store.lanes()[0] if store.lanes() else Lane(None)
    with store.lock:
        numbers = np.arange(store.total, store.total + rows, dtype=np.uint64)
        store.add(lane, Batch.of(store.total, numbers.view(np.uint8).reshape(-1, 8), 0.0, 8))
        store.total += rows
        store.evict(0.0)


class Watched(Source):
    """A stream of numbers that notes what was read of it."""

    kind = "stream"

    def __init__(self) -> None:
        super().__init__(pd.DataFrame({"n": np.empty(0, np.uint64), "wide": []}), "watched", "watched")
        self.low = self.high = 0
        self.read: list[tuple[int, int, Any]] = []

    def span(self) -> tuple[int, int]:
        return self.low, self.high

    def rows(self, start: int, stop: int, columns: Any = None, *, raw: bool = False) -> pd.DataFrame:
        self.read.append((start, stop, columns))
        numbers = pd.RangeIndex(max(start, self.low), max(stop, self.low))
        frame = pd.DataFrame({"n": numbers.to_numpy(np.uint64) % 10, "wide": "w"}, index=numbers)
        return frame if columns is None else frame[[name for name in frame if name in columns]]

    def take(self, numbers: Any, columns: Any = None, *, raw: bool = False) -> pd.DataFrame:
        found = self.rows(self.low, self.high, columns)
        return found.loc[[n for n in numbers if self.low <= n < self.high]]


def test_of_new_rows_only_the_filters_columns_are_read() -> None:
    source = Watched()
    rows = RowSet(source)
    rows.show([{"n": {"in": [3]}}, {}], [])
    source.high = 1000
    rows.update()
    source.read.clear()
    source.high = 1030
    rows.update()
    rows.update()
    assert source.read == [(1000, 1030, {"n"})]
    assert len(rows) == 103
    assert rows.numbers(101, 5).tolist() == [1013, 1023]
    source.low = 500
    rows.update()
    assert (rows.base, len(rows)) == (50, 53)
    assert rows.numbers(50, 2).tolist() == [503, 513]
    assert (rows.find(513), rows.find(493), rows.find(514)) == (51, -1, -1)


def test_a_frozen_table_keeps_rows_that_the_stream_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowset, "HELD", 20)
    source = Watched()
    source.high = 100
    rows = RowSet(source)
    rows.freeze()
    source.low, source.high = 150, 250
    rows.update()
    assert (rows.numbers(rows.base, 100).tolist(), rows.newer) == (list(range(80, 100)), 150)
    assert rows.take(rows.numbers(rows.base, 3))["n"].tolist() == [0, 1, 2]
    rows.show([{"n": {"ge": 8}}], [("n", "desc")])
    rows.update()
    assert rows.numbers(0, 100).tolist() == [89, 99, 88, 98]
    rows.show([], [])
    rows.thaw()
    rows.update()
    assert rows.numbers(rows.base, 1000).tolist() == list(range(150, 250))
    assert rows.newer == 0


def test_a_sorted_stream_is_sorted_again_no_more_than_a_tenth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(rowset.time, "monotonic", lambda: clock[0])
    real = rowset.order

    def slow(*what: Any) -> Any:
        clock[0] += 0.5
        return real(*what)

    monkeypatch.setattr(rowset, "order", slow)
    source = Watched()
    source.high = 20
    rows = RowSet(source)
    rows.show([], [("n", "desc")])
    rows.update()
    assert rows.numbers(0, 3).tolist() == [9, 19, 8]
    source.high = 30
    clock[0] += 4.9
    rows.update()
    assert (len(rows), rows.newer) == (20, 10)
    source.low = 15
    rows.update()
    assert rows.numbers(0, 9).tolist() == [19, 18, 17, 16, 15]
    clock[0] += 0.2
    rows.update()
    assert rows.numbers(0, 3).tolist() == [19, 29, 18]
    assert (len(rows), rows.newer) == (15, 0)


def test_a_live_frame_is_followed_while_rows_go() -> None:
    frame = LiveFrame("rows")
    frame._store.bound = Bound(rows=50)
    feed(frame, 10)
    rows = RowSet(Source.of(frame))
    for _ in range(30):
        rows.update()
        low, high = frame.span()
        assert rows.numbers(rows.base, 1000).tolist() == list(range(low, high))
        assert rows.base == low
        taken = rows.take(rows.numbers(rows.base + 3, 4))
        assert [int.from_bytes(data, "little") for data in taken["data"]] == list(range(low + 3, low + 7))
        assert rows.source.attrs.get("evicted") == (low or None)
        feed(frame, 7)


# The widget


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comm.create_comm", FakeComm)


@pytest.fixture
def shown(comms: None):
    made = []

    def show(data: Any, **options: Any) -> tuple[Any, Page]:
        view = table(data, hz=30, **options)
        made.append(view)
        return view, Page(view)

    yield show
    for view in made:
        view.close()


FRAME = pd.DataFrame(
    {
        "n": np.arange(1000, dtype=np.uint64) + np.uint64(BIG - 999),
        "comm": pd.Categorical(np.array(["dd", "cat", "awk", 'q"t'])[np.arange(1000) % 4]),
        "latency": np.arange(1000, dtype=np.int64)[::-1] * 1000,
        "when": pd.to_datetime(np.arange(1000) + NOON).tz_localize("UTC"),
    }
)
FRAME.attrs["bpfnb_columns"] = {"latency": {"unit": "ns", "format": "duration", "description": "how long"}}


def test_only_rows_in_sight_travel(shown: Any) -> None:
    view, page = shown(FRAME)
    page.say("hello", visible=True)
    frame = page.wait(1)
    assert (frame["meta"]["rows"], frame["meta"]["total"], frame["meta"]["follow"]) == (1000, 1000, False)
    assert [column["name"] for column in frame["meta"]["columns"]] == ["n", "comm", "latency", "when"]
    page.ack()
    page.say("rows", id=7, start=500, count=20, sight=14)
    answer = page.wait(1, "rows")
    assert (answer["id"], answer["meta"]["start"]) == (7, 500)
    sent = {column["name"]: column for column in answer["columns"]}
    assert {column["length"] for column in sent.values()} == {20}
    assert set(sent) == {"#", "selected", "c0", "t0", "c1", "c2", "t2", "c3", "t3"}
    assert max(sum(size) for size in page.sizes()) < 12_000
    with view.lock:
        columns = view._columns_of(view._at(998, 20))
    assert columns["c0"] == [hex(BIG - 1), hex(BIG)]
    assert columns["t2"] == ["1,000 ns", "0 ns"]
    assert columns["#"].tolist() == [998, 999]


def test_what_a_person_does_is_seen_in_python(shown: Any) -> None:
    view, page = shown(FRAME)
    page.say("values", id=1, column=1)
    offer = page.wait(1, "values")
    assert sorted(zip(offer["labels"], offer["counts"], strict=True)) == [
        ("awk", 250), ("cat", 250), ("dd", 250), ('q"t', 250),
    ]  # fmt: skip
    page.say("filter", id=2, column=1, picks=[offer["labels"].index('q"t')])
    page.say("filter", id=3, column=2, how="range", text="< 10us")
    assert view.filters == {"comm": {"in": ['q"t']}, "latency": {"lt": 10_000}}
    page.say("filter", id=4, column=2, how="range", text="soon")
    assert page.wait(3, "filter")["error"].startswith("'soon' is no number")
    assert "latency" in view.filters
    page.say("sort", keys=[[2, "asc"]])
    assert view.sort == [("latency", "asc")]
    assert view.df["n"].tolist() == [BIG, BIG - 4, BIG - 8]
    assert view.df.columns.tolist() == ["n", "comm", "latency", "when"]
    page.say("columns", shown=[2, 0])
    assert view.columns == ["latency", "n"]
    page.say("select", how="one", row="995")
    page.say("select", how="range", row="991")
    assert view.selection == {"#": {"in": [995, 991]}}
    page.say("select", how="toggle", row="995")
    assert view.selection == {"#": {"in": [991]}}
    page.say("copy", id=9)
    assert page.wait(1, "copy")["text"] == f"latency,n\r\n8000,{BIG - 8}\r\n"
    page.say("select", how="none")
    assert view.selection == {}
    page.say("filter", id=5, clear="all")
    assert len(view.df) == 1000
    assert not view.errors


def test_detail_shows_decoded_beside_raw(shown: Any) -> None:
    _, page = shown(FRAME, columns=["n"])
    page.say("detail", id=1, row="999")
    fields = {field["name"]: field for field in page.wait(1, "detail")["fields"]}
    assert fields["n"] == {
        "name": "n", "value": f"{BIG} = {BIG:#x}", "raw": str(BIG), "note": "",
    }  # fmt: skip
    assert fields["when"]["value"] == "2026-11-21 12:00:00.000000999 UTC"
    assert fields["when"]["raw"] == str(NOON + 999)
    assert fields["latency"]["note"] == "ns · duration · how long"


def test_csv_reads_back(shown: Any) -> None:
    view, _ = shown(FRAME, filters={"latency": {"lt": 3000}})
    rows = list(csv.reader(io.StringIO(view.csv(), newline="")))
    assert rows[0] == ["n", "comm", "latency", "when"]
    assert rows[3] == [str(BIG), 'q"t', "0", "2026-11-21T12:00:00.000000999Z"]
    assert view.csv().count("\r\n") == 4


def test_nothing_is_sent_when_nothing_changed(shown: Any) -> None:
    frame = LiveFrame("rows")
    feed(frame, 100)
    view, page = shown(frame)
    page.say("hello", visible=True)
    page.wait(1)
    page.ack()
    feed(frame, 5)
    page.wait(2)
    page.ack()
    sent = len(page.messages())
    for _ in range(5):
        view._step()
    assert len(page.messages()) == sent
    page.say("visible", visible=False)
    feed(frame, 5)
    for _ in range(5):
        view._step()
    assert len(page.messages()) == sent


def test_linked_views_filter_each_other(shown: Any) -> None:
    first, _ = shown(FRAME)
    second, _ = shown(FRAME)
    second.selection = {"latency": {"lt": 5000}}
    assert first.df["latency"].tolist() == [4000, 3000, 2000, 1000, 0]
    assert len(second.df) == 1000
    second.selection = {}
    assert len(first.df) == 1000


def test_options_are_checked(shown: Any) -> None:
    view, _ = shown(FRAME)
    with pytest.raises(UnknownName, match="latncy"):
        view.sort = "latncy"
    with pytest.raises(UnknownName):
        view.filters = {"latncy": {"lt": 1}}
    with pytest.raises(BadValue):
        view.filters = {"comm": {"matches": "("}}
    with pytest.raises(BadValue):
        view.sort = [("latency", "down")]
    with pytest.raises(UnknownName):
        view.columns = ["latncy"]
    view.sort = "latency"
    assert view.sort == [("latency", "asc")]
    view.sort = ("latency", "desc")
    assert view.sort == [("latency", "desc")]


def test_the_static_picture_has_the_first_and_the_last_rows(shown: Any) -> None:
    view, _ = shown(FRAME, columns=["latency", "comm"], filters={"comm": {"in": ["dd", "<b>"]}}, title="<i>")
    html = view.html()
    assert html.count("<tr>") == 1 + 5 + 1 + 5
    assert "… 240 rows between …" in html
    assert "&lt;i&gt;: 250 of 1,000 rows" in html
    assert "Filtered by comm is dd, &lt;b&gt;" in html
    assert '<td class="b-num" align="right" title="999,000 ns" style="white-space:nowrap">999 us</td>' in html
    assert "<script" not in html
    assert view._text().splitlines()[1].split() == ["latency", "comm"]
    figure = view.to_plotly()
    assert figure.data[0].header.values == ("latency", "comm")
    assert list(figure.data[0].cells.values[0])[:2] == ["999 us", "995 us"]
    assert len(figure.data[0].cells.values[0]) == 11


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
        pd.DataFrame({"v": [1, 2]}, index=pd.Index(["p", "q"], name="key")),
        pd.DataFrame({0: [1], 1: [None]}),
        pd.DataFrame({"o": [{"k": 1}, [1], None, "text", 5]}),
        pd.DataFrame({"p": pd.period_range("2026", periods=2, freq="D"), "i": pd.interval_range(0, 2)}),
        pd.DataFrame({"t": pd.to_timedelta([1, None]), "f": pd.array([1.5, None], dtype="Float64")}),
        pd.DataFrame({"c": pd.Categorical([1, 2, None])}),
    ],
)
def test_any_frame_can_be_shown_sorted_saved(shown: Any, frame: pd.DataFrame) -> None:
    view, page = shown(frame)
    page.say("hello", visible=True)
    names = [column["name"] for column in page.wait(1)["meta"]["columns"]]
    assert len(set(names)) == len(names)
    assert len(names) == frame.shape[1] + (frame.index.name is not None)
    for place, name in enumerate(names):
        view.sort = (name, "desc")
        assert len(view.df) == len(frame)
        page.say("values", id=place, column=place)
        page.wait(place + 1, "values")
    assert view.html()
    assert view.csv().count("\r\n") == len(frame) + 1
    assert view._offline_payloads()[0].meta["embedded"] == len(frame)
    for row in range(len(frame)):
        page.say("detail", id=row, row=str(row))
        assert len(page.wait(row + 1, "detail")["fields"]) == len(names)
    assert not view.errors
