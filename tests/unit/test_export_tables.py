"""Frames as files: every value as it was, names of files, what is refused."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bpfnb
from bpfnb.errors import BadValue, BpfnbError, UnknownName
from bpfnb.exports import write
from bpfnb.exports.verb import _target
from bpfnb.frames.columns import TEXT

BIG = 2**64 - 1


@pytest.fixture
def frame() -> pd.DataFrame:
    made = pd.DataFrame({
        "time": pd.to_datetime([1_700_000_000_123_456_789, 1_700_000_001_000_000_000, None], utc=True),
        "count": np.array([1, BIG, 0], np.uint64),
        "comm": pd.Categorical(["dd", 'a "b", ü', None]),
        "ok": [True, False, True],
        "share": [0.25, np.nan, np.inf],
        "pid": pd.array([1, None, 3], "UInt32"),
        "path": pd.array(["/tmp/x\ny", "", None], TEXT),
        "data": pd.Series([b"\0\xff", b"", None], dtype=pd.ArrowDtype(pa.binary())),
        "slots": pd.Series([[1, 2], [], None], dtype=pd.ArrowDtype(pa.list_(pa.uint32()))),
    })  # fmt: skip
    made.attrs = {
        "bpfnb": {"rows": 3, "lost": 0, "complete": True},
        "bpfnb_columns": {"count": {"unit": "bytes"}},
    }
    return made


EXPECTED = [
    {"time": "2023-11-14T22:13:20.123456789Z", "count": 1, "comm": "dd", "ok": True, "share": 0.25, "pid": 1,
     "path": "/tmp/x\ny", "data": "00ff", "slots": [1, 2]},
    {"time": "2023-11-14T22:13:21.000000000Z", "count": BIG, "comm": 'a "b", ü', "ok": False, "share": None,
     "pid": None, "path": "", "data": "", "slots": []},
    {"time": None, "count": 0, "comm": None, "ok": True, "share": None, "pid": 3, "path": None, "data": None,
     "slots": None},
]  # fmt: skip


def test_json(frame: pd.DataFrame, tmp_path: Path) -> None:
    assert bpfnb.export(frame, tmp_path / "x.json") == [tmp_path / "x.json"]
    assert json.loads((tmp_path / "x.json").read_text()) == EXPECTED


def test_json_lines(frame: pd.DataFrame, tmp_path: Path) -> None:
    bpfnb.export(frame, tmp_path / "x.jsonl")
    text = (tmp_path / "x.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == EXPECTED
    assert text.endswith("}\n")


def test_csv(frame: pd.DataFrame, tmp_path: Path) -> None:
    bpfnb.export(frame, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["time"] for row in rows] == [
        "2023-11-14T22:13:20.123456789Z",
        "2023-11-14T22:13:21.000000000Z",
        "",
    ]
    assert [row["count"] for row in rows] == ["1", str(BIG), "0"]
    assert [row["comm"] for row in rows] == ["dd", 'a "b", ü', ""]
    assert [row["path"] for row in rows] == ["/tmp/x\ny", "", ""]
    assert [row["data"] for row in rows] == ["00ff", "", ""]
    assert [row["slots"] for row in rows] == ["[1, 2]", "[]", ""]
    assert [row["pid"] for row in rows] == ["1", "", "3"]


def test_parquet_keeps_types_units_and_completeness(frame: pd.DataFrame, tmp_path: Path) -> None:
    bpfnb.export(frame, tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.schema.field("time").type == pa.timestamp("ns", "UTC")
    assert table.column("count").to_pylist() == [1, BIG, 0]
    assert table.column("slots").to_pylist() == [[1, 2], [], None]
    assert table.schema.field("count").metadata[b"unit"] == b"bytes"
    assert json.loads(table.schema.metadata[b"bpfnb"]) == frame.attrs["bpfnb"]
    assert pd.read_parquet(tmp_path / "x.parquet")["comm"].tolist()[:2] == ["dd", 'a "b", ü']


def test_no_rows(frame: pd.DataFrame, tmp_path: Path) -> None:
    for name, text in (("x.json", []), ("x.jsonl", None)):
        bpfnb.export(frame.iloc[:0], tmp_path / name)
        read = (tmp_path / name).read_text()
        assert (json.loads(read) if text is not None else read) == (text if text is not None else "")
    bpfnb.export(frame.iloc[:0], tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().count("\n") == 1


def test_several_tables_have_a_file_each(frame: pd.DataFrame, tmp_path: Path) -> None:
    both = {"events": frame, "totals": pd.DataFrame({"n": [1]})}
    written = write(both, tmp_path / "x.csv")
    assert [one.path.name for one in written] == ["x-events.csv", "x-totals.csv"]
    assert [(one.count, one.what) for one in written] == [(3, "rows"), (1, "rows")]
    assert bpfnb.export(both, tmp_path / "y.json", stream="totals") == [tmp_path / "y.json"]
    assert json.loads((tmp_path / "y.json").read_text()) == [{"n": 1}]
    with pytest.raises(UnknownName, match="totals"):
        bpfnb.export(both, tmp_path / "y.json", stream="total")


def test_tables_whose_names_are_alike_in_files_have_one_each(tmp_path: Path) -> None:
    frames = {name: pd.DataFrame({"n": [at]}) for at, name in enumerate(("a/b", "a_b", "a_b-2", "c"))}
    written = bpfnb.export(frames, tmp_path / "x.json")
    assert [path.name for path in written] == ["x-a_b.json", "x-a_b-2.json", "x-a_b-2-2.json", "x-c.json"]
    assert [json.loads(path.read_text()) for path in written] == [[{"n": at}] for at in range(4)]


def test_a_folder_without_a_name_has_its_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    assert _target(".", "html") == (tmp_path / "here" / "below.html", "html")
    assert _target("..", "html") == (tmp_path / "here.html", "html")
    assert _target("/", "html") == (Path("/.html"), "html")


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    names = [
        "name",
        "object",
        "streams",
        "maps",
        "df",
        "view",
        "origin",
        "manifest",
        "replay",
        "source",
        "time",
    ]
    frame = pd.DataFrame({name: [1] for name in names})
    for ending in ("json", "html", "trace.json"):
        bpfnb.export(frame, tmp_path / f"x.{ending}")
    assert json.loads((tmp_path / "x.json").read_text()) == [dict.fromkeys(names, 1)]


def test_losses_are_said(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.attrs["bpfnb"] = {"rows": 3, "lost": 7, "lost_by": {"buffer": 7}, "complete": False}
    (written,) = write(frame, tmp_path / "x.csv")
    assert "7 LOST (7 buffer)" in written.note


def test_what_cannot_be_exported(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="says no format"):
        bpfnb.export(frame, tmp_path / "x.xlsx")
    with pytest.raises(BadValue, match="did you mean parquet"):
        bpfnb.export(frame, tmp_path / "x", format="parket")
    with pytest.raises(BadValue, match="int cannot be exported"):
        bpfnb.export([1], tmp_path / "x.csv")
    with pytest.raises(BadValue, match="stacks"):
        bpfnb.export(pd.DataFrame({"n": [1]}), tmp_path / "x.folded")
    with pytest.raises(BadValue, match="when it happened"):
        bpfnb.export(pd.DataFrame({"n": [1]}), tmp_path / "x.trace.json")


# Stacks


STACKS = pd.DataFrame({"stack": ["main;run;read", "main;run;read", "main;idle"], "count": [2, 3, 4]})


def test_folded(tmp_path: Path) -> None:
    bpfnb.export(STACKS, tmp_path / "x.folded")
    assert (tmp_path / "x.folded").read_text() == "main;idle 4\nmain;run;read 5\n"


def test_pprof(tmp_path: Path) -> None:
    (written,) = write(STACKS, tmp_path / "x.pb.gz")
    assert (written.count, written.what) == (2, "stacks")
    assert b"idle" in gzip.decompress((tmp_path / "x.pb.gz").read_bytes())
    if shutil.which("go"):
        command = ["go", "tool", "pprof", "-raw", str(tmp_path / "x.pb.gz")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "samples/count" in said
        samples = said.partition("Samples:")[2].partition("Locations")[0].splitlines()
        counted = [line.split() for line in samples if ": " in line]
        assert sorted((line[0], len(line) - 1) for line in counted) == [("4:", 2), ("5:", 3)]


def test_a_file_that_is_there_is_replaced_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    with pytest.raises(BadValue, match="there already") as refused:
        bpfnb.export(pd.DataFrame({"n": [1]}), path)
    assert "overwrite=True" in str(refused.value.hints)
    assert path.read_text() == "mine"
    assert bpfnb.export(pd.DataFrame({"n": [1]}), path, overwrite=True) == [path]
    assert path.read_text() == '"n"\n1\n'


def test_where_one_file_cannot_be_written_none_is(tmp_path: Path) -> None:
    good, bad = pd.DataFrame({"n": [1]}), pd.DataFrame({"n": [1, "text", object()]})
    before = tmp_path / "x-good.csv"
    before.write_text("mine")
    with pytest.raises(Exception, match=r"object|convert"):
        bpfnb.export({"good": good, "bad": bad}, tmp_path / "x.csv", overwrite=True)
    assert list(tmp_path.iterdir()) == [before]
    assert before.read_text() == "mine"
    with pytest.raises(BpfnbError, match=r"nowhere/x\.csv cannot be written: No such file"):
        bpfnb.export(good, tmp_path / "nowhere" / "x.csv")
