"""The files of a rotated recording that a bundle takes along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recordings import made

from bpfnb.recording.container import Container
from bpfnb.recording.reader import Recording
from bpfnb.share import rotated


def _part(path: Path, number: int, created: str = "2026-03-01T12:00:00.000000+00:00") -> None:
    with Recording(made(path.with_name("whole"), rows=3)) as whole:
        found = {name: whole.text(name, 1 << 20) for name in whole.entries if name != "manifest.json"}
        manifest = replace(
            whole.manifest, created=created, part=number, limits={"rotate": 3}, window=(100.0 * number, 100.0)
        )
    path.with_name("whole").unlink()
    container = Container(path)
    for name, data in found.items():
        container.add(name, data)
    container.commit({"manifest.json": manifest.to_json()})
    container.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Parts 2, 3 and 4 of ``io``, and a file with such a name that is of another recording."""
    at = tmp_path / "recordings"
    at.mkdir()
    for name, number in (("io", 4), ("io.1", 3), ("io.2", 2)):
        _part(at / f"{name}.bpfnb", number)
    _part(at / "io.3.bpfnb", 1, "2025-01-01T00:00:00.000000+00:00")
    return at


@pytest.mark.parametrize("given", ["io", "io.1"])
def test_all_files_that_replay_reads_are_in_a_bundle(folder: Path, given: str) -> None:
    files, gaps = rotated({f"recordings/{given}.bpfnb": folder / f"{given}.bpfnb", "facts.json": folder})
    names = {f"recordings/{name}.bpfnb": folder / f"{name}.bpfnb" for name in ("io", "io.1", "io.2")}
    assert files == names | {"facts.json": folder}
    (gap,) = gaps
    assert gap == (
        f"recordings/{given}.bpfnb: parts 0 to 1 of the recording are not here: "
        "nothing is known until 1970-01-01 00:03:20 UTC"
    )


def test_what_a_bundle_misses_is_told_once(folder: Path) -> None:
    both = {f"{name}.bpfnb": folder / f"{name}.bpfnb" for name in ("io", "io.2")}
    files, gaps = rotated(both)
    assert set(files) == {"io.bpfnb", "io.1.bpfnb", "io.2.bpfnb"}
    assert len(gaps) == 1
