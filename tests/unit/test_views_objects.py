"""The panel of an object and small tables: complete, escaped, readable without styles."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from bpf_objects import btf_of

from bpfnb.errors import ObjectClosed
from bpfnb.views import Preformatted, Table, object_html, object_text
from bpfnb.views.lists import map_table, object_table, variable_table


class Closed:
    """A stream or map whose object is gone: every reading raises."""

    info = SimpleNamespace(kind="hash", max_entries=16)

    def __getattr__(self, name: str) -> Any:
        raise ObjectClosed("closed")


VARIABLES = btf_of("""
#include <bpfnb/annotations.h>
volatile us_t min_us = 50;
volatile char comm[16] = "dd";
const volatile unsigned int wanted = 7;
""")


def frame(kind: str, max_entries: int, **facts: Any) -> Any:
    return SimpleNamespace(info=SimpleNamespace(kind=kind, max_entries=max_entries), lost=0, **facts)


def fake(**changes: Any) -> Any:
    """An object with the attributes that a panel reads, for its layout alone."""
    stats = pd.DataFrame(
        {
            "program": ["done", "idle"],
            "run_count": [12345, 0],
            "avg_ns": [512.3, float("nan")],
            "cpu_share": [0.0311, float("nan")],
        }
    ).set_index("program")
    facts: dict[str, Any] = {
        "name": "io",
        "state": "attached",
        "note": "",
        "watchdog": 0.2,
        "cpu_share": 0.0311,
        "stats": lambda: stats,
        "programs": {
            "done": SimpleNamespace(section="tp_btf/block_rq_complete", attached=True),
            "idle": SimpleNamespace(section="iter/task", attached=False, needs=""),
        },
        "streams": {
            "events": SimpleNamespace(rows=1000, total=123456, rate=1234.4, lost=0, fill=0.03, counted=True)
        },
        "maps": {
            "lat": frame("hash", 10240, fill=0.25, counted=True),
            "slots": frame("array", 64, fill=None, counted=True),
        },
        "elf": SimpleNamespace(btf=VARIABLES),
        "vars": {"min_us": 1500, "comm": "dd", "wanted": 7},
    }
    facts |= changes
    return SimpleNamespace(**{"status": facts["state"], "origin": "", **facts})


def rows_of(text: str) -> dict[str, list[str]]:
    """The rows of a text panel by their first word."""
    return {
        line.split()[0]: re.split(r"\s{2,}", line.strip())
        for line in text.splitlines()
        if line.startswith("  ")
    }


def test_the_text_panel_has_every_figure():
    text = object_text(fake())
    assert text.splitlines()[0] == "io: attached, 3.1 % of a CPU, watchdog at 20 %"
    rows = rows_of(text)
    assert rows["done"] == ["done", "tp_btf/block_rq_complete", "yes", "12,345", "512 ns", "3.1 %"]
    assert rows["idle"] == ["idle", "iter/task", "no", "0", "-", "-"]
    assert rows["events"] == ["events", "1,000", "123,456", "1,234/s", "0", "3 %"]
    assert rows["lat"] == ["lat", "hash", "2,560", "10,240", "25 %", "0"]
    assert rows["slots"] == ["slots", "array", "-", "64", "-", "0"]
    assert rows["min_us"] == ["min_us", "us_t", "1500 us = 1.5 ms"]
    assert rows["comm"] == ["comm", "char[16]", "dd"]
    assert rows["wanted"] == ["wanted", "unsigned int", "7", "const"]


def test_losses_and_the_watchdog_stand_out_in_words():
    streams = {"events": SimpleNamespace(rows=1, total=1, rate=0.0, lost=1234, fill=0.99, counted=True)}
    obj = fake(state="stopped", note="stopped by the watchdog: 31 % of a CPU", streams=streams)
    assert "! stopped by the watchdog" in object_text(obj)
    assert rows_of(object_text(obj))["events"][4] == "! 1,234"
    html = object_html(obj)
    assert '<p class="b-note" role="status">stopped by the watchdog' in html
    assert '<span class="b-badge b-bad">1,234</span>' in html


def test_losses_that_nobody_counts_are_not_said_to_be_none():
    streams = {"events": SimpleNamespace(rows=1, total=1, rate=0.0, lost=0, fill=0.0, counted=False)}
    assert rows_of(object_text(fake(streams=streams)))["events"][4] == "-"


def test_a_closed_object_still_shows():
    obj = fake(state="closed", watchdog=None, streams={"events": Closed()}, maps={"lat": Closed()})
    text = object_text(obj)
    assert text.startswith("io: closed, no watchdog")
    assert rows_of(text)["events"] == ["events", "-", "-", "-", "-", "-"]
    assert ">16<" in object_html(obj)


def test_nothing_untrusted_reaches_the_page():
    evil = '<img src=x onerror="alert(1)">'
    obj = fake(
        name=evil,
        note=evil + "\x1b]0;t\x07",
        programs={evil: SimpleNamespace(section=evil, attached=True)},
        streams={evil: SimpleNamespace(rows=1, total=1, rate=0.0, lost=0, fill=0.0, counted=False)},
    )
    html = object_html(obj)
    assert "<img" not in html
    assert 'onerror="' not in html
    assert "\x1b" not in html
    assert "\x1b" not in object_text(obj)


@pytest.mark.parametrize("html", [object_html(fake()), Table(("a", "b"), [("x", 1)])._repr_html_()])
def test_the_html_is_well_formed_static_and_labelled(html):
    style, _, body = html.partition("</style>")
    section = ET.fromstring(body)
    assert section.get("aria-label")
    assert not {"script", "iframe", "link", "img", "object"} & {node.tag for node in section.iter()}
    assert "http" not in html
    assert "url(" not in style
    for table in section.iter("table"):
        assert all(cell.get("scope") == "col" for cell in table.findall("thead/tr/th"))
        assert all(row.find("th").get("scope") == "row" for row in table.findall("tbody/tr"))
    assert not [
        n
        for n in section.iter("span")
        if (n.get("class") or "").startswith("b-bar") and not n.get("aria-hidden")
    ]


def test_colours_follow_the_theme_with_fall_backs():
    style = object_html(fake()).partition("</style>")[0]
    for variable in (
        "--jp-content-font-color1",
        "--jp-layout-color1",
        "--jp-border-color2",
        "--jp-error-color1",
    ):
        assert re.search(rf"var\({variable},.*light-dark\(", style)


def test_a_table_aligns_numbers_and_says_when_it_is_empty():
    table = Table(("name", "count"), [("a", 1), ("long name", 12345)], title="Some", footer="2 rows")
    assert table.text().splitlines() == [
        "Some",
        "name        count",
        "a               1",
        "long name  12,345",
        "2 rows",
    ]
    assert table.df["count"].tolist() == [1, 12345]
    assert len(table) == 2
    assert Table(("name",), empty="no names").text() == "no names"
    assert "no names" in Table(("name",), empty="no names")._repr_html_()


def test_preformatted_text_keeps_its_lines_and_is_escaped():
    text = Preformatted("struct a {\n\tint <x>;\n};")
    assert str(text) == "struct a {\n\tint <x>;\n};"
    assert "struct a {\n        int &lt;x&gt;;\n};" in text._repr_html_()


def test_lists_of_objects_maps_and_variables():
    table = object_table([fake(), fake(name="b", state="paused")])
    assert [row[:3] for row in table] == [("io", "attached", "1 of 2"), ("b", "paused", "1 of 2")]
    assert object_table([]).text() == "nothing is loaded"
    assert [row[:4] for row in map_table([fake()])] == [
        ("lat", "io", "hash", 10240),
        ("slots", "io", "array", 64),
    ]
    assert list(variable_table(fake())) == [("min_us", "1500"), ("comm", "dd"), ("wanted", "7")]
