"""Columns go into a file as people read them, and come back as the kernel wrote them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import CLOCK, lane_of, made, rows_of

from bpfnb.errors import BadRecording
from bpfnb.frames.lane import Columns, Lane
from bpfnb.recording.columns import FIRST, ROW, from_table, to_table
from bpfnb.recording.merge import joined
from bpfnb.recording.parquet import Sheet, encode
from bpfnb.recording.reader import Recording


def _same(lane: Lane, one: Columns, other: Columns) -> None:
    assert one.keys() == other.keys()
    for name in one:
        left, right = pa.array(one[name]), pa.array(other[name])
        assert left.type == right.type, name
        assert left.equals(right) or pa.array([left]).equals(pa.array([right])), name
        if isinstance(one[name], np.ndarray):
            assert one[name].tobytes() == np.ascontiguousarray(other[name]).tobytes(), name


def _through(lane: Lane, columns: Columns, clock: int = CLOCK) -> Columns:
    rows = len(next(iter(columns.values())))
    data = encode(to_table(lane, columns, 0, np.zeros(rows), clock))
    return from_table(lane, Sheet(data, "a piece").table(), clock)


@pytest.mark.parametrize("name", ["event", "number"])
@given(seed=st.integers(0, 1 << 32), count=st.integers(0, 40))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_record_comes_back_exactly(name: str, seed: int, count: int) -> None:
    lane = lane_of(name)
    columns = lane.decode(rows_of(lane, count, seed), None)
    _same(lane, columns, _through(lane, columns))


@given(st.lists(st.binary(max_size=12), max_size=20))
@settings(max_examples=15, deadline=None)
def test_flexible_ends_of_records_come_back_exactly(tails: list[bytes]) -> None:
    longest = max(map(len, tails), default=0)
    for name in ("said", "sent", "data"):
        lane = lane_of(name)
        data = np.zeros((len(tails), lane.size + longest), np.uint8)
        for row, tail in zip(data, tails, strict=True):
            row[lane.size : lane.size + len(tail)] = list(tail)
        lengths = np.array([lane.size + len(tail) for tail in tails], np.uint32)
        columns = lane.decode(data, lengths)
        _same(lane, columns, _through(lane, columns))


def test_what_others_read_of_it() -> None:
    lane = lane_of("event")
    record = np.zeros((3, lane.size), np.uint8)
    at = {column.name: column for column in lane.layout.columns}  # type: ignore[union-attr]

    def put(row: int, name: str, data: bytes) -> None:
        record[row, at[name].offset : at[name].offset + len(data)] = list(data)

    put(0, "when", (5).to_bytes(8, "little"))
    put(0, "four", bytes([10, 0, 0, 1]))
    put(0, "either", bytes(10) + b"\xff\xff\x0a\0\0\2")
    put(1, "either", b"\x20\x01" + bytes(13) + b"\1")
    put(0, "port", b"\x01\xbb")
    put(0, "mac", bytes(range(6)))
    put(0, "error", (-2 & 0xFFFFFFFF).to_bytes(4, "little"))
    put(1, "error", (2).to_bytes(4, "little"))
    put(0, "way", (1).to_bytes(4, "little"))
    put(1, "way", (77).to_bytes(4, "little"))
    put(0, "name", b"make")
    table = pq.read_table(
        io.BytesIO(encode(to_table(lane, lane.decode(record, None), 0, np.full(3, 1.5), CLOCK)))
    )
    shown = table.to_pandas()
    assert shown["when"].tolist() == [pd.Timestamp(CLOCK + 5, tz="UTC"), pd.NaT, pd.NaT]
    assert shown["four"].tolist() == ["10.0.0.1", "0.0.0.0", "0.0.0.0"]
    assert shown["either"].tolist() == ["10.0.0.2", "2001::1", "::"]
    assert shown["port"].tolist() == [443, 0, 0]
    assert shown["mac"].tolist()[0] == "00:01:02:03:04:05"
    assert (shown["error"].tolist(), shown["error@raw"].tolist()) == (["ENOENT", "ENOENT", "0"], [-2, 2, 0])
    assert (shown["way"].tolist(), shown["way@raw"].tolist()) == (["WRITE", "77", "READ"], [1, 77, 0])
    assert shown["name"].tolist() == ["make", "", ""]
    assert {str(shown[name].dtype) for name in ("name", "four", "mac", "way")} == {"category"}
    assert shown["arrived@"].tolist() == [pd.Timestamp(1.5, unit="s", tz="UTC")] * 3
    assert table.schema.field("grid").metadata[b"hidden"] == b"true"
    assert table.schema.metadata[FIRST] == b"0"


def test_another_clock_gives_other_numbers() -> None:
    lane = lane_of("event")
    columns = lane.decode(rows_of(lane, 10), None)
    columns["when"] = np.arange(10, dtype=np.uint64) * 1000
    table = to_table(lane, columns, 0, np.zeros(10), CLOCK)
    shifted = from_table(lane, table, CLOCK - 7)["when"]
    assert shifted.tolist() == [0, *(1000 * n + 7 for n in range(1, 10))], "nothing stays nothing"


def test_columns_that_are_not_there_are_zero() -> None:
    lane = lane_of("event")
    columns = lane.decode(rows_of(lane, 4), None)
    left = {name: values for name, values in columns.items() if name == "big"}
    found = from_table(lane, to_table(lane, left, 0, np.zeros(4), CLOCK), CLOCK)
    assert found["big"].tolist() == columns["big"].tolist()
    zeros = lane.decode(np.zeros((4, lane.size), np.uint8), None)
    _same(lane, zeros | {"big": columns["big"]}, found)


def test_pieces_are_joined_with_their_numbers() -> None:
    lane = lane_of("event")
    parts = [lane.decode(rows_of(lane, 10, seed), None) for seed in range(3)]
    tables = [to_table(lane, part, 10 * n, np.zeros(10), CLOCK) for n, part in enumerate(parts)]
    whole = Sheet(joined(tables), "joined")
    assert whole.schema.metadata[FIRST] == b"0"
    _same(lane, lane.concat(parts), from_table(lane, whole.table(), CLOCK))
    gap = [tables[0], to_table(lane, parts[1], 100, np.zeros(10), CLOCK)]
    apart = Sheet(joined(gap), "joined")
    assert apart.table().column(ROW).to_pylist() == [*range(10), *range(100, 110)]


def test_small_pieces_of_a_file_become_one(tmp_path: Path) -> None:
    from bpfnb.recording.merge import rewrite

    lane = lane_of("event")
    parts = [lane.decode(rows_of(lane, 10, seed), None) for seed in range(20)]
    path = made(
        tmp_path / "a.bpfnb", [to_table(lane, p, 10 * n, np.full(10, n), CLOCK) for n, p in enumerate(parts)]
    )
    size = path.stat().st_size
    manifest = Recording(path).text("manifest.json", 1 << 20)
    assert rewrite(path, {"manifest.json": manifest}) == path.stat().st_size < size
    recording = Recording(path)
    (piece,) = recording.objects["io"].read("events", lane)
    _same(lane, lane.concat(parts), piece.columns)
    assert piece.arrived.tolist() == [n for n in range(20) for _ in range(10)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.bpfnb"]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("big", pa.array(["x"] * 50), "holds string"),
        ("big", pa.array([None] * 50, pa.uint64()), "missing values"),
        ("four", pa.array(["10.0.0.1.5"] * 50), "no ipv4 address"),
        ("either", pa.array([None] * 50, pa.string()), "missing"),
        ("when", pa.array(range(50), pa.timestamp("us")), "holds timestamp"),
        ("many", pa.array([[1]] * 50, pa.list_(pa.uint16(), 1)), "lists of 70"),
        ("raw", pa.array([b"1"] * 50, pa.binary(1)), "fixed_size_binary"),
        ("name", pa.array(range(50)), "holds int64"),
    ],
)
def test_tables_that_do_not_fit_the_types(tmp_path: Path, name: str, values: pa.Array, said: str) -> None:
    lane = lane_of("event")
    table = to_table(lane, lane.decode(rows_of(lane, 50), None), 0, np.zeros(50), CLOCK)
    wrong = table.set_column(table.schema.names.index(name), name, values)
    path = made(tmp_path / "a.bpfnb", [wrong])
    with pytest.raises(BadRecording, match=said):
        list(Recording(path).objects["io"].read("events", lane))


def test_the_examples_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read without bpfnb, with the very lines that docs/recordings.md gives."""
    monkeypatch.chdir(tmp_path)
    lane = lane_of("event")
    parts = [lane.decode(rows_of(lane, 10, seed), None) for seed in range(2)]
    made(
        tmp_path / "incident.bpfnb",
        [to_table(lane, p, 10 * n, np.zeros(10), CLOCK) for n, p in enumerate(parts)],
    )
    text = (Path(__file__).parents[2] / "docs/recordings.md").read_text()
    _, pandas, arrow = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    found: dict[str, object] = {}
    exec(pandas, found)
    big = np.concatenate([part["big"] for part in parts]).tolist()
    assert found["events"]["big"].tolist() == big  # type: ignore[index]
    again = "with zipfile.ZipFile('incident.bpfnb') as recording:\n"
    exec(again + "".join(f"    {line}\n" for line in arrow.splitlines()), found)
    assert found["events"]["big"].to_pylist() == big  # type: ignore[index]
