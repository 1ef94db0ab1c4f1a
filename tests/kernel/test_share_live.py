"""Bundles: what a notebook's recordings hold and no more, refused where that is sensitive.

The recordings are of this kernel, so these tests stand here; what needs none is in tests/unit/test_share.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import bpfnb
from bpfnb.cli import main
from bpfnb.errors import BpfnbError, MissingRecording
from bpfnb.frames.syscalls import syscall_names
from bpfnb.share import Unredacted, share

SECRET = "hunter2"
CELL = """%%bpf pgid --no-attach
struct event { ktime_ns_t ts; u32 pid; char note[16] SENSITIVE; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
const volatile u32 target = 0;
const volatile s64 wanted = 0;
SEC("tp_btf/sys_enter") int BPF_PROG(enter, struct pt_regs *regs, long id) {
    struct event *e;
    if (bpf_get_current_pid_tgid() >> 32 != target || id != wanted) return 0;
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    e->ts = bpf_ktime_get_ns(); e->pid = target; bpf_get_current_comm(e->note, 16);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


def record(path: Path, **options) -> None:
    number = next(n for n, name in syscall_names().items() if name == "getpgid")
    text = CELL.partition("\n")[2]
    with bpfnb.load(text, name="pgid", globals={"target": os.getpid(), "wanted": number}) as obj:
        with bpfnb.record(obj, path, flush=0.1, **options):
            before = Path("/proc/thread-self/comm").read_text().rstrip("\n")
            Path("/proc/thread-self/comm").write_text(SECRET)
            for _ in range(5):
                os.getpgid(0)
            Path("/proc/thread-self/comm").write_text(before)
            assert obj.streams["events"].wait_for(5, timeout=20)
        obj.stop()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of recordings: with the note left out, and with it."""
    folder = tmp_path_factory.mktemp("share")
    for name, options in (("safe", {}), ("open", {"include": ["note"]})):
        (folder / name).mkdir()
        record(folder / name / "pgid.bpfnb", **options)
    return folder


@pytest.fixture
def notebook(tmp_path):
    """One whose outputs still tell what it saw when it was live."""
    cells = [
        new_markdown_cell("# How often"),
        new_code_cell("%load_ext bpfnb"),
        new_code_cell(CELL),
        new_code_cell(
            "print(len(pgid.events.df), 'calls')",
            outputs=[nbformat.v4.new_output("stream", text=f"5 calls by {SECRET}")],
        ),
    ]
    path = tmp_path / "calls.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def read(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def test_a_bundle_shows_what_the_recordings_hold_and_no_more(made, notebook):
    bundle = share(notebook, recordings=made / "safe")
    assert bundle.path == notebook.with_suffix(".bundle.zip")
    files = read(bundle.path)
    assert set(files) == {"calls.ipynb", "calls.html", "README.txt", "manifest.json", "recordings/pgid.bpfnb"}
    assert files["recordings/pgid.bpfnb"] == (made / "safe/pgid.bpfnb").read_bytes()
    executed = nbformat.reads(files["calls.ipynb"].decode(), as_version=4)
    assert executed.cells[3].outputs[0].text == "5 calls\n"
    assert b"5 calls" in files["calls.html"]
    assert not any(SECRET.encode() in data for data in files.values())
    manifest = json.loads(files["manifest.json"])
    (recording,) = manifest["recordings"]
    assert recording["objects"] == ["pgid"]
    assert recording["complete"] is True
    assert recording["redaction"]["columns"]["events.note"] == "left out"
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256(files[name]).hexdigest() == digest
    assert set(manifest["sha256"]) == set(files) - {"manifest.json"}


def test_a_bundle_opens_elsewhere_without_privileges(made, notebook, tmp_path):
    bundle = share(notebook, recordings=made / "safe", as_is=True)
    home = tmp_path / "elsewhere"
    with zipfile.ZipFile(bundle.path) as file:
        file.extractall(home)
    code = "import bpfnb; print(len(bpfnb.load('', name='pgid').streams['events'].df))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=home,
        env={**os.environ, "BPFNB_REPLAY": "recordings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "5\n"


def test_sensitive_columns_are_refused_by_name(made, notebook):
    with pytest.raises(Unredacted, match=r"recordings/pgid\.bpfnb: events\.note") as refused:
        share(notebook, recordings=made / "open")
    assert refused.value.columns == (("recordings/pgid.bpfnb", "events.note"),)
    assert not notebook.with_suffix(".bundle.zip").exists()


@pytest.mark.parametrize("pattern", ["note", "events.note", "events.*"])
def test_and_can_be_allowed(made, notebook, pattern):
    files = read(share(notebook, recordings=made / "open", allow=[pattern], as_is=True).path)
    assert json.loads(files["manifest.json"])["allowed"] == [pattern]


def test_what_the_manifest_conceals_is_found_by_its_columns(made, notebook, tmp_path):
    """A recording whose list of sensitive columns was emptied."""
    changed = tmp_path / "changed"
    changed.mkdir()
    with (
        zipfile.ZipFile(made / "open/pgid.bpfnb") as old,
        zipfile.ZipFile(changed / "pgid.bpfnb", "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name == "manifest.json":
                manifest = json.loads(data)
                manifest["redaction"] = {}
                data = json.dumps(manifest).encode()
            new.writestr(name, data)
    with pytest.raises(Unredacted, match=r"events\.note"):
        share(notebook, recordings=changed)


def test_what_is_missing_or_fails_is_said(made, notebook, tmp_path):
    with pytest.raises(MissingRecording, match="no recording of pgid"):
        share(notebook)
    content = nbformat.read(notebook, as_version=4)
    content.cells.append(new_code_cell("1 / 0"))
    broken = tmp_path / "broken.ipynb"
    nbformat.write(content, broken)
    with pytest.raises(BpfnbError, match="ZeroDivisionError"):
        share(broken, recordings=made / "safe")
    assert not list(tmp_path.glob("*.zip*"))


def test_in_a_terminal(made, notebook, capsys):
    words = ["share", str(notebook), "--recordings"]
    assert main([*words, str(made / "open")]) == 1
    assert "--allow events.note" in capsys.readouterr().err
    assert main([*words, str(made / "open"), "--allow", "note", "--as-is"]) == 0
    said = capsys.readouterr().out
    assert "recordings/pgid.bpfnb" in said
    assert "nobody checked" in said
    assert main([*words, str(made / "safe")]) == 1
    assert "--overwrite" in capsys.readouterr().err
