"""A lab's first line: loaded where that is permitted, replayed where it is not or where that was asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import bpfnb
from bpfnb import doctor, guest
from bpfnb.errors import BadValue, BpfnbError, MissingRecording, NotPermitted, UnknownName
from bpfnb.recording import session

LABS = Path(__file__).parents[2] / "notebooks/labs"
RECORDED = LABS / "recordings"


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("BPFNB_RECORD", raising=False)
    monkeypatch.setattr(guest, "prepared", lambda: None)
    monkeypatch.chdir(tmp_path)
    yield
    session.replay_from(None)


def allowed(monkeypatch: pytest.MonkeyPatch, refusal: NotPermitted | None) -> None:
    monkeypatch.setattr(doctor, "permitted", lambda: refusal)


def test_where_programs_may_be_loaded_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, None)
    monkeypatch.chdir(LABS)
    begun = bpfnb.lab.begin("lab01")
    assert begun.recordings is None
    assert not bpfnb.replaying()
    assert repr(begun).startswith("Lab 1: Hello, kernel")
    assert "4 tasks, about 30 minutes. Live: its programs are loaded into the kernel" in repr(begun)


@pytest.mark.parametrize("folder", [LABS, LABS / "solutions"])
def test_where_they_may_not_the_recordings_beside_the_notebook_are_replayed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed(monkeypatch, NotPermitted("This process may not load BPF programs: it lacks CAP_BPF."))
    monkeypatch.chdir(folder)
    begun = bpfnb.lab.begin("lab02")
    assert begun.recordings == session.folder() == RECORDED / "02"
    assert "In replay, recorded 20" in repr(begun)
    assert "lacks CAP_BPF" in repr(begun)
    assert "UTC on kernel" in begun._repr_html_()


def test_without_privileges_and_recordings_it_says_what_will_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, NotPermitted("It lacks CAP_BPF."))
    begun = bpfnb.lab.begin("lab02")
    assert begun.recordings is None
    assert not bpfnb.replaying()
    assert "There are no recordings of the lab beside this notebook" in repr(begun)
    assert (
        'It also runs in a disposable kernel, which is fetched: bpfnb.lab.begin("lab02", on="6.12")'
        in repr(begun)
    )
    assert "disposable" not in repr(bpfnb.lab.begin("lab05"))


def test_a_lab_that_does_not_run_in_a_guest_is_not_begun_in_one() -> None:
    with pytest.raises(BadValue, match="lab05 does not run in a disposable kernel"):
        bpfnb.lab.begin("lab05", on="6.12")


def test_a_lab_whose_programs_deny_is_never_live_on_this_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, None)
    monkeypatch.chdir(LABS)
    begun = bpfnb.lab.begin("lab15")
    assert begun.recordings == RECORDED / "15"
    assert 'bpfnb.lab.begin("lab15", on="6.12")' in repr(begun)
    session.replay_from(None)
    with pytest.raises(BpfnbError, match="lab15 runs in a disposable kernel only"):
        bpfnb.lab.workload("lab15")


def test_while_it_is_recorded_nothing_is_replayed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    allowed(monkeypatch, NotPermitted("It lacks CAP_BPF."))
    monkeypatch.setenv("BPFNB_RECORD", str(tmp_path))
    monkeypatch.chdir(LABS)
    assert bpfnb.lab.begin("lab02").recordings is None


@pytest.mark.parametrize("asked", [RECORDED, RECORDED / "03", Path("notebooks/labs/recordings")])
def test_one_setting_serves_all_labs_or_names_one(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_session", session._Session(asked))
    monkeypatch.chdir(LABS)  # from which a relative path leads nowhere
    assert bpfnb.lab.begin("lab03").recordings == RECORDED / "03"
    assert session.folder() == RECORDED / "03"


def test_recordings_that_lie_flat_as_in_a_bundle_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(RECORDED / "01", tmp_path / "recordings")
    session.replay_from("recordings")
    assert bpfnb.lab.begin("lab01").recordings == Path("recordings")


def test_to_begin_again_keeps_what_cells_have_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    session.replay_from(RECORDED)
    bpfnb.lab.begin("lab01")
    with bpfnb.load("", name="hello"):
        bound = session._session
        bpfnb.lab.begin("lab01")
        assert session._session is bound


def test_a_setting_without_recordings_of_the_lab_is_an_error(tmp_path: Path) -> None:
    session.replay_from(tmp_path)
    with pytest.raises(MissingRecording, match="no recordings of lab01 in"):
        bpfnb.lab.begin("lab01")
    with pytest.raises(UnknownName):
        bpfnb.lab.begin("lab99")


@pytest.mark.parametrize("path", sorted((LABS / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_lab_begins_with_it(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert first.splitlines()[-1] == f'bpfnb.lab.begin("lab{path.name[:2]}")'
