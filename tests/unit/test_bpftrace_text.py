"""What is read off a bpftrace program's text, and its JSON lines as frames."""

from __future__ import annotations

import pytest

from bpfnb.bpftrace.results import Results
from bpfnb.bpftrace.text import formats, keys, probes

PROGRAM = """// @x[no, map] printf("no %d\\n", a)
tracepoint:syscalls:sys_enter_openat
/comm == "a,b:c {"/ { @opens[comm, str(args->filename), kstack(3)] = count(); @[pid] = hist(nsecs / 1000);
  printf("%d %-16s %s\\n", pid, comm, str(args->filename)); printf("%s of %s\\n", comm, "x"); printf("no arguments\\n"); }
BEGIN, interval:s:1 { @two[@opens["x", 1], 5] = 1; @opens[1, 2] = 3 }
"""


def test_keys_have_the_names_of_their_expressions():
    found = keys(PROGRAM)
    assert found["@opens"] == ["comm", "filename", "kstack"]
    assert found["@"] == ["pid"]
    assert len(found["@two"]) == 2
    assert "@x" not in found


def test_probes_and_their_lines():
    assert probes(PROGRAM) == [("tracepoint:syscalls:sys_enter_openat", 2), ("BEGIN", 5), ("interval:s:1", 5)]


def test_formats():
    found = formats(PROGRAM)
    assert [form.names for form in found] == [("pid", "comm", "filename"), ("comm", "arg2"), ()]
    assert found[0].values("42 bash             /etc/passwd") == (42, "bash", "/etc/passwd")
    assert found[0].values("x bash /etc") is None
    assert found[0].values("42 two words /etc") is None, "which word is whose cannot be known"
    assert not found[2].whole


def test_lines_have_columns_where_one_format_fits_in_one_way():
    results = Results(PROGRAM)
    for text in ("7 bash             /etc", "/x\n", "sh of x\nno arguments\n", "8 a b  c\n"):
        results.add({"type": "printf", "data": text})
    results.add({"type": "value", "data": [1, "two"]})
    results.end()
    frame = results.frame()
    assert frame["text"].tolist() == [
        "7 bash             /etc/x",
        "sh of x",
        "no arguments",
        "8 a b  c",
        "(1, two)",
    ]
    assert frame["pid"].fillna(0).tolist() == [7, 0, 0, 0, 0]
    assert frame["filename"].fillna("-").tolist() == ["/etc/x", "-", "-", "-", "-"]
    assert frame["comm"].fillna("-").tolist() == ["bash", "sh", "-", "-", "-"]
    assert frame["pid"].dtype == "Int64"


def test_maps():
    results = Results(PROGRAM)
    results.add({"type": "map", "data": {"@opens": {"sh,/a,\n    x+1\n    y+2\n": 3}}})
    results.add({"type": "map", "data": {"@two": {"1,5": 1, "a,b,5": 2}}})
    results.add({"type": "map", "data": {"@plain": "text"}})
    results.add({"type": "stats", "data": {"@all": {"count": 2, "average": 3, "total": 6}}})
    buckets = [
        {"max": 0, "count": 1},
        {"min": 1, "max": 1, "count": 2},
        {"min": 2, "max": 3, "count": 4},
        {"min": 4, "count": 1},
    ]
    results.add({"type": "hist", "data": {"@": {"42": buckets}}})
    results.add({"type": "lost_events", "data": {"events": 5}})
    opens = results.maps["@opens"].df
    assert opens.to_dict("records") == [{"comm": "sh", "filename": "/a", "kstack": "y;x", "value": 3}]
    assert results.maps["@two"].df["key"].tolist() == ["1,5", "a,b,5"], "a comma within a text: not split"
    assert results.maps["@plain"].df["value"].tolist() == ["text"]
    assert results.maps["@all"].df.to_dict("records") == [{"count": 2, "average": 3, "total": 6}]
    times = results.maps["@"].df
    assert times["pid"].tolist() == [42] * 4
    assert times["max"].fillna(-1).tolist() == [0, 1, 3, -1]
    assert times["count"].tolist() == [1, 2, 4, 1]
    histogram = results.maps["@"].histogram()
    assert histogram.counts["count"].tolist() == [1, 2, 4, 1]
    assert histogram.edges == (0, 1, 2, 4, 6)
    assert histogram.groups == ("42",)
    assert times.attrs["bpfnb"]["lost"] == 5
    assert not times.attrs["bpfnb"]["complete"]


def test_a_map_that_is_printed_often_has_a_history():
    results = Results("interval:s:1 { @n[comm] = count(); print(@n); }")
    for number in range(3):
        results.add({"type": "map", "data": {"@n": {"sh": number, "cat": 9}}})
    frame = results.maps["@n"].history
    assert frame["value"].tolist() == [0, 9, 1, 9, 2, 9]
    assert frame["comm"].tolist() == ["sh", "cat"] * 3
    assert frame["time"].is_monotonic_increasing
    assert str(frame["time"].dt.tz) == "UTC"


@pytest.mark.parametrize("kind", ["attached_probes", "pid"])
def test_what_is_no_output_makes_no_row(kind):
    results = Results("")
    assert results.add({"type": kind, "data": 7}) == ""
    assert results.frame().empty
