"""Recordings of every ready-made tool: what is replayed, without its process and without a kernel, is what was live."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from every_tool import Workload, options_of
from workloads import await_true

import bpfnb
from bpfnb import tools
from bpfnb.frames import Stream
from bpfnb.recording.tools import plain
from bpfnb.tools.tool import Tool

pytestmark = pytest.mark.timeout(600)  # all tools are started at once

SENSITIVE = (
    "execsnoop.frame.args",
    "mounts.frame.data",
    "kmsg.frame.text",
    "dns.frame.name",
    "dns.beside/*.name",
)
"""Columns that are left out where nobody asks for them."""
OVER_TIME = {"cachestat"}
"""Tools whose picture is of what was looked at over time, so that of a closed map it has nothing."""
LEAST = 60  # tools that have rows on every machine where the tests run


@dataclass
class Live:
    """What a tool said when it had stopped."""

    frame: pd.DataFrame
    said: dict[str, Any]
    path: Path
    options: dict[str, Any]
    picture: str = ""
    text: str = ""
    report: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Live]:
    """Every tool, recorded while the workload went on, and closed; its processes are gone."""
    folder = tmp_path_factory.mktemp("recordings")
    found: dict[str, Live] = {}
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(Workload(tmp_path_factory.mktemp("work")))
        made: dict[str, Tool] = {}
        for name in tools.names():
            with contextlib.suppress(bpfnb.errors.KernelFeatureMissing):
                made[name] = stack.enter_context(tools.find(name)(**options_of(name, work)))
        path = folder / "all.bpfnb"
        recorder = stack.enter_context(bpfnb.record(made.values(), path, include=SENSITIVE, flush=60.0))
        work.run()
        await_true(lambda: all(t.frames.fill == 0 for t in made.values() if isinstance(t.frames, Stream)))
        for tool in made.values():
            tool.stop()
        for name, tool in made.items():
            found[name] = _told(tool, path)
            tool.close()
        assert recorder.state == "object ended", recorder.error
    return found


def _told(tool: Tool, path: Path) -> Live:
    view = tool.view()
    told = Live(
        tool.df,
        {name: getattr(tool, name) for name in ("given", "filters", "used", "source")},
        path,
        tool.asked,
        _picture(view),
        _untimed(view._text()),
        tool.report(),
    )
    view.close()
    names = ("totals", "history", "intervals", "reasons", "left_out", "occupancy")
    told.more = {name: getattr(tool, name) for name in names if hasattr(type(tool), name)}
    return told


def test_nearly_all_tools_saw_something(live: dict[str, Live]) -> None:
    silent = [name for name, one in live.items() if one.frame.empty]
    assert len(live) - len(silent) >= LEAST, silent


@pytest.mark.parametrize("name", tools.names())
def test_what_is_replayed_is_what_was_live(name: str, live: dict[str, Live]) -> None:
    if name not in live:
        pytest.skip("this machine cannot do what the tool needs")
    was = live[name]
    replayed = bpfnb.replay(was.path, object=name)
    try:
        assert isinstance(replayed, tools.find(name))
        frame = replayed.df
        pd.testing.assert_frame_equal(frame, was.frame)
        assert frame.equals(was.frame)
        assert _comparable(frame.attrs) == _comparable(was.frame.attrs)
        for what, value in was.more.items():
            again = getattr(replayed, what)
            if isinstance(value, pd.DataFrame):
                pd.testing.assert_frame_equal(again, value)
            elif isinstance(value, pd.Series):
                pd.testing.assert_series_equal(again, value)
            else:
                assert again == value
        assert replayed.object.name == name
        for what, value in was.said.items():
            assert getattr(replayed, what) == value, what
        assert "recorded 20" in repr(replayed)
        assert "live" not in repr(replayed)
        view = replayed.view()
        if name not in OVER_TIME:
            assert _picture(view) == was.picture
            assert _untimed(view._text()) == was.text
            assert replayed.report() == was.report
        view.close()
        assert replayed.wait(len(was.frame), 5)
        replayed.stop()
        assert replayed.closed
    finally:
        replayed.close()
    assert replayed.df.equals(was.frame)


def _picture(view: Any) -> str:
    return view.svg() if view._static_kind == "svg" else _untimed(view._static("light"))


def _untimed(text: str) -> str:
    """Without the moment at which a map was looked at, which is another one each time while it is there."""
    return re.sub(r"\d\d:\d\d:\d\d to \d\d:\d\d:\d\d UTC", "", text)


AS_NOBODY = """
import json, os, sys
import bpfnb
from bpfnb import tools
def told():
    for name, options in json.loads(sys.argv[1]).items():
        tool = tools.find(name)(**options)
        frame = tool.df.to_json(date_format="iso", date_unit="ns")
        yield {"name": name, "frame": frame, "text": tool.view()._text(), "repr": repr(tool),
               "note": tool.object.note, "mine": isinstance(tool, tools.find(name))}
        tool.close()
