"""The panel of a loaded object: what it sends and when, what it writes, and how it ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from fakecomm import FakeComm, Page

import bpfnb
from bpfnb.cost import meter
from bpfnb.errors import CompileError, UnknownName
from bpfnb.views import panel
from bpfnb.views.objectpanel.widget import ObjectPanel

SOURCE = """
struct event { ktime_ns_t ts; ns_t latency; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps") VIEW(hist, column=latency);
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    slots SEC(".maps") VIEW(hist, log2, ns);
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, u64); __type(value, u64); } small SEC(".maps");
const volatile u32 wanted = 0;
volatile u64 factor RANGE(0, 1000) = 1;
volatile u64 hits = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u64 key = hits;
    struct event *e;

    if (bpf_get_current_pid_tgid() >> 32 != wanted)
        return 0;
    __sync_fetch_and_add(&hits, factor);
    bpf_map_update_elem(&small, &key, &key, BPF_ANY);
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->ts = bpf_ktime_get_ns();
    e->latency = key;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


@pytest.fixture(autouse=True)
def _comms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comm.create_comm", FakeComm)


@pytest.fixture
def obj() -> Iterator[bpfnb.BpfObject]:
    with bpfnb.load(SOURCE, name="t_panel", globals={"wanted": os.getpid()}) as made:
        yield made


@pytest.fixture
def idle() -> Iterator[bpfnb.BpfObject]:
    with bpfnb.load(SOURCE, name="t_idle", attach=False) as made:
        yield made


