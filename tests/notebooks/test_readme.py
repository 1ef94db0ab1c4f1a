"""The README's cells, run as they stand there, with workloads whose effect they must show."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfnb.magics.options import parse_cell

import bpfnb
from bpfnb.doctor import permitted

README = (Path(__file__).parents[2] / "README.md").read_text()
CELLS = {
    line.split()[0]: (line, body)
    for line, body in re.findall(r"```c\n%%bpf ([^\n]*)\n(.*?)```", README, re.DOTALL)
}
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


def test_there_are_five():
    assert list(CELLS) == ["calls", "execs", "runq", "cpu", "drop"]


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
    cell.events.wait_for(rows=1, timeout=10)
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
        sink.settimeout(5)
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
