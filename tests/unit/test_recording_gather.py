"""Small pieces of a recording that become one while it is made: the same rows, in far fewer entries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from recordings import CLOCK, lane_of, made, rows_of

from bpfnb.frames.lane import Columns
from bpfnb.recording import gather
from bpfnb.recording.archive import Archive
from bpfnb.recording.columns import to_table
from bpfnb.recording.container import Container
from bpfnb.recording.gather import Gathered
from bpfnb.recording.merge import rewrite
from bpfnb.recording.reader import Recording

FOLDER = "objects/io/streams/events/event"


def _flushed(path: Path, counts: list[int], *, gap: int = 0) -> tuple[Columns, Container]:
    """A recording whose flushes had so many rows each, their numbers apart by *gap* more; and the rows."""
    lane = lane_of("event")
    columns = lane.decode(rows_of(lane, sum(counts)), None)
    with Recording(made(path.with_name("empty"), [])) as empty:
        replaced = {"manifest.json": empty.text("manifest.json", 1 << 20)}
        rest = {name: empty.text(name, 1 << 20) for name in empty.entries if name not in replaced}
    container = Container(path, overwrite=True)
    for name, data in rest.items():
        container.add(name, data)
    pieces, begin = Gathered(container), 0
    for at, count in enumerate(counts):
        part = {name: values[begin : begin + count] for name, values in columns.items()}
        pieces.put(FOLDER, to_table(lane, part, begin + gap * at, np.full(count, float(at)), CLOCK))
        container.commit(replaced)
        begin += count
    container.close()
    return columns, container


def _check(path: Path, columns: Columns, counts: list[int], gap: int = 0) -> list[str]:
    """That these are the rows in the file; the names of its pieces."""
    numbers = np.arange(sum(counts)) + np.repeat(np.arange(len(counts)) * gap, counts)
    with Recording(path) as recording:
        found = list(recording.objects["io"].read("events", lane_of("event")))
        tables = recording.tables().set_index("table")
        names = recording.pieces(FOLDER)
    said = [one.first + np.arange(one.rows) if one.numbers is None else one.numbers for one in found]
    assert np.array_equal(np.concatenate(said), numbers)
    assert np.array_equal(
        np.concatenate([one.arrived for one in found]), np.repeat(np.arange(len(counts)), counts)
    )
    for name, values in columns.items():
        there = [one.columns[name] for one in found]
        if isinstance(values, np.ndarray):
            assert np.array_equal(np.concatenate(there), values)
        else:
            assert pa.concat_arrays(there).equals(values)
    assert tables.loc[FOLDER, "rows"] == sum(counts)
    return [name.rpartition("/")[2] for name in names]


def _closed(path: Path) -> None:
    with Recording(path) as recording:
        replaced = {"manifest.json": recording.text("manifest.json", 1 << 20)}
    rewrite(path, replaced)


@pytest.mark.parametrize("gap", [0, 3])
def test_many_flushes_leave_few_pieces_and_the_same_rows(tmp_path: Path, gap: int) -> None:
    path, counts = tmp_path / "a.bpfnb", [1 + at % 3 for at in range(600)]
    columns, container = _flushed(path, counts, gap=gap)
    names = _check(path, columns, counts, gap)
    assert names == [
        "00000-00255.parquet",
        "00256-00511.parquet",
        *(f"{at:05}.parquet" for at in range(512, 600)),
    ]
    assert container.left == 512
    _closed(path)
    assert _check(path, columns, counts, gap) == ["00000.parquet"]


def test_large_flushes_stay_and_keep_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "LARGE", 100)
    monkeypatch.setattr(gather, "FEW", 100)
    path, counts = tmp_path / "a.bpfnb", [5, 6, 100, 7, 300, 60, 30, 20, 4]
    columns, _ = _flushed(path, counts)
    assert _check(path, columns, counts) == [
        *("00000-00001.parquet", "00002.parquet", "00003.parquet", "00004.parquet"),
        *("00005-00007.parquet", "00008.parquet"),
    ]


def test_who_reads_while_it_grows_has_what_became_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "MANY", 3)
    lane = lane_of("event")
    container = Container(tmp_path / "a.bpfnb")
    pieces = Gathered(container)
    tables = [
        to_table(lane, lane.decode(rows_of(lane, 4), None), 4 * at, np.zeros(4), CLOCK) for at in range(3)
    ]
    for at, table in enumerate(tables):
        pieces.put(FOLDER, table)
        container.commit({"manifest.json": b"the newest" * (1 + 100 * at)})
        if at == 0:
            reader = Archive(tmp_path / "a.bpfnb")
            first = reader.read(f"{FOLDER}/00000.parquet")
    container.close()
    assert (
        reader.read("manifest.json") == b"the newest" * 201
    )  # not where it was: the directory is read again
    assert set(reader.entries) == {f"{FOLDER}/00000-00002.parquet", "manifest.json"}
    assert reader.read(f"{FOLDER}/00000.parquet") == first
    reader.close()


def test_what_waits_takes_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of("event")
    table = to_table(lane, lane.decode(rows_of(lane, 10), None), 0, np.zeros(10), CLOCK)
    monkeypatch.setattr(gather, "NBYTES", 7 * table.nbytes)
    container = Container(tmp_path / "a.bpfnb")
    pieces = Gathered(container)
    for folder in (
        "a",
        "b",
        "a",
        "a",
        "a",
        "b",
        "a",
        "a",
        "b",
    ):  # the eighth is more than the seven that may wait
        pieces.put(folder, table)
    container.commit({})
    container.close()
    assert list(container.entries) == [
        *(f"b/{at:05}.parquet" for at in range(2)),
        "a/00000-00005.parquet",
        "b/00002.parquet",
    ]


def test_a_directory_that_was_cut_short_gives_no_row_twice(tmp_path: Path) -> None:
    path, counts = tmp_path / "a.bpfnb", [2] * 300
    columns, _ = _flushed(path, counts)
    path.write_bytes(path.read_bytes()[:-30])
    with Recording(path) as recording:
        assert recording.recovered
        assert sum(name.startswith(FOLDER) for name in recording.entries) == 301
    assert len(_check(path, columns, counts)) == 1 + 44


def test_pieces_that_do_not_fit_each_other_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MANY", 2)
    container = Container(tmp_path / "a.bpfnb")
    pieces = Gathered(container)
    for values in ([1], ["one"], [2], [3]):
        pieces.put("frame", pa.table({"x": values}))
    container.commit({})
    container.close()
    assert list(container.entries) == [
        "frame/00000.parquet", "frame/00001.parquet", "frame/00002-00003.parquet"
    ]  # fmt: skip