class Builds:
    """Counts the pictures that a panel builds."""

    def __init__(self, view: ObjectPanel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.changed = threading.Condition()
        build = view._build

        def counted() -> Any:
            payload = build()
            with self.changed:
                self.count += 1
                self.changed.notify_all()
            return payload

        monkeypatch.setattr(view, "_build", counted)

    def wait(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.count >= count, 60)


def of(frame: dict[str, Any], family: str, name: str) -> dict[str, Any]:
    return next(each for each in frame["meta"][family] if each["name"] == name)


def test_one_message_when_nothing_changes_and_none_while_hidden(idle, monkeypatch):
    view = idle.panel()
    assert panel(idle) is view is idle.panel()
    builds = Builds(view, monkeypatch)
    page = Page(view)
    page.say("hello", visible=True)
    first = page.wait(1)
    page.ack()
    builds.wait(4)
    assert len(page.messages()) == 1, "nothing changed"
    assert sum(page.sizes()[0]) < 4000
    assert first["meta"]["state"] == "loaded"
    assert first["meta"]["verbs"] == ["attach", "stop"]
    page.say("visible", visible=False)
    idle.vars.factor = 7
    built = builds.count
    assert view._turn() == 3600
    assert (builds.count, len(page.messages())) == (built, 1)
    page.say("visible", visible=True)
    assert of(page.wait(2), "variables", "factor")["value"] == "7"


def test_it_looks_at_the_costs_only_while_it_is_seen(obj, monkeypatch):
    looks = []
    look = meter.look
    monkeypatch.setattr(meter, "look", lambda: looks.append(1) or look())
    view = obj.panel()
    page = Page(view)
    assert view._turn() == 3600
    assert not looks
    builds = Builds(view, monkeypatch)
    page.say("hello", visible=True)
    stop = threading.Event()
    worker = threading.Thread(target=lambda: [os.getppid() for _ in iter(stop.is_set, True)])
    worker.start()
    try:
        # Freshly attached, nothing was measured yet; it fills as soon as the first window of statistics is over.
        for count in range(1, 50):
            if of(page.wait(count), "programs", "count")["runs"] not in ("0", "-"):
                break
            page.ack()
        else:
            raise AssertionError("no picture shows the runs")
    finally:
        stop.set()
        worker.join()
    assert looks
    page.say("visible", visible=False)
    seen, built = len(looks), builds.count
    assert view._turn() == 3600
    assert (len(looks), builds.count) == (seen, built)


def test_changes_from_the_page_are_exact_and_refusals_stand_at_their_variable(obj):
    view = obj.panel()
    page = Page(view)
    page.say("hello", visible=True)
    page.wait(1)
    page.say("set", name="factor", value="18446744073709551615", number=4, page="p")
    assert obj.vars.factor == 2**64 - 1
    page.ack()
    frame = page.wait(2)
    assert of(frame, "variables", "factor")["value"] == "18446744073709551615"
    assert frame["meta"]["heard"] == {"p": 4}
    page.ack()
    page.say("set", name="factor", value="-1", number=5, page="p")
    frame = page.wait(3)
    assert of(frame, "variables", "factor")["error"] == "volatile u64 takes 0 to 18446744073709551615, not -1"
    assert obj.vars.factor == 2**64 - 1
    page.ack()
    page.say("set", name="wanted", value="1", number=6, page="p")
    assert "const" in of(page.wait(4), "variables", "wanted")["error"]
    page.ack()
    page.say("set", name="factor", value="3", number=7, page="p")
    assert of(page.wait(5), "variables", "factor")["error"] == ""
    os.getppid()
    assert obj.vars.hits == 3
    page.say("set", name="fctor", value="3")
    assert "no global variable 'fctor'" in view.error
    page.say("do", verb="explode")
    assert "knows no message" in view.error


def test_a_full_map_and_lost_records_stand_out(obj):
    from bpfnb.frames import pump

    pump.remove(obj.events)
    for _ in range(1000):
        os.getppid()
    page = Page(obj.panel())
    page.say("hello", visible=True)
    frame = page.wait(1)
    events, small = of(frame, "streams", "events"), of(frame, "maps", "small")
    fit = 1000 - int(events["lost"])
    assert fit in (4096 // 24 - 1, 4096 // 24)
    assert events["fill"]["share"] > 0.9
    assert (small["entries"], small["most"], small["refused"]) == ("4", "4", "996")
    assert small["fill"] == {"share": 1.0, "text": "100 %"}


def test_buttons_act_from_any_thread_and_stopping_leaves_a_picture(obj):
    view = obj.panel()
    page = Page(view)
    page.say("hello", visible=True)
    page.wait(1)
    states = {"pause": "paused", "resume": "attached", "stop": "stopped"}
    for verb, state in states.items():
        page.say("do", verb=verb)
        done = [thread for thread in threading.enumerate() if thread.name == f"bpfnb-{verb}"]
        for thread in done:
            thread.join(60)
        assert obj.state == state
    assert view.state == "done"
    html = view.html()
    assert "stopped" in html
    assert "<button" not in html
    assert "factor" in html


def test_nothing_waits_for_ever_when_many_act_at_once(obj):
    view = obj.panel()
    page = Page(view)
    page.say("hello", visible=True)
    page.wait(1)

    def use(number: int) -> None:
        for step in range(20):
            page.say("set", name="factor", value=str(step), number=step, page=str(number))
            page.say("do", verb=("pause", "resume")[step % 2])
            page.ack()

    users = [threading.Thread(target=use, args=(number,), daemon=True) for number in range(4)]
    for user in users:
        user.start()
    obj.pause()
    obj.resume()
    obj.stop()
    for user in users:
        user.join(60)
    assert not any(user.is_alive() for user in users)
    assert obj.state == "stopped"
    assert view.state == "done"
    assert obj.vars.factor == 19


def test_annotated_views_are_made_once_and_end_with_the_object(obj):
    made = obj.views()
    assert [type(view).__name__ for view in made] == ["HistogramView", "HistogramView"]
    assert [view.source.name for view in made] == ["events", "slots"]
    assert all(a is b for a, b in zip(made, obj.views(), strict=True))
    assert obj.events.view == ("hist", "column=latency")
    made[1].stop()
    again = obj.views()
    assert again[0] is made[0]
    assert again[1] is not made[1], "frozen by hand: another takes its place"
    obj.stop()
    assert {view.state for view in again} == {"done"}


def test_a_frames_own_methods_take_the_columns_that_its_annotation_names(obj):
    assert obj.events.hist().asked.column == "latency"
    assert obj.events.hist("ts").asked.column == "ts", "what is given goes before"
    assert obj.events.named("heatmap") == {}, "the annotation speaks of another view"
    maps = """
    struct busy { s32 kernel_stack; s32 other; char comm[16]; };
    struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 4); __uint(key_size, 4); __uint(value_size, 64); }
        stacks SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, struct busy); __type(value, u64); }
        samples SEC(".maps") VIEW(flamegraph, stack=kernel_stack, stacks=stacks, by=comm);
    SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
    {
        struct busy s = {.kernel_stack = bpf_get_stackid(ctx, &stacks, 0)};
        u64 one = 1;
        return bpf_map_update_elem(&samples, &s, &one, BPF_ANY);
    }
    """
    with bpfnb.load(maps, name="t_stacks", attach=False) as cpu:
        named = {"stack": "kernel_stack", "stacks": cpu.stacks, "by": "comm"}
        assert cpu.samples.named("flamegraph", stack=None) == named
        assert cpu.samples.named("flamegraph", {"by": "other"}, stack=None) == {**named, "by": "other"}
        assert cpu.samples.named("flamegraph", stack="other") == {"stack": "other"}
        assert cpu.samples.flamegraph("other").state == "live", (
            "an object's only map of stacks needs no mention"
        )


def test_a_frame_without_annotation_says_so_and_a_wrong_column_is_a_compile_error(obj):
    from bpfnb.views.objectpanel import annotated

    with pytest.raises(UnknownName, match="'small' has no VIEW annotation"):
        annotated(obj.small)
    with pytest.raises(CompileError, match="names the column 'latncy'") as caught:
        bpfnb.load(SOURCE.replace("column=latency", "column=latncy"), name="t_wrong")
    assert caught.value.where.line == 3
    with pytest.raises(CompileError, match=r"RANGE\(0, -1\)|two numbers"):
        bpfnb.load(SOURCE.replace("RANGE(0, 1000)", "RANGE(0, -1)"), name="t_wrong")


def test_replacing_an_object_leaves_no_widgets_behind():
    from ipywidgets.widgets.widget import _instances

    counts = []
    for number in range(50):
        obj = bpfnb.load(SOURCE, name="t_again", globals={"wanted": os.getpid()})
        first = obj.panel()
        obj.views()
        if number % 2:
            first._shown._ids.append("somewhere")  # as if a cell had displayed it
        counts.append(len(_instances))
    obj.close()
    assert max(counts[5:]) <= max(counts[:5]), counts
    assert "replaced" not in obj.note
    assert first.state == "done"


def test_a_replaced_object_says_so():
    old = bpfnb.load(SOURCE, name="t_old")
    view = old.panel()
    new = bpfnb.load(SOURCE, name="t_old")
    assert (old.state, view.state) == ("closed", "done")
    assert "replaced" in old.note
    assert "replaced" in view.html()
    new.close()


def test_other_tools_still_get_text_and_html(obj):
    bundle = obj._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"].startswith("t_panel: attached")
    with pytest.raises(NotImplementedError):
        obj._ipython_display_()  # no page here: IPython falls back to the text
    with pytest.raises(NotImplementedError):
        obj.events._ipython_display_()
    assert repr(obj.events) == "<Stream events: 0 rows, 0/s>"
