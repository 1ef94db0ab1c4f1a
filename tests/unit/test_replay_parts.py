"""What replaying stands on, without a recording: the moment that has come, trusted types, recorded names, which file."""

from __future__ import annotations

import asyncio
import math
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bpfnb.btf import Btf
from bpfnb.errors import BadRecording, BadValue, MissingRecording
from bpfnb.kernel.backend import MapInfo
from bpfnb.recording import session
from bpfnb.recording.player import Player
from bpfnb.recording.symbols import RecordedSymbols
from bpfnb.recording.trusted import MAX_COLUMNS, check_map, check_type, types_of

# The moment that has come


def test_at_once_everything_has_come() -> None:
    player = Player((100.0, 200.0), None)
    assert player.position == math.inf
    assert player.ended
    assert player.progress == 1.0
    assert asyncio.run(player.wait(0))


def test_it_stands_until_it_is_started_and_while_it_is_paused() -> None:
    player = Player((100.0, 1e9), 1000.0)
    assert player.position == 100.0
    player.start()
    while player.position < 110.0:
        pass
    player.pause()
    at = player.position
    assert 110.0 <= at < 1e9
    assert player.position == at
    assert not player.wait_for(0.0)
    player.start()
    while player.position == at:
        pass
    player.stop()
    at = player.position
    player.start()
    assert player.position == at, "stopped for good"
    assert player.wait_for(), "who waits goes on"


def test_the_end_is_told_once() -> None:
    player = Player((0.0, 0.05), 1.0)
    told: list[float] = []
    player.on_end = lambda: told.append(player.position)
    player.start()

    async def ends() -> bool:
        return await player

    assert asyncio.run(ends())
    assert player.ended
    player.finish()
    assert told == [math.inf]


@pytest.mark.parametrize("speed", [0, -1.0, math.inf, math.nan])
def test_a_speed_is_positive(speed: float) -> None:
    with pytest.raises(BadValue, match="is not replayed"):
        Player((0.0, 1.0), speed)


# Types that come from a file


def blob(*types: bytes, names: bytes = b"\0a\0b\0") -> bytes:
    """BTF of *types*."""
    data = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(data), len(data), len(names)) + data + names


def kind(number: int, size: int, *more: int, vlen: int = 0, name: int = 0) -> bytes:
    return struct.pack("<III", name, number << 24 | vlen, size) + b"".join(
        struct.pack("<I", one & 0xFFFFFFFF) for one in more
    )


INT = kind(1, 4, 32, name=1)  # type 1


def test_a_typedef_of_itself_is_refused() -> None:
    with pytest.raises(BadRecording, match="type 1 is made of itself"):
        types_of(blob(kind(8, 1, name=1)), "types", {})
    with pytest.raises(BadRecording, match="is made of itself"):
        types_of(blob(kind(8, 2, name=1), kind(9, 1)), "types", {})


def test_a_struct_in_itself_is_refused() -> None:
    btf = types_of(blob(INT, kind(4, 8, 1, 2, 0, vlen=1, name=1)), "types", {})
    with pytest.raises(BadRecording, match="type 2 contains itself"):
        check_type(btf, 2, "the record")


def test_types_that_unfold_without_end_are_refused() -> None:
    layers = [
        kind(4, min(8 * 9**depth, 1 << 31), *(word for n in range(9) for word in (1, depth, 64 * n)), vlen=9)
        for depth in range(1, 12)
    ]
    btf = types_of(blob(INT, *layers), "types", {})
    with pytest.raises(BadRecording, match=f"more than {MAX_COLUMNS:,} columns"):
        check_type(btf, 12, "the record")
    check_type(btf, 3, "the record")


def test_an_array_as_large_as_memory_is_refused() -> None:
    btf = types_of(blob(INT, kind(3, 0, 1, 1, 1 << 30)), "types", {})
    with pytest.raises(BadRecording, match=r"the record has 4,294,967,296 bytes"):
        check_type(btf, 2, "the record")


@pytest.mark.parametrize("number", [2, 99, -5, 1 << 40])
def test_a_type_that_is_not_there_is_refused(number: int) -> None:
    with pytest.raises(BadRecording, match="the record"):
        check_type(types_of(blob(INT, kind(2, 77)), "types", {}), 99 if number == 2 else number, "the record")


