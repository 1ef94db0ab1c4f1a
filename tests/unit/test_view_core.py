"""What all views share: the messages they send and when, selections, sources, and what stays in the notebook."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pandas as pd
import pytest
from fakecomm import FakeComm, Page
from pictures import drawings

from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.drawn import Drawn
from bpfnb.views import selection, ticker
from bpfnb.views._style import pictured
from bpfnb.views.source import Source
from bpfnb.views.view import View
from bpfnb.views.wire import Payload, pack


@pytest.fixture
def comms(monkeypatch):
    monkeypatch.setattr("comm.create_comm", FakeComm)


class Rows(Drawn):
    """Something live: its `df` changes, and it can end."""

    def __init__(self) -> None:
        self.name = "rows"
        self.frame_now = pd.DataFrame({"x": np.array([1, 2, 3], np.uint64), "comm": ["a", "b", "a"]})
        self.closed = False

    @property
    def df(self) -> pd.DataFrame:
        return self.frame_now


class Counter(View):
    family = "counter"
    default_height = 100

    def __init__(self, data, **options) -> None:
        self.built = 0
        self.resets = 0
        self.heard: list[dict] = []
        super().__init__(data, **options)

    def _build(self):
        self.built += 1
        frame = self.filtered(self.source.frame())
        if frame["x"].max() == 13:
            raise BadValue("thirteen cannot be drawn")
        return Payload({"rows": len(frame)}, {"x": frame["x"].to_numpy()})

    def _reset(self):
        self.resets += 1

    def _static(self, theme):
        return f"<svg><text>{len(self.source.frame())} rows</text></svg>"

    def _on_message(self, content, buffers):
        if content["kind"] == "bad":
            raise BadValue("no such bucket", hints=["there are 4"])
        self.heard.append(dict(content))


class Steps(Counter):
    family = "steps"
    incremental = True


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def make(comms):
    made = []

    def view(cls, data, **options):
        made.append(cls(data, hz=30, **options))
        return made[-1]

    yield view
    for each in made:
        each.close()


def settle(view: View) -> None:
    """Until the ticker gave the view one more turn."""
    done = threading.Event()
    step = view._step

    def counted() -> float:
        try:
            return step()
        finally:
            done.set()

    view._step = counted
    time_limit = time.monotonic() + 10
    while not done.is_set():
        ticker.wake(view)
        done.wait(0.05)
        assert time.monotonic() < time_limit
    view._step = step


def test_nothing_is_sent_or_built_before_a_page_shows_it(make, rows):
    view = make(Counter, rows)
    settle(view)
    assert view.built == 0
    assert Page(view).messages() == []


def test_the_first_frame_is_whole_and_numbers_keep_their_width(make, rows):
    rows.frame_now = pd.DataFrame({"x": np.array([2**64 - 1, 5], np.uint64)})
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello", visible=True)
    frame = page.wait(1)
    assert (frame["seq"], frame["full"], frame["meta"]["rows"]) == (1, True, 2)
    assert frame["columns"] == [{"name": "x", "type": "u8", "length": 2, "shape": [2]}]
    assert np.frombuffer(page.comm.sent[-1][1][0], "<u8").tolist() == [2**64 - 1, 5]
    assert frame["meta"]["source"] == {"name": "rows", "kind": "map", "live": True}


def test_messages_of_pages_go_to_the_shell_that_the_page_names(make, rows):
    """ipykernel remembers for a comm which shell sent last, and overrules the page: a click waited for a running cell."""
    view = make(Counter, rows)
    assert not hasattr(view.comm, "_reply_subshell_id")
    page = Page(view)
    page.say("hello", visible=True)
    page.wait(1)
    view.title = "another"
    with view.lock:
        assert not hasattr(view.comm, "_reply_subshell_id")


def test_an_unchanged_picture_is_not_sent_again(make, rows):
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello")
    page.wait(1)
    page.ack()
    built = view.built
    for _ in range(5):
        settle(view)
    deadline = time.monotonic() + 10
    while view.built < built + 3:  # it looked, and found the same
        assert time.monotonic() < deadline
        settle(view)
    assert len(page.messages()) == 1


def test_at_most_two_frames_are_on_their_way_and_the_newest_comes_next(make, rows):
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello")
    for n in range(1, 8):
        rows.frame_now = pd.DataFrame({"x": np.arange(n, dtype=np.uint64)})
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline and len(page.messages()) < n:
            settle(view)
    assert len(page.messages()) == 2
    page.ack()
    assert page.wait(3)["meta"]["rows"] == 7


def test_a_hidden_view_gets_nothing_and_the_present_when_it_is_seen_again(make, rows):
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello")
    page.wait(1)
    page.say("visible", visible=False)
    built = view.built
    rows.frame_now = pd.DataFrame({"x": np.arange(50, dtype=np.uint64)})
    settle(view)
    settle(view)
    assert (len(page.messages()), view.built) == (1, built)
    page.say("visible", visible=True)
    assert page.wait(2)["meta"]["rows"] == 50


def test_a_view_that_no_page_shows_any_more_gets_nothing(make, rows):
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello")
    page.wait(1)
    page.say("bye")
    rows.frame_now = pd.DataFrame({"x": np.arange(50, dtype=np.uint64)})
    settle(view)
    assert len(page.messages()) == 1


def test_frames_that_build_on_each_other_start_anew_for_a_new_page_and_after_a_gap(make, rows):
    view = make(Steps, rows)
    page = Page(view)
    page.say("hello")
    assert page.wait(1)["full"]
    page.ack()
    rows.frame_now = pd.DataFrame({"x": np.arange(9, dtype=np.uint64)})
    assert not page.wait(2)["full"]
    page.say("resync")
    assert page.wait(3)["full"]


def test_pause_stands_still_and_resume_shows_the_present(make, rows):
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello")
    page.wait(1)
    page.ack()
    page.say("control", verb="pause")
    assert view.state == "paused"
    settle(view)
    rows.frame_now = pd.DataFrame({"x": np.arange(20, dtype=np.uint64)})
    settle(view)
    assert len(page.messages()) == 1
    page.say("control", verb="resume")
    assert page.wait(2)["meta"]["rows"] == 20


def test_an_error_while_drawing_is_shown_under_the_view_and_goes_when_it_draws_again(make, rows):
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello")
    page.wait(1)
    page.ack()
    rows.frame_now = pd.DataFrame({"x": np.array([13], np.uint64)})
    deadline = time.monotonic() + 10
    while not view.error:
        assert time.monotonic() < deadline
        settle(view)
    assert view.error == "thirteen cannot be drawn"
    rows.frame_now = pd.DataFrame({"x": np.array([14], np.uint64)})
    page.wait(2)
    assert view.error == ""
    assert [str(error) for error in view.errors][-1] == "thirteen cannot be drawn"


def test_what_is_said_of_the_data_comes_without_a_frame_and_goes_likewise(make, rows):
    view = make(Counter, rows)
    page = Page(view)
    page.say("hello", visible=True)
    page.wait(1)
    words = ["nothing seen yet: no process is called <a>"]
    view.remark = lambda: words[0]
    settle(view)
    assert view.note == words[0]
    assert (
        '<p class="b-note" role="status">nothing seen yet: no process is called &lt;a&gt;</p>' in view.html()
    )
    assert words[0] in view._bundle()["text/plain"]
    words[0] = ""
    settle(view)
    assert view.note == ""
    assert '<p class="b-note"' not in view.html()
    words[0] = "stopped by the watchdog"
    view.stop()
    assert view.note == "stopped by the watchdog"
    assert len(page.messages()) == 1


def test_what_is_said_in_plain_text_is_as_new_as_what_is_drawn(make, rows):
    view = make(Counter, rows)
    view.remark = lambda: "nothing seen yet"
    assert view._bundle()["text/plain"].splitlines()[-1] == "nothing seen yet"


def test_a_view_draws_and_ends_though_nobody_knows_what_to_say_of_its_data(make, rows):
    def broken():
        raise ValueError("no words")

    view = make(Counter, rows)
    page = Page(view)
    view.remark = broken
    page.say("hello", visible=True)
    assert page.wait(1)["meta"]["rows"] == 3
    assert (view.error, view.note) == ("", "")
    view.errors.clear()
    view.stop()
    assert view.state == "done"
    assert {str(error) for error in view.errors} == {"no words"}


def test_a_source_that_breaks_is_told_of_and_leaves_the_other_views_their_turns(make, rows):
    class Broken(Rows):
        broken = False

        @property
        def df(self):
            if self.broken:
                raise RuntimeError("the source broke")
            return self.frame_now

    source = Broken()
    broken, other = make(Counter, source), make(Counter, rows)
    page, beside = Page(broken), Page(other)
    page.say("hello")
    beside.say("hello")
    page.wait(1), beside.wait(1)
    beside.ack()
    source.broken = True
    page.say("resync")
    deadline = time.monotonic() + 10
    while "the source broke" not in broken.error:
        assert time.monotonic() < deadline
        settle(broken)
    rows.frame_now = pd.DataFrame({"x": np.arange(9, dtype=np.uint64)})
    assert beside.wait(2)["meta"]["rows"] == 9


def test_a_bad_message_is_answered_under_the_view_with_the_way_out(make, rows):
    view = make(Counter, rows)
    Page(view).say("bad")
    assert view.error.startswith("no such bucket")
    assert "there are 4" in view.error
    Page(view).say("fine", value=3)
    assert view.error == ""
    assert view.heard == [{"kind": "fine", "client": "page", "value": 3}]


def test_an_error_in_the_browser_is_kept(make, rows):
    view = make(Counter, rows)
    Page(view).say("error", message="TypeError: x is undefined")
    assert [str(error) for error in view.errors] == ["TypeError: x is undefined"]


def test_the_end_of_the_source_ends_the_view(make, rows):
    view = make(Counter, rows)
    rows.end()
    assert view.state == "done"


def test_a_view_is_forgotten_with_the_last_reference_and_its_layout_too(comms, rows):
    from ipywidgets.widgets.widget import _instances

    before = len(_instances)
    view = Counter(rows)
    assert len(_instances) > before
    view.close()
    assert len(_instances) == before


def test_a_finished_view_that_no_page_shows_any_more_lets_go_of_its_widget(comms, rows):
    view = Counter(rows)
    page = Page(view)
    page.say("hello")
    page.wait(1)
    rows.end()
    assert view.comm is not None  # a page shows it, though not as an output of its own
    page.say("bye")
    assert view.comm is None


def test_a_page_that_was_loaded_again_keeps_the_widget_of_a_finished_view(comms, rows):
    # Notebooks do not save display ids: such a page does not know which output is to be exchanged.
    view = Counter(rows)
    view._shown._ids.append("of the page that was closed")
    page = Page(view)
    page.say("hello")
    page.wait(1)
    page.say("away")
    page.say("hello")
    view.stop()
    assert page.messages()[-1]["meta"]["rows"] == 3
    page.say("away")
    page.comm.sent.clear()
    page.say("hello")
    assert [frame["meta"]["rows"] for frame in page.messages()] == [3]
    page.say("bye")
    assert view.comm is None


def test_saving_names_the_suffixes_that_there_are(make, rows, tmp_path):
    view = make(Counter, rows)
    assert view.save(tmp_path / "x.svg").read_text() == "<svg><text>3 rows</text></svg>"
    with pytest.raises(BadValue, match=r"use \.html, \.svg or \.png"):
        view.save(tmp_path / "x.gif")


def test_a_selection_here_filters_the_others_and_not_itself(make):
    frame = pd.DataFrame({"x": [1, 2, 3, 4], "comm": ["a", "b", "a", "c"]})
    left, right, other = make(Counter, frame), make(Counter, frame), make(Counter, frame.copy())
    left.selection = {"comm": {"in": ["a"]}}
    assert (left.filter, right.filter, other.filter) == ({}, {"comm": {"in": ["a"]}}, {})
    right.selection = {"x": {"ge": 2}}
    assert left.filter == {"x": {"ge": 2}}
    assert right.filtered(frame)["x"].tolist() == [1, 3]
    assert left.selected["x"].tolist() == [1, 3]
    assert right.selected["x"].tolist() == [2, 3, 4]
    page = Page(right)
    page.say("hello")
    assert page.wait(1)["meta"]["rows"] == 2
    assert right.resets == 1
    left.close()
    assert right.filter == {}


def test_what_was_selected_where_no_page_shows_it_any_more_filters_nothing(make):
    frame = pd.DataFrame({"x": [1, 2]})
    left, right = make(Counter, frame), make(Counter, frame)
    left.selection = {"x": {"ge": 2}}
    assert right.filter == {"x": {"ge": 2}}, "a view need not be shown to select"
    page, other = Page(left), {"client": "another page"}
    page.say("hello")
    page.say("hello", **other)
    page.say("bye")
    assert right.filter == {"x": {"ge": 2}}
    page.say("bye", **other)
    assert right.filter == {}
    assert left.selection == {"x": {"ge": 2}}
    page.say("hello")
    assert right.filter == {"x": {"ge": 2}}, "shown again, as when a notebook is opened again"
    page.say("away")
    assert (right.filter, left._clients) == ({}, {}), "its page was closed"


def test_a_selection_by_a_column_that_is_not_there_is_refused(make):
    view = make(Counter, pd.DataFrame({"latency": [1], "x": [1]}))
    with pytest.raises(UnknownName, match="did you mean latency"):
        view.selection = {"latencyy": {"ge": 1}}
    assert view.selection == {}


FRAME = pd.DataFrame(
    {
        "n": np.array([0, 2**63, 2**64 - 1], np.uint64),
        "s": np.array([-5, 0, 5], np.int8),
        "f": [0.5, np.nan, 2.0],
        "t": pd.to_datetime([1, 2, None], unit="s", utc=True),
        "d": pd.to_timedelta([1, 2, 3], unit="ms"),
        "text": ["alpha", "Beta", None],
        "cat": pd.Categorical(["x", None, "y"]),
        "null": pd.array([1, None, 3], dtype="UInt32"),
        "stack": [["main", "read"], ["main", "write", "x"], None],
        "folded": ["main;read", "main;reader", "main"],
    },
    index=[10, 11, 12],
)


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [
        ({}, [10, 11, 12]),
        ({"n": {"ge": 2**63, "lt": 2**64 - 1}}, [11]),
        ({"n": {"ge": 2**64 - 1}}, [12]),
        ({"n": {"lt": 2**64}}, [10, 11, 12]),
        ({"n": {"ge": 2**64}}, []),
        ({"n": {"ge": -1}}, [10, 11, 12]),
        ({"n": {"in": [2**64 - 1, 0]}}, [10, 12]),
        ({"s": {"lt": 1000}}, [10, 11, 12]),
        ({"s": {"gt": -1000, "le": 0}}, [10, 11]),
        ({"f": {"ge": 0}}, [10, 12]),
        ({"t": {"ge": 2_000_000_000}}, [11]),
        ({"d": {"gt": 1_000_000, "le": 3_000_000}}, [11, 12]),
        ({"text": {"contains": "BET"}}, [11]),
        ({"text": {"matches": "^a"}}, [10]),
        ({"text": {"in": ["alpha", None]}}, [10, 12]),
        ({"cat": {"in": ["y"]}}, [12]),
        ({"cat": {"in": [None]}}, [11]),
        ({"null": {"ge": 1}}, [10, 12]),
        ({"stack": {"under": ["main"]}}, [10, 11]),
        ({"stack": {"under": ["main", "write"]}}, [11]),
        ({"folded": {"under": ["main", "read"]}}, [10]),
        ({"#": {"in": [12, 99]}}, [12]),
        ({"s": [{"lt": 0}, {"gt": 0}]}, [10, 12]),
        ({"s": {"ge": 0}, "text": {"contains": "b"}}, [11]),
        ({"gone": {"ge": 0}}, []),
    ],
)
def test_a_selection_selects_these_rows(chosen, rows):
    assert (
        FRAME.index[selection.apply(FRAME, selection.check(json.loads(json.dumps(chosen))))].tolist() == rows
    )


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"n": 3}, "a condition reads"),
        ({"n": {"geq": 3}}, "did you mean ge"),
        ({"n": {"in": "abc"}}, "takes a list"),
        ({"n": {"ge": None}}, "takes a number"),
        ({"text": {"matches": "("}}, "no regular expression"),
    ],
)
def test_a_bad_selection_is_explained(bad, says):
    with pytest.raises((BadValue, UnknownName), match=says):
        selection.check(bad, list(FRAME.columns))


def test_two_selections_of_one_column_must_both_hold():
    a = {"s": [{"ge": -5, "lt": 0}, {"ge": 5}], "text": {"contains": "a"}}
    b = {"s": {"ge": 0}, "text": {"contains": "l"}}
    merged = selection.merge([a, b])
    both = selection.apply(FRAME, a) & selection.apply(FRAME, b)
    assert selection.apply(FRAME, merged).tolist() == both.tolist() == [False, False, False]
    merged = selection.merge(
        [{"s": {"le": 0}}, {"s": {"ge": 0}}, {"text": {"contains": "b"}}, {"text": {"matches": "a$"}}]
    )
    assert FRAME.index[selection.apply(FRAME, merged)].tolist() == [11]


def test_columns_travel_as_they_are():
    packed = pack(
        Payload(
            {"a": 1},
            {
                "u": np.array([[1, 2], [3, 4]], np.uint32),
                "when": pd.Series(pd.to_datetime([1], unit="s", utc=True)),
                "flag": np.array([True, False]),
                "cat": pd.Categorical(["b", None, "a"], categories=["a", "b"]),
                "text": ["ä", "", "xyz"],
                "big": np.array([1, 2], ">i4"),
            },
        )
    )
    assert packed.header == {
        "meta": {"a": 1},
        "columns": [
            {"name": "u", "type": "u4", "length": 4, "shape": [2, 2]},
            {"name": "when", "type": "i8", "length": 1, "shape": [1]},
            {"name": "flag", "type": "u1", "length": 2, "shape": [2]},
            {"name": "cat", "type": "dict", "length": 3},
            {"name": "text", "type": "text", "length": 3},
            {"name": "big", "type": "i4", "length": 2, "shape": [2]},
        ],
    }
    raw = [bytes(buffer) for buffer in packed.buffers]
    assert np.frombuffer(raw[0], "<u4").tolist() == [1, 2, 3, 4]
    assert np.frombuffer(raw[1], "<i8").tolist() == [10**9]
    assert np.frombuffer(raw[2], "u1").tolist() == [1, 0]
    assert np.frombuffer(raw[3], "<i4").tolist() == [1, -1, 0]
    assert (np.frombuffer(raw[4], "<u4").tolist(), raw[5]) == ([0, 1, 2], b"ab")
    assert (np.frombuffer(raw[6], "<u4").tolist(), raw[7].decode()) == ([0, 2, 2, 5], "äxyz")
    assert np.frombuffer(raw[8], "<i4").tolist() == [1, 2]


def test_a_frame_with_named_and_stacked_indexes_becomes_plain_columns():
    frame = pd.DataFrame({("a", "x"): [1, 2], ("a", "y"): [3, 4]}, index=pd.Index([7, 8], name="key"))
    source = Source.of(frame)
    assert source.columns == ["key", "a.x", "a.y"]
    assert source.rows(1, 2)["key"].tolist() == [8]
    with pytest.raises(TypeError, match="not a int"):
        Source.of(3)


def test_numbers_and_times_that_came_as_objects_are_numbers_and_times():
    when = pd.date_range("2026-01-01", periods=2, tz="UTC")
    given = pd.DataFrame({"n": [1, 2], "t": when, "text": ["a", "b"], "mixed": [1, "b"]}).astype(object)
    read = Source.of(given).frame()
    assert "".join(dtype.kind for dtype in read.dtypes) == "iMOO"
    assert given["n"].dtype.kind == "O", "the frame that was given stays as it is"


def test_a_kept_picture_is_an_image_on_the_background_of_the_page_that_showed_it(make, rows):
    view = make(Counter, rows)
    assert drawings(view.html()) == ['<svg xmlns="http://www.w3.org/2000/svg"><text>3 rows</text></svg>']
    svg = '<svg viewBox="0 0 20 10" width="20" aria-label="a &lt; b"><text>x</text></svg>'
    assert pictured(f"<p>{svg}</p>", "dark").startswith(
        '<p><img alt="a &lt; b" width="20" src="data:image/svg+xml;base64,'
    )
    (drawing,) = drawings(pictured(svg, "dark"))
    assert drawing.endswith('<rect x="0" y="0" width="20" height="10" fill="#0d1117"/><text>x</text></svg>')
    Page(view).say("theme", dark=True)
    assert view._dark


def test_a_selection_is_said_in_the_units_of_its_columns_or_exactly():
    about = {"latency": {"unit": "ns"}, "size": {"unit": "bytes"}, "ts": {"format": "timestamp"}}.get

    def known(column):
        return about(column) or {}

    said = {"latency": {"ge": 1 << 20, "lt": 1 << 21}}
    assert selection.describe(said) == "latency >= 1,048,576 and latency < 2,097,152"
    assert selection.describe(said, known) == "latency 1.05 ms to 2.1 ms"
    assert selection.describe({"size": {"lt": 4096}}, known) == "size < 4 KiB"
    # As many digits as tell the bounds apart.
    close = {"latency": [{"ge": 1_000_000, "lt": 1_000_100}, {"ge": 5}]}
    assert selection.describe(close, known) == "latency 1 ms to 1.0001 ms or latency >= 5 ns"
    moment = 1_760_000_000 * 10**9
    times = {"ts": {"ge": moment, "lt": moment + 1_500_000_000}, "comm": {"in": ["dd"]}}
    assert selection.describe(times, known) == "ts 08:53:20 to 08:53:21.5 UTC; comm is dd"
    assert selection.describe({"latency": {"gt": 1500}}, known) == "latency > 1,500"
