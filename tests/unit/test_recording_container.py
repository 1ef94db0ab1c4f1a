"""The file of a recording: a zip for everybody, whole after each commit, and found again where one was cut short."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from recordings import made

from bpfnb.errors import BadRecording, BpfnbError
from bpfnb.recording.archive import Archive
from bpfnb.recording.container import END, LOCATOR, ZIP64_END, Container, folder_of
from bpfnb.recording.manifest import Manifest
from bpfnb.recording.reader import Recording


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_is_a_zip_after_each_commit(tmp_path: Path) -> None:
    container = Container(tmp_path / "a")
    for number in range(5):
        container.add(f"pieces/{number}", bytes([number]) * 10 * number)
        container.commit({"manifest": b"m" * (100 - 20 * number), f"passing{number}": b"p"})
        names = _names(container.path)
        assert names == [*(f"pieces/{n}" for n in range(number + 1)), "manifest", f"passing{number}"]
        assert container.nbytes == container.path.stat().st_size
        archive = Archive(container.path)
        assert not archive.recovered
        assert archive.read("manifest") == b"m" * (100 - 20 * number)
    container.close(sync=True)


def test_what_is_replaced_is_read_as_it_is_now(tmp_path: Path) -> None:
    container = Container(tmp_path / "a")
    container.commit({"health": b"first", "manifest.json": b"{}"})
    archive = Archive(container.path)
    container.add("piece", bytes(1000))
    container.commit({"health": b"second", "manifest.json": b"{}"})
    assert archive.read("health") == b"second"
    assert archive.read("piece") == bytes(1000)
    container.commit({"manifest.json": b"{}"})
    with pytest.raises(BadRecording, match="has no other"):
        archive.read("other")


def test_what_stands_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(BpfnbError, match="exists"):
        Container(path)
    with path.open() as before:
        Container(path, overwrite=True).close()
        assert before.read() == "mine", "who reads the old file keeps it"


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_and_devices_are_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BpfnbError, match="is a folder"):
        Container(tmp_path / "folder", overwrite=overwrite)
    with pytest.raises(BpfnbError, match="no file that could be replaced"):
        Container(tmp_path / "pipe", overwrite=overwrite)
    assert (tmp_path / "pipe").is_fifo()


def test_a_torn_end_loses_only_what_is_not_whole(tmp_path: Path) -> None:
    container = Container(tmp_path / "a")
    places = []
    for number in range(20):
        container.add(f"piece{number:02}", os.urandom(100))
        container.commit({"manifest.json": b"{}"})
        places.append(container.entries[f"piece{number:02}"])
    data = container.path.read_bytes()
    torn = tmp_path / "torn"
    for cut in range(1, len(data) - 1, 37):
        torn.write_bytes(data[:cut])
        whole = [e.name for e in places if e.start + e.size <= cut]
        if not whole:
            with pytest.raises(BadRecording):
                Archive(torn)
            continue
        archive = Archive(torn)
        assert archive.recovered
        assert [name for name in archive.entries if name != "manifest.json"] == whole


def test_what_lies_beyond_four_gigabytes(tmp_path: Path) -> None:
    container = Container(tmp_path / "a")
    container.add("first", b"1")
    container.commit({})
    container._kept += 5 << 30  # a hole
    container.add("far", b"2")
    begin = container._kept - sum(map(len, container._new))
    assert begin > 1 << 32
    container.commit({"manifest.json": b"{}"})
    assert _names(container.path) == ["first", "far", "manifest.json"]
    archive = Archive(container.path)
    assert not archive.recovered
    assert archive.read("far") == b"2"
    with container.path.open("rb") as file:
        file.seek(-(END.size + LOCATOR.size + ZIP64_END.size), os.SEEK_END)
        assert file.read(4) == b"PK\6\6"


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (("objects", "a/b"), "objects/a%2Fb"),
        (("..", "x"), "%2E%2E/x"),
        (("struct a (8 bytes) #1",), "struct a (8 bytes) #1"),
        ((".rodata",), ".rodata"),
    ],
)
def test_names_of_folders(names: tuple[str, ...], folder: str) -> None:
    assert folder_of(*names) == folder


def _zip(path: Path, entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../b", "a//b", "a\\b", "./a", "a/", "a\nb", "x" * 2000]
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRecording, match="an entry named"):
        Archive(_zip(tmp_path / "a", [("manifest.json", b"{}"), (name, b"x")]))


def test_compressed_entries_are_refused_before_they_grow(tmp_path: Path) -> None:
    path = _zip(tmp_path / "bomb", [("manifest.json", bytes(1 << 26))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 17
    with pytest.raises(BadRecording, match="zip -0"):
        Archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates_overlaps_and_lies(tmp_path: Path) -> None:
    twice = _zip(tmp_path / "twice", [("manifest.json", b"{}"), ("a", b"1"), ("a", b"2")])
    archive = Archive(twice)
    assert archive.recovered, "a directory with one name twice is not believed"
    assert archive.read("a") == b"2"

    path = _zip(tmp_path / "lies", [("manifest.json", b"{}"), ("a", b"12345678")])
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\1\2")
    for size in (9, 1 << 20, 0xFFFFFFFF):
        struct.pack_into("<2L", data, place + 20, size, size)
        path.write_bytes(data)
        assert Archive(path).recovered
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, place + 42, 0)  # lies over the first
    path.write_bytes(data)
    assert Archive(path).recovered
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\5\6")
    struct.pack_into("<2H", data, at + 8, 60_000, 60_000)
    path.write_bytes(data)
    assert Archive(path).recovered


def test_damage_is_seen_when_an_entry_is_read(tmp_path: Path) -> None:
    path = made(tmp_path / "a.bpfnb")
    data = bytearray(path.read_bytes())
    entry = Archive(path).entries["objects/io/types.btf"]
    assert zlib.crc32(data[entry.start : entry.start + entry.size]) == entry.crc
    data[entry.start + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadRecording, match=r"types\.btf in .* is damaged"):
        _ = Recording(path).objects["io"].types


def test_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("PK is not enough")
    os.mkfifo(tmp_path / "pipe")
    _zip(tmp_path / "other", [("a.txt", b"1")])
    for name, said in (
        ("empty", "is empty"),
        ("text", "no recording"),
        ("other", r"no manifest\.json"),
        ("pipe", "no file"),
        (".", "no file"),
        ("missing", "No such file"),
    ):
        with pytest.raises(BadRecording, match=said):
            Recording(tmp_path / name)


def test_a_manifest_is_what_it_was(tmp_path: Path) -> None:
    manifest = Recording(made(tmp_path / "a.bpfnb")).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.objects["io"].maps[0].info().max_entries == 10


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON|deeply"),
        (b"[]", "not that of a recording"),
        (b'{"format": "bpfnb-recording", "version": 3}', "version 3"),
        (b'{"format": "bpfnb-recording", "version": 1}', "missing"),
        (
            b'{"format": "bpfnb-recording", "version": 1, "bpfnb": 1, "created": ""}',
            r"manifest\.bpfnb is '1'",
        ),
        (
            b'{"format":"bpfnb-recording","version":1,"bpfnb":"","created":"","clock_offset":1e400}',
            "clock_offset",
        ),
        (b'{"format":"bpfnb-recording","version":1,"bpfnb":"","created":"","clock_offset":NaN}', "no JSON"),
        (
            b'{"format":"bpfnb-recording","version":1,"bpfnb":"","created":"","clock_offset":%s}'
            % (b"9" * 5000),
            "JSON",
        ),
        (
            b'{"format":"bpfnb-recording","version":1,"bpfnb":"","created":"","window":[1]}',
            "1 members, not 2",
        ),
        (b'{"format":"bpfnb-recording","version":1,"bpfnb":"","created":"","objects":{"a":{}}}', "objects.a"),
        (
            b'{"format":"bpfnb-recording","version":1,"bpfnb":"","created":"","objects":{"a":{"kind":"object","maps":[%s]}}}'
            % (
                b'{"name":"m","kind":"hash","key_size":1,"value_size":1,"max_entries":1,"inner":' * 300
                + b"null"
                + b"}" * 300
            ),
            "deeply|no JSON",
        ),
    ],
)
def test_manifests_that_are_none(data: bytes, said: str) -> None:
    with pytest.raises(BadRecording, match=said):
        Manifest.from_json(data)