@pytest.mark.parametrize("data", [b"", b"x" * 40, blob(INT)[:30], blob(kind(31, 0))])
def test_what_is_no_btf_is_refused(data: bytes) -> None:
    with pytest.raises(BadRecording):
        types_of(data, "types", {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_size": -1},
        {"value_size": 1 << 40},
        {"cpus": 0},
        {"cpus": 1 << 30},
        {"max_entries": -7},
        {"value_type": 50},
        {"name": ""},
    ],
)
def test_maps_of_sizes_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    known = {
        "name": "m",
        "kind": "hash",
        "id": 1,
        "fd": -1,
        "key_size": 4,
        "value_size": 4,
        "max_entries": 10,
    }
    btf = types_of(blob(INT), "types", {})
    check_map(btf, MapInfo(**known))  # type: ignore[arg-type]
    with pytest.raises(BadRecording):
        check_map(btf, MapInfo(**{**known, **wrong}))  # type: ignore[arg-type]


def test_flipped_bytes_of_real_types_are_refused_or_make_sense() -> None:
    whole = blob(INT, kind(4, 8, 1, 1, 0, 3, 1, 32, vlen=2, name=1), kind(8, 2, name=3), kind(3, 0, 3, 1, 5))
    rng = np.random.default_rng(7)
    for _ in range(400):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= 1 << int(rng.integers(0, 8))
        try:
            btf = types_of(bytes(data), "types", {})
            for number in range(1, 5):
                check_type(btf, number, "the record")
        except BadRecording:
            continue
        assert isinstance(btf, Btf)


# Names


def test_recorded_names_are_those_of_a_flame_graph() -> None:
    kernel, user = (1 << 64) - 4096, 0x400000
    table = pa.table(
        {
            "pid": pa.array([0, 7, 7, 7], pa.int64()),
            "address": pa.array([kernel, user, user + 1, user + 2], pa.uint64()),
            "name": ["vfs_read", "main", None, "f"],
            "module": [None, "/bin/x", None, None],
            "kind": ["kernel", "user", "unknown", "python"],
            "file": [None, None, None, "/x.py"],
            "line": pa.array([None, None, None, 3], pa.int64()),
            "reason": [None, None, "process ended", None],
        }
    )
    names = RecordedSymbols.of(table)
    stack = [kernel, user + 1, user + 2, user, 0, 99]
    assert names.names([stack], [7]) == [["main", "py::f:/x.py", "[process ended]", "vfs_read_[k]"]]
    assert names.names([stack[::-1][2:]], [7], order="root")[0][0] == "main"
    assert names.names([[user], [kernel + 1], -17, None], [-1, -1, 7, 7]) == [
        ["0x400000"],
        [f"0x{kernel + 1:x}_[k]"],
        ["[stack lost: stack map collision]"],
        [],
    ]
    assert RecordedSymbols.of(pa.table({})).names([[user]], 7) == [["0x400000"]]


@pytest.mark.parametrize("wrong", [{"kind": ["melon"]}, {"pid": ["x"]}, {"name": [5]}])
def test_damaged_symbols_are_refused(wrong: dict[str, Any]) -> None:
    known = {"pid": [1], "address": [2], "name": ["f"], "kind": ["user"]}
    with pytest.raises(BadRecording, match="the recorded symbols are damaged"):
        RecordedSymbols.of(pa.table({**known, **wrong}))


# Which file


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    yield tmp_path
    session.replay_from(None)


def test_a_folder_that_is_missing_is_said(folder: Path) -> None:
    with pytest.raises(MissingRecording, match="there is no folder"):
        session.replay_from(folder / "nowhere")
    assert not session.replaying()


def test_what_was_not_recorded_is_said_with_what_was(folder: Path) -> None:
    (folder / "io.bpfnb").write_bytes(b"")
    (folder / "net-2.bpfnb").write_bytes(b"")
    session.replay_from(folder)
    assert session.replaying()
    with pytest.raises(MissingRecording) as caught:
        session.replayed_object("disk", "text", attach=True, rows=None)
    assert "there is no recording of 'disk' to replay" in str(caught.value)
    assert "has: io, net-2" in str(caught.value)
    with pytest.raises(BadRecording):
        session.replayed_object("io", "text", attach=True, rows=None)


def test_a_tools_own_object_is_not_replayed_by_itself(folder: Path) -> None:
    session.replay_from(folder)
    with session.inner():
        assert session.replayed_object("disk", "text", attach=True, rows=None) is None
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(caught(session)))
        thread.start()
        thread.join()
    assert isinstance(found[0], MissingRecording), "another thread is not within the tool"


def caught(of: Any) -> Exception | None:
    try:
        of.replayed_object("disk", "text", attach=True, rows=None)
    except MissingRecording as error:
        return error
    return None
