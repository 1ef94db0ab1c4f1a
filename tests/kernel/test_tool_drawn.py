"""Pictures of tools whose rows are made of a stream's: the stream's own numbers, the tool's own columns."""

from __future__ import annotations

import pandas as pd
import pytest
from workloads import Worker, await_true

from bpfnb import tools
from bpfnb.tools.tool import Tool


@pytest.mark.parametrize("add", [(), ("user", "parent")])
def test_a_table_asks_for_the_rows_that_it_shows(add, tmp_path):
    (tmp_path / "file").touch()
    with Worker() as worker, tools.opensnoop(pid=worker.pid, path="^" + str(tmp_path), add=add) as opens:
        view = opens.view()
        worker.run(f"opens({str(tmp_path / 'file')!r}, 50)")
        assert opens.wait(50, 30)
        await_true(lambda: opens.frames.fill == 0)
        source, frame = view.source, opens.df
        assert source.kind == "stream"
        assert source.columns == [*tools.opensnoop.columns, *add]
        assert source.span() == (0, 50)
        for found, wanted in (
            (source.rows(10, 13), [10, 11, 12]),
            (source.take([40, 7]), [40, 7]),
            (source.rows(0, 0), []),
        ):
            texts = frame.iloc[wanted].astype(object).to_numpy().tolist()
            assert found.astype(object).to_numpy().tolist() == texts
            assert list(found.index) == wanted
        assert list(source.rows(3, 5, ["flags", "path"]).columns) == ["flags", "path"]
        assert set(frame["flags"]) == {"O_RDONLY|O_CLOEXEC"}
        assert source.rows(3, 5, ["fd", "flags"], raw=True)["flags"].tolist() == [0o2000000] * 2
        opens.stop()
        assert source.closed


def test_what_came_just_before_the_end_is_drawn():
    """The bin of time that was begun last is no different once nothing more can come."""
    with Worker(netns=True) as worker, tools.tcpprobe(pid=worker.pid) as probes:
        view = probes.view()
        worker.run("tcp(3, payload=b'x' * 200_000)")
        assert probes.wait(5, 30)
        await_true(lambda: probes.frames.fill == 0)
        frame = probes.df  # as of now, in the middle of a bin
        probes.stop()
        drawn = view.drawn
    for (port, peer), rows in frame.groupby(["lport", "rport"]):
        (line,) = (name for name in drawn.columns if name == f"127.0.0.1:{port} to 127.0.0.1:{peer}")
        assert drawn[line].dropna().iloc[-1] == rows["snd_cwnd"].iloc[-1]


def test_what_is_made_row_by_row_is_so_for_no_rows_and_for_part_of_them():
    """A tool that says so must keep the index; tools that take an argument are tried in their own tests."""
    for name in tools.names():
        tool = tools.find(name)
        if not tool.rowwise or any(option.positional for option in tool.options):
            continue
        with tool() as made:
            empty = made._as_shown(made.frames.slice(0, 0))
            assert list(empty.columns) == list(tool.columns), name
            assert empty.empty, name


def test_columns_that_a_picture_begins_with_are_columns():
    for name in tools.names():
        tool = tools.find(name)
        assert set(tool.drawn) <= set(tool.columns), name
        assert not tool.rowwise or tool.frame is not Tool.frame, name
        assert pd.Index(tool.columns).is_unique, name
