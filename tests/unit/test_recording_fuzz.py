"""Whatever a file holds: a recording, or BadRecording, in bounded memory and time."""

from __future__ import annotations

import io
import resource
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import CLOCK, lane_of, made, rows_of

from bpfnb.errors import BadRecording
from bpfnb.recording.archive import Archive
from bpfnb.recording.columns import to_table
from bpfnb.recording.container import CENTRAL
from bpfnb.recording.manifest import Manifest
from bpfnb.recording.parquet import MAX_GROUP_ROWS, Sheet, encode
from bpfnb.recording.reader import Recording
from bpfnb.recording.thrift import Pages


def _all_of(path: Path) -> int:
    """Read everything there is; how many rows that were."""
    rows = 0
    with Recording(path) as recording:
        assert len(recording.tables()) < 1000
        rows += recording.symbols.num_rows + recording.processes.num_rows
        for name, recorded in recording.objects.items():
            assert len(recorded.source) + len(recorded.types) < 1 << 25, name
            for stream in recorded.info.streams:
                for piece in recorded.read(stream, lane_of("event")):
                    rows += piece.rows
            for entry in recorded.info.maps:
                for _, keys, values in recorded.entries(entry.name):
                    assert len(keys) == len(values)
                    rows += len(keys)
                rows += len(recorded.snapshots(entry.name))
            rows += recorded.programs.num_rows
            for table in recorded.table("frame"):
                rows += table.num_rows
    return rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(tmp_path_factory.mktemp("whole") / "a.bpfnb").read_bytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "a.bpfnb"


def _tried(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    rows = -1
    try:
        rows = _all_of(path)
    except BadRecording:
        return
    assert rows >= 0


def test_the_whole_one_is_read(whole: bytes, path: Path) -> None:
    path.write_bytes(whole)
    assert _all_of(path) == 52


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_truncated(whole: bytes, path: Path, data: st.DataObject) -> None:
    _tried(path, whole[: data.draw(st.integers(0, len(whole)))])


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_flipped(whole: bytes, path: Path, data: st.DataObject) -> None:
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    _tried(path, bytes(changed))


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_flipped_within_an_entry_whose_sum_is_right(whole: bytes, path: Path, data: st.DataObject) -> None:
    """What a careful forger makes: the damage reaches Parquet, JSON and BTF."""
    path.write_bytes(whole)
    entry = data.draw(st.sampled_from(list(Archive(path).entries.values())))
    content = bytearray(whole[entry.start : entry.start + entry.size])
    for _ in range(data.draw(st.integers(1, 4))):
        near_end = data.draw(st.booleans())  # where Parquet's footer stands
        low = max(0, len(content) - 400) if near_end else 0
        content[data.draw(st.integers(low, len(content) - 1))] = data.draw(st.integers(0, 255))
    _tried(path, _with(whole, entry, bytes(content)))


def _with(whole: bytes, entry: Any, content: bytes) -> bytes:
    changed = bytearray(whole)
    changed[entry.start : entry.start + entry.size] = content
    crc = zlib.crc32(content)
    struct.pack_into("<L", changed, entry.offset + 14, crc)
    place = changed.rindex(entry.name.encode())  # in the directory
    struct.pack_into("<L", changed, place - CENTRAL.size + 16, crc)
    return bytes(changed)


_manifest = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "maps", "streams", "lanes", "host", "name", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(Manifest.__dataclass_fields__)), _manifest, max_size=6))
@settings(max_examples=200, deadline=None)
def test_manifests_of_any_shape(fields: dict[str, Any]) -> None:
    import json

    fields |= {"format": "bpfnb-recording", "version": 1}
    try:
        manifest = Manifest.from_json(json.dumps(fields).encode())
    except BadRecording:
        return
    assert manifest.version == 1


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: pa.table({"x": pa.repeat(pa.scalar("y" * (80 << 20)), 1)}), id="one text"),
        pytest.param(
            lambda: pa.table({"x": pa.array(np.zeros(MAX_GROUP_ROWS + 8, np.uint8))}), id="many rows"
        ),
        pytest.param(lambda: pa.table({str(n): [1] for n in range(5000)}), id="many columns"),
        pytest.param(lambda: pa.table({"x": [{"a": 1}]}), id="structs"),
        pytest.param(lambda: pa.table({"x": [[[1]]]}), id="lists of lists"),
        pytest.param(lambda: pa.table({"x": pa.array([1], pa.duration("s"))}), id="durations"),
        pytest.param(
            lambda: pa.table({"x": pa.array([1])}).append_column("x", pa.array([2])), id="a name twice"
        ),
    ],
)
def test_parquet_that_no_recording_has(bomb: Any) -> None:
    data = _parquet(bomb(), compression="zstd", row_group_size=1 << 26, use_dictionary=False)
    assert len(data) < 4 << 20
    before = _memory()
    with pytest.raises(BadRecording):
        list(Sheet(data, "bomb").batches(["x"]))
    assert _memory() - before < 200 << 20