assert bpfnb.replaying()
list(told())  # imports what nobody may not read
os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(json.dumps(list(told())))
"""


def test_an_unprivileged_process_replays_what_its_options_ask_for(live: dict[str, Live]) -> None:
    some = ("opensnoop", "biolatency", "profile", "memleak", "netmap", "sockets", "forks")
    asked = {name: plain(live[name].options) for name in some} | {"forks": {"pid": 4_000_000}}
    command = [sys.executable, "-c", AS_NOBODY, json.dumps(asked)]
    with tempfile.TemporaryDirectory(prefix="bpfnb-test-") as folder:
        Path(folder).chmod(0o755)
        for name in some:
            shutil.copy(live[name].path, f"{folder}/{name}.bpfnb")
        environment = os.environ | {"BPFNB_REPLAY": folder}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = {said["name"]: said for said in json.loads(done.stdout)}
    for name in some:
        said = told[name]
        assert said["mine"], name
        assert said["frame"] == live[name].frame.to_json(date_format="iso", date_unit="ns"), name
        assert _untimed(said["text"]) == live[name].text, name
        assert "recorded 20" in said["repr"]
        assert ("it was recorded with pid=" in said["note"]) == (name == "forks"), said["note"]


def test_over_time_it_is_what_it_was_at_each_moment(live: dict[str, Live]) -> None:
    with bpfnb.replay(live["cachestat"].path, object="cachestat") as cache:
        looks = cache.recorded["totals"].past()
        assert len(looks) >= 2
        assert [when for when, _ in looks] == sorted(when for when, _ in looks)
        written = [int(frame["written"].sum()) for _, frame in looks]
        assert written[0] < written[-1] == cache.df["written"].sum()
        assert cache.view().svg()
    with bpfnb.replay(live["opensnoop"].path, object="opensnoop", speed=1000.0) as opens:
        assert opens.wait(len(live["opensnoop"].frame), 60)
        assert opens.df.equals(live["opensnoop"].frame)


def _comparable(attrs: dict[str, Any]) -> dict[str, Any]:
    """Without the moment at which a map was looked at last."""
    plain = json.loads(json.dumps(attrs, default=str))
    for key in ("window", "fill"):
        plain["bpfnb"].pop(key, None)
    return plain


def test_whose_rows_they_were_is_known_in_replay(tmp_path: Path) -> None:
    """Labels of processes are in the recording, also where nobody asked for them while it was made."""
    with bpfnb.tools.opensnoop(pid=os.getpid()) as tool:
        recorder = bpfnb.record(tool, tmp_path / "a.bpfnb")
        (tmp_path / "opened").write_text("")
        assert tool.wait(1, 20)
        tool.stop()
        recorder.stop()
        live = tool.frame_with("parent", "unit", "user")
    with bpfnb.replay(tmp_path / "a.bpfnb", name="labelled") as replayed:
        found = replayed.frame_with("parent", "unit", "user")
        assert len(found) >= 1
        assert found["user"].astype(str).unique().tolist() == ["root"]
        for name in ("parent", "unit", "user"):
            assert (
                found[name].astype(object).fillna("").tolist()
                == live[name].astype(object).fillna("").tolist()
            )
        people = replayed.object.recording.processes.to_pandas()
        assert os.getpid() in people["pid"].tolist()
        assert "cmdline" not in people
