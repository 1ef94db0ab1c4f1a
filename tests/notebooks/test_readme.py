"""The README's cells, run as they stand there, with workloads whose effect they must show."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bpfnb.magics.options import parse_cell
from pictures import drawings

import bpfnb
from bpfnb.doctor import permitted

README = (Path(__file__).parents[2] / "README.md").read_text()
CELLS = {
    line.split()[0]: (line, body)
    for line, body in re.findall(r"```c\n%%bpf ([^\n]*)\n(.*?)```", README, re.DOTALL)
}
VIEWS = re.findall(r"^\| `([^`]+)` \|", README.partition("## Views")[2].partition("\n## ")[0], re.MULTILINE)
pytestmark = pytest.mark.kernel


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Iterator[bpfnb.BpfObject]:
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)
    line, body = CELLS[request.param]
    options = parse_cell(line)
    with bpfnb.load(body, name=options.name, **options.load) as obj:
        yield obj


def uses(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cell", [name], indirect=True)


def test_there_are_five_and_one_of_bccs():
    assert list(CELLS) == ["calls", "execs", "runq", "cpu", "drop", "sizes"]


@uses("calls")
def test_calls(cell):
    before = cell.by_pid.get(os.getpid(), 0)
    for _ in range(5000):
        os.getppid()
    assert 5000 <= cell.by_pid[os.getpid()] - before < 5200


@uses("execs")
def test_execs(cell):
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    cell.events.drain()
    row = cell.events.df.query(f"pid == {child.pid}").iloc[0]
    assert (row.ppid, row.comm, Path(row.path).name) == (os.getpid(), "true", "true")


@uses("runq")
def test_runq(cell):
    for _ in range(20):
        subprocess.run(["/bin/true"], check=True)
    cell.stop()
    hist = cell.wait.hist()
    assert hist.table.sum() == cell.wait.df.value.sum() > 20


@uses("cpu")
def test_cpu(cell):
    code = "import time\nend = time.process_time() + 1\nwhile time.process_time() < end: pass"
    child = subprocess.Popen([sys.executable, "-c", code])
    child.wait()
    samples = cell.samples.df.query(f"pid == {child.pid}").value.sum()
    assert 80 <= samples <= 130, "one second of CPU time at 99 Hz, and starting up"
    stacks = cell.stacks.df
    assert len(stacks) > 0
    assert set(stacks.columns) >= {"stack_id", "frames"}


@uses("drop")
def test_drop(cell):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(60)
        port = sink.getsockname()[1]
        out.sendto(b"through", ("127.0.0.1", port))
        assert sink.recv(16) == b"through"
        cell.vars.port = port
        for _ in range(7):
            out.sendto(b"lost", ("127.0.0.1", port))
        cell.vars.port = 0
        out.sendto(b"again", ("127.0.0.1", port))
        assert sink.recv(16) == b"again"
        assert cell.vars.dropped == 7
        assert cell.vars.seen >= 9


def test_every_view_of_the_table_is_drawn_as_it_is_written_there():
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)
    names: dict[str, Any] = {"bpfnb": bpfnb}
    names["spans"] = pd.DataFrame({"name": ["a", "b"], "start": [0, 10], "duration": [100, 20]})
    with ExitStack() as stack:
        for name in ("runq", "execs", "cpu"):
            line, body = CELLS[name]
            names[name] = stack.enter_context(bpfnb.load(body, name=name, **parse_cell(line).load))
        subprocess.run(["/bin/true"], check=True)
        names["execs"].events.drain()
        drawn = {type(view).__name__: view.html() for view in (_view(eval(line, names)) for line in VIEWS)}
    assert list(drawn) == [
        *("ObjectPanel", "HistogramView", "HeatmapView", "EventTable"),
        *("TimeSeries", "ServiceMap", "FlameGraph", "Waterfall"),
    ]
    assert all("<table" in html or drawings(html) for html in drawn.values())
    assert "true" in drawn["EventTable"]


def _view(found: Any) -> Any:
    """A view; of an object its panel, which it shows."""
    return found.panel() if isinstance(found, bpfnb.BpfObject) else found


@uses("sizes")
def test_sizes(cell):
    slot = 1 + (3 << 15).bit_length() - 1
    before = cell.bytes[slot]
    with open("/dev/zero", "rb", buffering=0) as zeros:
        for _ in range(500):
            assert len(zeros.read(3 << 15)) == 3 << 15
    assert 500 <= cell.bytes[slot] - before < 600
    (drawing,) = drawings(cell.bytes.hist().html())
    assert f"{1 << slot - 1 >> 10} Ki" in drawing