def test_text_that_unfolds_to_more_than_memory(tmp_path: Path) -> None:
    """A dictionary with one long word, for each of a million rows."""
    lane = lane_of("event")
    rows = 1 << 17
    word = "y" * (1 << 20)
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([word]))
    table = pa.table({"name": names})
    path = made(tmp_path / "a.bpfnb", [table])
    assert path.stat().st_size < 1 << 20
    before = _memory()
    with pytest.raises(BadRecording, match="bytes of text"):
        list(Recording(path).objects["io"].read("events", lane))
    assert _memory() - before < 100 << 20


def test_sizes_of_pages_that_lie() -> None:
    """Each byte of a column's pages, changed: what is read is what was there, or BadRecording."""
    lane = lane_of("number")
    data = encode(to_table(lane, lane.decode(rows_of(lane, 100), None), 0, np.zeros(100), CLOCK))
    meta = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    start = meta.dictionary_page_offset or meta.data_page_offset
    refused = 0
    for at in range(start, start + min(40, meta.total_compressed_size)):
        for value in (0, 0x7F, 0x80, 0xFF):
            changed = bytearray(data)
            changed[at] = value
            try:
                assert Sheet(bytes(changed), "lies").table(["value"]).num_rows == 100
            except BadRecording:
                refused += 1
    assert refused > 20
    assert (
        sum(page.values for page in Pages(data, start, start + meta.total_compressed_size, "x") if page.data)
        == 100
    )


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_headers_of_pages_of_any_bytes(data: bytes) -> None:
    try:
        pages = list(Pages(data, 0, len(data), "x"))
    except BadRecording:
        return
    assert sum(page.compressed for page in pages) <= len(data)


def test_rows_that_go_back_or_overlap(tmp_path: Path) -> None:
    lane = lane_of("event")
    columns = lane.decode(rows_of(lane, 10), None)
    for first, second in ((0, 5), (5, 0)):
        pieces = [to_table(lane, columns, n, np.zeros(10), CLOCK) for n in (first, second)]
        path = made(tmp_path / "a.bpfnb", pieces)
        with pytest.raises(BadRecording, match="came before"):
            list(Recording(path).objects["io"].read("events", lane))
    path = made(
        tmp_path / "a.bpfnb", [to_table(lane, columns, np.arange(10)[::-1].copy(), np.zeros(10), CLOCK)]
    )
    with pytest.raises(BadRecording, match="do not ascend"):
        list(Recording(path).objects["io"].read("events", lane))


def test_nothing_was_imported_that_unpickles(whole: bytes, path: Path) -> None:
    path.write_bytes(whole)
    calls: list[str] = []

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if watching and event in ("pickle.find_class", "exec", "subprocess.Popen", "os.system"):
            calls.append(event)

    watching = False
    sys.addaudithook(audit)
    _all_of(path)  # what is imported once
    watching = True
    _all_of(path)
    watching = False
    assert calls == []
