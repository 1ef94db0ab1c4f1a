"""What flame graphs are saved as for other programs, read again: the same stacks with the same sums."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bpfnb.errors import BadValue
from bpfnb.views import flamegraph

STACKS = {"main;work;leaf": 5, "main;work": 7, "main;ünïcode::<T>": 2**40, "other": 1}


def view(unit: str = "ns", values: dict[str, Any] = STACKS) -> Any:
    frame = pd.DataFrame({"stack": list(values), "lat": list(values.values())})
    return flamegraph(frame, weight="lat", unit=unit, title="t")


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message of protocol buffers: numbers, or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        assert key & 7 in (0, 2)
        value: Any = varint()
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        yield key >> 3, value


def packed(data: bytes) -> list[int]:
    """Packed varints, read as fields without bytes: each behind a key of its own."""
    out, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            out.append(value)
            value = shift = 0
    return out


def test_pprof_by_the_numbers_of_profile_proto():
    parts = list(fields(gzip.decompress(view().pprof())))
    texts = [value.decode() for number, value in parts if number == 6]
    assert texts[0] == ""
    (kind,) = [dict(fields(value)) for number, value in parts if number == 1]
    assert (texts[kind[1]], texts[kind[2]]) == ("time", "nanoseconds")
    functions = {f[1]: texts[f[2]] for f in (dict(fields(v)) for number, v in parts if number == 5)}
    locations = {
        f[1]: functions[dict(fields(f[4]))[1]]
        for f in (dict(fields(v)) for number, v in parts if number == 4)
    }
    assert 0 not in locations
    samples = [dict(fields(value)) for number, value in parts if number == 2]
    found = {";".join(locations[at] for at in packed(s[1])[::-1]): packed(s[2]) for s in samples}
    assert found == {stack: [weight] for stack, weight in STACKS.items()}


@pytest.mark.parametrize(
    ("unit", "of_pprof"), [("samples", "samples/count"), ("ns", "time/nanoseconds"), ("bytes", "space/bytes")]
)
def test_go_tool_pprof_opens_it(tmp_path, unit, of_pprof):
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no go tool pprof")
    file = view(unit).save(tmp_path / "x.pb.gz")
    text = subprocess.check_output([go, "tool", "pprof", "-raw", file], text=True)
    assert of_pprof in text
    counts = [
        line.split(":")[0] for line in text.partition("Samples:\n")[2].partition("Locations")[0].splitlines()
    ]
    assert sum(int(count) for count in counts if count.strip().isdigit()) == sum(STACKS.values())


def test_all_files_hold_the_same_sums(tmp_path):
    picture = view()
    total = sum(STACKS.values())
    folded = picture.save(tmp_path / "x.folded").read_text()
    assert {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in folded.splitlines()} == STACKS
    assert flamegraph(folded).tree.total == total
    scope = json.loads(picture.save(tmp_path / "x.speedscope.json").read_text())
    assert sum(scope["profiles"][0]["weights"]) == scope["profiles"][0]["endValue"] == total
    assert picture.save(tmp_path / "x.svg").read_text().lstrip().startswith("<svg")
    assert picture.save(tmp_path / "x.pprof").read_bytes() == picture.pprof()


def test_fractions_are_rounded_in_pprof_only(tmp_path):
    values = {"a;b": 2.5, "a": 1.25, "c": 3.0}
    parts = list(fields(gzip.decompress(view("s", values).pprof())))
    assert sum(packed(dict(fields(value))[2])[0] for number, value in parts if number == 2) == 2 + 1 + 3
    assert flamegraph(view("s", values).folded()).tree.total == 6.75


def test_nothing_was_seen(tmp_path: Path):
    empty = view(values={})
    assert empty.save(tmp_path / "x.folded").read_text() == ""
    assert [number for number, _ in fields(gzip.decompress(empty.pprof()))].count(2) == 0


def test_a_name_that_says_nothing_is_refused(tmp_path):
    with pytest.raises(BadValue, match=r"cannot save a flame graph as 'x\.json'") as error:
        view().save(tmp_path / "x.json")
    assert "speedscope" in error.value.hints[0]
