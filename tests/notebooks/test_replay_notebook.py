"""A notebook executed live, which records itself, and then by somebody who may do nothing: it shows the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import nobody
import pytest
from counting_cell import PROGRAM, WANTED
from nbformat.v4 import new_code_cell, new_notebook

from bpfnb.demo import execute
from bpfnb.doctor import permitted

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]  # two notebooks are executed before the first

SECOND = PROGRAM.replace("1000 * key", "7 * key")
CELLS = {
    "begin": "%load_ext bpfnb\nimport os, subprocess, threading, bpfnb\n"
    "def work(n):\n    if not bpfnb.replaying():\n        for _ in range(n): os.getppid()",
    "io": f"%%bpf io {WANTED}{PROGRAM}",
    "measure": "work(1000)\nprint(io.events.wait_for(1000, timeout=20), io.state)",
    "frames": "print(io.events.df.drop(columns='ts').describe().to_string())\nprint(io.events.df['ts'].diff().max() > io.events.df['ts'].diff().min())\n"
    "print(sorted(io.small.items()), io.small[3], len(io.small), io.vars.hits, io.events.lost, io.events.df.attrs['bpfnb']['complete'])",
    "clear": "io.small[1] = 1000  # as it was",
    "table": "io.events",
    "map": "io.small.df.sort_values('key', ignore_index=True)",
    "slots": "io.slots",
    "hist": "io.events.hist('latency')",
    "stop": "io.stop()\nprint(io.state)",
    "tool": "%bpf tool execsnoop --comm true",
    "ran": "if not bpfnb.replaying():\n    for _ in range(3): subprocess.run(['true'])\n"
    "print(execsnoop.wait(3, timeout=30))\nprint(execsnoop.df[['comm', 'ret']].to_string())\nexecsnoop.stop()",
    "again": f"%%bpf io {WANTED}{SECOND}",
    "second": "work(50)\nprint(io.events.wait_for(50, timeout=20), sorted(io.small.items()))\nio.close()",
    "python": f"plain = bpfnb.load({PROGRAM!r}, name='plain', globals={{'wanted': threading.get_native_id()}})\nwork(10)\n"
    "print(plain.events.wait_for(10, timeout=20), len(plain.events.df), plain.vars.hits)\nplain.close()",
}
ONLY = {
    "panel": "io",
    "changed": f"%%bpf io {WANTED}{PROGRAM.replace('3000', '4000')}",
    "same": f"%%bpf io {WANTED}{SECOND}",
    "values": "print(io.name, io.small[3], io.events.total)\nprint(repr(io.events), repr(io.events.hist('latency')), execsnoop)",
    "missing": f"%%bpf absent{PROGRAM}",
    "list": "%bpf list",
    "vain": "io.small.clear()\nprint(len(io.small), io.note)",
    "off": "%bpf replay off",
    "live": f"%%bpf io {WANTED}{PROGRAM}",
}
"""Cells of the replay alone."""

REPLAY = """
import json, sys
from pathlib import Path
from bpfnb.demo import execute
import nbformat
Path("done.ipynb").write_text(nbformat.writes(execute(Path(sys.argv[1]))))
"""


def write(path: Path, cells: dict[str, str]) -> Path:
    failing = {"metadata": {"tags": ["raises-exception"]}}
    made = [
        new_code_cell(text, **(failing if name in ("missing", "live") else {}))
        for name, text in cells.items()
    ]
    nbformat.write(new_notebook(cells=made), path)
    return path


@pytest.fixture(scope="module")
def notebooks() -> Iterator[Any]:
    """The outputs by cell: live, and replayed."""
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)
    with nobody.folder() as home, pytest.MonkeyPatch.context() as patch:
        recordings = home / "recordings"
        patch.setenv("BPFNB_RECORD", str(recordings))
        live = execute(write(home / "live.ipynb", CELLS))
        for path in recordings.iterdir():
            path.chmod(0o644)
        cells = {**CELLS, **ONLY}
        path = write(home / "replayed.ipynb", cells)
        nobody.run(REPLAY, str(path), home=home, BPFNB_REPLAY=str(recordings))
        replayed = nbformat.read(home / "done.ipynb", as_version=4)
        yield {
            "live": dict(zip(CELLS, live.cells, strict=True)),
            "replayed": dict(zip(cells, replayed.cells, strict=True)),
            "files": sorted(path.name for path in recordings.iterdir()),
        }


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def shown(cell: Any) -> list[str]:
    """What is displayed, as text, without the line that says where it is from."""
    texts = [output.data["text/plain"] for output in cell.outputs if "data" in output]
    return [re.sub(r"\n?recorded 2.* on kernel .*", "", text) for text in texts]


def test_one_live_execution_made_all_recordings(notebooks: Any) -> None:
    assert notebooks["files"] == ["execsnoop.bpfnb", "io-2.bpfnb", "io.bpfnb", "plain.bpfnb"]


@pytest.mark.parametrize("name", [name for name in CELLS if name not in ("io", "again", "tool")])
def test_each_cell_shows_the_same(notebooks: Any, name: str) -> None:
    live, replayed = notebooks["live"][name], notebooks["replayed"][name]
    assert printed(replayed) == printed(live)
    assert shown(replayed) == shown(live)


def test_the_cells_did_measure(notebooks: Any) -> None:
    live = notebooks["live"]
    assert printed(live["measure"]) == "True attached\n"
    assert "[(0, 0), (1, 1000), (2, 2000), (3, 3000), (4, 4000)] 3000 5 1000 0 True" in printed(
        live["frames"]
    )
    assert printed(live["second"]) == "True [(0, 0), (1, 7), (2, 14), (3, 21), (4, 28)]\n"
    assert printed(live["ran"]).count("true") == 3


def test_cells_show_whence_their_objects_are_and_the_same_warnings(notebooks: Any) -> None:
    for name in ("io", "again"):
        live, replayed = notebooks["live"][name], notebooks["replayed"][name]
        assert printed(replayed) == printed(live)
        panel, *views = [output.data for output in replayed.outputs if "data" in output]
        assert re.search(r"recorded 2\S+ \S+ UTC on kernel", panel["text/plain"])
        assert len(views) == 2
        for view in views:
            assert "on kernel" in view["text/html"]
            assert "live" not in view["text/plain"]


def test_a_changed_text_is_said_and_the_same_one_is_not(notebooks: Any) -> None:
    changed, same = notebooks["replayed"]["changed"], notebooks["replayed"]["same"]
    assert "this text is not the one that was recorded in" in printed(changed)
    assert "not the one" not in printed(same)
    assert printed(notebooks["replayed"]["values"]).startswith("io 21 50\n"), (
        "the recording of just this text"
    )
    assert "live" not in printed(notebooks["replayed"]["values"])


def test_a_recording_that_is_missing_is_an_error_of_the_cell(notebooks: Any) -> None:
    (error,) = notebooks["replayed"]["missing"].outputs
    assert error.ename == "MissingRecording"
    text = "\n".join(error.traceback)
    assert "there is no recording of 'absent' to replay" in text
    assert "has: execsnoop, io, io-2, plain" in text
    assert "File" not in text, "no stack of Python's"


def test_what_is_listed_and_written_in_vain(notebooks: Any) -> None:
    text = shown_all(notebooks["replayed"]["list"])
    assert "replayed" in text
    assert "live" not in text
    assert printed(notebooks["replayed"]["vain"]) == (
        "5 what was written to small was ignored: a recording does not change\n"
    )


def shown_all(cell: Any) -> str:
    return "\n".join(output.data["text/plain"] for output in cell.outputs if "data" in output)


def test_off_is_off(notebooks: Any) -> None:
    (error,) = notebooks["replayed"]["live"].outputs
    assert error.ename in ("NotPermitted", "MissingDependency", "CompileError", "LoadError")
